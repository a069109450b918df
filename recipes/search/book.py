"""The book of a search: an Optuna study on SQLite that several processes write into.

A trial belongs to the process that holds its lock file; the system releases that when the process
dies, and whoever comes next takes the trial on where its run folder stands. Optuna's own states say
the rest: complete, pruned, failed.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from recipes.report.inputs import scrub
from recipes.search.errors import MissingExtraError, SearchError
from recipes.search.plan import DATABASE, TRIALS, SearchPlan
from recipes.search.space import Choices, Range

if TYPE_CHECKING:
    import optuna

PATIENCE = 120.0
"""Seconds that a process waits for another one's write."""
STARTUP = 10
"""Random trials before TPE looks at results."""
FACTOR = 3
"""Successive halving keeps one trial in this many at each rung."""


def load_optuna() -> Any:
    """Optuna, its own lines held back.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise MissingExtraError("a search", "search") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


@dataclass
class Claim:
    """A trial that this process holds.

    Attributes:
        number: Its number, from 0; trial 0 is the plain configuration.
        values: Dotted key to value; empty for trial 0.
        resumed: Whether another process began it.
        folder: Its run folder.
        lock: Held until the outcome is written.
        trial: Optuna's object.
    """

    number: int
    values: dict[str, Any]
    resumed: bool
    folder: Path
    lock: FileLock
    trial: Any


class Book:
    """Trials of one search, shared through its folder."""

    def __init__(self, folder: Path, plan: SearchPlan) -> None:
        """Open the database, making it where there is none."""
        self.folder = folder
        self.plan = plan
        self.optuna = load_optuna()
        folder.mkdir(parents=True, exist_ok=True)
        self._guard = FileLock(folder / "book.lock")
        with self._guard:
            storage = self.optuna.storages.RDBStorage(
                f"sqlite:///{(folder / DATABASE).resolve()}",
                engine_kwargs={"connect_args": {"timeout": PATIENCE}},
            )
            self.study: optuna.Study = self.optuna.create_study(
                storage=storage,
                study_name="search",
                direction="maximize" if plan.objective.higher else "minimize",
                load_if_exists=True,
                pruner=self._pruner(),
            )

    def _pruner(self) -> Any:
        if self.plan.pruner == "none":
            return self.optuna.pruners.NopPruner()
        return self.optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=FACTOR)

    def _sampler(self, number: int) -> Any:
        """The sampler of trial ``number``: what it draws depends on the seed and the number alone.

        (TPE's draws depend on the results so far as well.)
        """
        seed = (self.plan.seed * 1_000_003 + number) % 2**32
        if self.plan.sampler == "random":
            return self.optuna.samplers.RandomSampler(seed=seed)
        return self.optuna.samplers.TPESampler(
            seed=seed, n_startup_trials=STARTUP, constant_liar=True
        )

    def claim(self, trials: int) -> Claim | None:
        """Take on an abandoned trial, else begin a new one; None where there is nothing to do.

        Args:
            trials: Most trials in the book.
        """
        with self._guard:
            states = self.optuna.trial.TrialState
            found = self.study.get_trials(deepcopy=False)
            for frozen in found:
                if frozen.state == states.RUNNING:
                    lock = self.try_lock(frozen.number)
                    if lock is not None:
                        self.study.sampler = self._sampler(frozen.number)
                        own = self.optuna.trial.Trial(self.study, frozen._trial_id)
                        return self._claim(own, lock, resumed=True)
            if len(found) >= trials:
                return None
            self.study.sampler = self._sampler(len(found))
            trial = self.study.ask()
            lock = self.try_lock(trial.number)
            if lock is None:
                raise SearchError(f"another process holds the lock of trial {trial.number}")
            return self._claim(trial, lock, resumed=False)

    def _claim(self, trial: Any, lock: FileLock, *, resumed: bool) -> Claim:
        values = {}
        if trial.number:
            values = {key: self._suggest(trial, key) for key in self.plan.space.axes}
        return Claim(trial.number, values, resumed, self.run(trial.number), lock, trial)

    def run(self, number: int) -> Path:
        """Run folder of a trial."""
        return self.folder / TRIALS / f"{number:04d}"

    def try_lock(self, number: int) -> FileLock | None:
        """Take a trial for this process; None where another one holds it."""
        place = self.folder / TRIALS / f"{number:04d}.lock"
        place.parent.mkdir(exist_ok=True)
        lock = FileLock(place)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return None
        return lock

    def _suggest(self, trial: Any, key: str) -> Any:
        axis = self.plan.space.axes[key]
        if isinstance(axis, Choices):
            texts = [json.dumps(value) for value in axis.values]
            return json.loads(trial.suggest_categorical(key, texts))
        return _number(trial, key, axis)

    def watch(self, claim: Claim, step: int, value: float) -> bool:
        """Note a figure of a trial under way; True where the trial may stop.

        The plain configuration is never stopped: the others are compared with it.
        """
        with warnings.catch_warnings():  # a resumed trial reports some epochs again
            warnings.simplefilter("ignore", UserWarning)
            claim.trial.report(value, step)
        return claim.number > 0 and bool(claim.trial.should_prune())

    def tell(
        self,
        claim: Claim,
        *,
        value: float | None = None,
        pruned: bool = False,
        facts: Mapping[str, Any] | None = None,
        error: BaseException | None = None,
    ) -> None:
        """Write a trial's outcome and release it.

        Args:
            claim: The trial.
            value: Its objective; None where it has none.
            pruned: It was stopped early.
            facts: JSON-able facts to keep beside it.
            error: Why it failed.
        """
        states = self.optuna.trial.TrialState
        with self._guard:
            for key, fact in (facts or {}).items():
                claim.trial.set_user_attr(key, fact)
            if error is not None:
                failure = {"type": type(error).__name__, "message": scrub(error)[:500]}
                claim.trial.set_user_attr("error", failure)
            state = states.PRUNED if pruned else states.FAIL if value is None else states.COMPLETE
            self.study.tell(claim.number, value, state=state)
        claim.lock.release()

    def release(self, claim: Claim) -> None:
        """Give a trial back unfinished: the next process resumes it."""
        claim.lock.release()

    def waiting(self) -> int:
        """Trials that run, or wait to be resumed."""
        running = (self.optuna.trial.TrialState.RUNNING,)
        return len(self.study.get_trials(deepcopy=False, states=running))

    def agree(self, cut: str) -> None:
        """See that every trial has the same cases in the same parts.

        Args:
            cut: Hash of a trial's parts.

        Raises:
            SearchError: Another trial had others.
        """
        with self._guard:
            known = self.study.user_attrs.get("cut")
            if known is None:
                self.study.set_user_attr("cut", cut)
            elif known != cut:
                raise SearchError(
                    "the cases or their parts are not those that this search began with; choose "
                    "another --out"
                )


def _number(trial: Any, key: str, axis: Range) -> float | int:
    if axis.whole and (axis.step is None or float(axis.step).is_integer()):
        step = 1 if axis.step is None else int(axis.step)
        return int(trial.suggest_int(key, int(axis.low), int(axis.high), step=step, log=axis.log))
    return float(trial.suggest_float(key, axis.low, axis.high, step=axis.step, log=axis.log))
