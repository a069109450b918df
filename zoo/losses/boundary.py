"""Loss on distances to the true boundary."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from zoo.errors import ZooError
from zoo.losses.base import VoxelLoss, known_mean
from zoo.losses.inputs import Tensor, Voxels


@keras.saving.register_keras_serializable(package="radzoo")
class Boundary(VoxelLoss):
    """Boundary loss (Kervadec et al., arXiv:1812.07032): mean of probability times distance.

    The truth is not a mask but its signed distance map ``(batch, *spatial, classes)``, computed
    beforehand: below 0 inside the class, above 0 outside, in mm or voxels; NaN where unknown. The
    loss falls below 0. It needs a loss of overlap beside it, whose share falls while training runs.
    A class that the truth lacks should have a map of zeros, so that it does not count, or of a
    positive constant, which penalises it like a region.
    """

    def __init__(self, *, include_background: bool = False, **options: Any) -> None:
        """Take the options.

        Args:
            include_background: Whether class 0 counts.
            **options: Those of ``VoxelLoss``, without ``class_weights`` and ``ignore_index``.
        """
        super().__init__(**{"name": "boundary", **options})
        if self.class_weights is not None or self.ignore_index is not None:
            raise ZooError("distance maps take no class_weights or ignore_index: scale the map")
        self.include_background = include_background

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Give ``(batch,)`` values; the truth must have a map for every class."""
        maps = y_true[0] if isinstance(y_true, tuple | list) else y_true
        if tuple(maps.shape[-1:]) != tuple(y_pred.shape[-1:]) or len(maps.shape) != len(
            y_pred.shape
        ):
            raise ZooError(
                f"distance maps of shape {tuple(maps.shape)} do not fit logits of shape "
                f"{tuple(y_pred.shape)}: give one for every class, background included"
            )
        return super().call(y_true, y_pred)

    def values(self, voxels: Voxels) -> Tensor:
        """Give the loss of every case."""
        each = voxels.probabilities() * voxels.target
        weight = ops.broadcast_to(voxels.weight, ops.shape(each))
        if not self.include_background:
            if voxels.classes == 1:
                raise ZooError("one class has no background: give include_background=True")
            each, weight = each[..., 1:], weight[..., 1:]
        return known_mean(each, weight)

    def get_config(self) -> dict[str, Any]:
        """Give the arguments that rebuild this loss."""
        return {**super().get_config(), "include_background": self.include_background}
