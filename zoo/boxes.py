"""Detection without anchors: class and distances to the sides of a box at every place of a pyramid.

FCOS (Tian et al., 2019, arXiv:1904.01355) on a feature pyramid (Lin et al., 2016, arXiv:1612.03144)
over any backbone, in 2D and 3D: each place of each level says how likely a lesion's middle is there
and how far the faces of its box are.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from zoo.architectures.blocks import conv, of_dims, spatial
from zoo.architectures.resize import upsample_to
from zoo.backbones import build_pyramid, check_input
from zoo.channels import ChannelMap
from zoo.errors import ZooError
from zoo.heads.model import to_pixels
from zoo.registry import get_spec
from zoo.weights.loading import find_weights

LEVELS = ("P3", "P4", "P5")
GROUPS = 8
PRIOR = 0.01
"""Probability of every class at every place before training, as focal loss wants it."""


def create_box_detector(
    name: str,
    *,
    input_shape: tuple[int, ...],
    classes: int,
    levels: Sequence[str] = LEVELS,
    width: int = 64,
    weights: str | Path | None = "imagenet",
    dims: int = 2,
    channel_map: ChannelMap | None = None,
    depth_strides: Sequence[int] | None = None,
    input_range: tuple[float, float] = (0.0, 255.0),
) -> keras.Model:
    """Build a network from pixels to boxes: a backbone, a pyramid, one head for all its levels.

    Args:
        name: Registered name of the backbone.
        input_shape: ``(height, width, channels)``, or ``(depth, height, width, channels)`` in 3D;
            sides known.
        classes: Classes of lesions; there is none for the background.
        levels: Levels of the pyramid that have places, of the backbone's.
        width: Channels of pyramid and head, a multiple of 8.
        weights: As for ``create_backbone``; pyramid and head are always new.
        dims: As for ``create_backbone``, 2 or 3.
        channel_map: As for ``create_backbone``.
        depth_strides: As for ``create_backbone``.
        input_range: Bounds of the input in modality units, clipped and scaled to 0-255 inside.

    Returns:
        A functional model ``<name>_boxes`` of built-in layers: input ``image``, float32
        ``(batch, *spatial, channels)``; output float32 ``(batch, places, classes + 2 axes)``: the
        logit of each class, then the distances in voxels to the lowest faces and to the highest
        ones. `box_places` says where the places are.

    Raises:
        ZooError: As ``create_backbone`` does, and for arguments out of range.
    """
    spec = get_spec(name)
    if dims not in (2, 3):
        raise ZooError(f"dims is {dims!r}; a detector of boxes takes 2 or 3")
    check_input(spec, input_shape, dims=dims, depth_strides=depth_strides)
    if None in input_shape:
        raise ZooError(f"input_shape {input_shape} leaves a side open; its places would be unknown")
    if classes < 1 or width < GROUPS or width % GROUPS:
        raise ZooError(
            f"classes is {classes} and width {width}; wanted 1 or more, and a multiple of {GROUPS}"
        )
    found = find_weights(spec, weights)
    image = keras.Input(input_shape, name="image", dtype="float32")
    pyramid = build_pyramid(
        spec,
        to_pixels(image, input_range),
        found=found,
        channel_map=channel_map,
        depth_strides=depth_strides,
    )
    chosen = sorted(set(levels), key=lambda level: int(level[1:]))
    if not chosen or not set(chosen) <= set(pyramid):
        raise ZooError(f"levels {tuple(levels)} are not all of {name}'s {', '.join(pyramid)}")
    maps = _pyramid({level: pyramid[level] for level in chosen}, width)
    head = _Head(dims, classes, width)
    places = [head(x, level, spatial(image)) for level, x in maps.items()]
    boxes = (
        places[0] if len(places) == 1 else keras.layers.Concatenate(axis=1, name="boxes")(places)
    )
    return keras.Model(image, boxes, name=f"{spec.name}_boxes")


def _pyramid(given: dict[str, keras.KerasTensor], width: int) -> dict[str, keras.KerasTensor]:
    """Lateral 1x1, what comes down from the coarser level added, 3x3; finest first."""
    maps: dict[str, keras.KerasTensor] = {}
    above = None
    for level in reversed(given):
        x = conv(given[level], width, 1, bias=True, name=f"boxes_{level}_lateral")
        if above is not None:
            down = upsample_to(above, spatial(x), name=f"boxes_{level}_down")
            x = keras.layers.Add(name=f"boxes_{level}_merge")([x, down])
        above = x
        maps[level] = conv(x, width, 3, bias=True, name=f"boxes_{level}_smooth")
    return {level: maps[level] for level in given}


class _Head:
    """Layers that all levels share: two convolutions, then classes and distances."""

    def __init__(self, dims: int, classes: int, width: int) -> None:
        convolution = of_dims("Conv", dims)
        self.dims = dims
        self.body: list[Any] = []
        for k in (1, 2):
            self.body += [
                convolution(width, 3, padding="same", use_bias=False, name=f"boxes_conv{k}"),
                keras.layers.GroupNormalization(GROUPS, name=f"boxes_norm{k}"),
                keras.layers.Activation("relu", name=f"boxes_relu{k}"),
            ]
        bias = keras.initializers.Constant(float(np.log(PRIOR / (1 - PRIOR))))
        self.classes = convolution(
            classes, 3, padding="same", bias_initializer=bias, dtype="float32", name="boxes_class"
        )
        self.sides = convolution(
            2 * dims, 3, padding="same", activation="softplus", dtype="float32", name="boxes_sides",
            bias_initializer="ones",
        )  # fmt: skip

    def __call__(
        self, x: keras.KerasTensor, level: str, sides: tuple[int | None, ...]
    ) -> keras.KerasTensor:
        """Rows of one level: logits, then distances in voxels."""
        strides = _strides(sides, spatial(x))
        for layer in self.body:
            x = layer(x)
        distances = keras.layers.Rescaling([*strides, *strides], name=f"boxes_{level}_voxels")(
            self.sides(x)
        )
        both = keras.layers.Concatenate(name=f"boxes_{level}")([self.classes(x), distances])
        return keras.layers.Reshape((-1, both.shape[-1]), name=f"boxes_{level}_rows")(both)


def _strides(sides: Sequence[int | None], size: Sequence[int | None]) -> list[float]:
    """Voxels from one place to the next along each axis: a power of 2, borders cut off."""
    ratios = [(n or 1) / (m or 1) for n, m in zip(sides, size, strict=True)]
    return [2.0 ** round(float(np.log2(ratio))) for ratio in ratios]


def resized(model: keras.Model, sides: Sequence[int]) -> keras.Model:
    """A detector of boxes in pictures with the same weights for inputs of another size.

    Args:
        model: As `create_box_detector` builds it; its sides are multiples of the coarsest stride.
        sides: Likewise.

    Raises:
        ZooError: Sides of either are no such multiples, so that its layers would not be the same;
            or it is one for volumes, whose layers hold their depth.
    """
    own = tuple(model.input_shape[1:-1])
    if len(own) != 2:
        raise ZooError("a detector of boxes in volumes has one size; build another")
    coarsest = box_places(model)[1].max(axis=0).astype(int)
    for given in (own, tuple(sides)):
        if len(given) != len(own) or any(n % m for n, m in zip(given, coarsest, strict=True)):
            raise ZooError(f"sides {given} are not multiples of the strides {tuple(coarsest)}")
    image = keras.Input((*sides, model.input_shape[-1]), name="image", dtype="float32")
    found = keras.models.clone_model(model, input_tensors=image)
    found.set_weights(model.get_weights())
    return found


def class_logits(model: keras.Model) -> keras.Model:
    """The part of a detector that says what is at each place, without the distances.

    Args:
        model: As `create_box_detector` builds it, perhaps saved and opened again.

    Returns:
        A model of the same layers and weights, ``<its name>_logits``; output
        ``(batch, places, classes)``, the places in the order of `box_places`.

    Raises:
        ZooError: The model is another one.
    """
    rows = []
    for level in box_levels(model):
        logits = model.get_layer(f"boxes_{level}").input[0]
        layer = keras.layers.Reshape((-1, logits.shape[-1]), name=f"boxes_{level}_logits")
        rows.append(layer(logits))
    found = rows[0] if len(rows) == 1 else keras.layers.Concatenate(axis=1, name="logits")(rows)
    return keras.Model(model.inputs[0], found, name=f"{model.name}_logits")


def box_levels(model: keras.Model) -> list[str]:
    """Levels of the pyramid that have places, the finest first; ``boxes_P3_smooth`` is P3's map.

    Raises:
        ZooError: The model is no detector of boxes.
    """
    names = [layer.name for layer in model.layers]
    levels = sorted(
        (n.split("_")[1] for n in names if n.startswith("boxes_P") and n.endswith("_rows")),
        key=lambda level: int(level[1:]),
    )
    if not levels:
        raise ZooError(f"{model.name} is no detector of boxes")
    return levels


def box_places(
    model: keras.Model,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Where a detector's places are.

    Args:
        model: As `create_box_detector` builds it, perhaps saved and opened again.

    Returns:
        Middles as distances from the input's lowest faces, and strides, both ``(places, axes)``
        in voxels, in the order of the output.

    Raises:
        ZooError: The model is another one.
    """
    sides = tuple(model.input_shape[1:-1])
    middles, steps = [], []
    for level in box_levels(model):
        size = tuple(model.get_layer(f"boxes_{level}").output.shape[1:-1])
        strides = np.asarray(_strides(sides, size), np.float32)
        grid = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), axis=-1)
        places = (grid.reshape(-1, len(size)) + 0.5) * strides
        middles.append(places.astype(np.float32))
        steps.append(np.broadcast_to(strides, places.shape))
    return np.concatenate(middles), np.concatenate(steps)
