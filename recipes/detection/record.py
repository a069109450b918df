"""``model.json`` of a detection run: what stands between a map of probabilities and candidates."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from recipes.detection.candidates import PeakRules
from recipes.evaluation.froc.hits import HitRule, Rule
from recipes.intended_use import INTENDED_USE


class DetectionRecord(BaseModel):
    """Everything beside the first stage, in ``first/``, that a prediction needs.

    Attributes:
        format: Version of this record.
        task: Recipe that made it.
        class_names: Classes of lesions.
        volume: Whether cases are volumes.
        way: What the first stage is: ``map`` or ``boxes``.
        first_sha256: Hash of ``first/model.json``, which holds that of its weights.
        second_sha256: Hash of ``second/model.json``; None without a second stage.
        floor: As of `PeakRules`.
        apart: Likewise.
        most: Likewise.
        core: Likewise.
        rule: When a candidate hits.
        limit: Its figure.
        per: What false positives are counted per.
        thresholds: Operating point of each class; None where none was possible.
        rate: False positives at which they were chosen.
        calibration: Slope and offset from the log odds of a score to those of a hit, of each class;
            None where validation had too few.
        radius: Radius of lesions marked by bare points.
        modality: Modality of the training data, where known.
        data_hash: Hash of the training data.
        train_ids: Ids of the cases that training or the choice of the epoch has seen.
        radzoo: Version that wrote it.
        intended_use: The statement of intended use.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    task: Literal["detection"] = "detection"
    class_names: tuple[str, ...]
    volume: bool
    way: Literal["map", "boxes"] = "map"
    first_sha256: str
    second_sha256: str | None = None
    floor: float
    apart: float
    most: int
    core: float
    rule: Rule
    limit: float | None
    per: Literal["image", "patient"]
    thresholds: tuple[float | None, ...]
    rate: Annotated[float, Field(gt=0)]
    calibration: tuple[tuple[float, float] | None, ...]
    radius: float | None
    modality: str | None
    data_hash: str
    train_ids: tuple[str, ...]
    radzoo: str
    intended_use: str = INTENDED_USE

    @model_validator(mode="after")
    def _check(self) -> DetectionRecord:
        lengths = {len(self.class_names), len(self.thresholds), len(self.calibration)}
        if len(lengths) > 1 or not self.class_names:
            raise ValueError("class_names, thresholds and calibration differ in length")
        return self

    def peaks(self) -> PeakRules:
        """How candidates are read from a map."""
        return PeakRules(floor=self.floor, apart=self.apart, most=self.most, core=self.core)

    def hits(self) -> HitRule:
        """When a candidate hits."""
        return HitRule(self.rule, self.limit)
