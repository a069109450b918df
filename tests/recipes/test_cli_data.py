"""``radzoo data lint`` and ``radzoo data cache``: what they print, and how they end."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from data_adapters.phantom_sets import phantom_image_folder
from recipes.cli import app


def run(*words: object) -> Result:
    """One command in this process, standard output and errors apart."""
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two dozen pictures in folders of two classes."""
    folder = tmp_path_factory.mktemp("pictures")
    return phantom_image_folder(folder, n_patients=24, binary=True, classes=("none", "cyst"))


@pytest.fixture
def broken(phantoms: Path, tmp_path: Path) -> Path:
    """The same with an empty file, a cut one, and one picture under both classes."""
    target = tmp_path / "Doe^John"
    shutil.copytree(phantoms, target)
    names = sorted((target / "none").iterdir())
    names[0].write_bytes(b"")
    names[1].write_bytes(names[1].read_bytes()[:60])
    shutil.copy(names[2], target / "lesion" / "Roe^Jane.png")
    return target


def test_lint_prints_one_json_object(broken: Path) -> None:
    result = run("data", "lint", broken, "--json")
    assert result.exit_code == 1
    content = json.loads(result.stdout)
    assert content["ok"] is False
    codes = {code: entry["count"] for code, entry in content["codes"].items()}
    assert {code: codes.get(code) for code in ("zero-byte", "label-conflict")} == {
        "zero-byte": 1,
        "label-conflict": 2,
    }
    assert content["counts"]["error"] == 4
    assert content["n_cases"] == content["n_read"] + 1 == 24
    assert [entry["name"] for entry in content["classes"]] == ["lesion", "none"]
    for text in ("Doe", "Roe", str(broken)):
        assert text not in result.stdout
    named = run("data", "lint", broken, "--json", "--names").stdout
    assert "Roe^Jane.png" in named


def test_lint_prints_a_table(broken: Path) -> None:
    result = run("data", "lint", broken)
    assert result.exit_code == 1
    for word in ("label-conflict", "zero-byte", "NOT ok: 4 errors", "23 of 24 cases read"):
        assert word in result.stdout
    assert "Roe" not in result.stdout
    assert "Roe^Jane.png" in run("data", "lint", broken, "--names").stdout


def test_lint_ends_with_0_where_there_are_warnings_only(phantoms: Path) -> None:
    result = run("data", "lint", phantoms)
    assert result.exit_code == 0
    assert "patient-unknown" in result.stdout
    assert "\nok: no errors, 1 warning" in result.stdout
    assert run("data", "lint", phantoms, "--policy", "strict").exit_code == 1
    known = run("data", "lint", phantoms, "--policy", "strict", "--set", "patient=([0-9]+)")
    assert known.exit_code == 0, known.output


def test_lint_says_what_a_repair_does(broken: Path) -> None:
    content = json.loads(run("data", "lint", broken, "--json", "--policy", "repair").stdout)
    assert content["counts"]["repaired"] == 2
    assert content["ok"] is False
    assert len(content["left_out"]) == 1
    for path in (broken / "lesion" / "Roe^Jane.png",):
        path.unlink()
    result = run("data", "lint", broken, "--policy", "repair")
    assert result.exit_code == 0, result.output
    assert "repaired: left out" in result.stdout


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["nowhere"], "no such file"),
        (["{data}", "--policy", "maybe"], "'strict', 'repair', 'report'"),
        (["{data}", "--set", "patient"], "KEY=VALUE"),
        (["{data}", "--set", "patience=1"], "did you mean 'patient'"),
        (["{data}", "--set", "data.columns.patient=["], "no YAML"),
        (["{data}", "--format", "imagefolder"], "image_folder"),
    ],
)
def test_lint_refuses_in_one_line(phantoms: Path, words: list[str], hint: str) -> None:
    result = run("data", "lint", *(word.format(data=phantoms) for word in words))
    assert result.exit_code == 2
    assert len(result.stderr.strip().splitlines()) == 1
    assert hint in result.stderr


def test_lint_writes_a_page(broken: Path, tmp_path: Path) -> None:
    page = tmp_path / "out" / "lint.html"
    result = run("data", "lint", broken, "--html", page, "--names", "--json")
    assert result.exit_code == 1
    text = page.read_text()
    for word in ("Not fit to train on", "label-conflict", "zero-byte", "lesion", "23 of 24"):
        assert word in text
    for word in ("Roe", "Doe", str(tmp_path), "<script", "http://", "https://"):
        assert word not in text
    refused = run("data", "lint", broken, "--html", page / "x.html")
    assert refused.exit_code == 2
    assert "cannot write" in refused.stderr
