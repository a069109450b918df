"""Losses of overlap: Dice, its generalisation, Tversky.

``keras.losses.Dice`` and ``Tversky`` are not used: they take probabilities, join all classes (and,
by default, all cases) in one sum, so that a large class hides a small one; give the full loss to a
class that is absent and rightly not predicted; sum in the dtype of the prediction; and Tversky's
``alpha``, documented for false positives, weighs false negatives (Keras 3.15).
"""

from __future__ import annotations

from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from zoo.errors import ZooError
from zoo.losses.base import VoxelLoss, known_mean
from zoo.losses.inputs import Tensor, Voxels, weights_of
from zoo.losses.pointwise import _entropy

Pool = Literal["case", "batch"]
Absent = Literal["count", "skip"]
SMOOTH = 1e-5


class OverlapLoss(VoxelLoss):
    """What losses of overlap share: a figure per class, averaged over classes.

    A class without voxels in truth and prediction has loss 0: ``smooth`` stands in numerator and
    denominator. One that is absent from the truth alone has the loss ``1 - smooth / (volume +
    smooth)``, practically 1; ``absent="skip"`` leaves such classes out of the mean, and a case with
    no class at all gives 0.
    """

    def __init__(
        self,
        *,
        include_background: bool = True,
        pool: Pool = "case",
        absent: Absent = "count",
        smooth: float = SMOOTH,
        **options: Any,
    ) -> None:
        """Take the options.

        Args:
            include_background: Whether class 0 counts.
            pool: Sum over the voxels of each case, or of the batch (steadier for classes that few
                patches hold).
            absent: Whether a class that the truth lacks counts.
            smooth: What is added to numerator and denominator, above 0.
            **options: Those of ``VoxelLoss``.

        Raises:
            ZooError: For an option out of range.
        """
        super().__init__(**options)
        if pool not in ("case", "batch"):
            raise ZooError(f"unknown pool {pool!r}; choose 'case' or 'batch'")
        if absent not in ("count", "skip"):
            raise ZooError(f"unknown absent {absent!r}; choose 'count' or 'skip'")
        if not smooth > 0:
            raise ZooError(f"smooth is {smooth}; it must be above 0")
        self.include_background, self.smooth = include_background, float(smooth)
        self.pool: Pool = pool
        self.absent: Absent = absent

    def values(self, voxels: Voxels) -> Tensor:
        """Give the loss of every case."""
        p = voxels.probabilities()
        each, present = self.per_class(voxels, p)
        weights = self.chosen(weights_of(self.class_weights, voxels.classes), voxels)
        if self.absent == "skip":
            weights = weights * present
        total = ops.sum(weights * each, axis=-1) / ops.maximum(
            ops.sum(weights * ops.ones_like(each), axis=-1), 1e-12
        )
        return ops.broadcast_to(total, (ops.shape(p)[0],))

    def per_class(self, voxels: Voxels, p: Tensor) -> tuple[Tensor, Tensor]:
        """Give the loss of every class, and 1 where the truth has it, both ``(batch, classes)``."""
        raise NotImplementedError

    def sums(self, voxels: Voxels, *terms: Tensor) -> list[Tensor]:
        """Sum weighted terms over voxels: ``(batch, classes)``, or ``(1, classes)`` pooled."""
        axes = 1 if self.pool == "case" else (0, 1)
        found = [ops.sum(voxels.weight * term, axis=axes) for term in terms]
        found = [term if self.pool == "case" else term[None] for term in found]
        return [self.chosen(term, voxels) for term in found]

    def chosen(self, x: Tensor, voxels: Voxels) -> Tensor:
        """Leave class 0 out where it does not count."""
        if self.include_background:
            return x
        if voxels.classes == 1:
            raise ZooError("include_background=False leaves nothing of one class")
        return x[..., 1:]

    def get_config(self) -> dict[str, Any]:
        """Give the arguments that rebuild this loss."""
        return {
            **super().get_config(),
            "include_background": self.include_background,
            "pool": self.pool,
            "absent": self.absent,
            "smooth": self.smooth,
        }


@keras.saving.register_keras_serializable(package="radzoo")
class Dice(OverlapLoss):
    """Soft Dice loss: ``1 - (2 sum(p y) + s) / (sum(p) + sum(y) + s)`` of every class, averaged.

    With ``squared`` the denominator has squares (V-Net: Milletari et al., arXiv:1606.04797).
    """

    def __init__(self, *, squared: bool = False, **options: Any) -> None:
        """Take the options.

        Args:
            squared: Whether the denominator sums squares.
            **options: Those of ``OverlapLoss``.
        """
        super().__init__(**{"name": "dice", **options})
        self.squared = squared

    def per_class(self, voxels: Voxels, p: Tensor) -> tuple[Tensor, Tensor]:
        """Give loss and presence of every class."""
        y = voxels.target
        size = p * p + y * y if self.squared else p + y
        both, sizes, present = self.sums(voxels, p * y, size, y)
        score = (2.0 * both + self.smooth) / (sizes + self.smooth)
        return 1.0 - score, ops.cast(present > 0, "float32")

    def get_config(self) -> dict[str, Any]:
        """Give the arguments that rebuild this loss."""
        return {**super().get_config(), "squared": self.squared}


