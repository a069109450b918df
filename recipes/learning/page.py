"""The page of a learning curve: one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from recipes.figures import figure_text
from recipes.intended_use import INTENDED_USE
from recipes.report import wording
from recipes.report.images import PALETTE, draw
from recipes.report.inputs import scrub
from recipes.report.page import templates, write_text

PAGE = "learning.html"


def write_page(folder: Path, result: Mapping[str, Any]) -> Path:
    """Write ``learning.html``.

    Args:
        folder: The curve's folder.
        result: What `recipes.learning.curve.assemble` returned.

    Raises:
        RunFolderError: The file cannot be written.
    """
    page = templates(autoescape=True).get_template("learning.html.j2")
    return write_text(folder / PAGE, page.render(context(result)))


def shown_name(weights: str) -> str:
    """Weights in words."""
    return "from scratch" if weights == "none" else weights


def context(result: Mapping[str, Any]) -> dict[str, Any]:
    """Everything the template shows."""
    metric = wording.NAMES[result["metric"]]
    rows = [
        {
            "weights": shown_name(row["weights"]),
            "patients": row["patients"],
            "repeats": row["repeats"],
            "figure": figure_text(row["figure"]),
            "difference": "" if row["difference"] is None else figure_text(row["difference"]),
        }
        for row in result["rows"]
    ]
    ahead = [
        (shown_name(name), size, one.get("refused") or figure_text(one))
        for name, law in result["law"].items()
        for size, one in law.get("at", {}).items()
    ]
    part = {"test": "test part", "val": "validation part"}[result["part"]]
    folds = f"{result['folds']} folds" if result["folds"] else "the same scored cases throughout"
    return {
        "title": f"{metric} against the number of training patients",
        "summary": f"{result['backbone']} · {part}, {result['n']} cases · {folds}",
        "banner": INTENDED_USE,
        "metric": metric,
        "plot": plot(result),
        "first": shown_name(result["weights"][0]),
        "rows": rows,
        "ahead": ahead,
        "failed": [
            (shown_name(row["weights"]), row["patients"], row["repeat"], scrub(row["message"]))
            for row in result["failed"]
        ],
        "notes": [scrub(note) for note in result["notes"]],
    }


def plot(result: Mapping[str, Any]) -> str:
    """The curves with their bands, single repeats as dots, the fitted laws dashed."""

    def paint(axes: npt.NDArray[Any]) -> None:
        ax = axes[0][0]
        sizes: set[int] = set()
        for name, colour in zip(result["weights"], PALETTE * 4, strict=False):
            own = [row for row in result["rows"] if row["weights"] == name]
            if own:
                sizes |= {row["patients"] for row in own}
                _curve(ax, own, shown_name(name), colour)
            line = result["law"].get(name, {}).get("line")
            if line:
                ax.plot(line["n"], line["value"], color=colour, lw=1.1, ls=(0, (4, 3)))
                beyond = np.array(line["n"]) >= max(row["patients"] for row in own)
                n, low, high = (np.array(line[k])[beyond] for k in ("n", "low", "high"))
                ax.fill_between(n, low, high, color=colour, alpha=0.08, lw=0)
        _axis(ax, sorted(sizes), result)

    return draw((8.2, 4.4), paint)


def _curve(ax: Any, rows: list[dict[str, Any]], label: str, colour: str) -> None:
    x = np.array([row["patients"] for row in rows], float)
    value, low, high = (
        np.array([np.nan if row["figure"][k] is None else row["figure"][k] for row in rows])
        for k in ("value", "low", "high")
    )
    ax.fill_between(x, low, high, color=colour, alpha=0.18, lw=0)
    ax.plot(x, value, "o-", color=colour, lw=1.9, ms=5, label=label)
    for row in rows:
        ax.plot(
            [row["patients"]] * len(row["each"]), row["each"], ".", color=colour, ms=4, alpha=0.5
        )


def _axis(ax: Any, sizes: list[int], result: Mapping[str, Any]) -> None:
    from matplotlib.ticker import NullLocator

    ahead = {int(n) for law in result["law"].values() for n in law.get("at", {})}
    ticks = sorted({*sizes, *ahead})
    ax.set_xscale("log")
    ax.set_xticks(ticks, [str(n) for n in ticks])
    ax.xaxis.set_minor_locator(NullLocator())
    name = wording.NAMES[result["metric"]]
    ax.set(xlabel="Training patients (logarithmic axis)", ylabel=name)
    ax.legend(loc="best", title="Training starts from", title_fontsize=8)
