"""How much faster are dense scores than a patch at a time, and are they the same?

    python benchmarks/dense_scoring.py

For a picture of 512 x 512 the detection recipe's pretrained body without padding (lite0 to P3,
97 pixels), for a volume of 128^3 the plain 3D classifier (25 voxels). The naive way is timed on a
thousand patches and scaled to all positions; its scores are compared with the dense ones there.
"""

from __future__ import annotations

import argparse
import time

import keras
import numpy as np

import zoo


def compare(name: str, model: keras.Model, shape: tuple[int, ...], patches: int) -> None:
    """Time both ways and print one line."""
    rng = np.random.default_rng(0)
    image = rng.uniform(0, 255, shape).astype(np.float32)
    dense = zoo.for_inference(zoo.to_dense(model))
    dense(image[None, ...])
    start = time.perf_counter()
    scores = keras.ops.convert_to_numpy(dense(image[None]))[0]
    whole = time.perf_counter() - start
    sides = model.inputs[0].shape[1:-1]
    places = np.stack([rng.integers(0, n, patches) for n in scores.shape[:-1]], axis=1)
    some = np.stack(
        [image[tuple(slice(a, a + n) for a, n in zip(at, sides, strict=True))] for at in places]
    )
    model.predict(some[:64], verbose=0, batch_size=64)
    start = time.perf_counter()
    naive = model.predict(some, verbose=0, batch_size=64)
    each = (time.perf_counter() - start) / patches
    off = np.abs(naive - scores[tuple(places.T)]).max() / np.abs(naive).max()
    total = each * np.prod(scores.shape[:-1])
    print(
        f"{name}: dense {whole:.1f} s, naive {1e3 * each:.2f} ms a patch, {total:.0f} s for all "
        f"{np.prod(scores.shape[:-1])} positions: {total / whole:.0f} times as long; largest "
        f"difference {off:.1e} of the largest score",
        flush=True,
    )


def main() -> None:
    """Compare in 2D and 3D."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--depth", type=int, default=128)
    parser.add_argument("--patches", type=int, default=1024)
    args = parser.parse_args()
    keras.utils.set_random_seed(0)
    body = zoo.patch_backbone("efficientnet_lite0", patch_shape=(97, 97, 1), classes=2, hidden=64)
    compare("2D", body, (args.side + 96, args.side + 96, 1), args.patches)
    plain = zoo.patch_classifier(patch_shape=(25, 25, 25, 1), classes=2, widths=(16, 32), hidden=64)
    compare("3D", plain, (args.depth + 24,) * 3 + (1,), args.patches)


if __name__ == "__main__":
    main()
