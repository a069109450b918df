"""``radzoo classify evaluate``: a finished model on labelled data, old or new."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data_adapters import adapter as adapters
from data_adapters.adapter import local_path
from data_adapters.split_table import read_splits
from data_adapters.table_text import TABLE_SUFFIXES
from recipes.classification.attributes import attribute
from recipes.classification.config import ClassificationConfig, DataConfig
from recipes.classification.data import PARTS, labelled, make_targets, open_data, require_classes
from recipes.classification.inference import infer
from recipes.classification.sureness import Sample, judge_part
from recipes.config import Columns, load_config
from recipes.engine.losses import probabilities
from recipes.engine.modelfile import ModelRecord, load_model
from recipes.errors import ConfigError, RecipeError
from recipes.evaluation.assess import evaluate as score
from recipes.evaluation.readers import compare_readers, read_scores
from recipes.evaluation.subgroups import group_names, parse_grouping, subgroups
from recipes.fewlabels.opening import read_unlabelled
from recipes.progress import Reporter
from recipes.uncertainty.record import Uncertainty, load_uncertainty


def evaluate(
    run: str | Path,
    source: str | Path,
    *,
    part: str | None = None,
    include_seen: bool = False,
    data: DataConfig | None = None,
    prevalence: float | None = None,
    n_boot: int = 1000,
    by: Sequence[str] = (),
    compare: Path | None = None,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Score a run's model on labelled data.

    Args:
        run: Run folder of a finished fit.
        source: Labelled data; anything ``data_adapters.open`` takes.
        part: Part to score; None takes ``test``, and every labelled case where there is none.
        include_seen: Keep cases whose pixels were in the training part.
        data: How to open the data; the run's own settings where None.
        prevalence: Stated prevalence for a second PPV and NPV.
        n_boot: Bootstrap replicates.
        by: Columns (or facts of the files) whose groups are scored apart, such as ``sex``,
            ``site``, or ``age:10`` for bands of ten.
        compare: Table of readers' or another program's scores of the same cases.
        reporter: Progress; quiet where None.

    Returns:
        Every metric as ``{"value", "low", "high"}``, ``uncertainty`` (calibration, prediction sets
        and flags, on cases that did not calibrate them) where the run has it, with ``n``,
        ``n_seen`` (left out because seen in training), ``n_skipped`` and ``part``; with ``by`` also
        ``subgroups`` (column to rows of `recipes.evaluation.subgroups`), with ``compare`` also
        ``readers`` (rows of `recipes.evaluation.readers`) and ``n_compared``.

    Raises:
        recipes.errors.RecipeError: The run, the part, or the classes do not fit.
        data_adapters.errors.DataError: The data cannot be read.
    """
    folder = Path(run)
    groupings = [parse_grouping(text) for text in by]
    with reporter or Reporter(quiet=True) as live:
        model, record = load_model(folder)
        sure = load_uncertainty(folder, model_sha256=record.model_sha256)
        config = load_config(ClassificationConfig, file=folder / "config.yaml")
        reading = data or opening(config.data, str(source))
        adapter = open_data(str(source), reading)
        require_classes(adapter)
        order, notes = match_classes(adapter, record)
        chosen, shown = choose_part(adapter, part)
        with live.task("evaluating", len(chosen)) as step:
            result = infer(model, record, adapter, chosen, embed=sure is not None, progress=step)
    seen = in_part(folder, result.sha256, "train")
    keep = np.ones(len(seen), bool) if include_seen else ~seen
    if not keep.any():
        raise RecipeError(
            f"no case left to evaluate: {int(seen.sum())} of {len(chosen)} were seen in training "
            f"and {len(result.skipped)} could not be read; give other data or --include-seen"
        )
    index = tuple(adapter.index[i] for i in result.indices[keep])
    targets = make_targets(index, record.kind, len(adapter.class_names))
    targets = np.pad(targets, ((0, 0), (0, 1)))[:, order]
    truth = targets.argmax(axis=1) if record.kind == "single" else targets
    prob = probabilities(result.logits[keep], task=record.kind)
    patients = [row.patient_id for row in index]
    options: dict[str, Any] = {
        "class_names": record.class_names,
        "positive": record.positive,
        "task": record.kind,
        "threshold": record.threshold,
        "prevalence": prevalence,
        "n_boot": n_boot,
        "seed": config.seed,
    }
    metrics = score(truth, prob, patients, **options)
    metrics["notes"] = [*metrics["notes"], *notes, *_strangers(adapter, record)]
    if sure is not None and result.embeddings is not None:
        calibrated_on = in_part(folder, result.sha256, "val")[keep]
        metrics["uncertainty"] = _uncertainty(
            sure,
            Sample(
                result.logits[keep][~calibrated_on],
                result.embeddings[keep][~calibrated_on],
                targets[~calibrated_on],
                [row.patient_id for row, own in zip(index, calibrated_on, strict=True) if not own],
            ),
            record,
            n_boot=n_boot,
            seed=config.seed,
        )
        if calibrated_on.any():
            metrics["notes"].append(
                f"{int(calibrated_on.sum())} validation cases of the run calibrated it, so its "
                "calibration, prediction sets and flags are judged without them."
            )
    rows = [int(i) for i in result.indices[keep]]
    if groupings:
        metrics["subgroups"] = {
            text: subgroups(
                truth,
                prob,
                patients,
                group_names(attribute(adapter, str(source), reading, rows, one.column), one),
                **options,
            )
            for text, one in zip(by, groupings, strict=True)
        }
    if compare is not None:
        names = [_names(adapter, i) for i in rows]
        metrics |= _beside_readers(compare, names, truth, prob, patients, record, options)
    return metrics | {
        "part": shown,
        "n_seen": int((~keep).sum()),
        "n_seen_included": int((seen & keep).sum()),
        "n_skipped": len(result.skipped) + len(adapter.skipped),
    }


