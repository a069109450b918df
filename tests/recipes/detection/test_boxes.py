"""Boxes without maps: targets by hand, heaps, windows, grids, and a run from fit to predict."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np
import pytest

from data_adapters.case import Case, Geometry, Lesion
from data_adapters.chain import run_chain
from recipes.config import load_config
from recipes.detection.boxes.finder import brought_back
from recipes.detection.boxes.targets import box_targets, lesion_boxes
from recipes.detection.boxes.windows import Boxes, Windows, best_of_heaps
from recipes.detection.config import DetectionConfig
from recipes.detection.data import Truth
from recipes.detection.detector import Detector
from recipes.detection.evaluating import evaluate
from recipes.detection.fitting import fit
from recipes.detection.predicting import predict
from recipes.detection.sizing import painted_core
from recipes.detection.truth import Marks, painted
from recipes.errors import ConfigError
from recipes.explaining.running import explain
from recipes.explaining.wanted import Wanted
from recipes.segmentation.config import TrainConfig
from recipes.segmentation.networks import weights_by_name
from tests.recipes.detection.tiny import write_discs
from tests.recipes.tiny_backbone import NAME, register
from zoo.boxes import create_box_detector, resized


def grid_places(side: int, strides: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    places, steps = [], []
    for s in strides:
        line = (np.arange(side // s) + 0.5) * s
        found = np.stack(np.meshgrid(line, line, indexing="ij"), -1).reshape(-1, 2)
        places.append(found)
        steps.append(np.full_like(found, s))
    return np.concatenate(places).astype(np.float32), np.concatenate(steps).astype(np.float32)


def test_painted_lesions_give_their_boxes_back() -> None:
    marks = Marks(
        labels=np.asarray([0, 1]),
        boxes=np.asarray([[10.0, 20, 30, 50], [60, 60, 80, 84]]),
        radii=np.ones(2),
    )
    labels, boxes = lesion_boxes(painted(marks, (96, 96), core=0.7), 2, core=0.7)
    assert labels.tolist() == [0, 1]
    assert np.allclose(boxes, marks.boxes, atol=1.5)


def test_each_lesion_is_answered_for_at_its_level_near_its_middle() -> None:
    places, strides = grid_places(64, (4, 8))
    masks = np.zeros((2, 64, 64), np.int16)
    masks[0, 20:28, 29:37] = 2  # longest side 8: the level of stride 4
    masks[0, 0:40, 44:64] = 1  # longest side 40: more than 8 x 4
    masks[1, 50:, 50:] = -1
    found = box_targets(masks, places, strides, classes=2)
    there = found[0, :, 2] == 1
    small = there & (found[0, :, 1] == 1)
    assert (strides[small] == 4).all()
    assert (strides[there & ~small] == 8).all()
    assert small.sum() == 4  # every place inside it lies near its middle
    corners = np.concatenate([places - found[0, :, 3:5], places + found[0, :, 5:]], axis=1)
    assert (corners[small] == [20, 29, 28, 37]).all()
    assert (corners[there & ~small] == [0, 44, 40, 64]).all()
    assert (found[0, ~there, :2] == 0).all()
    hidden = (places >= 50).all(axis=1)
    assert (found[1, hidden, :2] == -1).all()
    assert (found[1, ~hidden, :3] == 0).all()


def test_a_lesion_between_all_places_has_the_nearest() -> None:
    places, strides = grid_places(32, (8,))
    masks = np.zeros((1, 32, 32), np.int16)
    masks[0, 8, 15] = 1
    found = box_targets(masks, places, strides, classes=1)
    row = np.flatnonzero(found[0, :, 1])
    assert places[row].tolist() == [[12.0, 12.0]]
    assert (found[0, row, 2:] > 0).all()


def test_the_best_of_each_heap_stays_class_by_class() -> None:
    boxes = np.asarray(
        [[0.0, 0, 10, 10], [1, 1, 11, 11], [1, 1, 11, 11], [20, 20, 30, 30], [0, 0, 10, 10]]
    )
    origins = np.arange(5)[:, None] * np.ones(4, int)
    found = Boxes(
        np.asarray([0, 0, 1, 0, 0]), np.asarray([0.5, 0.9, 0.4, 0.3, 0.2]), boxes, origins
    )
    kept = best_of_heaps(found, iou=0.4, most=10)
    assert sorted(kept.scores.tolist()) == [0.3, 0.4, 0.9]
    assert {int(origin[0]) for origin in kept.origins} == {1, 2, 3}
    assert best_of_heaps(found, iou=0.4, most=1).scores.tolist() == [0.9, 0.4]


def test_boxes_come_back_by_their_places_in_mm() -> None:
    before = Geometry((5.0, 1.0, 2.0), (-7.0, 3.0, 9.0), ((0, 0, 1), (0, 1, 0), (1, 0, 0)))
    # the chain turned axis 1 round and made voxels of 1 mm
    after = Geometry((1.0, 1.0, 1.0), (-7.5, 42.0, 7.0), ((0, 0, 1), (0, -1, 0), (1, 0, 0)))
    boxes = np.asarray([[5.0, 10.0, 4.0, 15.0, 20.0, 8.0]])
    found = brought_back(boxes, after, (40, 40, 40), before, (8, 40, 20))
    assert np.allclose(found, [[1.0, 20.0, 2.0, 3.0, 30.0, 4.0]])
    assert np.allclose(brought_back(boxes, None, (50,) * 3, None, (50,) * 3), boxes)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("axes", [2, 3])
def test_resampled_boxes_come_back_where_the_chain_took_them_from(axes: int, known: bool) -> None:
    spacing, directions = (2.0, 0.7, 0.9)[-axes:], ((0, 0, 1), (0, 1, 0), (1, 0, 0))[-axes:]
    geometry = Geometry(spacing, (1.0, 2.0, 3.0), directions if known else ())
    box = (3.0, 12.0, 10.0)[-axes:] + (6.0, 20.0, 21.0)[-axes:]
    case = Case(
        np.zeros((*(12, 41, 50)[-axes:], 1), np.float32), "a", geometry=geometry,
        lesions=(Lesion(0, box=box),),
    )  # fmt: skip
    chain = ({"step": "resample", "spacing": [1.3] * axes, "mask": "onehot"},)
    done, _ = run_chain(case, chain)
    moved = np.asarray([done.lesions[0].box])
    assert not np.allclose(moved, [box])
    found = brought_back(
        moved, done.geometry, done.image.shape[:-1], geometry, (12, 41, 50)[-axes:]
    )
    assert np.allclose(found, [box], atol=1e-6)


class Marker:
    """In the place of a network: a box of 8 around every bright voxel of a window of 32."""

    input_shape = (None, 32, 32, 1)

    def __call__(self, batch: np.ndarray, training: bool) -> np.ndarray:
        bright = batch[..., 0].reshape(len(batch), -1, 1)
        return np.concatenate([bright, np.full((*bright.shape[:2], 4), 4.0)], axis=-1)


def test_windows_find_each_lesion_once_wherever_it_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    line = np.arange(32) + 0.5
    places = np.stack(np.meshgrid(line, line, indexing="ij"), -1).reshape(-1, 2)
    monkeypatch.setattr(
        "recipes.detection.boxes.windows.box_places", lambda model: (places, np.ones_like(places))
    )
    windows = Windows(Marker(), 1, overlap=0.5, iou=0.4)  # type: ignore[arg-type]
    image = np.full((70, 50, 1), -9.0, np.float32)
    spots = [(1, 1), (16, 40), (31, 31), (35, 8), (69, 49), (48, 25)]
    for y, x in spots:
        image[y, x] = 5.0
    for mirrors in ((), (0, 1)):
        found = windows.find(image, floor=0.5, most=50, mirrors=mirrors)
        assert len(found.scores) == len(spots)
        wanted = {(max(y - 3.5, 0), max(x - 3.5, 0), min(y + 4.5, 70), min(x + 4.5, 50))
                  for y, x in spots}  # fmt: skip
        assert {tuple(box) for box in found.boxes.tolist()} == wanted


def test_a_whole_picture_is_looked_at_once_up_to_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    register()
    keras.utils.set_random_seed(0)
    model = create_box_detector(
        NAME, input_shape=(32, 32, 1), classes=1, levels=("P2", "P3"), width=8, weights=None
    )
    image = np.random.default_rng(0).uniform(0, 255, (64, 48, 1)).astype(np.float32)
    windows = Windows(model, 1, overlap=0.5, iou=1.0, whole=True)
    found = windows.find(image, floor=0.001, most=1000)
    rows = np.asarray(resized(model, (64, 48))(image[None]))[0]
    chance = 1 / (1 + np.exp(-rows[:, 0]))
    chance = chance[chance >= 0.001]
    assert len(chance) > 100
    assert found.scores == pytest.approx(np.sort(chance)[::-1], abs=1e-6)
    monkeypatch.setattr("recipes.detection.boxes.windows.LARGEST", 64 * 48 - 1)
    apart = Windows(model, 1, overlap=0.5, iou=1.0).find(image, floor=0.001, most=1000)
    again = windows.find(image, floor=0.001, most=1000)
    np.testing.assert_array_equal(again.boxes, apart.boxes)
    assert len(again.boxes) != len(found.boxes)


def test_large_lesions_are_painted_less_for_boxes() -> None:
    def core(side: float, way: str) -> float:
        marks = Marks(np.zeros(1, np.int64), np.asarray([[0.0, 0, side, side]]), np.ones(1))
        truth = Truth({0: marks}, {0: np.ones(2)}, {0: (200, 200)}, masked=False)
        config = load_config(DetectionConfig, changes=[f"way={way}"])
        return painted_core(config, truth, [0])

    assert [core(side, "map") for side in (7, 40, 150)] == [1.0, 0.7, 0.7]
    assert [core(side, "boxes") for side in (7, 20, 40, 150)] == [1.0, 0.7, 0.4, 0.35]
    # two round cells that overlap by a tenth of their sides stay two
    marks = Marks(
        np.zeros(2, np.int64), np.asarray([[0.0, 0, 100, 100], [0, 90, 100, 190]]), np.ones(2)
    )
    assert len(lesion_boxes(painted(marks, (128, 200), core=1.0), 1, core=1.0)[0]) == 1
    assert len(lesion_boxes(painted(marks, (128, 200), core=0.35), 1, core=0.35)[0]) == 2


CHANGES = [
    "way=boxes", f"model.backbone={NAME}", "model.weights=none", "boxes.levels=[P2,P3]",
    "boxes.width=16", "plan.patch=[64,64]", "plan.batch=4", "train.steps=120", "train.rounds=2",
    "train.learning_rate=0.01", "train.ema=null", "augment.strength=none", "evaluate.n_boot=100",
    "train.class_weights={flood: 0.5}",
]  # fmt: skip


@pytest.mark.slow
def test_discs_are_boxed_and_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register()
    monkeypatch.setenv("RADZOO_HOME", str(tmp_path / "home"))
    data = write_discs(tmp_path / "data", parts={"train": 24, "val": 12}, lone=True)
    run = tmp_path / "run"
    config = load_config(DetectionConfig, changes=CHANGES)
    found = fit(data, run, config)["metrics"]
    disc, flood = found["classes"]["disc"], found["classes"]["flood"]
    assert disc["froc"]["1"]["value"] >= 0.8
    assert disc["ap50"]["value"] >= 0.5
    # its one example is in training: nothing is known of how it is found, and nothing is claimed
    assert (flood["n_lesions"], flood["cpm"]["value"], flood["ap50"]["value"]) == (0, None, None)
    assert found["ap50"]["value"] == disc["ap50"]["value"]
    assert found["n_lesions"] == disc["n_lesions"]
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "boxes without anchors" in page
    assert "first/report.html" not in page
    again = evaluate(run, str(data), part="val")
    assert again["froc"]["1"]["value"] == pytest.approx(found["froc"]["1"]["value"], abs=1e-6)
    rows = predict(run, [data / "images"], tmp_path / "found")
    assert {row["status"] for row in rows} == {"ok"}
    content = json.loads((tmp_path / "found" / "candidates.json").read_text())
    assert content["annotations"]
    assert Detector.load(run).record.way == "boxes"
    wanted = Wanted(methods=("gradcam", "gradient"), label="disc", pictures="no")
    told = explain("detection", run, [data], tmp_path / "why", wanted, part="val", limit=6)
    assert told["n_with_truth"] >= 3
    chance = told["figures"]["random place"]["energy"]["value"]
    assert told["figures"]["gradcam"]["pointing"]["value"] >= 0.6
    assert told["figures"]["gradcam"]["energy"]["value"] > 2 * chance
    assert told["figures"]["gradient"]["energy"]["value"] > 2 * chance
    before = (run / "model.json").stat().st_mtime_ns
    fit(data, run, config)
    assert (run / "model.json").stat().st_mtime_ns == before


def test_what_does_not_go_with_boxes_is_refused() -> None:
    for change, message in (
        ("model.network=patch", "way=boxes puts its head"),
        ("model.members=2", "one network"),
    ):
        with pytest.raises(ConfigError, match=message):
            load_config(DetectionConfig, changes=["way=boxes", change])


def test_weights_of_classes_go_by_name() -> None:
    classes = ("disc", "flood")
    assert weights_by_name(TrainConfig(), classes) is None
    assert weights_by_name(TrainConfig(class_weights={"flood": 2}), classes) == [1, 2]
    with pytest.raises(ConfigError, match=r"'flod' is no class; did you mean 'flood'\?"):
        weights_by_name(TrainConfig(class_weights={"flod": 2}), classes)
