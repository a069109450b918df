"""``uncertainty.json`` and ``uncertainty.npz``: what predict needs to say how sure it is."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from recipes.engine.checkpoint import write_atomic
from recipes.errors import RecipeError, RunFolderError
from recipes.uncertainty.calibration import Calibration, Judged, Rules, apply
from recipes.uncertainty.conformal import set_text
from recipes.uncertainty.outside import Reference, read_reference

RECORD_FILE = "uncertainty.json"
ARRAYS_FILE = "uncertainty.npz"
_AGAIN = "give `radzoo classify calibrate RUN DATA`"
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


class UncertaintyRecord(BaseModel):
    """``uncertainty.json``.

    Attributes:
        format: Version of this record.
        model_sha256: Hash of the ``model.keras`` it belongs to.
        kind: ``single`` or ``multilabel``.
        class_names: Names in the order of the logits.
        temperature: Divides the logits.
        coverage: Stated coverage of the prediction sets.
        method: Conformal score.
        per_class: Whether the coverage holds within each class.
        quantiles: Conformal quantile of every class, None where infinite; None for multi-label.
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
    temperature: Annotated[float, Field(gt=0)]
    coverage: Annotated[float, Field(gt=0, lt=1)]
    method: Literal["lac", "aps"]
    per_class: bool
    quantiles: tuple[float | None, ...] | None
    seed: int
    n: Annotated[int, Field(ge=1)]
    n_groups: Annotated[int, Field(ge=1)]
    unit: Literal["patient", "image"]
    outside: OutsideRecord
    notes: tuple[str, ...]

    @model_validator(mode="after")
    def _check(self) -> UncertaintyRecord:
        if self.kind == "single" and len(self.quantiles or ()) != len(self.class_names):
            raise ValueError("quantiles and class_names differ in length")
        return self


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """A calibration and a reference, ready for new cases.

    Attributes:
        record: What is stored.
        calibration: Temperature and prediction sets.
        reference: Distance from the training cases.
    """

    record: UncertaintyRecord
    calibration: Calibration
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
        if judged.sets is not None:
            row["prediction_set"] = set_text(judged.sets[i], names)
        found.append(row | {"ood_score": float(far[i]), "ood_flag": flags[i]})
    return found


def header(record: UncertaintyRecord) -> list[str]:
    """Names of the columns that predict and predictions.csv have beside the others."""
    sets = ["prediction_set"] if record.kind == "single" else []
    return [*(f"calibrated_{n}" for n in record.class_names), *sets, "ood_score", "ood_flag"]


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
    quantiles = None
    if record.quantiles is not None:
        quantiles = np.asarray([np.inf if q is None else q for q in record.quantiles])
    rules = Rules(
        kind=record.kind,
        coverage=record.coverage,
        method=record.method,
        per_class=record.per_class,
        seed=record.seed,
    )
    calibration = Calibration(rules, record.temperature, quantiles, record.notes)
    return Uncertainty(record, calibration, reference)


def _read_record(folder: Path) -> UncertaintyRecord | None:
    try:
        text = (folder / RECORD_FILE).read_text(encoding="utf-8")
        return UncertaintyRecord.model_validate(json.loads(text))
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
