"""``radzoo classify calibrate``: say how sure a finished run is, also one made before it could."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data_adapters.adapter import Adapter
from data_adapters.split_table import read_splits
from recipes.classification.config import ClassificationConfig
from recipes.classification.data import labelled, make_targets, open_data, require_classes
from recipes.classification.evaluating import match_classes
from recipes.classification.inference import infer
from recipes.classification.sureness import (
    Sample,
    fit_uncertainty,
    judge_part,
    reference_rows,
)
from recipes.config import load_config
from recipes.engine.losses import probabilities
from recipes.engine.modelfile import ModelRecord, load_model
from recipes.errors import ConfigError, RecipeError
from recipes.evaluation.assess import evaluate
from recipes.progress import Reporter
from recipes.runs import RunFolder
from recipes.uncertainty.record import ARRAYS_FILE, RECORD_FILE, save_uncertainty

PREFIX = "uncertainty."


def calibrate(
    run: str | Path,
    source: str | Path,
    changes: Sequence[str] = (),
    *,
    n_boot: int = 1000,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Fit temperature, prediction sets and the foreign-case score of a finished run.

    The run's own validation cases calibrate, its training cases are what distance is measured
    from; both are found in the data by their ids and proved by their pixels. What was there is
    replaced.

    Args:
        run: Run folder of a finished fit.
        source: The data it was fitted on.
        changes: ``"uncertainty.coverage=0.95"`` texts; the run's own settings otherwise.
        n_boot: Bootstrap replicates of the figures.
        reporter: Progress; quiet where None.

    Returns:
        ``validation``: figures of the validation part, judged by folds; ``files`` written.

    Raises:
        recipes.errors.RecipeError: The run or the data do not fit, or a change is not of this
            section.
        data_adapters.errors.DataError: The data cannot be read.
    """
    folder = Path(run)
    foreign = [text for text in changes if not text.strip().startswith(PREFIX)]
    if foreign:
        raise ConfigError(f"--set {foreign[0]}: only keys that begin with {PREFIX!r} change here")
    config = load_config(ClassificationConfig, file=folder / "config.yaml", changes=changes)
    settings = config.uncertainty
    with reporter or Reporter(quiet=True) as live, RunFolder(folder).lock():
        model, record = load_model(folder)
        adapter = open_data(str(source), config.data)
        require_classes(adapter)
        _, notes = match_classes(adapter, record)
        parts = find_parts(folder, adapter)
        targets = _targets(adapter, record, parts["train"])
        chosen = reference_rows(targets, record.kind, most=settings.train_cases, seed=config.seed)
        train_rows = [parts["train"][i] for i in chosen]
        train = _sample(model, record, adapter, train_rows, folder, live, "reference")
        val = _sample(model, record, adapter, parts["val"], folder, live, "val")
    found, arrays = fit_uncertainty(
        train.embeddings,
        train.targets,
        val,
        settings,
        class_names=record.class_names,
        kind=record.kind,
        model_sha256=record.model_sha256,
        seed=config.seed,
    )
    truth = val.targets.argmax(axis=1) if record.kind == "single" else val.targets
    plain = evaluate(
        truth,
        probabilities(val.logits, task=record.kind),
        val.groups,
        class_names=record.class_names,
        positive=record.positive,
        task=record.kind,
        n_boot=n_boot,
        seed=config.seed,
    )
    judged = judge_part(
        found,
        val,
        plain,
        positive=record.positive,
        calibrated_on=True,
        n_boot=n_boot,
        seed=config.seed,
    )
    save_uncertainty(found, folder, arrays)
    return {
        "validation": None if judged is None else judged.figures,
        "notes": [*notes, *found.record.notes],
        "files": [RECORD_FILE, ARRAYS_FILE],
    }


def find_parts(folder: Path, adapter: Adapter) -> dict[str, list[int]]:
    """Places of a run's training and validation cases in an adapter, by case id.

    Raises:
        RecipeError: The data hold none of them.
    """
    part_of = {row.case_id: row.part for row in read_splits(folder / "splits.csv")}
    parts: dict[str, list[int]] = {"train": [], "val": []}
    for i, row in enumerate(adapter.index):
        part = part_of.get(row.case_id)
        if part in parts and labelled(row):
            parts[part].append(i)
    missing = [part for part, places in parts.items() if not places]
    if missing:
        raise RecipeError(
            f"these data hold none of the run's {' and '.join(missing)} cases; give the data the "
            "run was fitted on (and RADZOO_SALT, if its case ids were made with another salt)"
        )
    return parts


def _targets(adapter: Adapter, record: ModelRecord, places: list[int]) -> npt.NDArray[np.float32]:
    order, _ = match_classes(adapter, record)
    rows = tuple(adapter.index[i] for i in places)
    targets = make_targets(rows, record.kind, len(adapter.class_names))
    return np.pad(targets, ((0, 0), (0, 1)))[:, order]


def _sample(
    model: Any,
    record: ModelRecord,
    adapter: Adapter,
    places: list[int],
    folder: Path,
    live: Reporter,
    name: str,
) -> Sample:
    with live.task(f"predicting {name}", len(places)) as step:
        found = infer(model, record, adapter, places, embed=True, progress=step)
    known = {row.case_id: row.pixel_sha256 for row in read_splits(folder / "splits.csv")}
    index = adapter.index
    same = [
        digest == known[index[i].case_id]
        for i, digest in zip(found.indices, found.sha256, strict=True)
    ]
    if not all(same) or not same:
        raise RecipeError(
            f"{len(same) - sum(same)} of {len(places)} {name} cases have other pixels than the "
            "run's, or cannot be read; give the data the run was fitted on"
        )
    assert found.embeddings is not None
    kept = [int(i) for i in found.indices]
    groups = [index[i].patient_id for i in kept]
    return Sample(found.logits, found.embeddings, _targets(adapter, record, kept), groups)
