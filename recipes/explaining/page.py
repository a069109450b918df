"""``explained.html``: every picture with its maps and figures, one file that opens offline."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from recipes.errors import RunFolderError
from recipes.explaining.methods import Method
from recipes.intended_use import INTENDED_USE
from recipes.report import wording
from recipes.report.inputs import scrub
from recipes.report.page import templates, write_text

MOST_SHOWN = 60
"""Questions on the page; the pictures of all lie beside it."""
TITLES = {"pointing": "Pointing game", "energy": "Energy inside"}


def write_page(
    folder: Path,
    result: Mapping[str, Any],
    methods: Sequence[Method],
    pictures: str,
    task: str,
) -> None:
    """Write the page.

    Args:
        folder: Where the pictures are.
        result: What `running.explain` gives.
        methods: The methods, in their order.
        pictures: Which cases are shown.
        task: Of the run.

    Raises:
        RunFolderError: A picture is gone, or the page cannot be written.
    """
    page = templates(autoescape=True).get_template("explain.html.j2")
    questions = list(_questions(result["rows"]))
    text = page.render(
        banner=INTENDED_USE,
        task=task.capitalize(),
        n=result["n"],
        n_skipped=result["n_skipped"],
        methods=[(method.title, method.what, method.paper) for method in methods],
        figures=_figures(result["figures"], methods),
        n_with_truth=result["n_with_truth"],
        notes=[scrub(note) for note in result["notes"]],
        questions=[_shown(folder, one, methods) for one in questions[:MOST_SHOWN]],
        left_out=max(0, len(questions) - MOST_SHOWN),
        pictures=pictures,
    )
    write_text(folder / "explained.html", text)


def picture_uri(path: Path) -> str:
    """A PNG file as a data URI.

    Raises:
        RunFolderError: It cannot be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RunFolderError(f"cannot read {path.name!r}: {error.strerror}") from error
    return "data:image/png;base64," + base64.b64encode(content).decode()


def _questions(rows: Iterable[Mapping[str, Any]]) -> Iterable[list[Mapping[str, Any]]]:
    """Rows of one question together."""
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["status"] == "ok":
            found.setdefault((row["case"], row["question"]), []).append(row)
    return found.values()


def _shown(
    folder: Path, rows: list[Mapping[str, Any]], methods: Sequence[Method]
) -> dict[str, Any]:
    first = rows[0]
    titles = {method.name: method.title for method in methods}
    lines = [
        f"{titles[row['method']]}: " + ", ".join(_told(row)) for row in rows if list(_told(row))
    ]
    return {
        "case": first["case"],
        "text": scrub(first["text"]),
        "score": f"{first['score']:.3f}",
        "image": None if first.get("picture") is None else picture_uri(folder / first["picture"]),
        "chance": None if first.get("chance") is None else f"{first['chance']:.1%}",
        "lines": lines,
    }


def _told(row: Mapping[str, Any]) -> Iterable[str]:
    """How a map lies to the truth, and to the box of the candidate that it is of."""
    if row.get("pointing") is not None:
        yield f"highest place {_where(row['pointing'])}, {row['energy']:.0%} of the map inside"
    if row.get("box_pointing") is not None:
        yield (
            f"highest place {_where(row['box_pointing'])} the candidate's box, "
            f"{row['box_energy']:.0%} of the map in it"
        )


def _where(hit: float) -> str:
    return "inside" if hit == 1 else "outside" if hit == 0 else "partly inside"


def _figures(
    figures: Mapping[str, Mapping[str, Any]], methods: Sequence[Method]
) -> list[dict[str, Any]]:
    titles = {method.name: method.title for method in methods}
    return [
        {
            "name": titles.get(name, name),
            "cells": [
                None
                if measure not in found
                else (
                    wording.number(found[measure]["value"]),
                    wording.interval(dict(found[measure])),
                )
                for measure in TITLES
            ],
        }
        for name, found in figures.items()
    ]
