"""The files of a finished classification run."""

from __future__ import annotations

import csv
import io
import json
import platform
import shlex
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from recipes.classification.config import ClassificationConfig
from recipes.classification.data import Prepared, count_table, skip_counts
from recipes.classification.mapped import Maps
from recipes.classification.sections import data_section, training_section
from recipes.classification.thumbnails import NOTES, Thumbnails
from recipes.config import Section
from recipes.engine.checkpoint import write_atomic, write_json
from recipes.engine.modelfile import assemble
from recipes.evaluation.operating_point import OperatingPoint
from recipes.fewlabels.phase import unlabelled_notes
from recipes.report.card import write_model_card
from recipes.report.inputs import ReportInputs
from recipes.report.page import write_report
from recipes.runs import RunState
from recipes.version import version
from zoo.weights.manifest import NAME

if TYPE_CHECKING:
    from recipes.classification.scoring import Scored
    from recipes.classification.train import Trained

HEADLINE = ("auc", "accuracy", "balanced_accuracy", "average_precision", "sensitivity",
            "specificity", "f1", "brier", "ece")  # fmt: skip
HISTORY_COLUMNS = ("member", "phase", "epoch", "loss", "accuracy", "val_loss", "val_accuracy",
                   "val_auc", "learning_rate", "seconds", "best")  # fmt: skip

_PATHS = {"data.splits": "SPLITS", "plan.file": "PLAN"}
"""Keys whose value is a path of the user's -> what is shown instead."""


