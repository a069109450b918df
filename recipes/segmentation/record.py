"""``model.json`` of a segmentation run, and the model file it describes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import keras
from pydantic import BaseModel, ConfigDict, Field, model_validator

from recipes.engine.modelfile import MODEL_FILE, check_outputs, open_model, read_record
from recipes.errors import RunFolderError
from recipes.intended_use import INTENDED_USE


class CascadeRecord(BaseModel):
    """The stage that leads a model's input.

    Attributes:
        kind: ``region`` or ``resolution``.
        first_sha256: Hash of ``first/model.json``, which holds that of its weights.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["region", "resolution"]
    first_sha256: str


class SegmentationRecord(BaseModel):
    """Everything beside the weights that a prediction needs.

    Attributes:
        format: Version of this record.
        task: Recipe that made it.
        class_names: Names in the order of the logits; the first is the background.
        axes: Spatial axes of the network, 2 or 3.
        neighbours: Slices on either side shown as channels.
        volume: Whether cases are volumes ``(D, H, W, C)``.
        channels: Channels of a case after the chain.
        patch: Sides of the network's input as saved, voxels.
        chain: Steps of ``data_adapters.chain`` from a case to the network's values.
        spacing: Voxel size after the chain, mm; None where unknown.
        fill: What lies around a case smaller than the patch; None for its lowest value.
        mirrors: Axes of a case after the chain (0 first) along which test-time views are mirrored.
        mode: ``auto``, ``tiles`` or ``blend``.
        overlap: Overlap of blended windows.
        postprocess: Steps of ``recipes.segmentation.inference.postprocess``.
        tolerance: Tolerance of the normalised surface Dice, mm.
        membranes: Whether classes are measured as cells between membranes too.
        cascade: The stage before this one, None without.
        modality: Modality of the training data, where known.
        members: Networks in the file.
        data_hash: Hash of the training data.
        train_ids: Ids of the cases that training or the choice of the epoch has seen.
        model_sha256: Hash of ``model.keras``.
        radzoo: Version that wrote it.
        intended_use: The statement of intended use.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    task: Literal["segmentation"] = "segmentation"
    class_names: tuple[str, ...]
    axes: Literal[2, 3]
    neighbours: Annotated[int, Field(ge=0)] = 0
    volume: bool
    channels: Annotated[int, Field(ge=1)]
    patch: tuple[Annotated[int, Field(ge=1)], ...]
    chain: tuple[dict[str, Any], ...]
    spacing: tuple[float, ...] | None
    fill: float | None = None
    mirrors: tuple[int, ...]
    mode: Literal["auto", "tiles", "blend"]
    overlap: Annotated[float, Field(ge=0, lt=1)]
    postprocess: tuple[dict[str, Any], ...]
    tolerance: Annotated[float, Field(gt=0)]
    membranes: bool = False
    cascade: CascadeRecord | None = None
    modality: str | None
    members: Annotated[int, Field(ge=1)]
    data_hash: str
    train_ids: tuple[str, ...]
    model_sha256: str
    radzoo: str
    intended_use: str = INTENDED_USE

    @model_validator(mode="after")
    def _check(self) -> SegmentationRecord:
        if len(self.class_names) < 2:
            raise ValueError("too few class names")
        if len(self.patch) != self.axes:
            raise ValueError("patch and axes differ")
        return self


def join(members: Sequence[keras.Model]) -> keras.Model:
    """One file for an ensemble: the mean of the members' logits, each a branch of its own."""
    if len(members) == 1:
        return members[0]
    image = keras.Input(members[0].input_shape[1:], name="image", dtype="float32")
    branches = [
        keras.Model(member.inputs[0], member.outputs[0], name=f"member_{index}")(image)
        for index, member in enumerate(members)
    ]
    logits = keras.layers.Average(dtype="float32", name="mean_logits")(branches)
    return keras.Model(image, logits, name="radzoo_segmenter")


def members_of(model: keras.Model, count: int) -> list[keras.Model]:
    """The networks that `join` put into one file."""
    if count == 1:
        return [model]
    found = [layer for layer in model.layers if isinstance(layer, keras.Model)]
    if len(found) != count:
        raise RunFolderError(f"{MODEL_FILE} holds {len(found)} networks, model.json says {count}")
    return found


def load_segmenter(folder: Path) -> tuple[list[keras.Model], SegmentationRecord]:
    """Open a run's networks in safe mode, hash and shapes checked.

    Raises:
        RunFolderError: A file is missing, damaged, or the two do not belong together.
    """
    record = read_record(folder, SegmentationRecord)
    model = open_model(folder, record.model_sha256)
    wanted = (*record.patch, record.channels * (2 * record.neighbours + 1))
    if tuple(model.input_shape[1:]) != wanted:
        raise RunFolderError(f"{MODEL_FILE} wants {model.input_shape[1:]}, model.json {wanted}")
    check_outputs(model, record.class_names)
    return members_of(model, record.members), record
