"""One reading of truth and logits for all losses and metrics, of cases, planes and volumes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from keras import ops

from zoo.errors import ZooError

Activation = Literal["softmax", "sigmoid"]
Tensor = Any
ACTIVATIONS = ("softmax", "sigmoid")


@dataclass(frozen=True)
class Voxels:
    """Truth and logits, the spatial axes joined to one of ``n`` voxels; all float32.

    Attributes:
        logits: ``(batch, n, classes)``.
        target: ``(batch, n, classes)``; 0 where unknown.
        weight: ``(batch, n, 1)`` or ``(batch, n, classes)``; 0 where unknown, elsewhere the
            voxel's weight, usually 1.
        invalid: 0, or NaN where a label is neither a class nor declared unknown: added to a loss,
            it shows in the first step.
        exclusive: Whether classes exclude each other (softmax).
    """

    logits: Tensor
    target: Tensor
    weight: Tensor
    invalid: Tensor
    exclusive: bool

    @property
    def classes(self) -> int:
        """Number of classes."""
        return int(self.logits.shape[-1])

    def probabilities(self) -> Tensor:
        """Softmax or sigmoid, ``(batch, n, classes)``."""
        return ops.softmax(self.logits, -1) if self.exclusive else ops.sigmoid(self.logits)

    def decisions(self) -> Tensor:
        """The likeliest class, or every class above one half; 0 or 1, ``(batch, n, classes)``."""
        if self.exclusive:
            return ops.one_hot(ops.argmax(self.logits, axis=-1), self.classes, dtype="float32")
        return ops.cast(self.logits > 0, "float32")


def read_voxels(
    y_true: Tensor,
    y_pred: Tensor,
    *,
    activation: Activation = "softmax",
    ignore_index: int | None = None,
    weight: Tensor | None = None,
) -> Voxels:
    """Bring truth and logits to one form; unknown truth is replaced before any formula.

    Args:
        y_true: Labels ``(batch, *spatial)`` or ``(batch, *spatial, 1)``, or one-hot, fractional or
            multi-label truth ``(batch, *spatial, classes)``. NaN is unknown in each of them.
        y_pred: Logits ``(batch, *spatial, classes)``; ``(batch, classes)`` in classification.
        activation: ``"softmax"`` for exclusive classes, ``"sigmoid"`` for independent ones.
        ignore_index: The label that means unknown, for example 255.
        weight: ``(batch, *spatial)``, with or without a last axis of 1 or classes.

    Returns:
        The voxels.

    Raises:
        ZooError: For shapes that do not fit.
    """
    y_pred = ops.cast(ops.convert_to_tensor(y_pred), "float32")
    y_true = ops.cast(ops.convert_to_tensor(y_true), "float32")
    classes = int(y_pred.shape[-1])
    if activation == "softmax" and classes == 1:
        raise ZooError("one logit has nothing to exclude: use activation='sigmoid', or two logits")
    labels = _as_labels(y_true, y_pred)
    invalid: Tensor = 0.0
    if labels is None:
        known = ops.logical_not(ops.isnan(y_true))
        target = ops.where(known, y_true, 0.0)
        if activation == "softmax":
            known = ops.all(known, axis=-1, keepdims=True)
    else:
        known, target, invalid = _from_labels(labels, classes, ignore_index)
    target, known = _join(target), ops.cast(_join(known), "float32")
    if weight is not None:
        known = known * _join(_with_channel(weight, y_pred))
    return Voxels(_join(y_pred), target, known, invalid, activation == "softmax")


def _as_labels(y_true: Tensor, y_pred: Tensor) -> Tensor | None:
    """Give ``(batch, *spatial)`` labels, or None for truth with a number per class."""
    rank, classes = len(y_pred.shape), y_pred.shape[-1]
    if len(y_true.shape) == rank - 1:
        return y_true
    if len(y_true.shape) == rank and y_true.shape[-1] == classes:
        return None
    if len(y_true.shape) == rank and y_true.shape[-1] == 1:
        return y_true[..., 0]
    raise ZooError(
        f"truth of shape {tuple(y_true.shape)} does not fit logits of shape "
        f"{tuple(y_pred.shape)}: give labels (batch, *spatial) or one channel per class"
    )


def _from_labels(
    labels: Tensor, classes: int, ignore_index: int | None
) -> tuple[Tensor, Tensor, Tensor]:
    known = ops.logical_not(ops.isnan(labels))
    if ignore_index is not None:
        known = ops.logical_and(known, labels != float(ignore_index))
    labels = ops.where(known, labels, 0.0)
    highest = float(max(classes - 1, 1))
    good = ops.logical_and(labels >= 0.0, labels <= highest)
    if classes > 1:
        good = ops.logical_and(good, labels == ops.floor(labels))
    invalid = ops.where(ops.all(good), 0.0, np.nan)
    if classes == 1:
        return known[..., None], labels[..., None], invalid
    whole = ops.cast(ops.clip(ops.where(good, labels, 0.0), 0.0, highest), "int32")
    return known[..., None], ops.one_hot(whole, classes, dtype="float32"), invalid


def _with_channel(weight: Tensor, y_pred: Tensor) -> Tensor:
    weight = ops.cast(ops.convert_to_tensor(weight), "float32")
    if len(weight.shape) == len(y_pred.shape) - 1:
        return weight[..., None]
    if len(weight.shape) == len(y_pred.shape) and weight.shape[-1] in (1, y_pred.shape[-1]):
        return weight
    raise ZooError(
        f"weights of shape {tuple(weight.shape)} do not fit logits of shape "
        f"{tuple(y_pred.shape)}: give one a case, or (batch, *spatial)"
    )


def _join(x: Tensor) -> Tensor:
    """Join the spatial axes: ``(batch, n, channels)``."""
    if len(x.shape) == 2:
        return x[:, None, :]
    return ops.reshape(x, (ops.shape(x)[0], -1, x.shape[-1]))


def check_weights(weights: Sequence[float] | None) -> list[float] | None:
    """Refuse class weights that are negative, not finite, or all 0; give them as floats.

    Raises:
        ZooError: Naming them.
    """
    if weights is None:
        return None
    listed = [float(weight) for weight in weights]
    if not all(np.isfinite(listed)) or min(listed, default=-1.0) < 0 or sum(listed) <= 0:
        raise ZooError(f"class_weights {listed} must be 0 or more, finite, and not all 0")
    return listed


def weights_of(weights: Sequence[float] | None, classes: int, *, what: str = "class") -> Tensor:
    """Give ``(classes,)`` float32 weights, ones where none are set.

    Raises:
        ZooError: When there are more or fewer than classes.
    """
    if weights is None:
        return ops.ones((classes,), dtype="float32")
    if len(weights) != classes:
        raise ZooError(f"{len(weights)} {what}_weights, not {classes}: give one each")
    return ops.convert_to_tensor(np.asarray(weights, "float32"))