def _names(adapter: adapters.Adapter, i: int) -> list[str]:
    """The names by which a table of scores may call a case."""
    own = adapter.source_name(i)
    return [adapter.index[i].case_id, own, Path(own).name, Path(own).stem]


def _strangers(adapter: adapters.Adapter, record: ModelRecord) -> list[str]:
    """What to mind where the data are of another kind than those of the training."""
    if None in (adapter.modality, record.modality) or adapter.modality == record.modality:
        return []
    return [
        f"The model was trained on {record.modality} and these data are {adapter.modality}: "
        "figures say how it does outside what it was made for."
    ]


def _beside_readers(
    path: Path,
    names: Sequence[Sequence[str]],
    truth: npt.NDArray[Any],
    prob: npt.NDArray[Any],
    patients: Sequence[str | None],
    record: ModelRecord,
    options: dict[str, Any],
) -> dict[str, Any]:
    if record.positive is None:
        raise ConfigError("--compare wants a two-class model with a named positive class")
    column = record.class_names.index(record.positive)
    found, scores = read_scores(path, names, classes=record.class_names, positive=record.positive)
    rows = compare_readers(
        (truth[found] == column).astype(float),
        prob[found, column],
        scores,
        [patients[i] for i in found],
        threshold=record.threshold,
        n_boot=options["n_boot"],
        seed=options["seed"],
    )
    return {"readers": rows, "n_compared": len(found)}


def _uncertainty(
    found: Uncertainty, part: Sample, record: ModelRecord, *, n_boot: int, seed: int
) -> dict[str, Any] | None:
    """Figures of calibration, sets and flags on cases that took no part in them; None without."""
    if len(part.logits) == 0:
        return None
    single = record.kind == "single"
    plain = score(
        part.targets.argmax(axis=1) if single else part.targets,
        probabilities(part.logits, task=record.kind),
        part.groups,
        class_names=record.class_names,
        positive=record.positive,
        task=record.kind,
        n_boot=n_boot,
        seed=seed,
    )
    judged = judge_part(
        found,
        part,
        plain,
        positive=record.positive,
        calibrated_on=False,
        n_boot=n_boot,
        seed=seed,
    )
    return None if judged is None else judged.figures


def choose_part(adapter: adapters.Adapter, part: str | None) -> tuple[list[int], str]:
    """Labelled cases of a part: the given one, else ``test``, else every part.

    Raises:
        ConfigError: The part is unknown.
        RecipeError: The part holds no labelled case.
    """
    if part is not None and part not in PARTS:
        raise ConfigError(f"unknown part {part!r}; parts: {', '.join(PARTS)}")
    index = adapter.index
    has_test = any(row.part == "test" for row in index)
    wanted = part or ("test" if has_test else None)
    chosen = [i for i, row in enumerate(index) if labelled(row) and wanted in (None, row.part)]
    if not chosen:
        have = sorted({row.part or "no part" for row in index})
        raise RecipeError(
            f"no labelled case in part {wanted or 'any'!r}; these data have: {', '.join(have)}"
        )
    return chosen, wanted or "all"


def match_classes(
    adapter: adapters.Adapter, record: ModelRecord
) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Columns of the adapter's targets in the order of the model's classes.

    Classes match by name. Data whose classes are plain numbers 0..k-1 (an npz of unknown name)
    match by position, and a note says so.

    Raises:
        RecipeError: The classes differ; both lists are named.
    """
    if adapter.task == "unlabelled":
        raise RecipeError("these data have no labels; use predict instead of evaluate")
    if adapter.task != record.kind:
        raise RecipeError(f"the data are {adapter.task} and the model is {record.kind}")
    mine, theirs = list(adapter.class_names), list(record.class_names)
    if set(mine) <= set(theirs) and record.kind == "single":
        return _columns(mine, theirs), []
    if sorted(mine) == sorted(theirs):
        return _columns(mine, theirs), []
    if mine == [str(i) for i in range(len(mine))] and len(mine) == len(theirs):
        note = "The data number their classes; they were taken in the order of the model's classes."
        return np.arange(len(theirs)), [note]
    raise RecipeError(
        f"classes differ: the data have {', '.join(mine)}; the model knows {', '.join(theirs)}"
    )


def opening(fitted: DataConfig, source: str) -> DataConfig:
    """The run's way to open data, as far as it fits this source.

    Column names are for tables, a rule that finds the patient in a path is for folders too; the
    positive class is the model's to name.
    """
    columns = fitted.columns
    if Path(source).suffix.lower() not in TABLE_SUFFIXES:
        rule = columns.patient or ""
        fits = local_path(source).is_dir() and (rule == "folder" or "(" in rule)
        columns = Columns(patient=rule if fits else None)
    return fitted.model_copy(update={"positive": None, "columns": columns})


def _columns(mine: list[str], theirs: list[str]) -> npt.NDArray[np.int64]:
    # A class absent from the data takes the column behind the last, which is always zero.
    return np.asarray([mine.index(name) if name in mine else len(mine) for name in theirs])


def in_part(folder: Path, hashes: tuple[str, ...], part: str) -> npt.NDArray[np.bool_]:
    """Which pixel hashes were in a part of a run, ``(n,)``; in training without labels too."""
    known = {row.pixel_sha256 for row in read_splits(folder / "splits.csv") if row.part == part}
    if part == "train":
        known |= read_unlabelled(folder)
    return np.asarray([digest in known for digest in hashes], bool)
