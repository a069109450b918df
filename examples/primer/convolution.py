"""Convolution: one small kernel slid over the image answers where it finds its pattern.

Above kernels made by hand; below some that EfficientNet-Lite0 learned from photographs.
"""

from __future__ import annotations

import keras
import numpy as np
from drawing import folder, panels, phantom, save, show
from scipy import ndimage

import zoo

KERNELS = {
    "blur": np.ones((3, 3)) / 9,
    "edges, left to right": np.asarray([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 4,
    "edges, all": np.asarray([[0, -1, 0], [-1, 4, -1], [0, -1, 0]]),
}


def main() -> None:
    """A slice of a phantom under kernels by hand and learned."""
    out = folder(__doc__)
    image, _ = phantom(1, kind="cyst")
    figure, axes = panels(2, 4, width=2.3, height=2.3)
    show(axes[0, 0], image, "image")
    for ax, (name, kernel) in zip(axes[0, 1:], KERNELS.items(), strict=True):
        weights = kernel[..., None, None].astype(np.float32)
        found = keras.ops.conv(image[None, ..., None].astype(np.float32), weights, padding="same")
        found = np.asarray(found)[0, ..., 0]
        slow = ndimage.correlate(image, kernel, mode="constant")
        print(f"{name}: largest difference to scipy's {np.abs(found - slow).max():.1e}")
        show(ax, found, name)
    body = zoo.create_backbone("efficientnet_lite0", input_shape=(96, 96, 3))
    first = next(w for layer in body.layers for w in layer.weights if w.shape[:2] == (3, 3))
    kernels = np.moveaxis(np.asarray(first), -1, 0)
    strongest = np.argsort(-np.ptp(kernels, axis=(1, 2, 3)))[:4]
    for ax, k in zip(axes[1], strongest, strict=True):
        low, high = kernels[k].min(), kernels[k].max()
        show(ax, (kernels[k] - low) / (high - low), f"learned kernel {k}")
    save(figure, out, "convolution")


if __name__ == "__main__":
    main()
