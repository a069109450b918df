"""One trial: a fit that stops before the test part, and what is kept of it."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_adapters.split_table import read_splits
from recipes.config import Section
from recipes.engine.checkpoint import discard
from recipes.engine.trial import Trial
from recipes.errors import RecipeError
from recipes.progress import Reporter
from recipes.registry import Recipe
from recipes.runs import RunFolder
from recipes.search.plan import Objective

Watch = Callable[[int, float], None]


class UndefinedMetricError(RecipeError):
    """A trial has no value of the objective."""


@dataclass(frozen=True)
class Outcome:
    """What a trial came to.

    Attributes:
        value: The objective on the validation part.
        interval: Its 95% interval over patients, None where undefined.
        n: Validation cases.
        seconds: Wall time of the trial, over all its attempts.
        looks: How often the validation part was looked at: once an epoch, and at the end.
        cut: Hash of the cases and their parts.
    """

    value: float
    interval: tuple[float, float] | None
    n: int
    seconds: float
    looks: int
    cut: str

    def facts(self) -> dict[str, Any]:
        """What the book keeps beside the value."""
        return {
            "interval": self.interval,
            "n": self.n,
            "seconds": self.seconds,
            "looks": self.looks,
        }


def run_trial(
    recipe: Recipe,
    objective: Objective,
    source: str,
    config: Section,
    folder: Path,
    *,
    watch: Watch | None = None,
    reporter: Reporter | None = None,
) -> Outcome:
    """Fit one configuration up to its validation figures; resume what was interrupted.

    Args:
        recipe: What is fitted.
        objective: What is read from its validation figures.
        source: The data.
        config: The trial's configuration.
        folder: Its run folder.
        watch: Called with (epoch, the watched figure) of the phase that trains the network; what it
            raises ends the trial, which can be resumed.
        reporter: Progress; quiet where None.

    Raises:
        RecipeError, DataError, ZooError: As `fit`.
        UndefinedMetricError: The objective has no value here.
    """

    def epoch(record: dict[str, Any]) -> None:
        value = next((record[name] for name in objective.watched if name in record), None)
        if watch is None or record.get("phase") == "head" or record.get("member"):
            return
        watch(int(record["epoch"]), float("nan") if value is None else float(value))

    recipe.part("fitting:fit")(source, folder, config, reporter=reporter, trial=Trial(epoch))
    return read_outcome(folder, objective)


def read_outcome(folder: Path, objective: Objective) -> Outcome:
    """The outcome of a trial whose run folder has validation figures.

    Raises:
        UndefinedMetricError: The objective is undefined there.
    """
    content = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    figure = content["validation"]
    for key in objective.place:
        figure = figure[key]
    if figure["value"] is None:
        raise UndefinedMetricError(
            f"{objective.name} is undefined on the validation part; see the notes in metrics.json"
        )
    ends = (figure["low"], figure["high"])
    return Outcome(
        value=float(figure["value"]),
        interval=None if None in ends else ends,
        n=int(content["validation"]["n"]),
        seconds=spent(folder),
        looks=looks(folder),
        cut=cut_of(folder),
    )


def spent(folder: Path) -> float:
    """Seconds of work in a run folder so far."""
    state = RunFolder(folder).read()
    return 0.0 if state is None else round(sum(state.seconds.values()), 2)


def looks(folder: Path) -> int:
    """Validations in a run folder: one an epoch of each of its histories, and one at the end."""
    count = 1
    for path in (folder / "history.csv", folder / "first" / "history.csv"):
        if path.is_file():
            with path.open(encoding="utf-8", newline="") as file:
                count += sum(1 for _ in csv.DictReader(file))
    return count


def cut_of(folder: Path) -> str:
    """Hash of which case is in which part."""
    rows = sorted((row.case_id, row.part or "") for row in read_splits(folder / "splits.csv"))
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def forget(folder: Path) -> None:
    """Remove what only a better trial needs: model, checkpoints; figures and history stay."""
    from recipes.engine.modelfile import MODEL_FILE

    for place in (folder, folder / "first", folder / "second"):
        discard(place / MODEL_FILE)
        shutil.rmtree(place / "checkpoints", ignore_errors=True)
