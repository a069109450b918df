"""Cases of one side are told from cases of either side, however they lie in their files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

import data_adapters
from recipes.config import load_config
from recipes.segmentation.config import SegmentationConfig
from recipes.segmentation.fingerprint import take_fingerprint
from recipes.segmentation.rules import Machine, make_plan
from recipes.segmentation.sides import ENOUGH, layout, one_sided
from tests.recipes.segmentation.sets import write_volumes


def bodies(rng: np.random.Generator, count: int, *, mixed: bool) -> list[Any]:
    """Masks (slice, row, column) of a blob left of the middle, on either side where mixed."""
    masks = []
    for i in range(count):
        mask = np.zeros(tuple(rng.integers(18, 30, 3)), np.int16)
        z, y, x = (int(n * rng.uniform(0.4, 0.6)) for n in mask.shape)
        mask[z - 4 : z + 4, y - 4 : y + 4, x : x + 5] = 1
        mask[z - 2 : z + 2, y - 2 : y + 2, x + 3 : x + 6] = 2
        masks.append(mask[:, :, ::-1] if mixed and i % 2 else mask)
    return masks


def test_one_side_is_told_from_either_side() -> None:
    rng = np.random.default_rng(0)

    def share(masks: list[Any]) -> float | None:
        return one_sided([found for m in masks if (found := layout(m, 3, "LPS")) is not None])

    alike = share(bodies(rng, 40, mixed=False))
    mixed = share(bodies(rng, 40, mixed=True))
    assert alike is not None
    assert mixed is not None
    assert alike > 0.9
    assert mixed < 0.75
    assert share(bodies(rng, ENOUGH - 1, mixed=False)) is None


def test_a_symmetric_anatomy_has_no_side() -> None:
    mask = np.zeros((20, 20, 24), np.int16)
    mask[5:15, 5:15, 4:20] = 1
    found = layout(mask, 2, "LPS")
    assert found is not None
    assert one_sided([found] * ENOUGH) == 0.5


def test_the_layout_is_the_patients_however_the_file_lies() -> None:
    rng = np.random.default_rng(1)
    (mask,) = bodies(rng, 1, mixed=False)
    plain = layout(mask, 3, "LPS")
    assert plain is not None
    np.testing.assert_allclose(plain.sum(axis=(1, 2, 3)), 1, rtol=1e-5)
    image = sitk.GetImageFromArray(mask)
    for code in ("RAI", "PIR", "SLA"):
        turned = sitk.GetArrayFromImage(sitk.DICOMOrient(image, code))
        found = layout(turned, 3, code)
        assert found is not None
        # a voxel whose middle is on a border between cells may fall on either side of it
        assert np.abs(found - plain).sum() <= 0.3 * plain.sum()
    assert layout(np.zeros((4, 4, 4), np.int16), 3, "LPS") is None


@pytest.mark.parametrize("turned", [False, True])
def test_the_plan_says_why_nothing_is_mirrored(tmp_path: Path, turned: bool) -> None:
    adapter = data_adapters.open(str(write_volumes(tmp_path / "data", count=ENOUGH)))
    found, _ = take_fingerprint(adapter, range(ENOUGH))
    assert found.sided is not None
    assert found.sided > 0.9, "bright balls are all on one side of the dark ones"
    changes = ["augment.flips=sides"] if turned else []
    config = load_config(SegmentationConfig, changes=changes)
    plan = make_plan(found, config, Machine(memory_gb=8, gpu=False))
    assert any("no mirroring" in reason for reason in plan.reasons) is not turned
