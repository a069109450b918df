"""A fit leaves every file, learns, resumes exactly, and predicts what it validated."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import SimpleITK as sitk

import data_adapters
from data_adapters.transforms.layout import Reorient
from recipes.config import load_config
from recipes.engine.loop import Hooks
from recipes.errors import RecipeError, RunFolderError
from recipes.segmentation.config import SegmentationConfig
from recipes.segmentation.data import choose_parts
from recipes.segmentation.evaluating import evaluate
from recipes.segmentation.fitting import Fit, fit
from recipes.segmentation.predicting import predict
from recipes.segmentation.record import load_segmenter
from recipes.segmentation.segmenter import Segmenter
from tests.recipes.segmentation.sets import write_volumes
from tests.recipes.segmentation.tiny import TINY, TinySegmentation
from tests.recipes.tiny_backbone import NAME, register

PLAIN = "model.deep_supervision=false"
SHORT = (*TINY, PLAIN, "plan.width=4", "train.steps=12", "train.rounds=3")
FILES = ("config.yaml", "plan.yaml", "splits.csv", "model.keras", "model.json", "history.csv",
         "metrics.json", "cases.csv")  # fmt: skip


def test_a_run_leaves_every_file_and_has_learnt(tiny_segmentation: TinySegmentation) -> None:
    for name in FILES:
        assert (tiny_segmentation.out / name).is_file(), name
    metrics = json.loads((tiny_segmentation.out / "metrics.json").read_text())
    assert metrics["part"] == "val"
    assert metrics["cases"] == {"train": 4, "val": 4, "test": 0}
    for name in ("bright", "dark"):
        dice = metrics["metrics"]["dice"][name]
        assert dice["low"] <= dice["value"] <= dice["high"]
        assert dice["value"] > 0.8
    with (tiny_segmentation.out / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])


def test_the_finished_run_is_not_done_again(tiny_segmentation: TinySegmentation) -> None:
    before = (tiny_segmentation.out / "model.keras").stat().st_mtime_ns
    summary = fit(tiny_segmentation.data, tiny_segmentation.out, tiny_segmentation.config)
    assert summary["n"] == 4
    assert (tiny_segmentation.out / "model.keras").stat().st_mtime_ns == before


def test_plain_keras_opens_the_model_in_safe_mode(tiny_segmentation: TinySegmentation) -> None:
    members, record = load_segmenter(tiny_segmentation.out)
    model = keras.models.load_model(tiny_segmentation.out / "model.keras", safe_mode=True)
    x = np.random.default_rng(0).normal(size=(1, *record.patch, 1)).astype("float32")
    np.testing.assert_allclose(model(x), members[0](x), atol=1e-6)


def test_parity_of_validation_and_a_fresh_predict(
    tiny_segmentation: TinySegmentation, tmp_path: Path
) -> None:
    """What validation predicted is what the command writes, on the file's own grid."""
    source = tiny_segmentation.data / "imagesTr" / "case_001.nii.gz"
    done = subprocess.run(
        [sys.executable, "-m", "recipes.cli", "segment", "predict", str(tiny_segmentation.out),
         str(source), "--out", str(tmp_path), "--probabilities", "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    row = json.loads(done.stdout)["predictions"][0]
    written = sitk.ReadImage(str(tmp_path / row["mask"]))
    original = sitk.ReadImage(str(source))
    assert written.GetSize() == original.GetSize()
    assert written.GetDirection() == pytest.approx(original.GetDirection())
    assert written.GetOrigin() == pytest.approx(original.GetOrigin())
    adapter = data_adapters.open(str(tiny_segmentation.data))
    model = Segmenter.load(tiny_segmentation.out)
    found = model.probabilities(*model.ready(adapter[1]))
    probabilities = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / row["probabilities"])))
    np.testing.assert_allclose(probabilities, found, atol=1e-4)
    kept = np.load(tiny_segmentation.out / "checkpoints" / "predicted" / "000001.npy")
    np.testing.assert_array_equal(kept, found.argmax(axis=-1))
    truth = adapter[1].mask
    assert truth is not None
    labels = sitk.GetArrayFromImage(written)
    assert row["ml_bright"] == pytest.approx((labels == 1).sum() / 1000)
    assert 2 * ((labels == 1) & (truth == 1)).sum() > 1.4 * (truth == 1).sum()


def test_a_file_that_lies_otherwise_is_segmented_alike(
    tiny_segmentation: TinySegmentation,
) -> None:
    model = Segmenter.load(tiny_segmentation.out)
    case = data_adapters.open(str(tiny_segmentation.data))[1]
    found = model.probabilities(*model.ready(case))
    assert (found.argmax(axis=-1) > 0).any()
    turned, undo = Reorient(to="AIR").apply(case)
    assert turned.image.shape != case.image.shape
    again = model.probabilities(*model.ready(turned))
    back = undo.step.back_probabilities(again, undo, np.zeros(3))
    np.testing.assert_allclose(back, found, atol=1e-6)


