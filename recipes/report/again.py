"""The section on how sure a run is, put anew into pages that are written already."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recipes.errors import RunFolderError
from recipes.report import sureness, view
from recipes.report.card import card_text
from recipes.report.page import templates

_SECTION = re.compile(r'<section>\s*<h2 id="uncertainty">.*?</section>', re.DOTALL)
_BEFORE = re.compile(r'<section>\s*<h2 id="mistakes">')
_LINK = '<a href="#uncertainty">How sure</a>'
_NEXT_LINK = '<a href="#mistakes">'
_CARD = re.compile(r"### How sure it is\n.*?(?=\n## )", re.DOTALL)
_CARD_BEFORE = "## Limits and caveats"


def pages_with(folder: Path, figures: Mapping[str, Any], *, part: str) -> dict[str, str]:
    """A run's report and model card with other figures of uncertainty; all else in them stays.

    Args:
        folder: The run folder; a page that it lacks is left out.
        figures: What `uncertainty.summary.part_figures` returned.
        part: The part they are of.

    Returns:
        Name of the file -> its new content; nothing is written.

    Raises:
        RunFolderError: A page cannot be read, or is not one that radzoo wrote.
    """
    found = {}
    for name, change in (("report.html", report_with), ("model_card.md", card_with)):
        path = folder / name
        if path.is_file():
            try:
                text = path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise RunFolderError(f"cannot read {name}: {error}") from error
            found[name] = change(text, figures, part=part)
    return found


def report_with(text: str, figures: Mapping[str, Any], *, part: str) -> str:
    """A report with its section on uncertainty replaced, or put before that on mistakes.

    Raises:
        RunFolderError: It has no place for it.
    """
    template = templates(autoescape=True).get_template("uncertainty.html.j2")
    shown = template.render(sure=sureness.section(figures), part=view.part_name(part))
    found = _SECTION.search(text)
    if found is not None:
        return text[: found.start()] + shown + text[found.end() :]
    place = _BEFORE.search(text)
    if place is None:
        raise RunFolderError(
            "report.html has no section for the calibration; it was changed by hand or written by "
            "another program: move it away, and give the command again"
        )
    whole = text[: place.start()] + shown + "\n\n" + text[place.start() :]
    return whole.replace(_NEXT_LINK, _LINK + _NEXT_LINK, 1)


def card_with(text: str, figures: Mapping[str, Any], *, part: str) -> str:
    """A model card with its section on uncertainty replaced, or put before the caveats.

    Raises:
        RunFolderError: It has no place for it.
    """
    values = {"found": figures, "part": view.part_name(part)}
    shown = card_text("uncertainty_card.md.j2", values)
    if _CARD.search(text):
        return _CARD.sub(lambda _: shown, text, count=1)
    if _CARD_BEFORE not in text:
        raise RunFolderError(
            "model_card.md has no section for the calibration; it was changed by hand or written "
            "by another program: move it away, and give the command again"
        )
    return text.replace(_CARD_BEFORE, f"{shown}\n{_CARD_BEFORE}", 1)
