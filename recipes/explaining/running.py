"""``radzoo classify|segment|detect explain``: maps of a run on cases, as pictures and a page.

One case is one unit of work: its picture and its figures are written before the next is begun, and
the same command given again goes on behind them.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from data_adapters import adapter as adapters
from data_adapters.adapter import Adapter
from data_adapters.case import Case
from data_adapters.errors import CaseError, DataError
from data_adapters.files import open_files
from recipes.classification.outputs import write_csv
from recipes.classification.thumbnails import may_show
from recipes.engine.checkpoint import check_writable, write_atomic, write_json
from recipes.errors import ConfigError, RecipeError
from recipes.explaining.drawing import drawn
from recipes.explaining.localisation import (
    at_centre,
    by_chance,
    energy_inside,
    pointing_hit,
    summarised,
)
from recipes.explaining.methods import Method, Options, chosen_methods
from recipes.explaining.network import Array
from recipes.explaining.page import write_page
from recipes.explaining.questions import Asker, Question, truth_mask
from recipes.explaining.wanted import TRUTHFUL, Wanted, check_truth, check_wanted
from recipes.progress import Reporter, Step
from recipes.registry import RECIPES

COLUMNS = ("file", "case", "question", "class", "score", "method", "pointing", "energy", "chance",
           "centre", "box_pointing", "box_energy", "gap", "status", "picture")  # fmt: skip


def open_asker(task: str, run: str | Path) -> Asker:
    """Open a finished run of a task, to ask it.

    Raises:
        recipes.errors.RecipeError: The run cannot be opened or asked.
    """
    recipe = next(one for one in RECIPES if one.task == task)
    found: Asker = recipe.part("explaining:load")(Path(run))
    return found


def open_cases(
    sources: Sequence[str | Path], *, part: str | None = None, limit: int | None = None
) -> tuple[Adapter, list[int]]:
    """Open cases: one data set, with the boxes or masks it has, or files and folders.

    Args:
        sources: A data set with boxes or masks, or pictures, volumes and folders of them.
        part: Part of a data set.
        limit: Cases at most, the first ones.

    Returns:
        The adapter, and which of its cases are meant.

    Raises:
        DataError: Nothing readable was given.
        ConfigError: The data have no such part.
    """
    adapter = _with_truth(sources) or open_files([Path(source) for source in sources])
    chosen = [i for i, row in enumerate(adapter.index) if part in (None, row.part)]
    if not chosen:
        have = sorted({row.part or "no part" for row in adapter.index})
        raise ConfigError(f"no case in part {part!r}; these data have: {', '.join(have)}")
    return adapter, chosen[:limit]


def _with_truth(sources: Sequence[str | Path]) -> Adapter | None:
    """The data set, where one was given and it has boxes or masks."""
    if len(sources) != 1:
        return None
    try:
        adapter = adapters.open(sources[0])
    except DataError:
        return None  # as files, then; that says what is wrong with it
    return adapter if adapter.task in TRUTHFUL else None


def explain(
    task: str,
    run: str | Path,
    sources: Sequence[str | Path],
    out: str | Path,
    wanted: Wanted,
    *,
    part: str | None = None,
    limit: int | None = None,
    n_boot: int = 1000,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Explain a run's answers on cases.

    Args:
        task: Of the run: ``classification``, ``segmentation`` or ``detection``.
        run: Run folder of a finished fit.
        sources: As of `open_cases`.
        out: Folder for ``explained.html``, a PNG for every question, ``explained.csv`` and
            ``explained.json``.
        wanted: What is asked for.
        part: As of `open_cases`.
        limit: Likewise.
        n_boot: Bootstrap replicates of the figures.
        reporter: Progress; quiet where None.

    Returns:
        ``n`` cases explained, ``n_skipped``, ``figures`` (method -> ``pointing``, ``energy`` with
        intervals over patients; empty without truth), ``notes`` and ``rows``.

    Raises:
        recipes.errors.RecipeError: The run, a method, a class or a layer does not fit.
        data_adapters.errors.DataError: Nothing readable was given.
    """
    folder = Path(out)
    methods = chosen_methods(wanted.methods)
    check_writable(folder / "explained.csv")
    with reporter or Reporter(quiet=True) as live:
        asker = open_asker(task, run)
        check_wanted(asker, wanted)
        adapter, chosen = open_cases(sources, part=part, limit=limit)
        check_truth(adapter, wanted.truth)
        digest = _digest(asker, wanted)
        rows: list[dict[str, Any]] = []
        with live.task("explaining", len(chosen)) as step:
            for done, i in enumerate(chosen, start=1):
                file = adapter.source_name(i)
                bar = partial(_bar, live)
                rows += _one(asker, adapter, i, file, wanted, methods, folder, digest, bar)
                step(done, len(chosen))
        rows += [
            {
                "file": skip.source or skip.case_id,
                "case": skip.case_id,
                "status": skip.kind,
                "message": skip.message,
            }
            for skip in adapter.skipped
        ]
    result = _result(asker, adapter, wanted, rows, n_boot)
    table = [[cell(row.get(key)) for key in COLUMNS] for row in rows]
    write_csv(folder / "explained.csv", COLUMNS, table)
    write_json(folder / "explained.json", result)
    write_page(folder, result, methods, wanted.pictures, task)
    return result


