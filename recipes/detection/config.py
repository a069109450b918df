"""Configuration of a detection run."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from recipes.config import Columns, ReportConfig, Section
from recipes.segmentation.config import (
    AugmentConfig,
    Auto,
    ModelConfig,
    PlanConfig,
    Positive,
    SegmentationConfig,
    Share,
    TrainConfig,
)
from recipes.segmentation.config import DataConfig as SegmentationData


class DataConfig(Section):
    """What the data are and how they are cut; as in segmentation unless said.

    Attributes:
        modality: ``"CT"``, ``"MR"``, ...; None takes the adapter's word.
        fractions: Shares of train, val and test where the data come without parts.
        splits: A ``splits.csv`` whose parts are taken as they are; None cuts anew.
        folds: Number of folds where the data bring none of their own.
        fold: The fold that validates, all others train; None is one split by ``fractions``.
        leakage: ``stop``, ``drop`` or ``allow``: what a patient on two sides does.
        lint: ``off``, ``report``, ``strict`` or ``repair``.
        radius: Radius of lesions marked by bare points, mm (pixels in pictures).
        columns: Column names of a table.
    """

    modality: str | None = None
    fractions: tuple[float, float, float] = (0.8, 0.2, 0.0)
    splits: str | None = None
    folds: Annotated[int, Field(ge=2, le=1000)] = 5
    fold: Annotated[int, Field(ge=0)] | None = None
    leakage: Literal["stop", "drop", "allow"] = "stop"
    lint: Literal["off", "report", "strict", "repair"] = "off"
    radius: Positive | None = None
    columns: Columns = Columns()

    @model_validator(mode="after")
    def _check(self) -> DataConfig:
        self.segmentation()
        return self

    def segmentation(self) -> SegmentationData:
        """The same for the first stage, which learns from painted masks of linted data."""
        return SegmentationData(**self.model_dump(exclude={"radius", "lint"}))


class DetectionTrain(TrainConfig):
    """Optimisation of the first stage, as in segmentation unless said.

    Attributes:
        foreground: Share of patches centred on a lesion.
    """

    foreground: Annotated[float, Field(ge=0, le=1)] = 0.5


class CandidateConfig(Section):
    """How candidates are read from the first stage's map of probabilities.

    Attributes:
        core: Part of a lesion's half axes that is painted as target, where the data have boxes and
            no masks; auto is 0.7, and 1 where lesions are usually narrower than 8 voxels.
        floor: Probability below which nothing is a candidate.
        apart: Least distance between candidates of one class, mm (pixels in pictures); auto is
            half the smaller side of a lesion (its tenth percentile).
        most: Candidates of a case and class, the highest first.
    """

    core: Auto | Annotated[float, Field(gt=0, le=1)] = "auto"
    floor: Annotated[float, Field(gt=0, lt=1)] = 0.02
    apart: Auto | Annotated[float, Field(ge=0)] = "auto"
    most: Annotated[int, Field(ge=1, le=10_000)] = 100


class BoxConfig(Section):
    """The detector of ``way=boxes`` (`zoo.boxes`), on ``model.backbone``; its plan is a U-Net's.

    Attributes:
        levels: Levels of the pyramid that have places. A level answers for lesions of up to eight
            of its strides; small lesions want finer ones (P2 has a stride of 4).
        width: Channels of pyramid and head, a multiple of 8.
        overlap: Part of a window that the next one repeats.
        iou: Overlap from which two boxes of a class are one.
    """

    levels: tuple[Literal["P1", "P2", "P3", "P4", "P5"], ...] = ("P3", "P4", "P5")
    width: Annotated[int, Field(ge=8, le=512, multiple_of=8)] = 64
    overlap: Annotated[float, Field(ge=0, lt=1)] = 0.5
    iou: Annotated[float, Field(gt=0, le=1)] = 0.4


class SecondConfig(Section):
    """A second network that looks again at the first one's candidates (`recipes.detection.second`).

    Attributes:
        patches: ``none``: there is no second stage; ``2d``, ``2.5d`` (three orthogonal planes as
            channels) or ``3d``; auto is 2d in pictures and 2.5d in volumes.
        backbone: A name of ``radzoo models``.
        weights: ``imagenet``, ``none`` or the path of a weights file.
        levels: Pyramid levels whose features are joined; null takes the top one.
        side: Pixels of a patch's side.
        field: Extent of a side, mm (pixels in pictures); auto is three times a lesion's usual size.
        views: Patches of each lesion.
        negatives: False positives of a case that are learnt from, the highest first.
        anywhere: Places of a case that are no lesion, drawn evenly.
        rounds: Rounds; each but the first learns from the false positives that are hardest for the
            network of the round before.
        epochs: Epochs of a round.
        batch: Patches in a step.
        learning_rate: Peak rate of the head; a third of it after the first round.
        decay: Factor on the rate from each stage to the one below it.
    """

    patches: Literal["none", "auto", "2d", "2.5d", "3d"] = "none"
    backbone: str = "efficientnet_lite0"
    weights: str = "imagenet"
    levels: tuple[str, ...] | None = None
    side: Annotated[int, Field(ge=16, le=512)] = 64
    field: Auto | Positive = "auto"
    views: Annotated[int, Field(ge=1, le=100)] = 6
    negatives: Annotated[int, Field(ge=1, le=1000)] = 12
    anywhere: Annotated[int, Field(ge=0, le=100)] = 2
    rounds: Annotated[int, Field(ge=1, le=10)] = 2
    epochs: Annotated[int, Field(ge=1, le=200)] = 4
    batch: Annotated[int, Field(ge=2, le=1024)] = 32
    learning_rate: Positive = 2e-3
    decay: Annotated[float, Field(gt=0, le=1)] = 0.7


class EvaluateConfig(Section):
    """Prediction and evaluation.

    Attributes:
        tta: Average over mirrored views that the augmentation's bans allow.
        mode: ``auto`` (exact tiles where the network allows it; a detector of boxes looks at whole
            pictures up to two million pixels), ``tiles`` or ``blend`` (windows).
        overlap: Overlap of blended windows.
        rule: When a candidate hits: ``radius``, ``distance``, ``centre_in_box``, ``iou``,
            ``centre_or_iou``; auto is ``radius`` in volumes and ``centre_or_iou`` in pictures.
        limit: Distance in mm (pixels), or IoU, where the rule has one; auto: an IoU of 0.1.
        per: What false positives are counted per: ``image`` (a picture, a scan) or ``patient``.
        rate: False positives per image at which the operating point is chosen on validation.
        n_boot: Bootstrap replicates.
    """

    tta: bool = True
    mode: Literal["auto", "tiles", "blend"] = "auto"
    overlap: Share = 0.5
    rule: Literal["auto", "radius", "distance", "centre_in_box", "iou", "centre_or_iou"] = "auto"
    limit: Auto | Positive = "auto"
    per: Literal["image", "patient"] = "image"
    rate: Positive = 1.0
    n_boot: Annotated[int, Field(ge=100, le=100_000)] = 1000


class DetectionConfig(Section):
    """A whole detection run as data.

    Attributes:
        way: What the first stage is: ``map``, a network that marks lesions voxel by voxel and the
            peaks or pieces of what it marks; or ``boxes``, one that gives boxes directly.
    """

    task: Literal["detection"] = "detection"
    way: Literal["map", "boxes"] = "map"
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    data: DataConfig = DataConfig()
    plan: PlanConfig = PlanConfig()
    model: ModelConfig = ModelConfig()
    augment: AugmentConfig = AugmentConfig()
    train: DetectionTrain = DetectionTrain()
    candidates: CandidateConfig = CandidateConfig()
    boxes: BoxConfig = BoxConfig()
    second: SecondConfig = SecondConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    report: ReportConfig = ReportConfig()

    def first(self, *, largest: int | None = None) -> SegmentationConfig:
        """Configuration of the first stage, which segments what is painted from the lesions.

        Args:
            largest: Longest side of a patch, voxels, where ``plan.largest`` is auto.
        """
        plan = self.plan
        if largest is not None and plan.largest == "auto":
            plan = plan.model_copy(update={"largest": largest})
        return SegmentationConfig(
            seed=self.seed,
            data=self.data.segmentation(),
            plan=plan,
            model=self._model(),
            augment=self.augment,
            train=TrainConfig(**self.train.model_dump()),
            evaluate={
                "tta": self.evaluate.tta,
                "mode": self.evaluate.mode,
                "overlap": self.evaluate.overlap,
                "postprocess": False,
                "n_boot": self.evaluate.n_boot,
            },  # type: ignore[arg-type]
            report=self.report,
        )

    def _model(self) -> ModelConfig:
        """The network that is planned: a pretrained encoder stands for a detector of boxes."""
        if self.way == "map":
            return self.model
        return self.model.model_copy(update={"network": "backbone"})

    @model_validator(mode="after")
    def _check(self) -> DetectionConfig:
        if self.way == "boxes" and self.model.network not in ("auto", "backbone"):
            raise ValueError(
                f"model.network={self.model.network} is for way=map; way=boxes puts its head on "
                "model.backbone"
            )
        if self.way == "boxes" and self.evaluate.mode == "tiles":
            raise ValueError(
                "evaluate.mode=tiles is for way=map; way=boxes looks at whole images where they "
                "fit (auto) or at windows (blend)"
            )
        if self.way == "boxes" and self.model.members > 1:
            raise ValueError("way=boxes has one network; leave model.members out")
        return self
