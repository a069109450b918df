"""The model file and its record: what is written after training and read before any use."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import keras
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from recipes.engine.checkpoint import discard, disk_error, write_atomic
from recipes.errors import RecipeError, RunFolderError
from recipes.intended_use import INTENDED_USE
from recipes.registry import of_another

MODEL_FILE = "model.keras"
RECORD_FILE = "model.json"
R = TypeVar("R", bound=BaseModel)


class RunRecord(BaseModel):
    """One run of an ensemble that is stored as a model.

    Attributes:
        model_sha256: Hash of the run's ``model.keras``.
        data_hash: Hash of its training data.
        backbone: Name in the registry.
        weights: Where its training started from.
        members: Its networks.
        views: Its test-time views, which are part of the joined model.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model_sha256: str
    data_hash: str
    backbone: str
    weights: str
    members: Annotated[int, Field(ge=1)]
    views: tuple[dict[str, Any], ...]


class ModelRecord(BaseModel):
    """``model.json``: everything beside the weights that a prediction needs.

    Attributes:
        format: Version of this record.
        task: Recipe that made it.
        kind: ``"single"`` (softmax over classes) or ``"multilabel"`` (a sigmoid per label).
        class_names: Names in the order of the logits.
        positive: Positive class of a two-class task, or None.
        input_shape: ``(H, W, C)`` of the network's input.
        input_range: Modality units that the network maps to 0-255.
        chain: Steps of ``data_adapters.chain`` from a case's image to the input.
        views: Test-time views whose logits are averaged.
        modality: Modality of the training data, where known.
        threshold: Operating threshold on the positive probability, or None.
        operating_rule: The rule that chose it.
        backbone: Name in the registry.
        weights: Where training started from.
        members: Networks in the file.
        prevalence: Share of each class in the training part.
        data_hash: Hash of the training data's pixels and labels.
        model_sha256: Hash of ``model.keras``.
        radzoo: Version that wrote it.
        intended_use: The statement of intended use.
        runs: The runs of an ensemble, in the order of their networks; none for a single run.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    task: Literal["classification"] = "classification"
    kind: Literal["single", "multilabel"]
    class_names: tuple[str, ...]
    positive: str | None
    input_shape: tuple[int, int, int]
    input_range: tuple[float, float]
    chain: tuple[dict[str, Any], ...]
    views: tuple[dict[str, Any], ...]
    modality: str | None
    threshold: Annotated[float, Field(ge=0, le=1)] | None
    operating_rule: str
    backbone: str
    weights: str
    members: Annotated[int, Field(ge=1)]
    prevalence: tuple[float, ...]
    data_hash: str
    model_sha256: str
    radzoo: str
    intended_use: str = INTENDED_USE
    runs: tuple[RunRecord, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> ModelRecord:
        if self.runs and sum(run.members for run in self.runs) != self.members:
            raise ValueError("runs and members differ in their number of networks")
        if len(self.class_names) < (2 if self.kind == "single" else 1):
            raise ValueError("too few class names")
        if len(self.prevalence) != len(self.class_names):
            raise ValueError("prevalence and class_names differ in length")
        if self.positive is not None and self.positive not in self.class_names:
            raise ValueError(f"positive {self.positive!r} is no class name")
        return self


def correct_prior(model: keras.Model, offsets: np.ndarray[Any, Any]) -> None:
    """Subtract the log class weights from the bias of the layer ``"logits"``.

    After this the model's logits refer to the true prevalence (see ``losses.prior_offsets``).
    """
    bias = model.get_layer("logits").bias
    bias.assign(keras.ops.convert_to_numpy(bias) - offsets)


def assemble(members: Sequence[keras.Model]) -> keras.Model:
    """One model whose logits are the mean of the members' logits.

    Args:
        members: Models with equal input and output shapes.

    Returns:
        A functional model with input ``image`` ``(batch, H, W, C)`` in modality units and
        float32 logits ``(batch, k)``; the members are its branches.
    """
    image = keras.Input(members[0].input_shape[1:], name="image", dtype="float32")
    branches = []
    for index, member in enumerate(members):
        branch = keras.Model(member.inputs[0], member.outputs[0], name=f"member_{index}")
        branches.append(branch(image))
    if len(branches) == 1:
        logits = branches[0]
    else:
        logits = keras.layers.Average(dtype="float32", name="mean_logits")(branches)
    return keras.Model(image, logits, name="radzoo_classifier")


def save_model(model: keras.Model, folder: Path) -> str:
    """Write ``model.keras`` atomically and return its sha256.

    Raises:
        RunFolderError: The disk is full or the folder cannot be written.
    """
    target = folder / MODEL_FILE
    temporary = folder / f".{Path(MODEL_FILE).stem}.tmp.keras"
    try:
        model.save(temporary, include_optimizer=False)
        digest = file_sha256(temporary)
        temporary.replace(target)
    except OSError as error:
        discard(temporary)
        raise disk_error(error, MODEL_FILE) from error
    return digest


def save_record(record: BaseModel, folder: Path) -> None:
    """Write ``model.json``."""
    text = json.dumps(record.model_dump(mode="json"), indent=2, allow_nan=False, ensure_ascii=False)
    write_atomic(folder / RECORD_FILE, (text + "\n").encode())


def load_record(folder: Path) -> ModelRecord:
    """Read and validate ``model.json`` of a classifier; see ``read_record``."""
    return read_record(folder, ModelRecord)


def read_record(folder: Path, kind: type[R]) -> R:
    """Read ``model.json`` and validate it as a record of one recipe.

    Raises:
        RunFolderError: There is none, or it does not fit its schema.
    """
    try:
        content = json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))
        task = kind.model_fields.get("task")
        foreign = None if task is None else of_another(content, task.default)
        if foreign is not None:
            raise RunFolderError(f"the run's {RECORD_FILE} {foreign}")
        return kind.model_validate(content)
    except RunFolderError:
        raise
    except FileNotFoundError:
        if not folder.is_dir():
            raise RunFolderError(f"there is no run folder {folder.name!r}") from None
        raise RunFolderError(
            f"no {RECORD_FILE} in the run folder: the fit has not finished (give the same fit "
            "command again to resume it) or this is no run folder"
        ) from None
    except OSError as error:
        raise RunFolderError(f"cannot read {RECORD_FILE}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "content"
        raise RunFolderError(f"{RECORD_FILE} is not valid at {place!r}: {first['msg']}") from None
    except ValueError as error:
        raise RunFolderError(f"{RECORD_FILE} is not JSON: {error}") from None


def load_model(folder: Path) -> tuple[keras.Model, ModelRecord]:
    """Open a run's model with plain Keras in safe mode, its hash and shapes checked.

    Raises:
        RunFolderError: A file is missing, damaged, or the two do not belong together.
    """
    record = load_record(folder)
    model = open_model(folder, record.model_sha256)
    if tuple(model.input_shape[1:]) != record.input_shape:
        raise RecipeError(f"{MODEL_FILE} wants {model.input_shape[1:]}, not {record.input_shape}")
    check_outputs(model, record.class_names)
    return model, record


def open_model(folder: Path, sha256: str) -> keras.Model:
    """Open ``model.keras`` with plain Keras in safe mode.

    Raises:
        RunFolderError: It is missing, damaged, or not the file of this digest.
    """
    path = folder / MODEL_FILE
    try:
        if file_sha256(path) != sha256:
            raise RunFolderError(
                f"{MODEL_FILE} is not the file that {RECORD_FILE} describes (sha256 differs); "
                "copy both from the same run again"
            )
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except FileNotFoundError:
        raise RunFolderError(f"no {MODEL_FILE} in the run folder") from None
    except (zipfile.BadZipFile, OSError, TypeError, KeyError) as error:
        raise RunFolderError(f"{MODEL_FILE} cannot be opened: {error}") from error


def check_outputs(model: keras.Model, class_names: Sequence[str]) -> None:
    """Refuse a model with another number of logits than classes."""
    if model.output_shape[-1] != len(class_names):
        raise RecipeError(
            f"{MODEL_FILE} has {model.output_shape[-1]} outputs for {len(class_names)} classes"
        )


def file_sha256(path: Path) -> str:
    """Sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
