"""What a search is: stored in its folder, so that it continues as it began."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from recipes.config import Section, digest, load_config
from recipes.engine.checkpoint import write_atomic, write_json
from recipes.errors import RunFolderError
from recipes.registry import RECIPES, Recipe
from recipes.search.errors import SearchError
from recipes.search.space import Space, change, read_space

PLAN_FILE = "search.json"
SPACE_FILE = "space.yaml"
DATABASE = "search.db"
TRIALS = "trials"

Sampler = Literal["random", "tpe"]
Pruner = Literal["none", "halving"]


@dataclass(frozen=True)
class Objective:
    """A validation figure that trials are compared by.

    Attributes:
        name: As the user gives it.
        place: Keys that lead to it in ``metrics`` of ``metrics.json``.
        higher: Whether more is better.
        watched: The figure of an epoch's record that stands for it while a trial trains; None
            where there is none, and trials cannot be stopped early.
    """

    name: str
    place: tuple[str, ...]
    higher: bool = True
    watched: tuple[str, ...] = ()


OBJECTIVES: dict[str, tuple[Objective, ...]] = {
    "classification": (
        Objective("auc", ("auc",), watched=("val_auc",)),
        Objective("log_loss", ("log_loss",), higher=False, watched=("val_loss",)),
        Objective("accuracy", ("accuracy",), watched=("val_accuracy",)),
        Objective("balanced_accuracy", ("balanced_accuracy",)),
        Objective("average_precision", ("average_precision",)),
        Objective("brier", ("brier",), higher=False),
    ),
    "segmentation": (Objective("dice", ("mean", "dice"), watched=("val_dice",)),),
    "detection": (
        Objective("cpm", ("cpm",), watched=("val_ap", "val_dice")),
        Objective("ap10", ("ap10",), watched=("val_ap", "val_dice")),
        Objective("ap50", ("ap50",), watched=("val_ap", "val_dice")),
    ),
}
"""What each recipe can be searched by, the first being the default."""


def recipe_of(task: str) -> Recipe:
    """The recipe of a task."""
    return next(recipe for recipe in RECIPES if recipe.task == task)


def objective_of(task: str, name: str | None) -> Objective:
    """The objective of this name, the recipe's first where None.

    Raises:
        SearchError: The recipe has no such objective.
    """
    known = OBJECTIVES[task]
    found = [one for one in known if name in (None, one.name)]
    if not found:
        raise SearchError(
            f"unknown --metric {name!r}; known: {', '.join(one.name for one in known)}"
        )
    return found[0]


@dataclass(frozen=True)
class SearchPlan:
    """Everything that decides what trial k of a search is.

    Attributes:
        task: ``task`` of the recipe.
        base: The configuration that trials start from, as plain values.
        space: What varies.
        metric: Name of the objective.
        sampler: ``random`` (Bergstra & Bengio 2012) or ``tpe`` (Bergstra et al. 2011).
        pruner: ``none`` or ``halving`` (asynchronous successive halving, Li et al. 2020).
        seed: Seed of the sampler; the trials' own seed is that of the configuration.
    """

    task: str
    base: Mapping[str, Any]
    space: Space
    metric: str
    sampler: Sampler = "random"
    pruner: Pruner = "none"
    seed: int = 0

    @property
    def objective(self) -> Objective:
        """The objective."""
        return objective_of(self.task, self.metric)

    @property
    def recipe(self) -> Recipe:
        """The recipe."""
        return recipe_of(self.task)

    def config(self, values: Mapping[str, Any]) -> Section:
        """Configuration of a trial.

        Args:
            values: Dotted key to value; empty for the plain configuration that every search begins
                with.

        Raises:
            ConfigError: The values contradict each other.
        """
        kind: type[Section] = self.recipe.config_class()
        changes = [change(key, value) for key, value in {**self.space.fixed, **values}.items()]
        return load_config(kind, base=self.base, changes=changes)

    def plain(self) -> dict[str, Any]:
        """JSON-able content."""
        return {
            "task": self.task,
            "base": dict(self.base),
            "space": self.space.plain(),
            "metric": self.metric,
            "sampler": self.sampler,
            "pruner": self.pruner,
            "seed": self.seed,
        }


def begin(plan: SearchPlan, folder: Path) -> None:
    """Write the plan into a new folder, or see that the folder holds this very search.

    Raises:
        RunFolderError: The folder holds another search or something else.
    """
    path = folder / PLAN_FILE
    if path.is_file():
        stored = read_plan(folder)
        if digest(stored.plain()) != digest(plan.plain()):
            names = [k for k, v in plan.plain().items() if v != stored.plain()[k]]
            raise RunFolderError(
                f"the folder holds a search with another {', '.join(names)} ({PLAN_FILE} in it); "
                "give its options, or choose another --out"
            )
        return
    if folder.exists() and any(item.suffix != ".lock" for item in folder.iterdir()):
        raise RunFolderError(
            "the folder is not empty and holds no search; choose an empty or new one for --out"
        )
    write_atomic(folder / SPACE_FILE, plan.space.to_yaml().encode())
    write_json(path, plan.plain())


def read_plan(folder: Path) -> SearchPlan:
    """The plan of a search's folder.

    Raises:
        RunFolderError: There is none, or it is damaged.
    """
    try:
        content = json.loads((folder / PLAN_FILE).read_text(encoding="utf-8"))
        kind = recipe_of(content["task"]).config_class()
        space = read_space(folder / SPACE_FILE, kind)
        if digest(space.plain()) != digest(content["space"]):
            raise RunFolderError(
                f"{SPACE_FILE} was edited after the search began; copy it, give the copy as "
                "--space and choose another --out"
            )
        return SearchPlan(**{**content, "space": space})
    except FileNotFoundError as error:
        raise RunFolderError(f"no search in this folder ({error.filename and PLAN_FILE})") from None
    except (OSError, ValueError, KeyError, TypeError, StopIteration) as error:
        if isinstance(error, RunFolderError):
            raise
        raise RunFolderError(
            f"{PLAN_FILE} is damaged ({type(error).__name__}); choose another --out"
        ) from error
