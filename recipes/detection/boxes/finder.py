"""Boxes of a whole case: windows over it, the best of each heap, on the case's own grid."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import keras
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from data_adapters.case import Case, Geometry
from data_adapters.chain import run_chain
from data_adapters.geometry import to_index, to_world
from recipes.detection.candidates import Found, PeakRules
from recipes.engine.modelfile import open_model, read_record
from recipes.errors import RecipeError, RunFolderError
from recipes.evaluation.froc.hits import box_iou
from recipes.intended_use import INTENDED_USE
from zoo.boxes import box_places, resized

Floats = npt.NDArray[np.float32]
Array = npt.NDArray[Any]

WINDOWS = 4
"""Windows in a batch."""
LARGEST = 2**21
"""Pixels of a picture that is looked at in one piece."""
SIZES = 8
"""Sizes of images for which the network is kept."""
BEFORE = 2000
"""Boxes of a class, the highest first, among which the best of each heap is taken."""


class BoxRecord(BaseModel):
    """``first/model.json`` of a detector of boxes: everything beside its weights.

    Attributes:
        format: Version of this record.
        task: What it is.
        class_names: Classes of lesions.
        axes: Spatial axes of the network and of the cases.
        volume: Whether cases are volumes.
        channels: Channels of a case after the chain.
        patch: Sides of the network's input, voxels.
        chain: Steps of ``data_adapters.chain`` from a case to the network's values.
        overlap: Part of a window that the next one repeats.
        iou: Overlap from which two boxes of a class are one.
        mirrors: Axes along which mirrored views are looked at too.
        whole: Whether pictures are looked at in one piece where memory allows it.
        modality: Modality of the training data, where known.
        data_hash: Hash of the training data.
        train_ids: Ids of the cases that training or the choice of the round has seen.
        model_sha256: Hash of ``model.keras``.
        radzoo: Version that wrote it.
        intended_use: The statement of intended use.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    task: Literal["detection-boxes"] = "detection-boxes"
    class_names: tuple[str, ...]
    axes: Literal[2, 3]
    volume: bool
    channels: Annotated[int, Field(ge=1)]
    patch: tuple[Annotated[int, Field(ge=1)], ...]
    chain: tuple[dict[str, Any], ...]
    overlap: Annotated[float, Field(ge=0, lt=1)]
    iou: Annotated[float, Field(gt=0, le=1)]
    mirrors: tuple[int, ...] = ()
    whole: bool = False
    modality: str | None
    data_hash: str
    train_ids: tuple[str, ...]
    model_sha256: str
    radzoo: str
    intended_use: str = INTENDED_USE


@dataclass(frozen=True)
class Boxes:
    """Boxes on one grid.

    Attributes:
        labels: Class of each, shape (N,).
        scores: Probability, shape (N,).
        boxes: Lowest faces then highest in voxels, shape (N, 2 axes).
    """

    labels: npt.NDArray[np.int64]
    scores: Array
    boxes: Array

    def __getitem__(self, rows: Array) -> Boxes:
        """Some of them."""
        return Boxes(self.labels[rows], self.scores[rows], self.boxes[rows])


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
        for view in _views(mirrors):
            found = self._seen(np.flip(image, view) if view else image, floor)
            boxes = found.boxes.copy()
            axes = boxes.shape[1] // 2
            for axis in view:
                low = image.shape[axis] - boxes[:, axes + axis]
                boxes[:, axes + axis] = image.shape[axis] - found.boxes[:, axis]
                boxes[:, axis] = low
            parts.append(Boxes(found.labels, found.scores, boxes))
        return best_of_heaps(_joined(parts, image.ndim - 1), iou=self.iou, most=most)

    def _seen(self, image: Floats, floor: float) -> Boxes:
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
                parts.append(self._inside(network, one, *place, floor))
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
        return Boxes(label[kept].astype(np.int64), chance[place, label][kept], boxes[kept])


