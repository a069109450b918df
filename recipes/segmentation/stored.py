"""A finished run read back from its folder, so that its pages can be written again."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from recipes.errors import RunFolderError
from recipes.runs import RunFolder
from recipes.segmentation.data import Prepared
from recipes.segmentation.scoring import Predicted, Scored
from recipes.segmentation.train import Trained

_TEXT = ("part", "case", "patient", "class")
_AGAIN = "the report cannot be written again: {}; choose another --out"


def read_run(folder: RunFolder, prepared: Prepared) -> tuple[list[Scored], Trained, dict[str, Any]]:
    """Scores, history and facts of a finished run, without its networks.

    Args:
        folder: The run folder.
        prepared: The run's data, prepared anew.

    Returns:
        The scored parts (label maps stay in ``checkpoints/predicted``), the history, and what
        training and evaluation left behind.

    Raises:
        RunFolderError: A file or a label map is gone or damaged.
    """
    content = _json(folder.path / "metrics.json")
    rows = [_case_row(row) for row in _table(folder.path / "cases.csv")]
    try:
        facts, shown = content["training"], content["part"]
        figures = {"val": content["validation"], shown: content["metrics"]}
        scored = [
            Scored(
                part,
                _predicted(folder, prepared, part),
                tuple(row for row in rows if row["part"] == part),
                figures[part],
            )
            for part in dict.fromkeys((shown, "val"))
        ]
    except (KeyError, TypeError) as error:
        raise RunFolderError(_AGAIN.format(f"metrics.json lacks {error}")) from error
    history = [_round(row) for row in _table(folder.path / "history.csv")]
    return scored, Trained(history=history, stopped=facts.get("stopped") or {}), facts


def _predicted(folder: RunFolder, prepared: Prepared, part: str) -> Predicted:
    rows = tuple(prepared.rows(part))
    found = Predicted(part, prepared.adapter, rows, folder.checkpoints / "predicted")
    gone = found.missing()
    if gone:
        what = f"label maps of {gone} of {len(rows)} {part} cases are gone from the checkpoints"
        raise RunFolderError(_AGAIN.format(what))
    return found


def _case_row(row: dict[str, str]) -> dict[str, Any]:
    return {key: (value or None) if key in _TEXT else _value(value) for key, value in row.items()}


def _value(text: str) -> float | str | None:
    """A figure of cases.csv: a number, None where undefined, ``inf`` as it is."""
    return None if text == "" else text if text == "inf" else float(text)


def _round(row: dict[str, str]) -> dict[str, Any]:
    whole = ("member", "epoch")
    return {
        key: value == "True" if key == "best" else int(value) if key in whole else float(value)
        for key, value in row.items()
    }


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunFolderError(_AGAIN.format(f"{path.name} is gone or damaged")) from error


def _table(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    except (OSError, ValueError) as error:
        raise RunFolderError(_AGAIN.format(f"{path.name} is gone or damaged")) from error
