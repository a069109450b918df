"""Peaks of a map become candidates that lie apart, with boxes of the right size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from data_adapters.case import Case, Lesion
from recipes.detection.candidates import Found, PeakRules, find_candidates
from recipes.detection.truth import marks_of, painted
from recipes.errors import RecipeError


def two(heat: Any) -> Any:
    """A map with the background before it."""
    return np.stack([1 - heat, heat], axis=-1).astype(np.float32)


def bumps(shape: tuple[int, ...], places: list[tuple[Any, float, float]]) -> Any:
    grid = np.stack(np.mgrid[tuple(slice(0, n) for n in shape)], axis=-1)
    heat = np.zeros(shape)
    for place, sigma, height in places:
        away = ((grid - np.asarray(place)) ** 2).sum(axis=-1)
        heat = np.maximum(heat, height * np.exp(-away / (2 * sigma**2)))
    return heat


def test_a_large_lesion_is_one_candidate_though_its_top_is_uneven() -> None:
    rng = np.random.default_rng(0)
    heat = bumps((90, 90), [((45, 45), 14, 2.0)]).clip(0, 0.97)
    heat *= rng.uniform(0.9, 1.0, heat.shape)
    found = find_candidates(two(heat), np.ones(2), PeakRules(apart=6.0))
    assert (found.scores > 0.3).sum() == 1
    np.testing.assert_allclose(found.centres[0], [45, 45], atol=1.5)
    valley = bumps((60, 60), [((20, 20), 5, 0.9), ((20, 32), 5, 0.8)])
    assert len(find_candidates(two(valley), np.ones(2), PeakRules(apart=6.0)).scores) == 2


def test_peaks_lie_apart_and_the_highest_come_first() -> None:
    heat = bumps((60, 60), [((10, 10), 3, 0.6), ((40, 40), 3, 0.9), ((44, 40), 2, 0.8)])
    found = find_candidates(two(heat), np.ones(2), PeakRules(apart=6.0))
    assert np.round(found.centres).tolist()[1] == [10, 10]
    assert found.scores.tolist() == pytest.approx([0.9, 0.6])
    heat = bumps((60, 60), [((10, 10), 3, 0.6), ((40, 40), 1, 0.9), ((44, 40), 1, 0.8)])
    assert len(find_candidates(two(heat), np.ones(2), PeakRules(apart=6.0)).scores) == 2
    near = find_candidates(two(heat), np.ones(2), PeakRules(apart=3.0))
    assert near.scores.tolist() == pytest.approx([0.9, 0.8, 0.6])
    thick = find_candidates(two(heat), np.array([2.0, 1.0]), PeakRules(apart=6.0))
    assert len(thick.scores) == 3, "4 voxels of 2 mm are 8 mm"


def test_a_box_is_where_the_map_is_half_as_high() -> None:
    heat = bumps((60, 80), [((30, 40), 6, 0.8)])
    (box,) = find_candidates(two(heat), np.ones(2), PeakRules()).boxes
    half = 6 * np.sqrt(2 * np.log(2))
    np.testing.assert_allclose(box, [30 - half, 40 - half, 30 + half, 40 + half], atol=1.01)


@pytest.mark.parametrize("core", [1.0, 0.7])
def test_painted_targets_give_their_boxes_back(core: float) -> None:
    """Touching lesions too: the map of a perfect network has candidates with the true boxes."""
    boxes = [(10, 10, 30, 34), (30, 12, 46, 28), (10, 50, 20, 58)]
    lesions = tuple(Lesion(0, box=tuple(map(float, box))) for box in boxes)
    marks = marks_of(Case(np.zeros((60, 70, 1)), "c", lesions=lesions))
    heat = (painted(marks, (60, 70), core=core) > 0) * 0.9
    rules = PeakRules(apart=5.0, core=core)
    found = find_candidates(two(heat), np.ones(2), rules)
    if core == 1.0:
        assert len(found.scores) >= 2, "what touches is one plateau"
        return
    assert len(found.scores) == 3
    for box in boxes:
        off = np.abs(found.boxes - np.asarray(box, float)).max(axis=1).min()
        assert off <= 2.5, (box, found.boxes)


def test_classes_are_read_apart_and_the_cap_is_per_class() -> None:
    heat = bumps((40, 40), [((k, k), 1, 0.4 + k / 100) for k in (5, 15, 25, 35)])
    maps = np.stack([1 - heat, heat, heat[::-1]], axis=-1).astype(np.float32)
    found = find_candidates(maps, np.ones(2), PeakRules(most=2))
    assert sorted(found.labels.tolist()) == [0, 0, 1, 1]
    assert found.scores.min() == pytest.approx(0.65)


def test_volumes_and_nothing_at_all() -> None:
    heat = bumps((12, 30, 30), [((6, 15, 15), 2, 0.7)])
    found = find_candidates(two(heat), np.array([2.0, 1, 1]), PeakRules())
    np.testing.assert_allclose(found.centres, [[6, 15, 15]], atol=0.1)
    again = Found.from_dict(found.to_dict(), 3)
    np.testing.assert_array_equal(again.boxes, found.boxes)
    none = find_candidates(two(np.zeros((8, 8))), np.ones(2), PeakRules())
    assert none.centres.shape == (0, 2)
    assert Found.from_dict(none.to_dict(), 2).boxes.shape == (0, 4)


def test_rules_out_of_range_are_refused() -> None:
    with pytest.raises(RecipeError, match="floor and core are shares"):
        PeakRules(floor=0)
