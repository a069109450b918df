"""Losses that are a mean over voxels, labels or cases: cross-entropy, focal, hard examples."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from zoo.errors import ZooError
from zoo.losses.base import VoxelLoss, known_mean
from zoo.losses.inputs import Tensor, Voxels, weights_of


def _entropy(voxels: Voxels, weights: Tensor, smoothing: float) -> Tensor:
    """Cross-entropy of every voxel, ``(batch, n, 1)``; of every label where not exclusive."""
    y = voxels.target
    if voxels.exclusive:
        y = y * (1.0 - smoothing) + smoothing / voxels.classes
        each = weights * y * ops.log_softmax(voxels.logits, axis=-1)
        return -ops.sum(each, axis=-1, keepdims=True)
    y = y * (1.0 - smoothing) + 0.5 * smoothing
    # The positives of a label are weighed against its negatives.
    z = voxels.logits
    return weights * y * ops.softplus(-z) + (1.0 - y) * ops.softplus(z)


@keras.saving.register_keras_serializable(package="radzoo")
class MaskedCrossentropy(VoxelLoss):
    """Cross-entropy over what is known: unknown labels are replaced before the formula.

    A mask applied afterwards gives NaN gradients. Softmax: ``-sum_c w_c y_c log p_c`` a voxel;
    sigmoid: ``-w_c y log p - (1 - y) log(1 - p)`` a label, so that ``w_c`` weighs positives against
    negatives. The mean is over the known voxels or labels of the batch (weights of classes not in
    the denominator); a batch without any gives 0.
    """

    def __init__(self, *, label_smoothing: float = 0.0, **options: Any) -> None:
        """Take the options.

        Args:
            label_smoothing: Share of each target spread evenly, in [0, 1).
            **options: Those of ``VoxelLoss``.

        Raises:
            ZooError: For an option out of range.
        """
        super().__init__(**{"name": "masked_crossentropy", **options})
        if not 0.0 <= label_smoothing < 1.0:
            raise ZooError(f"label_smoothing is {label_smoothing}; it must lie in [0, 1)")
        self.label_smoothing = float(label_smoothing)

    def each(self, voxels: Voxels) -> Tensor:
        """Cross-entropy of every voxel or label."""
        weights = weights_of(self.class_weights, voxels.classes)
        return _entropy(voxels, weights, self.label_smoothing)

    def values(self, voxels: Voxels) -> Tensor:
        """Give the loss of every case."""
        return known_mean(self.each(voxels), voxels.weight)

    def get_config(self) -> dict[str, Any]:
        """Give the arguments that rebuild this loss."""
        return {**super().get_config(), "label_smoothing": self.label_smoothing}


@keras.saving.register_keras_serializable(package="radzoo")
class TopKCrossentropy(MaskedCrossentropy):
    """Cross-entropy of the hardest share of every case's known voxels or labels.

    ``ceil(share * known)`` of them count (Wu et al., arXiv:1605.06885); a case with none known
    gives 0.
    """

    def __init__(self, *, share: float = 0.1, **options: Any) -> None:
        """Take the options.

        Args:
            share: Share of the voxels that count, in (0, 1]; 1 is the mean of each case.
            **options: Those of ``MaskedCrossentropy``.

        Raises:
            ZooError: For an option out of range.
        """
        super().__init__(**{"name": "top_k_crossentropy", **options})
        if not 0.0 < share <= 1.0:
            raise ZooError(f"share is {share}; it must lie in (0, 1]")
        self.share = float(share)

    def values(self, voxels: Voxels) -> Tensor:
        """Give the loss of every case."""
        each = self.each(voxels)
        weight = ops.broadcast_to(voxels.weight, ops.shape(each))
        batch = ops.shape(each)[0]
        known = ops.reshape(ops.cast(weight > 0, "float32"), (batch, -1))
        # Cross-entropy is at least 0, so -1 sorts the unknown behind all that is known.
        flat = ops.where(known > 0, ops.reshape(weight * each, (batch, -1)), -1.0)
        hardest_first = -ops.sort(-flat, axis=-1)
        wanted = ops.ceil(self.share * ops.sum(known, axis=-1, keepdims=True) - 1e-4)
        rank = ops.cast(ops.arange(ops.shape(flat)[1]), "float32")
        chosen = ops.cast(rank[None] < wanted, "float32")
        return ops.sum(chosen * hardest_first, axis=-1) / ops.maximum(wanted[:, 0], 1.0)

    def get_config(self) -> dict[str, Any]:
        """Give the arguments that rebuild this loss."""
        return {**super().get_config(), "share": self.share}


@keras.saving.register_keras_serializable(package="radzoo")
class Focal(VoxelLoss):
    """Focal loss (Lin et al., arXiv:1708.02002) from logits, over what is known.

    Softmax: ``-w_c (1 - p_c)^gamma log p_c`` of the true class a voxel. Sigmoid:
    ``-a (1 - p_t)^gamma log p_t`` a label, ``a`` being ``alpha`` for positives and ``1 - alpha``
    for negatives. Logarithms come from the logits, so a hopeless voxel keeps its gradient where
    ``keras.losses.CategoricalFocalCrossentropy`` clips it away.
    """

    def __init__(self, *, gamma: float = 2.0, alpha: float | None = None, **options: Any) -> None:
        """Take the options.

        Args:
            gamma: How much easy voxels are played down; 0 is cross-entropy.
            alpha: Weight of positives against negatives with ``activation="sigmoid"``, in (0, 1);
                None weighs them alike, by 1.
            **options: Those of ``VoxelLoss``.

        Raises:
            ZooError: For an option out of range.
        """
        super().__init__(**{"name": "focal", **options})
        if gamma < 0:
            raise ZooError(f"gamma is {gamma}; it must be 0 or more")
        if alpha is not None and (self.activation == "softmax" or not 0.0 < alpha < 1.0):
            raise ZooError(
                f"alpha is {alpha}; it lies in (0, 1) and weighs positives of "
                "activation='sigmoid': use class_weights for exclusive classes"
            )
        self.gamma, self.alpha = float(gamma), alpha

    def values(self, voxels: Voxels) -> Tensor:
        """Give the loss of every case."""
        weights = weights_of(self.class_weights, voxels.classes)
        z, y = voxels.logits, voxels.target
        if voxels.exclusive:
            log_p = ops.log_softmax(z, axis=-1)
            each = weights * y * self._focus(log_p) * -log_p
            return known_mean(ops.sum(each, axis=-1, keepdims=True), voxels.weight)
        up, down = (1.0, 1.0) if self.alpha is None else (self.alpha, 1.0 - self.alpha)
        positive = up * y * self._focus(-ops.softplus(-z)) * ops.softplus(-z)
        negative = down * (1.0 - y) * self._focus(-ops.softplus(z)) * ops.softplus(z)
        return known_mean(weights * (positive + negative), voxels.weight)

    def _focus(self, log_p: Tensor) -> Tensor:
        """``(1 - p)^gamma``; the floor keeps its gradient finite for gamma below 1."""
        if not self.gamma:
            return ops.ones_like(log_p)
        return ops.power(ops.maximum(-ops.expm1(log_p), 1e-12), self.gamma)

    def get_config(self) -> dict[str, Any]:
        """Give the arguments that rebuild this loss."""
        return {**super().get_config(), "gamma": self.gamma, "alpha": self.alpha}
