"""Overlap, lesions and whole cases against sets of voxels and closed forms."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import ndimage
from sklearn.metrics import f1_score, jaccard_score, precision_score, recall_score

from recipes.errors import RecipeError
from recipes.evaluation.masks import (
    FIGURES,
    Detection,
    ScoreOptions,
    detection,
    membrane_scores,
    overlap,
    score_case,
    score_class,
    summarise,
    surface_distances,
)
from tests.recipes.evaluation_masks.shapes import pair

NAMES = ("background", "left", "right")


@pytest.mark.parametrize("shape", [(15, 18), (6, 9, 8)])
def test_overlap_is_scikit_learns(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(2)
    truth, guess = (rng.random(shape) < share for share in (0.4, 0.6))
    found = overlap(truth, guess)
    flat = truth.ravel(), guess.ravel()
    assert found.dice == pytest.approx(f1_score(*flat))
    assert found.iou == pytest.approx(jaccard_score(*flat))
    assert found.sensitivity == pytest.approx(recall_score(*flat))
    assert found.precision == pytest.approx(precision_score(*flat))


def test_rules_for_empty_masks() -> None:
    none, some = np.zeros((2, 5, 5, 5), np.uint8)
    some[1:3] = 1
    undefined = {
        "both": set(FIGURES) - {"truth_volume", "prediction_volume", "volume_error"},
        "truth": {"sensitivity", "relative_volume_error", "lesion_sensitivity"},
        "prediction": {"precision", "lesion_precision"},
    }
    for empty, pair_ in {
        "both": (none, none),
        "truth": (none, some),
        "prediction": (some, none),
    }.items():
        figures, _ = score_class(*pair_)
        assert set(figures) == set(FIGURES)
        assert {name for name, v in figures.items() if math.isnan(v)} == undefined[empty]
        if empty != "both":
            assert figures["dice"] == figures["iou"] == figures["nsd"] == figures["lesion_f1"] == 0
            assert figures["hd95"] == figures["assd"] == math.inf


def test_volumes_are_millilitres_and_areas_square_millimetres() -> None:
    truth, guess = np.zeros((2, 4, 10, 10), np.uint8)
    truth[1:3, 2:7, 2:7], guess[1:3, 2:7, 2:9] = 1, 1
    figures, _ = score_class(truth, guess, spacing=(5, 2, 1))
    assert figures["truth_volume"] == pytest.approx(50 * 10 / 1000)
    assert figures["prediction_volume"] == pytest.approx(70 * 10 / 1000)
    assert figures["volume_error"] == pytest.approx(0.2)
    assert figures["relative_volume_error"] == pytest.approx(0.4)
    figures, _ = score_class(truth[1], guess[1], spacing=(2, 1))
    assert (figures["truth_volume"], figures["volume_error"]) == (50.0, 20.0)


def test_lesions_found_and_claimed() -> None:
    truth, guess = np.zeros((2, 20, 20), np.uint8)
    truth[1:4, 1:4] = truth[10:14, 10:14] = truth[16:18, 1:3] = 1
    guess[3:7, 3:7] = guess[10:14, 10:13] = guess[1:3, 15:18] = 1  # a corner, most, a false one
    found = detection(truth, guess)
    assert found == Detection(3, 2, 3, 2)
    assert found.f1 == pytest.approx(2 / 3)
    assert detection(truth, guess, min_iou=0.5) == Detection(3, 1, 3, 1)
    assert detection(truth, guess, min_iou=0.76).f1 == 0.0
    assert detection(truth, guess, min_voxels=5) == Detection(2, 2, 3, 2)
    assert found + found == Detection(6, 4, 6, 4)
    bridge = guess.copy()
    bridge[4:11, 4:11] = 1
    assert detection(truth, bridge) == Detection(3, 2, 2, 1)
    assert detection(truth, bridge).f1 == pytest.approx(2 * (2 / 3) * 0.5 / (2 / 3 + 0.5))


@pytest.mark.parametrize("seed", range(6))
def test_lesions_against_sets(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, guess = (rng.random((7, 11, 9)) < 0.06 for _ in range(2))
    sets = []
    for mask in (truth, guess):
        numbered, count = ndimage.label(mask, np.ones((3, 3, 3)))
        sets.append([set(np.flatnonzero(numbered == k)) for k in range(1, count + 1)])
    for least in (0.0, 0.2, 0.5):
        hits = [
            (i, j)
            for i, a in enumerate(sets[0])
            for j, b in enumerate(sets[1])
            if a & b and len(a & b) / len(a | b) >= least
        ]
        expected = len(sets[0]), len({i for i, _ in hits}), len(sets[1]), len({j for _, j in hits})
        assert detection(truth, guess, min_iou=least) == Detection(*expected)


@pytest.mark.parametrize("shape", [(9, 14, 12), (25, 18)])
def test_a_case_is_its_classes(shape: tuple[int, ...]) -> None:
    spacing = (2.0, 0.7, 1.1)[-len(shape) :]
    one, two = pair(3, shape), pair(4, shape)
    truth, guess = (np.where(a, 1, np.where(b, 2, 0)) for a, b in zip(one, two, strict=True))
    options = ScoreOptions(tolerance={"left": 0.5, "right": 2.5}, definition="deepmind")
    scores = score_case(
        truth,
        guess.astype(np.float32),
        class_names=NAMES,
        spacing=spacing,
        case_id="c1",
        patient_id="p1",
        options=options,
    )
    assert (scores.case_id, scores.patient_id, scores.axes) == ("c1", "p1", len(shape))
    assert list(scores.figures) == ["left", "right"]
    for k, name in enumerate(NAMES[1:], start=1):
        figures = scores.figures[name]
        masks = truth == k, guess == k
        found = surface_distances(*masks, spacing=spacing, definition="deepmind")
        assert figures["dice"] == overlap(*masks).dice
        assert figures["hd95"] == found.hausdorff()
        assert figures["assd"] == found.average()
        assert figures["nsd"] == found.surface_dice({"left": 0.5, "right": 2.5}[name])
        assert scores.lesions[name] == detection(*masks)


def test_void_is_left_out_as_monai_leaves_it() -> None:
    truth, guess = (mask.astype(np.int16) for mask in pair(7, (12, 13, 11)))
    void = np.zeros(truth.shape, np.bool_)
    void[:, :5, 3:] = True
    marked = np.where(void, -1, truth)
    assert (truth[void] != guess[void]).any()
    scores = score_case(marked, guess, class_names=("background", "a"))
    bare = score_case(
        np.where(void, 0, truth), np.where(void, 0, guess), class_names=("background", "a")
    )
    assert scores.figures == bare.figures
    everything = score_case(np.full((3, 4), -1), np.ones((3, 4)), class_names=("background", "a"))
    assert math.isnan(everything.figures["a"]["dice"])
    assert everything.figures["a"]["prediction_volume"] == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"prediction": np.zeros((4, 5), int)}, "case c: truth has shape"),
        ({"truth": np.full((4, 4), 3)}, "case c: truth holds the value 3; the classes are 0 to 2"),
        ({"truth": np.full((4, 4), -2)}, "or -1 where unknown"),
        ({"prediction": np.full((4, 4), -1)}, "prediction holds the value -1"),
        ({"prediction": np.full((4, 4), 0.5)}, "no whole numbers"),
        ({"prediction": np.full((4, 4), np.inf)}, "no whole numbers"),
        ({"truth": np.zeros((0, 4), int)}, "holds no voxel"),
        ({"class_names": ("background",)}, "wanted the background"),
        ({"class_names": ("background", "a", "a")}, "wanted the background"),
        ({"class_names": "ab"}, "wanted the background"),
        ({"options": ScoreOptions(tolerance={"left": 1.0})}, "no tolerance for class 'right'"),
        ({"spacing": (1, -1)}, "above 0"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], words: str) -> None:
    given: dict[str, Any] = {
        "truth": np.zeros((4, 4), int),
        "prediction": np.zeros((4, 4), int),
        "class_names": NAMES,
        "case_id": "c",
    }
    given |= change
    with pytest.raises(RecipeError, match=words):
        score_case(given.pop("truth"), given.pop("prediction"), **given)


@pytest.mark.parametrize(
    "options",
    [
        {"definition": "x"},
        {"tolerance": -1},
        {"tolerance": {"a": math.nan}},
        {"min_iou": 2},
        {"min_voxels": 0},
    ],
)
def test_options_are_checked(options: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=next(iter(options))):
        ScoreOptions(**options)
    if next(iter(options)).startswith("min"):
        with pytest.raises(RecipeError, match=next(iter(options))):
            detection(np.ones((2, 2)), np.ones((2, 2)), **options)


def test_cells_between_membranes_have_the_scores_of_isbi_2012() -> None:
    rng = np.random.default_rng(4)
    truth = (ndimage.gaussian_filter(rng.normal(size=(3, 40, 40)), (0, 2, 2)) > -0.02).astype(int)
    guess = truth.copy()
    guess[rng.random(guess.shape) < 0.1] ^= 1
    truth[:, :5] = -1
    options = ScoreOptions(membranes=True)
    found = score_case(truth, guess, class_names=["membrane", "cell"], options=options)
    wanted = membrane_scores(truth, guess)
    for name in ("v_rand", "v_info", "pixel_accuracy"):
        assert found.figures["cell"][name] == pytest.approx(wanted[name])
    total = summarise([found], options=options, n_boot=100)
    assert total["v_rand"]["cell"]["value"] == pytest.approx(wanted["v_rand"])
    assert "v_rand" in total["definitions"]
    plain = score_case(truth, guess, class_names=["membrane", "cell"])
    assert "v_rand" not in plain.figures["cell"]
    assert "v_rand" not in summarise([plain], n_boot=100)