@keras.saving.register_keras_serializable(package="radzoo")
class DiceCrossentropy(Dice):
    """Weighted sum of ``Dice`` and ``MaskedCrossentropy``; class weights act in both.

    Background always counts in the cross-entropy.
    """

    def __init__(
        self, *, dice_weight: float = 1.0, crossentropy_weight: float = 1.0, **options: Any
    ) -> None:
        """Take the options.

        Args:
            dice_weight: Factor of the Dice loss.
            crossentropy_weight: Factor of the cross-entropy.
            **options: Those of ``Dice``.

        Raises:
            ZooError: For an option out of range.
        """
        super().__init__(**{"name": "dice_crossentropy", **options})
        if min(dice_weight, crossentropy_weight) < 0 or dice_weight + crossentropy_weight <= 0:
            raise ZooError(f"weights {dice_weight} and {crossentropy_weight} must not be below 0")
        self.dice_weight = float(dice_weight)
        self.crossentropy_weight = float(crossentropy_weight)

    def values(self, voxels: Voxels) -> Tensor:
        """Give the loss of every case."""
        each = _entropy(voxels, weights_of(self.class_weights, voxels.classes), 0.0)
        entropy = known_mean(each, voxels.weight)
        return self.dice_weight * super().values(voxels) + self.crossentropy_weight * entropy

    def get_config(self) -> dict[str, Any]:
        """Give the arguments that rebuild this loss."""
        return {
            **super().get_config(),
            "dice_weight": self.dice_weight,
            "crossentropy_weight": self.crossentropy_weight,
        }


@keras.saving.register_keras_serializable(package="radzoo")
class Tversky(OverlapLoss):
    """Tversky loss (Salehi et al., arXiv:1706.05721) of every class, averaged.

    ``1 - (tp + s) / (tp + alpha fp + beta fn + s)``; 0.5 and 0.5 is Dice.
    """

    def __init__(self, *, alpha: float = 0.3, beta: float = 0.7, **options: Any) -> None:
        """Take the options.

        Args:
            alpha: Weight of false positives.
            beta: Weight of false negatives; above alpha it favours sensitivity.
            **options: Those of ``OverlapLoss``.

        Raises:
            ZooError: For an option out of range.
        """
        super().__init__(**{"name": "tversky", **options})
        if min(alpha, beta) < 0 or alpha + beta <= 0:
            raise ZooError(f"alpha {alpha} and beta {beta} must be 0 or more, not both 0")
        self.alpha, self.beta = float(alpha), float(beta)

    def per_class(self, voxels: Voxels, p: Tensor) -> tuple[Tensor, Tensor]:
        """Give loss and presence of every class."""
        y = voxels.target
        tp, fp, fn, present = self.sums(voxels, p * y, p * (1.0 - y), (1.0 - p) * y, y)
        wrong = self.alpha * fp + self.beta * fn
        return wrong / (tp + wrong + self.smooth), ops.cast(present > 0, "float32")

    def get_config(self) -> dict[str, Any]:
        """Give the arguments that rebuild this loss."""
        return {**super().get_config(), "alpha": self.alpha, "beta": self.beta}


@keras.saving.register_keras_serializable(package="radzoo")
class FocalTversky(Tversky):
    """Focal Tversky loss (Abraham and Khan, arXiv:1810.07842): ``(1 - index)^(1 / gamma)``.

    The paper's weights are 0.7 on false negatives, 0.3 on false positives, and gamma 4/3.
    """

    def __init__(self, *, gamma: float = 4.0 / 3.0, **options: Any) -> None:
        """Take the options.

        Args:
            gamma: In the paper 1 to 3; above 1 it plays up classes that are nearly right.
            **options: Those of ``Tversky``.

        Raises:
            ZooError: For an option out of range.
        """
        super().__init__(**{"name": "focal_tversky", **options})
        if not gamma > 0:
            raise ZooError(f"gamma is {gamma}; it must be above 0")
        self.gamma = float(gamma)

    def per_class(self, voxels: Voxels, p: Tensor) -> tuple[Tensor, Tensor]:
        """Give loss and presence of every class."""
        loss, present = super().per_class(voxels, p)
        # The floor keeps the gradient of the root finite at a perfect score.
        return ops.power(ops.maximum(loss, 1e-7), 1.0 / self.gamma), present

    def get_config(self) -> dict[str, Any]:
        """Give the arguments that rebuild this loss."""
        return {**super().get_config(), "gamma": self.gamma}


@keras.saving.register_keras_serializable(package="radzoo")
class GeneralizedDice(OverlapLoss):
    """Generalised Dice loss (Sudre et al., arXiv:1707.03237): one score over all classes.

    ``1 - (2 sum_c w_c tp_c + s) / (sum_c w_c (sum p + sum y) + s)`` with ``w_c`` one over the
    squared volume in the truth. A class that the truth lacks gets the largest weight among those
    it has (as in MONAI), or 0 with ``absent="skip"``; without any class the loss is 0.
    """

    def __init__(self, **options: Any) -> None:
        """Take the options of ``OverlapLoss``."""
        super().__init__(**{"name": "generalized_dice", **options})

    def values(self, voxels: Voxels) -> Tensor:
        """Give the loss of every case."""
        p, y = voxels.probabilities(), voxels.target
        both, sizes, volume = self.sums(voxels, p * y, p + y, y)
        present = ops.cast(volume > 0, "float32")
        # Relative to the smallest volume, so that ``smooth`` is small beside any of them.
        smallest = ops.min(ops.where(volume > 0, volume, np.inf), axis=-1, keepdims=True)
        smallest = ops.where(ops.isinf(smallest), 0.0, smallest)
        weight = present * ops.square(smallest / ops.where(volume > 0, volume, 1.0))
        if self.absent == "count":
            weight = weight + (1.0 - present) * ops.max(weight, axis=-1, keepdims=True)
        weight = weight * self.chosen(weights_of(self.class_weights, voxels.classes), voxels)
        score = (2.0 * ops.sum(weight * both, axis=-1) + self.smooth) / (
            ops.sum(weight * sizes, axis=-1) + self.smooth
        )
        return ops.broadcast_to(1.0 - score, (ops.shape(p)[0],))
