"""The page of a search: one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recipes.figures import figure_text
from recipes.intended_use import INTENDED_USE
from recipes.report import wording
from recipes.report.inputs import scrub
from recipes.report.page import templates, write_text
from recipes.search import plots
from recipes.search.plan import SPACE_FILE, read_plan

PAGE = "search.html"
_OTHERS = {"dice": "Dice", "cpm": "CPM", "ap10": "AP at IoU 0.1", "ap50": "AP at IoU 0.5"}
"""Names of figures that classification does not have."""


def write_page(folder: Path, result: Mapping[str, Any]) -> Path:
    """Write ``search.html`` into the search's folder.

    Args:
        folder: The folder.
        result: What `recipes.search.results.found_result` returned.

    Raises:
        RunFolderError: The file cannot be written.
    """
    page = templates(autoescape=True).get_template("search.html.j2")
    return write_text(folder / PAGE, page.render(context(folder, result)))


def context(folder: Path, result: Mapping[str, Any]) -> dict[str, Any]:
    """Everything the template shows."""
    plan = read_plan(folder)
    done = [row for row in result["trials"] if row["state"] == "complete"]
    winner = result["winner"]
    best = winner["number"] if winner else -1
    higher = result["higher_is_better"]
    name = (wording.NAMES | _OTHERS).get(result["metric"], result["metric"])
    ranked = sorted(done, key=lambda row: (-1 if higher else 1) * row["value"])
    failed = [row for row in result["trials"] if row["error"]]
    return {
        "title": f"Settings for {plan.recipe.command}, searched by validation {name}",
        "banner": INTENDED_USE,
        "metric": name,
        "tiles": _tiles(result),
        "winner": winner,
        "winner_rows": _values(winner["values"]) if winner else [],
        "figures": _figures(result),
        "width": 90 * (len(plan.space.axes) + 1),
        "parallel": plots.parallel(done, plan.space, name, higher=higher, best=best),
        "history": plots.history(done, name, higher=higher, baseline=result["baseline"]),
        "importance": plots.importances(result["importance"]),
        "ranked": [_row(row, best) for row in ranked[:20]],
        "n_done": len(done),
        "failed": [
            (row["number"], row["error"]["type"], scrub(row["error"]["message"])) for row in failed
        ],
        "space": (folder / SPACE_FILE).read_text(encoding="utf-8"),
        "sampler": {"random": "random search", "tpe": "tree-structured Parzen estimator"}[
            result["sampler"]
        ],
        "pruner": {"none": "none", "halving": "asynchronous successive halving"}[result["pruner"]],
        "seed": result["seed"],
        "command": scrub(winner["command"]) if winner else None,
        "notes": [scrub(note) for note in result["notes"]],
    }


def _tiles(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    cost, counts = result["cost"], result["counts"]
    return [
        ("Trials", str(cost["trials"])),
        ("Failed", str(counts["fail"])),
        ("Stopped early", str(counts["pruned"])),
        ("Time", wording.seconds(3600 * cost["hours"])),
        ("Looks at validation", str(cost["validation_looks"])),
    ]


def _figures(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The winner's figures, from the one that flatters most to the one to quote."""
    winner, metric = result["winner"], result["metric"]
    if winner is None:
        return []
    rows = [("On validation, which chose it", figure_text(winner["validation"]))]
    if result["optimism"]:
        rows.append(
            ("The same, the choice among trials allowed for",
             figure_text(result["optimism"]["corrected"]))
        )  # fmt: skip
    if result["baseline"] is not None:
        rows.append(("The plain configuration on validation", f"{result['baseline']:.3f}"))
    figure = winner["test"]
    if figure is not None and winner["part"] == "test":
        for key in _place(metric, figure):
            figure = figure[key]
        rows.append((f"On the test part (n = {winner['n_test']})", figure_text(figure)))
    return rows


def _place(metric: str, figures: Mapping[str, Any]) -> tuple[str, ...]:
    return (metric,) if metric in figures and "value" in figures[metric] else ("mean", metric)


def _values(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    if not values:
        return [("all keys", "as given: no trial was better than the plain configuration")]
    return [(key, _short(value)) for key, value in values.items()]


def _row(row: Mapping[str, Any], best: int) -> dict[str, Any]:
    low, high = row["interval"] or (None, None)
    values = ", ".join(f"{k.rsplit('.', 1)[-1]} {_short(v)}" for k, v in row["values"].items())
    return {
        "number": row["number"],
        "best": row["number"] == best,
        "figure": figure_text({"value": row["value"], "low": low, "high": high}),
        "seconds": wording.seconds(float(row["seconds"] or 0.0)),
        "shown": values or "the plain configuration",
    }


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)
