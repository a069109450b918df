"""Classifiers of the pixel at the centre of a patch, and the same network on whole images.

Such a network (Ciresan et al., NIPS 2012) sees a patch and tells the class of its centre. Sliding
it over an image repeats nearly all of its work; ``to_dense`` turns it into a fully convolutional
network that gives the same scores at every position at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import keras
from keras import layers

from zoo.dense import Grid, convert
from zoo.errors import ZooError

_CONVOLUTION = {2: layers.Conv2D, 3: layers.Conv3D}
_POOLING = {
    "max": {2: layers.MaxPooling2D, 3: layers.MaxPooling3D},
    "avg": {2: layers.AveragePooling2D, 3: layers.AveragePooling3D},
}
REDUCTIONS = ("max", "avg", "stride")


def patch_classifier(
    *,
    patch_shape: Sequence[int],
    classes: int,
    widths: Sequence[int] = (32, 64),
    convolutions: int = 2,
    kernel_size: int = 3,
    reduction: str = "max",
    hidden: int = 128,
    dropout: float = 0.5,
    name: str = "patch_classifier",
) -> keras.Model:
    """Build a classifier of the pixel at the centre of a patch, without padding anywhere.

    Args:
        patch_shape: ``(height, width, channels)``, or ``(depth, height, width, channels)``; sides
            odd or even: the centre is pixel ``side // 2``, counted from 0.
        classes: Number of logits.
        widths: Channels of the stages; each but the last ends by halving the map.
        convolutions: Convolutions a stage, each with BatchNorm and ReLU.
        kernel_size: Side of their kernels.
        reduction: How a stage halves: ``"max"`` or ``"avg"`` pooling, or ``"stride"`` of its last
            convolution.
        hidden: Units of the dense layer before the logits; 0 has none.
        dropout: Rate before the dense layers, in [0, 1).
        name: Name of the model.

    Returns:
        A model from ``image``, float32 ``(batch, *patch_shape)``, to float32 ``logits``
        ``(batch, classes)``.

    Raises:
        ZooError: For arguments out of range, or a patch too small.
    """
    _check(patch_shape, classes, widths, convolutions, kernel_size, reduction, hidden, dropout)
    dims = len(patch_shape) - 1
    x = image = keras.Input(tuple(patch_shape), name="image", dtype="float32")
    for stage, width in enumerate(widths, 1):
        last = stage == len(widths)
        for i in range(1, convolutions + 1):
            prefix = f"stage{stage}_conv{i}"
            halves = reduction == "stride" and i == convolutions and not last
            if min(x.shape[1:-1]) < kernel_size:
                raise ZooError(
                    f"patch_shape {tuple(patch_shape)} is too small: {tuple(x.shape[1:-1])} is "
                    f"left before {prefix!r} of kernel {kernel_size}; give a larger patch or "
                    "fewer widths or convolutions"
                )
            x = _CONVOLUTION[dims](
                width, kernel_size, strides=2 if halves else 1, use_bias=False, name=prefix
            )(x)
            x = layers.BatchNormalization(name=f"{prefix}_norm")(x)
            x = layers.ReLU(name=f"{prefix}_relu")(x)
        if not last and reduction in _POOLING and min(x.shape[1:-1]) >= 2:
            x = _POOLING[reduction][dims](2, name=f"stage{stage}_pool")(x)
    x = layers.Flatten(name="flatten")(x)
    if hidden:
        x = layers.Dropout(dropout, name="dropout")(x)
        x = layers.Dense(hidden, activation="relu", name="hidden")(x)
    x = layers.Dropout(dropout, name="hidden_dropout")(x)
    x = layers.Dense(classes, dtype="float32", name="logits")(x)
    return keras.Model(image, x, name=name)


def _check(
    patch_shape: Sequence[int],
    classes: int,
    widths: Sequence[int],
    convolutions: int,
    kernel_size: int,
    reduction: str,
    hidden: int,
    dropout: float,
) -> None:
    if len(patch_shape) not in (3, 4) or not all(
        isinstance(side, int) and side > 0 for side in patch_shape
    ):
        raise ZooError(
            f"patch_shape {tuple(patch_shape)} is not (height, width, channels) or "
            "(depth, height, width, channels)"
        )
    if reduction not in REDUCTIONS:
        raise ZooError(f"unknown reduction {reduction!r}; choose from {list(REDUCTIONS)}")
    if not widths or min([classes, convolutions, kernel_size, *widths]) < 1 or hidden < 0:
        raise ZooError(
            f"classes {classes}, widths {tuple(widths)}, convolutions {convolutions} and "
            f"kernel_size {kernel_size} must be 1 or more, hidden {hidden} not below 0"
        )
    if not 0.0 <= dropout < 1.0:
        raise ZooError(f"dropout is {dropout}; it must lie in [0, 1)")


@dataclass(frozen=True, kw_only=True)
class PatchField:
    """What a score of a patch classifier depends on; all in pixels, one number per axis.

    Attributes:
        patch: Sides of the patch.
        receptive_field: Sides of the part of the patch that the score depends on; less than
            ``patch`` where strides skip its last rows.
        start: First pixel of that part.
        centre: The pixel that the score is about: score ``i`` of the dense network is about
            pixel ``i + centre`` of the image, and belongs to the patch whose first pixel is ``i``.
        stride: Distance between neighbouring features before they are joined.
    """

    patch: tuple[int, ...]
    receptive_field: tuple[int, ...]
    start: tuple[int, ...]
    centre: tuple[int, ...]
    stride: tuple[int, ...]


def to_dense(model: keras.Model) -> keras.Model:
    """Turn a patch classifier into a network that scores every position of an image.

    The stride of a layer becomes the dilation of everything behind it, Flatten with Dense a
    convolution over the whole remaining map, pooling a pooling of stride 1. Norms, activations
    and dropout stay as they are.

    Args:
        model: A functional model from patches of a fixed size to ``(batch, outputs)``, of
            convolutions, poolings, croppings without padding, norms per channel, activations,
            dropout, merges, Flatten, global pooling, Dense.

    Returns:
        A model ``<name>_dense`` with a copy of the weights, from images of any size from the
        patch's on to ``(batch, *positions, outputs)``: one position for every place where the patch
        fits, ``side - patch + 1`` along each axis. ``patch_field`` tells where they lie.

    Raises:
        NotExactError: Naming the layer that rules out equal scores: padding, statistics over
            space, attention, a reshaping, or one that is not known.
    """
    return convert(model)[0]


def patch_field(model: keras.Model) -> PatchField:
    """Tell which part of the patch a score depends on, and which pixel it is about.

    Args:
        model: As for ``to_dense``.

    Returns:
        The sizes.

    Raises:
        NotExactError: As ``to_dense`` does.
    """
    grid: Grid = convert(model)[1]
    patch = tuple(int(side) for side in model.inputs[0].shape[1:-1])
    return PatchField(
        patch=patch,
        receptive_field=grid.field,
        start=grid.start,
        centre=tuple(side // 2 for side in patch),
        stride=grid.stride,
    )
