"""Predictions of a part on the cases' own grids, kept on disk, and their figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from data_adapters.adapter import Adapter
from data_adapters.case import Case
from recipes.engine.checkpoint import disk_error
from recipes.evaluation.masks import ScoreOptions, case_rows, score_case, summarise
from recipes.segmentation.data import Prepared, image_of
from recipes.segmentation.inference import choose_postprocessing, postprocess
from recipes.segmentation.prediction import Predictor

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Predicted:
    """Label maps of one part, one file per case; a killed run does not predict them again.

    Attributes:
        part: ``"val"`` or ``"test"``, or what else was predicted.
        adapter: Where truth and geometry come from.
        rows: Rows of the adapter.
        folder: Where the files are.
    """

    part: str
    adapter: Adapter
    rows: tuple[int, ...]
    folder: Path

    def __len__(self) -> int:
        return len(self.rows)

    def missing(self) -> int:
        """Cases whose label map is not there."""
        return sum(not _file(self.folder, row).is_file() for row in self.rows)

    def labels(self, i: int) -> npt.NDArray[np.uint8]:
        """The predicted classes of the i-th case on its own grid."""
        return np.asarray(np.load(_file(self.folder, self.rows[i]), allow_pickle=False))

    def truth(self, i: int) -> tuple[npt.NDArray[Any], Case]:
        """The mask of the i-th case, and the case."""
        case = self.adapter[self.rows[i]]
        if case.mask is None:
            raise ValueError(f"case {case.case_id} has no mask")
        return case.mask, case


@dataclass(frozen=True)
class Scored:
    """Figures of one part.

    Attributes:
        part: Its name.
        predicted: The label maps before postprocessing.
        rows: One dict per case and class.
        metrics: ``n`` and, per figure, class -> value with its interval.
    """

    part: str
    predicted: Predicted
    rows: tuple[dict[str, Any], ...]
    metrics: dict[str, Any]


def predict_part(
    members: Sequence[keras.Model],
    prepared: Prepared,
    part: str,
    predictor: Predictor,
    *,
    mirrors: tuple[int, ...],
    folder: Path,
    progress: Progress,
) -> Predicted:
    """Predict every case of a part out of the store.

    Args:
        members: The networks.
        prepared: Store, adapter and parts.
        part: Which part.
        predictor: How.
        mirrors: Axes of test-time mirroring.
        folder: Where the label maps go.
        progress: Called with (done, total).
    """
    store = prepared.store
    rows = prepared.rows(part)
    networks = predictor.ready(members)
    for done, row in enumerate(rows, start=1):
        path = _file(folder, row)
        if not path.is_file():
            labels = predictor.labels(
                networks, image_of(store, row), store.undos(row), mirrors=mirrors
            )
            write_labels(path, labels)
        progress(done, len(rows))
    return Predicted(part, prepared.adapter, tuple(rows), folder)


def write_labels(path: Path, labels: npt.NDArray[np.uint8]) -> None:
    """Write a label map whole or not at all."""
    partial = path.with_suffix(".partial.npy")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(partial, labels, allow_pickle=False)
        partial.replace(path)
    except OSError as error:
        raise disk_error(error, path.name) from error


def choose_steps(predicted: Predicted, class_names: Sequence[str]) -> tuple[dict[str, Any], ...]:
    """Postprocessing that raises the mean Dice of validation cases, class by class."""
    truths = (predicted.truth(i)[0] for i in range(len(predicted)))
    found = (predicted.labels(i) for i in range(len(predicted)))
    steps, _ = choose_postprocessing(truths, found, class_names=class_names)
    return tuple(steps)


def score(
    predicted: Predicted,
    *,
    class_names: Sequence[str],
    steps: Sequence[dict[str, Any]],
    options: ScoreOptions,
    n_boot: int,
    seed: int,
    progress: Progress = lambda done, total: None,
) -> Scored:
    """Score every case on its own grid, and summarise over patients.

    Args:
        predicted: The label maps.
        class_names: Names of the classes, background first.
        steps: Postprocessing.
        options: Tolerance and further figures.
        n_boot: Bootstrap replicates.
        seed: Seed of the bootstrap.
        progress: Called with (done, total).
    """
    cases = []
    for i in range(len(predicted)):
        truth, case = predicted.truth(i)
        cases.append(
            score_case(
                truth,
                postprocess(predicted.labels(i), steps),
                class_names=class_names,
                spacing=None if case.geometry is None else case.geometry.spacing,
                case_id=case.case_id,
                patient_id=case.patient_id,
                options=options,
            )
        )
        progress(i + 1, len(predicted))
    metrics = summarise(cases, options=options, n_boot=n_boot, seed=seed)
    return Scored(predicted.part, predicted, tuple(case_rows(cases)), metrics)


def _file(folder: Path, row: int) -> Path:
    return folder / f"{row:06d}.npy"
