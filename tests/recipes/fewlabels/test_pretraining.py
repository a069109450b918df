"""Pretraining: weights that load as any other, an interrupted run, every method."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import keras
import numpy as np
import pytest
from typer.testing import CliRunner

import zoo
from recipes.cli import app
from recipes.config import load_config
from recipes.errors import RecipeError
from recipes.fewlabels import pretraining
from recipes.fewlabels.config import PretrainConfig
from recipes.fewlabels.learners import bare_backbone, hidden_patches, make_learner, watching
from recipes.fewlabels.pretraining import collapsed, pretrain
from recipes.fewlabels.views import ViewBatches, random_crop
from tests.recipes.tiny import write_pictures
from tests.recipes.tiny_backbone import NAME, register, write_weights

SHAPE = (32, 32, 1)


def configured(*changes: str) -> PretrainConfig:
    plain = [
        f"model.backbone={NAME}", "model.weights=none", "model.hidden=8", "model.dims=4",
        "data.image_size=32", "train.epochs=2", "train.batch_size=8", "train.learning_rate=3e-3",
    ]  # fmt: skip
    return load_config(PretrainConfig, changes=[*plain, *changes])


def test_an_interrupted_pretraining_ends_as_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register()
    monkeypatch.setenv("RADZOO_HOME", str(tmp_path / "home"))
    data = write_pictures(tmp_path / "data", per_class={"train": 8, "test": 2})
    config = configured(f"model.weights={write_weights(tmp_path / 'start.weights.h5')}")
    summary = pretrain(data, tmp_path / "whole", config)
    assert (summary["n"], summary["method"], summary["epochs"]) == (16, "simclr", 2)
    assert summary["embedding_spread"] > 0.1
    assert not summary["collapsed"]

    class Killed(BaseException):
        pass

    plain = ViewBatches.__getitem__

    def dies(self: ViewBatches, index: int) -> object:
        if self.epoch == 2:
            raise Killed
        return plain(self, index)

    with monkeypatch.context() as patch:
        patch.setattr(ViewBatches, "__getitem__", dies)
        with pytest.raises(Killed):
            pretrain(data, tmp_path / "cut", config)
    pretrain(data, tmp_path / "cut", config)
    found = [
        zoo.create_backbone(
            NAME, input_shape=SHAPE, weights=tmp_path / name / "backbone.weights.h5"
        )
        for name in ("whole", "cut")
    ]
    start = zoo.create_backbone(NAME, input_shape=SHAPE, weights=config.model.weights)
    for a, b in zip(*(model.get_weights() for model in found), strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.abs(found[0].get_weights()[-1] - start.get_weights()[-1]).max() > 1e-4
    check_folder(tmp_path / "whole")


def check_folder(folder: Path) -> None:
    """History, page and the list of cases, without names of files."""
    with (folder / "history.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2"]
    with (folder / "pretraining.csv").open() as file:
        assert len({row["pixel_sha256"] for row in csv.DictReader(file)}) == 16
    page = (folder / "report.html").read_text()
    assert "Research use only" in page
    assert "simclr on" in page
    assert str(folder.parent) not in page + (folder / "metrics.json").read_text()
    assert json.loads((folder / "metrics.json").read_text())["started_from"] == "file"


@pytest.mark.parametrize(("method", "channels"), [("byol", 1), ("masked", 3)])
def test_the_backbone_that_is_saved_computes_what_the_learner_does(
    method: str, channels: int, tmp_path: Path
) -> None:
    register()
    shape = (32, 32, channels)
    learner = make_learner(configured(f"method={method}"), shape, (0.0, 255.0))
    pictures = np.random.default_rng(0).uniform(0, 255, (4, *shape)).astype("float32")
    train(learner, pictures, method)
    path = tmp_path / "b.weights.h5"
    pretraining.write_weights(bare_backbone(learner, NAME, shape), path)
    loaded = zoo.create_backbone(NAME, input_shape=shape, weights=path)
    top = np.asarray(list(loaded.predict(pictures, verbose=0).values())[-1])
    features = watching(learner).predict(pictures, verbose=0)[0]
    assert np.abs(features).max() > 0
    np.testing.assert_allclose(top.mean(axis=(1, 2)), features, rtol=1e-4, atol=1e-5)


def train(learner: keras.Model, pictures: np.ndarray, method: str) -> None:
    """A step that changes weights and statistics."""
    from zoo.finetune import FineTunePolicy

    policy = FineTunePolicy(batch_norm="train", ema=0.9 if method == "byol" else None)
    spec = zoo.get_spec(NAME)
    policy.apply(learner, spec)
    learner.compile(optimizer=policy.optimizer(learner, spec, steps=4), auto_scale_loss=False)
    learner.optimizer.build(learner.trainable_variables)
    other = pictures[:, ::-1].copy()
    if method == "masked":
        other = np.stack(
            [hidden_patches(np.random.default_rng(i), (32, 32), patches=4, share=0.5)
             for i in range(len(pictures))]
        )  # fmt: skip
    losses = [float(learner.train_on_batch((pictures, other), np.zeros((4, 1)))) for _ in range(3)]
    assert np.isfinite(losses).all()
    assert losses[0] != losses[-1]


def test_hidden_patches_are_whole_and_as_many_as_asked() -> None:
    hidden = hidden_patches(np.random.default_rng(1), (16, 24), patches=4, share=0.25)
    assert hidden.shape == (16, 24, 1)
    blocks = hidden.reshape(4, 4, 4, 6).transpose(0, 2, 1, 3).reshape(16, 24)
    assert set(blocks.mean(axis=1)) == {0.0, 1.0}
    assert blocks.mean() == pytest.approx(0.25)


def test_crops_keep_size_and_values() -> None:
    picture = np.random.default_rng(2).integers(50, 90, (20, 30, 1)).astype("uint8")
    crop = random_crop(picture, np.random.default_rng(3), least=0.3)
    assert crop.shape == picture.shape
    assert picture.min() <= crop.min() <= crop.max() <= picture.max()
    np.testing.assert_array_equal(
        random_crop(picture, np.random.default_rng(4), least=1.0), picture
    )


def test_a_collapse_is_told() -> None:
    assert collapsed("byol", {"feature_rank": 9.0, "embedding_spread": 0.01})
    assert collapsed("masked", {"feature_rank": 1.0, "embedding_spread": 0.5})
    assert not collapsed("simclr", {"feature_rank": 9.0, "embedding_spread": 0.8})


def test_too_few_cases_for_a_batch_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register()
    monkeypatch.setenv("RADZOO_HOME", str(tmp_path / "home"))
    data = write_pictures(tmp_path / "data", per_class={"train": 3, "test": 9})
    with pytest.raises(RecipeError, match=r"6 cases can be learnt from .*train.batch_size=8"):
        pretrain(data, tmp_path / "out", configured())


def test_the_command_names_what_it_does_not_know(tmp_path: Path) -> None:
    words = ["pretrain", str(tmp_path), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, [*words, "--method", "moco"])
    assert result.exit_code == 2
    assert "method='moco'" in result.output
    result = CliRunner().invoke(app, [*words, "--set", "train.epoch=3"])
    assert result.exit_code == 2
    assert "did you mean 'train.epochs'" in result.output
