"""The loss of boxes against hand counts, and against overlaps counted voxel by voxel."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from zoo.errors import ZooError
from zoo.losses import BoxLoss


def voxels(distances: np.ndarray, side: int = 24) -> np.ndarray:
    """The box around the middle of a grid, as a mask."""
    axes = len(distances) // 2
    mask = np.ones((side,) * axes, bool)
    for axis in range(axes):
        at = np.arange(side) + 0.5 - side / 2
        inside = (at > -distances[axis]) & (at < distances[axes + axis])
        mask &= inside.reshape([-1 if a == axis else 1 for a in range(axes)])
    return mask


@pytest.mark.parametrize("axes", [2, 3])
def test_boxes_cost_one_minus_their_generalised_overlap(axes: int) -> None:
    rng = np.random.default_rng(axes)
    one, other = rng.integers(1, 10, (2, 5, 2 * axes)).astype(np.float32)
    wanted = []
    for a, b in zip(one, other, strict=True):
        first, second = voxels(a), voxels(b)
        both, union = (first & second).sum(), (first | second).sum()
        around = voxels(np.maximum(a, b)).sum()
        wanted.append(1 - (both / union - (around - union) / around))
    # classes known to be right beyond doubt cost nothing
    truth = np.concatenate([np.ones((5, 2)), one], axis=1)[None]
    found = np.concatenate([np.full((5, 1), 60.0), other], axis=1)[None]
    loss = float(BoxLoss(1)(truth, found))
    assert loss == pytest.approx(np.mean(wanted), abs=1e-5)


def test_classes_cost_kerass_focal_crossentropy_per_lesion_and_unknown_ones_nothing() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (2, 7, 3)).astype(np.float32)
    wanted = (rng.random((2, 7, 3)) < 0.3).astype(np.float32)
    there = np.zeros((2, 7, 1), np.float32)
    there[0, :2] = 1
    sides = np.ones((2, 7, 4), np.float32)
    found = np.concatenate([logits, sides], axis=-1)
    focal = keras.losses.BinaryFocalCrossentropy(
        apply_class_balancing=True, alpha=0.25, gamma=2.0, from_logits=True, reduction="sum"
    )
    each = float(focal(wanted[..., None], logits[..., None]))
    loss = BoxLoss(3)
    assert float(loss(np.concatenate([wanted, there, sides], -1), found)) == pytest.approx(
        each / 2, rel=1e-4
    )
    hidden = wanted.copy()
    hidden[1] = -1
    half = float(focal(wanted[:1, ..., None], logits[:1, ..., None]))
    assert float(loss(np.concatenate([hidden, there, sides], -1), found)) == pytest.approx(
        half / 2, rel=1e-4
    )
    assert BoxLoss.from_config(loss.get_config()).classes == 3


def test_class_weights_multiply_the_errors_of_their_class_and_of_its_boxes() -> None:
    rng = np.random.default_rng(1)
    wanted = np.zeros((1, 6, 2), np.float32)
    wanted[0, 0, 0] = wanted[0, 1, 1] = wanted[0, 2, 1] = 1
    sides = rng.uniform(1, 5, (2, 1, 6, 4)).astype(np.float32)
    logits = rng.normal(0, 2, (1, 6, 2)).astype(np.float32)

    def cost(weights: list[float] | None, *, which: list[int]) -> float:
        known = np.full_like(wanted, -1)
        known[..., which] = wanted[..., which]
        some = known.max(axis=-1, keepdims=True) > 0
        truth = np.concatenate([known, some, sides[0]], axis=-1)
        found = np.concatenate([logits, sides[1]], axis=-1)
        return float(BoxLoss(2, class_weights=weights)(truth, found)) * max(1, some.sum())

    apart = [cost(None, which=[0]), cost(None, which=[1])]
    assert cost(None, which=[0, 1]) == pytest.approx(sum(apart), rel=1e-5)
    both = cost([0.5, 3.0], which=[0, 1])
    assert both == pytest.approx(0.5 * apart[0] + 3 * apart[1], rel=1e-5)
    again = BoxLoss.from_config(BoxLoss(2, class_weights=[0.5, 3.0]).get_config())
    assert again.class_weights == [0.5, 3.0]
    with pytest.raises(ZooError, match="3 class_weights, not 2"):
        BoxLoss(2, class_weights=[1, 1, 1])


def test_without_a_lesion_only_classes_cost() -> None:
    truth = np.zeros((1, 4, 6), np.float32)
    found = np.full((1, 4, 5), 0.5, np.float32)
    found[..., 0] = -30
    assert float(BoxLoss(1)(truth, found)) == pytest.approx(0, abs=1e-6)
