"""Converters and architectures against outputs recorded from PyTorch on narrow networks.

``test_against_torch.py`` does the same at full width, where PyTorch is installed.
"""

from __future__ import annotations

import gzip
import importlib
import json

import keras
import numpy as np
import pytest

from tests.zoo.test_unpickle import GOLDEN
from tests.zoo.weights.converters.recorded import CLASSES, PLANS, dims, draw, inputs
from zoo.architectures.densenet import build_densenet
from zoo.architectures.densenet_plan import DenseNetPlan
from zoo.architectures.resnet import build_resnet
from zoo.architectures.resnet_plan import ResNetPlan
from zoo.architectures.vgg import build_vgg
from zoo.errors import WeightsMismatchError
from zoo.registry import get_spec
from zoo.weights.converters import densenet, detect, medicalnet, resnet, vgg
from zoo.weights.files import Array, LayerArrays
from zoo.weights.loading import assign_layers

LAYOUTS = {
    name: {key: tuple(shape) for key, shape in shapes.items()}
    for name, shapes in json.loads((GOLDEN / "torch_networks.json").read_text()).items()
}
PUBLISHED = json.loads(gzip.decompress((GOLDEN / "torch_published.json.gz").read_bytes()))
OUTPUTS = np.load(GOLDEN / "torch_networks.npz")


def _convert(name: str, tensors: dict[str, Array]) -> LayerArrays:
    plan = PLANS[name]
    if isinstance(plan, DenseNetPlan):
        return densenet.convert_plan(tensors, plan)
    if isinstance(plan, ResNetPlan):
        return resnet.convert_plan(tensors, plan, dims=dims(name))
    return vgg.convert_plan(tensors, plan)


def _build(name: str) -> keras.Model:
    plan = PLANS[name]
    shape = inputs(name).shape
    image = keras.Input((*shape[2:], shape[1]))
    if isinstance(plan, DenseNetPlan):
        return build_densenet(plan, image, name=name)
    if isinstance(plan, ResNetPlan):
        return build_resnet(plan, image, name=name, dims=dims(name))
    return build_vgg(plan, image, name=name)


def _run(model: keras.Model, name: str) -> Array:
    return keras.ops.convert_to_numpy(model([np.moveaxis(inputs(name), 1, -1)]))


def _error(found: Array, wanted: Array) -> float:
    """Largest deviation relative to the largest value."""
    assert found.shape == wanted.shape
    assert np.ptp(wanted) > 0.1 * np.abs(wanted).max() > 0
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


@pytest.mark.parametrize("name", list(PLANS))
def test_features_and_logits_are_those_pytorch_gave(name: str) -> None:
    tensors = draw(LAYOUTS[name])
    layers = _convert(name, tensors)
    model = _build(name)
    assign_layers(model, layers, source="the checkpoint")
    features = _run(model, name)
    assert _error(features, OUTPUTS[name]) < 1e-5
    if f"{name}_logits" in OUTPUTS:
        head = (densenet if name == "densenet" else resnet).head(tensors)
        assert head is not None
        logits = features.mean(axis=(1, 2)) @ head[0] + head[1]
        assert _error(logits, OUTPUTS[f"{name}_logits"]) < 1e-5
        assert logits.shape[-1] == CLASSES
    kernels = [layer for layer in model.layers if layer.weights and layer.weights[0].ndim > 3]
    middle = kernels[len(kernels) // 2]
    middle.set_weights([np.roll(layers[middle.name][0], 1, -1), *layers[middle.name][1:]])
    assert _error(_run(model, name), OUTPUTS[name]) > 1e-3


def test_the_first_names_of_densenet_mean_the_same() -> None:
    """torchvision's own files still say ``norm.1`` where its networks say ``norm1``."""
    tensors = draw(LAYOUTS["densenet"])
    old = {
        name.replace("norm1.", "norm.1.")
        .replace("norm2.", "norm.2.")
        .replace("conv1.", "conv.1.")
        .replace("conv2.", "conv.2."): tensor
        for name, tensor in tensors.items()
    }
    assert set(old) != set(tensors)
    new = _convert("densenet", tensors)
    for layer, arrays in _convert("densenet", old).items():
        for found, wanted in zip(arrays, new[layer], strict=True):
            np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("name", list(PLANS))
def test_every_tensor_counts(name: str) -> None:
    """A tensor missing, left over or of another shape is refused by name."""
    tensors = draw(LAYOUTS[name])
    used = [key for key in tensors if not key.startswith(("fc", "classifier"))]
    used = [key for key in used if not key.endswith("num_batches_tracked")]
    for key in used[:: max(1, len(used) // 12)]:
        rest = {other: tensor for other, tensor in tensors.items() if other != key}
        with pytest.raises(WeightsMismatchError, match=f"'{key}'"):
            _convert(name, rest)
        with pytest.raises(WeightsMismatchError, match=f"'{key}' of shape"):
            _convert(name, {**tensors, key: np.repeat(tensors[key], 2, axis=0)})
    with pytest.raises(WeightsMismatchError, match=r"1 tensors too many.*'layer1\.0\.se\.weight'"):
        _convert(name, {**tensors, "layer1.0.se.weight": np.zeros(3)})


@pytest.mark.parametrize("name", list(PUBLISHED))
def test_published_layouts_are_recognised_and_convert(name: str) -> None:
    """Names and shapes of the publishers' networks; the values take no memory."""
    case = PUBLISHED[name]
    tensors = {
        key: np.broadcast_to(np.float32(1), tuple(shape)) for key, shape in case["shapes"].items()
    }
    layout = detect(tensors)
    for key in ("backbone", "publisher", "channels", "classes"):
        assert getattr(layout, key) == case[key], key
    assert layout.preprocessing == {"torchxrayvision": "xrv", "medicalnet": "none"}.get(
        layout.publisher, "torch"
    )
    spec = get_spec(layout.backbone)
    module, function = layout.converter.split(":")
    layers = getattr(importlib.import_module(module), function)(tensors, spec)
    counted = sum(array.size for arrays in layers.values() for array in arrays)
    first = next(iter(layers.values()))[0]
    assert (
        counted + first[..., :1, :].size * (3 - first.shape[-2]) * (spec.dims == 2) == spec.params
    )


@pytest.mark.parametrize("name", list(PLANS))
def test_damaged_checkpoints_are_refused_in_words(name: str) -> None:
    """Tensors left out, without axes, or with other ones: converted or refused, no traceback."""
    whole = draw(LAYOUTS[name])
    rng = np.random.default_rng(3)
    refused = 0
    for key in whole:
        tensors: dict[str, Array] = dict(whole)
        tensors[key] = (np.zeros(()), np.zeros(0), whole[key][None], whole[key].ravel())[
            int(rng.integers(4))
        ]
        for attempt in (detect, lambda given: _convert(name, given)):
            try:
                attempt(tensors)
            except WeightsMismatchError:
                refused += 1
    assert refused > len(whole)


@pytest.mark.parametrize("name", ["resnet", "resnet_d", "densenet", "vgg"])
def test_narrow_networks_are_of_the_family_but_not_registered(name: str) -> None:
    family = {"resnet_d": "resnet"}.get(name, name)
    tensors = draw(LAYOUTS[name])
    if name == "vgg":
        tensors["classifier.6.weight"] = np.zeros((CLASSES, 4))
    with pytest.raises(WeightsMismatchError, match=f"resembles the family '{family}'"):
        detect(tensors)
    assert medicalnet.recognise(tensors) is None
