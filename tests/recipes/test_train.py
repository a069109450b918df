"""What training shares between the members of an ensemble."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from data_adapters.augment_policy import policy
from recipes.classification.train import Trainer


@pytest.mark.parametrize(
    ("modality", "strength", "mirrored"),
    [("US", "medium", ["flip_lr"]), ("XR-chest", "medium", []), ("US", "none", [])],
)
def test_features_are_computed_once_and_mirrored_as_far_as_allowed(
    modality: str, strength: str, mirrored: list[str]
) -> None:
    trainer: Any = object.__new__(Trainer)
    trainer.policy = policy(modality, strength=strength)
    trainer.train_rows, trainer.val_rows = np.arange(5), np.arange(5, 7)
    targets = np.arange(14, dtype="float32").reshape(7, 2)
    trainer.prepared = SimpleNamespace(targets=targets)
    trainer._pooled = None
    asked: list[tuple[int, str | None]] = []

    def pool(model: None, rows: Any, view: dict[str, Any] | None) -> Any:
        asked.append((len(rows), None if view is None else view["view"]))
        return np.full((len(rows), 3), len(asked))

    trainer._pool = pool
    found = trainer._features(None)
    assert trainer._features(None) is found
    assert asked == [(5, None), *((5, view) for view in mirrored), (2, None)]
    views = 1 + len(mirrored)
    assert found.train.shape == (5 * views, 3)
    np.testing.assert_array_equal(found.targets, np.concatenate([targets[:5]] * views))
    assert found.val.shape == (2, 3)