def write_history(
    path: Path, history: Sequence[dict[str, Any]], class_names: Sequence[str] = ()
) -> None:
    """Write one row per epoch, with the counts of unlabelled cases where there are any."""
    names = {column: column for column in HISTORY_COLUMNS}
    counted = {"unlabelled_seen": "unlabelled_seen"} | {
        f"unlabelled_passed_{i}": f"unlabelled_passed_{name}" for i, name in enumerate(class_names)
    }
    names |= {key: name for key, name in counted.items() if any(key in r for r in history)}
    write_csv(path, [*names.values()], ([record.get(c, "") for c in names] for record in history))


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a UTF-8 CSV file atomically."""
    write_atomic(path, csv_text(header, rows).encode())


def csv_text(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table as the text of a CSV file."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return buffer.getvalue()


def write_predictions(path: Path, prepared: Prepared, scored: Sequence[Scored]) -> None:
    """Write the probabilities of the validation and test cases, and how sure they are."""
    more = next((part.sure.header for part in scored if part.sure is not None), [])
    names = (f"p_{name}" for name in prepared.class_names)
    header = ["case_id", "part", "label", *names, *more]
    rows = []
    for part in scored:
        ids = prepared.ids(part.rows)
        for i, (case_id, truth) in enumerate(zip(ids, part.truth, strict=True)):
            label = truth_text(truth, prepared.class_names)
            row = [case_id, part.part, label, *(f"{p:.6f}" for p in part.prob[i])]
            known = {} if part.sure is None else part.sure.rows[i]
            rows.append([*row, *(csv_cell(known.get(key, "")) for key in more)])
    write_csv(path, header, rows)


def csv_cell(value: Any) -> str:
    """A value as ``predictions.csv`` has it: numbers with six digits."""
    return f"{value:.6f}" if isinstance(value, float) else str(value)


def truth_text(truth: Any, class_names: Sequence[str]) -> str:
    """The name of a class number, or a label vector as 1;0;;1 with nothing for unknown."""
    if np.ndim(truth) == 0:
        return class_names[int(truth)]
    return ";".join("" if np.isnan(v) else str(int(v)) for v in truth)


def write_metrics(
    path: Path,
    config: ClassificationConfig,
    prepared: Prepared,
    scored: Sequence[Scored],
    point: OperatingPoint | None,
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
            "uncertainty": {part.part: part.sure.figures for part in scored if part.sure},
            "operating_point": None if point is None else point.to_dict(),
            "cases": count_table(prepared),
            "unit": prepared.leakage.splits.unit,
            "skipped": skip_counts(prepared.skipped),
            "leakage": prepared.leakage.to_dict(),
            "training": facts,
            "data_hash": prepared.data_hash,
            "environment": environment(),
            "seconds": state.seconds,
        },
    )


def read_summary(folder: Path) -> dict[str, Any]:
    """What a finished run prints: the headline figures of ``metrics.json``."""
    content = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    metrics = content["metrics"]
    return {
        "part": content["part"],
        "n": metrics["n"],
        "seed": content["seed"],
        "metrics": {key: metrics[key] for key in HEADLINE if key in metrics},
        "seconds": content["seconds"],
        "files": sorted(p.name for p in folder.iterdir() if p.is_file() and p.name[0] != "."),
    }


def environment() -> dict[str, Any]:
    """Versions and processor, without names of the machine or its user."""
    packages = ("tensorflow", "keras", "numpy", "albumentations", "scikit-learn")
    found = {"radzoo": version(), "python": platform.python_version()}
    for name in packages:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    import os

    return found | {
        "backend": keras.backend.backend(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu_cores": os.cpu_count(),
        "gpus": _gpus(),
    }


def _gpus() -> list[str]:
    if keras.backend.backend() != "tensorflow":
        return []
    import tensorflow as tf

    devices = tf.config.list_physical_devices("GPU")
    return [tf.config.experimental.get_device_details(d).get("device_name", "GPU") for d in devices]


def repeat_command(config: Section, *, task: str = "classify", unlabelled: bool = False) -> str:
    """The command that repeats a run, with placeholders for the user's paths.

    Args:
        config: The run's configuration.
        task: The command's name.
        unlabelled: Whether further cases without labels were given.
    """
    default = type(config)().model_dump(mode="json")
    given = config.model_dump(mode="json")
    words = ["radzoo", task, "fit", "DATA", "--out", "RUN", "--seed", str(given["seed"])]
    if unlabelled:
        words += ["--unlabelled", "UNLABELLED"]
    for key, value in _changes(default, given):
        if key == "seed":
            continue
        if key == "model.weights" and NAME.fullmatch(value) is None:
            value = "WEIGHTS"
        value = _PATHS.get(key, value)
        words += ["--set", f"{key}={json.dumps(value)}"]
    return shlex.join(words)


def _changes(default: Any, given: Any, prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in given.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and isinstance(default.get(key), dict) and default[key]:
            yield from _changes(default[key], value, f"{name}.")
        elif value != default.get(key):
            yield name, value


def write_report_pages(
    path: Path,
    config: ClassificationConfig,
    prepared: Prepared,
    scored: Sequence[Scored],
    point: OperatingPoint | None,
    trained: Trained,
    facts: dict[str, Any],
    state: RunState,
) -> None:
    """Write ``report.html`` and ``model_card.md``."""
    beside = path / "baselines.json"
    found = json.loads(beside.read_text(encoding="utf-8")) if beside.is_file() else None
    inputs = report_inputs(config, prepared, scored, point, trained, facts, state, found)
    write_report(path / "report.html", inputs)
    write_model_card(path / "model_card.md", inputs)


def report_inputs(
    config: ClassificationConfig,
    prepared: Prepared,
    scored: Sequence[Scored],
    point: OperatingPoint | None,
    trained: Trained,
    facts: dict[str, Any],
    state: RunState,
    baselines: dict[str, Any] | None = None,
) -> ReportInputs:
    """Everything the report and the model card show."""
    shown, val = scored[0], scored[-1]
    thumbnails = Thumbnails(prepared, config.report.pictures)
    stopped: dict[int, dict[str, int]] = {}
    for key, epoch in trained.stopped.items():
        member, phase = key.split("/")
        stopped.setdefault(int(member), {})[phase] = epoch
    return ReportInputs(
        title=" / ".join(prepared.class_names[:6]) + (" ..." if prepared.class_names[6:] else ""),
        task=prepared.kind,
        class_names=prepared.class_names,
        metrics=shown.metrics,
        y=shown.truth,
        prob=shown.prob,
        case_ids=prepared.ids(shown.rows),
        positive=prepared.positive,
        part=shown.part,
        val_metrics=None if shown is val else val.metrics,
        operating_point=None if point is None else point.to_dict(),
        history=trained.history,
        stopped=stopped,
        data=data_section(prepared),
        leakage=prepared.leakage.to_dict(),
        skipped=[
            {"case_id": s.case_id, "kind": s.kind, "message": s.message} for s in prepared.skipped
        ],
        training=training_section(config, prepared, facts),
        environment=environment(),
        seed=config.seed,
        command=repeat_command(config, unlabelled="unlabelled" in facts),
        timings=state.seconds | {"total": round(sum(state.seconds.values()), 1)},
        notes=[
            *prepared.notes,
            *(unlabelled_notes(facts["unlabelled"]) if "unlabelled" in facts else ()),
            NOTES[config.report.pictures],
        ],
        thumbnails=thumbnails,
        maps=Maps(thumbnails, lambda: assemble(trained.members), len(prepared.class_names)),
        uncertainty=None if shown.sure is None else shown.sure.figures,
        version=version(),
        baselines=baselines,
    )
