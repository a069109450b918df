"""A multilayer perceptron bends the line that a single neuron cannot.

Two classes lie in each other's arms. Without a hidden layer the network is logistic regression.
"""

from __future__ import annotations

import keras
import numpy as np
from drawing import folder, panels, save
from sklearn.datasets import make_moons

import zoo


def main() -> None:
    """The same points, without and with a hidden layer."""
    out = folder(__doc__)
    points, labels = make_moons(300, noise=0.15, random_state=0)
    points = ((points - points.min(axis=0)) / np.ptp(points, axis=0)).astype(np.float32)
    line = np.linspace(-0.1, 1.1, 80)
    grid = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2).astype(np.float32)
    figure, axes = panels(1, 2, width=3.4)
    for ax, hidden in zip(axes[0], ((), (32, 32)), strict=True):
        keras.utils.set_random_seed(0)
        model = zoo.multilayer_perceptron(
            input_shape=(2,), classes=1, hidden=hidden, input_range=(0.0, 1.0)
        )
        loss = keras.losses.BinaryCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(0.05), loss, jit_compile=False)
        model.fit(points, labels.astype(np.float32), epochs=40, batch_size=50, verbose=0)
        right = np.mean((np.asarray(model(points))[:, 0] > 0) == labels)
        chance = np.asarray(keras.ops.sigmoid(model(grid))).reshape(80, 80)
        ax.contourf(line, line, chance, levels=10, cmap="RdBu", alpha=0.6)
        ax.scatter(*points.T, c=labels, cmap="RdBu", s=8, ec="black", lw=0.3)
        ax.set_title(f"{len(hidden)} hidden layers: {right:.0%} right", fontsize=9)
        print(f"{len(hidden)} hidden layers: {right:.3f}")
    save(figure, out, "perceptron")


if __name__ == "__main__":
    main()
