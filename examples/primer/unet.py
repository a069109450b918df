"""U-Net: an encoder that sees far, a decoder that draws finely, and shortcuts between them.

A small one learns in seconds to outline the lesions of mirrored phantoms, with the loss of
segmentation.
"""

from __future__ import annotations

import keras
import numpy as np
from drawing import ORANGE, options, panels, phantom, save, show

import zoo
from zoo.losses import DiceCrossentropy

SIDE, TRAIN, TEST = 48, 24, 3


def slices(seeds: range) -> tuple[np.ndarray, np.ndarray]:
    """Images ``(N, SIDE, SIDE, 1)``, 0 to 1, and masks."""
    pairs = [phantom(seed, kind="cyst", size=SIDE) for seed in seeds]
    images = np.stack([image for image, _ in pairs])[..., None].astype(np.float32) / 255
    return images, np.stack([mask for _, mask in pairs]).astype(np.int32)


def main() -> None:
    """Train, draw what it outlines in slices it has not seen."""
    given = options(__doc__, steps=200)
    keras.utils.set_random_seed(0)
    images, masks = slices(range(100, 100 + TRAIN))
    model = zoo.unet(input_shape=(SIDE, SIDE, 1), classes=2, widths=(8, 16, 32), norm="instance")
    model.compile(keras.optimizers.Adam(0.01), DiceCrossentropy(), jit_compile=False)
    rng = np.random.default_rng(0)
    for step in range(given.steps):
        rows = rng.integers(0, TRAIN, 8)
        turned = [slice(None, None, way) for way in rng.choice([-1, 1], 2)]
        loss = model.train_on_batch(images[:, *turned][rows], masks[:, *turned][rows])
        if step % 50 == 0:
            print(f"step {step}: loss {float(np.asarray(loss).mean()):.3f}")
    images, masks = slices(range(300, 300 + TEST))
    found = np.asarray(model(images, training=False)).argmax(axis=-1)
    figure, axes = panels(2, TEST, width=2.3, height=2.3)
    for k in range(TEST):
        both = 2 * (found[k] & masks[k]).sum() / max(1, found[k].sum() + masks[k].sum())
        for ax, mask, title in zip(
            axes[:, k], (masks[k], found[k]), ("truth", f"found, Dice {both:.2f}"), strict=True
        ):
            show(ax, images[k, ..., 0], title)
            if mask.any():
                ax.contour(mask, [0.5], colors=ORANGE, linewidths=1)
        print(f"slice {k}: Dice {both:.2f}")
    save(figure, given.out, "unet")


if __name__ == "__main__":
    main()
