"""What the losses share: options, and where weights act."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from zoo.errors import ZooError
from zoo.losses.inputs import (
    ACTIVATIONS,
    Activation,
    Tensor,
    Voxels,
    check_weights,
    read_voxels,
)


class VoxelLoss(keras.losses.Loss):
    """A loss on logits of cases, pictures or volumes, computed in float32.

    Truth and logits have the shapes that ``zoo.losses.inputs.read_voxels`` says. ``sample_weight``
    of shape ``(batch,)`` weighs cases; of shape ``(batch, *spatial)`` it weighs voxels inside the
    formula.
    """

    def __init__(
        self,
        *,
        activation: Activation = "softmax",
        class_weights: Sequence[float] | None = None,
        ignore_index: int | None = None,
        reduction: str = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        """Take the options that all losses have.

        Args:
            activation: ``"softmax"`` for exclusive classes, ``"sigmoid"`` for independent ones.
            class_weights: One for each class, background included; None weighs them alike.
            ignore_index: The label that means unknown; NaN does always.
            reduction: As for every Keras loss, over cases.
            name: As for every Keras loss.
            dtype: As for every Keras loss.

        Raises:
            ZooError: For an option out of range.
        """
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        if activation not in ACTIVATIONS:
            raise ZooError(f"unknown activation {activation!r}; choose from {list(ACTIVATIONS)}")
        self.activation: Activation = activation
        self.class_weights = check_weights(class_weights)
        self.ignore_index = ignore_index

    def __call__(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> Any:
        """Give the loss; weights of voxels go into the formula, weights of cases behind it."""
        if sample_weight is None or len(ops.shape(sample_weight)) < 2:
            return super().__call__(y_true, y_pred, sample_weight)
        if len(ops.shape(y_pred)) == 2 and ops.shape(sample_weight)[-1] == 1:
            return super().__call__(y_true, y_pred, ops.squeeze(sample_weight, axis=-1))
        return super().__call__((y_true, sample_weight), y_pred)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Give ``(batch,)`` values; ``y_true`` is the truth, or the truth and voxel weights."""
        truth, weight = y_true if isinstance(y_true, tuple | list) else (y_true, None)
        voxels = read_voxels(
            truth,
            y_pred,
            activation=self.activation,
            ignore_index=self.ignore_index,
            weight=weight,
        )
        return self.values(voxels) + voxels.invalid

    def values(self, voxels: Voxels) -> Tensor:
        """Give the loss of every case, ``(batch,)``."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """Give the arguments that rebuild this loss."""
        return {
            **super().get_config(),
            "activation": self.activation,
            "class_weights": self.class_weights,
            "ignore_index": self.ignore_index,
        }


def known_mean(each: Tensor, weight: Tensor) -> Tensor:
    """Average over what is known, so that each of it counts the same whichever case it is in.

    Args:
        each: ``(batch, n, classes)``.
        weight: Broadcastable to it; 0 where unknown.

    Returns:
        ``(batch,)`` values whose mean over the batch is the weighted mean over all that is known;
        0 where nothing is.
    """
    weight = ops.broadcast_to(weight, ops.shape(each))
    total = ops.mean(ops.sum(weight, axis=(1, 2)))
    return ops.sum(weight * each, axis=(1, 2)) / ops.maximum(total, 1e-6)
