"""Reference values: a fixed image, and what a weight set makes of it.

The image is drawn by integer arithmetic alone, so that every version of every library draws the
same one. A weight set's reference is eight signed means of the top pyramid level: of every channel
the mean over all positions, these with signs of plus and minus one, drawn by integer arithmetic
too, and the mean of that. The first eight channels themselves would say little: behind a ReLU6 six
or more of them are zero on EfficientNet-Lite.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.errors import WeightsMismatchError

if TYPE_CHECKING:
    import keras

    from zoo.spec import BackboneSpec
    from zoo.weights.loading import FoundWeights

Array = np.ndarray[Any, np.dtype[Any]]

SIDES = {2: (96, 96), 3: (32, 64, 64)}
COUNT = 8
TOLERANCE = 1e-3
_MASK = np.uint64(0xFFFFFFFF)


def reference_image(channels: int = 3, *, dims: int = 2) -> Array:
    """Draw the reference image.

    With z, y, x the position (z = 0 in 2D), c the channel and n the rank of a value when channels
    vary slowest, then z, y, x, all arithmetic on unsigned 32-bit integers::

        h = n * 2654435761;  h = h xor (h >> 15);  h = h * 2246822519;  h = h xor (h >> 13)
        value = (5 y + 3 x + 7 z + 67 c) mod 192 + h mod 64

    Args:
        channels: Number of channels.
        dims: 2 for 96 x 96 pixels, 3 for 32 x 64 x 64 voxels.

    Returns:
        ``(*spatial, channels)`` float32 of whole numbers in 0-254.
    """
    shape = (channels, *(1,) * (3 - dims), *SIDES[dims])
    c, z, y, x = np.indices(shape, dtype=np.uint64)
    h = np.arange(np.prod(shape), dtype=np.uint64).reshape(shape) * np.uint64(2654435761) & _MASK
    h = h ^ h >> np.uint64(15)
    h = h * np.uint64(2246822519) & _MASK
    h = h ^ h >> np.uint64(13)
    value = (5 * y + 3 * x + 7 * z + 67 * c) % 192 + h % 64
    image: Array = np.moveaxis(value.astype("float32"), 0, -1)
    return image.reshape(*SIDES[dims], channels)


def features_of(top: Array) -> tuple[float, ...]:
    """Give the reference values of a feature map.

    Value k is the mean over channels c of ``sign * mean(top[..., c])``, the sign being that of the
    top bit of ``(c + 1) * (2 k + 1) * 2654435761`` on unsigned 32-bit integers (set: minus).

    Args:
        top: ``(1, *spatial, channels)``, of the reference image.
    """
    means = np.asarray(top, "float64")[0].reshape(-1, top.shape[-1]).mean(axis=0)
    odd = 2 * np.arange(COUNT, dtype=np.uint64)[:, None] + np.uint64(1)
    rank = np.arange(1, len(means) + 1, dtype=np.uint64)
    bit = rank * odd * np.uint64(2654435761) >> np.uint64(31) & np.uint64(1)
    values = ((1.0 - 2.0 * bit) * means).mean(axis=1)
    return tuple(float(f"{value:.6g}") for value in values)


def reference_values(model: keras.Model) -> tuple[float, ...]:
    """Run a backbone on the reference image.

    Args:
        model: What ``create_backbone`` builds for ``input_shape_of``.

    Returns:
        Eight values as ``features_of`` gives them, to six digits.
    """
    import keras

    *spatial, channels = model.input_shape[1:]
    image = reference_image(channels, dims=len(spatial))
    levels = model(image[None], training=False)
    return features_of(keras.ops.convert_to_numpy(levels[max(levels)]))


def measure(spec: BackboneSpec, found: FoundWeights) -> tuple[float, ...]:
    """Build a backbone with weights and run it on the reference image.

    Args:
        spec: The backbone.
        found: Its weights.

    Raises:
        WeightsMismatchError: When they do not fit.
    """
    import keras

    from zoo.backbones import build_pyramid

    channels = found.weight.channels if found.weight is not None else 3
    shape = (*SIDES[spec.dims], channels)
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        image = keras.Input(shape, name="image", dtype="float32")
        model = keras.Model(image, build_pyramid(spec, image, found=found), name=spec.name)
    finally:
        keras.config.set_dtype_policy(policy)
    return reference_values(model)


def check_values(
    values: Sequence[float], wanted: Sequence[float], *, what: str, tolerance: float = TOLERANCE
) -> None:
    """Compare reference values with recorded ones.

    Args:
        values: Found.
        wanted: Recorded.
        what: What to call the weights in a message.
        tolerance: Allowed difference as a share of the largest recorded value.

    Raises:
        WeightsMismatchError: Naming the first value that differs.
    """
    limit = tolerance * max(abs(value) for value in wanted)
    for index, (value, expected) in enumerate(zip(values, wanted, strict=True)):
        if not abs(value - expected) <= limit:
            raise WeightsMismatchError(
                f"{what} give {value:.6g} as reference value {index}, not {expected:.6g}: the "
                "file, its converter or Keras has changed"
            )


def check_reference(spec: BackboneSpec, found: FoundWeights, *, what: str) -> tuple[float, ...]:
    """Recompute the reference values of weights and compare them with the recorded ones.

    Args:
        spec: The backbone.
        found: Its weights; ``found.weight.reference`` is what is recorded.
        what: What to call the weights in a message.

    Returns:
        The values found.

    Raises:
        WeightsMismatchError: When they differ, or when the weights do not fit.
    """
    values = measure(spec, found)
    if found.weight is not None and found.weight.reference is not None:
        check_values(values, found.weight.reference, what=what)
    return values
