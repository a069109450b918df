"""The network of masked pretraining: a backbone, and a linear layer from its maps to the pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

import zoo
from recipes.errors import ConfigError
from zoo.architectures.blocks import dims_of, of_dims
from zoo.heads.model import to_pixels

FINEST = 8
"""Most voxels a side that one place of the level stands for that volumes are rebuilt at."""
START = 1e-3
"""Standard deviation of the last layer's weights at the start."""
WIDTH = 64
"""Channels in which the maps of several levels are added up."""


def rebuilder(
    backbone: str,
    input_shape: Sequence[int],
    input_range: tuple[float, float],
    *,
    weights: str | None,
    level: str = "auto",
) -> keras.Model:
    """A backbone, and what gives the pixels of each place of its feature maps.

    As in SimMIM (arXiv:2111.09886) the head is linear, so that the backbone has to do the work.
    Pictures are rebuilt from the top feature map. A place of it stands for 32 x 32 x 32 voxels of
    a volume, of which a patch holds few, so volumes are rebuilt at a finer level: that map and all
    coarser ones, each through a linear layer that gives every place under one of its own its own
    values, are added up there. So the layers behind the level get gradients too.

    Args:
        backbone: A registered name.
        input_shape: ``(H, W, C)`` or ``(D, H, W, C)``.
        input_range: Modality units that map to 0-255.
        weights: Weights it starts from; None for random ones.
        level: ``"P1"`` to ``"P5"``, the finest level that is used; ``"auto"``: the top for
            pictures, for volumes the coarsest whose places are at most `FINEST` voxels a side.

    Returns:
        A model from ``(B, *sides, C)`` to the same shape, in 0-1; ``pooled`` of it gives the
        pooled top features ``(B, f)``, ``levels`` names the levels that are used.

    Raises:
        ConfigError: The backbone does not have the level.
        ZooError: The backbone or its weights are not to be had, or the input is too small.
    """
    *sides, channels = input_shape
    image = keras.Input(tuple(input_shape), name="image", dtype="float32")
    network = zoo.create_backbone(
        backbone, input_shape=tuple(input_shape), weights=weights, dims=len(sides)
    )
    pyramid = network(to_pixels(image, input_range))
    chosen = _levels(pyramid, sides, level, backbone)
    at = pyramid[chosen[0]]
    steps = tuple(-(-side // n) for side, n in zip(sides, _grid(at), strict=True))
    x = at if len(chosen) == 1 else _joined({name: pyramid[name] for name in chosen})
    x = _spread(x, steps, sides, channels, name="rebuild", begin=0.5)
    top = list(pyramid.values())[-1]
    pooled = of_dims("GlobalAveragePooling", dims_of(top))(name="pool")(top)
    model = keras.Model(image, x, name="rebuilder")
    model.levels = tuple(chosen)
    model.pooled = keras.Model(image, pooled, name="features")
    return model


def _levels(
    pyramid: dict[str, keras.KerasTensor], sides: Sequence[int], level: str, backbone: str
) -> list[str]:
    """The levels that are used, finest first."""
    names = list(pyramid)
    if level == "auto":
        if len(sides) == 2:
            return names[-1:]
        places = {
            name: max(-(-side // n) for side, n in zip(sides, _grid(x), strict=True))
            for name, x in pyramid.items()
        }
        level = max((name for name in names if places[name] <= FINEST), default=names[0])
    if level not in names:
        raise ConfigError(f"model.level={level}: {backbone!r} has {', '.join(names)}")
    return names[names.index(level) :]


def _joined(maps: dict[str, keras.KerasTensor]) -> keras.KerasTensor:
    """All maps on the grid of the first, added up."""
    first = next(iter(maps.values()))
    grid = _grid(first)
    parts = []
    for name, x in maps.items():
        steps = tuple(-(-n // m) for n, m in zip(grid, _grid(x), strict=True))
        parts.append(_spread(x, steps, grid, WIDTH, name=f"join_{name}"))
    return keras.layers.Add(name="joined")(parts)


def _spread(
    x: keras.KerasTensor,
    steps: Sequence[int],
    sides: Sequence[int],
    channels: int,
    *,
    name: str,
    begin: float | None = None,
) -> keras.KerasTensor:
    """Give each place of a map the values of a box of places on a finer grid, by one linear layer.

    Args:
        x: ``(B, *grid, f)``.
        steps: Sides of the box.
        sides: Sides of the finer grid, at most grid times steps; what lies beyond is cut off.
        channels: Values of each finer place.
        name: Of the layer.
        begin: What all values start near; None: drawn as Keras draws them.

    Returns:
        ``(B, *sides, channels)``.
    """
    ops = keras.ops
    grid, axes = _grid(x), dims_of(x)
    filters = channels
    for step in steps:
        filters *= step
    options = {} if begin is None else _near(begin)
    x = of_dims("Conv", axes)(filters, 1, dtype="float32", name=name, **options)(x)
    x = ops.reshape(x, (-1, *grid, *steps, channels))
    order = [axis for k in range(axes) for axis in (1 + k, 1 + axes + k)]
    x = ops.transpose(x, (0, *order, 1 + 2 * axes))
    x = ops.reshape(x, (-1, *(n * s for n, s in zip(grid, steps, strict=True)), channels))
    return x[(slice(None), *(slice(side) for side in sides))]


def _near(value: float) -> dict[str, Any]:
    """A start near one value: else many steps go by until the random values are unlearnt."""
    return {
        "kernel_initializer": keras.initializers.RandomNormal(stddev=START),
        "bias_initializer": keras.initializers.Constant(value),
    }


def _grid(x: keras.KerasTensor) -> tuple[int, ...]:
    """Sides of a map, all of them known."""
    return tuple(int(side) for side in x.shape[1:-1])
