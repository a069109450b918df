"""Free-response curves agree with a slow reference and with what can be counted by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from recipes.errors import RecipeError
from recipes.evaluation.froc import (
    Candidates,
    Findings,
    HitRule,
    froc_curve,
    match,
    sensitivity_at,
    summarise_froc,
)
from recipes.evaluation.froc.curve import RATES, draw_sensitivities
from tests.recipes.froc.reference import slow_points

RULE = HitRule()


def findings(rows: list[tuple[int, Any, float]]) -> Findings:
    scan, centre, radius = ([row[k] for row in rows] for k in range(3))
    return Findings(
        scan=np.asarray(scan, np.int64),
        centre=np.asarray(centre, float).reshape(-1, 3),
        radius=np.asarray(radius, float),
    )


def candidates(rows: list[tuple[int, Any, float]]) -> Candidates:
    scan, centre, score = ([row[k] for row in rows] for k in range(3))
    return Candidates(
        scan=np.asarray(scan, np.int64),
        centre=np.asarray(centre, float).reshape(-1, 3),
        score=np.asarray(score, float),
    )


def drawn(seed: int, n_scans: int = 30) -> tuple[list[Any], list[Any], list[Any]]:
    """Crowded scans: candidates hit none, one or two findings, and scores tie."""
    rng = np.random.default_rng(seed)

    def some(most: int) -> list[Any]:
        return [
            (scan, rng.uniform(0, 30, 3), float(rng.uniform(3, 9)))
            for scan in range(n_scans)
            for _ in range(rng.integers(0, most))
        ]

    marks = [(scan, place, round(value / 9, 1)) for scan, place, value in some(25)]
    return some(4), marks, some(3)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("most", [None, 5])
def test_curves_equal_the_slow_reference(seed: int, most: int | None) -> None:
    lesions, marks, others = drawn(seed)
    found = match(
        30, findings(lesions), candidates(marks).capped(most), RULE, excluded=findings(others)
    )
    rate, sensitivity = slow_points(30, lesions, marks, others, most)
    curve = froc_curve(found)
    np.testing.assert_allclose(curve.rate, rate, atol=1e-12)
    np.testing.assert_allclose(curve.sensitivity, sensitivity, atol=1e-12)
    places = np.asarray([0.3, 0.77, 1.9])  # no step of the curve is exactly there
    expected = np.interp(places, rate, sensitivity)
    np.testing.assert_allclose(sensitivity_at(curve, places), expected, atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_resamples_equal_scans_written_out_as_often_as_they_are_drawn(seed: int) -> None:
    lesions, marks, _ = drawn(seed, n_scans=8)
    patients = ["a", "a", "b", "c", "c", "d", "e", "f"]
    found = match(8, findings(lesions), candidates(marks), RULE, groups=patients)
    places = np.asarray([0.3, 1.7, 3.3])
    draws = draw_sensitivities(found, places, n_boot=4, seed=seed)
    rng = np.random.default_rng(seed)
    names = sorted(set(patients))
    for row in rng.integers(0, 6, size=(4, 6)):
        scans = [s for g in row for s in range(8) if patients[s] == names[g]]
        again = match(
            len(scans),
            findings([(k, p, r) for k, s in enumerate(scans) for t, p, r in lesions if t == s]),
            candidates([(k, p, v) for k, s in enumerate(scans) for t, p, v in marks if t == s]),
            RULE,
        )
        expected = sensitivity_at(froc_curve(again), places)
        np.testing.assert_allclose(draws[0], expected, atol=1e-12)
        draws = draws[1:]


def test_what_is_counted_by_hand() -> None:
    """Two lesions in three scans: one found at 0.9 and 0.8, one missed; three false marks."""
    o = np.zeros(3)
    lesions = [(0, o, 5.0), (1, o, 5.0)]
    marks = [
        (0, o + 1, 0.9), (0, o + 2, 0.8), (0, o + 20, 0.95), (1, o + 20, 0.5), (2, o, 0.7),
    ]  # fmt: skip
    found = match(3, findings(lesions), candidates(marks), RULE)
    curve = froc_curve(found)
    assert curve.rate.tolist() == pytest.approx([0, 1 / 3, 1 / 3, 2 / 3, 1])
    assert curve.sensitivity.tolist() == [0, 0, 0.5, 0.5, 0.5]
    assert found.hits == 2
    result = summarise_froc(found, n_boot=0)
    assert result["froc"]["1"] == {"value": 0.5, "low": None, "high": None}
    assert result["froc"]["0.125"]["value"] == 0
    assert result["cpm"]["value"] == pytest.approx(5 * 0.5 / 7)
    assert (result["n_scans"], result["n_normal"], result["n_lesions"]) == (3, 1, 2)
    # the only normal's highest mark is 0.7: below 0.9, above the missed one
    assert result["jafroc"]["value"] == 0.5
    assert result["roc"]["value"] == 0.5  # 0.95 and 0.5 against 0.7


def test_the_rules_of_the_challenge() -> None:
    o = np.zeros(3)
    border = candidates([(0, [5.0, 0, 0], 0.9)])
    assert match(1, findings([(0, o, 5.0)]), border, RULE).hits == 0, "strictly nearer"
    two = match(1, findings([(0, o, 5.0), (0, o + 2, 5.0)]), candidates([(0, o + 1, 0.4)]), RULE)
    assert two.lesion_score.tolist() == [0.4, 0.4], "one mark may hit two lesions"
    both = candidates([(0, o, 0.4), (0, o + 40, 0.9)])
    first = match(1, findings([(0, o, 5.0)]), both, RULE, excluded=findings([(0, o, 9.0)]))
    assert (first.hits, first.ignored, len(first.false_scan)) == (1, 0, 1)
    spared = match(1, findings([(0, o, 5.0)]), both, RULE, excluded=findings([(0, o + 40, 5.0)]))
    assert (spared.hits, spared.ignored, len(spared.false_scan)) == (1, 1, 0)


def test_boxes_hit_by_their_overlap_or_centre() -> None:
    box = np.array([[0.0, 0, 10, 10]])
    lesion = Findings(scan=np.zeros(1, np.int64), centre=np.array([[5.0, 5]]), box=box)
    marks = Candidates(
        scan=np.zeros(3, np.int64),
        centre=np.array([[5.0, 5], [10, 10], [30, 30]]),
        score=np.array([0.3, 0.2, 0.1]),
        box=np.array([[0.0, 0, 10, 5], [9, 9, 11, 11], [29, 29, 31, 31]]),
    )
    assert match(1, lesion, marks, HitRule("iou", 0.5)).hits == 1
    assert match(1, lesion, marks, HitRule("iou", 0.001)).hits == 2
    assert match(1, lesion, marks, HitRule("centre_in_box")).hits == 2
    assert match(1, lesion, marks, HitRule("distance", 8.0)).hits == 2


def test_areas_equal_those_of_scikit_learn() -> None:
    lesions, marks, _ = drawn(11)
    lesions = [one for one in lesions if one[0] % 3]  # a third of the scans is normal
    found = match(30, findings(lesions), candidates(marks), RULE)
    result = summarise_froc(found, n_boot=50)
    best = np.full(30, -1.0)
    false = np.full(30, -1.0)
    for scan, _, score in marks:
        best[scan] = max(best[scan], score)
    np.maximum.at(false, found.false_scan, found.false_score)
    ill = np.isin(np.arange(30), found.lesion_scan)
    assert result["roc"]["value"] == pytest.approx(roc_auc_score(ill, best))
    scores = np.r_[np.maximum(found.lesion_score, -1.0), false[~ill]]
    sides = np.r_[np.ones(len(lesions)), np.zeros((~ill).sum())]
    assert result["jafroc"]["value"] == pytest.approx(roc_auc_score(sides, scores))
    for name in ("roc", "jafroc", "cpm"):
        assert result[name]["low"] <= result[name]["value"] <= result[name]["high"]
    assert list(result["froc"]) == [f"{rate:g}" for rate in RATES]


def test_nothing_found_and_nothing_to_find() -> None:
    none = candidates([])
    lesion = findings([(0, np.zeros(3), 3.0)])
    empty = summarise_froc(match(2, lesion, none, RULE), n_boot=100)
    assert empty["cpm"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert empty["jafroc"]["value"] == 0.5
    normal = summarise_froc(match(2, findings([]), candidates([(0, [0, 0, 0], 1)]), RULE))
    assert normal["cpm"]["value"] is None
    assert normal["n_false_positives"] == 1


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: HitRule("iou"), "wants a limit"),
        (lambda: HitRule("radius", 3.0), "wants no limit"),
        (lambda: HitRule("iou", 1.5), "out of range"),
        (lambda: HitRule("near"), "unknown"),
        (lambda: candidates([(0, [0, 0, 0], float("nan"))]), "candidate 0 has the score nan"),
        (lambda: candidates([(0, [0, 0, 0], 1.0)]).capped(0), "max_candidates=0"),
        (lambda: match(1, findings([(3, [0, 0, 0], 1)]), candidates([]), RULE), "beyond the 1"),
        (lambda: match(2, findings([]), candidates([]), RULE, groups=["a"]), "1 patients for 2"),
        (lambda: summarise_froc(match(0, findings([]), candidates([]), RULE)), "no image"),
    ],
)
def test_what_makes_no_sense_is_refused(call: Any, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        call()
