"""Loss of an ordinal head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from zoo.errors import ZooError
from zoo.losses.base import known_mean
from zoo.losses.inputs import Tensor, check_weights, weights_of


@keras.saving.register_keras_serializable(package="radzoo")
class OrdinalCrossentropy(keras.losses.Loss):
    """Sum of the binary cross-entropies "the grade exceeds k" (CORAL, arXiv:1901.07884).

    Truth: grades ``(batch,)`` or ``(batch, 1)``, 0 to ``grades - 1``, NaN where unknown; such cases
    are left out of the mean. Prediction: logits ``(batch, grades - 1)`` of an ordinal head. A grade
    out of range makes the loss NaN.
    """

    def __init__(
        self,
        *,
        threshold_weights: Sequence[float] | None = None,
        reduction: str = "sum_over_batch_size",
        name: str = "ordinal_crossentropy",
        dtype: Any = None,
    ) -> None:
        """Take the options.

        Args:
            threshold_weights: One for each threshold, the paper's importance; None weighs them
                alike.
            reduction: As for every Keras loss.
            name: As for every Keras loss.
            dtype: As for every Keras loss.
        """
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.threshold_weights = check_weights(threshold_weights)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Give ``(batch,)`` values."""
        z = ops.cast(ops.convert_to_tensor(y_pred), "float32")
        grade = ops.cast(ops.convert_to_tensor(y_true), "float32")
        grade = grade[:, 0] if len(grade.shape) == 2 and grade.shape[-1] == 1 else grade
        if len(grade.shape) != 1 or len(z.shape) != 2:
            raise ZooError(
                f"grades of shape {tuple(grade.shape)} do not fit logits of shape "
                f"{tuple(z.shape)}: give (batch,) and (batch, grades - 1)"
            )
        thresholds = int(z.shape[-1])
        known = ops.logical_not(ops.isnan(grade))
        grade = ops.where(known, grade, 0.0)
        inside = ops.logical_and(grade >= 0.0, grade <= float(thresholds))
        good = ops.all(ops.logical_and(inside, grade == ops.floor(grade)))
        above = ops.cast(grade[:, None] > ops.arange(thresholds, dtype="float32"), "float32")
        weights = weights_of(self.threshold_weights, thresholds, what="threshold")
        each = weights * (above * ops.softplus(-z) + (1.0 - above) * ops.softplus(z))
        total = ops.sum(each, axis=-1)[:, None, None]
        return known_mean(total, ops.cast(known, "float32")[:, None, None]) + ops.where(
            good, 0.0, np.nan
        )

    def get_config(self) -> dict[str, Any]:
        """Give the arguments that rebuild this loss."""
        return {**super().get_config(), "threshold_weights": self.threshold_weights}
