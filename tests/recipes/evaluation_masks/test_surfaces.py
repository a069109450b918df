"""Surface distances against MONAI, DeepMind, closed forms and brute force."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from recipes.errors import RecipeError
from recipes.evaluation.masks import nearest, surface_distances
from recipes.evaluation.masks.elements import boundary_voxels, element_areas, surface_codes
from recipes.evaluation.masks.nearest import nearest_distances
from recipes.evaluation.masks.surfaces import Surface
from tests.recipes.evaluation_masks.shapes import PAIRS, ball, pair

GOLDEN: dict[str, Any] = json.loads(
    (Path(__file__).parent / "data" / "surfaces.json").read_text(encoding="utf-8")
)
ROWS = list(zip(PAIRS, GOLDEN["rows"], strict=True))


@pytest.mark.parametrize(("recipe", "row"), ROWS, ids=[str(p[1]) for p in PAIRS])
def test_both_definitions_equal_the_recorded_figures(recipe: Any, row: Any) -> None:
    seed, shape, spacing, tolerance = recipe
    truth, guess = pair(seed, shape)
    assert row["voxels"] == [int(m.sum()) for m in (truth, guess, truth & guess)]
    ours = surface_distances(truth, guess, spacing=spacing)
    theirs = row["monai"]
    assert ours.hausdorff() == pytest.approx(theirs["hd95"], rel=1e-6)
    assert ours.hausdorff() == pytest.approx(theirs["hd95_float32"], rel=5e-5)
    assert ours.hausdorff(100) == pytest.approx(theirs["hd100"], rel=1e-6)
    assert ours.average() == pytest.approx(theirs["assd"], rel=1e-6)
    assert ours.surface_dice(tolerance) == pytest.approx(theirs["nsd"], rel=1e-6)
    ours = surface_distances(truth, guess, spacing=spacing, definition="deepmind")
    theirs = row["deepmind"]
    assert ours.hausdorff() == pytest.approx(theirs["hd95"], rel=1e-9)
    assert ours.hausdorff(100) == pytest.approx(theirs["hd100"], rel=1e-9)
    assert ours.directed_averages() == pytest.approx(tuple(theirs["averages"]), rel=1e-9)
    assert ours.surface_dice(tolerance) == pytest.approx(theirs["nsd"], rel=1e-9)


def test_the_pairs_tell_the_definitions_apart() -> None:
    for row in GOLDEN["rows"]:
        assert row["monai"]["nsd"] != pytest.approx(row["deepmind"]["nsd"], rel=1e-3)
    gaps = [row["monai"]["hd95"] - row["deepmind"]["hd95"] for row in GOLDEN["rows"]]
    assert max(map(abs, gaps)) > 0.1


def test_element_areas_are_deepminds() -> None:
    # They number the corners the other way round.
    theirs = np.array(GOLDEN["areas"])
    turned = [theirs[int(f"{code:08b}"[::-1], 2)] for code in range(256)]
    np.testing.assert_allclose(element_areas((1.0, 1.3, 2.9)), turned, atol=1e-11)


def test_area_of_a_box_is_its_faces_less_the_bevels() -> None:
    mask = np.zeros((9, 9, 9), np.bool_)
    mask[2:6, 2:7, 2:5] = True
    codes = surface_codes(mask)
    a, b, c = 4, 5, 3
    faces = 2 * ((a - 1) * (b - 1) + (b - 1) * (c - 1) + (a - 1) * (c - 1))
    edges = 4 * ((a - 1) + (b - 1) + (c - 1)) * math.sqrt(0.5)
    corners = 8 * math.sqrt(3) / 8
    assert element_areas((1, 1, 1))[codes].sum() == pytest.approx(faces + edges + corners)


@pytest.mark.parametrize("definition", ["monai", "deepmind"])
def test_a_shifted_cube(definition: str) -> None:
    truth = np.zeros((20, 20, 30), np.bool_)
    truth[5:15, 5:15, 5:15] = True
    guess = np.roll(truth, 3, axis=2)
    found = surface_distances(truth, guess, spacing=(1, 1, 0.5), definition=definition)
    assert found.hausdorff(100) == pytest.approx(1.5)
    assert found.hausdorff() == pytest.approx(1.5)
    assert found.surface_dice(1.5) == 1.0
    assert 0 < found.surface_dice(1.4) < 1
    assert found.directed_averages()[0] == pytest.approx(found.directed_averages()[1])


def test_concentric_balls_lie_their_radii_apart() -> None:
    found = surface_distances(ball(48, 18), ball(48, 12), spacing=2.0)
    assert found.average() == pytest.approx(12.0, abs=1.0)
    assert found.hausdorff(100) == pytest.approx(12.0, abs=2.0)


@pytest.mark.parametrize("definition", ["monai", "deepmind"])
def test_empty_masks(definition: str) -> None:
    none, some = np.zeros((2, 6, 6), np.bool_)
    some[2:4, 2:4] = True
    both = surface_distances(none, none, definition=definition)
    assert all(math.isnan(v) for v in (both.hausdorff(), both.average(), both.surface_dice(1)))
    for one in (
        surface_distances(none, some, definition=definition),
        surface_distances(some, none, definition=definition),
    ):
        assert one.hausdorff() == one.average() == math.inf
        assert one.surface_dice(5) == 0.0
    same = surface_distances(some, some, definition=definition)
    assert (same.hausdorff(), same.average(), same.surface_dice(0)) == (0.0, 0.0, 1.0)


def test_percentiles_of_voxels_and_of_area() -> None:
    distances = np.array([3.0, 1.0, 4.0, 2.0])
    voxels = Surface(distances)
    assert [voxels.percentile(p) for p in (0, 50, 95, 100)] == pytest.approx([1, 2.5, 3.85, 4])
    area = Surface(distances, np.array([1.0, 1.0, 7.0, 1.0]))
    assert [area.percentile(p) for p in (0, 15, 25, 31, 100)] == [1, 2, 3, 4, 4]


def test_boundary_is_the_mask_without_its_erosion() -> None:
    rng = np.random.default_rng(5)
    for shape in ((7, 9), (1, 8), (4, 6, 5), (1, 7, 6), (5, 1, 6)):
        mask = rng.random(shape) < 0.8
        expected = mask ^ ndimage.binary_erosion(mask)
        np.testing.assert_array_equal(boundary_voxels(mask), expected)


@pytest.mark.parametrize("seed", range(40))
def test_distances_equal_brute_force(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(seed)
    axes = int(rng.integers(2, 4))
    shape = tuple(int(n) for n in rng.integers(1, 13 if axes == 3 else 40, axes))
    spacing = rng.uniform(0.2, 3, axes) * rng.choice([1, 1, 7], axes)
    queries = rng.random(shape) < rng.choice([0.02, 0.3])
    targets = rng.random(shape) < rng.choice([0.004, 0.03, 0.3])
    targets.flat[int(rng.integers(targets.size))] = True
    # Few lines send most queries to the tree, many none.
    monkeypatch.setattr(nearest, "_LINES", int(rng.choice([2, 20, 600])))
    monkeypatch.setattr(nearest, "_HOPELESS", (int(rng.choice([0, 1, 8])), 0.5))
    monkeypatch.setattr(nearest, "_SPARSE", int(rng.choice([1, 10, 10**6], p=[0.1, 0.1, 0.8])))
    found = nearest_distances(queries, targets, spacing)
    ends = np.argwhere(targets) * spacing
    starts = np.argwhere(queries) * spacing
    expected = np.sqrt(((starts[:, None] - ends[None]) ** 2).sum(-1)).min(1) if len(starts) else []
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_lines_longer_than_the_table_reaches() -> None:
    targets = np.zeros((3, 4, 400), np.bool_)
    targets[1, 2, 0] = True
    expected = ndimage.distance_transform_edt(~targets, sampling=(9, 9, 0.01))
    found = nearest_distances(np.ones_like(targets), targets, (9, 9, 0.01))
    np.testing.assert_allclose(found, expected.ravel(), rtol=1e-12)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"prediction": np.zeros((4, 5))}, "resample"),
        ({"truth": np.zeros(4), "prediction": np.zeros(4)}, "wanted \\(H, W\\)"),
        ({"truth": np.full((4, 4), 2)}, "not binary"),
        ({"truth": np.full((4, 4), np.nan)}, "not binary"),
        ({"truth": np.full((4, 4), "a")}, "type"),
        ({"spacing": (1, 2, 3)}, "3 values for masks of 2 axes"),
        ({"spacing": (1, 0)}, "above 0"),
        ({"spacing": (1, np.nan)}, "above 0"),
        ({"spacing": "wide"}, "wanted one number"),
        ({"definition": "plastimatch"}, "monai, deepmind"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], words: str) -> None:
    given: dict[str, Any] = {"truth": np.zeros((4, 4)), "prediction": np.zeros((4, 4))}
    given |= change
    with pytest.raises(RecipeError, match=words):
        surface_distances(given.pop("truth"), given.pop("prediction"), **given)


def test_figures_refuse_impossible_settings() -> None:
    found = surface_distances(np.ones((3, 3)), np.ones((3, 3)))
    with pytest.raises(RecipeError, match="0 to 100"):
        found.hausdorff(101)
    with pytest.raises(RecipeError, match="0 mm or more"):
        found.surface_dice(-1)
