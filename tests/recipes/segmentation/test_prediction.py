"""Labels of large cases, their probabilities on disk, against those made in memory."""

from __future__ import annotations

import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest

from data_adapters.case import Case, Geometry
from data_adapters.chain import run_chain
from recipes.errors import RunFolderError
from recipes.segmentation import prediction, scratch
from recipes.segmentation.prediction import Predictor
from recipes.segmentation.segmenter import Segmenter
from tests.recipes.segmentation.inference.networks import shaken, tiny_unet

AXES = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
CHAIN = (
    {"step": "reorient", "to": "RAS"},
    {"step": "resample", "spacing": [1.5, 1.2, 0.9]},
    {"step": "normalize", "how": "zscore"},
)


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RADZOO_HOME", str(tmp_path / "home"))


def case(*shape: int, seed: int) -> Case:
    random = np.random.default_rng(seed)
    image = random.normal(size=shape).astype(np.float32)
    return Case(image, "a", geometry=Geometry((1.0, 1.0, 1.0), (0.0, 0.0, 0.0), AXES))


def network(patch: tuple[int, ...], channels: int, *, seed: int) -> keras.Model:
    """A network whose classes are about equally often the most probable one."""
    model = shaken(tiny_unet(*patch, channels), seed=seed)
    images = np.random.default_rng(seed).normal(size=(8, *patch, channels)).astype(np.float32)
    logits = np.asarray(model(images, training=False)).reshape(-1, 3)
    bias = next(w for w in reversed(model.weights) if "bias" in w.path)
    bias.assign_sub(logits.mean(axis=0))
    return model


@pytest.mark.parametrize(
    ("axes", "neighbours", "mode", "mirrors", "shape"),
    [
        (3, 0, "auto", (0, 2), (21, 18, 15, 1)),
        (3, 0, "blend", (1,), (21, 18, 15, 1)),
        (3, 0, "auto", (), (6, 18, 15, 1)),
        (2, 0, "auto", (0, 2), (5, 18, 15, 1)),
        (2, 1, "auto", (1,), (5, 18, 15, 1)),
    ],
)
def test_labels_of_a_large_case_are_those_of_a_small_one(
    axes: int, neighbours: int, mode: str, mirrors: tuple[int, ...], shape: tuple[int, ...]
) -> None:
    patch = (8,) * axes
    models = [network(patch, 1 + 2 * neighbours, seed=seed) for seed in (1, 2)]
    one = case(*shape, seed=3)
    done, undos = run_chain(one, CHAIN)
    predictor = Predictor(axes, patch, neighbours, mode, memory_gb=0.004)
    image = np.asarray(done.image, np.float32)
    whole = predictor.labels(models, image, undos, mirrors=mirrors)
    apart = predictor.labels(models, image, undos, mirrors=mirrors, limit=0)
    assert whole.shape == shape[:-1]
    assert min(np.bincount(whole.ravel(), minlength=3)) > 0
    np.testing.assert_array_equal(apart, whole)
    other = predictor.labels(models[:1], image, undos, mirrors=mirrors, limit=0)
    assert (other != whole).any()


def test_a_large_case_is_let_go_before_its_classes_are_compared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Any] = []
    record: Any = SimpleNamespace(
        axes=3, patch=(8, 8, 8), neighbours=0, mode="auto", overlap=0.5, fill=None, mirrors=()
    )
    model = Segmenter([network((8, 8, 8), 1, seed=1)], record)
    image = np.random.default_rng(2).normal(size=(9, 9, 9, 1)).astype(np.float32)
    alive = weakref.ref(image)
    monkeypatch.setattr(
        prediction, "most_probable", lambda *_, **__: seen.append(alive()) or np.zeros(1, np.uint8)
    )
    monkeypatch.setattr(Predictor.labels, "__kwdefaults__", {"limit": 0})
    held = [image]
    del image
    model.labels(held.pop(), ())
    assert seen == [None]


def test_voxels_that_the_chain_cuts_away_are_background() -> None:
    predictor = Predictor(3, (8, 8, 8))
    model = network((8, 8, 8), 1, seed=1)
    done, undos = run_chain(
        case(20, 16, 16, 1, seed=1), [{"step": "crop", "to": "box", "box": [2, 3, 1, 17, 14, 15]}]
    )
    del done
    image = np.random.default_rng(2).normal(size=(*undos[-1].after.shape, 1)).astype(np.float32)
    whole = predictor.labels([model], image, undos, mirrors=())
    np.testing.assert_array_equal(
        predictor.labels([model], image, undos, mirrors=(), limit=0), whole
    )


def test_a_full_disk_is_an_error_and_not_a_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(scratch.os, "posix_fallocate", full, raising=False)
    with pytest.raises(RunFolderError, match="free space"):
        scratch.Scratch((4, 4, 4, 2))