def _bar(live: Reporter, title: str) -> Step:
    """A bar for a method that runs the network many times."""
    return lambda done, total: live.show(title, done, total)


def _one(
    asker: Asker,
    adapter: Adapter,
    i: int,
    file: str,
    wanted: Wanted,
    methods: Sequence[Method],
    folder: Path,
    digest: str,
    progress: Callable[[str], Step],
) -> list[dict[str, Any]]:
    """Rows of one case, from its file where it is finished."""
    row = adapter.index[i]
    kept = folder / "cases" / f"{row.case_id}.json"
    base = {"file": file, "case": row.case_id, "patient": row.patient_id}
    try:
        case = adapter[i]
        digest = _case_digest(case, digest)
        found = _finished(kept, digest, folder)
        if found is not None:
            return [base | one for one in found]
        questions = asker.ask(case, label=wanted.label, most=wanted.most)
    except CaseError as error:
        return [base | {"status": error.kind, "message": error.message}]
    except (DataError, RecipeError) as error:
        return [base | {"status": "unfit", "message": str(error)}]
    if not questions:
        return [base | {"status": "nothing found"}]
    lines: list[dict[str, Any]] = []
    for question in questions:
        name = f"{row.case_id}_{safe(question.name)}.png"
        truth = _truth(adapter, case, question, wanted.truth)
        heats: dict[str, Array] = {}
        for method in methods:
            line, heat = _asked(asker, question, method, wanted.options, truth, progress)
            heats[method.title] = heat
            lines.append(line)
        if may_show(case, wanted.pictures):
            uri = drawn(
                question.picture,
                heats,
                truth=truth,
                region=question.region,
                planes=question.planes,
                focus=_focus(question),
            )
            write_atomic(folder / name, base64.b64decode(uri.partition(",")[2]))
            for line in lines[-len(methods) :]:
                line["picture"] = name
    write_json(kept, {"digest": digest, "rows": lines})
    return [base | line for line in lines]


def _asked(
    asker: Asker,
    question: Question,
    method: Method,
    options: Options,
    truth: Array | None,
    progress: Callable[[str], Step],
) -> tuple[dict[str, Any], Array]:
    network = question.network or asker.network
    found = method.run(
        network, question.image, question.weights, question.baseline,
        replace(options, local=question.local), progress(method.title),
    )  # fmt: skip
    heat = np.asarray(question.back(found.heat), np.float32)
    score = float(network.scores(question.image[None], question.weights[None])[0])
    line: dict[str, Any] = {
        "question": question.name, "class": question.label, "text": question.text,
        "score": score, "method": method.name, "status": "ok", "picture": None,
        **{k: float(v) for k, v in found.facts.items()}, **dict(question.facts),
    }  # fmt: skip
    if question.region is not None:
        line |= {
            "box_pointing": pointing_hit(heat, question.region),
            "box_energy": energy_inside(heat, question.region),
        }
    if truth is not None and truth.any():
        line |= {
            "pointing": pointing_hit(heat, truth),
            "energy": energy_inside(heat, truth),
            "chance": by_chance(truth),
            "centre": at_centre(truth),
        }
    return line, heat


