"""Candidates of a whole case by a network of boxes, on the case's own grid."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from data_adapters.case import Case, Geometry
from data_adapters.chain import run_chain
from data_adapters.geometry import to_index, to_world
from data_adapters.transforms.base import Undo
from recipes.detection.boxes.windows import Windows
from recipes.detection.candidates import Found, PeakRules
from recipes.engine.modelfile import open_model, read_record
from recipes.errors import RecipeError, RunFolderError
from recipes.intended_use import INTENDED_USE

Floats = npt.NDArray[np.float32]
Array = npt.NDArray[Any]


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
        image, geometry, _ = self.ready(case)
        record = self.record
        found = self.windows.find(image, floor=rules.floor, most=rules.most, mirrors=record.mirrors)
        grid = case.image.shape[:-1]
        boxes = brought_back(found.boxes, geometry, image.shape[:-1], case.geometry, grid)
        axes = len(grid)
        order = np.argsort(-found.scores, kind="stable")
        centres = (boxes[:, :axes] + boxes[:, axes:]) / 2 - 0.5
        return Found(
            found.labels[order],
            found.scores[order],
            centres[order],
            boxes[order],
            found.origins[order],
        )

    def ready(self, case: Case) -> tuple[Floats, Geometry | None, tuple[Undo, ...]]:
        """The case after the chain, where it lies then, and the way back.

        Args:
            case: Any case; its truth is not looked at.

        Returns:
            ``(*grid, C)``, its geometry, and what undoes the chain.

        Raises:
            RecipeError: As of `find`.
        """
        record = self.record
        if (case.image.ndim == 4) != record.volume:
            kinds = ("volumes", "pictures") if record.volume else ("pictures", "volumes")
            raise RecipeError(
                f"case {case.case_id}: the model was fitted on {kinds[0]} and this is one of "
                f"{kinds[1]}"
            )
        bare = replace(case, mask=None, masks=None, lesions=())
        done, undos = run_chain(bare, record.chain)
        if done.image.shape[-1] != record.channels:
            raise RecipeError(
                f"case {case.case_id} has {done.image.shape[-1]} channels and the model was "
                f"fitted on {record.channels}; give the same sequences, in the same order, as for "
                "the fit"
            )
        return np.asarray(done.image, np.float32), done.geometry, undos


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
