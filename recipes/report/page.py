"""Write the report: one HTML file that a browser opens offline."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from recipes.errors import RunFolderError
from recipes.report import beside, cases, plots, sureness, view, wording
from recipes.report.images import PALETTE
from recipes.report.inputs import ReportInputs, scrub

_MOST_IN_TABLE = 15
"""Classes up to which the confusion matrix is a table; above it is a heat map."""


def write_report(path: Path, inputs: ReportInputs) -> Path:
    """Write the page, whole or not at all.

    The file holds its style and pictures and refers to nothing outside itself; its content
    security policy forbids the browser to load or run anything. All text is escaped.

    Args:
        path: Where to write, replaced if it exists.
        inputs: Contents.

    Returns:
        `path`.

    Raises:
        RunFolderError: The file cannot be written.
    """
    return write_text(path, render(inputs))


def render(inputs: ReportInputs) -> str:
    """The page as text."""
    return templates(autoescape=True).get_template("report.html.j2").render(context(inputs))


def templates(*, autoescape: bool) -> Environment:
    """The package's templates; a name that a template misspells is an error.

    Args:
        autoescape: Whether values are escaped for HTML.
    """
    return Environment(
        loader=PackageLoader("recipes.report", "templates"),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def context(inputs: ReportInputs) -> dict[str, Any]:
    """Everything the template shows."""
    metrics = inputs.metrics
    reliability = plots.reliability(inputs)
    unit = metrics.get("unit") or inputs.data.get("unit") or "image"
    mistakes = cases.mistakes(inputs)
    return {
        "title": scrub(inputs.title),
        "banner": inputs.intended_use,
        "summary": view.summary(inputs, unit),
        "seed": inputs.seed,
        "part": view.part_name(inputs.part),
        "binary": inputs.positive_index is not None,
        "multilabel": inputs.task == "multilabel",
        "class_names": list(inputs.class_names),
        "unit": unit,
        "level": f"{metrics.get('level', 0.95):.0%}",
        "warnings": view.warnings(inputs),
        "headline": view.headline(inputs),
        "sections": view.metric_sections(inputs),
        "with_validation": bool(inputs.val_metrics) and inputs.part != "val",
        "per_class": view.per_class(inputs),
        "operating": view.operating_points(inputs),
        "confusions": confusions(inputs),
        "curves": plots.curves(inputs),
        "reliability": reliability,
        "calibration": view.calibration(inputs),
        "many": len(inputs.class_names) > len(PALETTE),
        "sure": sureness.section(inputs.uncertainty),
        "training_curves": plots.training_curves(inputs),
        "pictures": inputs.thumbnails is not None,
        "baselines": beside.table(inputs.baselines),
        "mistakes": mistakes,
        "mapped": any(card["map"] for group in mistakes for card in group["cards"]),
        "split_unit": inputs.data.get("unit") or unit,
        "origin": view.origin(inputs),
        "split": view.split_table(inputs),
        "skipped": view.skipped(inputs.skipped),
        "leakage": cases.leakage(inputs.leakage, inputs.thumbnails),
        "training": view.training_rows(inputs),
        "weights": view.weights_rows(inputs.training.get("weights")),
        "augmentation": view.augmentation_rows(inputs),
        "phases": view.phase_table(inputs),
        "environment": view.environment_rows(_versions(inputs)),
        "timings": view.timing_rows(inputs.timings),
        "command": scrub(inputs.command) if inputs.command else None,
        "notes": view.notes(inputs),
        "definitions": metrics.get("definitions") or {},
        "names": wording.NAMES,
    }


def _versions(inputs: ReportInputs) -> dict[str, Any]:
    """The environment, radzoo's own version first."""
    own = {"radzoo": inputs.version} if inputs.version else {}
    return own | dict(inputs.environment)


def confusions(inputs: ReportInputs) -> list[dict[str, Any]]:
    """Confusion matrices: at 0.5 or by arg-max, and at the operating point."""
    if inputs.task == "multilabel":
        return []
    matrix = inputs.metrics.get("confusion")
    if matrix is None:
        return []
    names = list(inputs.class_names)
    if len(names) > _MOST_IN_TABLE:
        image = plots.confusion_map(matrix, names)
        return [{"title": "Most probable class", "image": image, "rows": []}]
    first = (
        "At a probability of 0.5" if inputs.positive_index is not None else "Most probable class"
    )
    tables = [_table(first, matrix)]
    if inputs.threshold is not None:
        at = f"At the operating point (≥ {inputs.threshold:.3g})"
        tables.append(_table(at, _at_threshold(inputs, inputs.threshold)))
    return tables


def _at_threshold(inputs: ReportInputs, threshold: float) -> list[list[int]]:
    k = inputs.positive_index
    assert k is not None
    cells = [[0, 0], [0, 0]]
    for y, p in zip(inputs.y, inputs.prob[:, k], strict=True):
        cells[int(y)][k if p >= threshold else 1 - k] += 1
    return cells


def _table(title: str, matrix: Any) -> dict[str, Any]:
    rows = []
    for i, row in enumerate(matrix):
        total = sum(row)
        cells = []
        for j, n in enumerate(row):
            share = n / total if total else 0.0
            cells.append(
                {
                    "n": n,
                    "share": f"{share:.0%}" if total else "–",
                    "ink": f"{0.06 + 0.5 * share:.2f}" if n else "0",
                    "right": i == j,
                }
            )
        rows.append({"cells": cells, "total": total})
    return {"title": title, "rows": rows, "image": None}


def write_text(path: Path, text: str) -> Path:
    """Write a file whole or not at all.

    Raises:
        RunFolderError: It cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8", newline="\n")
        temporary.replace(path)
    except OSError as error:
        _remove(temporary)
        raise RunFolderError(
            f"cannot write {path.name!r}: {error.strerror}; free some space or choose another "
            "--out folder"
        ) from error
    return path


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return
