"""Dice and intersection over union per class: of one batch, and streaming over a data set."""

from __future__ import annotations

from typing import Any, Literal

import keras
import numpy as np
import numpy.typing as npt
from keras import ops

from zoo.errors import ZooError
from zoo.losses.inputs import ACTIVATIONS, Activation, Tensor, Voxels, read_voxels

Kind = Literal["dice", "iou"]
Average = Literal["cases", "voxels"]


def overlap_scores(
    y_true: Tensor,
    y_pred: Tensor,
    *,
    kind: Kind = "dice",
    hard: bool = True,
    activation: Activation = "softmax",
    ignore_index: int | None = None,
) -> Tensor:
    """Overlap of every class in every case.

    Args:
        y_true: As for ``zoo.losses.inputs.read_voxels``.
        y_pred: Logits ``(batch, *spatial, classes)``.
        kind: ``"dice"``: ``2 |A and B| / (|A| + |B|)``; ``"iou"``: ``|A and B| / |A or B|``.
        hard: Compare decisions (the likeliest class, or each above one half) instead of
            probabilities.
        activation: ``"softmax"`` for exclusive classes, ``"sigmoid"`` for independent ones.
        ignore_index: The label that means unknown; NaN does always.

    Returns:
        Float32 ``(batch, classes)`` in [0, 1]; NaN where neither truth nor prediction has the
        class; all NaN for labels that are no class.
    """
    voxels = read_voxels(y_true, y_pred, activation=activation, ignore_index=ignore_index)
    both, sizes = _sums(voxels, hard=hard)
    defined = sizes > 0
    scores = _score(both, ops.where(defined, sizes, 1.0), kind)
    return ops.where(defined, scores, np.nan) + voxels.invalid


def _sums(voxels: Voxels, *, hard: bool) -> tuple[Tensor, Tensor]:
    """Sum ``p y`` and ``p + y`` over the voxels of every case and class."""
    p = voxels.decisions() if hard else voxels.probabilities()
    both = ops.sum(voxels.weight * p * voxels.target, axis=1)
    return both, ops.sum(voxels.weight * (p + voxels.target), axis=1)


def _score(both: Tensor, sizes: Tensor, kind: Kind) -> Tensor:
    return 2.0 * both / sizes if kind == "dice" else both / ops.maximum(sizes - both, 1e-12)


class OverlapMetric(keras.metrics.Metric):
    """Overlap per class over a data set, averaged over classes.

    With ``average="cases"`` every case has a score per class, and their mean counts; cases where
    neither truth nor prediction has the class have none. With ``"voxels"`` all cases are summed as
    one. ``sample_weight`` may weigh cases or voxels.
    """

    kind: Kind = "dice"

    def __init__(
        self,
        classes: int,
        *,
        hard: bool = True,
        include_background: bool = True,
        average: Average = "cases",
        activation: Activation = "softmax",
        ignore_index: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        """Take the options.

        Args:
            classes: Channels of the logits.
            hard: As for ``overlap_scores``.
            include_background: Whether class 0 counts in the result.
            average: ``"cases"`` or ``"voxels"``.
            activation: As for ``overlap_scores``.
            ignore_index: As for ``overlap_scores``.
            name: As for every Keras metric.
            dtype: As for every Keras metric.

        Raises:
            ZooError: For an option out of range.
        """
        super().__init__(name=name, dtype=dtype)
        if activation not in ACTIVATIONS:
            raise ZooError(f"unknown activation {activation!r}; choose from {list(ACTIVATIONS)}")
        if average not in ("cases", "voxels"):
            raise ZooError(f"unknown average {average!r}; choose 'cases' or 'voxels'")
        if classes < 1 or (classes == 1 and not include_background):
            raise ZooError(f"classes is {classes}; background left out, at least one must remain")
        self.classes, self.hard, self.include_background = classes, hard, include_background
        self.average: Average = average
        self.activation: Activation = activation
        self.ignore_index = ignore_index
        self.numerator = self._zeros("numerator")
        self.denominator = self._zeros("denominator")

    def _zeros(self, name: str) -> keras.Variable:
        return self.add_variable((self.classes,), "zeros", dtype="float32", name=name)

    def update_state(
        self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None
    ) -> None:
        """Take a batch in."""
        of_voxels = sample_weight is not None and len(ops.shape(sample_weight)) > 1
        voxels = read_voxels(
            y_true,
            y_pred,
            activation=self.activation,
            ignore_index=self.ignore_index,
            weight=sample_weight if of_voxels else None,
        )
        if voxels.classes != self.classes:
            raise ZooError(f"{self.name} is for {self.classes} classes, not {voxels.classes}")
        both, sizes = _sums(voxels, hard=self.hard)
        case = 1.0
        if sample_weight is not None and not of_voxels:
            case = ops.reshape(ops.cast(sample_weight, "float32"), (-1, 1))
        if self.average == "voxels":
            twice = 2.0 * both if self.kind == "dice" else both
            below = sizes if self.kind == "dice" else sizes - both
            top, bottom = case * twice, case * below
        else:
            defined = ops.cast(sizes > 0, "float32")
            safe = ops.where(sizes > 0, sizes, 1.0)
            top, bottom = case * defined * _score(both, safe, self.kind), case * defined
        self.numerator.assign_add(ops.sum(top, axis=0) + voxels.invalid)
        self.denominator.assign_add(ops.sum(ops.broadcast_to(bottom, ops.shape(both)), axis=0))

    def per_class(self) -> npt.NDArray[np.float32]:
        """Score of every class, background included; NaN where no case had it."""
        top, bottom = (
            np.asarray(ops.convert_to_numpy(part)) for part in (self.numerator, self.denominator)
        )
        return np.where(bottom > 0, top / np.where(bottom > 0, bottom, 1.0), np.float32(np.nan))

    def result(self) -> Tensor:
        """Mean over the classes that any case had; NaN when none had one."""
        top, bottom = ops.convert_to_tensor(self.numerator), ops.convert_to_tensor(self.denominator)
        if not self.include_background:
            top, bottom = top[1:], bottom[1:]
        there = ops.cast(bottom > 0, "float32")
        scores = top / ops.where(bottom > 0, bottom, 1.0)
        # 0 / 0 is the NaN of a mean over nothing.
        return ops.sum(scores * there) / ops.sum(there)

    def get_config(self) -> dict[str, Any]:
        """Give the arguments that rebuild this metric."""
        return {
            **super().get_config(),
            "classes": self.classes,
            "hard": self.hard,
            "include_background": self.include_background,
            "average": self.average,
            "activation": self.activation,
            "ignore_index": self.ignore_index,
        }


@keras.saving.register_keras_serializable(package="radzoo")
class DiceScore(OverlapMetric):
    """Streaming Dice: ``2 |A and B| / (|A| + |B|)``; see ``OverlapMetric``."""

    kind: Kind = "dice"


@keras.saving.register_keras_serializable(package="radzoo")
class IoUScore(OverlapMetric):
    """Streaming intersection over union, hard or soft; see ``OverlapMetric``.

    ``keras.metrics.OneHotIoU`` has no per-case mean, no soft score and no per-class figures.
    """

    kind: Kind = "iou"