def _focus(question: Question) -> Array | None:
    """Where the score is taken from, on the grid of a volume."""
    if question.focus is None or question.picture.image.ndim == 3:
        return None
    return np.asarray(question.back(question.focus) > 0)


def _truth(adapter: Adapter, case: Case, question: Question, label: str | None) -> Array | None:
    """Where the class is, on the picture's grid; None where that is not known."""
    if question.truth is None or adapter.task not in TRUTHFUL:
        return None
    found = truth_mask(
        case, task=adapter.task, class_names=adapter.class_names, label=label or question.label
    )
    return None if found is None else question.truth(found)


def _finished(path: Path, digest: str, folder: Path) -> list[dict[str, Any]] | None:
    """Rows of a case that was explained under the same settings, its pictures in place."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        rows: list[dict[str, Any]] = content["rows"]
        same = content["digest"] == digest
    except (OSError, ValueError, KeyError, TypeError):
        return None
    there = all(row["picture"] is None or (folder / row["picture"]).is_file() for row in rows)
    return rows if same and there else None


def _digest(asker: Asker, wanted: Wanted) -> str:
    content = json.dumps([asker.sha256, asdict(wanted)], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _case_digest(case: Case, settings: str) -> str:
    """Hash of a case's voxels and truth under the settings."""
    total = hashlib.sha256(f"{settings}|{case.image.shape}|{case.lesions}".encode())
    for part in (case.image, case.mask, case.masks):
        if part is not None:
            total.update(np.ascontiguousarray(part).data)
    return total.hexdigest()


def safe(name: str) -> str:
    """A name as part of a file's name."""
    return "".join(c if c.isalnum() or c in "-._" else "-" for c in name)


def cell(value: Any) -> Any:
    """A value of a table: six digits, nothing where there is none."""
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else value


def _result(
    asker: Asker, adapter: Adapter, wanted: Wanted, rows: list[dict[str, Any]], n_boot: int
) -> dict[str, Any]:
    good = [row for row in rows if row["status"] == "ok"]
    cases = {row["case"] for row in rows}
    figures = summarised(good, n_boot=n_boot)
    clean = [{k: v for k, v in row.items() if not _undefined(v)} for row in rows]
    return {
        "n": len({row["case"] for row in good}),
        "n_skipped": len(cases - {row["case"] for row in good}),
        "n_with_truth": len({row["case"] for row in good if row.get("pointing") is not None}),
        "figures": figures,
        "notes": _notes(asker, adapter, wanted, good, bool(figures)),
        "rows": clean,
    }


def _undefined(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _notes(
    asker: Asker,
    adapter: Adapter,
    wanted: Wanted,
    rows: Sequence[dict[str, Any]],
    scored: bool,
) -> list[str]:
    notes = list(asker.remarks)
    if wanted.options.layer is None and {"gradcam", "gradcam++"} & set(wanted.methods):
        layers = ", ".join(asker.network.name_of(n) for n in asker.network.last_maps())
        notes.append(f"Class activation maps are of {layers}.")
    gaps = [row["gap"] for row in rows if row["method"] == "integrated"]
    if gaps:
        notes.append(
            "Integrated gradients add up to the difference of the scores within "
            f"{max(gaps):.1%} at worst, {np.median(gaps):.1%} in the median."
        )
    if adapter.task in TRUTHFUL and not scored:
        known = ", ".join(adapter.class_names)
        notes.append(
            "The data say where things are, but none of these cases holds what was explained (the "
            f"data's classes: {known}): no figures. Name the class with --class, or the data's "
            "name of it with --truth-class."
        )
    if any(row["picture"] is None for row in rows):
        notes.append(
            "Cases without a picture are those whose file does not say that no text is burned in; "
            "look at them, and give --pictures yes."
        )
    return notes
