"""From scores to the chance that a candidate hits a lesion, learnt on the validation part."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from recipes.detection.scoring import Scan
from recipes.detection.second.bank import truth_of
from recipes.evaluation.froc.hits import HitRule

Floats = npt.NDArray[np.float64]
Line = tuple[float, float]
"""Slope and offset on the scale of log odds."""

LEAST = 5
"""Hits and false positives that a class must have."""
_EDGE = 1e-7


def fit_lines(scans: Sequence[Scan], rule: HitRule, classes: int) -> tuple[Line | None, ...]:
    """Platt's scaling for each class: a logistic regression on the log odds of the score.

    Platt, Advances in Large Margin Classifiers 1999. The chances are those among the candidates of
    images like the validation part's.

    Args:
        scans: Validation images.
        rule: When a candidate hits.
        classes: Classes of lesions.

    Returns:
        A line for each class; None where there are fewer than `LEAST` hits or false positives.
    """
    lines: list[Line | None] = []
    truths = [truth_of(scan, rule, classes) for scan in scans]
    for label in range(classes):
        rows = [scan.found.labels == label for scan in scans]
        scores = np.concatenate([s.found.scores[r] for s, r in zip(scans, rows, strict=True)])
        hits = np.concatenate([t[r] > 0 for t, r in zip(truths, rows, strict=True)])
        few = min(int(hits.sum()), int((~hits).sum())) < LEAST
        lines.append(None if few else _logistic(log_odds_of(scores), hits))
    return tuple(lines)


def _logistic(odds: Floats, hits: npt.NDArray[np.bool_]) -> Line:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=100.0).fit(odds[:, None], hits)
    return float(model.coef_[0, 0]), float(model.intercept_[0])


def log_odds_of(scores: Floats) -> Floats:
    """Log odds of scores between 0 and 1."""
    inside = np.clip(scores, _EDGE, 1 - _EDGE)
    return np.asarray(np.log(inside / (1 - inside)))


def chances(scores: Floats, labels: npt.NDArray[np.int64], lines: Sequence[Line | None]) -> Floats:
    """The chance that each candidate hits; NaN where its class has no line."""
    slopes = np.array([np.nan if line is None else line[0] for line in lines])
    offsets = np.array([np.nan if line is None else line[1] for line in lines])
    return np.asarray(1 / (1 + np.exp(-(slopes[labels] * log_odds_of(scores) + offsets[labels]))))
