"""Selective prediction: how many errors are left when the least sure cases go to a reader."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from recipes.errors import RecipeError
from recipes.evaluation.bootstrap import percentile_interval, resamples

Array = npt.NDArray[np.float64]


def risk_coverage(wrong: npt.ArrayLike, confidence: npt.ArrayLike) -> tuple[Array, Array]:
    """Share of errors among the surest cases, for every number of them (Geifman 2017).

    arXiv:1705.08500, equations 1 and 2. Cases of equal confidence come in random order; the risk
    is the expected one.

    Args:
        wrong: ``(n,)`` 1 where the answer is wrong, else 0.
        confidence: ``(n,)`` the answer's probability, or any score that is larger when surer.

    Returns:
        Coverage ``1/n, 2/n, ... 1`` and the risk at each, both ``(n,)``.

    Raises:
        RecipeError: Shapes that differ, no case, or a confidence that is not finite.
    """
    loss, sure = np.asarray(wrong, "float64"), np.asarray(confidence, "float64")
    if loss.shape != sure.shape or loss.ndim != 1 or len(loss) == 0:
        raise RecipeError(f"errors {loss.shape} and confidence {sure.shape} must both be (n,)")
    if not np.isfinite(sure).all():
        raise RecipeError("a confidence is not finite; cases cannot be ranked by it")
    order = np.argsort(-sure, kind="stable")
    ranked = sure[order]
    ends = np.flatnonzero(np.concatenate([ranked[1:] != ranked[:-1], [True]])) + 1.0
    total = np.cumsum(loss[order])[ends.astype("int64") - 1]
    counts = np.arange(1, len(loss) + 1, dtype="float64")
    errors = np.interp(counts, np.concatenate([[0.0], ends]), np.concatenate([[0.0], total]))
    return counts / len(loss), np.asarray(errors / counts)


def aurc(wrong: npt.ArrayLike, confidence: npt.ArrayLike) -> float:
    """Area under the risk-coverage curve: the mean risk over all coverages; 0 is best.

    Args:
        wrong: ``(n,)``, see `risk_coverage`.
        confidence: ``(n,)``.
    """
    return float(risk_coverage(wrong, confidence)[1].mean())


def best_aurc(wrong: npt.ArrayLike) -> float:
    """The area if every error were less sure than every right answer: the least possible."""
    loss = np.asarray(wrong, "float64")
    return aurc(loss, -loss)


def selective_figures(
    wrong: npt.NDArray[Any],
    confidence: npt.NDArray[Any],
    group_of: npt.NDArray[np.int64],
    *,
    n_boot: int,
    seed: int,
    level: float = 0.95,
) -> dict[str, Any]:
    """`aurc` with its interval over patients, its excess over the best order, and the curve.

    Args:
        wrong: ``(n,)``.
        confidence: ``(n,)``.
        group_of: ``(n,)`` number of each case's patient.
        n_boot: Bootstrap replicates.
        seed: Their seed.
        level: Coverage of the interval.

    Returns:
        ``aurc`` and ``excess_aurc`` as value, low, high (excess over the best possible: Geifman
        2019, arXiv:1805.08206), and ``curve``: coverage and risk at 20 steps.
    """
    point = aurc(wrong, confidence)
    excess = point - best_aurc(wrong)
    draws, gaps = [], []
    if n_boot > 0 and int(group_of.max()) > 0:
        for chunk in resamples(group_of, n_boot, seed=seed):
            for weights in chunk:
                rows = np.repeat(np.arange(len(wrong)), weights.astype("int64"))
                draws.append(aurc(wrong[rows], confidence[rows]))
                gaps.append(draws[-1] - best_aurc(wrong[rows]))
    coverage, risk = risk_coverage(wrong, confidence)
    steps = np.unique(np.ceil(np.arange(1, 21) / 20 * len(risk)).astype("int64")) - 1
    return {
        "aurc": interval(point, np.asarray(draws), level),
        "excess_aurc": interval(excess, np.asarray(gaps), level),
        "curve": {
            "coverage": [float(v) for v in coverage[steps]],
            "risk": [float(v) for v in risk[steps]],
        },
    }


def interval(value: float, draws: Array, level: float) -> dict[str, float | None]:
    """``{"value", "low", "high"}`` from bootstrap replicates; None where undefined."""
    low, high, _ = percentile_interval(np.asarray(draws, "float64"), level)
    figures = {"value": value, "low": low, "high": high}
    return {name: float(v) if np.isfinite(v) else None for name, v in figures.items()}
