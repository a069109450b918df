"""Configuration of a segmentation run: what the plan leaves open, and what it may be told."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from recipes.config import Columns, ReportConfig, Section

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
Auto = Literal["auto"]


def _dims(value: float) -> float:
    if value not in (2, 2.5, 3):
        raise ValueError("dims must be 2, 2.5 or 3")
    return value


Dims = Annotated[float, AfterValidator(_dims)]
Side = Annotated[int, Field(ge=4, le=2048)]


class DataConfig(Section):
    """What the data are and how they are cut.

    Attributes:
        modality: ``"CT"``, ``"MR"``, ...; None takes the adapter's word.
        fractions: Shares of train, val and test where the data come without parts.
        splits: A ``splits.csv`` whose parts are taken as they are; None cuts anew.
        folds: Number of folds where the data bring none of their own (``splits.json``).
        fold: The fold that validates, all others train; None is one split by ``fractions``.
        leakage: ``stop``, ``drop`` or ``allow``: what a patient on two sides does.
        lint: As in classification: ``off``, ``report``, ``strict`` or ``repair``.
        merge: Classes that are taken as one, ``organ``, and all others as background; empty leaves
            them as they are.
        slices: Every page of a TIFF stack is a case of its own (2D), not the stack.
        pairs: Pairs of classes that are each other's mirror image (left and right kidney): a flip
            along the patient's left-right axis exchanges them. ``auto`` finds names that differ in
            left and right alone; where sides are named and have no partner, nothing is mirrored
            from left to right.
        columns: Column names of a table.
    """

    modality: str | None = None
    fractions: tuple[float, float, float] = (0.8, 0.2, 0.0)
    splits: str | None = None
    folds: Annotated[int, Field(ge=2, le=1000)] = 5
    fold: Annotated[int, Field(ge=0)] | None = None
    leakage: Literal["stop", "drop", "allow"] = "stop"
    lint: Literal["off", "report", "strict", "repair"] = "off"
    merge: tuple[str, ...] = ()
    slices: bool = False
    pairs: Auto | tuple[tuple[str, str], ...] = "auto"
    columns: Columns = Columns()

    @model_validator(mode="after")
    def _check(self) -> DataConfig:
        if min(self.fractions) < 0 or abs(sum(self.fractions) - 1) > 1e-6:
            raise ValueError("fractions must be three shares (train, val, test) that sum to 1")
        if self.fractions[0] == 0 or self.fractions[1] == 0:
            raise ValueError("fractions of train and val must be above 0")
        if self.splits is not None and self.fold is not None:
            raise ValueError("splits and fold are two ways to say who validates; give one")
        return self


class PlanConfig(Section):
    """What the plan is told; everything ``auto`` follows from the data (see ``plan.make_plan``).

    Attributes:
        file: A plan written by ``radzoo segment plan --out``, perhaps edited: nothing is planned.
        budget_minutes: Wall time that training may take; turned into a number of steps once.
        memory_gb: Memory of a training step, 10^9 bytes; ``auto`` is half of what the machine has
            free, at most 8.
        dims: ``2`` (slices), ``2.5`` (slices with their neighbours as channels), ``3`` or auto.
        spacing: Voxel size in mm along the image axes.
        coarser: Factor on the finest side of the voxel that cases are resampled to; an axis that
            is as coarse already stays.
        patch: Patch in voxels.
        largest: Longest side of a patch that is not given, voxels; auto is 512 in 2D, 160 in 3D.
        batch: Patches in a step.
        width: Channels of the finest level of a network from scratch; doubled level by level.
    """

    file: str | None = None
    budget_minutes: Positive = 30.0
    memory_gb: Auto | Positive = "auto"
    dims: Auto | Dims = "auto"
    spacing: Auto | tuple[Positive, ...] = "auto"
    coarser: Annotated[float, Field(ge=1, le=16)] = 1.0
    patch: Auto | tuple[Side, ...] = "auto"
    largest: Auto | Side = "auto"
    batch: Auto | Annotated[int, Field(ge=1, le=512)] = "auto"
    width: Auto | Annotated[int, Field(ge=4, le=128)] = "auto"


class ModelConfig(Section):
    """The network.

    Attributes:
        network: ``unet`` or ``residual`` (an encoder of residual blocks) from scratch, ``vnet``
            (3D, long and short residual connections), ``backbone`` (a pretrained encoder of the
            zoo under ``decoder``), ``patch`` (a classifier of the centre voxel of patches, made
            dense for whole cases; it trains with cross-entropy), or auto: a pretrained encoder for
            pictures, else ``unet``.
        centre: What classifies the centre of a patch: ``plain`` convolutions from scratch, or the
            pretrained ``backbone``, cut off at ``level`` and without padding (2D).
        level: Level of the pyramid at which it is cut off.
        backbone: A name of ``radzoo models``.
        decoder: A decoder of ``zoo.decoders``.
        weights: ``imagenet``, ``none`` or the path of a weights file.
        norm: Norm of a network from scratch; ``batch`` allows exact tiles.
        deep_supervision: Losses at coarser levels too.
        members: Networks in the ensemble.
    """

    network: Literal["auto", "unet", "residual", "vnet", "backbone", "patch"] = "auto"
    centre: Literal["plain", "backbone"] = "plain"
    level: Literal["P1", "P2", "P3", "P4", "P5"] = "P3"
    backbone: str = "efficientnet_lite0"
    decoder: str = "unet"
    weights: str = "imagenet"
    norm: Literal["batch", "instance"] = "batch"
    deep_supervision: bool = True
    members: Annotated[int, Field(ge=1, le=20)] = 1


class AugmentConfig(Section):
    """Augmentation of patches.

    Attributes:
        strength: ``none``, ``light``, ``medium`` or ``strong``.
        flips: Directions in which patches, and test-time views with them, are mirrored: ``sides``
            (the patient's left and right alone), ``all``, ``none``, or auto: all in pictures; in
            volumes, where nobody comes upside down, sides, and none where the cases are all of
            one side (left hippocampi, livers) and no classes change places.
        bans: Operations that would change the truth, such as ``flip_lr``.
        override: Single figures of the preset.
    """

    strength: Literal["none", "light", "medium", "strong"] = "medium"
    flips: Literal["auto", "sides", "all", "none"] = "auto"
    bans: tuple[str, ...] = ()
    override: dict[str, Any] = Field(default_factory=dict)


class TrainConfig(Section):
    """Optimisation.

    Attributes:
        steps: Steps in all; ``auto`` measures the network's step and fills the budget.
        rounds: Validations of whole cases, spread evenly over the steps (an epoch each).
        loss: ``dice_ce``, ``dice``, ``tversky``, ``focal_tversky``, ``generalised_dice`` or
            ``topk_ce``.
        class_weights: Weight of a class in the loss by its name, 1 where none is given. Patches
            show all foreground classes equally often without it.
        learning_rate: Peak rate of AdamW; ``auto`` is 3e-3 from scratch, 1e-3 pretrained.
        schedule: ``cosine`` or ``poly`` (power 0.9), after a warm-up.
        warmup: Share of the steps in which the rate rises.
        weight_decay: Decoupled decay of kernels.
        decay: Factor on the rate from each stage of a pretrained encoder to the one below it.
        ema: Momentum of a moving average of the weights, which is validated and kept; None: none.
        foreground: Share of patches centred on foreground; a patch classifier takes all classes,
            the background among them, in turn instead.
        patience: Rounds without improvement before it stops; ``auto`` never.
        precision: As in classification.
        devices: As in classification.
    """

    steps: Auto | Annotated[int, Field(ge=1)] = "auto"
    rounds: Annotated[int, Field(ge=1, le=1000)] = 20
    loss: Literal["dice_ce", "dice", "tversky", "focal_tversky", "generalised_dice", "topk_ce"] = (
        "dice_ce"
    )
    class_weights: dict[str, Positive] = Field(default_factory=dict)
    learning_rate: Auto | Positive = "auto"
    schedule: Literal["cosine", "poly"] = "cosine"
    warmup: Share = 0.03
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    decay: Annotated[float, Field(gt=0, le=1)] = 0.8
    ema: Annotated[float, Field(gt=0, lt=1)] | None = 0.995
    foreground: Annotated[float, Field(ge=0, le=1)] = 0.33
    patience: Auto | Annotated[int, Field(ge=1)] = "auto"
    precision: Literal["float32", "float16", "bfloat16", "auto"] = "float32"
    devices: Literal["auto", "cpu", "gpu"] | Annotated[int, Field(ge=1, le=64)] = "auto"


class EvaluateConfig(Section):
    """Prediction and evaluation.

    Attributes:
        tta: Average over mirrored views that the augmentation's bans allow.
        mode: ``auto`` (exact tiles where the network allows it), ``tiles`` or ``blend``.
        overlap: Overlap of blended windows.
        postprocess: Choose largest component and hole filling on the validation part.
        tolerance: Tolerance of the normalised surface Dice, mm.
        membranes: Measure the ISBI 2012 scores too, each class as cells between membranes.
        n_boot: Bootstrap replicates.
    """

    tta: bool = True
    mode: Literal["auto", "tiles", "blend"] = "auto"
    overlap: Annotated[float, Field(ge=0, lt=1)] = 0.5
    postprocess: bool = True
    tolerance: Positive = 1.0
    membranes: bool = False
    n_boot: Annotated[int, Field(ge=100, le=100_000)] = 1000


class CascadeConfig(Section):
    """A stage before the network, trained in the same run (`recipes.segmentation.cascade`).

    Attributes:
        kind: ``none``; ``region``: a first network finds the organ, the second segments inside a
            box around it; ``resolution``: a first network segments coarser voxels, and the second
            sees its classes beside the image.
        organ: Classes that make up the organ of ``region``; auto is all of them.
        margin: Room around the organ in mm (voxels where the voxel size is unknown).
        factor: How much coarser the voxels of the first network are; pictures keep theirs.
        share: Share of the time budget, or of all steps, for the first network.
        steps: Steps of the first network; auto follows from `share`.
        rounds: Its validations; auto is as ``train.rounds``.
    """

    kind: Literal["none", "region", "resolution"] = "none"
    organ: Auto | tuple[str, ...] = "auto"
    margin: Annotated[float, Field(ge=0)] = 10.0
    factor: Annotated[float, Field(ge=1, le=16)] = 2.0
    share: Annotated[float, Field(gt=0, lt=1)] = 0.35
    steps: Auto | Annotated[int, Field(ge=1)] = "auto"
    rounds: Auto | Annotated[int, Field(ge=1, le=1000)] = "auto"


class SegmentationConfig(Section):
    """A whole segmentation run as data."""

    task: Literal["segmentation"] = "segmentation"
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    data: DataConfig = DataConfig()
    plan: PlanConfig = PlanConfig()
    cascade: CascadeConfig = CascadeConfig()
    model: ModelConfig = ModelConfig()
    augment: AugmentConfig = AugmentConfig()
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    report: ReportConfig = ReportConfig()

    @model_validator(mode="after")
    def _check(self) -> SegmentationConfig:
        if self.data.merge and self.cascade.kind == "region":
            raise ValueError(
                "data.merge and cascade.kind=region both make an organ of classes; give one"
            )
        return self
