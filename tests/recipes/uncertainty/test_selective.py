"""Risk-coverage curves by brute force, and members' disagreement by hand."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from recipes.errors import RecipeError
from recipes.uncertainty.ensembles import ensemble
from recipes.uncertainty.selective import aurc, best_aurc, risk_coverage, selective_figures


def brute(wrong: list[int]) -> float:
    """Mean over the prefixes of the share of errors in each."""
    return float(np.mean([np.mean(wrong[: k + 1]) for k in range(len(wrong))]))


def test_the_area_is_the_mean_risk_of_all_prefixes() -> None:
    rng = np.random.default_rng(0)
    wrong, sure = rng.integers(0, 2, 50), rng.random(50)
    order = np.argsort(-sure)
    assert aurc(wrong, sure) == pytest.approx(brute(list(wrong[order])))
    coverage, risk = risk_coverage(wrong, sure)
    assert (coverage[0], coverage[-1]) == (1 / 50, 1.0)
    assert risk[-1] == pytest.approx(wrong.mean())


def test_equally_sure_cases_come_in_any_order() -> None:
    wrong, sure = [1, 0, 0, 1, 0], [0.9, 0.5, 0.5, 0.5, 0.1]
    expected = np.mean([brute([1, *middle, 0]) for middle in permutations([0, 0, 1])])
    assert aurc(wrong, sure) == pytest.approx(expected)


def test_the_best_order_puts_errors_last() -> None:
    wrong = np.asarray([0, 1, 0, 0, 1])
    assert best_aurc(wrong) == pytest.approx(brute([0, 0, 0, 1, 1]))
    assert aurc(wrong, 1 - wrong) == best_aurc(wrong)
    assert aurc(np.zeros(4), [1, 2, 3, 4]) == 0.0


def test_figures_have_intervals_over_patients() -> None:
    rng = np.random.default_rng(1)
    sure = rng.random(80)
    wrong = (rng.random(80) > sure).astype(float)
    found = selective_figures(wrong, sure, np.arange(80) // 2, n_boot=100, seed=0)
    assert found["aurc"]["low"] < found["aurc"]["value"] < found["aurc"]["high"]
    assert found["excess_aurc"]["value"] == pytest.approx(aurc(wrong, sure) - best_aurc(wrong))
    assert found["curve"]["risk"][-1] == pytest.approx(wrong.mean())
    with pytest.raises(RecipeError, match="not finite"):
        aurc([0, 1], [0.5, np.nan])


def test_members_that_agree_do_not_disagree_however_unsure() -> None:
    same = np.tile([[0.5, 0.5], [0.9, 0.1]], (3, 1, 1))
    found = ensemble(same, kind="single")
    np.testing.assert_allclose(found.disagreement, 0.0, atol=1e-12)
    assert found.entropy[0] == pytest.approx(np.log(2))


def test_members_that_contradict_each_other_disagree_by_one_bit() -> None:
    sure = np.asarray([[[1.0, 0.0]], [[0.0, 1.0]]])
    found = ensemble(sure, kind="single")
    assert found.prob.tolist() == [[0.5, 0.5]]
    assert found.disagreement[0] == pytest.approx(np.log(2))
    both = ensemble(sure, kind="multilabel")
    assert both.disagreement[0] == pytest.approx(2 * np.log(2))


def test_what_is_no_ensemble_is_refused() -> None:
    with pytest.raises(RecipeError, match="expected"):
        ensemble(np.zeros((3, 2)), kind="single")
    with pytest.raises(RecipeError, match="not logits"):
        ensemble(np.full((1, 1, 2), 3.0), kind="single")
