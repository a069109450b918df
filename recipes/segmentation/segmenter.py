"""A finished run ready for use: its networks, its record, and the stage before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data_adapters.case import Case
from data_adapters.chain import run_chain
from data_adapters.transforms.base import Undo
from data_adapters.transforms.compose import invert_probabilities
from data_adapters.transforms.guides import REGION
from data_adapters.transforms.region import box_around
from recipes.engine.modelfile import RECORD_FILE, file_sha256
from recipes.errors import RecipeError, RunFolderError
from recipes.segmentation.inference import Network, postprocess
from recipes.segmentation.prediction import Member, Predictor
from recipes.segmentation.record import SegmentationRecord, load_segmenter

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.uint8]
FIRST = "first"
"""Folder of a cascade's first stage inside the run folder."""


@dataclass(frozen=True)
class Segmenter:
    """Everything from a case to its labels.

    Attributes:
        members: The networks of the run's ensemble.
        record: What ``model.json`` says of them.
        first: The stage that leads the input; None where the record names none.
    """

    members: Sequence[Member]
    record: SegmentationRecord
    first: Segmenter | None = None

    @classmethod
    def load(cls, folder: str | Path) -> Segmenter:
        """Open the run of a folder, its first stage included.

        Raises:
            RunFolderError: A file is missing or damaged, or the files do not belong together.
        """
        folder = Path(folder)
        models, record = load_segmenter(folder)
        first = None
        if record.cascade is not None:
            if record_sha256(folder / FIRST) != record.cascade.first_sha256:
                raise RunFolderError(
                    f"{FIRST}/{RECORD_FILE} is not the first stage that this model was fitted "
                    "behind; copy the run folder whole, or fit again"
                )
            first = cls.load(folder / FIRST)
        members: list[Network] = record_predictor(record).ready(models)
        return cls(members, record, first)

    def ready(self, case: Case) -> tuple[Floats, tuple[Undo, ...]]:
        """The network's input of a case, and the way back; see `ready_alone`."""
        return self.ready_alone(case)[:2]

    def ready_alone(self, case: Case) -> tuple[Floats, tuple[Undo, ...], Case]:
        """The network's input of a case, the way back, and the case without its voxels.

        Nothing here holds the case's own voxels once they are no longer needed: a large case has
        no memory for both.

        Args:
            case: Any case; its truth is not looked at.

        Returns:
            ``(D, H, W, C)`` or ``(H, W, C)`` after the chain; what `labels` and `probabilities`
            need; and the case with its geometry, its image empty.

        Raises:
            RecipeError: The case is a picture and the model for volumes, or the other way round,
                or has another number of channels.
            data_adapters.errors.DataError: A step of the chain does not fit the case.
        """
        record = self.record
        volume = case.image.ndim == 4
        if volume != record.volume:
            kinds = ("volumes", "pictures") if record.volume else ("pictures", "volumes")
            raise RecipeError(
                f"case {case.case_id}: the model was fitted on {kinds[0]} and this is one of "
                f"{kinds[1]}"
            )
        case = replace(case, mask=None, masks=None, lesions=())
        if self.first is not None and record.cascade is not None:
            found = self.first.segment(case)
            names = self.first.record.class_names
            case = guided(case, guide_of(found, record.cascade.kind), record.cascade.kind, names)
        light, held = replace(case, image=case.image[:0].copy(), padding=None, masks=None), [case]
        del case
        done, undos = run_chain(held.pop(), record.chain)
        if done.image.shape[-1] != record.channels:
            raise RecipeError(
                f"case {light.case_id} has {done.image.shape[-1]} channels and the model was "
                f"fitted on {record.channels}; give the same sequences, in the same order, as for "
                "the fit"
            )
        return np.asarray(done.image, np.float32), undos, light

    def labels(self, image: Floats, undos: Sequence[Undo]) -> Labels:
        """The most probable class of every voxel of a case, in bounded memory, not postprocessed.

        Args:
            image: As `ready` gives it.
            undos: Likewise.

        Returns:
            Integers on the case's own grid.
        """
        predictor, held = record_predictor(self.record), [image]
        del image  # the predictor lets it go before classes are compared
        return predictor.labels(self.members, held.pop(), undos, mirrors=self.record.mirrors)

    def probabilities(self, image: Floats, undos: Sequence[Undo]) -> Floats:
        """Probabilities on the case's own grid, ``(*grid, K)``, all in memory.

        Args:
            image: As `ready` gives it.
            undos: Likewise.
        """
        predictor = record_predictor(self.record)
        found = predictor.probabilities(self.members, image, mirrors=self.record.mirrors)
        return invert_probabilities(found, undos)

    def segment(self, case: Case) -> Labels:
        """Labels of a case on its own grid, postprocessed as the record says."""
        return postprocess(self.labels(*self.ready(case)), self.record.postprocess, in_place=True)


def record_predictor(record: SegmentationRecord) -> Predictor:
    """How a finished run predicts."""
    return Predictor(
        axes=record.axes,
        patch=record.patch,
        neighbours=record.neighbours,
        mode=record.mode,
        overlap=record.overlap,
        fill=record.fill,
    )


def record_sha256(folder: Path) -> str:
    """Hash of a run's ``model.json``, which names the hash of its weights.

    Raises:
        RunFolderError: There is none.
    """
    try:
        return file_sha256(folder / RECORD_FILE)
    except OSError as error:
        raise RunFolderError(
            f"{folder.name}/{RECORD_FILE} cannot be read ({error.strerror}); "
            "copy the run folder whole, or give the fit command again"
        ) from error


def guide_of(labels: npt.NDArray[Any], kind: str) -> npt.NDArray[Any]:
    """What a first stage hands on: the box around all that it found, or its classes.

    Args:
        labels: Classes on a case's own grid.
        kind: ``region`` or ``resolution``.

    Returns:
        For ``region`` the lowest voxel then the highest (exclusive) of each axis, empty where
        nothing was found; for ``resolution`` the labels.
    """
    if kind == "resolution":
        return np.asarray(labels, np.uint8)
    box = box_around(labels > 0)
    return np.asarray([] if box is None else [*box[0], *box[1]], np.int64)


def guided(case: Case, guide: npt.NDArray[Any], kind: str, names: Sequence[str]) -> Case:
    """A case with what the steps ``region`` and ``prior`` look for.

    Args:
        case: Any case.
        guide: As `guide_of` gives it.
        kind: ``region`` or ``resolution``.
        names: Classes of the first stage, background first.
    """
    if kind == "region":
        return replace(case, meta={**case.meta, REGION: tuple(int(v) for v in guide)})
    classes = np.arange(1, len(names), dtype=np.uint8)
    return replace(case, masks=(guide[..., None] == classes).astype(np.uint8))
