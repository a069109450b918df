"""``radzoo data lint`` and ``radzoo data cache``: what they print, and how they end."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import data_adapters
from data_adapters.phantom_sets import phantom_image_folder
from recipes.caching import parse_size
from recipes.cli import app
from recipes.figures import size_text


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
    for word in ("not fit to train on", "label-conflict", "zero-byte", "lesion", "23 of 24"):
        assert word in text
    assert text.count("<rect") > 3
    for word in ("Roe", "Doe", str(tmp_path), "<script", "http://", "https://"):
        assert word not in text
    refused = run("data", "lint", broken, "--html", page / "x.html")
    assert refused.exit_code == 2
    assert "cannot write" in refused.stderr


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, phantoms: Path) -> Path:
    """A folder of caches with two sets of decoded pictures."""
    home = tmp_path / "home"
    monkeypatch.setenv("RADZOO_HOME", str(home))
    adapter = data_adapters.open(phantoms)
    for side in (8, 64):
        data_adapters.decode(
            adapter, [{"step": "resize", "height": side, "width": side}], home=home
        )
    return home


def test_cache_lists_what_is_kept(cached: Path) -> None:
    found = json.loads(run("data", "cache", "--list", "--json").stdout)["caches"]
    assert [(entry["kind"], entry["cases"]) for entry in found] == [("decoded", 24)] * 2
    assert str(cached) not in json.dumps(found)
    table = run("data", "cache").stdout
    assert all(entry["key"][:12] in table for entry in found)
    assert "2 caches, " in table


def test_cache_prunes_what_the_conditions_fit(cached: Path) -> None:
    entries = json.loads(run("data", "cache", "--json").stdout)["caches"]
    large = max(entries, key=lambda entry: entry["size"])
    small = min(entries, key=lambda entry: entry["size"])
    middle = f"{(large['size'] + small['size']) // 2}B"
    assert "would remove 2 caches" in run("data", "cache", "--prune", "--dry-run").stdout
    assert "removed 0 caches" in run("data", "cache", "--prune", "--older", "1").stdout
    assert "removed 0 caches" in run("data", "cache", "--prune", "--kind", "store").stdout
    done = json.loads(run("data", "cache", "--prune", "--larger", middle, "--json").stdout)
    assert [entry["key"] for entry in done["removed"]] == [large["key"]]
    assert "removed 0 caches" in run("data", "cache", "--prune", "--keep", small["key"][:8]).stdout
    assert "removed 1 caches" in run("data", "cache", "--prune").stdout
    assert json.loads(run("data", "cache", "--json").stdout) == {"caches": []}


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["--list", "--prune"], "not both"),
        (["--older", "3"], "go with --prune"),
        (["--prune", "--larger", "many"], "500MB"),
        (["--prune", "--kind", "stores"], "did you mean 'store'"),
    ],
)
def test_cache_refuses_in_one_line(words: list[str], hint: str) -> None:
    result = run("data", "cache", *words)
    assert result.exit_code == 2
    assert len(result.stderr.strip().splitlines()) == 1
    assert hint in result.stderr


@pytest.mark.parametrize(
    ("text", "size"),
    [("12", 12), ("1.5kB", 1500), ("500 MB", 500_000_000), ("2g", 2 * 10**9), ("1TB", 10**12)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1500, "1.5 kB"),
        (123_456_789, "123 MB"),
        (5 * 10**12, "5000 GB"),
    ],
)
def test_sizes_as_text(size: int, text: str) -> None:
    assert size_text(size) == text
