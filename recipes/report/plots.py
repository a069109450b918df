"""Figures of the report, each returned as a data URI."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from recipes.evaluation.calibration import reliability_bins
from recipes.evaluation.metrics import pr_points, roc_points
from recipes.report.images import BLUE, GREEN, GREY, INK, ORANGE, PALETTE, draw, draw_stack
from recipes.report.inputs import ReportInputs


def curves(inputs: ReportInputs) -> str | None:
    """ROC and precision-recall curves, the operating point marked."""
    columns = _columns(inputs)
    if not columns:
        return None

    def paint(axes: npt.NDArray[Any]) -> None:
        roc, pr = axes[0]
        _square(roc, "1 − specificity (false positive rate)", "Sensitivity", "ROC curve")
        _square(pr, "Recall (sensitivity)", "Precision (PPV)", "Precision-recall curve")
        roc.plot([0, 1], [0, 1], color=GREY, lw=1, ls=(0, (4, 3)))
        many = len(columns) > len(PALETTE)
        for i, k in enumerate(columns):
            y, p = _column(inputs, k)
            colour = GREY if many else PALETTE[0 if len(columns) == 1 else i]
            look = {"color": colour, "lw": 1.0 if many else 1.8, "alpha": 0.7 if many else 1.0}
            fpr, tpr, _ = roc_points(y, p)
            recall, precision, _ = pr_points(y, p)
            one = len(columns) == 1 and inputs.positive_index is not None
            name = None if one or many else _short(inputs.class_names[k])
            roc.plot(fpr, tpr, label=name, **look)
            pr.step(
                np.concatenate([[0.0], recall]),
                np.concatenate([precision[:1], precision]),
                where="pre",
                **look,
            )
            if len(columns) == 1:
                pr.axhline(float(y.mean()), color=GREY, lw=1, ls=(0, (4, 3)))
                _below(pr, float(y.mean()), f"share of positive cases {y.mean():.2f}")
        _mark_operating_point(inputs, roc, pr)
        if roc.get_legend_handles_labels()[1]:
            roc.legend(loc="lower right")
        roc.text(0.52, 0.47, "chance", color="#5B626B", fontsize=8, rotation=45, va="top")

    return draw((9.4, 4.5), paint, 1, 1)


def _mark_operating_point(inputs: ReportInputs, roc: Axes, pr: Axes) -> None:
    """Operating point with the intervals of its sensitivity and specificity."""
    metrics = inputs.metrics
    point = {
        name: metrics.get(f"{name}_op") or {} for name in ("sensitivity", "specificity", "ppv")
    }
    sens, spec, ppv = (point[name].get("value") for name in ("sensitivity", "specificity", "ppv"))
    if inputs.threshold is None or sens is None or spec is None:
        return
    look: dict[str, Any] = {"color": ORANGE, "zorder": 5, "ms": 7, "fmt": "o", "lw": 1.4}
    name = f"operating point (≥ {inputs.threshold:.3g})"
    roc.errorbar(
        [1 - spec],
        [sens],
        xerr=_whisker(point["specificity"], flip=True),
        yerr=_whisker(point["sensitivity"]),
        label=name,
        **look,
    )
    if ppv is not None:
        pr.errorbar(
            [sens],
            [ppv],
            xerr=_whisker(point["sensitivity"]),
            yerr=_whisker(point["ppv"]),
            **look,
        )


def _whisker(entry: Mapping[str, Any], *, flip: bool = False) -> list[list[float]] | None:
    value, low, high = (entry.get(name) for name in ("value", "low", "high"))
    if value is None or low is None or high is None:
        return None
    down, up = max(value - low, 0.0), max(high - value, 0.0)
    return [[up], [down]] if flip else [[down], [up]]


def reliability(inputs: ReportInputs) -> tuple[str, str] | None:
    """Reliability diagram with the number of cases per bin; and what its axes mean."""
    y, p, xlabel, ylabel = reliability_data(inputs)
    if len(y) == 0:
        return None
    bins = reliability_bins(y, p)

    def paint(axes: npt.NDArray[Any]) -> None:
        top, bottom = axes[0][0], axes[1][0]
        _square(top, "", ylabel, "Reliability diagram")
        top.plot([0, 1], [0, 1], color=GREY, lw=1, ls=(0, (4, 3)))
        observed = np.array([b["observed"] for b in bins])
        n = np.array([b["n"] for b in bins])
        low, high = _wilson(observed, n)
        top.errorbar(
            [b["predicted"] for b in bins],
            observed,
            yerr=np.maximum([observed - low, high - observed], 0.0),
            fmt="o",
            color=BLUE,
            ms=5,
            elinewidth=1.1,
        )
        top.plot([b["predicted"] for b in bins], observed, color=BLUE, lw=1.2, alpha=0.4)
        centres = [(b["low"] + b["high"]) / 2 for b in bins]
        bars = bottom.bar(centres, n, width=[0.94 * (b["high"] - b["low"]) for b in bins])
        for bar in bars:
            bar.set_color("#A9C7DF")
        bottom.bar_label(bars, labels=[str(v) for v in n], fontsize=7, padding=1)
        bottom.set(xlim=(-0.02, 1.02), ylim=(0, 1.18 * n.max()), xlabel=xlabel, ylabel="Cases")
        bottom.grid(visible=False)
        bottom.yaxis.set_major_locator(_few(3))

    uri = draw_stack((4.7, 5.7), paint, (3.2, 1))
    return uri, f"{xlabel}; {ylabel.lower()}"


def reliability_data(
    inputs: ReportInputs,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], str, str]:
    """Truth, probability and axis labels of the reliability diagram."""
    k = inputs.positive_index
    if k is None and inputs.task == "single" and len(inputs.class_names) == 2:
        k = 1
    if k is not None:
        y, p = _column(inputs, k)
        name = _short(inputs.class_names[k])
        return y, p, f"Predicted probability of {name}", f"Observed share of {name}"
    if inputs.task == "multilabel":
        known = np.isfinite(inputs.truth)
        return (
            inputs.truth[known],
            np.asarray(inputs.prob, dtype=np.float64)[known],
            "Predicted probability (all labels pooled)",
            "Observed share",
        )
    right = np.argmax(inputs.prob, axis=1) == np.asarray(inputs.y)
    p = np.asarray(inputs.prob, dtype=np.float64).max(axis=1)
    return right.astype(np.float64), p, "Probability of the first choice", "Share answered right"


def confusion_map(matrix: Sequence[Sequence[int]], names: Sequence[str]) -> str:
    """Confusion matrix of many classes as a heat map of row shares."""
    cells = np.asarray(matrix, dtype=np.float64)
    shares = cells / np.maximum(cells.sum(axis=1, keepdims=True), 1)
    side = min(10.5, 2.5 + 0.26 * len(names))

    def paint(axes: npt.NDArray[Any]) -> None:
        ax = axes[0][0]
        ax.grid(visible=False)
        image = ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        short = [_short(name, 22) for name in names]
        ax.set_xticks(range(len(names)), short, rotation=90, fontsize=6.5)
        ax.set_yticks(range(len(names)), short, fontsize=6.5)
        ax.set(xlabel="Answered", ylabel="True class")
        ax.figure.colorbar(image, ax=ax, shrink=0.6, label="Share of the true class")

    return draw((side + 1, side), paint)


def training_curves(inputs: ReportInputs) -> str | None:
    """Loss, accuracy and validation AUC by epoch, one row per ensemble member."""
    members = sorted({_member(row) for row in inputs.history}, key=str)
    if not members:
        return None
    has_auc = any(row.get("val_auc") is not None for row in inputs.history)
    panels = [("loss", "Loss"), ("accuracy", "Accuracy")] + ([("auc", "AUC")] if has_auc else [])

    def paint(axes: npt.NDArray[Any]) -> None:
        for r, member in enumerate(members):
            rows = [row for row in inputs.history if _member(row) == member]
            for ax, (key, title) in zip(axes[r], panels, strict=True):
                _training_panel(ax, rows, key, inputs.stopped)
                heading = title if len(members) == 1 else f"{title}, network {_count(member)}"
                ax.set_title(heading)
                if r == len(members) - 1:
                    ax.set_xlabel("Epoch")
        axes[0][0].legend(loc="best")

    size = (9.4, 0.5 + (2.7 if len(members) == 1 else 2.3) * len(members))
    return draw(size, paint, *[1] * len(panels), rows=len(members))


def _training_panel(
    ax: Axes, rows: Sequence[Mapping[str, Any]], key: str, stopped: Mapping[Any, Any]
) -> None:
    x = np.arange(1, len(rows) + 1)
    marker = "o" if len(rows) <= 3 else None
    for name, colour, legend in ((key, GREY, "training"), (f"val_{key}", BLUE, "validation")):
        values = np.array([_float(row.get(name)) for row in rows])
        if np.isfinite(values).any():
            ax.plot(x, values, color=colour, lw=1.7, label=legend, marker=marker, ms=4)
    phases = [str(row.get("phase", "")) for row in rows]
    starts = [i for i in range(len(rows)) if i == 0 or phases[i] != phases[i - 1]]
    for i in starts:
        if i:
            ax.axvline(i + 0.5, color=INK, lw=0.8)
        if len(starts) > 1:
            ax.annotate(
                phases[i],
                (i + 0.5 if i else 0.6, 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(3, -3),
                textcoords="offset points",
                fontsize=7.5,
                color="#5B626B",
                va="top",
            )
    best = [i + 1 for i, row in enumerate(rows) if row.get("best")]
    for n, b in enumerate(best):
        value = _float(rows[b - 1].get(f"val_{key}"))
        ax.plot([b], [value], "D", color=GREEN, ms=6, zorder=5, label=None if n else "weights kept")
    for n, s in enumerate(stop_positions(rows, stopped)):
        label = None if n else "early stopping"
        ax.axvline(s, color=ORANGE, lw=1.3, ls=(0, (2, 2)), label=label)
    ax.set_xlim(0.5, len(rows) + 0.5)
    ax.xaxis.set_major_locator(_few(8))


def stop_positions(rows: Sequence[Mapping[str, Any]], stopped: Mapping[Any, Any]) -> list[int]:
    """Where, counted over all phases from 1, early stopping struck in one member's rows."""
    if not rows:
        return []
    member = _member(rows[0])
    entry = stopped.get(member, stopped.get(str(member)))
    if entry is None:
        return []
    last = rows[-1].get("phase")
    wanted = dict(entry) if isinstance(entry, Mapping) else {last: entry}
    return [
        i + 1
        for i, row in enumerate(rows)
        if row.get("phase") in wanted and row.get("epoch") == wanted[row.get("phase")]
    ]


