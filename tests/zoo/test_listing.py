"""The registry as a table, and the documents that show it."""

from __future__ import annotations

from pathlib import Path

import pytest

from zoo.listing import BEGIN, END, backbone_table, main, markdown_table
from zoo.registry import get_spec

ROOT = Path(__file__).resolve().parents[2]


def test_the_table_has_a_line_for_every_backbone() -> None:
    head, rule, *rows = markdown_table().splitlines()
    assert head.split(" | ")[0] == "| name"
    assert set(rule) == {"|", "-", " "}
    names = [row.split("`")[1] for row in rows]
    assert names == [row["name"] for row in backbone_table()]
    assert {row.count(" | ") for row in rows} == {head.count(" | ")}
    resnet = rows[names.index("resnet50")]
    assert f"{get_spec('resnet50').params / 1e6:.1f} M" in resnet
    assert "| P1-P5 |" in resnet
    assert "`imagenet`" in resnet


TEST_BACKBONE = "tiny_test_backbone"
"""Registered for the recipes' tests, for the life of the process."""


@pytest.mark.parametrize("name", ["README.md", "zoo/README.md"])
def test_documents_show_the_table_as_it_is(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    if name == "zoo/README.md":
        assert BEGIN in text
    for part in text.split(BEGIN)[1:]:
        shown = part.split(END)[0].strip()
        table = "\n".join(row for row in markdown_table().splitlines() if TEST_BACKBONE not in row)
        assert shown == table, f"run: python -m zoo.listing --markdown {name}"


def test_the_table_is_put_between_the_markers_of_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    assert main(["--markdown", str(page)]) == 0
    assert page.read_text() == f"before\n{BEGIN}\n{markdown_table()}\n{END}\nafter\n"
    page.write_text("no markers\n")
    assert main(["--markdown", str(page)]) == 1
    assert page.read_text() == "no markers\n"
    assert main([]) == 2
    assert "--markdown" in capsys.readouterr().err
    assert main(["--markdown"]) == 0
    assert capsys.readouterr().out.strip() == markdown_table()
