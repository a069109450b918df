"""An empty home and a tiny backbone, with a file of random weights to import."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.zoo.tiny import SPEC, registered
from zoo.spec import BackboneSpec
from zoo.weights.importing import import_weights
from zoo.weights.sets import WeightSet


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, no cache of Keras, no network, no mirror."""
    monkeypatch.setenv("RADZOO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("RADZOO_OFFLINE", "1")
    monkeypatch.delenv("RADZOO_WEIGHTS", raising=False)
    return tmp_path / "home"


@pytest.fixture
def tiny(home: Path) -> Iterator[BackboneSpec]:
    with registered() as spec:
        yield spec


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny network under a classification layer, saved by Keras with random weights."""
    path = tmp_path_factory.mktemp("saved") / "my-group.weights.h5"
    from tests.zoo.tiny import build

    image = keras.Input((32, 32, 3))
    network = build(SPEC, image)
    pooled = keras.layers.GlobalAveragePooling2D(name="pool")(network.output)
    model = keras.Model(image, keras.layers.Dense(4, name="classes")(pooled))
    rng = np.random.default_rng(3)
    model.set_weights([rng.uniform(0.1, 0.9, weight.shape) for weight in model.weights])
    model.save_weights(path)
    return path


@pytest.fixture(scope="session")
def made(saved: Path, tmp_path_factory: pytest.TempPathFactory) -> WeightSet:
    """That file as the set ``tiny:mygroup``, made once."""
    with pytest.MonkeyPatch.context() as patch, registered():
        patch.setenv("RADZOO_HOME", str(tmp_path_factory.mktemp("made")))
        return import_weights(saved, backbone="tiny", name="mygroup", licence="CC0-1.0")


@pytest.fixture
def own_set(tiny: BackboneSpec, made: WeightSet, home: Path) -> WeightSet:
    """A copy of it in the test's own home."""
    shutil.copytree(made.path.parent, home / "weights")
    return WeightSet(path=home / "weights" / made.path.name, manifest=made.manifest)