def test_evaluate_scores_the_validation_part_alike(tiny_segmentation: TinySegmentation) -> None:
    metrics = json.loads((tiny_segmentation.out / "metrics.json").read_text())["metrics"]
    result = evaluate(tiny_segmentation.out, tiny_segmentation.data, part="val", n_boot=100)
    assert result["n"] == 4
    for figure in ("dice", "hd95", "nsd"):
        for name in ("bright", "dark"):
            assert result[figure][name]["value"] == pytest.approx(metrics[figure][name]["value"])
    with pytest.raises(RecipeError, match="all 8 cases were seen"):
        evaluate(tiny_segmentation.out, tiny_segmentation.data, n_boot=100)


def test_other_classes_and_other_kinds_of_case_are_refused(
    tiny_segmentation: TinySegmentation, tmp_path: Path
) -> None:
    folder = write_volumes(tmp_path / "other", count=2)
    content = json.loads((folder / "dataset.json").read_text())
    content["labels"]["2"] = "something"
    (folder / "dataset.json").write_text(json.dumps(content))
    with pytest.raises(RecipeError, match="classes background, bright, something"):
        evaluate(tiny_segmentation.out, folder, n_boot=100)
    picture = tmp_path / "picture.png"
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((20, 20), np.uint8)), str(picture))
    (row,) = predict(tiny_segmentation.out, [picture], tmp_path / "out")
    assert row["status"] == "unfit"
    assert "fitted on volumes and this is one of pictures" in row["message"]


class Killed(Exception):
    """Stands for a process that is gone."""


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_weights(
    tiny_segmentation: TinySegmentation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config(SegmentationConfig, changes=[*SHORT, "augment.strength=medium"])
    fit(tiny_segmentation.data, tmp_path / "whole", config)
    plain, steps = Fit._hooks, []

    def dying(self: Fit, member: int, rounds: int) -> Hooks:
        hooks = plain(self, member, rounds)

        def batch(done: int, total: int) -> None:
            steps.append(done)
            if len(steps) == 7:
                raise Killed

        return Hooks(batch=batch, epoch=hooks.epoch)

    with monkeypatch.context() as patch:
        patch.setattr(Fit, "_hooks", dying)
        with pytest.raises(Killed):
            fit(tiny_segmentation.data, tmp_path / "run", config)
    fit(tiny_segmentation.data, tmp_path / "run", config)
    whole, _ = load_segmenter(tmp_path / "whole")
    again, _ = load_segmenter(tmp_path / "run")
    for one, other in zip(whole[0].weights, again[0].weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_another_configuration_in_the_same_folder_is_refused(
    tiny_segmentation: TinySegmentation,
) -> None:
    config = load_config(SegmentationConfig, changes=[*TINY, "data.fold=1"])
    with pytest.raises(RunFolderError, match="another configuration"):
        fit(tiny_segmentation.data, tiny_segmentation.out, config)


@pytest.mark.slow
def test_slices_with_neighbours_an_ensemble_and_a_table_of_parts(tmp_path: Path) -> None:
    register()
    data = write_volumes(tmp_path / "data", count=5, shape=(6, 16, 16), spacing=(5.0, 1.0, 1.0))
    changes = [*TINY, "train.steps=2", "train.rounds=1", "train.ema=0.9", "model.network=backbone",
               f"model.backbone={NAME}", "model.weights=none", PLAIN]  # fmt: skip
    config = load_config(SegmentationConfig, changes=[*changes, "model.members=2"])
    summary = fit(data, tmp_path / "run", config)
    assert summary["n"] == 1
    members, record = load_segmenter(tmp_path / "run")
    assert (record.axes, record.neighbours, len(members)) == (2, 1, 2)
    adapter = data_adapters.open(str(data))
    case = adapter[0]
    whole = Segmenter(members, record)
    image, undos = whole.ready(case)
    found = whole.probabilities(image, undos)
    single = [Segmenter([member], record).probabilities(image, undos) for member in members]
    np.testing.assert_allclose(found, np.mean(single, axis=0), atol=1e-5)
    assert np.abs(single[0] - single[1]).max() > 1e-3
    assert found.shape == (*case.image.shape[:3], 3)
    assert members[0].input_shape[-1] == 3
    table = tmp_path / "run" / "splits.csv"
    given = load_config(SegmentationConfig, changes=[f"data.splits={table}"]).data
    parts = choose_parts(adapter, given, seed=9).parts
    assert sorted(parts) == ["train"] * 4 + ["val"]
    assert parts == choose_parts(adapter, config.data, seed=config.seed).parts
