"""The artificial neuron: a weighted sum of what comes in, and an activation.

It answers one side of a line with more than one half and the other with less.
"""

from __future__ import annotations

import numpy as np
from drawing import BLUE, ORANGE, folder, panels, save

import zoo


def main() -> None:
    """Two measurements of a lesion, one neuron, its line."""
    out = folder(__doc__)
    neuron = zoo.multilayer_perceptron(
        input_shape=(2,), classes=1, hidden=(), input_range=(0.0, 1.0)
    )
    weights, bias = np.asarray([[6.0], [4.0]]), np.asarray([-5.0])
    neuron.layers[-1].set_weights([weights, bias])
    line = np.linspace(0, 1, 60)
    points = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2).astype(np.float32)
    logits = np.asarray(neuron(points))[:, 0]
    by_hand = points @ weights[:, 0] + bias[0]
    print(f"largest difference to the sum by hand: {np.abs(logits - by_hand).max():.1e}")
    chance = (1 / (1 + np.exp(-logits))).reshape(60, 60)
    figure, axes = panels(1, 1, width=4.2, height=3.4)
    drawn = axes[0, 0].contourf(line, line, chance, levels=np.linspace(0, 1, 11), cmap="viridis")
    axes[0, 0].contour(line, line, chance, levels=[0.5], colors="white")
    rng = np.random.default_rng(0)
    for colour, middle in ((BLUE, (0.3, 0.3)), (ORANGE, (0.7, 0.7))):
        axes[0, 0].scatter(*rng.normal(middle, 0.1, (25, 2)).T, s=12, color=colour, ec="white")
    axes[0, 0].set(xlabel="size", ylabel="density", xlim=(0, 1), ylim=(0, 1))
    figure.colorbar(drawn, label="sigmoid of the weighted sum")
    save(figure, out, "neuron")


if __name__ == "__main__":
    main()
