"""The table of plain classifiers beside the network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recipes.report import wording
from recipes.report.inputs import scrub


def table(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Rows of the baselines, the network first; None without any.

    Args:
        found: What `recipes.baselines.beside.Baselines.run` returned.
    """
    if not found:
        return None
    keys = list(found["network"])
    own: dict[str, Any] = {
        "features": "pixels",
        "model": "the network of this run",
        "chosen": "",
        "gap": None,
    }
    rows = [own | {"cells": _cells(found["network"], keys)}]
    for row in found["rows"]:
        chosen = ", ".join(f"{key} {value}" for key, value in row["chosen"].items())
        gap = row["difference"]["auc"]
        rows.append(
            {
                "features": scrub(row["features"]),
                "model": row["model"],
                "chosen": chosen,
                "cells": _cells(row["figures"], keys),
                "gap": {"value": _signed(gap["value"]), "interval": wording.interval(dict(gap))},
            }
        )
    heads = [_head(key) for key in keys]
    return {"heads": heads, "rows": rows, "notes": [scrub(note) for note in found["notes"]]}


def _cells(figures: Mapping[str, Any], keys: list[str]) -> list[dict[str, str]]:
    cells = [figures.get(key) or {} for key in keys]
    return [
        {"value": wording.number(cell.get("value")), "interval": wording.interval(dict(cell))}
        for cell in cells
    ]


def _head(key: str) -> str:
    base = key.removesuffix("_op")
    return wording.NAMES[base] + (" at its operating point" if key.endswith("_op") else "")


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.3f}"
