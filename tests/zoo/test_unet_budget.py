"""Plans of U-Nets: rules, counts against the built network, refusals."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import pytest

from zoo.errors import ZooError
from zoo.unet_budget import (
    BudgetPlan,
    build,
    estimate_memory,
    kept_values,
    parameters,
    unet_for_budget,
    with_batch,
)

GIVEN: dict[str, Any] = {
    "patch": (20, 64, 60),
    "spacing": (3.0, 1.0, 1.0),
    "channels": 2,
    "classes": 3,
    "memory_gb": 3.0,
}


@pytest.mark.parametrize("residual", [False, True])
def test_a_thick_slab(residual: bool) -> None:
    """In-plane halvings come first; the kernel is flat until spacings agree."""
    plan = unet_for_budget(**GIVEN, residual=residual)
    network = plan.network
    assert network.strides == ((1, 1, 1), (1, 2, 2), (2, 2, 2), (2, 2, 2), (1, 2, 2))
    assert network.kernels == ((1, 3, 3), *((3, 3, 3),) * 4)
    assert network.widths == (32, 64, 128, 256, 320)
    assert network.encoder_blocks == ((1, 3, 4, 6, 6) if residual else (2,) * 5)
    assert plan.patch == (20, 64, 64)
    assert plan.estimate_gb <= plan.memory_gb < with_batch(plan, plan.batch + 1).estimate_gb
    text = "\n".join(plan.reasons)
    for word in ("5 levels", "kernels of 1", "rounded up to 20x64x64", f"batch {plan.batch}"):
        assert word in text


@pytest.mark.parametrize("residual", [False, True])
def test_counts_are_those_of_the_built_network(residual: bool) -> None:
    """Parameters, and the values of all layers' outputs, which are what a step keeps."""
    plan = unet_for_budget(**{**GIVEN, "patch": (6, 18, 16)}, residual=residual)
    model = build(_narrow(plan))
    network = _narrow(plan).network
    assert model.count_params() == parameters(network, channels=2, classes=3)
    made = sum(math.prod(one.output.shape[1:]) for one in model.layers if one.name != "image")
    assert made == kept_values(network, patch=plan.patch, classes=3)[0]
    assert model.output.shape == (None, *plan.patch, 3)


def _narrow(plan: BudgetPlan) -> BudgetPlan:
    """An eighth of the widths, to build it quickly."""
    widths = tuple(width // 8 for width in plan.network.widths)
    return replace(plan, network=replace(plan.network, widths=widths))


def test_pictures_are_wider_and_square() -> None:
    plan = unet_for_budget(
        patch=(256, 256), spacing=(1, 1), channels=1, classes=2, memory_gb=100, largest_batch=12
    )
    assert plan.network.widths == (32, 64, 128, 256, 512, 512, 512)
    assert set(plan.network.strides[1:]) == {(2, 2)}
    assert plan.batch == 12
    assert "the most allowed" in plan.reasons[-1]


def test_a_smaller_budget_cuts_the_patch_and_says_so() -> None:
    estimates = []
    volumes = []
    for memory in (16.0, 8.0, 4.0):
        plan = unet_for_budget(
            patch=(128, 128, 128), spacing=(1, 1, 1), channels=1, classes=2, memory_gb=memory
        )
        assert plan.estimate_gb <= memory
        assert plan.batch >= 2
        assert ("cut to" in plan.reasons[0]) == (plan.patch != (128, 128, 128))
        estimates.append(plan.estimate_gb)
        volumes.append(math.prod(plan.patch))
    assert all(more > less for more, less in itertools.pairwise(volumes))
    assert all(more > less for more, less in itertools.pairwise(estimates))


def test_memory_grows_with_the_batch_by_equal_steps() -> None:
    network = unet_for_budget(**GIVEN).network
    sizes = [
        estimate_memory(network, patch=(20, 64, 64), channels=2, classes=3, batch=batch)
        for batch in (1, 2, 3)
    ]
    assert sizes[2] - sizes[1] == pytest.approx(sizes[1] - sizes[0])
    assert sizes[0] > 16 * parameters(network, channels=2, classes=3) / 1e9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patch": (64,)}, "must have 2 or 3 sides"),
        ({"dims": 2}, "must have 2 sides"),
        ({"patch": (20, 64.5, 60)}, "whole numbers of voxels"),
        ({"spacing": (1.0, 1.0)}, "must be 3 positive numbers"),
        ({"spacing": (1.0, 0.0, 1.0)}, "must be 3 positive numbers"),
        ({"channels": 0}, "channels is 0"),
        ({"classes": 0}, "classes is 0"),
        ({"memory_gb": 0}, "memory_gb is 0"),
        ({"memory_gb": 0.001}, "memory_gb 0.001 is too little: a batch of 2 patches"),
        ({"patch": (4, 6, 7)}, "patch 4x6x7 is too small: one side must have 8"),
    ],
)
def test_refused_arguments(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ZooError, match=message):
        unet_for_budget(**{**GIVEN, **change})


def test_a_batch_below_one_is_refused() -> None:
    with pytest.raises(ZooError, match="batch is 0"):
        with_batch(unet_for_budget(**GIVEN), 0)
