"""Every registered backbone is put to the same checks; to be registered is to be enrolled.

All but one of each kind are marked ``big``; each of those is meant for a process of its own:
``pytest tests/zoo/test_conformance.py -m "" -k <name>``.
"""

from __future__ import annotations

import copy
import gc
import itertools
import sys
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests.zoo.randomise import error, randomise
from zoo.backbones import build_pyramid, create_backbone
from zoo.catalog.keras_applications import CONSTRUCTORS
from zoo.finetune import layer_stages, set_trainable
from zoo.registry import get_spec, list_backbones
from zoo.spec import BackboneSpec
from zoo.weights.loading import FoundWeights

QUICK = (
    "convnext_atto",
    "efficientnet_lite0",
    "mobilenet_v3_small",
)
"""One of each kind, for the default run."""


def _enrolled() -> list[Any]:
    return [
        pytest.param(name, marks=() if name in QUICK else (pytest.mark.big,), id=f"{name}-")
        for name in list_backbones()
    ]


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
    shape = (side + 1, side + 32, _base(spec))  # one side is odd
    shape = shape if spec.dims == 2 else (side, *shape)
    pixels = rng.uniform(0.0, 255.0, (2, *shape)).astype("float32")
    reference, fetched = None, None
    if spec.name in CONSTRUCTORS:
        path = tmp_path_factory.mktemp(spec.name) / "reference_notop.h5"
        reference, fetched = _keras_reference(spec, pixels, rng, path)
        model = _with_weights(spec, shape, FoundWeights(path=path, weight=spec.weights[0]))
        path.unlink()
    else:
        model = create_backbone(spec.name, input_shape=shape, weights=None, dims=spec.dims)
        randomise(model, pixels, rng)
    outputs = {level: np.asarray(value) for level, value in model(pixels).items()}
    yield Subject(spec, model, side, pixels, outputs, reference, fetched)
    del model, outputs
    gc.collect()


def _base(spec: BackboneSpec) -> int:
    """Give the channels of the published network."""
    return spec.weights[0].channels if spec.weights else 3


@contextmanager
def _dtype_policy(name: str) -> Iterator[None]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


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
    spec = subject.spec
    *sides, channels = subject.pixels.shape[1:]
    grown = [32] * (len(sides) - 1) + [64]
    shape = (*(side + more for side, more in zip(sides, grown, strict=True)), channels)
    other = create_backbone(spec.name, input_shape=shape, weights=None, dims=spec.dims)
    assert [one.name for one in other.operations] == [one.name for one in subject.model.operations]
    assert [one.path for one in other.weights] == [one.path for one in subject.model.weights]
    assert [one.shape for one in other.weights] == [one.shape for one in subject.model.weights]
    for stride, _ in spec.taps:
        level = f"P{int(np.log2(stride))}"
        small, large = subject.outputs[level].shape, other.output[level].shape
        for axis, (side, more) in enumerate(zip(sides, grown, strict=True), start=1):
            assert large[axis] - small[axis] == more // stride
            assert 0 < small[axis] <= -(-side // stride)
        assert large[-1] == small[-1]


def test_widths_are_as_declared(subject: Subject) -> None:
    assert tuple(value.shape[-1] for value in subject.outputs.values()) == subject.spec.widths


def test_config_round_trip(subject: Subject) -> None:
    config = subject.model.get_config()
    again = keras.Model.from_config(copy.deepcopy(config))
    assert again.get_config() == config
    again.set_weights(subject.model.get_weights())
    found = again(subject.pixels)[subject.top]
    np.testing.assert_allclose(found, subject.outputs[subject.top], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_float16"])
def test_features_stay_finite_in_half_precision(subject: Subject, policy: str) -> None:
    shape = subject.pixels.shape[1:]
    with _dtype_policy(policy):
        model = create_backbone(
            subject.spec.name, input_shape=shape, weights=None, dims=subject.spec.dims
        )
    model.set_weights(subject.model.get_weights())
    for name, value in model(subject.pixels).items():
        half = np.asarray(value)
        assert half.dtype == "float16"
        assert np.isfinite(half).all()
        assert error(half.astype("float32"), subject.outputs[name]) < 0.1


def test_one_step_lowers_the_loss_and_moves_the_top_stage_alone(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = keras.Model(subject.model.input, subject.model.output[subject.top])
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dropout):  # both steps then see the same network
            monkeypatch.setattr(layer, "rate", 0.0)
    before = [one.numpy() for one in model.weights]
    set_trainable(model, subject.spec, stages=1)
    if not model.trainable_weights:  # VGG's top stage is a pooling
        set_trainable(model, subject.spec, stages=2)
    model.compile(keras.optimizers.Adam(1e-4), "mse", run_eagerly=True, jit_compile=False)
    target = np.zeros_like(subject.outputs[subject.top])
    losses = [float(model.train_on_batch(subject.pixels, target)) for _ in range(2)]
    moving = {one.path for one in model.trainable_weights}
    for one, old in zip(model.weights, before, strict=True):
        assert np.array_equal(one.numpy(), old) is (one.path not in moving), one.path
    assert moving
    assert len(moving) < len(model.weights)
    assert losses[1] < losses[0]
    for one, old in zip(model.weights, before, strict=True):
        one.assign(old)


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
    shape = (*subject.pixels.shape[1:-1], channels)
    arrays = {one.name: one.get_weights() for one in subject.model.layers if one.weights}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("zoo.backbones.canonical_layers", lambda *args, **options: arrays)
        found = FoundWeights(path=None, weight=next(iter(subject.spec.weights), None))
        return _with_weights(subject.spec, shape, found, channel_map=channel_map)


@pytest.mark.parametrize("channels", [1, pytest.param(4, marks=pytest.mark.big)])
def test_the_same_picture_in_every_channel_gives_the_published_features(
    subject: Subject, channels: int
) -> None:
    base = _base(subject.spec)
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
