"""Load a pretrained backbone and turn two images into feature vectors.

The backbone is EfficientNet-Lite0, whose ImageNet weights came with the installation, so this
runs without a network. The images are two CT phantoms of one body, with and without a lesion.

    python examples/load_backbone.py
"""

from __future__ import annotations

import argparse

import keras
import numpy as np

import zoo
from data_adapters.phantoms import ct_slice

WINDOW = (-160.0, 240.0)
"""Soft-tissue CT window in HU: what the backbone sees as 0 to 255."""


def to_backbone(image: np.ndarray) -> np.ndarray:
    """Map ``(H, W, 1)`` HU to ``(H, W, 3)`` float32 in 0-255."""
    low, high = WINDOW
    grey = np.clip((image - low) / (high - low), 0.0, 1.0) * 255.0
    return np.repeat(grey, 3, axis=-1).astype("float32")


def main() -> None:
    """Print the pyramid of the backbone and how alike the two images' features are."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--weights", default="imagenet", help="imagenet, none or a file")
    parser.add_argument("--side", type=int, default=224, help="input side in pixels")
    args = parser.parse_args()
    weights = None if args.weights == "none" else args.weights

    backbone = zoo.create_backbone(
        args.backbone, input_shape=(args.side, args.side, 3), weights=weights
    )
    print(f"{backbone.name}: {backbone.count_params():,} parameters")
    for level, tensor in backbone.output.items():
        print(f"  {level}  {tuple(tensor.shape[1:])}")

    slices = [ct_slice(0, size=128, kind=kind) for kind in ("none", "cyst")]
    batch = np.stack([to_backbone(one.image) for one in slices])
    batch = np.asarray(keras.ops.image.resize(batch, (args.side, args.side)))
    top = list(backbone(batch, training=False).values())[-1]
    features = np.asarray(keras.ops.mean(top, axis=(1, 2)))
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    print(f"features of two phantoms: {features.shape}, cosine {float(unit[0] @ unit[1]):.3f}")


if __name__ == "__main__":
    main()