@dataclass(frozen=True)
class BoxFinder:
    """A first stage that gives boxes without a map.

    Attributes:
        windows: The network over images of any size.
        record: What ``first/model.json`` says of it.
    """

    windows: Windows
    record: BoxRecord

    @classmethod
    def load(cls, folder: Path) -> BoxFinder:
        """Open the first stage of a run folder.

        Raises:
            RunFolderError: A file is missing, damaged, or the two do not belong together.
        """
        record = read_record(folder, BoxRecord)
        model = open_model(folder, record.model_sha256)
        classes = len(record.class_names)
        wanted = (*record.patch, record.channels)
        if (
            tuple(model.input_shape[1:]) != wanted
            or model.output_shape[-1] != classes + 2 * record.axes
        ):
            raise RunFolderError(
                f"first/model.keras takes {model.input_shape[1:]} to {model.output_shape[-1]} "
                f"figures, model.json wants {wanted} to {classes + 2 * record.axes}"
            )
        windows = Windows(
            model, classes, overlap=record.overlap, iou=record.iou, whole=record.whole
        )
        return cls(windows, record)

    def find(self, case: Case, rules: PeakRules) -> Found:
        """Candidates of a case on its own grid, the highest score first.

        Args:
            case: Any case; its truth is not looked at.
            rules: Their floor and number hold; distances are by `BoxRecord.iou` instead.

        Raises:
            RecipeError: The case is a picture and the model for volumes, or the other way round,
                or has another number of channels.
        """
        record = self.record
        if (case.image.ndim == 4) != record.volume:
            kinds = ("volumes", "pictures") if record.volume else ("pictures", "volumes")
            raise RecipeError(
                f"case {case.case_id}: the model was fitted on {kinds[0]} and this is one of "
                f"{kinds[1]}"
            )
        done, _ = run_chain(case, record.chain)
        if done.image.shape[-1] != record.channels:
            raise RecipeError(
                f"case {case.case_id} has {done.image.shape[-1]} channels and the model was "
                f"fitted on {record.channels}; give the same sequences, in the same order, as for "
                "the fit"
            )
        image = np.asarray(done.image, np.float32)
        found = self.windows.find(image, floor=rules.floor, most=rules.most, mirrors=record.mirrors)
        grid = case.image.shape[:-1]
        boxes = brought_back(found.boxes, done.geometry, image.shape[:-1], case.geometry, grid)
        axes = len(grid)
        order = np.argsort(-found.scores, kind="stable")
        centres = (boxes[:, :axes] + boxes[:, axes:]) / 2 - 0.5
        return Found(found.labels[order], found.scores[order], centres[order], boxes[order])


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


def brought_back(
    boxes: Array,
    after: Geometry | None,
    sides: Sequence[int],
    before: Geometry | None,
    grid: Sequence[int],
) -> Array:
    """Boxes on the grid before the chain, inside it.

    In volumes whose directions are known the corners go by their places in mm. Without directions
    nothing was turned, and resampling keeps the middle of the image where it was. What has no
    voxel size was not resampled.

    Args:
        boxes: Lowest faces then highest in voxels after the chain.
        after: Where that grid lies.
        sides: Its sides.
        before: Where the case's own grid lies.
        grid: Its sides.
    """
    axes = len(grid)
    if after is not None and before is not None and len(boxes):
        if axes == 3 and after.direction and before.direction:
            signs = np.asarray(list(itertools.product((0, 1), repeat=axes)))
            corners = np.where(signs, boxes[:, None, axes:], boxes[:, None, :axes]) - 0.5
            moved = to_index(before, to_world(after, corners)) + 0.5
            boxes = np.concatenate([moved.min(axis=1), moved.max(axis=1)], axis=1)
        elif len(after.spacing) == len(before.spacing) == axes:
            step = np.tile(np.divide(after.spacing, before.spacing), 2)
            middle, new = np.tile(grid, 2) / 2, np.tile(sides, 2) / 2
            boxes = middle + (boxes - new) * step
    return np.asarray(np.clip(boxes, 0, [*grid, *grid]), np.float64)


def _joined(parts: Sequence[Boxes], axes: int) -> Boxes:
    return Boxes(
        np.concatenate([np.empty(0, np.int64), *(p.labels for p in parts)]),
        np.concatenate([np.empty(0), *(p.scores for p in parts)]),
        np.concatenate([np.empty((0, 2 * axes)), *(p.boxes for p in parts)]),
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
