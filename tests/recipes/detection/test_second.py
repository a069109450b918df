"""The second stage: patches of the right place and size, and scores that both stages share."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_adapters.case import Case
from data_adapters.errors import LeakageError
from recipes.config import load_config
from recipes.detection.candidates import Found
from recipes.detection.config import DetectionConfig
from recipes.detection.data import open_lesions
from recipes.detection.detector import Detector
from recipes.detection.fitting import fit
from recipes.detection.scoring import Scan, hit_rule
from recipes.detection.second.bank import Amounts, Bank, make_bank, truth_of
from recipes.detection.second.cutting import Cut, cut_patch, draw_move, pixels
from recipes.detection.second.fusing import choose_share, fused
from recipes.detection.second.network import PatchBatches
from recipes.detection.second.stage import plan_cut
from recipes.detection.truth import Marks
from recipes.errors import ConfigError, RecipeError
from recipes.fewlabels.gate import SEEN, native_digest, write_seen
from tests.recipes.detection.tiny import TinyDetection
from tests.recipes.tiny_backbone import write_weights
from zoo.planes import orthogonal_planes


def test_a_patch_of_whole_pixels_is_the_image_itself() -> None:
    image = np.random.default_rng(0).uniform(0, 255, (40, 50, 2)).round().astype(np.float32)
    cut = Cut("2d", side=9, field=9.0)
    found = cut_patch(image, np.ones(2), np.array([20.0, 30.0]), cut, None)
    np.testing.assert_array_equal(found, image[16:25, 26:35])
    corner = cut_patch(image, np.ones(2), np.array([0.0, 0.0]), cut, None)
    np.testing.assert_array_equal(corner[4:, 4:], image[:5, :5])
    assert (corner[:4] == 0).all()
    outside = cut_patch(image, np.ones(2), np.array([500.0, 0.0]), cut, None)
    assert outside.shape == (9, 9, 2)
    assert (outside == 0).all()


def test_the_field_is_in_millimetres() -> None:
    grid = np.indices((30, 60, 60)).astype(np.float32)
    cut = Cut("3d", side=11, field=11.0)
    found = cut_patch(grid[1][..., None], np.array([3.0, 1.0, 0.5]), np.array([15.0, 30, 30]), cut,
                      None)  # fmt: skip
    assert found[5, :, 5, 0].tolist() == list(range(25, 36))
    across = cut_patch(grid[2][..., None], np.array([3.0, 1.0, 0.5]), np.array([15.0, 30, 30]), cut,
                       None)  # fmt: skip
    assert across[5, 5, :, 0].tolist() == list(range(20, 41, 2))


def test_three_planes_are_those_of_the_zoo() -> None:
    volume = np.random.default_rng(1).uniform(0, 255, (20, 24, 22)).round().astype(np.float32)
    cut = Cut("2.5d", side=9, field=9.0)
    found = cut_patch(volume[..., None], np.ones(3), np.array([10.0, 12, 11]), cut, None)
    np.testing.assert_array_equal(found, orthogonal_planes(volume, (10, 12, 11), size=9))


def test_moves_keep_the_place_and_change_turn_and_size() -> None:
    image = np.zeros((81, 81, 1), np.float32)
    image[40, 30:51] = 200
    cut = Cut("2d", side=41, field=41.0)
    rng = np.random.default_rng(0)
    angles = []
    for _ in range(8):
        move = draw_move(rng, cut, 2, 0.0, (0, 1))
        patch = cut_patch(image, np.ones(2), np.array([40.0, 40.0]), cut, move)[..., 0]
        assert patch[20, 20] > 90, "the centre stays"
        places = np.argwhere(patch > 60) - 20
        assert 14 <= np.linalg.norm(places, axis=1).max() * 2 <= 30
        vectors = np.linalg.svd(places - places.mean(axis=0))[2][0]
        angles.append(np.degrees(np.arctan2(*vectors)) % 180)
    assert np.ptp(angles) > 60
    shifted = draw_move(rng, cut, 2, 10.0, ()).shift
    assert 0 < np.abs(shifted).max() <= 5


def test_values_are_brought_to_bytes() -> None:
    image = np.linspace(-1000, 1000, 400, dtype=np.float32).reshape(20, 20, 1)
    windowed = pixels(Case(image, "c"), Cut("2d", 8, 8.0, (-100.0, 100.0)))
    assert (windowed.min(), windowed.max()) == (0, 255)
    assert (windowed == 0).mean() == pytest.approx(0.45, abs=0.01)
    ranged = pixels(Case(image, "c"), Cut("2d", 8, 8.0))
    assert (ranged == 0).mean() < 0.02
    stored = (image[..., 0] * 0 + 77).astype(np.uint8)[..., None]
    assert (pixels(Case(stored, "c"), Cut("2d", 8, 8.0)) == 77).all()


def scan(row: int = 0) -> Scan:
    """A lesion in the middle, found twice, and two false positives, one of another class."""
    box = np.array([[26.0, 26, 36, 36]])
    boxes = np.array([[26.0, 26, 36, 36], [28, 28, 38, 38], [2, 2, 8, 8], [26, 26, 36, 36]])
    found = Found(np.array([0, 0, 0, 1]), np.array([0.9, 0.8, 0.7, 0.6]),
                  (boxes[:, :2] + boxes[:, 2:]) / 2 - 0.5, boxes)  # fmt: skip
    lesions = Marks(np.array([0]), box, np.array([5.0]))
    return Scan(row, f"c{row}", None, lesions, found, np.ones(2), (64, 64))


class One:
    """Pictures that are bright at the lesion."""

    def __getitem__(self, row: int) -> Case:
        image = np.full((64, 64, 1), 50, np.uint8)
        image[26:36, 26:36] = 200
        return Case(image, f"c{row}")


def test_a_bank_holds_every_lesion_and_only_what_is_none(tmp_path: Path) -> None:
    rule = hit_rule(DetectionConfig().evaluate, volume=False)
    assert truth_of(scan(), rule, 2).tolist() == [1, 1, 0, 0]
    cut, amounts = Cut("2d", 8, 8.0), Amounts(5, 1, 40, None)
    options: Any = {"classes": 2, "seed": 3, "kept": tmp_path / "bank.npz",
                    "progress": lambda done, total: None}  # fmt: skip
    adapter: Any = One()
    bank = make_bank(adapter, [scan()], cut, amounts, rule, **options)
    assert (bank.targets == 1).sum() == 5
    assert bank.images[bank.targets == 1].mean() > 150
    assert 25 < (bank.targets == 0).sum() <= 41
    middle = bank.images[bank.targets == 0][:, 3:5, 3:5]
    assert (middle.mean(axis=(1, 2, 3)) < 150).all(), "no negative is centred on a lesion"
    again = make_bank(adapter, [], cut, amounts, rule, **options)
    np.testing.assert_array_equal(again.images, bank.images)


def test_without_lesions_there_is_nothing_to_learn(tmp_path: Path) -> None:
    empty = replace(scan(), lesions=Marks(np.empty(0, np.int64), np.empty((0, 4)), np.empty(0)))
    rule = hit_rule(DetectionConfig().evaluate, volume=False)
    adapter: Any = One()
    with pytest.raises(RecipeError, match="holds no lesion"):
        make_bank(
            adapter, [empty], Cut("2d", 8, 8.0), Amounts(5, 1, 4, None), rule, classes=2, seed=0,
            kept=tmp_path / "bank.npz", progress=lambda done, total: None,
        )  # fmt: skip


def test_all_classes_are_drawn_equally_often() -> None:
    bank = Bank(np.zeros((1010, 4, 4, 1), np.uint8), np.r_[np.ones(10, np.int64), np.zeros(1000)]
                .astype(np.int64))  # fmt: skip
    batches = PatchBatches(bank, batch=50, seed=0, epoch=1)
    drawn = np.concatenate([batches[i][1] for i in range(len(batches))])
    assert drawn.mean() == pytest.approx(0.5, abs=0.02)
    first, again = batches[0][0], PatchBatches(bank, batch=50, seed=0, epoch=1)[0][0]
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(PatchBatches(bank, batch=50, seed=0, epoch=2).rows, batches.rows)


def test_scores_are_mixed_as_log_odds() -> None:
    found = scan().found
    same = fused(found, np.zeros(4), 0.0)
    np.testing.assert_allclose(same.scores, found.scores)
    turned = fused(found, np.array([-3.0, -2, 3, 4]), 1.0)
    np.testing.assert_allclose(turned.scores, 1 / (1 + np.exp(-np.array([4.0, 3, -2, -3]))))
    np.testing.assert_array_equal(turned.boxes, found.boxes[[3, 2, 1, 0]])
    half = fused(found, np.array([2.0, 0, 0, 0]), 0.5)
    assert half.scores[0] == pytest.approx(1 / (1 + np.exp(-(np.log(9) + 2) / 2)))


def test_validation_chooses_the_share() -> None:
    rule = hit_rule(DetectionConfig().evaluate, volume=False)
    poor = scan()
    poor.found.scores[:] = [0.3, 0.2, 0.9, 0.1]
    good, bad = np.array([5.0, 0, -5, -5]), np.array([-5.0, -5, 5, 5])
    share, tried = choose_share([poor, scan(1)], [good, good], rule, per="image")
    assert share > 0
    assert tried[share] == max(tried.values())
    assert choose_share([scan(), scan(1)], [bad, bad], rule, per="image")[0] == 0.0


def test_patches_of_volumes_are_not_to_be_had_from_pictures(tiny_detection: TinyDetection) -> None:
    record = Detector.load(tiny_detection.out).first.record
    config = load_config(DetectionConfig, changes=["second.patches=3d"]).second
    with pytest.raises(ConfigError, match=r"second\.patches=3d: the data are pictures"):
        plan_cut(config, record, 5.0)
    assert plan_cut(tiny_detection.config.second, record, 12.0) == Cut("2d", 32, 36.0)
    volume = record.model_copy(
        update={"volume": True, "chain": ({"step": "windows", "windows": [[40.0, 400.0]]},)}
    )
    assert plan_cut(tiny_detection.config.second, volume, 4.0) == Cut(
        "2.5d", 32, 12.0, (-160.0, 240.0)
    )


@pytest.mark.slow
def test_every_stage_and_round_is_recorded(tiny_detection: TinyDetection) -> None:
    content = json.loads((tiny_detection.out / "metrics.json").read_text())
    stages = content["stages"]
    assert [one["stage"] for one in stages] == [
        "first stage", "second stage, round 1", "second stage, round 2",
    ]  # fmt: skip
    assert stages[2]["patches"] > stages[1]["patches"]
    assert len(stages[1]["history"]) == 2
    model = Detector.load(tiny_detection.out)
    assert model.second is not None
    best = max(one["cpm"]["value"] for one in stages[1:])
    assert content["metrics"]["cpm"]["value"] == pytest.approx(best)
    assert model.second.share in {one["share"] for one in stages[1:]}
    page = (tiny_detection.out / "report.html").read_text()
    assert "Each stage and round" in page
    assert "looked again at patches around every candidate" in page


def test_weights_of_the_second_stage_may_not_have_seen_what_is_tested(
    tiny_detection: TinyDetection, tmp_path: Path
) -> None:
    adapter = open_lesions(str(tiny_detection.data), tiny_detection.config.data)
    weights = tmp_path / "b.weights.h5"
    write_weights(weights)
    config = load_config(
        DetectionConfig,
        base=tiny_detection.config.model_dump(),
        changes=[f"second.weights={weights}"],
    )
    cases = [(row, native_digest(adapter[i])) for i, row in enumerate(adapter.index)]
    write_seen(tmp_path / SEEN, cases)
    tested = sum(row.part in ("val", "test") for row, _ in cases)
    with pytest.raises(LeakageError, match=rf"{tested} of 'pretraining'"):
        fit(tiny_detection.data, tmp_path / "run", config)
    assert not (tmp_path / "run" / "first" / "model.keras").exists()
