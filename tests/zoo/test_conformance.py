"""Every registered backbone is put to the same checks; to be registered is to be enrolled.

Backbones that are slow to build are marked ``big``; each of those is meant for a process of its
own: ``pytest tests/zoo/test_conformance.py -m "" -k <name>``.
"""

from __future__ import annotations

import gc
import itertools
import sys
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests.zoo.randomise import error, randomise
from zoo.backbones import build_pyramid, create_backbone
from zoo.catalog.keras_applications import CONSTRUCTORS
from zoo.finetune import layer_stages
from zoo.registry import get_spec, list_backbones
from zoo.spec import BackboneSpec
from zoo.weights.loading import FoundWeights

QUICK_PARAMS = 5_000_000
QUICK_BESIDES = ("densenet121", "efficientnet_v2_b0")
SLOW_TO_BUILD = ("nasnet_mobile",)


def _enrolled() -> list[Any]:
    params = []
    for name in list_backbones():
        quick = get_spec(name).params < QUICK_PARAMS and name not in SLOW_TO_BUILD
        marks = () if quick or name in QUICK_BESIDES else (pytest.mark.big,)
        params.append(pytest.param(name, marks=marks, id=f"{name}-"))
    return params


@dataclass
class Subject:
    """One backbone with random weights, and what Keras makes of the same weights."""

    spec: BackboneSpec
    model: keras.Model
    side: int
    pixels: np.ndarray
    outputs: dict[str, np.ndarray]
    reference: np.ndarray | None = None
    fetched: tuple[Any, ...] | None = None

    @property
    def top(self) -> str:
        return max(self.outputs)


