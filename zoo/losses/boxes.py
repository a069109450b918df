"""The loss of a detector without anchors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from zoo.losses.inputs import check_weights, weights_of


@keras.saving.register_keras_serializable("radzoo")
class BoxLoss(keras.losses.Loss):
    """Focal loss of the classes at every place, and 1 - GIoU of the boxes where a lesion is.

    Both are summed over the batch and divided by the number of places that have a lesion, at least
    1 (Lin et al., 2017, arXiv:1708.02002; Rezatofighi et al., 2019, arXiv:1902.09630, here for
    boxes of any number of axes).

    Truth ``(batch, places, classes + 1 + 2 axes)``: 1, 0 or -1 (unknown: counts for nothing) of
    each class, 1 where the place has a box, its distances in voxels. Prediction
    ``(batch, places, classes + 2 axes)``: logits, distances above 0.
    """

    def __init__(
        self,
        classes: int,
        alpha: float = 0.25,
        gamma: float = 2.0,
        class_weights: Sequence[float] | None = None,
        name: str = "box_loss",
        reduction: str = "sum_over_batch_size",
        dtype: Any = None,
    ) -> None:
        """Take the figures.

        Args:
            classes: Classes of lesions.
            alpha: Weight of places with a lesion; the others weigh 1 - alpha.
            gamma: Power of the error.
            class_weights: Factor of each class's errors, of its boxes too; None: all alike.
            name: Name.
            reduction: As every Keras loss.
            dtype: Likewise.

        Raises:
            ZooError: There are more or fewer weights than classes, or one is out of range.
        """
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.classes, self.alpha, self.gamma = classes, alpha, gamma
        self.class_weights = check_weights(class_weights)
        weights_of(self.class_weights, classes)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The loss, a scalar."""
        y_true, y_pred = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
        wanted, logits = y_true[..., : self.classes], y_pred[..., : self.classes]
        there = y_true[..., self.classes]
        count = ops.maximum(ops.sum(there), 1.0)
        sides = 1.0 - _giou(y_true[..., self.classes + 1 :], y_pred[..., self.classes :])
        weights = weights_of(self.class_weights, self.classes)
        if self.class_weights is not None:  # a place has the weight of its class
            there = there * ops.max(ops.cast(wanted > 0, "float32") * weights, axis=-1)
        return (ops.sum(weights * self._focal(wanted, logits)) + ops.sum(there * sides)) / count

    def _focal(self, wanted: Any, logits: Any) -> Any:
        known = ops.cast(wanted >= 0, "float32")
        target = ops.cast(wanted > 0, "float32")
        sign = 2.0 * target - 1.0
        right = ops.sigmoid(sign * logits)
        weight = target * self.alpha + (1.0 - target) * (1.0 - self.alpha)
        return known * weight * (1.0 - right) ** self.gamma * ops.softplus(-sign * logits)

    def get_config(self) -> dict[str, Any]:
        """Everything to build it again."""
        own = {
            "classes": self.classes,
            "alpha": self.alpha,
            "gamma": self.gamma,
            "class_weights": self.class_weights,
        }
        return {**super().get_config(), **own}


def _giou(one: Any, other: Any) -> Any:
    """Generalised overlap of boxes around the same place, as distances ``(..., 2 axes)``."""
    axes = one.shape[-1] // 2

    def volume(distances: Any) -> Any:
        return ops.prod(distances[..., :axes] + distances[..., axes:], axis=-1)

    both = volume(ops.minimum(one, other))
    union = volume(one) + volume(other) - both
    around = volume(ops.maximum(one, other))
    least = 1e-6
    return both / ops.maximum(union, least) - (around - union) / ops.maximum(around, least)
