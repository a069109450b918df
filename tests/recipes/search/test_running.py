"""Trials: claimed once, killed without loss, failed without end, the same however often begun."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from data_adapters.errors import DataError
from recipes.errors import RecipeError, RunFolderError
from recipes.progress import Reporter
from recipes.search import book, running
from recipes.search.book import Book
from recipes.search.errors import SearchError
from recipes.search.plan import SearchPlan, begin, read_plan
from recipes.search.results import values_of
from recipes.search.running import Budget, Worker
from tests.recipes.search.fakes import make_plan, outcome, trial

CHECKOUT = Path(__file__).resolve().parents[3]


def rate(config: Any) -> float:
    """More is better, and every draw differs."""
    value = config.train.finetune.learning_rate
    return 0.0 if value == "auto" else float(value)


def work(folder: Path, plan: SearchPlan, trials: int, **budget: Any) -> Book:
    Worker("data", folder, plan, Budget(trials, **budget), Reporter(quiet=True)).run()
    return Book(folder, plan)


def states(book: Book) -> list[str]:
    return [frozen.state.name for frozen in book.study.get_trials()]


def drawn(book: Book) -> list[dict[str, Any]]:
    return [values_of(book, frozen) for frozen in book.study.get_trials()]


def test_random_trials_depend_on_seed_and_number_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "run_trial", trial(rate))
    whole = work(tmp_path / "whole", make_plan(), 4)
    work(tmp_path / "parts", make_plan(), 2)
    parts = work(tmp_path / "parts", make_plan(), 4)
    assert drawn(whole) == drawn(parts)
    assert drawn(whole)[0] == {}  # the plain configuration
    assert len({str(values) for values in drawn(whole)}) == 4
    other = work(tmp_path / "other", make_plan(seed=1), 2)
    assert drawn(other)[1] != drawn(whole)[1]
    best = max(range(1, 4), key=lambda k: drawn(whole)[k]["train.finetune.learning_rate"])
    kept = sorted(p.parent.name for p in (tmp_path / "whole").rglob("model.keras"))
    assert kept == [f"{best:04d}"]


def test_kill_in_a_trial_then_another_process(tmp_path: Path) -> None:
    plan = make_plan()
    command = [sys.executable, "-m", "tests.recipes.search.fakes", str(tmp_path), "3"]
    process = subprocess.Popen(command, cwd=CHECKOUT, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not (tmp_path / "begun").exists() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    before = Book(tmp_path, plan)
    assert states(before) == ["COMPLETE"] * 3 + ["RUNNING"]
    own = before.claim(6)  # the living process keeps its trial: this one begins the next
    assert own is not None
    assert own.number == 4
    before.tell(own, value=0.1)
    process.send_signal(signal.SIGKILL)
    _, errors = process.communicate()
    assert process.returncode == -signal.SIGKILL, errors.decode()[-2000:]
    killed = json.loads((before.run(3) / "config.json").read_text())

    after = Book(tmp_path, plan)
    claim = after.claim(6)
    assert claim is not None
    assert (claim.number, claim.resumed) == (3, True)
    assert plan.config(claim.values).model_dump(mode="json") == killed
    after.tell(claim, value=0.9)
    last = after.claim(6)
    assert last is not None
    assert (last.number, last.resumed) == (5, False)
    assert after.claim(6) is None
    after.tell(last, value=0.2)
    done = after.study.get_trials()
    assert [frozen.value for frozen in done] == [0.501, 0.501, 0.501, 0.9, 0.1, 0.2]


def test_a_failure_is_recorded_with_its_type_and_is_not_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(config: Any) -> float:
        if config.augment.strength in ("none", "strong"):
            raise MemoryError("no room for /home/someone/scan.dcm")
        if config.model.hidden == 0:
            raise RecipeError("the training loss became nan")
        return 0.5

    monkeypatch.setattr(running, "run_trial", trial(fails))
    found = work(tmp_path, make_plan(), 7)
    assert set(states(found)) == {"COMPLETE", "FAIL"}
    for frozen in found.study.get_trials():
        strength = values_of(found, frozen).get("augment.strength")
        if strength in ("none", "strong"):
            message = "no room for <path>"
            assert frozen.user_attrs["error"] == {"type": "MemoryError", "message": message}


def test_unreadable_data_end_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(config: Any) -> float:
        raise DataError("nothing there")

    monkeypatch.setattr(running, "run_trial", trial(broken))
    with pytest.raises(DataError, match="nothing there"):
        work(tmp_path, make_plan(), 5)
    assert states(Book(tmp_path, make_plan())) == ["FAIL"]


def test_other_parts_end_the_search(tmp_path: Path) -> None:
    own = Book(tmp_path, make_plan())
    claims = [own.claim(2), own.claim(2)]
    running.record(own, claims[0], outcome(0.5), Reporter(quiet=True))  # type: ignore[arg-type]
    changed = outcome(0.6).__class__(0.6, None, 10, 1.0, 3, "other cases")
    with pytest.raises(SearchError, match="not those that this search began with"):
        running.record(own, claims[1], changed, Reporter(quiet=True))  # type: ignore[arg-type]


def test_halving_stops_poor_trials_and_never_the_plain_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "run_trial", trial(rate))
    halved = work(tmp_path, make_plan(pruner="halving"), 8)
    found = halved.study.get_trials()
    assert found[0].state.name == "COMPLETE"
    assert {"COMPLETE", "PRUNED"} == {one.state.name for one in found}
    best = running.best_number(halved)
    assert best == max(range(8), key=lambda k: max(found[k].intermediate_values.values()))
    least = make_plan(metric="balanced_accuracy", pruner="halving")
    with pytest.raises(SearchError, match="choose another --metric"):
        running.search("data", tmp_path / "b", least, Budget(2))


def test_time_ends_a_trial_that_the_next_call_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = {"now": 0.0}

    def slow(config: Any) -> float:
        clock["now"] += 40
        return 0.5

    monkeypatch.setattr(running.time, "monotonic", lambda: clock["now"])
    monkeypatch.setattr(running, "run_trial", trial(slow))
    assert states(work(tmp_path, make_plan(), 5, minutes=1)) == ["COMPLETE", "RUNNING"]
    assert states(work(tmp_path, make_plan(), 3)) == ["COMPLETE"] * 3


def test_a_folder_holds_one_search(tmp_path: Path) -> None:
    begin(make_plan(), tmp_path)
    begin(make_plan(), tmp_path)
    assert read_plan(tmp_path).plain() == make_plan().plain()
    with pytest.raises(RunFolderError, match="another sampler"):
        begin(make_plan(sampler="tpe"), tmp_path)
    text = (tmp_path / "space.yaml").read_text()
    (tmp_path / "space.yaml").write_text(text.replace("high: 512", "high: 256"))
    with pytest.raises(RunFolderError, match="edited after the search began"):
        read_plan(tmp_path)
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "notes.txt").write_text("mine")
    with pytest.raises(RunFolderError, match="holds no search"):
        begin(make_plan(), tmp_path / "else")


def test_tpe_learns_from_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "run_trial", trial(rate))
    monkeypatch.setattr(book, "STARTUP", 6)
    rows = drawn(work(tmp_path, make_plan(sampler="tpe"), 14))
    key = "train.finetune.learning_rate"
    early = sorted(row[key] for row in rows[1:7])
    late = sorted(row[key] for row in rows[7:])
    assert late[len(late) // 2] > 3 * early[len(early) // 2]
