"""Drawings of a search: every trial as a line, how it went, and what mattered."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from recipes.report.images import BLUE, GREY, INK, ORANGE, draw
from recipes.search.space import Choices, Range, Space

SHORT = 18
"""Letters of a choice that are shown."""


def parallel(
    rows: Sequence[Mapping[str, Any]], space: Space, metric: str, *, higher: bool, best: int
) -> str | None:
    """Parallel coordinates: an axis for every key and one for the objective, a line for each trial.

    Args:
        rows: Finished trials with ``number``, ``value`` and ``values``.
        space: The space.
        metric: Name of the objective.
        higher: Whether more is better.
        best: Number of the winner, drawn on top.

    Returns:
        A data URI; None without a trial that has values.
    """
    drawn = [row for row in rows if row["values"]]
    if not drawn:
        return None
    keys = list(space.axes)
    values = np.array([float(row["value"]) for row in drawn])
    low, high = float(values.min()), float(values.max())
    span = (high - low) or 1.0
    heights = np.array(
        [[_height(space.axes[key], row["values"][key]) for key in keys] for row in drawn]
    )
    heights = np.column_stack([heights, (values - low) / span])

    def paint(axes: npt.NDArray[Any]) -> None:
        from matplotlib import colormaps

        ax = axes[0][0]
        good = (values - low) / span if higher else (high - values) / span
        for k in np.argsort(good):
            row = drawn[k]
            won = row["number"] == best
            ax.plot(
                range(len(keys) + 1),
                heights[k],
                color=ORANGE if won else colormaps["viridis_r"](0.15 + 0.85 * good[k]),
                lw=2.6 if won else 1.1,
                alpha=1.0 if won else 0.75,
                zorder=4 if won else 2,
            )
        for i, key in enumerate(keys):
            _axis(ax, i, _ticks(space.axes[key]))
        _axis(ax, len(keys), [(t, f"{low + t * span:.3f}") for t in (0.0, 0.25, 0.5, 0.75, 1.0)])
        names = [_wrapped(key) for key in keys] + [f"validation\n{metric}"]
        ax.set_xticks(range(len(keys) + 1), names, fontsize=8)
        ax.set(xlim=(-0.35, len(keys) + 0.55), ylim=(-0.04, 1.04), yticks=[])
        ax.grid(visible=False)
        ax.spines["left"].set_visible(False)
        ax.spines["bottom"].set_visible(False)
        ax.tick_params(axis="x", length=0)

    return draw((max(7.0, 0.95 * (len(keys) + 1)), 4.8), paint)


def _axis(ax: Any, x: float, ticks: Sequence[tuple[float, str]]) -> None:
    ax.axvline(x, color=GREY, lw=0.9, zorder=1)
    for height, text in ticks:
        ax.plot([x - 0.03, x + 0.03], [height, height], color=GREY, lw=0.9, zorder=1)
        ax.annotate(
            text,
            (x, height),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=INK,
            zorder=6,
            bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.6},
        )


def _height(axis: Choices | Range, value: Any) -> float:
    if isinstance(axis, Choices):
        texts = [json.dumps(one) for one in axis.values]
        return texts.index(json.dumps(value)) / (len(texts) - 1)
    ends = np.array([axis.low, value, axis.high], float)
    low, at, high = np.log(ends) if axis.log else ends
    return float((at - low) / (high - low))


def _ticks(axis: Choices | Range) -> list[tuple[float, str]]:
    if isinstance(axis, Choices):
        last = len(axis.values) - 1
        return [(i / last, _text(value)) for i, value in enumerate(axis.values)]
    places = (0.0, 0.5, 1.0)
    if axis.log:
        values = [float(axis.low * (axis.high / axis.low) ** t) for t in places]
    else:
        values = [float(axis.low + t * (axis.high - axis.low)) for t in places]
    return [(t, f"{value:.3g}") for t, value in zip(places, values, strict=True)]


def _text(value: Any) -> str:
    text = "+".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= SHORT else text[: SHORT - 1] + "…"


def _wrapped(key: str) -> str:
    words = key.replace(".", ".\n").replace("_", "_\n")
    return words if len(key) > 12 else key


def history(
    rows: Sequence[Mapping[str, Any]], metric: str, *, higher: bool, baseline: float | None
) -> str | None:
    """The objective of every finished trial in order, the best so far, and the plain configuration.

    Args:
        rows: Finished trials.
        metric: Name of the objective.
        higher: Whether more is better.
        baseline: Value of the plain configuration.
    """
    if not rows:
        return None
    x = np.array([row["number"] for row in rows])
    y = np.array([float(row["value"]) for row in rows])
    best = np.maximum.accumulate(y) if higher else np.minimum.accumulate(y)

    def paint(axes: npt.NDArray[Any]) -> None:
        from matplotlib.ticker import MaxNLocator

        ax = axes[0][0]
        ends = [row["interval"] or (v, v) for row, v in zip(rows, y, strict=True)]
        whisker = np.abs(np.array(ends).T - y)
        ax.errorbar(
            x, y, yerr=whisker, fmt="o", color=BLUE, ms=4.5, elinewidth=0.8, alpha=0.75,
            label="trial, with its 95% interval",
        )  # fmt: skip
        ax.step(x, best, where="post", color=ORANGE, lw=1.7, label="best so far")
        if baseline is not None:
            ax.axhline(baseline, color=INK, lw=1.1, ls=(0, (4, 3)), label="plain configuration")
        ax.set(xlabel="Trial", ylabel=f"Validation {metric}")
        ax.xaxis.set_major_locator(MaxNLocator(10, integer=True))
        ax.legend(loc="best")

    return draw((7.4, 3.4), paint)


def importances(shares: Mapping[str, float] | None) -> str | None:
    """Bars of the keys' importances, the largest on top.

    Args:
        shares: Key to share of the variance.
    """
    if not shares:
        return None
    items = sorted(shares.items(), key=lambda item: item[1])

    def paint(axes: npt.NDArray[Any]) -> None:
        ax = axes[0][0]
        bars = ax.barh([key for key, _ in items], [share for _, share in items], color="#7FB2D3")
        ax.bar_label(bars, labels=[f"{share:.0%}" for _, share in items], padding=3, fontsize=8)
        ax.set(xlim=(0, 1.12 * max(share for _, share in items)), xlabel="Share of the variance")
        ax.grid(visible=False, axis="y")

    return draw((7.4, 0.9 + 0.27 * len(items)), paint)
