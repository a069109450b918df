"""Fits with unlabelled cases: the leakage gate, what is recorded, and an interrupted run."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import data_adapters
from data_adapters.errors import LeakageError
from recipes.classification.config import ClassificationConfig
from recipes.classification.data import Prepared, prepare
from recipes.classification.evaluating import evaluate
from recipes.classification.fitting import fit
from recipes.config import load_config
from recipes.engine.modelfile import load_model
from recipes.errors import ConfigError, RecipeError
from recipes.fewlabels.gate import write_seen
from recipes.fewlabels.opening import check_semi
from recipes.fewlabels.semi import SemiBatches
from tests.recipes.tiny import write_pictures
from tests.recipes.tiny_backbone import NAME, write_weights

PARTS = {"train": 6, "val": 4, "test": 4}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RADZOO_HOME", str(tmp_path / "home"))
    return tmp_path


def configured(*changes: str) -> ClassificationConfig:
    plain = ["data.image_size=32", "data.positive=lesion", "evaluate.n_boot=100"]
    return load_config(ClassificationConfig, changes=[*plain, *changes])


def loose(folder: Path, count: int, *, seed: int = 9) -> Path:
    """Pictures without labels."""
    write_pictures(folder / "made", per_class={"x": count}, seed=seed)
    for i, path in enumerate(sorted((folder / "made").rglob("*.png"))):
        path.rename(folder / f"{i:02d}.png")
    shutil.rmtree(folder / "made")
    return folder


def prepared(data: Path, more: Path | None, *changes: str) -> Prepared:
    further = None if more is None else data_adapters.open(more)
    return prepare(data_adapters.open(data), configured(*changes), unlabelled=further)


def test_unlabelled_copies_of_tested_cases_stop_the_run_or_are_left_out(home: Path) -> None:
    data = write_pictures(home / "data", per_class=PARTS)
    more = loose(home / "more", 4)
    shutil.copy(data / "test" / "lesion" / "0.png", more / "copy.png")
    shutil.copy(data / "train" / "plain" / "0.png", more / "mine.png")
    with pytest.raises(LeakageError, match="1 of 'unlabelled'"):
        prepared(data, more)
    found = prepared(data, more, "data.leakage=drop")
    assert found.unlabelled is not None
    assert found.unlabelled.to_dict() == {
        "n": 9, "left_out": {"leakage": 1}, "copies_of_training": 1,
    }  # fmt: skip
    tested = {found.decoded.sha256[i] for i in found.usable[found.rows("test")]}
    assert not tested & {digest for _, digest in found.unlabelled.lines()}
    assert len(found.rows("train")) == 12


def test_blank_labels_are_learnt_from_on_request_but_not_those_of_tested_patients(
    home: Path,
) -> None:
    data = write_pictures(home / "data", per_class=PARTS)
    blank = loose(home / "blank", 3)
    rows = [["path", "label", "patient", "split"]]
    for path in sorted(data.rglob("*.png")):
        part, label = path.parts[-3:-1]
        rows.append([str(path), label, f"{part}-{label}-{path.stem}", part])
    for i, path in enumerate(sorted(blank.glob("*.png"))):
        rows.append([str(path), "", "test-lesion-0" if i == 0 else f"new-{i}", ""])
    table = home / "table.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    plain = prepared(table, None)
    assert plain.unlabelled is None
    assert [skip.kind for skip in plain.skipped] == ["unlabelled"] * 6
    used = prepared(table, None, "semi.blank=true")
    assert used.unlabelled is not None
    assert used.unlabelled.to_dict()["n"] == 5
    assert used.unlabelled.to_dict()["left_out"] == {"leakage": 1}
    assert used.skipped == ()
    assert len(used.usable) == len(plain.usable) == 28
    assert used.data_hash != plain.data_hash


def test_weights_that_have_seen_a_tested_case_are_refused(home: Path) -> None:
    data = write_pictures(home / "data", per_class=PARTS)
    (home / "pre").mkdir()
    weights = write_weights(home / "pre" / "w.weights.h5")
    clean = prepared(data, None, f"model.weights={weights}")
    row = int(clean.usable[clean.rows("val")][0])
    seen = [(clean.adapter.index[row], clean.decoded.sha256[row])]
    write_seen(home / "pre" / "pretraining.csv", seen)
    with pytest.raises(LeakageError, match="'pretraining'"):
        prepared(data, None, f"model.weights={weights}")
    with pytest.raises(RecipeError, match="pretrained on 1 cases"):
        prepared(data, None, f"model.weights={weights}", "data.leakage=drop")
    assert prepared(data, None, f"model.weights={weights}", "data.leakage=allow").leakage.marked


def test_what_cannot_be_had_is_refused_by_its_key() -> None:
    for change, key in (
        ("train.mixup=0.2", "train.mixup"),
        ("train.finetune.epochs=0", "train.finetune.epochs"),
    ):
        with pytest.raises(ConfigError, match=key):
            check_semi(configured(change), devices=1)
    with pytest.raises(ConfigError, match=r"train\.devices"):
        check_semi(configured(), devices=2)
    with pytest.raises(ConfigError, match=r"did you mean 'semi\.method'"):
        configured("semi.metod=fixmatch")


@pytest.mark.slow
def test_an_interrupted_run_ends_as_one_that_was_not(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_pictures(home / "data", per_class=PARTS)
    more = loose(home / "more", 8)
    weights = write_weights(home / "start.weights.h5")
    config = configured(
        f"model.backbone={NAME}", f"model.weights={weights}", "model.members=1",
        "train.head.epochs=0", "train.finetune.epochs=2", "train.batch_size=8", "semi.steps=2",
        "semi.threshold=0.51", "train.finetune.learning_rate=3e-3", "train.monitor=epoch",
        "semi.method=mean_teacher", "evaluate.tta=false",
    )  # fmt: skip
    fit(data, home / "whole", config, unlabelled=more)

    class Killed(BaseException):
        pass

    plain = SemiBatches.__getitem__

    def dies(self: SemiBatches, index: int) -> object:
        if index == 1 and self.epoch == 2:
            raise Killed
        return plain(self, index)

    with monkeypatch.context() as patch:
        patch.setattr(SemiBatches, "__getitem__", dies)
        with pytest.raises(Killed):
            fit(data, home / "cut", config, unlabelled=more)
    assert not (home / "cut" / "model.json").exists()
    fit(data, home / "cut", config, unlabelled=more)

    one, other = (load_model(home / name)[0].get_weights() for name in ("whole", "cut"))
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)
    check_records(home / "whole", data)


def check_records(run: Path, data: Path) -> None:
    """Unlabelled cases are told apart everywhere and counted nowhere."""
    content = json.loads((run / "metrics.json").read_text())
    facts = content["training"]["unlabelled"]
    assert (facts["method"], facts["n"]) == ("mean_teacher", 16)
    assert [row["seen"] for row in facts["epochs"]] == [32, 32]
    assert [row["passed"] for row in facts["epochs"]] == [None, None]
    assert content["metrics"]["n"] == 8
    assert content["cases"]["train"]["cases"] == 12
    with (run / "history.csv").open() as file:
        assert [row["unlabelled_seen"] for row in csv.DictReader(file)] == ["32.0", "32.0"]
    for name in ("report.html", "model_card.md"):
        text = (run / name).read_text()
        assert "16 cases were learnt from without a label" in text
        assert "--unlabelled UNLABELLED" in text.replace("\\", "")
    with (run / "unlabelled.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 16
    more = data.parent / "more"
    labels = [["path", "label"], *([str(p), "plain"] for p in sorted(more.glob("*.png"))[:3])]
    labels.append([str(data / "test" / "lesion" / "0.png"), "lesion"])
    table = data.parent / "seen.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows(labels)
    assert evaluate(run, table, n_boot=100)["n_seen"] == 3


def test_what_counted_is_told_and_a_class_that_never_did() -> None:
    from recipes.fewlabels.phase import passed_facts, unlabelled_notes, unlabelled_text

    record = {"member": 0, "unlabelled_seen": 64.0, "unlabelled_passed_0": 40.0}
    history = [
        {"member": 0, "epoch": 9, "loss": 1.0},
        record | {"epoch": 1, "unlabelled_passed_1": 3.0},
        record | {"epoch": 2, "unlabelled_passed_1": 0.0},
    ]
    rows = passed_facts(history, ("plain", "lesion"))
    assert [row["passed"] for row in rows] == [
        {"plain": 40, "lesion": 3}, {"plain": 40, "lesion": 0},
    ]  # fmt: skip
    facts = {
        "method": "fixmatch", "policy": "drop", "n": 70, "left_out": {"leakage": 2}, "epochs": rows,
    }  # fmt: skip
    text = unlabelled_text(facts)
    assert "70 cases without a label (left out: leakage 2)" in text
    assert "of 64 looked at: plain 40, lesion 0" in text
    notes = unlabelled_notes(facts)
    assert "no unlabelled case was taken for lesion" in notes[1]
    assert len(unlabelled_notes(facts | {"epochs": rows[:1]})) == 1
