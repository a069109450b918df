"""Every script of ``examples/primer`` runs, says what it should, and writes its picture."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest
from PIL import Image

PRIMER = Path(__file__).resolve().parents[1] / "examples" / "primer"
SCRIPTS = sorted(path.stem for path in PRIMER.glob("*.py") if path.stem != "drawing")
SMALL = {"unet": ["--steps", "2"], "training_curves": ["--epochs", "30"]}
"""Shorter here; their results are for a reader to look at."""


def numbers(text: str, before: str) -> list[float]:
    """Numbers behind a phrase."""
    return [float(found) for found in re.findall(re.escape(before) + r"(-?[0-9.e+-]+[0-9])", text)]


@pytest.mark.slow
def test_every_script_writes_its_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(PRIMER))
    said = {}
    for name in SCRIPTS:
        monkeypatch.setattr(sys, "argv", [name, "--out", str(tmp_path), *SMALL.get(name, [])])
        runpy.run_path(str(PRIMER / f"{name}.py"), run_name="__main__")
        said[name] = capsys.readouterr().out
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert min(picture.size) > 150, name
            assert len(picture.convert("L").getcolors(256) or []) > 16, name
    assert numbers(said["neuron"], "by hand: ")[0] < 1e-5
    assert max(numbers(said["convolution"], "scipy's ")) < 1e-3
    assert numbers(said["softmax_loss"], "within ")[0] < 1e-3
    assert numbers(said["perceptron"], "layers: ") == sorted(
        numbers(said["perceptron"], "layers: ")
    )
    assert numbers(said["receptive_fields"], ": ") == sorted(
        numbers(said["receptive_fields"], ": ")
    )
    moved = numbers(said["pooling"], "correlation ")
    assert moved == sorted(moved)
    heights = numbers(said["gradient_descent"], "height ")
    assert heights[2] > 10 > heights[0] > heights[3] > heights[1]
    assert numbers(said["features"], "AUC ")[0] < numbers(said["features"], "AUC ")[1]
    assert int(re.findall(r"(\d+)% are of its height", said["tsne"])[0]) > 80
