"""Every script in ``examples/`` runs, with settings small enough for a test."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SCRIPTS = sorted(path.name for path in EXAMPLES.glob("*.py"))
SMALL = {
    "load_backbone.py": ["--side", "64"],
    "make_phantoms.py": ["OUT", "--patients", "2", "--size", "64"],
}
"""What each script is called with here; ``OUT`` stands for an empty folder."""


def run(name: str, monkeypatch: pytest.MonkeyPatch, out: Path) -> None:
    """Run a script as ``__main__`` in this process, with its small settings."""
    arguments = [word.replace("OUT", str(out)) for word in SMALL[name]]
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    try:
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    except SystemExit as end:
        if end.code:
            pytest.fail(f"{name} exited with {end.code}")


def test_every_example_is_run_here() -> None:
    assert sorted(SMALL) == SCRIPTS


def test_load_backbone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run("load_backbone.py", monkeypatch, tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("efficientnet_lite0: ")
    shapes = [line.split(maxsplit=1) for line in lines[1:-1]]
    assert [level for level, _ in shapes] == ["P1", "P2", "P3", "P4", "P5"]
    sides = [int(shape.strip("()").split(",")[0]) for _, shape in shapes]
    assert sides == [32, 16, 8, 4, 2]
    assert "(2, 1280)" in lines[-1]
    # The two phantoms are not the same picture, but of the same body.
    assert 0.5 < float(lines[-1].rsplit(" ", 1)[1]) < 0.999


def test_make_phantoms(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run("make_phantoms.py", monkeypatch, tmp_path / "set")
    written = {path for path in (tmp_path / "set").rglob("*") if path.is_file()}
    assert tmp_path / "set" / "cases.csv" in written
    files = [path for path in written if path.suffix == ".dcm"]
    assert len(files) >= 2 + 8 + 1
    for path in files:
        with path.open("rb") as stream:
            assert stream.read(132)[128:] == b"DICM"
    printed = capsys.readouterr().out
    assert printed.startswith("cases.csv: ")
    assert "series: 8 slices" in printed
