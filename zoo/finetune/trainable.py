"""What trains: stages switched on and off, and a report of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import keras

from zoo.errors import ZooError
from zoo.finetune.stages import Staged, assign_stages
from zoo.spec import BackboneSpec

BATCH_NORMS = ("frozen", "train", "statistics")
NAMES_OF_STATISTICS = ("moving_mean", "moving_variance")


def set_trainable(
    model: keras.Model,
    spec: BackboneSpec,
    *,
    stages: int | Literal["all", "head", "frozen"],
    batch_norm: Literal["frozen", "train", "statistics"] = "frozen",
) -> None:
    """Choose what trains. Compile the model afterwards: Keras notes it at compile time.

    Args:
        model: A model with the backbone in it, flat or nested; changed in place.
        spec: The backbone.
        stages: k trains the head and the top k stages, ``"head"`` (or 0) the head alone, ``"all"``
            everything, ``"frozen"`` nothing.
        batch_norm: ``"frozen"`` keeps every BatchNormalization in inference mode, its statistics
            unmoved, also in stages that train and in the head. ``"train"`` lets those of training
            stages train. ``"statistics"`` lets the statistics of all of them follow the data, in
            frozen stages too, while scale and offset stay (adaptive BatchNorm, Li et al.,
            arXiv:1603.04779).

    Raises:
        ZooError: For a number of stages that the backbone does not have.
    """
    staged = assign_stages(model, spec)
    first = first_trained(spec, stages, staged)
    if batch_norm not in BATCH_NORMS:
        raise ZooError(
            f"unknown batch_norm {batch_norm!r}; choose 'frozen', 'train' or 'statistics'"
        )
    switch(model, on=True)  # a model that is switched off hides what trains in it
    for place, layer in staged.layers.items():
        trains = staged.stages[place] >= first
        if isinstance(layer, keras.layers.BatchNormalization) and batch_norm != "train":
            layer.trainable = batch_norm == "statistics"
            for weight in layer.trainable_weights:
                weight.trainable = False
        else:
            layer.trainable = trains
        kernel = adapted_kernel(layer)
        if kernel is not None:
            kernel.trainable = False
            if layer.bias is not None:
                layer.bias.trainable = False


def switch(layer: keras.Layer, *, on: bool) -> None:
    """Set a layer's flag and that of each of its variables.

    Keras on TensorFlow passes over an assignment of the value that is there, and with it over
    variables that were switched one by one.
    """
    layer.trainable = not on
    layer.trainable = on


def first_trained(spec: BackboneSpec, stages: int | str, staged: Staged) -> int:
    """Turn what trains into the lowest stage that does.

    Raises:
        ZooError: For a number of stages that the backbone does not have.
    """
    count = staged.count
    if stages in ("all", "head", "frozen"):
        return {"all": 0, "head": staged.head, "frozen": staged.head + 1}[str(stages)]
    if isinstance(stages, bool) or not isinstance(stages, int) or not 0 <= stages <= count:
        raise ZooError(
            f"stages is {stages!r}; {spec.name!r} has {count} stages: give 0 to {count}, or 'all'"
        )
    return count - stages if stages else staged.head


def adapted_kernel(layer: keras.Layer) -> keras.Variable | None:
    """The frozen kernel beside a layer's adapter; None for a layer without one."""
    kernel: keras.Variable | None = layer._kernel if getattr(layer, "lora_enabled", False) else None
    return kernel


def moving_weights(layer: keras.Layer) -> list[keras.Variable]:
    """Weights that training moves without a gradient: statistics of BatchNorm in training mode."""
    if not isinstance(layer, keras.layers.BatchNormalization) or not layer.trainable:
        return []
    return [weight for weight in layer.weights if weight.name in NAMES_OF_STATISTICS]


def frozen_weights(layer: keras.Layer) -> list[keras.Variable]:
    """Weights that training must leave as they are."""
    loose = {id(weight) for weight in (*layer.trainable_weights, *moving_weights(layer))}
    return [weight for weight in layer.weights if id(weight) not in loose]


@dataclass(frozen=True, kw_only=True)
class StageReport:
    """One stage of a model.

    Attributes:
        name: ``"stage 0"`` is the stem, ``"head"`` whatever lies outside the backbone.
        layers: Layers in it.
        trainable: Parameters that a gradient moves.
        statistics: Parameters of BatchNorm statistics that follow the data.
        frozen: Parameters that stay.
        rate: Share of the learning rate; 0 where nothing trains.
    """

    name: str
    layers: int
    trainable: int
    statistics: int
    frozen: int
    rate: float


@dataclass(frozen=True, kw_only=True)
class TrainableReport:
    """What trains in a model, stage by stage from the head down; ``str`` gives a table.

    Attributes:
        stages: One entry per stage, the head first.
        adapters: Layers with an adapter.
    """

    stages: tuple[StageReport, ...]
    adapters: int = 0

    @property
    def trainable(self) -> int:
        """Parameters that a gradient moves."""
        return sum(stage.trainable for stage in self.stages)

    @property
    def frozen(self) -> int:
        """Parameters that stay as they are."""
        return sum(stage.frozen for stage in self.stages)

    @property
    def total(self) -> int:
        """All parameters."""
        return self.trainable + self.frozen + sum(stage.statistics for stage in self.stages)

    def to_dict(self) -> dict[str, Any]:
        """Give plain values for a report."""
        totals = {"trainable": self.trainable, "frozen": self.frozen, "total": self.total}
        stages = [asdict(stage) for stage in self.stages]
        return totals | {"adapters": self.adapters, "stages": stages}

    def __str__(self) -> str:
        """Lay the stages out as a table."""
        rows = [("stage", "layers", "trainable", "statistics", "frozen", "rate")]
        rows += [
            (s.name, str(s.layers), f"{s.trainable:,}", f"{s.statistics:,}", f"{s.frozen:,}",
             f"{s.rate:.3g}")
            for s in self.stages
        ]  # fmt: skip
        share = 100 * self.trainable / max(1, self.total)
        last = f"{self.trainable:,} of {self.total:,} parameters train ({share:.1f}%)"
        return "\n".join([*_aligned(rows), last])


def report_trainable(model: keras.Model, spec: BackboneSpec, *, decay: float) -> TrainableReport:
    """Count what trains in a model as it stands.

    Args:
        model: A model with the backbone in it.
        spec: The backbone.
        decay: Factor on the learning rate from stage to stage.
    """
    staged = assign_stages(model, spec)
    stages = [_stage_report(staged, stage, decay) for stage in sorted(set(staged.stages.values()))]
    adapters = sum(adapted_kernel(layer) is not None for layer in staged.layers.values())
    return TrainableReport(stages=tuple(reversed(stages)), adapters=adapters)


def _stage_report(staged: Staged, stage: int, decay: float) -> StageReport:
    places = [place for place, found in staged.stages.items() if found == stage]
    layers = [staged.layers[place] for place in places]
    trainable = sum(_size(layer.trainable_weights) for layer in layers)
    return StageReport(
        name="head" if stage == staged.head else f"stage {stage}",
        layers=len(layers),
        trainable=trainable,
        statistics=sum(_size(moving_weights(layer)) for layer in layers),
        frozen=sum(_size(frozen_weights(layer)) for layer in layers),
        rate=staged.share(places[0], decay) if trainable else 0.0,
    )


def _size(weights: Sequence[keras.Variable]) -> int:
    return sum(math.prod(weight.shape) for weight in weights)


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            [
                row[0].ljust(widths[0]),
                *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)),
            ]
        )
        for row in rows
    ]
