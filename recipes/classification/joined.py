"""An ensemble of runs as a run folder of its own: one model file that every command opens."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data_adapters.adapter import Adapter
from data_adapters.split_table import SplitRow, read_splits, write_splits
from recipes.classification.calibrating import Cases, settle
from recipes.classification.config import ClassificationConfig
from recipes.classification.outputs import environment, truth_text, write_csv
from recipes.config import to_yaml
from recipes.engine.checkpoint import disk_error, write_atomic, write_json
from recipes.engine.embedding import members
from recipes.engine.joining import IDENTITY, Joined, join
from recipes.engine.losses import probabilities
from recipes.engine.modelfile import (
    ModelRecord,
    RunRecord,
    load_model,
    load_record,
    save_model,
    save_record,
)
from recipes.errors import RecipeError, RunFolderError
from recipes.evaluation.assess import evaluate
from recipes.evaluation.operating_point import OperatingPoint, choose_operating_point
from recipes.fewlabels.opening import join_unlabelled
from recipes.progress import Reporter
from recipes.report.card import write_model_card
from recipes.report.inputs import ReportInputs
from recipes.report.page import write_report
from recipes.runs import check_unused
from recipes.version import version

_RANKS = ("train", "val", "test")
NO_SECOND_LEVEL = "an ensemble of ensembles is not stored: give the runs that it was made of"


@dataclass(frozen=True, eq=False)
class Result:
    """What the ensemble said of the cases that it was scored on.

    Attributes:
        rows: Adapter indices, ``(n,)``.
        prob: ``(n, k)``.
        truth: ``(n,)`` class numbers, or ``(n, k)`` with NaN unknown.
        groups: Patients, None where unknown.
        part: What was scored.
        figures: Result of `ensembling.ensemble`.
    """

    rows: Sequence[int]
    prob: npt.NDArray[np.float64]
    truth: npt.NDArray[Any]
    groups: Sequence[str | None]
    part: str
    figures: dict[str, Any]


def check(folders: Sequence[Path], out: Path) -> list[ModelRecord]:
    """Refuse runs that cannot become one model, and a folder that is in use, before any work.

    Returns:
        The runs' records.

    Raises:
        RecipeError: Naming both runs' values.
    """
    check_unused(out, otherwise=" (or a name that ends in .csv, for a table of the cases)")
    if not out.parent.is_dir():
        raise RunFolderError("the folder that should hold --out is not there; make it first")
    records = [load_record(folder) for folder in folders]
    for number, record in enumerate(records, 1):
        if record.runs:
            raise RecipeError(f"run {number} is an ensemble itself; {NO_SECOND_LEVEL}")
        for name, what in (
            ("kind", "kinds of question"),
            ("class_names", "classes"),
            ("positive", "positive classes"),
            ("input_shape", "input sizes"),
            ("chain", "ways to prepare a case (size, aspect, channels, normalisation)"),
        ):
            mine, first = getattr(record, name), getattr(records[0], name)
            if mine != first:
                raise RecipeError(
                    f"runs 1 and {number} have different {what}, so no one model can hold both: "
                    f"{first} and {mine}; fit them alike, or leave --out away (or name a .csv) to "
                    "have them scored together without a model"
                )
    return records


def store(
    out: Path,
    folders: Sequence[Path],
    config: ClassificationConfig,
    adapter: Adapter,
    result: Result,
    *,
    n_boot: int,
    live: Reporter,
) -> list[str]:
    """Write the run folder, whole or not at all.

    Model and record; the runs' parts joined (a patient that any run was trained on is a training
    patient); an operating point and a calibration on the validation cases that are left; the
    figures, a report and a model card.

    Args:
        out: The folder, new or empty.
        folders: The runs.
        config: The first run's configuration, which the folder takes over.
        adapter: Labelled data.
        result: What was scored.
        n_boot: Bootstrap replicates.
        live: Progress.

    Returns:
        What the user must know.

    Raises:
        RecipeError: The folder cannot be written.
    """
    work = out.with_name(f".{out.name}.partial")
    try:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        notes = _fill(work, folders, config, adapter, result, n_boot=n_boot, live=live)
        if out.exists():
            out.rmdir()
        work.rename(out)
    except OSError as error:
        raise disk_error(error, out.name) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return notes


def _fill(
    folder: Path,
    folders: Sequence[Path],
    config: ClassificationConfig,
    adapter: Adapter,
    result: Result,
    *,
    n_boot: int,
    live: Reporter,
) -> list[str]:
    opened = [load_model(run) for run in folders]
    records = [record for _, record in opened]
    kind = records[0].kind
    runs = [Joined(members(model), record.views) for model, record in opened]
    model = join(runs, kind=kind)
    sha256 = save_model(model, folder)
    write_atomic(folder / "config.yaml", to_yaml(config).encode())
    write_splits(
        folder / "splits.csv", joined_splits([read_splits(f / "splits.csv") for f in folders])
    )
    join_unlabelled(folders, folder)
    record = joined_record(records, sha256, config)
    notes: list[str] = []
    cases = point = None
    try:
        cases = Cases(folder, model, record, adapter, live)
        point = _operating_point(cases, config)
    except RecipeError as error:
        notes.append(f"The stored ensemble is not calibrated and has no operating point: {error}")
        cases = None
    if point is not None:
        record = record.model_copy(update={"threshold": point.threshold})
    save_record(record, folder)
    _write_figures(folder, record, config, adapter, result, point, notes, n_boot=n_boot)
    if cases is not None and config.uncertainty.enabled:
        cases.record = record
        try:
            found, _, _ = settle(cases, config, n_boot=n_boot, changes=None)
            notes += found.record.notes
        except RecipeError as error:  # the model itself is sound
            notes.append(f"The stored ensemble is not calibrated: {error}")
    return notes


def joined_record(
    records: Sequence[ModelRecord], sha256: str, config: ClassificationConfig
) -> ModelRecord:
    """What ``model.json`` says of the joined model; the operating point is still to be chosen."""
    first = records[0]
    backbones = list(dict.fromkeys(record.backbone for record in records))
    weights = {record.weights for record in records}
    hashes = [record.data_hash for record in records]
    whole = hashlib.sha256("".join(hashes).encode()).hexdigest()
    ranges = np.asarray([record.input_range for record in records])
    modalities = {record.modality for record in records}
    return first.model_copy(
        update={
            "input_range": (float(ranges[:, 0].min()), float(ranges[:, 1].max())),
            "views": IDENTITY,
            "modality": modalities.pop() if len(modalities) == 1 else None,
            "threshold": None,
            "operating_rule": config.evaluate.operating_point,
            "backbone": " + ".join(backbones),
            "weights": weights.pop() if len(weights) == 1 else "file",
            "members": sum(record.members for record in records),
            "prevalence": tuple(np.mean([r.prevalence for r in records], axis=0).tolist()),
            "data_hash": hashes[0] if len(set(hashes)) == 1 else whole,
            "model_sha256": sha256,
            "radzoo": version(),
            "runs": tuple(
                RunRecord(
                    model_sha256=record.model_sha256,
                    data_hash=record.data_hash,
                    backbone=record.backbone,
                    weights=record.weights,
                    members=record.members,
                    views=record.views,
                )
                for record in records
            ),
        }
    )


def joined_splits(tables: Sequence[Sequence[SplitRow]]) -> list[SplitRow]:
    """One table of parts: training where a run trained on the patient or the pixels, and so on.

    Args:
        tables: The runs' tables.

    Returns:
        One row per case. Its part is the first of training, validation and test that any run gave
        to it, to its patient or to its pixels; cases that no run used stay without a part.
    """
    rank: dict[tuple[str, str], int] = {}
    rows: dict[str, SplitRow] = {}
    every = [row for table in tables for row in table]
    for row in every:
        rows.setdefault(row.case_id, row)
        if row.part in _RANKS:
            for key in _names(row):
                rank[key] = min(rank.get(key, len(_RANKS)), _RANKS.index(row.part))
    joined = []
    used = {row.case_id for row in every if row.part in _RANKS}
    for case_id, row in rows.items():
        part = (
            _RANKS[min(rank[key] for key in _names(row) if key in rank)] if case_id in used else ""
        )
        joined.append(replace(row, part=part, fold=""))
    return joined


def _names(row: SplitRow) -> list[tuple[str, str]]:
    names = [("case", row.case_id), ("patient", row.patient), ("pixels", row.pixel_sha256)]
    return [key for key in names if key[1]]


def _operating_point(cases: Cases, config: ClassificationConfig) -> OperatingPoint | None:
    record = cases.record
    if record.positive is None:
        return None
    val, column = cases.sample("val"), record.class_names.index(record.positive)
    prob = probabilities(val.logits, task=record.kind)[:, column]
    return choose_operating_point(
        val.targets[:, column], prob, rule=config.evaluate.operating_point
    )


def _write_figures(
    folder: Path,
    record: ModelRecord,
    config: ClassificationConfig,
    adapter: Adapter,
    result: Result,
    point: OperatingPoint | None,
    notes: Sequence[str],
    *,
    n_boot: int,
) -> None:
    """``metrics.json``, ``predictions.csv``, report and model card of the scored cases."""
    metrics = evaluate(
        result.truth,
        result.prob,
        result.groups,
        class_names=record.class_names,
        positive=record.positive,
        task=record.kind,
        threshold=record.threshold,
        n_boot=n_boot,
        seed=config.seed,
    )
    ids = [adapter.index[i].case_id for i in result.rows]
    kept = ("n_members", "members", "difference", "disagreement", "entropy", "selective")
    write_json(
        folder / "metrics.json",
        {
            "part": result.part,
            "seed": config.seed,
            "metrics": metrics,
            "validation": None,
            "uncertainty": {},
            "operating_point": None if point is None else point.to_dict(),
            "ensemble": {name: result.figures[name] for name in kept if name in result.figures},
            "runs": [run.model_dump(mode="json") for run in record.runs],
            "data_hash": record.data_hash,
            "environment": environment(),
            "seconds": {},
        },
    )
    part_of = {row.case_id: row.part for row in read_splits(folder / "splits.csv")}
    rows = []
    for i, case_id in enumerate(ids):
        label = truth_text(result.truth[i], record.class_names)
        part = part_of.get(case_id) or "new"
        rows.append([case_id, part, label, *(f"{p:.6f}" for p in result.prob[i])])
    header = ["case_id", "part", "label", *(f"p_{name}" for name in record.class_names)]
    write_csv(folder / "predictions.csv", header, rows)
    inputs = _report(record, config, result, metrics, point, ids, notes)
    write_report(folder / "report.html", inputs)
    write_model_card(folder / "model_card.md", inputs)


def _report(
    record: ModelRecord,
    config: ClassificationConfig,
    result: Result,
    metrics: dict[str, Any],
    point: OperatingPoint | None,
    ids: Sequence[str],
    notes: Sequence[str],
) -> ReportInputs:
    names = record.class_names
    runs = len(record.runs)
    title = " / ".join(names[:6]) + (" ..." if names[6:] else "")
    return ReportInputs(
        title=f"{title}: ensemble of {runs} runs",
        task=record.kind,
        class_names=names,
        metrics=metrics,
        y=result.truth,
        prob=result.prob,
        case_ids=ids,
        positive=record.positive,
        part=result.part,
        operating_point=None if point is None else point.to_dict(),
        data={"modality": record.modality, "unit": metrics["unit"]},
        training={
            "backbone": record.backbone,
            "members": record.members,
            "input_shape": list(record.input_shape),
            "runs": runs,
            **{
                f"run_{number}": f"{run.backbone}, {run.members} networks, {len(run.views)} views, "
                f"model {run.model_sha256[:12]}"
                for number, run in enumerate(record.runs, 1)
            },
            "weights": record.weights,
        },
        environment=environment(),
        seed=config.seed,
        command=f"radzoo classify ensemble {' '.join(['RUN'] * runs)} --data DATA --out RUN",
        notes=[
            f"The model is the mean of the probabilities of {runs} runs; their own reports say how "
            "each was fitted, on which data, and what their leakage checks found.",
            *notes,
        ],
        version=record.radzoo,
    )
