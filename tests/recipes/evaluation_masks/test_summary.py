"""Means, intervals, Bland-Altman and burden of many cases, against plain loops."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from recipes.errors import RecipeError
from recipes.evaluation.masks import (
    FIGURES,
    CaseScores,
    Detection,
    ScoreOptions,
    bland_altman,
    burden,
    case_rows,
    score_case,
    summarise,
)


def scored(
    case: str, patient: str | None, *, dice: float, hd95: float = 1.0, volume: float = 2.0
) -> CaseScores:
    """A case of two classes with chosen figures."""
    base = dict.fromkeys(FIGURES, 0.5) | {"truth_volume": 2.0, "prediction_volume": volume}
    a = base | {"dice": dice, "hd95": hd95, "assd": hd95}
    figures = {"a": a, "b": base | {"dice": 0.1, "hd95": 7.0}}
    lesions = {"a": Detection(3, 2, 4, 1), "b": Detection(0, 0, 0, 0)}
    return CaseScores(case, patient, figures, lesions, 3, (1.0, 1.0, 1.0))


CASES = (
    scored("1", "p1", dice=0.9, hd95=2.0),
    scored("2", "p1", dice=0.7, hd95=math.inf, volume=3.0),
    scored("3", "p2", dice=math.nan, hd95=math.nan, volume=1.0),
    scored("4", "p3", dice=0.2, hd95=4.0, volume=5.0),
    scored("5", "p4", dice=0.6, hd95=6.0),
)


def test_means_medians_and_counts() -> None:
    result = summarise(CASES, n_boot=200)
    assert (result["n"], result["n_patients"], result["unit"]) == (5, 4, "patient")
    assert result["class_names"] == ["a", "b"]
    dice, hd95 = result["dice"]["a"], result["hd95"]["a"]
    assert dice["value"] == pytest.approx((0.9 + 0.7 + 0.2 + 0.6) / 4)
    assert (dice["n"], dice["undefined"], dice["infinite"]) == (4, 1, 0)
    assert dice["median"] == pytest.approx(0.65)
    assert hd95["value"] == pytest.approx(4.0)
    assert (hd95["n"], hd95["undefined"], hd95["infinite"]) == (3, 1, 1)
    assert hd95["median"] == pytest.approx(5.0)
    assert result["mean"]["dice"]["value"] == pytest.approx((0.6 + 0.1) / 2)
    assert result["mean"]["hd95"]["value"] == pytest.approx((4.0 + 7.0) / 2)
    assert dice["low"] < dice["value"] < dice["high"]
    assert any("1 cases" in note and "infinite" in note for note in result["notes"])
    assert any("both masks are empty in 1 cases" in note for note in result["notes"])
    pooled = result["lesions"]["a"]
    assert (pooled["lesions"], pooled["found"], pooled["claimed"], pooled["right"]) == (
        15,
        10,
        20,
        5,
    )
    assert pooled["f1"] == pytest.approx(2 * (10 / 15) * 0.25 / (10 / 15 + 0.25))
    assert result["lesions"]["b"]["f1"] is None
    json.dumps(result, allow_nan=False)


def test_the_interval_is_the_bootstrap_of_whole_patients() -> None:
    rng = np.random.default_rng(3)
    dice = rng.uniform(0.3, 0.95, 30)
    whose = [f"p{k // 3}" for k in range(30)]
    cases = [scored(str(k), p, dice=d) for k, (p, d) in enumerate(zip(whose, dice, strict=True))]
    result = summarise(cases, n_boot=400, seed=9)
    groups = dice.reshape(10, 3)
    drawn = np.random.default_rng(9).integers(0, 10, size=(400, 10))
    expected = np.quantile(groups[drawn].mean(axis=(1, 2)), [0.025, 0.975])
    assert result["dice"]["a"]["low"] == pytest.approx(expected[0])
    assert result["dice"]["a"]["high"] == pytest.approx(expected[1])
    middle = result["mean"]["dice"]
    assert middle["low"] == pytest.approx((expected[0] + 0.1) / 2)
    narrow = summarise(cases, n_boot=400, seed=9, level=0.5)["dice"]["a"]
    assert narrow["high"] - narrow["low"] < expected[1] - expected[0]


def test_without_patients_each_case_is_one() -> None:
    loose = [scored(str(k), None, dice=0.1 * k) for k in range(5)]
    result = summarise(loose, n_boot=50)
    assert (result["unit"], result["n_patients"]) == ("case", 5)
    assert any("no known patient" in note for note in result["notes"])
    alone = summarise([scored("1", "p", dice=0.5), scored("2", "p", dice=0.7)])
    assert alone["dice"]["a"]["value"] == pytest.approx(0.6)
    assert alone["dice"]["a"]["low"] is alone["agreement"]["a"]["bias"]["low"] is None
    assert any("no interval" in note for note in alone["notes"])


def test_nothing_defined_is_null() -> None:
    cases = [scored(str(k), str(k), dice=math.nan, hd95=math.inf) for k in range(3)]
    result = summarise(cases, n_boot=30)
    dice, hd95 = result["dice"]["a"], result["hd95"]["a"]
    assert dice["value"] is dice["low"] is dice["median"] is hd95["value"] is None
    assert (dice["undefined"], hd95["infinite"], hd95["median"]) == (3, 3, None)
    assert result["mean"]["dice"]["value"] == pytest.approx(0.1)
    json.dumps(result, allow_nan=False)


def test_bland_altman() -> None:
    rng = np.random.default_rng(1)
    truth = rng.uniform(1, 9, 40)
    guess = truth + rng.normal(0.5, 0.3, 40)
    found = bland_altman(truth, guess, n_boot=2000)
    apart = guess - truth
    assert found["bias"]["value"] == pytest.approx(apart.mean())
    assert found["upper"] - found["lower"] == pytest.approx(2 * 1.96 * stats.tstd(apart))
    wide = stats.t.interval(0.95, 39, apart.mean(), stats.sem(apart))
    assert found["bias"]["low"] == pytest.approx(wide[0], abs=0.02)
    assert found["bias"]["high"] == pytest.approx(wide[1], abs=0.02)
    assert found["mean"] == pytest.approx(((truth + guess) / 2).tolist())
    one = bland_altman([1.0], [2.0])
    assert (one["bias"]["value"], one["sd"], one["lower"]) == (1.0, None, None)
    assert bland_altman([], [])["bias"]["value"] is None


def test_burden_adds_up_patients() -> None:
    rows = burden([*CASES, scored("6", None, dice=0.5), scored("7", None, dice=0.5)])
    assert [row["patient"] for row in rows] == ["p1", "p2", "p3", "p4", None, None]
    first = rows[0]
    assert first["cases"] == ["1", "2"]
    assert first["classes"]["a"] == {"truth": 4.0, "prediction": 5.0, "difference": 1.0}
    assert (first["truth"], first["prediction"], first["difference"]) == (8.0, 10.0, 2.0)


def test_rows_are_a_table() -> None:
    rows = case_rows(CASES)
    assert len(rows) == 10
    assert rows[2]["hd95"] == "inf"
    assert rows[4]["dice"] is None
    assert (rows[0]["case"], rows[0]["patient"], rows[0]["class"]) == ("1", "p1", "a")
    json.dumps(rows, allow_nan=False)


def test_definitions_state_the_options() -> None:
    rng = np.random.default_rng(0)
    options = ScoreOptions(definition="deepmind", tolerance=2.5, min_iou=0.3)
    case = score_case(
        rng.integers(0, 2, (6, 7)),
        rng.integers(0, 2, (6, 7)),
        class_names=("0", "x"),
        options=options,
    )
    result = summarise([case], options=options)
    assert "DeepMind" in result["definitions"]["hd95"]
    assert "2.5" in result["definitions"]["nsd"]
    assert "IoU of 0.3" in result["definitions"]["lesion_f1"]
    assert "mm²" in result["definitions"]["truth_volume"]
    assert any("no spacing" in note for note in result["notes"])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: summarise([]), "no case was scored"),
        (lambda: summarise(CASES, level=0.0), "between 0 and 1"),
        (lambda: summarise(CASES, n_boot=-1), "0 or more"),
        (
            lambda: summarise([CASES[0], CaseScores("x", None, {"a": {}})]),
            "case x has other classes",
        ),
        (lambda: bland_altman([1.0], [1.0, 2.0]), "same cases"),
        (lambda: bland_altman([1.0], [math.nan]), "finite"),
        (lambda: bland_altman([1.0], [1.0], ["p", "q"]), "2 groups given for 1"),
    ],
)
def test_what_does_not_fit_is_refused(call: Any, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        call()
