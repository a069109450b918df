"""The model card: complete, and safe against names from the data."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from recipes.intended_use import INTENDED_USE
from recipes.report import ReportInputs, write_model_card
from recipes.report.card import markdown, render
from tests.recipes.report_inputs import binary, multiclass, multilabel, training


def tables(text: str) -> list[list[str]]:
    """Runs of lines that start with a bar."""
    found: list[list[str]] = [[]]
    for line in text.splitlines():
        if line.startswith("|"):
            found[-1].append(line)
        elif found[-1]:
            found.append([])
    return [table for table in found if table]


def cells(line: str) -> int:
    return len(re.findall(r"(?<!\\)\|", line)) - 1


def test_the_card_holds_its_sections_and_figures(tmp_path: Path) -> None:
    inputs = binary()
    path = write_model_card(tmp_path / "model_card.md", inputs)
    text = path.read_text(encoding="utf-8")
    assert INTENDED_USE in text
    for heading in (
        "Model details",
        "Intended use",
        "Operating point",
        "Data",
        "Training",
        "Evaluation",
        "Limits and caveats",
        "Licence of the pretrained weights",
        "How to repeat it",
    ):
        assert f"\n## {heading}\n" in text, heading
    auc = inputs.metrics["auc"]
    assert f"| ROC AUC | {auc['value']:.3f} | {auc['low']:.3f} to {auc['high']:.3f} |" in text
    assert "Apache-2.0" in text
    assert "training variability" in text
    assert "1 exact duplicates" in text
    assert "SECRET-HOST" not in text
    assert "jane" not in text


@pytest.mark.parametrize("build", [binary, multiclass, multilabel])
def test_tables_are_even(build: Callable[[], ReportInputs]) -> None:
    found = tables(render(build()))
    assert len(found) >= 4
    for table in found:
        assert len({cells(line) for line in table}) == 1, table
        assert set(table[1]) <= set("|-")


def test_names_from_the_data_are_text() -> None:
    text = render(multiclass())
    assert "<script>" not in text
    assert r"\<script\>alert(1)\</script\> \| \`x\` \*y\*" in text
    assert markdown("a\n# b") == r"a \# b"


def test_no_licence_where_nothing_was_pretrained() -> None:
    text = render(binary(training=training(weights=None)))
    section = text.split("## Licence of the pretrained weights")[1]
    assert "trained from scratch" in section
    assert "Apache" not in section
