"""What a training phase is fed from cached features, and the figures it is watched by."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from recipes.classification.schedule import HEAD_BATCH
from recipes.engine.losses import probabilities


class FeatureBatches(keras.utils.PyDataset):
    """One epoch of cached features in an order that depends on (seed, epoch) alone."""

    def __init__(
        self, features: npt.NDArray[Any], targets: npt.NDArray[Any], *, seed: int, epoch: int
    ) -> None:
        """Keep ``(n, f)`` features and ``(n, k)`` targets; copy nothing."""
        super().__init__()
        self.features = features
        self.targets = targets
        self.order = np.random.default_rng([seed, epoch]).permutation(len(features))

    def __len__(self) -> int:
        """Batches in the epoch."""
        return -(-len(self.order) // HEAD_BATCH)

    def __getitem__(self, index: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Batch ``index``: features and targets."""
        rows = self.order[index * HEAD_BATCH : (index + 1) * HEAD_BATCH]
        return self.features[rows], self.targets[rows]


class Accuracy(keras.metrics.Mean):
    """Training accuracy at the true prevalence: arg-max, or 0.5 per known label."""

    def __init__(self, task: str, offsets: npt.NDArray[Any], *, name: str) -> None:
        """Keep the task and the prior offsets of the logits."""
        super().__init__(name=name)
        self.task = task
        self.offsets = offsets

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch of ``(batch, k)`` targets and logits."""
        ops = keras.ops
        z = y_pred - self.offsets
        if self.task == "single":
            hits = ops.argmax(z, axis=-1) == ops.argmax(y_true, axis=-1)
            super().update_state(ops.cast(hits, "float32"))
            return
        known = ops.cast(ops.logical_not(ops.isnan(y_true)), "float32")
        hits = ops.cast((z > 0) == (y_true > 0.5), "float32")
        super().update_state(hits, sample_weight=known)


def accuracy(targets: npt.NDArray[Any], logits: npt.NDArray[Any], *, task: str) -> float:
    """Share of rows (single) or of known labels (multi-label) that are right."""
    if task == "single":
        return float((targets.argmax(axis=1) == logits.argmax(axis=1)).mean())
    known = np.isfinite(targets)
    return float(((logits > 0) == (targets > 0.5))[known].mean())


def macro_auc(targets: npt.NDArray[Any], logits: npt.NDArray[Any], *, task: str) -> float:
    """Mean one-vs-rest ROC AUC over the classes where it is defined, else NaN."""
    from sklearn.metrics import roc_auc_score

    p = probabilities(logits, task="single" if task == "single" else "multilabel")
    values = []
    for column in range(targets.shape[1]):
        known = np.isfinite(targets[:, column])
        y = targets[known, column]
        if 0 < y.sum() < len(y):
            values.append(roc_auc_score(y, p[known, column]))
    return float(np.mean(values)) if values else float("nan")
