"""What a search found, what it cost, and how far the winner's figure flatters."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from recipes.evaluation.bootstrap import group_index, percentile_interval, resamples
from recipes.evaluation.panel import WHOLE, figures
from recipes.evaluation.question import Question, ask
from recipes.progress import Reporter
from recipes.search.book import Book
from recipes.search.errors import SearchError
from recipes.search.space import Choices

RESULT_FILE = "result.json"
RESAMPLES = 1000


def finish(book: Book, source: str, best: int | None, reporter: Reporter) -> dict[str, Any] | None:
    """Finish the winner's run: evaluate its test part, once, and write its report.

    Args:
        book: The search.
        source: The data.
        best: The winner.
        reporter: Progress.

    Returns:
        The run's summary; None while other processes are at work on trials, one of which may win.

    Raises:
        SearchError: No trial has finished.
    """
    if best is None:
        if book.waiting():
            return None
        raise SearchError("no trial finished; trials.csv has the reasons: " + _reasons(book))
    if _alive(book):
        reporter.say("other processes are at work on trials; the last one tests the winner")
        return None
    frozen = book.study.get_trials(deepcopy=False)[best]
    reporter.say(f"testing the winner, trial {best}")
    summary: dict[str, Any] = book.plan.recipe.part("fitting:fit")(
        source, book.run(best), book.plan.config(values_of(book, frozen)), reporter=reporter
    )
    tested = set(book.study.user_attrs.get("tested", []))
    book.study.set_user_attr("tested", sorted(tested | {best}))
    return summary


def _alive(book: Book) -> bool:
    """Whether another process holds a trial."""
    states = book.optuna.trial.TrialState
    for frozen in book.study.get_trials(deepcopy=False, states=(states.RUNNING,)):
        lock = book.try_lock(frozen.number)
        if lock is None:
            return True
        lock.release()
    return False


def _reasons(book: Book) -> str:
    found: dict[str, str] = {}
    for frozen in book.study.get_trials(deepcopy=False):
        error = frozen.user_attrs.get("error")
        if error:
            found.setdefault(error["type"], error["message"])
    return "; ".join(f"{kind}: {text}" for kind, text in found.items()) or "none was begun"


def values_of(book: Book, frozen: Any) -> dict[str, Any]:
    """Dotted key to value of a trial in the book, in the order of the space."""
    return {
        key: json.loads(frozen.params[key]) if isinstance(axis, Choices) else frozen.params[key]
        for key, axis in book.plan.space.axes.items()
        if key in frozen.params
    }


def found_result(book: Book, best: int | None, tested: dict[str, Any] | None) -> dict[str, Any]:
    """Trials, cost, optimism and winner as JSON-able content; also writes ``trials.csv``.

    Args:
        book: The search.
        best: Number of the best trial.
        tested: Summary of its finished run.

    Returns:
        ``metric``, ``higher_is_better``, ``sampler``, ``pruner``, ``seed``; ``counts`` (trials by
        state); ``cost`` (``hours``, ``trials``, ``validation_looks``, ``test_looks``); ``trials``
        (one row each); ``baseline`` (the plain configuration's value); ``winner`` (``number``,
        ``values``, ``validation`` with its interval, ``over_baseline``, ``test``, ``run``,
        ``command``); ``optimism`` (see `optimism`) or None; ``importance`` or None; ``notes``.
    """
    plan = book.plan
    rows = [_row(book, frozen) for frozen in book.study.get_trials(deepcopy=False)]
    _write_rows(book.folder / "trials.csv", rows, list(plan.space.axes))
    done = [row for row in rows if row["state"] == "complete"]
    flattery = optimism(book, [row["number"] for row in done])
    tests = book.study.user_attrs.get("tested", [])
    counts = {state: sum(row["state"] == state for row in rows) for state in
              ("complete", "pruned", "fail", "running")}  # fmt: skip
    result: dict[str, Any] = {
        "task": plan.task,
        "metric": plan.metric,
        "higher_is_better": plan.objective.higher,
        "sampler": plan.sampler,
        "pruner": plan.pruner,
        "seed": plan.seed,
        "counts": counts,
        "cost": {
            "trials": len(rows),
            "hours": round(sum(row["seconds"] or 0.0 for row in rows) / 3600, 3),
            "validation_looks": sum(row["looks"] or 0 for row in rows),
            "configurations": len(done) + counts["pruned"],
            "test_looks": len(tests),
        },
        "trials": rows,
        "baseline": next((row["value"] for row in done if row["number"] == 0), None),
        "winner": None if best is None else _winner(book, rows[best], tested),
        "optimism": flattery,
        "importance": importance(book),
    }
    result["notes"] = _notes(result, tests)
    return result


def _row(book: Book, frozen: Any) -> dict[str, Any]:
    facts = frozen.user_attrs
    value = frozen.value if frozen.state == book.optuna.trial.TrialState.COMPLETE else None
    return {
        "number": frozen.number,
        "state": frozen.state.name.lower(),
        "value": value,
        "interval": facts.get("interval"),
        "n": facts.get("n"),
        "seconds": facts.get("seconds"),
        "looks": facts.get("looks"),
        "values": values_of(book, frozen),
        "error": facts.get("error"),
    }


def _winner(book: Book, row: dict[str, Any], tested: dict[str, Any] | None) -> dict[str, Any]:
    from recipes.classification.outputs import repeat_command

    low, high = row["interval"] or (None, None)
    config = book.plan.config(row["values"])
    return {
        "number": row["number"],
        "values": row["values"],
        "validation": {"value": row["value"], "low": low, "high": high},
        "n": row["n"],
        "test": None if tested is None else tested["metrics"],
        "part": None if tested is None else tested["part"],
        "n_test": None if tested is None else tested["n"],
        "run": book.run(row["number"]).relative_to(book.folder).as_posix(),
        "command": repeat_command(config, task=book.plan.recipe.command),
    }


def _write_rows(path: Path, rows: Sequence[dict[str, Any]], keys: Sequence[str]) -> None:
    from recipes.classification.outputs import write_csv

    head = ["number", "state", "value", "low", "high", "n", "seconds", "looks", "error", *keys]
    lines = []
    for row in rows:
        low, high = row["interval"] or ("", "")
        error = row["error"] or {}
        plain = [row[key] if row[key] is not None else "" for key in ("value",)]
        rest = [row[key] if row[key] is not None else "" for key in ("n", "seconds", "looks")]
        text = f"{error['type']}: {error['message']}" if error else ""
        values = [json.dumps(row["values"][key]) if key in row["values"] else "" for key in keys]
        lines.append([row["number"], row["state"], *plain, low, high, *rest, text, *values])
    write_csv(path, head, lines)


def optimism(book: Book, numbers: Sequence[int]) -> dict[str, Any] | None:
    """How far choosing among trials flatters the winner's validation figure.

    The choice is repeated on bootstrap resamples of the validation patients: the trial that wins
    on a resample is scored on the patients outside it (Tsamardinos, Greasidou & Borboudakis 2018,
    BBC-CV). The mean of those scores estimates what the winner reaches on other patients of the
    same source; it does not see that every trial chose its epoch on the same patients.

    Args:
        book: The search.
        numbers: The finished trials.

    Returns:
        ``apparent`` (the winner's figure), ``corrected`` ({"value", "low", "high"}), ``optimism``
        (signed so that a positive one flatters), ``trials``, ``method``; None where trials keep no
        probabilities of cases (segmentation, detection), or there are fewer than two.
    """
    if book.plan.task != "classification" or len(numbers) < 2:
        return None
    questions, groups = _questions(book, numbers)
    metric, higher = book.plan.metric, book.plan.objective.higher
    group_of, _ = group_index(groups, len(groups))
    whole = np.array([_values(q, metric, np.ones((1, len(groups))))[0] for q in questions])
    sign = 1.0 if higher else -1.0
    apparent = float(np.nanmax(sign * whole) * sign)
    chosen: list[float] = []
    for drawn in resamples(group_of, RESAMPLES, seed=book.plan.seed, curves=2):
        inside = np.stack([_values(q, metric, drawn) for q in questions])
        outside = np.stack([_values(q, metric, (drawn == 0).astype(float)) for q in questions])
        ranked = np.where(np.isfinite(inside), sign * inside, -np.inf)
        chosen += outside[ranked.argmax(axis=0), np.arange(len(drawn))].tolist()
    draws = np.asarray(chosen)
    if not np.isfinite(draws).any():
        return None
    value = float(np.nanmean(draws))
    low, high, _ = percentile_interval(draws, 0.95)
    ends = {"value": value, "low": low, "high": high}
    return {
        "apparent": apparent,
        "corrected": {k: v if np.isfinite(v) else None for k, v in ends.items()},
        "optimism": sign * (apparent - value),
        "trials": len(numbers),
        "method": "bootstrap of the choice over validation patients (Tsamardinos et al. 2018)",
    }


def _values(question: Question, metric: str, weights: npt.NDArray[np.float64]) -> Any:
    return figures(question, weights)[WHOLE, metric]


def _questions(book: Book, numbers: Sequence[int]) -> tuple[list[Question], list[str | None]]:
    """Validation probabilities of each trial on the same cases, and the cases' patients."""
    from data_adapters.split_table import read_splits
    from recipes.engine.modelfile import load_record

    questions = []
    rows = read_splits(book.run(numbers[0]) / "splits.csv")
    patients = {row.case_id: row.patient or None for row in rows}
    order: list[str] = []
    for number in numbers:
        record = load_record(book.run(number))
        with (book.run(number) / "predictions.csv").open(encoding="utf-8") as file:
            found = {row["case_id"]: row for row in csv.DictReader(file) if row["part"] == "val"}
        order = order or sorted(found)
        names = record.class_names
        prob = np.array([[float(found[c][f"p_{name}"]) for name in names] for c in order])
        if record.kind == "single":
            prob = prob / prob.sum(axis=1, keepdims=True)
            y: Any = np.array([names.index(found[c]["label"]) for c in order])
        else:
            texts = [found[c]["label"].split(";") for c in order]
            y = np.array([[float(t) if t else np.nan for t in row] for row in texts])
        questions.append(
            ask(y, prob, class_names=names, positive=record.positive, task=record.kind)
        )
    return questions, [patients.get(case) for case in order]


IMPORTANCE_FROM = 10
"""Finished trials from which importances are shown."""


def importance(book: Book) -> dict[str, float] | None:
    """Share of the objective's variance that each key explains (fANOVA, Hutter et al. 2014).

    None below ten finished trials, where the shares are noise.
    """
    states = book.optuna.trial.TrialState
    done = [t for t in book.study.get_trials(states=(states.COMPLETE,)) if t.number]
    if len(done) < IMPORTANCE_FROM or len({t.value for t in done}) < 2:
        return None
    study = book.optuna.create_study(direction=book.study.direction)
    study.add_trials(done)
    evaluator = book.optuna.importance.FanovaImportanceEvaluator(seed=book.plan.seed)
    found = book.optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {key: round(float(share), 4) for key, share in found.items()}


def _notes(result: dict[str, Any], tests: Sequence[int]) -> list[str]:
    cost, counts = result["cost"], result["counts"]
    tested = result["winner"] is None or result["winner"]["part"] != "val"
    notes = [
        f"The validation part was looked at {cost['validation_looks']} times in "
        f"{cost['configurations']} configurations (once an epoch, and at the end of each), and the "
        "best was kept: the winner's validation figure flatters."
        + (" Quote its test figure." if tested else "")
    ]
    if result["optimism"]:
        gap = result["optimism"]["optimism"]
        notes.append(
            f"Choosing among {result['optimism']['trials']} trials alone flatters by about "
            f"{gap:.3f}; the choice of the epoch in each trial comes on top and is not in it."
        )
    if not tested:
        notes.append(
            "There is no test part: the winner's figures are those of the validation part that "
            "chose it. Judge it on other data with evaluate."
        )
    if len(tests) > 1:
        shown = ", ".join(map(str, tests))
        notes.append(
            f"The search was extended after its test part had been looked at: {len(tests)} winners "
            f"(trials {shown}) were tested, so the last one's test figure flatters a little too."
        )
    if counts["fail"]:
        notes.append(f"{counts['fail']} trials failed; trials.csv has the reasons.")
    if result["importance"]:
        notes.append(
            f"Importances are estimated from {counts['complete']} finished trials: with so few, "
            "read them as hints."
        )
    return notes
