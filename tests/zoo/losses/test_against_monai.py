"""Values and gradients equal MONAI's, recorded and live."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import zoo.losses
from tests.zoo.losses.cases import CASES, CLASSES, inputs
from tests.zoo.losses.gradients import value_and_gradient
from tests.zoo.record.monai_losses import SEED, monai_loss

GOLDEN = Path(__file__).resolve().parents[1] / "data" / "monai_losses.npz"
# MONAI clips a term here, adds 1e-5 there: the last digits differ.
RTOL = 2e-4


def compare(
    case: str, logits: np.ndarray, labels: np.ndarray, want: float, slope: np.ndarray
) -> None:
    """Ours with labels and with one-hot truth against a value and a gradient."""
    name, options, *_ = CASES[case]
    loss = getattr(zoo.losses, name)(**options)
    for truth in (labels, np.eye(CLASSES)[labels]):
        value, gradient = value_and_gradient(loss, truth, logits)
        assert value == pytest.approx(want, rel=RTOL)
        assert np.abs(slope).max() > 1e-4
        assert np.abs(gradient - slope).max() < RTOL * np.abs(slope).max()


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("case", sorted(CASES))
def test_equals_recorded_monai(case: str, dims: int) -> None:
    with np.load(GOLDEN) as golden:
        want = float(golden[f"{case}_{dims}_value"])
        slope = golden[f"{case}_{dims}_gradient"]
    compare(case, *inputs(dims, SEED), want, slope)


@pytest.mark.parametrize("case", sorted(CASES))
def test_equals_monai_on_fresh_input(case: str) -> None:
    pytest.importorskip("monai")
    seed = int(np.random.default_rng().integers(1 << 30))
    logits, labels = inputs(3, seed)
    compare(case, logits, labels, *monai_loss(case, logits, labels))
