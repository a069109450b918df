"""The command ``explain`` on the tiny run of every recipe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from recipes.cli import app
from tests.recipes.tiny import TinyRun


def invoked(*words: Any) -> dict[str, Any]:
    """What a command prints as JSON."""
    done = CliRunner().invoke(app, [str(word) for word in (*words, "--json")])
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.output)
    return found


def refused(*words: Any) -> str:
    """The one line that a command ends with."""
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 2, done.output
    return done.output


def test_a_classifier(tiny_run: TinyRun, tmp_path: Path) -> None:
    data = tiny_run.data / "test" / "lesion"
    result = invoked(
        "classify", "explain", tiny_run.out, data, "--out", tmp_path, "--method", "gradcam",
        "--method", "integrated", "--method", "guided", "--class", "lesion", "--pictures", "yes",
        "--limit", 3,
    )  # fmt: skip
    assert result["n"] == 3
    print(result)
