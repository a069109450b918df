"""The threshold at which a probability becomes a positive call, chosen by a stated rule."""

from __future__ import annotations

import difflib
import re
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from recipes.errors import ConfigError, RecipeError
from recipes.evaluation.metrics import Array, roc_points

FALLBACK = 0.5
"""Threshold used where no choice is possible because a class is missing."""

_RULES = ("sensitivity>=0.95", "specificity>=0.95", "youden", "f1")
_BOUND = re.compile(r"(sensitivity|specificity)\s*>=\s*([0-9]*\.?[0-9]+(?:e-?[0-9]+)?)")


@dataclass(frozen=True)
class Rule:
    """A parsed rule: what to bound or maximise, and the bound."""

    kind: str
    target: float | None = None


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold and what it achieved on the cases it was chosen on.

    A case is called positive when its probability is greater than or equal to `threshold`.
    `met` is False when the rule could not be met; the threshold then is the nearest one, or 0.5
    where a class is missing. `sensitivity` and `specificity` are those of the choosing part,
    None where undefined: they flatter, and the test part's figures are the ones to quote.
    """

    threshold: float
    rule: str
    sensitivity: float | None
    specificity: float | None
    met: bool
    n_pos: int
    n_neg: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def parse_rule(rule: str) -> Rule:
    """Read `sensitivity>=X`, `specificity>=X` (0 < X <= 1), `youden` or `f1`.

    Raises:
        ConfigError: Another rule, or a bound outside (0, 1].
    """
    text = rule.strip().lower()
    if text in ("youden", "f1"):
        return Rule(text)
    bound = _BOUND.fullmatch(text)
    if bound is None:
        near = difflib.get_close_matches(text, _RULES, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ConfigError(
            f"unknown operating point rule {rule!r}; {hint}Known: sensitivity>=X, "
            "specificity>=X (X between 0 and 1), youden, f1"
        )
    target = float(bound[2])
    if not 0 < target <= 1:
        raise ConfigError(
            f"operating point rule {rule!r} asks for a {bound[1]} of {target:g}; "
            "it must lie between 0 and 1, e.g. 0.95"
        )
    return Rule(bound[1], target)


def choose_operating_point(
    y: npt.ArrayLike, p: npt.ArrayLike, *, rule: str = "sensitivity>=0.95"
) -> OperatingPoint:
    """Choose a threshold among the observed probabilities; use it as `p >= threshold`.

    `sensitivity>=X` takes the largest threshold that reaches X (and so the best specificity),
    `specificity>=X` the smallest one; `youden` maximises sensitivity + specificity - 1 (Youden
    1950) and `f1` the F1 score, of equal ones the smallest threshold (the most sensitive).

    Args:
        y: Truth, 0 or 1, shape (N,); cases with NaN (unknown) are left out.
        p: Probability of the positive class, shape (N,).
        rule: See `parse_rule`.

    Returns:
        The operating point, with the figures reached on these very cases.

    Raises:
        ConfigError: Unknown rule.
        RecipeError: Shapes differ or a probability is not finite.
    """
    parsed = parse_rule(rule)
    truth, prob = np.asarray(y, dtype=np.float64), np.asarray(p, dtype=np.float64)
    if truth.shape != prob.shape or truth.ndim != 1:
        raise RecipeError(f"truth {truth.shape} and probabilities {prob.shape} must both be (N,)")
    known = np.isfinite(truth)
    truth, prob = truth[known], prob[known]
    if not np.isfinite(prob).all():
        raise RecipeError("a probability is not finite; no operating point can be chosen")
    n_pos = int((truth > 0.5).sum())
    n_neg = len(truth) - n_pos
    if n_pos == 0 or n_neg == 0:
        return _fallback(rule, truth, prob, n_pos, n_neg)
    fpr, tpr, thresholds = (part[1:] for part in roc_points(truth, prob))
    at, met = _pick(parsed, tpr, 1 - fpr, n_pos, n_neg)
    return OperatingPoint(
        threshold=float(thresholds[at]),
        rule=rule,
        sensitivity=float(tpr[at]),
        specificity=float(1 - fpr[at]),
        met=met,
        n_pos=n_pos,
        n_neg=n_neg,
    )


def _pick(rule: Rule, tpr: Array, tnr: Array, n_pos: int, n_neg: int) -> tuple[int, bool]:
    """Position among the falling thresholds, and whether the rule is met."""
    if rule.kind in ("sensitivity", "specificity"):
        reached = tpr if rule.kind == "sensitivity" else tnr
        good = np.flatnonzero(reached >= (rule.target or 0.0) - 1e-12)
        if len(good):
            return int(good[0] if rule.kind == "sensitivity" else good[-1]), True
        return int(np.argmax(reached)), False
    if rule.kind == "youden":
        gain = tpr + tnr
    else:
        hits, alarms = tpr * n_pos, (1 - tnr) * n_neg
        gain = 2 * hits / (n_pos + hits + alarms)
    best = np.flatnonzero(gain >= gain.max() - 1e-12)
    return int(best[-1]), True


def _fallback(rule: str, truth: Array, prob: Array, n_pos: int, n_neg: int) -> OperatingPoint:
    called = prob >= FALLBACK
    return OperatingPoint(
        threshold=FALLBACK,
        rule=rule,
        sensitivity=float(called[truth > 0.5].mean()) if n_pos else None,
        specificity=float((~called)[truth <= 0.5].mean()) if n_neg else None,
        met=False,
        n_pos=n_pos,
        n_neg=n_neg,
    )
