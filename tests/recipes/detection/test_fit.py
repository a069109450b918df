"""A tiny detector finds bright discs, says so with intervals, and is the same when used again."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import data_adapters
from recipes.cli import app
from recipes.config import load_config
from recipes.detection.config import DetectionConfig
from recipes.detection.detector import Detector
from recipes.detection.evaluating import evaluate
from recipes.detection.fitting import fit
from recipes.detection.predicting import predict
from recipes.errors import ConfigError, RecipeError, RunFolderError
from tests.recipes.detection.tiny import TINY, TinyDetection, write_discs


@pytest.mark.slow
def test_discs_are_found(tiny_detection: TinyDetection) -> None:
    content = json.loads((tiny_detection.out / "metrics.json").read_text())
    figures = content["metrics"]
    assert (content["part"], figures["n"], figures["n_normal"]) == ("val", 12, 3)
    assert figures["froc"]["1"]["value"] > 0.8
    assert figures["ap10"]["value"] > 0.7
    assert figures["ap50"]["value"] > 0.5
    for figure in (*figures["froc"].values(), figures["cpm"], figures["ap50"]):
        assert figure["low"] <= figure["value"] <= figure["high"]
    point = figures["classes"]["disc"]["operating"]
    assert point["false_positives"]["value"] <= 1
    assert figures["rule"] == "centre in the lesion's box, or IoU of at least 0.1"


@pytest.mark.slow
def test_a_new_process_of_the_same_run_finds_the_same(
    tiny_detection: TinyDetection, tmp_path: Path
) -> None:
    """What the fit scored, what evaluate scores, and what predict writes are one and the same."""
    content = json.loads((tiny_detection.out / "metrics.json").read_text())
    again = evaluate(tiny_detection.out, tiny_detection.data, part="val", n_boot=100)
    for key in ("froc", "cpm", "ap10", "ap50", "classes"):
        assert again[key] == content["metrics"][key], key
    names = sorted((tiny_detection.data / "images").glob("val_*.png"))
    rows = predict(tiny_detection.out, names, tmp_path, every=True)
    assert [row["status"] for row in rows] == ["ok"] * 12
    with (tmp_path / "candidates.csv").open() as file:
        written = list(csv.DictReader(file))
    with (tiny_detection.out / "candidates.csv").open() as file:
        kept = list(csv.DictReader(file))
    assert sorted(float(r["score"]) for r in written) == pytest.approx(
        sorted(float(r["score"]) for r in kept), abs=1e-4
    )
    coco = json.loads((tmp_path / "candidates.json").read_text())
    assert len(coco["annotations"]) == len(written)
    one = coco["annotations"][0]
    file_name = coco["images"][one["image_id"] - 1]["file_name"]
    mine = next(r for r in written if r["file"] == file_name)
    assert one["bbox"][:2] == pytest.approx([float(mine["x_low"]), float(mine["y_low"])])
    fewer = predict(tiny_detection.out, names, tmp_path / "above", pictures=True)
    page = (tmp_path / "above" / "found.html").read_text()
    assert page.count("<h2>") == 12
    assert "No candidate." in page
    assert page.count("data:image/png") == sum(
        1 + r["candidates"] for r in fewer if r["candidates"]
    )
    above = sum(row["above"] == "yes" for row in written)
    assert sum(row["candidates"] for row in fewer) == above
    threshold = Detector.load(tiny_detection.out).record.thresholds[0]
    assert threshold is not None
    assert above == sum(float(row["score"]) >= threshold - 1e-6 for row in written)


@pytest.mark.slow
def test_a_finished_run_is_not_run_again_and_other_settings_are_refused(
    tiny_detection: TinyDetection,
) -> None:
    before = (tiny_detection.out / "model.json").stat().st_mtime_ns
    fit(tiny_detection.data, tiny_detection.out, tiny_detection.config)
    assert (tiny_detection.out / "model.json").stat().st_mtime_ns == before
    other = load_config(DetectionConfig, changes=[*TINY, "candidates.apart=4"])
    with pytest.raises(RunFolderError, match="another configuration"):
        fit(tiny_detection.data, tiny_detection.out, other)


@pytest.mark.slow
def test_an_exchanged_first_stage_is_refused(tiny_detection: TinyDetection, tmp_path: Path) -> None:
    names = ["model.json", *(f"{stage}/model.{kind}" for stage in ("first", "second")
                             for kind in ("json", "keras"))]  # fmt: skip
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((tiny_detection.out / name).read_bytes())
    assert Detector.load(tmp_path).record.class_names == ("disc",)
    path = tmp_path / "first" / "model.json"
    path.write_text(path.read_text().replace('"overlap": 0.5', '"overlap": 0.4'))
    with pytest.raises(RunFolderError, match="not the first stage"):
        Detector.load(tmp_path)


@pytest.mark.slow
def test_the_commands_show_figures(tiny_detection: TinyDetection) -> None:
    words = ["detect", "evaluate", str(tiny_detection.out), str(tiny_detection.data), "--part",
             "val", "--n-boot", "100"]  # fmt: skip
    shown = CliRunner().invoke(app, words)
    assert shown.exit_code == 0, shown.output
    assert "n = 12 (3 without lesions)" in shown.output
    assert "at 0.125" in shown.output
    assert "AP50" in shown.output
    told = json.loads(CliRunner().invoke(app, [*words, "--json"]).output)
    assert set(told["froc"]) == {"0.125", "0.25", "0.5", "1", "2", "4", "8"}
    assert set(told["cpm"]) == {"value", "low", "high"}


@pytest.mark.slow
def test_other_classes_are_refused(tiny_detection: TinyDetection, tmp_path: Path) -> None:
    other = write_discs(tmp_path / "data", parts={"train": 4})
    path = other / "train.json"
    path.write_text(path.read_text().replace('"disc"', '"ring"'))
    with pytest.raises(RecipeError, match="the data have the classes ring"):
        evaluate(tiny_detection.out, other)


def test_data_without_lesions_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    import cv2

    for name in "ab":
        cv2.imwrite(str(tmp_path / name / "1.png"), np.zeros((9, 9), np.uint8))
    with pytest.raises(RecipeError, match="detection wants lesions"):
        fit(tmp_path, tmp_path / "run", DetectionConfig())


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="splits and fold"):
        load_config(DetectionConfig, changes=["data.fold=1", "data.splits=a.csv"])
    with pytest.raises(ConfigError, match=r"candidates\.floor"):
        load_config(DetectionConfig, changes=["candidates.floor=0"])


def test_a_lesion_that_two_readers_marked_counts_once_and_is_noted(tmp_path: Path) -> None:
    from recipes.detection.data import gather

    data = write_discs(tmp_path / "data", parts={"train": 4})
    path = data / "train.json"
    content = json.loads(path.read_text())
    content["annotations"].append({**content["annotations"][0], "id": 99})
    path.write_text(json.dumps(content))
    adapter = data_adapters.open(str(data))
    shown: list[int] = []
    for _ in range(2):
        truth = gather(
            adapter,
            range(len(adapter)),
            radius=None,
            kept=tmp_path / "lesions.json",
            progress=lambda done, total: shown.append(done),
        )
        assert truth.notes() == ("1 boxes that mark a lesion a second time are taken with it.",)
    assert shown == [1, 2, 3, 4], "the second time they are read from the file"
