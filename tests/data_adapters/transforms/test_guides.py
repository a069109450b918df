"""Steps that follow an earlier network: the box it found, and its classes as channels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from data_adapters.case import Case, Geometry
from data_adapters.errors import DataError
from data_adapters.transforms import Compose, Prior, Region, Reorient, Resample, invert_mask
from data_adapters.transforms.base import step_from_dict, undo_from_dict

AXES = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))


def _case(seed: int = 0, shape: tuple[int, ...] = (9, 11, 12)) -> Case:
    rng = np.random.default_rng(seed)
    return Case(
        rng.normal(size=(*shape, 1)).astype(np.float32),
        "c",
        mask=rng.integers(0, 3, shape).astype(np.uint8),
        geometry=Geometry((2.0, 1.0, 0.5), (1.0, 2.0, 3.0), AXES),
    )


def test_a_region_is_cut_with_room_in_millimetres_and_comes_back() -> None:
    case = replace(_case(), meta={"region": (3, 4, 5, 6, 7, 9), "site": "A"})
    done, undo = Region(margin=2.0).apply(case)
    # 2 mm are 1 slice, 2 rows and 4 columns.
    np.testing.assert_array_equal(done.image, case.image[2:7, 2:9, 1:13])
    np.testing.assert_array_equal(done.mask, case.mask[2:7, 2:9, 1:13])
    assert done.geometry is not None
    assert done.geometry.origin == pytest.approx((1.0 + 0.5, 2.0 + 2.0, 3.0 + 4.0))
    again = undo_from_dict(undo.to_dict(), step_from_dict(undo.step.to_dict()))
    back = invert_mask(done.mask, [again])
    wanted = np.zeros_like(case.mask)
    wanted[2:7, 2:9, 1:13] = case.mask[2:7, 2:9, 1:13]
    np.testing.assert_array_equal(back, wanted)


def test_an_empty_region_leaves_the_case_whole() -> None:
    case = replace(_case(), meta={"region": ()})
    done, undo = Region(margin=5.0).apply(case)
    np.testing.assert_array_equal(done.image, case.image)
    np.testing.assert_array_equal(invert_mask(done.mask, [undo]), case.mask)


def test_priors_move_with_the_image_and_become_channels() -> None:
    case = _case(1, (8, 8, 8))
    classes = (case.mask[..., None] == np.array([1, 2])).astype(np.uint8)
    led = replace(case, masks=classes)
    done, _ = Compose((Reorient("LAI"), Prior(low=0.0, high=255.0))).apply(led)
    plain, _ = Reorient("LAI").apply(case)
    assert done.masks is None
    np.testing.assert_array_equal(done.image[..., :1], plain.image)
    for k in (1, 2):
        np.testing.assert_array_equal(done.image[..., k], 255.0 * (plain.mask == k))
    coarse, _ = Compose((Resample((2.0, 2.0, 2.0), mask="onehot"), Prior())).apply(led)
    assert coarse.image.shape[-1] == 3
    assert set(np.unique(coarse.image[..., 1:])) <= {0.0, 1.0}


@pytest.mark.parametrize(("step", "said"), [(Region(), "no region"), (Prior(), "no masks")])
def test_a_case_that_nobody_leads_is_refused(step: Region | Prior, said: str) -> None:
    with pytest.raises(DataError, match=said):
        step.apply(_case())


def test_a_margin_below_zero_is_refused() -> None:
    with pytest.raises(DataError, match="margin=-1"):
        Region(margin=-1)
