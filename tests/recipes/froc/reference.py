"""A slow free-response evaluation, written from the published rules, to compare with."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.metrics import roc_curve


def slow_points(
    n_scans: int,
    lesions: list[tuple[int, Any, float]],
    candidates: list[tuple[int, Any, float]],
    excluded: list[tuple[int, Any, float]] = [],  # noqa: B006
    most: int | None = None,
) -> tuple[Any, Any]:
    """False positives per scan and sensitivities, by way of scikit-learn's ROC curve."""
    truth: list[int] = []
    scores: list[float] = []
    missed = 0
    for scan in range(n_scans):
        here = [c for c in candidates if c[0] == scan]
        if most is not None:
            here = sorted(here, key=lambda c: -c[2])[:most]
        left = list(range(len(here)))
        for _, centre, radius in (one for one in lesions if one[0] == scan):
            hits = [k for k, c in enumerate(here) if np.linalg.norm(c[1] - centre) < radius]
            left = [k for k in left if k not in hits]
            if hits:
                truth.append(1)
                scores.append(max(here[k][2] for k in hits))
            else:
                missed += 1
        for _, centre, radius in (one for one in excluded if one[0] == scan):
            left = [k for k in left if not np.linalg.norm(here[k][1] - centre) < radius]
        truth += [0] * len(left)
        scores += [here[k][2] for k in left]
    fpr, tpr, _ = roc_curve(truth, scores, drop_intermediate=False)
    found, false = sum(truth), len(truth) - sum(truth)
    return fpr * false / n_scans, tpr * found / (found + missed)
