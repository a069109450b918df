"""``radzoo detect evaluate``: a finished detector on data with lesions, old or new."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from data_adapters.errors import CaseError
from recipes.config import load_config
from recipes.detection.config import DetectionConfig
from recipes.detection.data import open_lesions
from recipes.detection.detector import Detector
from recipes.detection.scoring import Scan, score
from recipes.detection.truth import marks_of, spacing_of
from recipes.errors import RecipeError
from recipes.progress import Reporter
from recipes.segmentation.evaluating import choose_rows


def evaluate(
    run: str | Path,
    source: str | Path,
    *,
    part: str | None = None,
    include_seen: bool = False,
    n_boot: int = 1000,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Score a run's detector on data with lesions.

    Args:
        run: Run folder of a finished fit.
        source: Data with lesions; anything ``data_adapters.open`` takes.
        part: A part of the run's own ``splits.csv`` (or of the data); None takes every case.
        include_seen: Keep cases that were trained on or chose the epoch; a part that is asked for
            by name is kept whole.
        n_boot: Bootstrap replicates.
        reporter: Progress; quiet where None.

    Returns:
        `scoring.score`'s figures, ``part``, ``n_seen`` (left out), ``n_skipped``, ``notes``.

    Raises:
        recipes.errors.RecipeError: The run, the part, or the classes do not fit.
        data_adapters.errors.DataError: The data cannot be read.
    """
    folder = Path(run)
    with reporter or Reporter(quiet=True) as live:
        model = Detector.load(folder)
        record = model.record
        config = load_config(DetectionConfig, file=folder / "config.yaml")
        opening = config.data.model_copy(update={"splits": None, "fold": None})
        adapter = open_lesions(str(source), opening)
        if tuple(adapter.class_names) != record.class_names:
            raise RecipeError(
                f"the data have the classes {', '.join(adapter.class_names)}, the detector was "
                f"fitted on {', '.join(record.class_names)}"
            )
        rows, n_seen = choose_rows(adapter, record.train_ids, folder, part, include_seen)
        scans, skipped = [], 0
        with live.task("finding candidates", len(rows)) as step:
            for done, row in enumerate(rows, start=1):
                try:
                    case = adapter[row]
                except CaseError:
                    skipped += 1
                    continue
                lesions = marks_of(case, radius=record.radius)
                found = model.find(case)
                spacing = spacing_of(case)
                scans.append(
                    Scan(
                        row, case.case_id, case.patient_id, lesions, found, spacing,
                        case.image.shape[:-1],
                    )
                )  # fmt: skip
                step(done, len(rows))
        if not scans:
            raise RecipeError(f"none of {len(rows)} cases could be read")
        figures = score(
            scans,
            record.class_names,
            record.hits(),
            per=record.per,
            thresholds=record.thresholds,
            n_boot=n_boot,
            seed=config.seed,
        )
    return figures | {
        "part": part or "every case",
        "n_seen": n_seen,
        "n_skipped": skipped + len(adapter.skipped),
        "notes": list(adapter.notes),
    }
