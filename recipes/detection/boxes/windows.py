"""A network of boxes over images of any size: windows, mirrored views, the best of each heap."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from recipes.evaluation.froc.hits import box_iou
from zoo.boxes import box_places, resized

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Array = npt.NDArray[Any]

WINDOWS = 4
"""Windows in a batch."""
LARGEST = 2**21
"""Pixels of a picture that is looked at in one piece."""
SIZES = 8
"""Sizes of images for which the network is kept."""
BEFORE = 2000
"""Boxes of a class, the highest first, among which the best of each heap is taken."""


@dataclass(frozen=True)
class Boxes:
    """Boxes on one grid.

    Attributes:
        labels: Class of each, shape (N,).
        scores: Probability, shape (N,).
        boxes: Lowest faces then highest in voxels, shape (N, 2 axes).
        origins: What gave each: the number of the mirrored view, the place in the network's output,
            and its window's first voxels on the view; shape (N, 2 + axes).
    """

    labels: Ints
    scores: Array
    boxes: Array
    origins: Ints

    def __getitem__(self, rows: Array) -> Boxes:
        """Some of them."""
        return Boxes(self.labels[rows], self.scores[rows], self.boxes[rows], self.origins[rows])


@dataclass(frozen=True)
class Sized:
    """A network of boxes for one size.

    Attributes:
        model: It.
        sides: Of its input.
        places: Middles of its places, ``(N, axes)`` in voxels.
    """

    model: keras.Model
    sides: tuple[int, ...]
    places: Floats


def _sized(model: keras.Model) -> Sized:
    return Sized(model, tuple(int(n) for n in model.input_shape[1:-1]), box_places(model)[0])


@dataclass(frozen=True, eq=False)
class Glimpse:
    """What the network saw when it gave a box.

    Attributes:
        network: The network of that size.
        image: Its input, ``(*network.sides, C)``.
        place: Place in its output.
        corner: First voxels of the window on the view.
        view: Axes along which the view is mirrored.
        sides: Of the whole image.
    """

    network: Sized
    image: Floats
    place: int
    corner: tuple[int, ...]
    view: tuple[int, ...]
    sides: tuple[int, ...]

    def spread(self, heat: Array) -> Floats:
        """A map of the window on the image's grid; 0 elsewhere.

        Args:
            heat: ``(*network.sides)``.
        """
        found = np.zeros(self.sides, np.float32)
        window = self._window()
        found[window] = heat[tuple(slice(0, s.stop - s.start) for s in window)]
        return np.flip(found, self.view) if self.view else found

    def cut(self, grid: Array) -> Array:
        """The window of an array on the image's grid; 0 beyond its ends.

        Args:
            grid: ``(*sides)``.
        """
        whole = np.flip(grid, self.view) if self.view else grid
        window = self._window()
        found = np.zeros(self.network.sides, grid.dtype)
        found[tuple(slice(0, s.stop - s.start) for s in window)] = whole[window]
        return found

    def _window(self) -> tuple[slice, ...]:
        """The part of the window that lies on the image."""
        ends = zip(self.corner, self.network.sides, self.sides, strict=True)
        return tuple(slice(first, min(first + side, whole)) for first, side, whole in ends)


class Windows:
    """A network of boxes over images of any size."""

    def __init__(
        self,
        model: keras.Model,
        classes: int,
        *,
        overlap: float,
        iou: float,
        whole: bool = False,
    ) -> None:
        """Take the network.

        Args:
            model: As `zoo.boxes.create_box_detector` builds it.
            classes: Classes of lesions.
            overlap: Part of a window that the next one repeats.
            iou: Overlap from which two boxes of a class are one.
            whole: Look at a picture of up to `LARGEST` pixels at once, so that no lesion is cut by
                a window's border, where the network's levels allow any size; volumes go by windows.
        """
        self.classes, self.overlap, self.iou = classes, overlap, iou
        self.own = _sized(model)
        _, strides = box_places(model)
        self.coarsest = strides.max(axis=0).astype(int)
        even = all(n % m == 0 for n, m in zip(self.own.sides, self.coarsest, strict=True))
        self.whole = whole and even and len(self.own.sides) == 2
        self._larger: dict[tuple[int, ...], Sized] = {}

    def find(self, image: Floats, *, floor: float, most: int, mirrors: Sequence[int] = ()) -> Boxes:
        """Boxes of an image on its own grid, the highest score of each class first.

        Args:
            image: ``(*grid, C)`` after the chain.
            floor: Least score.
            most: Boxes of a class.
            mirrors: Axes along which mirrored views are looked at too; what they agree on is kept
                as what windows do, and scores are not averaged.
        """
        parts = []
        for number, view in enumerate(_views(mirrors)):
            found = self._seen(np.flip(image, view) if view else image, floor, number)
            boxes = found.boxes.copy()
            axes = boxes.shape[1] // 2
            for axis in view:
                low = image.shape[axis] - boxes[:, axes + axis]
                boxes[:, axes + axis] = image.shape[axis] - found.boxes[:, axis]
                boxes[:, axis] = low
            parts.append(replace(found, boxes=boxes))
        return best_of_heaps(_joined(parts, image.ndim - 1), iou=self.iou, most=most)

    def glimpse(self, image: Floats, origin: Ints, mirrors: Sequence[int] = ()) -> Glimpse:
        """What the network saw when it gave a box.

        Args:
            image: As `find` had it.
            origin: Of the box, a row of `Boxes.origins`.
            mirrors: As `find` had them.
        """
        view = list(_views(mirrors))[int(origin[0])]
        network = self._for(image.shape[:-1])
        padded = _padded(np.flip(image, view) if view else image, network.sides)
        corner = tuple(int(first) for first in origin[2:])
        window = tuple(slice(a, a + n) for a, n in zip(corner, network.sides, strict=True))
        return Glimpse(
            network, padded[window], int(origin[1]), corner, view, tuple(image.shape[:-1])
        )

    def middle(self, image: Floats) -> Floats:
        """The window of the network's own size around an image's middle, ``(*sides, C)``.

        Args:
            image: ``(*grid, C)`` after the chain.
        """
        padded = _padded(image, self.own.sides)
        ends = zip(image.shape[:-1], self.own.sides, strict=True)
        starts = [max(0, (whole - side) // 2) for whole, side in ends]
        window = zip(starts, self.own.sides, strict=True)
        return padded[tuple(slice(first, first + side) for first, side in window)]

    def _seen(self, image: Floats, floor: float, view: int) -> Boxes:
        """Boxes of all windows whose middles lie where the window sees enough around them."""
        sides = image.shape[:-1]
        network = self._for(sides)
        padded = _padded(image, network.sides)
        starts = list(itertools.product(*(
            _starts(n, side, self.overlap)
            for n, side in zip(padded.shape[:-1], network.sides, strict=True)
        )))  # fmt: skip
        parts = []
        for k in range(0, len(starts), WINDOWS):
            corners = starts[k : k + WINDOWS]
            batch = np.stack([
                padded[tuple(slice(a, a + n) for a, n in zip(corner, network.sides, strict=True))]
                for corner in corners
            ])  # fmt: skip
            rows = keras.ops.convert_to_numpy(network.model(batch, training=False))
            for corner, one in zip(corners, rows, strict=True):
                place = (np.asarray(corner), padded.shape[:-1], sides)
                found = self._inside(network, one, *place, floor)
                found.origins[:, 0] = view
                parts.append(found)
        return _joined(parts, len(sides))

    def _for(self, sides: Sequence[int]) -> Sized:
        """The network for an image: as large as the image where that may be, else its own."""
        wanted = tuple(
            int(max(own, -(-n // step) * step))
            for n, step, own in zip(sides, self.coarsest, self.own.sides, strict=True)
        )
        if not self.whole or wanted == self.own.sides or math.prod(wanted) > LARGEST:
            return self.own
        if wanted not in self._larger:
            if len(self._larger) == SIZES:
                self._larger.pop(next(iter(self._larger)))
            self._larger[wanted] = _sized(resized(self.own.model, wanted))
        return self._larger[wanted]

    def _inside(
        self,
        network: Sized,
        rows: Floats,
        corner: Array,
        padded: Sequence[int],
        sides: Sequence[int],
        floor: float,
    ) -> Boxes:
        """One window's boxes on the image's grid."""
        axes = len(sides)
        chance = 1 / (1 + np.exp(-rows[:, : self.classes].astype(np.float64)))
        place, label = np.nonzero(chance >= floor)
        distances = rows[place, self.classes :].astype(np.float64)
        at = network.places[place] + corner
        boxes = np.concatenate([at - distances[:, :axes], at + distances[:, axes:]], axis=1)
        boxes = np.clip(boxes, 0, [*sides, *sides])
        middle = (boxes[:, :axes] + boxes[:, axes:]) / 2
        margin = self.overlap * np.asarray(network.sides) / 2
        low = np.where(corner == 0, -np.inf, corner + margin)
        end = corner + np.asarray(network.sides)
        high = np.where(end == np.asarray(padded), np.inf, end - margin)
        kept = ((middle >= low) & (middle <= high)).all(axis=1)
        kept &= (boxes[:, axes:] > boxes[:, :axes]).all(axis=1)
        origins = np.zeros((int(kept.sum()), 2 + axes), np.int64)
        origins[:, 1], origins[:, 2:] = place[kept], corner
        return Boxes(label[kept].astype(np.int64), chance[place, label][kept], boxes[kept], origins)


def best_of_heaps(found: Boxes, *, iou: float, most: int) -> Boxes:
    """Non-maximum suppression: the highest of boxes of a class that overlap, class by class."""
    kept: list[int] = []
    for label in np.unique(found.labels):
        rows = np.flatnonzero(found.labels == label)
        rows = rows[np.argsort(-found.scores[rows], kind="stable")][:BEFORE]
        overlaps = box_iou(found.boxes[rows], found.boxes[rows]) > iou
        gone = np.zeros(len(rows), bool)
        mine: list[int] = []
        for k in range(len(rows)):
            if len(mine) == most:
                break
            if not gone[k]:
                mine.append(int(rows[k]))
                gone |= overlaps[k]
        kept += mine
    return found[np.asarray(kept, np.int64)]


def _joined(parts: Sequence[Boxes], axes: int) -> Boxes:
    return Boxes(
        np.concatenate([np.empty(0, np.int64), *(p.labels for p in parts)]),
        np.concatenate([np.empty(0), *(p.scores for p in parts)]),
        np.concatenate([np.empty((0, 2 * axes)), *(p.boxes for p in parts)]),
        np.concatenate([np.empty((0, 2 + axes), np.int64), *(p.origins for p in parts)]),
    )


def _views(mirrors: Sequence[int]) -> Iterator[tuple[int, ...]]:
    for count in range(len(mirrors) + 1):
        yield from itertools.combinations(mirrors, count)


def _padded(image: Floats, patch: Sequence[int]) -> Floats:
    """The image, at least as large as a window: its lowest values behind its ends."""
    width = [(0, max(0, n - side)) for n, side in zip(patch, image.shape[:-1], strict=True)]
    if not any(after for _, after in width):
        return image
    low = image.min(axis=tuple(range(image.ndim - 1)))
    channels = [
        np.pad(image[..., c], width, constant_values=low[c]) for c in range(image.shape[-1])
    ]
    return np.stack(channels, axis=-1)


def _starts(side: int, patch: int, overlap: float) -> list[int]:
    """First voxels of windows along an axis, evenly, the last one at the end."""
    if side <= patch:
        return [0]
    count = 1 + int(np.ceil((side - patch) / (patch * (1 - overlap))))
    return sorted({round(float(v)) for v in np.linspace(0, side - patch, count)})
