"""Searches whose trials are made up, so that their mechanics cost nothing."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from recipes.search.plan import SearchPlan
from recipes.search.space import Choices, Range, Space
from recipes.search.trials import Outcome

SPACE = Space(
    {
        "train.finetune.learning_rate": Range(1e-5, 1e-2, log=True),
        "model.hidden": Range(0, 512, step=64),
        "augment.strength": Choices(("none", "light", "medium", "strong")),
    },
    {"model.members": 1},
)


def make_plan(**options: Any) -> SearchPlan:
    """A search of the classification recipe."""
    from recipes.classification.config import ClassificationConfig

    base = ClassificationConfig().model_dump(mode="json")
    return SearchPlan("classification", base, SPACE, options.pop("metric", "auc"), **options)


def outcome(value: float) -> Outcome:
    """A finished trial."""
    return Outcome(value, (value - 0.1, value + 0.1), n=10, seconds=1.0, looks=3, cut="cut")


def trial(score: Callable[[Any], float]) -> Callable[..., Outcome]:
    """A stand-in for `run_trial` whose value is a function of the configuration."""

    def run(
        recipe: Any, objective: Any, source: str, config: Any, folder: Path, **more: Any
    ) -> Outcome:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.keras").write_bytes(b"weights")
        value = score(config)
        for step in range(1, 10):
            more["watch"](step, value)
        return outcome(value)

    return run


def main(folder: str, slow: str) -> None:
    """Work on a search in this process; the trial numbered ``slow`` sleeps until it is killed."""
    from recipes.progress import Reporter
    from recipes.search import running

    begun = Path(folder) / "begun"

    def run(
        recipe: Any, objective: Any, source: str, config: Any, place: Path, **more: Any
    ) -> Outcome:
        place.mkdir(parents=True, exist_ok=True)
        (place / "config.json").write_text(json.dumps(config.model_dump(mode="json")))
        if place.name == f"{int(slow):04d}":
            begun.touch()
            time.sleep(600)
        return outcome(0.5 + config.train.head.learning_rate)

    running.run_trial = run
    budget = running.Budget(6)
    running.Worker("data", Path(folder), make_plan(), budget, Reporter(quiet=True)).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