@pytest.fixture(scope="module", params=_enrolled())
def subject(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[Subject]:
    spec = get_spec(request.param)
    rng = np.random.default_rng(zlib.crc32(spec.name.encode()))
    side = spec.min_size
    shape = (side, side + 32, 3)
    pixels = rng.uniform(0.0, 255.0, (2, *shape)).astype("float32")
    reference, fetched = None, None
    if spec.name in CONSTRUCTORS:
        path = tmp_path_factory.mktemp(spec.name) / "reference_notop.h5"
        reference, fetched = _keras_reference(spec, pixels, rng, path)
        model = _with_weights(spec, shape, FoundWeights(path=path, weight=spec.weights[0]))
        path.unlink()
    else:
        model = create_backbone(spec.name, input_shape=shape, weights=None)
        randomise(model, pixels, rng)
    outputs = {level: np.asarray(value) for level, value in model(pixels).items()}
    yield Subject(spec, model, side, pixels, outputs, reference, fetched)
    del model, outputs
    gc.collect()


def _with_weights(
    spec: BackboneSpec, shape: tuple[int, ...], found: FoundWeights, **options: Any
) -> keras.Model:
    """Build a backbone with weights that were found elsewhere than the registry says."""
    image = keras.Input(shape, name="image", dtype="float32")
    return keras.Model(image, build_pyramid(spec, image, found=found, **options), name=spec.name)


def _keras_reference(
    spec: BackboneSpec, pixels: np.ndarray, rng: np.random.Generator, path: Path
) -> tuple[np.ndarray, tuple[Any, ...]]:
    """Let Keras build its network for "imagenet", give it random weights, run and save it."""
    fetched: list[tuple[Any, ...]] = []

    def get_file(name: str, url: str, **options: Any) -> str:
        fetched.append((name, url, options.get("file_hash")))
        return name

    constructor = getattr(keras.applications, CONSTRUCTORS[spec.name])
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of input sizes
        patch.setattr("keras.src.utils.file_utils.get_file", get_file)
        patch.setattr(keras.Model, "load_weights", lambda *args, **options: None)
        network = constructor(include_top=False, weights="imagenet", input_shape=pixels.shape[1:])
    preprocess_input = sys.modules[constructor.__module__].preprocess_input
    prepared = preprocess_input(pixels.copy())
    randomise(network, prepared, rng)
    network.save(path)
    return np.asarray(network(prepared)), fetched[0]


def test_interface(subject: Subject) -> None:
    model, spec = subject.model, subject.spec
    assert model.name == spec.name
    assert model.input.name == "image"
    assert model.input.dtype == "float32"
    assert list(subject.outputs) == [f"P{int(np.log2(stride))}" for stride, _ in spec.taps]
    assert [stride for stride, _ in spec.taps] == sorted({stride for stride, _ in spec.taps})
    assert model.count_params() == spec.params


def test_two_builds_and_two_sizes(subject: Subject) -> None:
    height, width = subject.pixels.shape[1:3]
    other = create_backbone(
        subject.spec.name, input_shape=(height + 32, width + 64, 3), weights=None
    )
    assert [one.name for one in other.operations] == [one.name for one in subject.model.operations]
    assert [one.path for one in other.weights] == [one.path for one in subject.model.weights]
    assert [one.shape for one in other.weights] == [one.shape for one in subject.model.weights]
    for stride, _ in subject.spec.taps:
        level = f"P{int(np.log2(stride))}"
        small, large = subject.outputs[level].shape, other.output[level].shape
        assert (large[1] - small[1], large[2] - small[2]) == (32 // stride, 64 // stride)
        assert large[3] == small[3]
        assert 0 < small[1] <= -(-height // stride)


def test_plain_keras_opens_the_saved_file(subject: Subject, tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    subject.model.save(path)
    again = keras.models.load_model(path, safe_mode=True)
    path.unlink()
    for operation in again.operations:
        home = keras.layers if isinstance(operation, keras.Layer) else keras.src.ops.numpy
        assert getattr(home, type(operation).__name__) is type(operation)
    for level, value in again(subject.pixels).items():
        np.testing.assert_allclose(value, subject.outputs[level], rtol=1e-6)


def test_equals_keras_on_the_same_weights(subject: Subject) -> None:
    if subject.reference is None:
        pytest.skip("not a network of keras.applications")
    assert error(subject.outputs[subject.top], subject.reference) < 1e-4
    # The check sees a single perturbed kernel in the middle.
    kernels = [one for one in subject.model.trainable_weights if len(one.shape) == 4]
    middle = kernels[len(kernels) // 2]
    before = middle.numpy()
    middle.assign(np.roll(before, 1, axis=-2 if before.shape[-1] == 1 else -1))
    assert error(np.asarray(subject.model(subject.pixels)[subject.top]), subject.reference) > 1e-3
    middle.assign(before)


def test_catalogue_names_the_file_that_keras_fetches(subject: Subject) -> None:
    if subject.fetched is None:
        pytest.skip("not a network of keras.applications")
    weight = subject.spec.weights[0]
    assert (weight.file, weight.url, weight.sha256 or weight.md5) == subject.fetched


def test_each_tap_builds_on_the_one_before(subject: Subject) -> None:
    stages = layer_stages(subject.model, subject.spec)
    taps = [name for _, name in subject.spec.taps]
    assert [stages[name] for name in taps] == list(range(len(taps)))
    for earlier, later in itertools.pairwise(taps):
        inner = keras.Model(subject.model.input, subject.model.get_layer(later).output)
        assert earlier in {layer.name for layer in inner.layers}


def _on_channels(subject: Subject, channels: int, channel_map: Any = None) -> keras.Model:
    """Build the same network on other channels, its published arrays those of the subject."""
    shape = (*subject.pixels.shape[1:3], channels)
    arrays = {one.name: one.get_weights() for one in subject.model.layers if one.weights}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("zoo.backbones.canonical_layers", lambda *args, **options: arrays)
        found = FoundWeights(path=None, weight=subject.spec.weights[0])
        return _with_weights(subject.spec, shape, found, channel_map=channel_map)


@pytest.mark.parametrize("channels", [1, pytest.param(4, marks=pytest.mark.big)])
def test_the_same_picture_in_every_channel_gives_the_published_features(
    subject: Subject, channels: int
) -> None:
    base = subject.spec.weights[0].channels
    grey = subject.pixels[..., :1]
    wanted = subject.model(np.repeat(grey, base, axis=-1))
    model = _on_channels(subject, channels)
    found = model(np.repeat(grey, channels, axis=-1))
    for name, value in wanted.items():
        assert error(np.asarray(found[name]), np.asarray(value)) < 1e-4
    # One kernel changed in the middle, and it shows.
    kernels = [one for one in model.trainable_weights if len(one.shape) >= 4]
    middle = kernels[len(kernels) // 2]
    middle.assign(np.roll(middle.numpy(), 1, axis=-2 if middle.shape[-1] == 1 else -1))
    found = model(np.repeat(grey, channels, axis=-1))
    assert error(np.asarray(found[subject.top]), np.asarray(wanted[subject.top])) > 1e-3
