"""``radzoo classify evaluate``: a finished model on labelled data, old or new."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data_adapters import adapter as adapters
from data_adapters.adapter import local_path
from data_adapters.split_table import read_splits
from data_adapters.table_text import TABLE_SUFFIXES
from recipes.classification.config import ClassificationConfig, DataConfig
from recipes.classification.data import PARTS, labelled, make_targets, open_data, require_classes
from recipes.classification.inference import infer
from recipes.config import Columns, load_config
from recipes.engine.losses import probabilities
from recipes.engine.modelfile import ModelRecord, load_model
from recipes.errors import ConfigError, RecipeError
from recipes.evaluation.assess import evaluate as score
from recipes.fewlabels.opening import read_unlabelled
from recipes.progress import Reporter


def evaluate(
    run: str | Path,
    source: str | Path,
    *,
    part: str | None = None,
    include_seen: bool = False,
    data: DataConfig | None = None,
    prevalence: float | None = None,
    n_boot: int = 1000,
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
        reporter: Progress; quiet where None.

    Returns:
        Every metric as ``{"value", "low", "high"}``, with ``n``, ``n_seen`` (left out because
        seen in training), ``n_skipped`` and ``part``.

    Raises:
        recipes.errors.RecipeError: The run, the part, or the classes do not fit.
        data_adapters.errors.DataError: The data cannot be read.
    """
    folder = Path(run)
    with reporter or Reporter(quiet=True) as live:
        model, record = load_model(folder)
        config = load_config(ClassificationConfig, file=folder / "config.yaml")
        adapter = open_data(str(source), data or _opening(config.data, str(source)))
        require_classes(adapter)
        order, notes = match_classes(adapter, record)
        chosen, shown = choose_part(adapter, part)
        with live.task("evaluating", len(chosen)) as step:
            result = infer(model, record, adapter, chosen, progress=step)
    seen = _seen(folder, result.sha256)
    keep = np.ones(len(seen), bool) if include_seen else ~seen
    if not keep.any():
        raise RecipeError(
            f"no case left to evaluate: {int(seen.sum())} of {len(chosen)} were seen in training "
            f"and {len(result.skipped)} could not be read; give other data or --include-seen"
        )
    index = tuple(adapter.index[i] for i in result.indices[keep])
    targets = make_targets(index, record.kind, len(adapter.class_names))
    targets = np.pad(targets, ((0, 0), (0, 1)))[:, order]
    metrics = score(
        targets.argmax(axis=1) if record.kind == "single" else targets,
        probabilities(result.logits[keep], task=record.kind),
        [row.patient_id for row in index],
        class_names=record.class_names,
        positive=record.positive,
        task=record.kind,
        threshold=record.threshold,
        prevalence=prevalence,
        n_boot=n_boot,
        seed=config.seed,
    )
    metrics["notes"] = [*metrics["notes"], *notes]
    return metrics | {
        "part": shown,
        "n_seen": int((~keep).sum()),
        "n_seen_included": int((seen & keep).sum()),
        "n_skipped": len(result.skipped) + len(adapter.skipped),
    }


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


def _opening(fitted: DataConfig, source: str) -> DataConfig:
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


def _seen(folder: Path, hashes: tuple[str, ...]) -> npt.NDArray[np.bool_]:
    trained = {
        row.pixel_sha256 for row in read_splits(folder / "splits.csv") if row.part == "train"
    }
    trained |= read_unlabelled(folder)
    return np.asarray([digest in trained for digest in hashes], bool)
