"""``radzoo classify|segment|detect search``: trials until their number or the time is reached."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_adapters.errors import DataError
from recipes.engine.checkpoint import write_json
from recipes.errors import RecipeError
from recipes.progress import Reporter
from recipes.search.book import Book, Claim
from recipes.search.errors import SearchError
from recipes.search.plan import SearchPlan, begin
from recipes.search.results import RESULT_FILE, finish, found_result
from recipes.search.trials import Outcome, forget, looks, run_trial, spent
from zoo.errors import ZooError

FAILURES: tuple[type[Exception], ...] = (RecipeError, ZooError, MemoryError, ArithmeticError)
"""What ends a trial and not the search; TensorFlow's own errors come on top."""


class _Stopped(Exception):
    """A trial ends early: it lost its rung."""


class _OutOfTimeError(Exception):
    """The time budget is used up in the middle of a trial."""


@dataclass(frozen=True)
class Budget:
    """How much is searched.

    Attributes:
        trials: Most trials of the whole search, those of earlier calls included.
        minutes: Most minutes of this call; None has no limit.
    """

    trials: int
    minutes: float | None = None


class Worker:
    """One process at work on a search."""

    def __init__(
        self, source: str, folder: Path, plan: SearchPlan, budget: Budget, reporter: Reporter
    ) -> None:
        """Open the book.

        Args:
            source: The data.
            folder: The search's folder.
            plan: What the search is.
            budget: How much is searched.
            reporter: Progress.
        """
        self.source = source
        self.plan = plan
        self.budget = budget
        self.reporter = reporter
        self.book = Book(folder, plan)
        minutes = budget.minutes
        self.deadline = math.inf if minutes is None else time.monotonic() + 60 * minutes

    def run(self) -> None:
        """Do trials until there is none left or no time."""
        while time.monotonic() < self.deadline:
            claim = self.book.claim(self.budget.trials)
            if claim is None:
                return
            self.reporter.show("trials", claim.number, self.budget.trials)
            try:
                self._one(claim)
            except (_OutOfTimeError, KeyboardInterrupt) as error:
                self.book.release(claim)
                if isinstance(error, KeyboardInterrupt):
                    raise
                self.reporter.say(f"trial {claim.number}: out of time; it resumes next time")
                return

    def _one(self, claim: Claim) -> None:
        try:
            outcome = run_trial(
                self.plan.recipe,
                self.plan.objective,
                self.source,
                self.plan.config(claim.values),
                claim.folder,
                watch=self._watch(claim),
                reporter=Reporter(quiet=True),
            )
        except _Stopped:
            self.book.tell(claim, pruned=True, facts=cost(claim.folder))
            self.reporter.say(f"trial {claim.number}: stopped early")
        except DataError as error:
            self.book.tell(claim, error=error, facts=cost(claim.folder))
            raise
        except failures() as error:
            self.book.tell(claim, error=error, facts=cost(claim.folder))
            self.reporter.say(f"trial {claim.number}: {type(error).__name__}: {error}")
        else:
            record(self.book, claim, outcome, self.reporter)
        tidy(self.book)

    def _watch(self, claim: Claim) -> Callable[[int, float], None]:
        halving = self.plan.pruner == "halving"

        def watch(step: int, value: float) -> None:
            if time.monotonic() >= self.deadline:
                raise _OutOfTimeError
            if halving and math.isfinite(value) and self.book.watch(claim, step, value):
                raise _Stopped

        return watch


def record(book: Book, claim: Claim, outcome: Outcome, reporter: Reporter) -> None:
    """Write a finished trial into the book.

    Raises:
        SearchError: Its cases or parts are not those of the other trials.
    """
    try:
        book.agree(outcome.cut)
    except SearchError as error:
        book.tell(claim, error=error, facts=cost(claim.folder))
        raise
    book.tell(claim, value=outcome.value, facts=outcome.facts())
    name = book.plan.objective.name
    what = "the plain configuration" if claim.number == 0 else "done"
    reporter.say(
        f"trial {claim.number}: {name} {outcome.value:.4f}, {outcome.seconds:.0f} s ({what})"
    )


def cost(folder: Path) -> dict[str, Any]:
    """What an unfinished trial has cost."""
    return {"seconds": spent(folder), "looks": looks(folder) - 1}


def tidy(book: Book) -> None:
    """Keep models and checkpoints of the best trial so far alone."""
    states = book.optuna.trial.TrialState
    found = book.study.get_trials(deepcopy=False)
    complete = [one for one in found if one.state == states.COMPLETE]
    kept = {best_number(book), *book.study.user_attrs.get("tested", ())}
    over = [one for one in found if one.state in (states.PRUNED, states.FAIL)]
    for one in (*complete, *over):
        if one.number not in kept:
            forget(book.run(one.number))


def best_number(book: Book) -> int | None:
    """Number of the best finished trial, the first of equal ones; None without any."""
    states = book.optuna.trial.TrialState
    done = [t for t in book.study.get_trials(deepcopy=False) if t.state == states.COMPLETE]
    sign = -1.0 if book.plan.objective.higher else 1.0
    return min(done, key=lambda t: (sign * float(t.value or 0), t.number)).number if done else None


def failures() -> tuple[type[Exception], ...]:
    """What ends a trial and not the search, with TensorFlow's own errors where it is loaded."""
    backend = sys.modules.get("tensorflow")
    return FAILURES if backend is None else (*FAILURES, backend.errors.OpError)


def search(
    source: str | Path,
    out: str | Path,
    plan: SearchPlan,
    budget: Budget,
    *,
    jobs: int = 1,
    engine: str = "local",
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Search a recipe's settings on the validation part, then test the winner once.

    The first trial is the plain configuration, so that a search never ends below it. A killed
    search continues with the same call; several calls may share one folder.

    Args:
        source: The data, as for the recipe's fit.
        out: Folder of the search.
        plan: What the search is; must be the same in every call.
        budget: How much is searched.
        jobs: Processes on this machine, or trials at a time on a Ray cluster.
        engine: ``local`` or ``ray``.
        reporter: Progress; quiet where None.

    Returns:
        Trials, cost, optimism, and the winner with its test figures; see `found_result`. While
        other processes are at work, ``winner`` has no test figures yet.

    Raises:
        SearchError: No trial finished, or the data changed under way.
        RunFolderError: The folder holds something else.
        MissingExtraError: Optuna or Ray is not installed.
        data_adapters.errors.DataError: The data cannot be read.
    """
    folder = Path(out)
    if plan.pruner == "halving" and not plan.objective.watched:
        raise SearchError(
            f"--pruner halving cannot stop trials by {plan.metric}, which is not known while they "
            "train; choose another --metric or --pruner none"
        )
    with reporter or Reporter(quiet=True) as live:
        begin(plan, folder)
        if engine == "ray":
            from recipes.search.spread import run_on_ray

            run_on_ray(str(source), folder, plan, budget, jobs, live)
        elif jobs > 1:
            from recipes.search.spread import run_in_processes

            run_in_processes(str(source), folder, budget, jobs, live)
        else:
            Worker(str(source), folder, plan, budget, live).run()
        live.clear()
        book = Book(folder, plan)
        tested = finish(book, str(source), best_number(book), live)
        result = found_result(book, best_number(book), tested)
        write_json(folder / RESULT_FILE, result)
        from recipes.search.page import write_page

        write_page(folder, result)
    return result
