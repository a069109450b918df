"""Configuration of a classification run."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from recipes.config import Columns, ReportConfig, Section
from recipes.fewlabels.config import SemiConfig

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
Auto = Literal["auto"]


class DataConfig(Section):
    """What the data are and how they are cut.

    Attributes:
        modality: ``"XR-chest"``, ``"US"``, ``"CT"``, ...; None takes the adapter's word.
        positive: Name of the positive class of a two-class task; None takes the adapter's word.
        image_size: Side of the square input in pixels, ``[height, width]``, or ``"auto"``.
        keep_aspect: Pad to the target shape instead of stretching.
        range: ``[low, high]`` in modality units (a CT window's ends in HU) that maps to the
            backbone's 0-255; ``"auto"`` is 0-255 for 8-bit pictures, else the 0.5th and 99.5th
            percentile of the training part.
        fractions: Shares of train, val and test where the data come without parts.
        split_by: ``patient``, ``site`` (whole sites in one part) or ``date`` (later patients are
            tested).
        folds: Number of folds of a cross-validation, ``sites`` for one per site, or None.
        fold: The round: this fold is tested (where a test part came with the data, it chooses).
        leakage: ``stop``, ``drop``, ``strict`` or ``allow``.
        lint: ``off``, or what is done before the run about what is wrong with the data: ``report``
            (noted), ``strict`` (errors and warnings stop the run) or ``repair`` (cases are mended
            or left out, errors that are left stop the run). Each case is read once more for it.
        train_patients: Number of training patients that are used, drawn in proportion to the
            classes; None uses all. Validation and test parts stay whole.
        draw: Number of that draw; draws of one number are nested.
        columns: Column names of a table.
    """

    modality: str | None = None
    positive: str | None = None
    image_size: Auto | Annotated[int, Field(ge=16, le=2048)] | tuple[int, int] = "auto"
    keep_aspect: bool = False
    range: Auto | tuple[float, float] = "auto"
    fractions: tuple[float, float, float] = (0.7, 0.15, 0.15)
    split_by: Literal["patient", "site", "date"] = "patient"
    folds: Literal["sites"] | Annotated[int, Field(ge=2, le=1000)] | None = None
    fold: Annotated[int, Field(ge=0)] = 0
    leakage: Literal["stop", "drop", "strict", "allow"] = "stop"
    lint: Literal["off", "report", "strict", "repair"] = "off"
    train_patients: Annotated[int, Field(ge=2)] | None = None
    draw: Annotated[int, Field(ge=0, lt=2**31)] = 0
    columns: Columns = Columns()

    @model_validator(mode="after")
    def _check(self) -> DataConfig:
        if self.range != "auto" and not self.range[0] < self.range[1]:
            raise ValueError("range must be [low, high] with low < high")
        if min(self.fractions) < 0 or abs(sum(self.fractions) - 1) > 1e-6:
            raise ValueError("fractions must be three shares (train, val, test) that sum to 1")
        if self.fractions[0] == 0 or self.fractions[1] == 0:
            raise ValueError("fractions of train and val must be above 0")
        if isinstance(self.folds, int) and self.fold >= self.folds:
            raise ValueError(f"fold {self.fold} of {self.folds} folds: they count from 0")
        if self.folds is None and self.fold:
            raise ValueError("fold needs folds, the number of them")
        if self.folds is not None and self.split_by == "date":
            raise ValueError("folds cannot be by date: a fold would be tested on its past")
        return self


class ModelConfig(Section):
    """The network.

    Attributes:
        backbone: A name of ``radzoo models``.
        weights: ``"imagenet"``, ``"none"`` or the path of a weights file.
        levels: Pyramid levels (``P1`` to ``P5``) whose pooled features are classified; the network
            ends at the highest. ``"auto"``: the one below the top, from scratch the top one.
        pooling: ``avg``, ``max`` or ``stats`` (mean and standard deviation of every channel).
        hidden: Units of a hidden layer on standardised features; 0 has none.
        dropout: Share of features dropped in training before every dense layer of the head.
        members: Networks in the ensemble; ``"auto"`` is 3.
    """

    backbone: str = "efficientnet_lite0"
    weights: str = "imagenet"
    levels: Auto | tuple[Literal["P1", "P2", "P3", "P4", "P5"], ...] = "auto"
    pooling: Literal["auto", "avg", "max", "stats"] = "auto"
    hidden: Auto | Annotated[int, Field(ge=0, le=8192)] = "auto"
    dropout: Auto | Share = "auto"
    members: Auto | Annotated[int, Field(ge=1, le=20)] = "auto"


class AugmentConfig(Section):
    """Augmentation: a preset of the modality, changed by hand where needed.

    Attributes:
        strength: ``none``, ``light``, ``medium`` or ``strong``.
        bans: Further operations that would change the label: ``flip_lr``, ``flip_ud``, ``zoom``,
            ``shape``, ``intensity``.
        lift: Bans of the modality's preset that do not hold for this question.
        override: Single figures of the preset, such as ``rotate_deg: 5``.
    """

    strength: Literal["none", "light", "medium", "strong"] = "medium"
    bans: tuple[str, ...] = ()
    lift: tuple[str, ...] = ()
    override: dict[str, float | bool] = Field(default_factory=dict)


class HeadPhase(Section):
    """Phase 1: the head alone, on features of the frozen backbone.

    Attributes:
        epochs: Most epochs; ``"auto"`` gives small sets more, so that they get as many steps.
        learning_rate: Peak rate of AdamW.
        patience: Epochs without improvement before it stops; ``"auto"`` a sixth of the epochs, at
            least 5.
        augment: Train on augmented images; False computes the features once, of every picture and
            of the mirrored ones that the augmentation's bans allow.
    """

    epochs: Auto | Annotated[int, Field(ge=0, le=1000)] = "auto"
    learning_rate: Positive = 1e-3
    patience: Auto | Annotated[int, Field(ge=1)] = "auto"
    augment: bool = False


class AdapterConfig(Section):
    """Low-rank adapters (LoRA, arXiv:2106.09685) trained in place of the backbone's kernels.

    They are merged into the kernels before the model is written.

    Attributes:
        rank: Rank of the change to a kernel; 0 has no adapters.
        alpha: The change is scaled by ``alpha / rank``; None takes the rank.
        layers: ``pointwise`` (dense layers and 1x1 convolutions) or ``all`` convolutions.
    """

    rank: Annotated[int, Field(ge=0, le=4096)] = 0
    alpha: Positive | None = None
    layers: Literal["pointwise", "all"] = "all"


Stages = Literal["head", "all"] | Annotated[int, Field(ge=1)]


class FinetunePhase(Section):
    """Phase 2: stages of the backbone from the top, lower ones more slowly.

    Attributes:
        epochs: Most epochs; ``"auto"`` chooses by the number of training cases; 0 skips it.
        learning_rate: Peak rate of the head; ``"auto"`` is lower for small sets, which have too few
            steps to recover from a large one.
        decay: Factor on the rate from each stage to the one below it.
        stages: Unfrozen stages counted from the top, or ``"all"``.
        schedule: Staged unfreezing: ``[epoch, stages]`` pairs by rising epoch, counted from 0, in
            place of ``stages`` from that epoch on (``head`` is the head alone); ``gradual``
            (ULMFiT, arXiv:1801.06146) starts with the head and adds one of the ``stages`` at a
            time.
        patience: Epochs without improvement before it stops; ``"auto"`` two thirds of the epochs,
            at least 8, because under a falling rate the best ones come late.
        batch_norm: ``"frozen"`` keeps BatchNorm in inference mode, ``"train"`` updates it where
            stages train, ``"statistics"`` updates means and variances alone, in every stage.
        ema: Momentum of a moving average of the weights (0.99 looks back over about 100 steps),
            which is validated and kept in place of the weights; None has none.
        adapters: Low-rank adapters.
    """

    epochs: Auto | Annotated[int, Field(ge=0, le=1000)] = "auto"
    learning_rate: Auto | Positive = "auto"
    decay: Annotated[float, Field(gt=0, le=1)] = 0.7
    stages: Literal["all"] | Annotated[int, Field(ge=1)] = "all"
    schedule: Literal["gradual"] | tuple[tuple[Annotated[int, Field(ge=0)], Stages], ...] = ()
    patience: Auto | Annotated[int, Field(ge=1)] = "auto"
    batch_norm: Literal["frozen", "train", "statistics"] = "frozen"
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    adapters: AdapterConfig = AdapterConfig()


class TrainConfig(Section):
    """Optimisation shared by both phases.

    Attributes:
        batch_size: Images in a step.
        weight_decay: Decoupled decay of AdamW, scaled per layer like the rate.
        warmup: Share of the steps in which the rate rises.
        balance: Class weighting in the loss, undone on the logits afterwards.
        label_smoothing: Share of a target spread over the classes.
        mixup: Beta parameter of mixup (Zhang et al. 2018, arXiv:1710.09412); 0 is off.
        monitor: Validation figure that chooses the epoch; ``epoch`` keeps each phase's last one,
            where validation is too small to choose by.
        precision: ``float32``, ``float16`` (with loss scaling) or ``bfloat16`` for the layers'
            arithmetic in training; ``auto`` is bfloat16 or float16 on a GPU that is fast in it.
            Weights, and the model that is written, are float32 in each case.
        devices: ``cpu``, ``gpu``, a number of devices that share each batch, or ``auto``: the
            first GPU, or the CPU where there is none.
    """

    batch_size: Annotated[int, Field(ge=1, le=4096)] = 32
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    warmup: Share = 0.1
    balance: Literal["none", "sqrt", "inverse"] = "inverse"
    label_smoothing: Share = 0.0
    mixup: Annotated[float, Field(ge=0)] = 0.0
    monitor: Literal["val_loss", "val_auc", "val_accuracy", "epoch"] = "val_loss"
    precision: Literal["float32", "float16", "bfloat16", "auto"] = "float32"
    devices: Literal["auto", "cpu", "gpu"] | Annotated[int, Field(ge=1, le=64)] = "auto"
    head: HeadPhase = HeadPhase()
    finetune: FinetunePhase = FinetunePhase()


class EvaluateConfig(Section):
    """Evaluation.

    Attributes:
        tta: Average over test-time views that the augmentation's bans allow.
        operating_point: Rule that fixes the threshold on the validation part.
        prevalence: Stated prevalence for a second PPV and NPV, or None.
        n_boot: Bootstrap replicates.
        baselines: Fit plain classifiers on the same parts and show them beside the network
            (`recipes.baselines`).
    """

    tta: bool = True
    operating_point: str = "sensitivity>=0.95"
    prevalence: Annotated[float, Field(gt=0, lt=1)] | None = None
    n_boot: Annotated[int, Field(ge=100, le=100_000)] = 1000
    baselines: bool = False


class UncertaintyConfig(Section):
    """How sure the model is, fitted on the validation part and stored beside the model.

    Attributes:
        enabled: Whether it is done at all.
        coverage: Share of cases whose prediction set holds the true class; of labels that exclude
            no other, for each label its share of those with it and of those without it.
        conformal: Score behind the sets: ``lac`` (smallest sets) or ``aps`` (adaptive).
        per_class: Hold the coverage within each true class (needs enough validation cases of
            every class); of labels that exclude no other it always is.
        outside: Distance that flags cases of another kind: ``mahalanobis`` from the class means,
            or ``neighbours`` from the training cases.
        neighbours: Which neighbour counts.
        false_alarms: Share of ordinary cases that may be flagged.
        train_cases: Most training cases that the distance is measured from.
    """

    enabled: bool = True
    coverage: Annotated[float, Field(gt=0, lt=1)] = 0.9
    conformal: Literal["lac", "aps"] = "lac"
    per_class: bool = False
    outside: Literal["mahalanobis", "neighbours"] = "mahalanobis"
    neighbours: Annotated[int, Field(ge=1, le=1000)] = 10
    false_alarms: Annotated[float, Field(gt=0, lt=1)] = 0.05
    train_cases: Annotated[int, Field(ge=10, le=100_000)] = 1000


class ClassificationConfig(Section):
    """A whole classification run as data."""

    task: Literal["classification"] = "classification"
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    augment: AugmentConfig = AugmentConfig()
    train: TrainConfig = TrainConfig()
    semi: SemiConfig = SemiConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    uncertainty: UncertaintyConfig = UncertaintyConfig()
    report: ReportConfig = ReportConfig()

    def computed(self) -> dict[str, Any]:
        """The settings that results depend on.

        The section on uncertainty came later than the others: its defaults are left out, so that
        runs begun without it resume.
        """
        content = super().computed()
        if self.uncertainty == UncertaintyConfig():
            del content["uncertainty"]
        return content
