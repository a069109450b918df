"""Gradient descent on a surface: small steps downhill, too large ones, and with momentum.

The valley is five times steeper across than along, as losses of networks are; Keras' own
optimisers walk down it.
"""

from __future__ import annotations

import keras
import numpy as np
from drawing import BLUE, GREEN, ORANGE, folder, panels, save

STEPS = 25
SLOPES = np.asarray([1.0, 5.0], np.float32)


def height(place: np.ndarray) -> np.ndarray:
    """The surface."""
    return 0.5 * (SLOPES * place**2).sum(axis=-1)


def walk(optimizer: keras.Optimizer) -> np.ndarray:
    """Places on the way, ``(STEPS + 1, 2)``."""
    place = keras.Variable([-4.0, 1.6])
    optimizer.build([place])
    way = [np.asarray(place)]
    for _ in range(STEPS):
        optimizer.apply([keras.ops.convert_to_tensor(SLOPES * np.asarray(place))], [place])
        way.append(np.asarray(place))
    return np.stack(way)


def main() -> None:
    """Four ways down."""
    out = folder(__doc__)
    x, y = np.meshgrid(np.linspace(-4.5, 4.5, 90), np.linspace(-3, 3, 60))
    figure, axes = panels(2, 2, width=3.4, height=2.4)
    ways = {
        "rate 0.05": keras.optimizers.SGD(0.05),
        "rate 0.3": keras.optimizers.SGD(0.3),
        "rate 0.41: too much": keras.optimizers.SGD(0.41),
        "rate 0.05, momentum 0.8": keras.optimizers.SGD(0.05, momentum=0.8),
    }
    for ax, (name, optimizer) in zip(axes.flat, ways.items(), strict=True):
        way = walk(optimizer)
        ax.contour(x, y, height(np.stack([x, y], axis=-1)), levels=12, cmap="Greys")
        ax.plot(*way.T, "o-", ms=3, lw=1, color=ORANGE if "too" in name else BLUE)
        ax.plot(0, 0, "*", ms=10, color=GREEN)
        ax.set(title=name, xlim=(-4.5, 4.5), ylim=(-3, 3))
        print(f"{name}: height {height(way[-1]):.4g} after {STEPS} steps")
    save(figure, out, "gradient_descent")


if __name__ == "__main__":
    main()
