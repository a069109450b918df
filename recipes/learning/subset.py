"""A part of the training patients, drawn so that larger parts contain the smaller ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from data_adapters.adapter import IndexRow
from data_adapters.splits import Splits
from recipes.errors import ConfigError
from recipes.evaluation.bootstrap import group_index


def thin_training(index: Sequence[IndexRow], splits: Splits, *, patients: int, draw: int) -> Splits:
    """Leave training patients out, all cases of each; validation and test stay whole.

    Patients are drawn in proportion to their classes (a patient counts for the class of the first
    of their cases, multi-label cases all count alike). The draws of one number are nested: with 20
    patients come all those of 10.

    Args:
        index: One row per case.
        splits: The parts.
        patients: Training patients that stay. A case of an unknown patient is a patient of its
            own.
        draw: Number of the draw, which is its seed.

    Returns:
        The splits, unused cases having no part.

    Raises:
        ConfigError: There are fewer training patients.
    """
    rows = splits.rows("train")
    of_row, _ = group_index([index[i].patient_id for i in rows], len(rows))
    first = {int(p): i for p, i in reversed(list(zip(of_row, rows, strict=True)))}
    if patients > len(first):
        raise ConfigError(
            f"data.train_patients={patients}: the training part has {len(first)} patients"
        )
    order = _order([index[first[p]].label for p in range(len(first))], draw)
    kept = set(order[:patients])
    parts = list(splits.parts)
    for p, i in zip(of_row, rows, strict=True):
        if int(p) not in kept:
            parts[i] = ""
    note = f"{patients} of {len(first)} training patients were drawn (draw {draw})."
    return replace(splits, parts=tuple(parts), notes=(*splits.notes, note))


def _order(classes: Sequence[int | None], draw: int) -> list[int]:
    """Patients in an order whose every beginning holds the classes in proportion."""
    rng = np.random.default_rng([draw, len(classes)])
    rank = np.zeros(len(classes))
    for name in sorted({-1 if c is None else c for c in classes}):
        own = np.array([p for p, c in enumerate(classes) if (-1 if c is None else c) == name])
        rank[rng.permutation(own)] = (np.arange(len(own)) + rng.uniform()) / len(own)
    return [int(p) for p in np.argsort(rank, kind="stable")]
