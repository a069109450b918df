"""Trials on a cluster: the driver with tasks that are stand-ins, and a real one where Ray is."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from data_adapters.errors import DataError
from recipes.config import build_config
from recipes.errors import RecipeError
from recipes.progress import Reporter
from recipes.search.book import Book
from recipes.search.errors import MissingExtraError, SearchError
from recipes.search.plan import SearchPlan, begin, recipe_of
from recipes.search.running import Budget, search
from recipes.search.space import Range, Space
from recipes.search.spread import RaySearch, run_in_processes, run_on_ray
from recipes.search.trials import Outcome
from tests.recipes.search.fakes import make_plan, outcome
from tests.recipes.tiny import TinyRun


class _TaskError(Exception):
    """As Ray's error of a task: it holds the cause."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.cause = cause


class _RayError(Exception):
    """As Ray's error of a node that died."""


class _Ray:
    """A cluster that does a task when it is asked for the result, the last one first."""

    class exceptions:
        RayTaskError = _TaskError
        RayError = _RayError

    def __init__(self, trial: Any) -> None:
        self.trial = trial
        self.most = 0

    def wait(self, futures: list[Any], **more: Any) -> tuple[list[Any], list[Any]]:
        self.most = max(self.most, len(futures))
        return futures[-1:], futures[:-1]

    def get(self, future: Any) -> Outcome:
        try:
            return self.trial(future)
        except (RecipeError, DataError, OSError) as error:
            if isinstance(error, OSError):
                raise _RayError("node died") from error
            raise _TaskError(error) from error


class _Future:
    """A hashable stand-in for Ray's."""

    def __init__(self, arguments: tuple[Any, ...]) -> None:
        self.arguments = arguments


def driver(tmp_path: Path, trial: Any, trials: int, jobs: int) -> tuple[Book, _Ray]:
    book = Book(tmp_path, make_plan())
    ray: Any = _Ray(trial)

    class Task:
        @staticmethod
        def remote(*arguments: Any) -> _Future:
            return _Future(arguments)

    RaySearch(ray, Task, "data", book, Budget(trials), Reporter(quiet=True)).run(jobs)
    return book, ray


def test_the_driver_keeps_so_many_under_way_and_records_every_end(tmp_path: Path) -> None:
    kind = recipe_of("classification").config_class()

    def trial(future: _Future) -> Outcome:
        task, metric, source, base, folder = future.arguments
        assert (task, metric, source) == ("classification", "auc", "data")
        assert build_config(kind, base).model.members == 1
        number = int(Path(folder).name)
        if number == 2:
            raise RecipeError("diverged")
        if number == 3:
            raise OSError
        return outcome(0.5 + number / 100)

    book, ray = driver(tmp_path, trial, 6, 2)
    found = book.study.get_trials()
    assert [one.state.name for one in found] == [
        "COMPLETE", "COMPLETE", "FAIL", "FAIL", "COMPLETE", "COMPLETE",
    ]  # fmt: skip
    assert [one.value for one in found if one.value] == [0.5, 0.51, 0.54, 0.55]
    assert [found[k].user_attrs["error"]["type"] for k in (2, 3)] == ["RecipeError", "_RayError"]
    assert ray.most == 2


def test_unreadable_data_end_it_and_the_others_can_be_resumed(tmp_path: Path) -> None:
    def trial(future: _Future) -> Outcome:
        raise DataError("nothing there")

    with pytest.raises(DataError, match="nothing there"):
        driver(tmp_path, trial, 6, 2)
    book = Book(tmp_path, make_plan())
    assert [one.state.name for one in book.study.get_trials()] == ["RUNNING", "FAIL"]
    claim = book.claim(6)
    assert claim is not None
    assert (claim.number, claim.resumed) == (0, True)


