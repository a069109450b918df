"""Scores of both stages as one, mixed as the validation part says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from recipes.detection.candidates import Found
from recipes.detection.scoring import Scan, marks_of_class
from recipes.evaluation.froc.curve import RATES, froc_curve, sensitivity_at
from recipes.evaluation.froc.hits import HitRule

Floats = npt.NDArray[np.float64]
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Shares of the second stage's log odds that are tried."""
_LEAST = 1e-7


def fused(found: Found, second: Floats, share: float) -> Found:
    """Candidates with mixed scores, the highest first.

    Args:
        found: The first stage's candidates.
        second: Log odds by the second stage.
        share: Of the second stage, 0 to 1; log odds are mixed.
    """
    first = np.clip(found.scores, _LEAST, 1 - _LEAST)
    odds = (1 - share) * np.log(first / (1 - first)) + share * second
    return found.rescored(1 / (1 + np.exp(-odds)))


def choose_share(
    scans: Sequence[Scan], second: Sequence[Floats], rule: HitRule, *, per: str
) -> tuple[float, dict[float, float]]:
    """The share with the highest mean sensitivity (CPM) on validation; of equals the smaller.

    Args:
        scans: Validation images with the first stage's candidates.
        second: Log odds of each.
        rule: When a candidate hits.
        per: What false positives are counted per.

    Returns:
        The share, and the CPM of every share that was tried.
    """
    tried = {}
    for share in SHARES:
        mixed = [
            replace(scan, found=fused(scan.found, odds, share))
            for scan, odds in zip(scans, second, strict=True)
        ]
        curve = froc_curve(marks_of_class(mixed, rule, None, per=per))
        tried[share] = float(sensitivity_at(curve, np.asarray(RATES)).mean())
    return max(SHARES, key=lambda share: (tried[share], -share)), tried
