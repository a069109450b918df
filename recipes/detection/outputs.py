"""The files of a finished detection run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_adapters.patches import PatchPolicy
from recipes.classification.outputs import environment, write_csv
from recipes.detection.calibrating import chances
from recipes.detection.candidates import Found
from recipes.engine.checkpoint import write_json
from recipes.runs import RunState

if TYPE_CHECKING:
    from recipes.detection.config import DetectionConfig
    from recipes.detection.record import DetectionRecord
    from recipes.detection.scoring import Scan

AXES = {2: ("y", "x"), 3: ("z", "y", "x")}


def columns(axes: int) -> list[str]:
    """Names of a candidate's figures: centre as voxel index, box from face to face."""
    names = AXES[axes]
    return [*names, *(f"{n}_low" for n in names), *(f"{n}_high" for n in names)]


def figures(found: Found, k: int) -> list[str]:
    """A candidate's figures in that order."""
    return [f"{v:.2f}" for v in np.concatenate([found.centres[k], found.boxes[k]])]


def write_candidates(path: Path, scans: dict[str, list[Scan]], record: DetectionRecord) -> None:
    """Write one row per candidate of the evaluated cases, the highest of each case first."""
    axes = len(next(iter(scans.values()))[0].spacing)

    def rows() -> Iterable[list[Any]]:
        for part, mine in scans.items():
            for scan in mine:
                chance = chances(scan.found.scores, scan.found.labels, record.calibration)
                for k, label in enumerate(scan.found.labels):
                    name = record.class_names[label]
                    numbers = [f"{scan.found.scores[k]:.6f}", share_text(chance[k])]
                    yield [part, scan.case_id, name, *numbers, *figures(scan.found, k)]

    write_csv(path, ["part", "case", "class", "score", "chance", *columns(axes)], rows())


def share_text(value: float) -> str:
    """A share to four decimals; empty where it is unknown."""
    return f"{value:.4f}" if np.isfinite(value) else ""


def write_metrics(
    folder: Path,
    config: DetectionConfig,
    scored: dict[str, dict[str, Any]],
    record: DetectionRecord,
    stages: Sequence[dict[str, Any]],
    notes: Sequence[str],
    state: RunState,
) -> dict[str, Any]:
    """Write ``metrics.json``: the evaluated part first, then how it came about; return it."""
    part = "test" if "test" in scored else "val"
    first = json.loads((folder / "first" / "metrics.json").read_text(encoding="utf-8"))
    content = {
        "part": part,
        "seed": config.seed,
        "metrics": scored[part],
        "validation": scored["val"],
        "cases": first["cases"],
        "unit": first["unit"],
        "skipped": first["skipped"],
        "leakage": first["leakage"],
        "candidates": {
            "floor": record.floor,
            "apart": record.apart,
            "most": record.most,
            "core": record.core,
        },
        "schedule": first["training"]["schedule"],
        "stages": list(stages),
        "notes": list(notes),
        "data_hash": record.data_hash,
        "environment": environment(),
        "seconds": state.seconds,
    }
    write_json(folder / "metrics.json", content)
    return content


def read_summary(folder: Path) -> dict[str, Any]:
    """What a finished run prints: the figures of ``metrics.json``."""
    content = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return {
        "part": content["part"],
        "n": content["metrics"]["n"],
        "seed": content["seed"],
        "metrics": content["metrics"],
        "notes": content["notes"],
        "seconds": content["seconds"],
        "files": sorted(p.name for p in folder.iterdir() if p.is_file() and p.name[0] != "."),
    }


def first_policy(folder: Path) -> PatchPolicy | None:
    """The augmentation that a first stage was trained with; None without any."""
    content = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    policy = content["training"]["augment"]
    return None if policy is None else PatchPolicy.from_json(policy)
