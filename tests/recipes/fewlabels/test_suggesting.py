"""``radzoo classify suggest`` on the tiny run."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from data_adapters.errors import DataError
from recipes.classification.inference import infer
from recipes.classification.predicting import predict
from recipes.cli import app
from recipes.engine.losses import probabilities
from recipes.engine.modelfile import load_model
from recipes.errors import ConfigError, RecipeError
from recipes.fewlabels.opening import open_unlabelled
from recipes.fewlabels.selecting import entropy
from recipes.fewlabels.suggesting import suggest
from tests.recipes.tiny import TinyRun, write_pictures


def table(folder: Path, tiny: TinyRun) -> Path:
    """Eight new pictures of four patients, and one that the run was tested on."""
    made = write_pictures(folder / "new", per_class={"x": 4}, seed=5)
    rows = [["path", "patient"]]
    for i, path in enumerate(sorted(made.rglob("*.png"))):
        rows.append([str(path), f"Doe^{i // 2}"])
    known = folder / "known.png"
    shutil.copy(tiny.data / "test" / "lesion" / "0.png", known)
    rows.append([str(known), "Roe"])
    path = folder / "table.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def test_the_least_sure_cases_come_first_one_for_each_patient(
    tiny_run: TinyRun, tmp_path: Path
) -> None:
    source = table(tmp_path, tiny_run)
    out = tmp_path / "next.csv"
    result = suggest(tiny_run.out, source, out, n=3, strategy="entropy", pictures="yes", seed=1)
    assert (result["n"], result["n_offered"], result["n_known"]) == (3, 8, 1)
    whole = suggest(tiny_run.out, source, n=8, strategy="entropy", one_per_patient=False)
    found = [row["entropy"] for row in whole["cases"]]
    assert found == sorted(found, reverse=True)
    check_against_predictions(tiny_run, source, whole)
    best = whole["cases"][0]["case_id"]
    assert result["cases"][0]["case_id"] == best
    with out.open() as file:
        lines = list(csv.DictReader(file))
    assert [line["rank"] for line in lines] == ["1", "2", "3"]
    assert lines[0]["case_id"] == best
    page = (tmp_path / "next.html").read_text()
    assert page.count("data:image/") == 3
    assert "Research use only" in page
    assert "Doe" not in page
    assert str(tmp_path) not in page


def check_against_predictions(tiny: TinyRun, source: Path, whole: dict[str, object]) -> None:
    """Entropies are those of the model's own predictions without views."""
    model, record = load_model(tiny.out)
    adapter = open_unlabelled(str(source), tiny.config.data)
    plain = record.model_copy(update={"views": ({"view": "identity"},)})
    result = infer(model, plain, adapter, range(8))
    wanted = entropy(probabilities(result.logits, task="single"), task="single")
    cases = {row["case_id"]: row["entropy"] for row in whole["cases"]}  # type: ignore[attr-defined]
    found = [cases[adapter.index[i].case_id] for i in result.indices]
    np.testing.assert_allclose(found, wanted, atol=2e-6)


def test_dropout_passes_repeat_and_differ(tiny_run: TinyRun, tmp_path: Path) -> None:
    source = table(tmp_path, tiny_run)
    one, again = (suggest(tiny_run.out, source, n=4, strategy="mc", seed=3) for _ in range(2))
    assert one["cases"] == again["cases"]
    assert max(row["mutual_information"] for row in one["cases"]) > 0


def test_the_command_without_pictures(tiny_run: TinyRun, tmp_path: Path) -> None:
    source, out = table(tmp_path, tiny_run), tmp_path / "next.csv"
    words = ["classify", "suggest", str(tiny_run.out), str(source), "--n", "2"]
    words += ["--out", str(out), "--labelled", str(tiny_run.data), "--json", "--strategy", "mixed"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)
    assert (content["n"], content["strategy"]) == (2, "mixed")
    assert "data:image/" not in (tmp_path / "next.html").read_text()


