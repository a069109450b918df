"""What a network has learned: the regions of the user's cases that excite its units most.

A unit is a channel of a feature map. Of every case the place where the unit is highest is looked
up, and the part of the case that this place sees, its receptive field, is what excites it (Zeiler
and Fergus, 2014, arXiv:1311.2901; Zhou et al., 2015, arXiv:1412.6856).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from recipes.explaining.errors import ExplainError
from recipes.explaining.network import Array, Explained, Floats
from zoo.receptive_field import AxisField, receptive_field

BATCH = 8
TOP = 9
"""Regions shown of every unit."""


@dataclass(frozen=True, eq=False)
class Region:
    """Where a case excites a unit most.

    Attributes:
        case: Position of the case in what was looked at.
        value: The unit's value there.
        place: Place on the feature map.
        box: What that place sees on the input's grid, the first sample and the one behind the last
            along each axis; it may reach beyond the borders.
    """

    case: int
    value: float
    place: tuple[int, ...]
    box: tuple[tuple[int, int], ...]


@dataclass(frozen=True, eq=False)
class Layer:
    """A feature map and its units.

    Attributes:
        name: Of the layer, of an ensemble in its first member.
        number: Of its tensor.
        fields: Receptive field along each axis.
        channels: How many units there are.
        regions: Unit -> its regions, the highest value first.
    """

    name: str
    number: int
    fields: tuple[AxisField, ...]
    channels: int
    regions: Mapping[int, Sequence[Region]] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        """Whether something on the way sees the whole input, as gates with global pooling do."""
        return any(axis.size is None for axis in self.fields)

    @property
    def sides(self) -> tuple[int, ...]:
        """Sides of the receptive field, samples; of the local way, where `whole`."""
        return tuple(b - a for a, b in field_box(self.fields, (0,) * len(self.fields)))


def field_box(fields: Sequence[AxisField], place: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Input samples that a place of a feature map depends on, first and behind the last.

    Args:
        fields: Of the feature map, as `zoo.receptive_field` gives them.
        place: Index of the place.

    Returns:
        For each axis; below 0 or beyond the end where the field reaches over the border.
    """
    return tuple(
        (math.ceil(axis.stride * i + axis.low), math.floor(axis.stride * i + axis.high) + 1)
        for axis, i in zip(fields, place, strict=True)
    )


def layer_of(network: Explained, name: str) -> Layer:
    """A layer by its name, without regions.

    Raises:
        ExplainError: There is none, or it gives no feature map.
        zoo.ZooError: Its receptive field is not known.
    """
    number = network.program.find(name)[0]
    full = network.name_of(number)
    fields = receptive_field(network.model, layer=full)
    return Layer(full, number, fields, int(network.program.shape_of(number)[-1] or 0))


def look(
    network: Explained,
    layers: Sequence[Layer],
    images: Iterable[Floats],
    *,
    units: int,
    top: int = TOP,
    progress: Callable[[int], None] = lambda done: None,
) -> list[Layer]:
    """Find the regions that excite units most; a case counts once for a unit.

    Args:
        network: The network.
        layers: Which.
        images: Inputs, ``(*grid, channels)`` each, of one size; one batch is in memory at a time.
        units: Units of each layer, evenly among those whose value is not everywhere the same.
        top: Regions of a unit.
        progress: Called with the number of cases done.

    Raises:
        ExplainError: No image, or fewer than 1 unit.
    """
    if units < 1:
        raise ExplainError(f"--units {units}: give 1 or more")
    numbers = [layer.number for layer in layers]
    highest: list[list[Floats]] = [[] for _ in layers]
    lowest: list[list[Floats]] = [[] for _ in layers]
    places: list[list[npt.NDArray[np.int64]]] = [[] for _ in layers]
    grids: list[tuple[int, ...]] = [()] * len(layers)
    done = 0
    for batch in _batches(images):
        for k, maps in enumerate(network.features(batch, numbers)):
            flat = maps.reshape(len(maps), -1, maps.shape[-1])
            grids[k] = maps.shape[1:-1]
            places[k].append(flat.argmax(axis=1))
            highest[k].append(flat.max(axis=1))
            lowest[k].append(flat.min(axis=1))
        done += len(batch)
        progress(done)
    if not done:
        raise ExplainError("no case to look at")
    found = []
    for k, layer in enumerate(layers):
        values, at = np.concatenate(highest[k]), np.concatenate(places[k])
        alive = np.flatnonzero(values.max(axis=0) > np.concatenate(lowest[k]).min(axis=0))
        regions = {
            int(unit): _regions(layer, values[:, unit], at[:, unit], grids[k], top)
            for unit in evenly(alive, units)
        }
        found.append(Layer(layer.name, layer.number, layer.fields, layer.channels, regions))
    return found


def evenly(numbers: Array, count: int) -> Array:
    """So many of some numbers, evenly spread over their order; all where there are fewer."""
    if count >= len(numbers):
        return numbers
    return numbers[np.arange(count) * len(numbers) // count]


def _regions(
    layer: Layer, values: Floats, at: Array, grid: tuple[int, ...], top: int
) -> list[Region]:
    order = np.argsort(-values, kind="stable")[:top]
    regions = []
    for case in order:
        place = tuple(int(i) for i in np.unravel_index(int(at[case]), grid))
        box = field_box(layer.fields, place)
        regions.append(Region(int(case), float(values[case]), place, box))
    return regions


def _batches(images: Iterable[Floats]) -> Iterator[Floats]:
    batch: list[Floats] = []
    for image in images:
        batch.append(image)
        if len(batch) == BATCH:
            yield np.stack(batch)
            batch = []
    if batch:
        yield np.stack(batch)


def first_kernels(network: Explained) -> tuple[str, Floats]:
    """Kernels of the first convolution, ``(*sides, channels, filters)``, and the layer's name.

    Raises:
        ExplainError: The network has no convolution.
    """
    for step in network.program.steps:
        if isinstance(step.operation, keras.layers.Conv2D | keras.layers.Conv3D):
            kernel: Any = keras.ops.convert_to_numpy(step.operation.kernel)
            return step.name, np.asarray(kernel, np.float32)
    raise ExplainError(f"network {network.model.name!r} has no convolution")
