"""Trials side by side: processes on this machine, or tasks on a Ray cluster."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_adapters.errors import DataError
from recipes.errors import RecipeError
from recipes.progress import Reporter
from recipes.search.book import Book, Claim
from recipes.search.errors import MissingExtraError, SearchError
from recipes.search.plan import SearchPlan, read_plan
from recipes.search.running import Budget, Worker, cost, failures, record, tidy
from recipes.search.trials import Outcome, run_trial

WAIT = 0.5
"""Seconds between looks at tasks under way."""


def run_in_processes(
    source: str, folder: Path, budget: Budget, jobs: int, reporter: Reporter
) -> None:
    """Do the trials in several processes that share the book.

    A process that dies leaves its trial to the others; what it said stands on its error stream.

    Raises:
        SearchError: All processes died.
    """
    context = multiprocessing.get_context("spawn")
    arguments = (source, str(folder), budget, reporter.quiet)
    workers = [context.Process(target=_work, args=arguments) for _ in range(jobs)]
    for worker in workers:
        worker.start()
    try:
        for worker in workers:
            worker.join()
    except KeyboardInterrupt:
        for worker in workers:
            worker.terminate()
            worker.join()
        raise
    codes = [worker.exitcode for worker in workers]
    if all(codes):
        raise SearchError(f"all {jobs} processes of the search ended with an error ({codes[0]})")


def _work(source: str, folder: str, budget: Budget, quiet: bool) -> None:
    """What each process does."""
    from recipes.quiet import quiet_backend

    quiet_backend()
    with Reporter(quiet=quiet) as reporter:
        try:
            Worker(source, Path(folder), read_plan(Path(folder)), budget, reporter).run()
        except (RecipeError, DataError) as error:
            raise SystemExit(str(error)) from None


def run_on_ray(
    source: str, folder: Path, plan: SearchPlan, budget: Budget, jobs: int, reporter: Reporter
) -> None:
    """Do the trials as tasks of a Ray cluster, the book being kept here alone.

    Data and folder must lie where every node sees them under the same path. Ray joins the cluster
    that ``RAY_ADDRESS`` names, else one that runs on this machine, else starts one.

    Raises:
        MissingExtraError: Ray is not installed.
        SearchError: Trials would have to be stopped early, which needs a look at each epoch.
    """
    try:
        import ray
    except ImportError:
        raise MissingExtraError("--engine ray", "ray") from None
    if plan.pruner != "none":
        raise SearchError("--engine ray runs whole trials; leave --pruner out, or --engine local")
    if not ray.is_initialized():
        ray.init(log_to_driver=False, ignore_reinit_error=True)
    task = ray.remote(max_retries=0)(ray_trial)
    RaySearch(ray, task, source, Book(folder, plan), budget, reporter).run(jobs)


def ray_trial(task: str, metric: str, source: str, base: Mapping[str, Any], folder: str) -> Outcome:
    """One trial on some node: plain values in, its outcome back."""
    from recipes.config import build_config
    from recipes.quiet import quiet_backend
    from recipes.search.plan import objective_of, recipe_of

    quiet_backend()
    recipe = recipe_of(task)
    config = build_config(recipe.config_class(), base)
    return run_trial(recipe, objective_of(task, metric), source, config, Path(folder))


class RaySearch:
    """The driver's side: asks, hands out, writes down."""

    def __init__(
        self, ray: Any, task: Any, source: str, book: Book, budget: Budget, reporter: Reporter
    ) -> None:
        """Keep the arguments.

        Args:
            ray: The module, joined to a cluster.
            task: `ray_trial` as a remote function.
            source: The data.
            book: The search's book.
            budget: How much is searched.
            reporter: Progress.
        """
        self.ray, self.task, self.source = ray, task, source
        self.book, self.budget, self.reporter = book, budget, reporter
        self.running: dict[Any, Claim] = {}

    def run(self, jobs: int) -> None:
        """Keep ``jobs`` trials under way until there is none left or no time.

        Trials under way when the time is up are finished; none begins.
        """
        minutes = self.budget.minutes
        deadline = float("inf") if minutes is None else time.monotonic() + 60 * minutes
        try:
            while self._fill(jobs, deadline) or self.running:
                ready, _ = self.ray.wait(list(self.running), num_returns=1, timeout=WAIT)
                for future in ready:
                    self._done(future, self.running.pop(future))
        finally:
            for claim in self.running.values():
                self.book.release(claim)

    def _fill(self, jobs: int, deadline: float) -> bool:
        """Hand out trials; whether anything is under way."""
        while len(self.running) < jobs and time.monotonic() < deadline:
            claim = self.book.claim(self.budget.trials)
            if claim is None:
                break
            self._begin(claim)
        return bool(self.running)

    def _begin(self, claim: Claim) -> None:
        plan = self.book.plan
        try:
            config = plan.config(claim.values)
        except RecipeError as error:
            self._failed(claim, error)
            return
        future = self.task.remote(
            plan.task,
            plan.metric,
            self.source,
            config.model_dump(mode="json"),
            str(claim.folder.resolve()),
        )
        self.running[future] = claim

    def _done(self, future: Any, claim: Claim) -> None:
        try:
            outcome = self.ray.get(future)
        except self.ray.exceptions.RayTaskError as error:
            cause = error.cause
            if isinstance(cause, DataError):
                self.book.tell(claim, error=cause, facts=cost(claim.folder))
                raise cause from None
            self._failed(claim, cause)
        except self.ray.exceptions.RayError as error:  # a node or worker died
            self._failed(claim, error)
        else:
            record(self.book, claim, outcome, self.reporter)
        tidy(self.book)

    def _failed(self, claim: Claim, error: BaseException) -> None:
        known = isinstance(error, (*failures(), self.ray.exceptions.RayError))
        self.book.tell(claim, error=error, facts=cost(claim.folder))
        self.reporter.say(f"trial {claim.number}: {type(error).__name__}: {error}")
        if not known:
            raise SearchError(
                f"trial {claim.number} failed in a way that is not foreseen "
                f"({type(error).__name__}); see Ray's log"
            ) from error