def test_what_a_cluster_wants(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "ray", None)
    live = Reporter(quiet=True)
    with pytest.raises(MissingExtraError, match=r"pip install 'radzoo\[ray\]'"):
        run_on_ray("data", tmp_path, make_plan(), Budget(2), 1, live)
    monkeypatch.setitem(sys.modules, "ray", object())
    with pytest.raises(SearchError, match="runs whole trials"):
        run_on_ray("data", tmp_path, make_plan(pruner="halving"), Budget(2), 1, live)


class _Thread(threading.Thread):
    """As a process: it has an exit code, and what it raises ends it alone."""

    def __init__(self, target: Any, args: tuple[Any, ...]) -> None:
        super().__init__()
        self.target, self.args = target, args
        self.exitcode: int | None = None

    def run(self) -> None:
        try:
            self.target(*self.args)
            self.exitcode = 0
        except SystemExit:
            self.exitcode = 1


class _Context:
    """As ``multiprocessing.get_context("spawn")``."""

    Process = _Thread


def side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Any, *, trials: int) -> Book:
    """A search of two workers at once, each with a book of its own on the same file."""
    monkeypatch.setattr("multiprocessing.get_context", lambda kind: _Context)
    monkeypatch.setattr("recipes.search.running.run_trial", run)
    plan = make_plan()
    begin(plan, tmp_path)
    run_in_processes("data", tmp_path, Budget(trials), 2, Reporter(quiet=True))
    return Book(tmp_path, plan)


def test_two_workers_share_the_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[tuple[int, str]] = []
    both = threading.Barrier(2, timeout=30)

    def run(
        recipe: Any, objective: Any, source: str, config: Any, folder: Path, **more: Any
    ) -> Outcome:
        number = int(folder.name)
        if number < 2:
            both.wait()  # neither could go on were they not at work at once
        done.append((number, threading.current_thread().name))
        return outcome(0.5 + number / 100)

    book = side_by_side(tmp_path, monkeypatch, run, trials=6)
    assert sorted(number for number, _ in done) == list(range(6))
    assert len({name for _, name in done}) == 2
    assert [one.state.name for one in book.study.get_trials()] == ["COMPLETE"] * 6


def test_a_worker_that_dies_leaves_its_trial_to_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(
        recipe: Any, objective: Any, source: str, config: Any, folder: Path, **more: Any
    ) -> Outcome:
        if folder.name == "0001":
            raise DataError("its disk is gone")
        return outcome(0.5)

    book = side_by_side(tmp_path, monkeypatch, run, trials=4)
    states = [one.state.name for one in book.study.get_trials()]
    assert states == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]

    def none(*given: Any, **more: Any) -> Outcome:
        raise DataError("nothing there")

    with pytest.raises(SearchError, match="all 2 processes of the search ended with an error"):
        side_by_side(tmp_path / "other", monkeypatch, none, trials=4)


@pytest.mark.big
def test_two_real_processes(tiny_run: TinyRun, tmp_path: Path) -> None:
    plan = real_plan(tiny_run)
    result = search(tiny_run.data, tmp_path / "s", plan, Budget(4), jobs=2)
    assert result["counts"]["complete"] == 4
    assert result["winner"]["part"] == "test"


def real_plan(tiny_run: TinyRun) -> SearchPlan:
    """A search that needs no stand-ins in other processes."""
    plain = tiny_run.config.model_dump(mode="json")
    plain["model"] |= {"members": 1, "backbone": "efficientnet_lite0", "weights": "none"}
    plain["train"]["finetune"]["epochs"] = 1
    axes = {"train.finetune.learning_rate": Range(1e-4, 1e-2, log=True)}
    return SearchPlan("classification", plain, Space(axes), "auc")


@pytest.mark.big
def test_two_real_nodes(tiny_run: TinyRun, tmp_path: Path) -> None:
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'radzoo[ray]'")
    from ray.cluster_utils import Cluster

    plan = real_plan(tiny_run)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        ray.init(address=cluster.address)
        assert len(ray.nodes()) == 2
        result = search(tiny_run.data, tmp_path / "s", plan, Budget(3), jobs=2, engine="ray")
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert result["counts"]["complete"] == 3
    assert result["winner"]["part"] == "test"
