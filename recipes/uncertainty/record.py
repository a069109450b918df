"""``uncertainty.json`` and ``uncertainty.npz``: what predict needs to say how sure it is."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from recipes.engine.checkpoint import write_atomic
from recipes.errors import RecipeError, RunFolderError
from recipes.uncertainty.calibration import (
    EACH,
    Calibration,
    Judged,
    LabelCalibration,
    Rules,
    apply,
)
from recipes.uncertainty.conformal import ANSWERS, set_text
from recipes.uncertainty.outside import Reference, read_reference

RECORD_FILE = "uncertainty.json"
ARRAYS_FILE = "uncertainty.npz"
_AGAIN = "give `radzoo classify calibrate RUN DATA`"
_NO_SETS = (
    "This run was calibrated before labels had prediction sets of their own: each holds both "
    f"answers, absent and present; to have them, {_AGAIN}."
)
_DAMAGED = (OSError, ValueError, zipfile.BadZipFile, EOFError)


class OutsideRecord(BaseModel):
    """How cases of another kind are found.

    Attributes:
        method: ``mahalanobis`` or ``neighbours``.
        false_alarms: Stated rate of false alarms.
        threshold: Score above which a case is flagged; None where there were too few validation
            patients for the rate, so that none is flagged.
        n_train: Training cases behind the reference.
        width: Features of an embedding.
        arrays_sha256: Hash of ``uncertainty.npz``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    method: Literal["mahalanobis", "neighbours"]
    false_alarms: Annotated[float, Field(gt=0, lt=1)]
    threshold: Annotated[float, Field(ge=0)] | None
    n_train: Annotated[int, Field(ge=1)]
    width: Annotated[int, Field(ge=1)]
    arrays_sha256: str


class LabelRecord(BaseModel):
    """Calibration of one label of a vector.

    Attributes:
        temperature: Divides its logit.
        quantiles: Conformal quantiles of absent and present, None where infinite.
        n_absent: Calibration cases known to be without it.
        n_present: Those known to have it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    temperature: Annotated[float, Field(gt=0)]
    quantiles: tuple[float | None, float | None]
    n_absent: Annotated[int, Field(ge=0)]
    n_present: Annotated[int, Field(ge=0)]


class UncertaintyRecord(BaseModel):
    """``uncertainty.json``.

    Attributes:
        format: Version of this record.
        model_sha256: Hash of the ``model.keras`` it belongs to.
        kind: ``single`` or ``multilabel``.
        class_names: Names in the order of the logits.
        temperature: Divides the logits; None for multi-label, which has one for each label.
        coverage: Stated coverage of the prediction sets.
        method: Conformal score.
        per_class: Whether the coverage holds within each class (of labels: within each answer).
        quantiles: Conformal quantile of every class, None where infinite; None for multi-label.
        labels: Each label's calibration; None for exclusive classes, and for multi-label runs
            calibrated by versions that had one temperature for all labels and no sets.
        seed: Seed of the folds.
        n: Calibration cases.
        n_groups: Their patients.
        unit: ``patient`` or ``image``.
        outside: How cases of another kind are found.
        notes: What the reader must know.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    format: Literal[1] = 1
    model_sha256: str
    kind: Literal["single", "multilabel"]
    class_names: tuple[str, ...]
    temperature: Annotated[float, Field(gt=0)] | None
    coverage: Annotated[float, Field(gt=0, lt=1)]
    method: Literal["lac", "aps"]
    per_class: bool
    quantiles: tuple[float | None, ...] | None
    labels: tuple[LabelRecord, ...] | None = None
    seed: int
    n: Annotated[int, Field(ge=1)]
    n_groups: Annotated[int, Field(ge=1)]
    unit: Literal["patient", "image"]
    outside: OutsideRecord
    notes: tuple[str, ...]

    @model_validator(mode="after")
    def _check(self) -> UncertaintyRecord:
        if self.kind == "single":
            if self.temperature is None:
                raise ValueError("no temperature")
            if len(self.quantiles or ()) != len(self.class_names):
                raise ValueError("quantiles and class_names differ in length")
        elif self.labels is None:
            if self.temperature is None:
                raise ValueError("neither labels nor a temperature")
        elif len(self.labels) != len(self.class_names):
            raise ValueError("labels and class_names differ in length")
        return self


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """A calibration and a reference, ready for new cases.

    Attributes:
        record: What is stored.
        calibration: Temperatures and prediction sets.
        reference: Distance from the training cases.
    """

    record: UncertaintyRecord
    calibration: Calibration | LabelCalibration
    reference: Reference

    def judge(self, logits: npt.NDArray[Any]) -> Judged:
        """Calibrated probabilities and prediction sets of new cases."""
        return apply(self.calibration, logits)

    def columns(
        self, logits: npt.NDArray[Any], embeddings: npt.NDArray[Any]
    ) -> list[dict[str, Any]]:
        """What predict adds to each row.

        Args:
            logits: ``(n, k)``.
            embeddings: ``(n, d)``, of `engine.embedding`.
        """
        judged = self.judge(logits)
        far = self.reference.score(embeddings)
        return rows(self.record, judged, far, self.flags(far))

    def flags(self, far: npt.NDArray[Any]) -> list[str]:
        """``outside`` or ``inside`` for each score; nothing where there is no threshold."""
        threshold = self.record.outside.threshold
        if threshold is None:
            return [""] * len(far)
        return ["outside" if score > threshold else "inside" for score in far]


