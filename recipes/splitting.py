"""``radzoo data split``: parts by patient, before anything is trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_adapters.adapter import IndexRow
from data_adapters.folds import choose_splits
from data_adapters.leakage import check_patients
from data_adapters.split_table import split_rows, write_splits
from recipes.classification.config import ClassificationConfig
from recipes.classification.data import labelled, open_data
from recipes.config import load_config
from recipes.errors import RecipeError


def split(source: str, out: Path, changes: list[str]) -> dict[str, Any]:
    """Cut a data set into parts and write ``splits.csv``.

    Args:
        source: Anything ``data_adapters.open`` takes.
        out: CSV file to write.
        changes: ``key=value`` changes of the classification configuration.

    Returns:
        ``counts`` (part -> class -> cases; ``cases`` alone where the truth is masks or boxes),
        ``folds`` (cases of each), ``unit``, ``by``, ``official``, ``n_skipped``, ``skipped``
        (reason -> cases) and ``notes``.

    Raises:
        RecipeError: The data have no labels.
        data_adapters.errors.DataError: The data cannot be read or cut, or a patient is on two sides
            of a given split and ``data.leakage`` is ``stop``.
    """
    config = load_config(ClassificationConfig, changes=changes)
    adapter = open_data(source, config.data)
    if adapter.task == "unlabelled":
        raise RecipeError("these data have no labels; a stratified split needs them")
    classes = adapter.task in ("single", "multilabel")
    index = tuple(row for row in adapter.index if labelled(row) or not classes)
    skipped = Counter(skip.kind for skip in adapter.skipped)
    if len(index) < len(adapter.index):
        skipped["unlabelled"] += len(adapter.index) - len(index)
    splits = choose_splits(
        index,
        seed=config.seed,
        fractions=config.data.fractions,
        class_names=adapter.class_names,
        by=config.data.split_by,
        folds=config.data.folds,
        fold=config.data.fold,
        task=adapter.task,
    )
    gate = check_patients(
        index, splits, policy=config.data.leakage, class_names=adapter.class_names
    )
    splits = gate.splits
    rows = split_rows(index, splits, notes=gate.case_notes(), class_names=adapter.class_names)
    try:
        write_splits(out, rows)
    except OSError as error:
        raise RecipeError(f"cannot write --out {out.name!r}: {error.strerror}") from error
    return {
        "counts": _counts(index, splits.parts, adapter.class_names if classes else ()),
        "folds": [splits.folds.count(n) for n in range(max(splits.folds, default=-1) + 1)],
        "unit": splits.unit,
        "by": splits.by,
        "official": splits.official,
        "n_skipped": skipped.total(),
        "skipped": dict(skipped.most_common()),
        "notes": [*adapter.notes, *splits.notes],
    }


def _counts(
    index: Sequence[IndexRow], parts: Sequence[str], class_names: Sequence[str]
) -> dict[str, dict[str, int]]:
    """Part -> class -> cases, or part -> ``cases`` -> cases without classes."""
    counts: dict[str, dict[str, int]] = {}
    for row, part in zip(index, parts, strict=True):
        if not part:
            continue
        table = counts.setdefault(part, dict.fromkeys(class_names or ("cases",), 0))
        labels = row.labels if row.labels is not None else ()
        present = [k for k, value in enumerate(labels) if value == 1.0]
        shown = present if row.label is None else [row.label]
        for name in [class_names[k] for k in shown] if class_names else ["cases"]:
            table[name] += 1
    return counts
