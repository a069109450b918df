"""Largest components and holes against scipy, and the choice of steps on validation masks."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from recipes.segmentation.inference import InferenceError, choose_postprocessing, postprocess

NAMES = ("background", "organ", "lesion")


def blobs(seed: int, shape: tuple[int, ...] = (14, 17, 19)) -> Any:
    """Labels 0 to 2 in smooth pieces."""
    noise = np.random.default_rng(seed).normal(size=shape)
    smooth = ndimage.gaussian_filter(noise, 1.2)
    return np.digitize(smooth, np.quantile(smooth, [0.55, 0.8])).astype(np.uint8)


@pytest.mark.parametrize("shape", [(14, 17, 19), (30, 41)])
def test_largest_component_is_scipys(shape: tuple[int, ...]) -> None:
    labels = blobs(0, shape)
    found = postprocess(labels, [{"step": "largest_component", "label": 2}])
    pieces, count = ndimage.label(labels == 2, np.ones((3,) * len(shape)))
    assert count > 1
    sizes = np.bincount(pieces.ravel())[1:]
    wanted = np.where((labels == 2) & (pieces != 1 + sizes.argmax()), 0, labels)
    assert np.array_equal(found, wanted)
    assert np.array_equal(labels, blobs(0, shape))


@pytest.mark.parametrize("shape", [(14, 17, 19), (30, 41)])
def test_holes_are_scipys_and_other_labels_stay(shape: tuple[int, ...]) -> None:
    labels = blobs(1, shape)
    labels[tuple(side // 2 for side in shape)] = 0
    around = tuple(slice(side // 2 - 2, side // 2 + 3) for side in shape)
    shell = labels[around] == labels[around]
    shell[(slice(1, -1),) * len(shape)] = False
    labels[around][shell] = 1
    labels[tuple(side // 2 for side in shape)] = 2
    found = postprocess(labels, [{"step": "fill_holes", "label": 1}])
    filled = ndimage.binary_fill_holes(labels == 1)
    wanted = np.where(filled & (labels == 0), 1, labels)
    assert (wanted != labels).any()
    assert np.array_equal(found, wanted)
    assert found[tuple(side // 2 for side in shape)] == 2


def test_steps_are_chosen_where_they_raise_dice_and_nowhere_else() -> None:
    truth = np.zeros((3, 12, 20, 20), np.int8)
    truth[:, 2:9, 3:12, 3:12] = 1
    truth[:, 4:6, 14:16, 14:16] = 2
    truth[:, 9:11, 3:5, 14:16] = 2  # a second lesion, true
    truth[2, 4] = -1
    prediction = np.maximum(truth, 0).copy()
    prediction[2, 4] = prediction[2, 3]
    prediction[:, 5, 6, 6] = 0  # a hole
    prediction[:, 0, 18, 18] = 1  # a stray piece
    steps, trials = choose_postprocessing(truth, prediction, class_names=NAMES)
    assert steps == [
        {"step": "largest_component", "label": 1},
        {"step": "fill_holes", "label": 1},
    ]
    assert json.loads(json.dumps(steps)) == steps
    assert [trial.chosen for trial in trials] == [True, True, False, False]
    assert trials[1].before == trials[0].after > trials[0].before
    assert trials[2].after < trials[2].before == 1.0
    cleaned = [postprocess(one, steps) for one in prediction]
    known = truth >= 0
    assert np.array_equal(np.stack(cleaned)[known], truth[known])


def test_what_is_kept_of_a_case_does_not_change_the_choice() -> None:
    rng = np.random.default_rng(3)
    shape = (9, 30, 40)
    truth = np.zeros((4, *shape), np.int8)
    truth[:, 3:6, 5:12, 6:15] = 1
    prediction = np.where(rng.random(truth.shape) < 0.02, 1, truth)
    prediction[..., :2] = prediction[..., -9:] = 0
    truth[1, :, :, -1] = -1
    wide = [np.pad(one, 6) for one in truth], [np.pad(one, 6) for one in prediction]
    steps, trials = choose_postprocessing(truth, prediction, class_names=NAMES[:2])
    again, more = choose_postprocessing(*wide, class_names=NAMES[:2])
    assert steps == again
    assert steps
    assert trials == more


def test_a_step_that_costs_another_class_is_not_chosen() -> None:
    truth = np.zeros((1, 9, 9), np.int16)
    truth[0, 1:8, 1:8] = 1
    truth[0, 3:6, 3:6] = 2
    prediction = truth.copy()
    prediction[0, 4, 4] = 0
    steps, trials = choose_postprocessing(truth, prediction, class_names=NAMES)
    # Filling label 1 first would turn the middle of the lesion into organ.
    assert steps == [{"step": "fill_holes", "label": 2}]
    by_step = {(trial.step["step"], trial.step["label"]): trial for trial in trials}
    assert by_step["fill_holes", 1].after < by_step["fill_holes", 1].before


def test_cases_without_the_class_count_as_right() -> None:
    truth = np.zeros((2, 8, 8), np.int16)
    prediction = truth.copy()
    prediction[0, 1, 1] = prediction[0, 5:7, 5:7] = 1
    steps, trials = choose_postprocessing(truth, prediction, class_names=NAMES[:2])
    assert steps == []
    assert {trial.before for trial in trials} == {0.5}
    assert {trial.cases for trial in trials} == {1}


def test_refusals() -> None:
    mask = np.zeros((4, 4), np.uint8)
    for step, message in (
        ({"step": "smooth", "label": 1}, "unknown step 'smooth'; choose from largest_component"),
        ({"step": "fill_holes", "label": 0}, "label 0 of step 'fill_holes'"),
        ({"step": "fill_holes"}, "label None"),
    ):
        with pytest.raises(InferenceError, match=message):
            postprocess(mask, [step])
    with pytest.raises(InferenceError, match="type float64"):
        postprocess(mask.astype(float), [])
    with pytest.raises(InferenceError, match="1 true masks and more predicted ones"):
        choose_postprocessing([mask], [mask, mask], class_names=NAMES)
    with pytest.raises(InferenceError, match="1 predicted masks and more true ones"):
        choose_postprocessing([mask, mask], [mask], class_names=NAMES)
    with pytest.raises(InferenceError, match="0 true and 0 predicted"):
        choose_postprocessing([], [], class_names=NAMES)
    with pytest.raises(InferenceError, match=r"case 0: the truth has shape \(2, 4\)"):
        choose_postprocessing([mask[:2]], [mask], class_names=NAMES)