def _columns(inputs: ReportInputs) -> list[int]:
    """Columns with both values, the positive one only where it is named."""
    wanted = range(len(inputs.class_names))
    if inputs.positive_index is not None:
        wanted = range(inputs.positive_index, inputs.positive_index + 1)
    elif inputs.task == "single" and len(inputs.class_names) == 2:
        wanted = range(1, 2)
    return [k for k in wanted if 0 < _column(inputs, k)[0].sum() < len(_column(inputs, k)[0])]


def _column(
    inputs: ReportInputs, k: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    truth = inputs.truth[:, k]
    known = np.isfinite(truth)
    return truth[known], np.asarray(inputs.prob, dtype=np.float64)[known, k]


def _wilson(
    share: npt.NDArray[np.float64], n: npt.NDArray[Any]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """95% interval of a share (Wilson 1927)."""
    z = 1.959964
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return middle - half, middle + half


def _square(ax: Axes, xlabel: str, ylabel: str, title: str) -> None:
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel=xlabel, ylabel=ylabel, title=title)
    ticks = np.linspace(0, 1, 6)
    ax.set_xticks(ticks)
    ax.set_yticks(ticks)


def _below(ax: Axes, height: float, text: str) -> None:
    under = height > 0.15
    ax.annotate(
        text,
        (0.02, height),
        xytext=(0, -3 if under else 3),
        textcoords="offset points",
        va="top" if under else "bottom",
        fontsize=8,
        color="#5B626B",
    )


def _few(ticks: int) -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(ticks, integer=True, min_n_ticks=1)


def _member(row: Mapping[str, Any]) -> Any:
    return row.get("member", 0)


def _count(member: Any) -> Any:
    return member + 1 if isinstance(member, int) else member


def _short(name: str, most: int = 26) -> str:
    flat = " ".join(str(name).split())
    return flat if len(flat) <= most else flat[: most - 1] + "…"


def _float(value: Any) -> float:
    return float("nan") if value is None else float(value)
