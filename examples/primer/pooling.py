"""Pooling: the largest answer of a neighbourhood, wherever in it the pattern lies.

A slice is moved pixel by pixel. The answers of a kernel change at once; their maxima over larger
and larger neighbourhoods change less.
"""

from __future__ import annotations

import keras
import numpy as np
from drawing import BLUE, GREEN, GREY, ORANGE, folder, panels, phantom, save


def main() -> None:
    """How alike the maps of a moved slice are, with pooling of several sizes."""
    out = folder(__doc__)
    image, _ = phantom(1, kind="cyst")
    kernel = np.asarray([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], np.float32)[..., None, None] / 4

    def answers(picture: np.ndarray, size: int) -> np.ndarray:
        found = keras.ops.relu(keras.ops.conv(picture[None, ..., None], kernel, padding="same"))
        return np.asarray(keras.ops.max_pool(found, size, strides=size)).ravel()

    shifts = range(7)
    figure, axes = panels(1, 1, width=4.4, height=3.2)
    for size, colour in ((1, GREY), (4, BLUE), (8, GREEN), (16, ORANGE)):
        start = answers(image.astype(np.float32), size)
        alike = [
            np.corrcoef(start, answers(np.roll(image, k, axis=1).astype(np.float32), size))[0, 1]
            for k in shifts
        ]
        axes[0, 0].plot(shifts, alike, "o-", color=colour, label=f"{size} x {size}")
        print(f"{size} x {size}: correlation {alike[3]:.2f} after 3 pixels")
    axes[0, 0].set(xlabel="shift in pixels", ylabel="correlation with the unmoved slice")
    axes[0, 0].legend(title="maximum over")
    save(figure, out, "pooling")


if __name__ == "__main__":
    main()
