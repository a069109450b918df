"""What a new calibration changes in the files of a finished run: figures, columns and pages."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recipes.classification.outputs import csv_cell, csv_text
from recipes.classification.sureness import Sureness
from recipes.engine.checkpoint import json_text
from recipes.errors import RunFolderError
from recipes.report.again import pages_with

METRICS, PREDICTIONS = "metrics.json", "predictions.csv"


def renewed(
    folder: Path,
    parts: Mapping[str, tuple[Sequence[str], Sureness]],
    *,
    changes: Sequence[str] | None,
    class_names: Sequence[str],
) -> dict[str, str]:
    """New content of ``metrics.json``, ``predictions.csv``, report and model card.

    Args:
        folder: The run folder; files that it lacks are left out.
        parts: For each part that was judged anew its case ids and what is said of it.
        changes: Settings that were given with the command, as the report shows them; None where
            the run has not been calibrated before.
        class_names: Names in the order of the logits.

    Returns:
        Name of the file -> its new content; nothing is written.

    Raises:
        RunFolderError: A file is damaged, or is not that of a classification run.
    """
    again = {} if changes is None else {"again": {"changes": list(changes)}}
    figures = {part: sure.figures | again for part, (_, sure) in parts.items()}
    found = {}
    metrics = _read_json(folder / METRICS)
    shown = next(iter(figures))
    if metrics is not None:
        shown = metrics["part"] if metrics["part"] in figures else shown
        found[METRICS] = json_text(metrics | {"uncertainty": figures})
    predictions = _predictions(folder / PREDICTIONS, parts, class_names)
    if predictions is not None:
        found[PREDICTIONS] = predictions
    return found | pages_with(folder, figures[shown], part=shown)


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise RunFolderError(f"cannot read {path.name}: {error}") from error
    if not isinstance(found, dict) or "part" not in found:
        raise RunFolderError(f"{path.name} is not that of a classification run")
    return found


def _predictions(
    path: Path,
    parts: Mapping[str, tuple[Sequence[str], Sureness]],
    class_names: Sequence[str],
) -> str | None:
    """The table with new columns in place of the old; cases not judged anew have none."""
    if not path.is_file():
        return None
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        lines = list(reader)
    plain = ["case_id", "part", "label", *(f"p_{name}" for name in class_names)]
    if not set(plain) <= set(reader.fieldnames or ()):
        raise RunFolderError(f"{path.name} lacks columns of a classification run")
    known = {
        (part, case_id): row
        for part, (ids, sure) in parts.items()
        for case_id, row in zip(ids, sure.rows, strict=True)
    }
    more = next(iter(parts.values()))[1].header
    rows = []
    for line in lines:
        found = known.get((line["part"], line["case_id"]), {})
        rows.append([line[key] for key in plain] + [csv_cell(found.get(key, "")) for key in more])
    return csv_text([*plain, *more], rows)
