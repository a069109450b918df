"""Sigmoid, tanh and ReLU, and how much of an error each lets through.

Far from zero sigmoid and tanh are flat: their slopes, which training multiplies layer by layer,
vanish. ReLU's is 1 wherever it answers at all.
"""

from __future__ import annotations

import keras
import numpy as np
from drawing import BLUE, GREEN, ORANGE, folder, panels, save


def main() -> None:
    """Values and slopes."""
    out = folder(__doc__)
    x = np.linspace(-5, 5, 401).astype(np.float32)
    figure, axes = panels(1, 2, width=3.6)
    for name, colour in (("sigmoid", BLUE), ("tanh", ORANGE), ("relu", GREEN)):
        y = np.asarray(keras.activations.get(name)(keras.ops.convert_to_tensor(x)))
        axes[0, 0].plot(x, y, color=colour, label=name)
        axes[0, 1].plot(x, np.gradient(y, x), color=colour, label=name)
        print(f"{name}: slope {np.gradient(y, x)[-1]:.4f} at 5")
    axes[0, 0].set(title="activation", ylim=(-1.1, 2))
    axes[0, 1].set(title="slope")
    axes[0, 1].legend()
    save(figure, out, "activations")


if __name__ == "__main__":
    main()
