"""Write the model card: one Markdown file beside the model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recipes.report import cases, view, wording
from recipes.report.inputs import ReportInputs, scrub
from recipes.report.page import templates, write_text

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#~$])")


def write_model_card(path: Path, inputs: ReportInputs) -> Path:
    """Write the card, whole or not at all (after Mitchell et al. 2019, arXiv:1810.03993).

    Args:
        path: Where to write, replaced if it exists.
        inputs: The report's inputs.

    Returns:
        `path`.

    Raises:
        RunFolderError: The file cannot be written.
    """
    return write_text(path, render(inputs))


def render(inputs: ReportInputs) -> str:
    """The card as text; names from the data are escaped."""
    metrics = inputs.metrics
    return card_text(
        "model_card.md.j2",
        {
            "name": inputs.model_name or inputs.title,
            "banner": inputs.intended_use,
            "inputs": inputs,
            "part": view.part_name(inputs.part),
            "binary": inputs.positive_index is not None,
            "n": metrics.get("n", len(inputs.case_ids)),
            "n_groups": metrics.get("n_groups"),
            "unit": metrics.get("unit") or inputs.data.get("unit") or "image",
            "level": f"{metrics.get('level', 0.95):.0%}",
            "warnings": view.warnings(inputs),
            "sections": view.metric_sections(inputs),
            "per_class": view.per_class(inputs),
            "operating": view.operating_points(inputs),
            "split": view.split_table(inputs),
            "skipped": len(inputs.skipped),
            "leakage": cases.leakage(inputs.leakage, inputs.thumbnails),
            "training": view.training_rows(inputs),
            "weights": view.weights_rows(inputs.training.get("weights")),
            "augmentation": view.augmentation_rows(inputs),
            "phases": view.phase_table(inputs),
            "command": scrub(inputs.command) if inputs.command else None,
            "notes": view.notes(inputs),
        },
    )


def card_text(template: str, values: Mapping[str, Any]) -> str:
    """A card of a template; its filter ``md`` escapes what comes from the data.

    Args:
        template: A file of the package's templates.
        values: What it shows.
    """
    environment = templates(autoescape=False)
    environment.filters["md"] = markdown
    text = environment.get_template(template).render(values)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def markdown(value: object) -> str:
    """Text that Markdown shows as it is: on one line, special characters escaped."""
    flat = " ".join(wording.text_of(value).split())
    return _SPECIAL.sub(r"\\\1", flat)
