"""Configuration of semi-supervised learning and of self-supervised pretraining."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from recipes.config import Columns, ReportConfig, Section

Positive = Annotated[float, Field(gt=0)]
Side = Annotated[int, Field(ge=4, le=2048)]


class SemiConfig(Section):
    """How cases without a label are used in phase 2; of no effect where there are none.

    Attributes:
        method: ``pseudo`` (pseudo-labels: Lee 2013, ICML workshop on challenges in representation
            learning), ``mean_teacher`` (Tarvainen and Valpola 2017, arXiv:1703.01780; the teacher's
            momentum is ``train.finetune.ema``, 0.99 where that is null) or ``fixmatch`` (Sohn et
            al. 2020, arXiv:2001.07685).
        blank: Use the cases of DATA whose label is blank as well.
        ratio: Unlabelled cases in a step for each labelled one.
        weight: Weight of the unlabelled loss; ``"auto"``: 1, for ``mean_teacher`` 10.
        ramp: Share of the steps in which that weight rises; ``"auto"``: 0 for ``fixmatch``, 0.4
            for the others, whose targets are worth little at first.
        threshold: Probability from which a pseudo-label counts (``pseudo`` and ``fixmatch``).
        align: Move the predictions on unlabelled cases to the class frequencies of the training
            part before they are compared with the threshold (distribution alignment, Berthelot et
            al. 2020, arXiv:1911.09785), so that pseudo-labels cannot drift to one class. Off where
            the unlabelled cases are of another mix.
        cutout: Largest side of the square that is painted over in the strong view, as a share of
            the picture's side (DeVries and Taylor 2017, arXiv:1708.04552); 0 has none.
        steps: Steps of an epoch; ``"auto"`` looks at each unlabelled case once.
        own_ids: The patient ids of the unlabelled cases are another list's than those of DATA, so
            that equal ids mean nothing.
    """

    method: Literal["pseudo", "mean_teacher", "fixmatch"] = "fixmatch"
    blank: bool = False
    ratio: Annotated[int, Field(ge=1, le=64)] = 2
    weight: Literal["auto"] | Annotated[float, Field(gt=0)] = "auto"
    ramp: Literal["auto"] | Annotated[float, Field(ge=0, le=1)] = "auto"
    threshold: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    align: bool = True
    cutout: Annotated[float, Field(ge=0, le=0.9)] = 0.3
    steps: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    own_ids: bool = False

    @property
    def loss_weight(self) -> float:
        """The weight, ``auto`` resolved."""
        if self.weight != "auto":
            return self.weight
        return 10.0 if self.method == "mean_teacher" else 1.0

    @property
    def rise(self) -> float:
        """The ramp, ``auto`` resolved."""
        if self.ramp != "auto":
            return self.ramp
        return 0.0 if self.method == "fixmatch" else 0.4


class PretrainData(Section):
    """What the cases are; as in ``data`` of a classification, and for ``patches`` as in
    ``plan`` of a segmentation.

    Attributes:
        modality: ``"XR-chest"``, ``"US"``, ``"CT"``, ...; None takes the adapter's word.
        volumes: How volumes are learnt from: ``patches`` cut from them, for the 3D kernels of a
            backbone (``masked`` alone); ``planes``, their three middle planes as channels, for a
            2D network; ``auto`` is patches for ``masked``, else planes.
        image_size: Side of the square input in pixels, ``[height, width]``, or ``"auto"``. Of
            pictures and planes.
        keep_aspect: Pad to the target shape instead of stretching. Of pictures and planes.
        range: ``[low, high]`` in modality units that maps to the backbone's 0-255, or ``"auto"``.
            Of patches: auto is as a segmentation's plan has it, each case from its 0.5th to its
            99.5th percentile, or for CT those of all cases. A segmentation takes them inside the
            classes, which are not looked at here: for CT give its plan or its window.
        plan: ``plan.yaml`` of a segmentation with ``model.network=backbone`` in 3D, whose spacing,
            steps, range and patch are taken, so that inputs are exactly its own.
        spacing: Voxel size in mm that volumes are resampled to, along (slice, row, column);
            ``"auto"``: the median of the cases, as a segmentation's plan.
        patch: Voxels of a patch along (slice, row, column); ``"auto"`` as a segmentation's plan.
        cuts: Patches cut from a volume in an epoch; ``"auto"``: as many as hold its voxels once,
            at most 16.
        fold: Of data that bring folds (``splits.json``), the one whose validation cases are left
            out.
        columns: Column names of a table.
    """

    modality: str | None = None
    volumes: Literal["auto", "planes", "patches"] = "auto"
    image_size: Literal["auto"] | Annotated[int, Field(ge=16, le=2048)] | tuple[int, int] = "auto"
    keep_aspect: bool = False
    range: Literal["auto"] | tuple[float, float] = "auto"
    plan: str | None = None
    spacing: Literal["auto"] | tuple[Positive, Positive, Positive] = "auto"
    patch: Literal["auto"] | tuple[Side, Side, Side] = "auto"
    cuts: Literal["auto"] | Annotated[int, Field(ge=1, le=1000)] = "auto"
    fold: Annotated[int, Field(ge=0)] | None = None
    columns: Columns = Columns()

    @model_validator(mode="after")
    def _check(self) -> PretrainData:
        if self.range != "auto" and not self.range[0] < self.range[1]:
            raise ValueError(f"range {list(self.range)} must rise")
        if self.plan is not None:
            told = {"range": self.range, "spacing": self.spacing, "patch": self.patch}
            for key in (key for key, value in told.items() if value != "auto"):
                raise ValueError(f"plan and {key} both say what a patch is; give one")
        return self


class PretrainModel(Section):
    """The network.

    Attributes:
        backbone: A name of ``radzoo models``.
        weights: Where it starts: ``"imagenet"``, ``"none"`` or the path of a weights file.
        hidden: Units of the projection's hidden layer.
        dims: Length of the embedding that ``simclr`` and ``byol`` compare.
        level: Finest level of the pyramid that ``masked`` rebuilds from, ``P1`` to ``P5``; it and
            the coarser ones are used. ``auto``: the top alone for pictures, for volumes the
            coarsest whose places are at most 8 voxels a side (``P3``).
    """

    backbone: str = "efficientnet_lite0"
    weights: str = "imagenet"
    hidden: Annotated[int, Field(ge=1, le=8192)] = 512
    dims: Annotated[int, Field(ge=2, le=2048)] = 128
    level: Literal["auto", "P1", "P2", "P3", "P4", "P5"] = "auto"


class PretrainViews(Section):
    """The views of a case that are to be recognised, or what is hidden of it.

    Attributes:
        strength: Augmentation of the modality: ``light``, ``medium`` or ``strong``.
        bans: Further operations that must not be learnt to be ignored.
        lift: Bans of the modality that do not hold here.
        crop: Smallest share of the area that a view shows (``simclr`` and ``byol``).
        hidden: Share of the patches that is hidden (``masked``).
        patches: Patches along each side (``masked``); ``"auto"``: 8 in pictures, in volumes blocks
            of about 8 voxels a side.
    """

    strength: Literal["light", "medium", "strong"] = "strong"
    bans: tuple[str, ...] = ()
    lift: tuple[str, ...] = ()
    crop: Annotated[float, Field(gt=0, le=1)] = 0.4
    hidden: Annotated[float, Field(gt=0, lt=1)] = 0.6
    patches: Literal["auto"] | Annotated[int, Field(ge=2, le=64)] = "auto"


class PretrainTrain(Section):
    """Optimisation.

    Attributes:
        epochs: Epochs; the last one's weights are kept.
        batch_size: Cases in a step; ``simclr`` compares each with all others of its batch.
            ``"auto"``: 64 pictures; of patches of volumes as many as a segmentation's plan takes.
        learning_rate: Peak rate of AdamW.
        weight_decay: Decoupled decay.
        warmup: Share of the steps in which the rate rises.
        temperature: Of NT-Xent (``simclr``).
        momentum: Of the target network (``byol``).
        batch_norm: ``train`` or ``frozen``.
    """

    epochs: Annotated[int, Field(ge=1, le=10_000)] = 50
    batch_size: Literal["auto"] | Annotated[int, Field(ge=2, le=4096)] = "auto"
    learning_rate: Annotated[float, Field(gt=0)] = 5e-4
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.1
    temperature: Annotated[float, Field(gt=0)] = 0.2
    momentum: Annotated[float, Field(gt=0, lt=1)] = 0.99
    batch_norm: Literal["train", "frozen"] = "train"


class PretrainConfig(Section):
    """Self-supervised pretraining as data.

    Attributes:
        method: ``simclr`` (arXiv:2002.05709), ``byol`` (arXiv:2006.07733) or ``masked`` (hidden
            patches are rebuilt by one layer on the top feature map, as in SimMIM,
            arXiv:2111.09886; He et al. 2022, arXiv:2111.06377, hide patches of transformers).
        seed: Seed of everything random.
        data: What the cases are.
        model: The network.
        views: What is compared or hidden.
        train: Optimisation.
        report: What the page shows.
    """

    task: Literal["pretraining"] = "pretraining"
    method: Literal["simclr", "byol", "masked"] = "simclr"
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    data: PretrainData = PretrainData()
    model: PretrainModel = PretrainModel()
    views: PretrainViews = PretrainViews()
    train: PretrainTrain = PretrainTrain()
    report: ReportConfig = ReportConfig()
