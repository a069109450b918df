"""The command line: what it prints where, and how it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from data_adapters.split_table import read_splits
from recipes.cli import app
from recipes.intended_use import INTENDED_USE
from tests.recipes.tiny import TinyRun, write_pictures


def run(*words: object) -> Result:
    """One command in this process, standard output and errors apart."""
    return CliRunner().invoke(app, [str(word) for word in words])


def refused(*words: object) -> str:
    """The one-line error of a command that must exit with 2."""
    result = run(*words)
    assert result.exit_code == 2, result.output
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    return lines[0]


def test_help_says_what_it_is_for_and_loads_nothing_heavy() -> None:
    code = (
        "import sys; from recipes.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'tensorflow', 'keras', 'numpy', 'pydantic', 'pandas'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert " ".join(done.stdout.split()).find(INTENDED_USE) >= 0


def test_models_lists_the_catalogue() -> None:
    rows = json.loads(run("models", "--json").stdout)
    names = {row["name"] for row in rows}
    assert {"efficientnet_lite0", "resnet50", "densenet121", "convnext_tiny"} <= names
    offline = {row["name"] for row in rows if row["offline"]}
    assert "efficientnet_lite0" in offline
    assert "efficientnet_lite0" in run("models").stdout


def test_data_split_writes_parts_by_patient(tmp_path: Path) -> None:
    table = tmp_path / "cases.csv"
    pictures = write_pictures(tmp_path / "pictures", per_class={"all": 12})
    lines = ["path,label,patient"]
    for label in ("lesion", "plain"):
        lines += [f"pictures/all/{label}/{i}.png,{label},{label}{i // 2}" for i in range(12)]
    table.write_text("\n".join(lines))
    assert pictures.exists()
    result = run("data", "split", table, "--out", tmp_path / "splits.csv", "--json")
    content = json.loads(result.stdout)
    assert content["unit"] == "patient"
    parts: dict[str, set[str]] = {}
    for row in read_splits(tmp_path / "splits.csv"):
        parts.setdefault(row.patient, set()).add(row.part)
    assert len(parts) == 12
    assert all(len(found) == 1 for found in parts.values())
    again = run("data", "split", table, "--out", tmp_path / "again.csv", "--json")
    assert again.exit_code == 0
    assert (tmp_path / "again.csv").read_text() == (tmp_path / "splits.csv").read_text()


def test_fit_again_prints_the_summary_and_exits_0(tiny_run: TinyRun, tmp_path: Path) -> None:
    from recipes.config import to_yaml

    config = tmp_path / "config.yaml"
    config.write_text(to_yaml(tiny_run.config))
    words = ("classify", "fit", tiny_run.data, "--out", tiny_run.out, "--config", config)
    result = run(*words)
    assert result.exit_code == 0, result.output
    assert "auc" in result.stdout
    assert json.loads(run(*words, "--json").stdout)["part"] == "test"
    assert "another configuration" in refused(*words, "--seed", "5")


def test_evaluate_prints_one_json_object_only(tiny_run: TinyRun) -> None:
    result = run("classify", "evaluate", tiny_run.out, tiny_run.data, "--json", "--n-boot", "100")
    content = json.loads(result.stdout)
    assert content["n"] == 12
    for key in ("auc", "accuracy", "balanced_accuracy", "average_precision", "sensitivity",
                "specificity", "f1", "brier", "ece"):  # fmt: skip
        assert {"value", "low", "high"} <= set(content[key])


def test_predict_writes_a_table(tiny_run: TinyRun, tmp_path: Path) -> None:
    out = tmp_path / "predictions.csv"
    result = run("classify", "predict", tiny_run.out, tiny_run.data / "test", "--out", out)
    assert result.exit_code == 0, result.output
    assert len(out.read_text().splitlines()) == 13
    missing = refused("classify", "predict", tiny_run.out, tmp_path / "nothing", "--out", out)
    assert "nothing" in missing


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        ("--backbone=resnet5", "resnet50"),
        ("--set=train.batchsize=4", "train.batch_size"),
        ("--set=data.modality=XR-chst", "XR-chest"),
        ("--positive=tumour", "'lesion', 'plain'"),
        ("--leakage=maybe", "stop"),
        ("--weights=nowhere.h5", "nowhere.h5"),
    ],
)
def test_fit_refuses_what_it_does_not_know(
    tiny_run: TinyRun, tmp_path: Path, change: str, hint: str
) -> None:
    message = refused("classify", "fit", tiny_run.data, "--out", tmp_path / "run", change)
    assert hint in message


def _one_class(folder: Path) -> None:
    import shutil

    write_pictures(folder, per_class={"x": 4})
    shutil.move(str(folder / "x" / "lesion"), folder / "lesion")
    shutil.rmtree(folder / "x")


def _one_patient(folder: Path) -> None:
    write_pictures(folder, per_class={"x": 6})
    lines = [
        f"x/{label}/{i}.png,{label},only" if i else f"x/{label}/{i}.png,{label},other"
        for label in ("lesion", "plain")
        for i in range(6)
    ]
    (folder / "cases.csv").write_text("\n".join(["path,label,patient", *lines]))


def _unreadable(folder: Path) -> None:
    write_pictures(folder, per_class={"train": 4, "val": 2})
    for file in folder.rglob("*.png"):
        file.write_bytes(file.read_bytes()[:40])


def _train_without_a_class(folder: Path) -> None:
    import shutil

    write_pictures(folder, per_class={"train": 4, "val": 2, "test": 2})
    shutil.rmtree(folder / "train" / "plain")


@pytest.mark.parametrize(
    "make", [_one_class, _one_patient, _unreadable, _train_without_a_class, Path.mkdir]
)
def test_hopeless_data_are_refused_in_one_line(tmp_path: Path, make: object) -> None:
    folder = tmp_path / "data"
    make(folder)  # type: ignore[operator]
    source = folder / "cases.csv" if (folder / "cases.csv").exists() else folder
    refused("classify", "fit", source, "--out", tmp_path / "run")


def test_a_patient_on_two_sides_stops_the_run(tmp_path: Path) -> None:
    write_pictures(tmp_path / "x", per_class={"a": 8})
    parts = ["train"] * 4 + ["val"] * 2 + ["test"] * 2
    lines = [
        f"x/a/{label}/{i}.png,{label},{'SMITH' if i in (0, 7) else f'{label}{i}'},{part}"
        for label in ("lesion", "plain")
        for i, part in enumerate(parts)
    ]
    table = tmp_path / "cases.csv"
    table.write_text("\n".join(["path,label,patient,split", *lines]))
    message = refused("classify", "fit", table, "--out", tmp_path / "run")
    assert "SMITH" not in message
    assert "--leakage" in message or "drop" in message


def test_a_run_folder_that_cannot_be_written(tiny_run: TinyRun, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("x")
    message = refused("classify", "fit", tiny_run.data, "--out", blocked / "run")
    assert "run folder" in message


def test_data_split_stops_at_a_patient_on_two_sides(tmp_path: Path) -> None:
    table = tmp_path / "cases.csv"
    write_pictures(tmp_path / "pictures", per_class={"all": 4})
    lines = ["path,label,patient,split"]
    for label in ("lesion", "plain"):
        for i, part in enumerate(("train", "train", "val", "test")):
            who = "shared" if (label, part) in (("plain", "val"), ("lesion", "train")) else f"{i}"
            lines.append(f"pictures/all/{label}/{i}.png,{label},{label if who != 'shared' else ''}")
            lines[-1] += f"{who},{part}"
    table.write_text("\n".join(lines))
    out = tmp_path / "splits.csv"
    assert "patient" in refused("data", "split", table, "--out", out)
    assert not out.exists()
    assert "shared" not in run("data", "split", table, "--out", out).output
    allowed = run("data", "split", table, "--out", out, "--set", "data.leakage=allow", "--json")
    assert any("more than one part" in note for note in json.loads(allowed.stdout)["notes"])


def test_data_split_counts_what_it_leaves_out(tmp_path: Path) -> None:
    table = tmp_path / "cases.csv"
    write_pictures(tmp_path / "pictures", per_class={"all": 9})
    lines = ["path,label"]
    lines += [f"pictures/all/{label}/{i}.png,{label}" for label in ("lesion", "plain")
              for i in range(8)]  # fmt: skip
    lines += ["pictures/all/plain/gone.png,plain", "pictures/all/plain/8.png,"]
    table.write_text("\n".join(lines))
    out = tmp_path / "splits.csv"
    content = json.loads(run("data", "split", table, "--out", out, "--json").stdout)
    assert (content["n_skipped"], len(content["skipped"])) == (2, 2), content["skipped"]
    assert f"{content['n_skipped']} skipped: " in run("data", "split", table, "--out", out).stdout


def test_predict_refuses_an_unwritable_file_before_it_works(
    tiny_run: TinyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "recipes.classification.predicting.load_model", lambda run: pytest.fail("it began")
    )
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file" / "p.csv", tmp_path):
        said = refused("classify", "predict", tiny_run.out, tiny_run.data, "--out", out)
        assert f"cannot write {out.name!r}" in said


def test_nobodys_home_is_a_name_like_any_other(tmp_path: Path) -> None:
    said = refused("data", "split", "~nobody-of-that-name/x", "--out", tmp_path / "s.csv")
    assert "no such file or folder" in said


def test_a_level_that_the_backbone_lacks_is_refused_before_any_work(
    tiny_run: TinyRun, tmp_path: Path
) -> None:
    words = ["--backbone", "convnext_tiny", "--weights", "none", "--set", "model.levels=[P1]"]
    said = refused("classify", "fit", tiny_run.data, "--out", tmp_path / "run", *words)
    assert "'convnext_tiny' has no level 'P1'; it has P2, P3, P4, P5" in said
    assert not (tmp_path / "run").exists()
