"""The files of a finished segmentation run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipes.classification.outputs import environment, write_csv
from recipes.engine.checkpoint import write_json
from recipes.runs import RunState
from recipes.segmentation.config import SegmentationConfig
from recipes.segmentation.data import Prepared

if TYPE_CHECKING:
    from recipes.segmentation.scoring import Scored

PARTS = ("train", "val", "test")


def write_history(path: Path, history: Sequence[dict[str, Any]], classes: Sequence[str]) -> None:
    """Write one row per member and round."""
    columns = ["member", "epoch", "loss", "val_dice", *(f"val_dice_{c}" for c in classes[1:])]
    columns += ["learning_rate", "seconds", "best"]
    write_csv(path, columns, ([record[c] for c in columns] for record in history))


def write_cases(path: Path, scored: Sequence[Scored]) -> None:
    """Write one row per case and class with every figure."""
    rows = [{"part": one.part} | row for one in scored for row in one.rows]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    write_csv(path, columns, ([_text(row.get(c)) for c in columns] for row in rows))


def write_metrics(
    path: Path,
    config: SegmentationConfig,
    prepared: Prepared,
    scored: Sequence[Scored],
    facts: dict[str, Any],
    state: RunState,
) -> None:
    """Write ``metrics.json``: the evaluated part first, then how it came about."""
    write_json(
        path / "metrics.json",
        {
            "part": scored[0].part,
            "seed": config.seed,
            "metrics": scored[0].metrics,
            "validation": scored[-1].metrics,
            **run_facts(prepared, facts),
            "environment": environment(),
            "seconds": state.seconds,
        },
    )


def run_facts(prepared: Prepared, training: dict[str, Any]) -> dict[str, Any]:
    """What ``metrics.json`` says of data, plan and training, whatever was trained."""
    kinds = [skip.kind for skip in prepared.skipped]
    return {
        "cases": {part: len(prepared.rows(part)) for part in PARTS},
        "unit": prepared.leakage.splits.unit,
        "skipped": {kind: kinds.count(kind) for kind in sorted(set(kinds))},
        "leakage": prepared.leakage.to_dict(),
        "plan": prepared.plan.model_dump(mode="json"),
        "training": training,
        "data_hash": prepared.data_hash,
    }


def read_summary(folder: Path) -> dict[str, Any]:
    """What a finished run prints: the figures of ``metrics.json``."""
    content = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return {
        "part": content["part"],
        "n": content["metrics"]["n"],
        "seed": content["seed"],
        "metrics": content["metrics"],
        "seconds": content["seconds"],
        "files": sorted(p.name for p in folder.iterdir() if p.is_file() and p.name[0] != "."),
    }


def _text(value: Any) -> Any:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else value