def rows(
    record: UncertaintyRecord, judged: Judged, far: npt.NDArray[Any], flags: list[str]
) -> list[dict[str, Any]]:
    """One mapping per case, with the keys of `header`."""
    names = record.class_names
    found = []
    for i, prob in enumerate(judged.prob):
        row: dict[str, Any] = {
            f"calibrated_{name}": float(p) for name, p in zip(names, prob, strict=True)
        }
        if record.kind == "single":
            row["prediction_set"] = set_text(judged.sets[i], names)
        else:
            answers = (set_text(held, ANSWERS) for held in judged.sets[i])
            row |= dict(zip(set_columns(record), answers, strict=True))
        found.append(row | {"ood_score": float(far[i]), "ood_flag": flags[i]})
    return found


def header(record: UncertaintyRecord) -> list[str]:
    """Names of the columns that predict and predictions.csv have beside the others."""
    calibrated = (f"calibrated_{name}" for name in record.class_names)
    return [*calibrated, *set_columns(record), "ood_score", "ood_flag"]


def set_columns(record: UncertaintyRecord) -> list[str]:
    """Names of the columns of prediction sets: one, or one for each label."""
    if record.kind == "single":
        return ["prediction_set"]
    return [f"prediction_set_{name}" for name in record.class_names]


def save_uncertainty(found: Uncertainty, folder: Path, arrays: bytes) -> None:
    """Write both files, the one that names the other's hash last.

    Args:
        found: What to store.
        folder: The run folder.
        arrays: What `pack` made of the reference.

    Raises:
        RunFolderError: The disk is full or the folder cannot be written.
    """
    write_atomic(folder / ARRAYS_FILE, arrays)
    text = json.dumps(
        found.record.model_dump(mode="json"), indent=2, allow_nan=False, ensure_ascii=False
    )
    write_atomic(folder / RECORD_FILE, (text + "\n").encode())


def pack(reference: Reference) -> bytes:
    """The reference's arrays as the bytes of an npz file without pickles."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **reference.arrays())
    return buffer.getvalue()


def load_uncertainty(folder: Path, *, model_sha256: str) -> Uncertainty | None:
    """Read both files, checked against their hashes and the model's.

    Args:
        folder: The run folder.
        model_sha256: Hash of the run's model.

    Returns:
        None for a run that has none, as those of earlier versions.

    Raises:
        RunFolderError: A file is damaged, missing, or belongs to another model.
    """
    record = _read_record(folder)
    if record is None:
        return None
    if record.model_sha256 != model_sha256:
        raise RunFolderError(f"{RECORD_FILE} belongs to another model; to make a new one, {_AGAIN}")
    reference = read_reference(record.outside.method, _read_arrays(folder, record))
    return Uncertainty(record, calibration_of(record), reference)


def calibration_of(record: UncertaintyRecord) -> Calibration | LabelCalibration:
    """The calibration that a record describes."""
    rules = Rules(
        kind=record.kind,
        coverage=record.coverage,
        method=record.method,
        per_class=record.per_class,
        seed=record.seed,
    )
    if record.kind == "single":
        assert record.temperature is not None
        assert record.quantiles is not None
        return Calibration(rules, record.temperature, _infinite(record.quantiles), record.notes)
    own = replace(rules, kind="single", per_class=True, each=EACH)
    if record.labels is not None:
        stored = [(one.temperature, _infinite(one.quantiles)) for one in record.labels]
        labels = tuple(Calibration(own, t, quantiles) for t, quantiles in stored)
        return LabelCalibration(rules, labels, record.notes)
    assert record.temperature is not None
    plain = Calibration(own, record.temperature, np.full(2, np.inf))
    return LabelCalibration(rules, (plain,) * len(record.class_names), record.notes)


def _infinite(quantiles: Sequence[float | None]) -> npt.NDArray[np.float64]:
    return np.asarray([np.inf if q is None else q for q in quantiles], "float64")


def _read_record(folder: Path) -> UncertaintyRecord | None:
    try:
        text = (folder / RECORD_FILE).read_text(encoding="utf-8")
        record = UncertaintyRecord.model_validate(json.loads(text))
        if record.kind == "multilabel" and record.labels is None:
            return record.model_copy(update={"notes": (*record.notes, _NO_SETS)})
        return record
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RunFolderError(f"cannot read {RECORD_FILE}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "content"
        raise RunFolderError(
            f"{RECORD_FILE} is not valid at {place!r}: {first['msg']}; to make a new one, {_AGAIN}"
        ) from None
    except ValueError as error:
        raise RunFolderError(
            f"{RECORD_FILE} is not JSON: {error}; to make a new one, {_AGAIN}"
        ) from error


def _read_arrays(folder: Path, record: UncertaintyRecord) -> dict[str, npt.NDArray[Any]]:
    import hashlib

    try:
        data = (folder / ARRAYS_FILE).read_bytes()
        if hashlib.sha256(data).hexdigest() != record.outside.arrays_sha256:
            raise RunFolderError(
                f"{ARRAYS_FILE} is not the file that {RECORD_FILE} describes (sha256 differs); to "
                f"make new ones, {_AGAIN}"
            )
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except RecipeError:
        raise
    except FileNotFoundError:
        raise RunFolderError(
            f"no {ARRAYS_FILE} beside {RECORD_FILE}; to make new ones, {_AGAIN}"
        ) from None
    except _DAMAGED as error:
        raise RunFolderError(f"{ARRAYS_FILE} cannot be read; to make new ones, {_AGAIN}") from error
