"""The report's section on how sure the model is: rows and one figure, from plain values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

from recipes.report import wording
from recipes.report.images import BLUE, GREY, PALETTE, draw
from recipes.report.inputs import scrub

Row = dict[str, Any]
_CONFORMAL = {"lac": "least ambiguous sets (1 − p)", "aps": "adaptive prediction sets"}
_SIDES = ("before", "after")
_OUTSIDE = {
    "mahalanobis": "Mahalanobis distance to the nearest class mean of the training cases",
    "neighbours": "distance to the nearest training cases",
}


def section(found: Mapping[str, Any] | None) -> Row | None:
    """Everything the section shows; None for a run without it.

    Args:
        found: What `uncertainty.summary.part_figures` returned.
    """
    if not found:
        return None
    return {
        "n": found["n"],
        "crossed": found["cross_fitted"],
        "temperature": None
        if found["temperature"] is None
        else wording.number(found["temperature"]),
        "on": _on(found.get("calibrated_on")),
        "again": found.get("again"),
        "labels": _labels(found),
        "calibration": _calibration(found),
        "sets": _sets(found.get("prediction_sets")),
        "outside": _outside(found["outside"]),
        "selective": _selective(found.get("selective")),
        "curve": risk_curve(_curves(found)),
        "notes": [scrub(note) for note in found.get("notes") or ()],
    }


def _entry(figure: Mapping[str, Any], *, percent: bool = False) -> dict[str, str]:
    if not percent or figure.get("value") is None:
        return {
            "value": wording.number(figure.get("value")),
            "interval": wording.interval(dict(figure)),
        }
    ends = [figure.get(key) for key in ("value", "low", "high")]
    value, low, high = (f"{v:.1%}" if v is not None else None for v in ends)
    return {"value": str(value), "interval": f"{low} to {high}" if low and high else ""}


def _calibration(found: Mapping[str, Any]) -> list[Row]:
    rows = []
    for name, sides in (found.get("calibration") or {}).items():
        rows.append(
            {
                "name": wording.NAMES.get(name, wording.label(name)),
                "before": _entry(sides["before"]),
                "after": _entry(sides["after"]),
            }
        )
    return rows


def _on(found: Mapping[str, Any] | None) -> str | None:
    """What was calibrated on, in words."""
    if found is None:
        return None
    patients = f" of {found['n_groups']} patients" if found["unit"] == "patient" else ""
    return f"{found['n']} cases{patients}"


def _labels(found: Mapping[str, Any]) -> Row | None:
    """Tables of labels that exclude no other: calibration, and sets of two answers."""
    labels: Mapping[str, Mapping[str, Any]] | None = found.get("labels")
    if labels is None:
        return None
    sets = found["prediction_sets"]
    nothing: Mapping[str, Any] = {"value": None, "low": None, "high": None}
    shares = ("coverage_present", "coverage_absent", "single", "all", "empty")
    rows = []
    for name, row in labels.items():
        sides = row.get("calibration") or {}
        rows.append(
            {
                "name": name,
                "n": row["n"],
                "present": row["n_present"],
                "temperature": wording.number(row["temperature"]),
                "on": row["calibrated_on"],
                "figures": [
                    {side: _entry(sides.get(key, {}).get(side, nothing)) for side in _SIDES}
                    for key in ("log_loss", "ece")
                ],
                "sets": [_entry(row.get(key, nothing), percent=True) for key in shares],
                "aurc": _entry(row["selective"]["aurc"] if "selective" in row else nothing),
            }
        )
    return {
        "stated": f"{sets['stated_coverage']:.0%}",
        "method": _CONFORMAL[sets["method"]],
        "rows": rows,
    }


def _curves(found: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Risk-coverage curves by name: one, or one for each label of which cases are known."""
    if "labels" in found:
        labels = found["labels"].items()
        return {name: row["selective"]["curve"] for name, row in labels if "selective" in row}
    return {"": found["selective"]["curve"]} if "selective" in found else {}


def _sets(found: Mapping[str, Any] | None) -> Row | None:
    if found is None or "coverage" not in found:
        return None
    names = {
        "coverage": "Sets that hold the true class",
        "single": "Sets of one class",
        "empty": "Empty sets: no class fits well enough",
        "all": "Sets of all classes",
    }
    rows = [{"name": name, **_entry(found[key], percent=True)} for key, name in names.items()]
    rows.append({"name": "Classes in a set, on average", **_entry(found["mean_size"])})
    return {
        "stated": f"{found['stated_coverage']:.0%}",
        "method": _CONFORMAL[found["method"]],
        "per_class": found["per_class"],
        "rows": rows,
        "classes": [
            {
                "name": name,
                "n": row["n"],
                "coverage": "–" if row["coverage"] is None else f"{row['coverage']:.1%}",
            }
            for name, row in found["coverage_by_class"].items()
        ],
    }


def _outside(found: Mapping[str, Any]) -> Row:
    return {
        "method": _OUTSIDE[found["method"]],
        "stated": f"{found['stated_false_alarms']:.0%}",
        "threshold": None if found["threshold"] is None else wording.number(found["threshold"]),
        "flagged": _entry(found["flagged"], percent=True),
    }


def _selective(found: Mapping[str, Any] | None) -> list[Row]:
    if found is None:
        return []
    names = {
        "aurc": "Area under the risk-coverage curve (0 is best)",
        "excess_aurc": "Excess over the best possible order",
    }
    return [{"name": name, **_entry(found[key])} for key, name in names.items()]


def risk_curve(curves: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Errors left against the share of cases answered, as a data URI; None without a curve."""
    if not curves:
        return None

    def paint(axes: npt.NDArray[Any]) -> None:
        plot = axes[0][0]
        colours = PALETTE if len(curves) > 1 else (BLUE,)
        for place, (name, curve) in enumerate(curves.items()):
            style = {"color": colours[place % len(colours)], "lw": 1.8, "marker": "o", "ms": 3}
            plot.plot(curve["coverage"], curve["risk"], label=name, **style)
            if len(curves) == 1:
                plot.axhline(curve["risk"][-1], color=GREY, lw=1, ls=(0, (4, 3)))
        most = max(max(curve["risk"]) for curve in curves.values())
        plot.set(
            xlim=(0, 1.02),
            ylim=(0, max(1e-3, 1.15 * most)),
            xlabel="Share of cases answered, the surest first",
            ylabel="Errors among them",
            title="Risk and coverage",
        )
        if len(curves) > 1:
            plot.legend(fontsize=7, ncols=2)

    return draw((4.7, 3.4), paint, 1)
