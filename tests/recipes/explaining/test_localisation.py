"""Pointing game and energy as pure functions, and their intervals over patients."""

from __future__ import annotations

import numpy as np
import pytest

from data_adapters.case import Case, Lesion
from recipes.explaining.localisation import (
    at_centre,
    by_chance,
    energy_inside,
    mean_with_interval,
    pointing_hit,
    summarised,
)
from recipes.explaining.questions import truth_mask


def test_the_highest_place_is_inside_or_not() -> None:
    truth = np.zeros((4, 5), bool)
    truth[1:3, 1:3] = True
    heat = np.zeros((4, 5))
    heat[2, 2] = 1.0
    assert pointing_hit(heat, truth) == 1.0
    heat[3, 4] = 2.0
    assert pointing_hit(heat, truth) == 0.0
    heat[1, 1] = 2.0
    assert pointing_hit(heat, truth) == 0.5  # two places are equally high


def test_a_flat_map_scores_what_chance_scores() -> None:
    truth = np.random.default_rng(0).random((6, 7, 8)) < 0.2
    flat = np.full(truth.shape, 3.0)
    assert pointing_hit(flat, truth) == pytest.approx(by_chance(truth))
    assert energy_inside(flat, truth) == pytest.approx(by_chance(truth))
    assert energy_inside(np.zeros(truth.shape), truth) == pytest.approx(by_chance(truth))
    assert by_chance(truth) == truth.sum() / truth.size


def test_chance_is_the_rate_of_random_places() -> None:
    rng = np.random.default_rng(1)
    truth = np.zeros((10, 10), bool)
    truth[2:6, 3:8] = True
    hits = [pointing_hit(rng.random((10, 10)), truth) for _ in range(3000)]
    assert np.mean(hits) == pytest.approx(by_chance(truth), abs=0.03)


def test_energy_is_a_share_of_what_is_positive() -> None:
    heat = np.array([[1.0, 2.0], [-5.0, 1.0]])
    assert energy_inside(heat, np.array([[False, True], [True, False]])) == pytest.approx(0.5)


def test_without_truth_there_is_no_figure() -> None:
    none = np.zeros((3, 3), bool)
    for value in (pointing_hit(np.ones((3, 3)), none), energy_inside(np.ones((3, 3)), none),
                  by_chance(none), at_centre(none)):  # fmt: skip
        assert np.isnan(value)
    with pytest.raises(ValueError, match=r"\(2, 2\) and a truth of \(3, 3\)"):
        pointing_hit(np.ones((2, 2)), none)
    with pytest.raises(ValueError, match="not finite"):
        energy_inside(np.full((3, 3), np.nan), none)


def test_the_middle() -> None:
    truth = np.zeros((4, 6), bool)
    truth[2, 3] = True
    assert at_centre(truth) == 1.0
    assert at_centre(~truth) == 0.0


def test_intervals_are_over_patients() -> None:
    rng = np.random.default_rng(2)
    patients = np.repeat(np.arange(12), 20)
    values = (rng.random(12) < 0.5).astype(float)[patients]  # a patient's cases are all alike
    together = mean_with_interval(values, patients.tolist(), n_boot=2000)
    alone = mean_with_interval(values, None, n_boot=2000)
    assert together["value"] == pytest.approx(values.mean())
    assert together["groups"] == 12
    assert alone["groups"] == 240
    assert together["low"] is not None
    assert alone["low"] is not None
    wide = (together["high"] or 0) - together["low"]
    # standard error of a mean of 12 patients, not of 240 cases
    spread = values[::20].std() / np.sqrt(12)
    assert wide == pytest.approx(2 * 1.96 * spread, rel=0.2)
    assert (alone["high"] or 0) - alone["low"] < wide / 3


def test_undefined_values_and_single_patients() -> None:
    found = mean_with_interval([1.0, float("nan"), 0.0], ["a", "b", "c"])
    assert (found["value"], found["n"], found["groups"]) == (0.5, 2, 2)
    assert mean_with_interval([1.0, 0.0], ["a", "a"])["low"] is None
    assert mean_with_interval([], None)["value"] is None


def test_summary_of_methods() -> None:
    rows = [
        {"case": str(k), "question": "q", "method": method, "patient": str(k), "pointing": hit,
         "energy": hit / 2, "chance": 0.1, "centre": 0.0}
        for k in range(6)
        for method, hit in (("gradcam", 1.0), ("gradient", float(k % 2)))
    ]  # fmt: skip
    rows.append({"case": "x", "question": "q", "method": "gradcam", "patient": None})
    found = summarised(rows, n_boot=200)
    assert found["gradcam"]["pointing"]["value"] == 1.0
    assert found["gradient"]["pointing"]["value"] == 0.5
    assert found["gradient"]["energy"]["value"] == 0.25
    assert found["random place"]["pointing"]["value"] == pytest.approx(0.1)
    assert found["random place"]["pointing"]["n"] == 6
    assert found["middle of the image"]["pointing"]["value"] == 0.0
    assert summarised(rows[-1:]) == {}


def test_truth_from_boxes_and_masks() -> None:
    image = np.zeros((8, 9, 1), np.uint8)
    boxed = Case(
        image, "a", lesions=(Lesion(1, box=(2.0, 3.0, 4.0, 6.6)), Lesion(0, box=(0, 0, 1, 1)))
    )
    found = truth_mask(boxed, task="detection", class_names=("cyst", "tumour"), label="tumour")
    assert found is not None
    assert np.argwhere(found).min(axis=0).tolist() == [2, 3]
    assert np.argwhere(found).max(axis=0).tolist() == [3, 6]  # 6.6 is behind the middle of pixel 6
    masked = Case(image, "b", mask=np.eye(8, 9, dtype=np.int16) * 2)
    names = ("background", "cyst", "tumour")
    found = truth_mask(masked, task="segmentation", class_names=names, label="tumour")
    assert found is not None
    assert found.sum() == 8
    assert truth_mask(masked, task="segmentation", class_names=names, label="rib") is None
