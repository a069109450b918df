"""Cross-fitting: nothing is chosen and judged on the same patients."""

from __future__ import annotations

import numpy as np
import pytest

from recipes.errors import RecipeError
from recipes.uncertainty.calibration import (
    Rules,
    apply,
    cross_apply,
    fit_calibration,
    fold_of,
    patient_weights,
)
from recipes.uncertainty.outside import alarm_threshold
from recipes.uncertainty.summary import cross_flags
from tests.recipes.uncertainty.test_temperature import gaussian_logits


def cases(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Too sharp logits, one-hot targets and one patient per case."""
    labels, exact = gaussian_logits(n, seed)
    return 3 * exact, np.eye(3)[labels], np.arange(n)


def test_coverage_of_200_splits_is_within_a_point() -> None:
    logits, targets, _ = cases(600, seed=0)
    labels = targets.argmax(axis=1)
    covered, temperatures = [], []
    for seed in range(200):
        order = np.random.default_rng(seed).permutation(600)
        cal, rest = order[:200], order[200:]
        found = fit_calibration(logits[cal], targets[cal], np.arange(200), Rules(seed=seed))
        sets = apply(found, logits[rest]).sets
        assert sets is not None
        covered.append(sets[np.arange(400), labels[rest]].mean())
        temperatures.append(found.temperature)
    assert np.mean(covered) == pytest.approx(0.9, abs=0.01)
    assert np.median(temperatures) == pytest.approx(3.0, rel=0.1)


def test_a_judged_case_has_no_say_in_its_own_judgement() -> None:
    logits, targets, groups = cases(60, seed=1)
    groups = groups // 2  # two images each
    rules = Rules(seed=4)
    before = cross_apply(logits, targets, groups, rules)
    assert before is not None
    for patient in (0, 17):
        mine = groups == patient
        other = targets.copy()
        other[mine] = np.roll(targets[mine], 1, axis=1)
        after = cross_apply(logits, other, groups, rules)
        assert after is not None
        np.testing.assert_array_equal(after.prob[mine], before.prob[mine])
        np.testing.assert_array_equal(after.sets[mine], before.sets[mine])
        assert not np.array_equal(after.prob, before.prob)


def test_a_flag_comes_from_a_threshold_of_other_patients() -> None:
    far = np.random.default_rng(2).random(100)
    groups = np.arange(100)
    flags = cross_flags(far, groups, false_alarms=0.1, seed=0)
    folds = fold_of(groups, 0)
    for i in (3, 50):
        rest = folds != folds[i]
        limit = alarm_threshold(far[rest], groups[rest], false_alarms=0.1)
        assert flags[i] == ("outside" if far[i] > limit else "inside")
    assert 0.02 < flags.count("outside") / 100 < 0.2
    assert cross_flags(far[:10], groups[:10], false_alarms=0.05, seed=0) == [""] * 10


def test_folds_keep_patients_whole() -> None:
    groups = np.random.default_rng(3).integers(0, 11, 80)
    folds = fold_of(groups, 7)
    assert all(len(set(folds[groups == g])) == 1 for g in np.unique(groups))
    sizes = [len(np.unique(groups[folds == f])) for f in np.unique(folds)]
    assert max(sizes) - min(sizes) <= 1
    np.testing.assert_allclose(np.bincount(groups, patient_weights(groups)), 1.0)


def test_too_few_patients_are_said_and_change_nothing() -> None:
    logits, targets, groups = cases(6, seed=5)
    found = fit_calibration(logits, targets, groups, Rules())
    assert found.temperature == 1.0
    assert "too few to fit a temperature" in found.notes[0]
    assert "could not be excluded" in found.notes[1]
    assert apply(found, logits).sets.all()
    assert cross_apply(logits, targets, np.zeros(6, int), Rules()) is None


def test_arrays_that_do_not_fit_are_refused() -> None:
    with pytest.raises(RecipeError, match="same cases"):
        fit_calibration(np.zeros((3, 2)), np.zeros((2, 2)), np.arange(3), Rules())