def with_threshold(tiny: TinyRun, folder: Path, threshold: float) -> Path:
    """The run as if it had seen enough validation patients for a threshold."""
    run = folder / f"run-{threshold:.3f}"
    shutil.copytree(tiny.out, run)
    path = run / "uncertainty.json"
    content = json.loads(path.read_text())
    content["outside"]["threshold"] = threshold
    path.write_text(json.dumps(content))
    return run


def test_cases_of_another_kind_are_left_out_unless_wanted(
    tiny_run: TinyRun, tmp_path: Path
) -> None:
    folder = write_pictures(tmp_path / "new", per_class={"x": 8}, seed=5) / "x" / "lesion"
    far = [row["ood_score"] for row in predict(tiny_run.out, [folder])]
    run = with_threshold(tiny_run, tmp_path, float(np.median(far)))
    flags = {Path(row["file"]).name: row for row in predict(run, [folder])}
    assert {row["ood_flag"] for row in flags.values()} == {"inside", "outside"}
    every = suggest(run, folder, n=8, strategy="entropy", include_outside=True)
    assert (every["n"], every["n_outside"], every["n_left_out"]) == (8, 4, 0)
    for row in every["cases"]:
        wanted = flags[Path(row["file"]).name]
        assert row["ood_flag"] == wanted["ood_flag"]
        assert row["ood_score"] == pytest.approx(wanted["ood_score"], rel=1e-4)
    assert "could be chosen" in every["notes"][0]
    out = tmp_path / "next.csv"
    words = ["classify", "suggest", str(run), str(folder), "--n", "8", "--out", str(out)]
    words += ["--strategy", "entropy", "--pictures", "yes"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert "4 of 8 cases are of another kind" in result.output
    assert "--include-outside" in result.output
    with out.open() as file:
        lines = list(csv.DictReader(file))
    inside = [row["file"] for row in every["cases"] if row["ood_flag"] == "inside"]
    assert [line["file"] for line in lines] == inside
    assert {line["ood_flag"] for line in lines} == {"inside"}
    page = (tmp_path / "next.html").read_text()
    assert "4 of 8 cases are of another kind" in page
    assert CliRunner().invoke(app, [*words, "--include-outside"]).exit_code == 0
    assert (tmp_path / "next.html").read_text().count("of another kind</span>") == 4
    with pytest.raises(RecipeError, match=r"no case left to choose from\. 8 of 8 cases are of"):
        suggest(with_threshold(tiny_run, tmp_path, 0.0), folder, n=1)


def test_a_run_that_cannot_tell_says_so(tiny_run: TinyRun, tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "new", per_class={"x": 1}, seed=5) / "x" / "lesion"
    result = suggest(tiny_run.out, folder, n=1, strategy="entropy")
    assert result["n_outside"] == 0
    assert "too few validation patients" in result["notes"][0]
    run = tmp_path / "run"
    shutil.copytree(tiny_run.out, run)
    (run / "uncertainty.json").unlink()
    result = suggest(run, folder, n=1, strategy="entropy")
    assert result["n_outside"] is None
    assert "classify calibrate" in result["notes"][0]
    assert "ood_flag" not in result["cases"][0]


def test_refusals(tiny_run: TinyRun, tmp_path: Path) -> None:
    source = table(tmp_path, tiny_run)
    with pytest.raises(ConfigError, match="unknown strategy 'best'"):
        suggest(tiny_run.out, source, n=1, strategy="best")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match="is empty"):
        suggest(tiny_run.out, empty, n=1)
    with pytest.raises(RecipeError, match="there is no run folder"):
        suggest(tmp_path / "nowhere", source, n=1)
    only = tmp_path / "only"
    only.mkdir()
    shutil.copy(tmp_path / "known.png", only / "a.png")
    with pytest.raises(RecipeError, match="no case left to choose from: 1 are in the run already"):
        suggest(tiny_run.out, only, n=1)
