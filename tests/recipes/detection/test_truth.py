"""Lesions become boxes, radii and targets, and what is faulty is counted and left out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from data_adapters.case import Case, Geometry, Lesion
from recipes.detection.truth import _components, marks_of, painted
from recipes.errors import RecipeError


def case(lesions: list[Lesion], shape: tuple[int, ...] = (40, 50), spacing: Any = None) -> Case:
    geometry = None if spacing is None else Geometry(spacing)
    return Case(np.zeros((*shape, 1), np.float32), "c", lesions=tuple(lesions), geometry=geometry)


def test_boxes_have_a_centre_and_a_radius_in_the_unit_of_the_spacing() -> None:
    found = marks_of(case([Lesion(1, box=(10, 20, 14, 30))], spacing=(2.0, 0.5)))
    assert found.centres.tolist() == [[11.5, 24.5]]
    assert found.radii.tolist() == [pytest.approx((8 + 5) / 4)]
    assert found.labels.tolist() == [1]


def test_spheres_get_a_box_with_the_same_extent_in_mm_along_every_axis() -> None:
    sphere = Lesion(0, centre=(5.0, 20.0, 20.0), radius=6.0)
    found = marks_of(case([sphere], (11, 40, 40), (3.0, 1.0, 1.0)))
    assert found.boxes.tolist() == [[3.5, 14.5, 14.5, 7.5, 26.5, 26.5]]
    assert found.radii.tolist() == [6.0]
    np.testing.assert_allclose(found.centres, [[5, 20, 20]])


def test_bare_points_want_a_radius() -> None:
    point = case([Lesion(0, centre=(5.0, 6.0))])
    with pytest.raises(RecipeError, match=r"case c: .* bare point; .* data\.radius=MM"):
        marks_of(point)
    assert marks_of(point, radius=2.0).boxes.tolist() == [[3.5, 4.5, 7.5, 8.5]]


def test_what_is_faulty_is_left_out_and_counted() -> None:
    found = marks_of(
        case([
            Lesion(0, box=(5, 5, 5, 9)),          # no area
            Lesion(0, box=(60, 60, 70, 70)),      # outside
            Lesion(0, box=(-4, -4, 6, 6)),        # cut by the border
            Lesion(0, box=(20, 20, 30, 30)),
            Lesion(0, box=(20, 20, 30, 31)),      # a second reader
            Lesion(1, box=(20, 20, 30, 30)),      # another class
        ])
    )  # fmt: skip
    assert (found.dropped, found.merged) == (2, 1)
    assert found.labels.tolist() == [0, 0, 1]
    assert found.boxes[0].tolist() == [0, 0, 6, 6]
    assert found.radii[0] == 5, "the radius is that of the whole lesion"


def test_targets_are_ellipsoids_and_never_empty() -> None:
    marks = marks_of(case([Lesion(0, box=(4, 4, 24, 14)), Lesion(1, box=(30.2, 30.2, 30.8, 30.8))]))
    whole = painted(marks, (40, 50), core=1.0)
    assert (whole == 1).sum() == pytest.approx(np.pi * 10 * 5, rel=0.03)
    assert np.argwhere(whole == 1).min(axis=0).tolist() == [4, 4]
    assert np.argwhere(whole == 1).max(axis=0).tolist() == [23, 13]
    assert np.argwhere(whole == 2).tolist() == [[30, 30]], "smaller than a pixel"
    half = painted(marks, (40, 50), core=0.5)
    assert (half == 1).sum() == pytest.approx(np.pi * 5 * 2.5, rel=0.1)


def test_small_lesions_are_painted_over_large_ones() -> None:
    marks = marks_of(case([Lesion(1, box=(18, 18, 22, 22)), Lesion(0, box=(10, 10, 30, 30))]))
    assert painted(marks, (40, 50))[20, 20] == 2


def test_components_of_masks_are_lesions() -> None:
    mask = np.zeros((4, 20, 20), np.uint8)
    mask[0:2, 2:6, 3:8] = 1
    mask[3, 10:12, 10:12] = 1
    mask[1, 15, 15] = 2
    found = _components(mask, 2)
    assert [(one.label, one.box) for one in found] == [
        (0, (0, 2, 3, 2, 6, 8)), (0, (3, 10, 10, 4, 12, 12)), (1, (1, 15, 15, 2, 16, 16)),
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
def test_painted_boxes_come_back_from_their_components(seed: int) -> None:
    rng = np.random.default_rng(seed)
    low = rng.integers(1, 20, 3)
    box = (*low.astype(float), *(low + rng.integers(6, 14, 3)).astype(float))
    marks = marks_of(case([Lesion(0, box=box)], (40, 40, 40)))
    (found,) = _components(painted(marks, (40, 40, 40), core=1.0), 1)
    assert np.abs(np.subtract(found.box, box)).max() <= 1
