"""``radzoo segment evaluate``: a finished model on data with masks, old or new."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_adapters.adapter import Adapter
from data_adapters.errors import CaseError
from data_adapters.split_table import read_splits
from recipes.config import load_config
from recipes.errors import RecipeError
from recipes.evaluation.masks import ScoreOptions
from recipes.progress import Reporter
from recipes.segmentation.config import SegmentationConfig
from recipes.segmentation.data import PARTS, open_data
from recipes.segmentation.record import SegmentationRecord
from recipes.segmentation.scoring import Predicted, score, write_labels
from recipes.segmentation.segmenter import Segmenter


def evaluate(
    run: str | Path,
    source: str | Path,
    *,
    part: str | None = None,
    include_seen: bool = False,
    n_boot: int = 1000,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Score a run's model on data with masks.

    Args:
        run: Run folder of a finished fit.
        source: Data with masks; anything ``data_adapters.open`` takes.
        part: A part of the run's own ``splits.csv`` (or of the data, where they bring parts);
            None takes every case.
        include_seen: Keep cases that were trained on or chose the epoch; a part that is asked for
            by name is kept whole.
        n_boot: Bootstrap replicates.
        reporter: Progress; quiet where None.

    Returns:
        ``n``, ``part``, ``n_seen`` (left out), ``n_skipped``, ``notes`` and every figure as
        class -> ``{"value", "low", "high"}``.

    Raises:
        recipes.errors.RecipeError: The run, the part, or the classes do not fit.
        data_adapters.errors.DataError: The data cannot be read.
    """
    folder = Path(run)
    with reporter or Reporter(quiet=True) as live:
        model = Segmenter.load(folder)
        record = model.record
        config = load_config(SegmentationConfig, file=folder / "config.yaml")
        opening = config.data.model_copy(update={"splits": None, "fold": None})
        adapter = open_data(str(source), opening)
        _check_classes(adapter, record)
        rows, n_seen = choose_rows(adapter, record.train_ids, folder, part, include_seen)
        with tempfile.TemporaryDirectory() as scratch:
            kept, skipped = [], 0
            with live.task("predicting", len(rows)) as step:
                for done, row in enumerate(rows, start=1):
                    try:
                        case = adapter[row]
                    except CaseError:
                        skipped += 1
                        continue
                    if case.mask is None:
                        skipped += 1
                        continue
                    labels = model.labels(*model.ready(case))
                    write_labels(Path(scratch) / f"{row:06d}.npy", labels)
                    kept.append(row)
                    step(done, len(rows))
            if not kept:
                raise RecipeError(f"none of {len(rows)} cases could be read with its mask")
            with live.task("scoring", len(kept)) as step:
                scored = score(
                    Predicted(part or "all", adapter, tuple(kept), Path(scratch)),
                    class_names=record.class_names,
                    steps=record.postprocess,
                    options=ScoreOptions(tolerance=record.tolerance, membranes=record.membranes),
                    n_boot=n_boot,
                    seed=config.seed,
                    progress=step,
                )
    return scored.metrics | {
        "part": part or "every case",
        "n_seen": n_seen,
        "n_skipped": skipped + len(adapter.skipped),
        "notes": list(adapter.notes),
    }


def _check_classes(adapter: Adapter, record: SegmentationRecord) -> None:
    if tuple(adapter.class_names) != record.class_names:
        raise RecipeError(
            f"the data have the classes {', '.join(adapter.class_names)}, the model was fitted on "
            f"{', '.join(record.class_names)}"
        )


def choose_rows(
    adapter: Adapter,
    train_ids: Sequence[str],
    folder: Path,
    part: str | None,
    include_seen: bool,
) -> tuple[list[int], int]:
    """Rows to score, and how many were left out because training saw them.

    Args:
        adapter: The data.
        train_ids: Cases that training or the choice of the epoch has seen.
        folder: Run folder with its ``splits.csv``.
        part: A part of it, or of the data; None takes every case.
        include_seen: Keep cases that were seen.

    Raises:
        RecipeError: No such part, or nothing is left.
    """
    rows = range(len(adapter.index))
    if part is not None:
        if part not in PARTS:
            raise RecipeError(f"--part {part!r} is none of {', '.join(PARTS)}")
        table = {row.case_id: row.part for row in read_splits(folder / "splits.csv")}
        chosen = [
            i for i in rows if table.get(adapter.index[i].case_id, adapter.index[i].part) == part
        ]
        if not chosen:
            raise RecipeError(f"no case of the data is in the {part} part of this run")
        return chosen, 0
    seen = set() if include_seen else set(train_ids)
    chosen = [i for i in rows if adapter.index[i].case_id not in seen]
    if not chosen:
        raise RecipeError(
            f"all {len(rows)} cases were seen in training; give other data, --part val or "
            "--include-seen"
        )
    return chosen, len(rows) - len(chosen)
