"""Softmax makes logits into probabilities; cross-entropy says how wrong they are.

The loss grows without bound as the right class loses, and its slope is the probability minus the
truth: what trains a network is the size of its error.
"""

from __future__ import annotations

import keras
import numpy as np
from drawing import BLUE, GREEN, ORANGE, folder, panels, save

from recipes.engine.losses import probabilities


def main() -> None:
    """One logit of three runs from -6 to 6."""
    out = folder(__doc__)
    line = np.linspace(-6, 6, 241)
    logits = np.stack([line, np.zeros_like(line), np.full_like(line, 1.0)], axis=1)
    chance = np.asarray(probabilities(logits.astype(np.float32), task="single"))
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, reduction=None)
    truth = np.tile(np.asarray([1.0, 0, 0], np.float32), (len(line), 1))
    values = np.asarray(loss(truth, logits.astype(np.float32)))
    slope = np.gradient(values, line)
    error = np.abs(slope - (chance[:, 0] - 1)).max()
    print(f"slope of the loss is p - 1 within {error:.1e}")
    figure, axes = panels(1, 2, width=3.6)
    for k, colour in enumerate((BLUE, ORANGE, GREEN)):
        axes[0, 0].plot(line, chance[:, k], color=colour, label=f"class {k}")
    axes[0, 0].set(xlabel="logit of class 0", ylabel="softmax")
    axes[0, 0].legend()
    axes[0, 1].plot(line, values, color=BLUE, label="loss if class 0 is right")
    axes[0, 1].plot(line, slope, color=ORANGE, label="its slope")
    axes[0, 1].set(xlabel="logit of class 0")
    axes[0, 1].legend()
    save(figure, out, "softmax_loss")


if __name__ == "__main__":
    main()
