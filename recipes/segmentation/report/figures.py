"""Drawings of a segmentation run: Dice by class, agreement of volumes, learning curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from recipes.report.images import BLUE, GREEN, GREY, INK, ORANGE, draw
from recipes.segmentation.report.overlays import colour

MOST_PANELS = 12
"""Classes with a panel of their own."""
COLUMNS = 3


def dice_plot(rows: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> str | None:
    """Dice of every case as a point, with the quartiles, one line per class."""
    values = [
        np.array([row["dice"] for row in rows if row["class"] == name and _known(row["dice"])])
        for name in classes
    ]
    if not any(len(v) for v in values):
        return None

    def paint(axes: npt.NDArray[Any]) -> None:
        ax = axes[0][0]
        scatter = np.random.default_rng(0)
        for k, found in enumerate(values):
            if len(found):
                ax.boxplot(
                    found,
                    positions=[k],
                    orientation="horizontal",
                    widths=0.6,
                    whis=(0, 100),
                    showfliers=False,
                    boxprops={"color": GREY},
                    whiskerprops={"color": GREY},
                    capprops={"color": GREY},
                    medianprops={"color": INK, "lw": 1.8},
                )
                height = k + scatter.uniform(-0.2, 0.2, len(found))
                ax.plot(found, height, "o", color=colour(k + 1), ms=4, alpha=0.65, mew=0)
        counts = [
            f"{_short(name)}\n{len(v)} cases" for name, v in zip(classes, values, strict=True)
        ]
        ax.set_yticks(range(len(classes)), counts)
        ax.set_ylim(len(classes) - 0.4, -0.6)
        ax.set(xlabel="Dice", xlim=(min(0.5, _floor(values)) - 0.02, 1.01))

    return draw((9.4, 1.0 + 0.62 * len(classes)), paint)


def agreement_plot(agreement: Mapping[str, Mapping[str, Any]], unit: str) -> str | None:
    """Bland-Altman plots: the difference of the volumes against their mean, one panel per class."""
    names = [name for name, found in agreement.items() if found["n"]][:MOST_PANELS]
    if not names:
        return None
    columns = min(COLUMNS, max(2, len(names)))
    rows = -(-len(names) // columns)

    def paint(axes: npt.NDArray[Any]) -> None:
        flat = axes.ravel()
        for ax, name in zip(flat, names, strict=False):
            _agreement_panel(ax, agreement[name])
            ax.set_title(_short(name))
            ax.set_xlabel(f"Mean of truth and prediction, {unit}")
        for ax in flat[len(names) :]:
            ax.set_axis_off()
        for row in axes:
            row[0].set_ylabel(f"Prediction − truth, {unit}")

    return draw((9.4, 0.3 + 3.0 * rows), paint, *[1] * columns, rows=rows)


def _agreement_panel(ax: Axes, found: Mapping[str, Any]) -> None:
    ax.axhline(0, color=GREY, lw=1)
    ax.plot(found["mean"], found["difference"], "o", color=BLUE, ms=4, alpha=0.7, mew=0)
    bias = found["bias"]
    if bias["low"] is not None and bias["high"] is not None:
        ax.axhspan(bias["low"], bias["high"], color=ORANGE, alpha=0.15, lw=0)
    lines = [("bias", bias["value"], "solid")]
    lines += [
        (f"{sign}1.96 SD", found[key], "dashed") for sign, key in (("+", "upper"), ("−", "lower"))
    ]
    for text, height, style in lines:
        if height is not None:
            ax.axhline(height, color=ORANGE, lw=1.3, ls=style)
            ax.annotate(
                text,
                (1.0, height),
                xycoords=("axes fraction", "data"),
                xytext=(-2, 2),
                textcoords="offset points",
                ha="right",
                fontsize=7.5,
                color="#5B626B",
            )
    ax.margins(0.08, 0.15)


def burden_plot(burden: Sequence[Mapping[str, Any]], unit: str, what: str) -> str | None:
    """Total predicted against total true volume or area, a point per patient."""
    truth = np.array([row["truth"] for row in burden])
    found = np.array([row["prediction"] for row in burden])
    if not len(truth):
        return None
    top = 1.06 * max(float(truth.max()), float(found.max())) or 1.0
    low = 0.0 if min(truth.min(), found.min()) < top / 3 else 0.94 * min(truth.min(), found.min())

    def paint(axes: npt.NDArray[Any]) -> None:
        ax = axes[0][0]
        ax.plot([low, top], [low, top], color=GREY, lw=1, ls=(0, (4, 3)))
        ax.plot(truth, found, "o", color=BLUE, ms=5, alpha=0.7, mew=0)
        ax.set(xlim=(low, top), ylim=(low, top), xlabel=f"True {what}, {unit}", aspect="equal")
        ax.set_ylabel(f"Predicted {what}, {unit}")

    return draw((4.7, 4.3), paint)


def learning_curves(
    history: Sequence[Mapping[str, Any]], classes: Sequence[str], stopped: Mapping[Any, Any]
) -> str | None:
    """Loss and validation Dice by round, one row of panels per network."""
    members = sorted({int(row["member"]) for row in history})
    if not members:
        return None

    def paint(axes: npt.NDArray[Any]) -> None:
        for r, member in enumerate(members):
            rows = [row for row in history if int(row["member"]) == member]
            _curve_row(axes[r], rows, classes)
            strike = stopped.get(member, stopped.get(str(member)))
            for ax, title in zip(axes[r], ("Loss", "Validation Dice"), strict=True):
                name = title if len(members) == 1 else f"{title}, network {member + 1}"
                ax.set(title=name, xlabel="Round", xlim=(0.5, len(rows) + 0.5))
                ax.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
                if strike is not None:
                    ax.axvline(int(strike), color=ORANGE, lw=1.3, ls=(0, (2, 2)))
        if axes[0][1].get_legend_handles_labels()[1]:
            axes[0][1].legend(loc="best")

    return draw((9.4, 0.4 + 2.9 * len(members)), paint, 1, 1, rows=len(members))


def _curve_row(
    axes: npt.NDArray[Any], rows: Sequence[Mapping[str, Any]], classes: Sequence[str]
) -> None:
    x = [int(row["epoch"]) for row in rows]
    marker = "o" if len(x) <= 3 else None
    axes[0].plot(x, [float(row["loss"]) for row in rows], color=GREY, lw=1.7, marker=marker, ms=4)
    for k, name in enumerate(classes[:MOST_PANELS]):
        if len(classes) > 1 and all(f"val_dice_{name}" in row for row in rows):
            y = [float(row[f"val_dice_{name}"]) for row in rows]
            axes[1].plot(x, y, color=colour(k + 1), lw=1, alpha=0.8, label=_short(name))
    dice = [float(row["val_dice"]) for row in rows]
    mean = "mean of the classes" if len(classes) > 1 else None
    axes[1].plot(x, dice, color=INK, lw=1.9, marker=marker, ms=4, label=mean)
    kept = [i for i, row in enumerate(rows) if row.get("best") in (True, "True")]
    for i in kept:
        axes[1].plot([x[i]], [dice[i]], "D", color=GREEN, ms=6, zorder=5, label="weights kept")


def _known(value: Any) -> bool:
    return isinstance(value, int | float) and bool(np.isfinite(value))


def _floor(values: Sequence[npt.NDArray[Any]]) -> float:
    return float(min(v.min() for v in values if len(v)))


def _short(name: str, most: int = 26) -> str:
    flat = " ".join(str(name).split())
    return flat if len(flat) <= most else flat[: most - 1] + "…"
