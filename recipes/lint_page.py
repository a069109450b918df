"""What linting found as one self-contained page; pseudonyms are the only names of cases in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_adapters.findings import Finding
from data_adapters.lint.report import LintReport
from recipes.intended_use import INTENDED_USE
from recipes.linting import group_cells, summary
from recipes.report.inputs import scrub
from recipes.report.page import templates, write_text

SHOWN = 5
"""Findings of a code shown at once; the others open on a click."""
MOST = 2000
"""Findings of a code in the page; a list of all is in the JSON."""


def write_page(path: Path, report: LintReport) -> Path:
    """Write the page, whole or not at all.

    Args:
        path: Where to write, replaced if it exists.
        report: What was found.

    Raises:
        RunFolderError: The file cannot be written.
    """
    page = templates(autoescape=True).get_template("lint.html.j2")
    return write_text(path, page.render(context(report)))


def context(report: LintReport) -> dict[str, Any]:
    """Everything the template shows."""
    counts = report.counts
    most = max((c.cases for c in report.classes), default=0) or 1
    return {
        "title": _title(report),
        "summary": summary(report),
        "banner": INTENDED_USE,
        "tiles": [
            ("Cases", f"{report.n_read} of {report.n_cases}"),
            ("Errors", counts["error"]),
            ("Warnings", counts["warning"]),
            ("Remarks", counts["info"]),
            ("Repaired", counts["repaired"] if report.policy == "repair" else "–"),
        ],
        "codes": [_code(name, found) for name, found in report.codes.items()],
        "amount": {"segmentation": "Voxels", "detection": "Boxes"}.get(report.task, ""),
        "classes": [
            {
                "name": c.name,
                "cases": c.cases,
                "amount": c.amount,
                "share": f"{100 * c.cases / most:.1f}",
            }
            for c in report.classes
        ],
        "groups": [
            {
                "name": f"{g.modality or 'unknown'} {g.axes}",
                "cases": g.cases,
                "cells": group_cells(g),
                "bars": _bars(g.histogram),
                "ends": [f"{v:.4g}" for v in (g.intensity or ())[::2]],
            }
            for g in report.statistics
        ],
        "notes": [scrub(note) for note in report.notes],
    }


def _title(report: LintReport) -> str:
    if report.ok:
        return "No errors found" if report.policy != "strict" else "No errors or warnings found"
    what = "Errors or warnings" if report.policy == "strict" else "Errors"
    return f"{what} found: not fit to train on"


def _code(name: str, found: list[Finding]) -> dict[str, Any]:
    lines = [f"{one.case_id}: {one.message}" if one.case_id else one.message for one in found]
    repaired = [one.repaired for one in found if one.repaired]
    return {
        "name": name,
        "severity": found[0].severity,
        "count": len(found),
        "remedy": found[0].remedy,
        "first": lines[:SHOWN],
        "rest": lines[SHOWN:MOST],
        "repaired": f"{len(repaired)} repaired: {repaired[0]}" if repaired else "",
    }


def _bars(counts: Sequence[int]) -> list[dict[str, float]]:
    """Bars of a histogram in a box of 100 x 100; those of single cases stay visible."""
    most, width = max(counts, default=0), 100 / max(1, len(counts))
    return [
        {
            "x": round(k * width, 3),
            "y": round(100 - max(3, 100 * n / most), 3),
            "width": round(0.9 * width, 3),
            "height": round(max(3, 100 * n / most), 3),
        }
        for k, n in enumerate(counts)
        if n
    ]
