"""The operating point: rules, ties, what cannot be met."""

from __future__ import annotations

import json

import numpy as np
import pytest

from recipes.errors import ConfigError, RecipeError
from recipes.evaluation import choose_operating_point, parse_rule

Y = np.array([0, 0, 0, 1, 0, 1, 1, 0, 1, 1])
P = np.array([0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])


def rates(y, p, t):
    called = p >= t
    return called[y == 1].mean(), (~called)[y == 0].mean()


@pytest.mark.parametrize("rule", ["sensitivity>=0.8", "specificity>=0.8", "youden", "f1"])
@pytest.mark.parametrize("digits", [1, 3])
def test_choice_equals_trying_every_threshold(rule, digits) -> None:
    rng = np.random.default_rng(digits)
    y = (rng.random(300) < 0.3).astype(int)
    p = np.round(1 / (1 + np.exp(-(rng.normal(size=300) + 1.5 * y - 1))), digits)
    point = choose_operating_point(y, p, rule=rule)
    tried = {t: rates(y, p, t) for t in np.unique(p)}
    if rule.startswith("sensitivity"):
        want = max(t for t, (sens, _) in tried.items() if sens >= 0.8)
    elif rule.startswith("specificity"):
        want = min(t for t, (_, spec) in tried.items() if spec >= 0.8)
    elif rule == "youden":
        top = max(sum(v) for v in tried.values())
        want = min(t for t, v in tried.items() if sum(v) >= top - 1e-12)
    else:

        def f1(t):
            called = p >= t
            return 2 * (called & (y == 1)).sum() / (called.sum() + (y == 1).sum())

        top = max(f1(t) for t in tried)
        want = min(t for t in tried if f1(t) >= top - 1e-12)
    assert point.threshold == want
    assert (point.sensitivity, point.specificity) == pytest.approx(tried[want])
    assert point.met


def test_default_rule_and_values() -> None:
    point = choose_operating_point(Y, P)
    assert point.rule == "sensitivity>=0.95"
    assert (point.threshold, point.sensitivity, point.specificity) == (0.3, 1.0, 0.6)
    assert (point.n_pos, point.n_neg) == (5, 5)
    assert json.loads(json.dumps(point.to_dict()))["met"] is True


def test_a_bound_that_cannot_be_met_is_said() -> None:
    y, p = np.array([0, 1, 0, 1]), np.array([0.1, 0.9, 0.9, 0.2])
    point = choose_operating_point(y, p, rule="specificity>=0.99")
    assert not point.met
    assert point.threshold == 0.9
    assert point.specificity == 0.5


@pytest.mark.parametrize("y", [np.zeros(10), np.ones(10)])
def test_one_class_falls_back(y) -> None:
    point = choose_operating_point(y, P)
    assert not point.met
    assert point.threshold == 0.5
    assert (point.sensitivity is None) == (y.sum() == 0)


@pytest.mark.parametrize(("rule", "want"), [("youden", 0.3), ("f1", 0.3)])
def test_of_equal_thresholds_the_most_sensitive_is_taken(rule: str, want: float) -> None:
    # youden: 0.5 + 1 at 0.8 and 1 + 0.5 at 0.3; f1: 2/3 at 0.8, 0.8 at 0.3
    point = choose_operating_point([0, 1, 0, 1], [0.1, 0.3, 0.5, 0.8], rule=rule)
    assert point.threshold == want
    assert point.sensitivity == 1.0


def test_unknown_truth_is_left_out() -> None:
    y = np.r_[Y.astype(float), np.nan, np.nan]
    p = np.r_[P, 0.01, 0.99]
    assert choose_operating_point(y, p) == choose_operating_point(Y, P)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("sensitivty>=0.9", "did you mean 'sensitivity>=0.95'"),
        ("sensitivity>0.9", "unknown operating point rule"),
        ("sensitivity>=95", "between 0 and 1"),
        ("Younden", "did you mean 'youden'"),
        ("", "unknown"),
    ],
)
def test_rules_are_checked(rule, words) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_rule(rule)


def test_rules_may_have_spaces_and_capitals() -> None:
    assert parse_rule(" Sensitivity >= 0.9 ") == parse_rule("sensitivity>=0.9")


def test_bad_arrays_are_refused() -> None:
    with pytest.raises(RecipeError, match="not finite"):
        choose_operating_point([0, 1], [0.1, np.nan])
    with pytest.raises(RecipeError, match="must both be"):
        choose_operating_point([0, 1], [[0.1, 0.9]])
