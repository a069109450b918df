"""ResNets, VGGs, DenseNets and MedicalNet against PyTorch running the same checkpoint.

Needs torch, torchvision, timm, torchxrayvision and MONAI beside Keras; each test skips without its
package. Keras has to run on PyTorch too, for TensorFlow and PyTorch in one process may crash:
``KERAS_BACKEND=torch pytest -m "" tests/zoo/weights/converters/test_against_torch.py``. Every case
instantiates the publisher's own network, draws its values, saves them as the publisher does, and
compares feature map and logits. ``test_recorded_torch.py`` does it without PyTorch, on outputs that
were recorded.
"""

from __future__ import annotations

import functools
import importlib
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from zoo.registry import get_spec
from zoo.spec import BackboneSpec
from zoo.weights.converters import detect, family_module
from zoo.weights.files import LayerArrays
from zoo.weights.loading import assign_layers
from zoo.weights.unpickle import read_checkpoint

torch = pytest.importorskip("torch")

PICTURE, VOLUME = (65, 97), (33, 48, 40)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A published network: how to make it, where its feature map is, what it should be taken for.

    ``top`` is the module whose output is the feature map; DenseNets apply ReLU after it.
    """

    backbone: str
    make: Callable[[], Any]
    top: str
    publisher: str
    channels: int = 3
    classes: int | None = 7
    sides: tuple[int, ...] = PICTURE
    library: str = "torchvision"

    def __str__(self) -> str:
        return f"{self.library}-{self.backbone}"


def _torchvision(function: str, backbone: str, top: str) -> Case:
    def make() -> Any:
        models = pytest.importorskip("torchvision").models
        return getattr(models, function)(weights=None, num_classes=7)

    return Case(backbone=backbone, make=make, top=top, publisher="torchvision")


def _timm(function: str, backbone: str, top: str, publisher: str) -> Case:
    def make() -> Any:
        return pytest.importorskip("timm").create_model(function, num_classes=7)

    return Case(backbone=backbone, make=make, top=top, publisher=publisher, library="timm")


def _xrv_densenet() -> Any:
    models = pytest.importorskip("torchxrayvision").models
    return models.DenseNet(weights=None, num_classes=18, in_channels=1)


def _xrv_resnet() -> Any:
    """What TorchXRayVision builds and loads its file into; the class itself downloads."""
    network = pytest.importorskip("torchvision").models.resnet50(weights=None, num_classes=18)
    network.conv1 = torch.nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
    return network


def _medicalnet(depth: int) -> Case:
    def make() -> Any:
        resnets = pytest.importorskip("monai.networks.nets.resnet")
        bias, shortcut = resnets.get_medicalnet_pretrained_resnet_args(depth)
        network = getattr(importlib.import_module("monai.networks.nets"), f"resnet{depth}")(
            spatial_dims=3,
            n_input_channels=1,
            feed_forward=False,
            shortcut_type=shortcut,
            bias_downsample=bias,
            conv1_t_stride=2,
        )
        for stage, dilation in ((network.layer3, 2), (network.layer4, 4)):
            dilate(stage, dilation)
        return network

    return Case(
        backbone=f"medicalnet_resnet{depth}",
        make=make,
        top="layer4",
        publisher="medicalnet",
        channels=1,
        classes=None,
        sides=VOLUME,
        library="monai",
    )


def dilate(stage: Any, dilation: int) -> None:
    """Turn a striding stage of MONAI into the dilated one of MedicalNet's own ``resnet.py``."""
    for block in stage:
        if isinstance(block.downsample, functools.partial):
            block.downsample.keywords["stride"] = 1
    for module in stage.modules():
        if isinstance(module, torch.nn.Conv3d):
            module.stride = (1, 1, 1)
            if module.kernel_size == (3, 3, 3):
                module.dilation = module.padding = (dilation,) * 3


CASES = (
    _torchvision("resnet18", "resnet18", "layer4"),
    _torchvision("resnet34", "resnet34", "layer4"),
    _torchvision("resnet50", "resnet50_v1_5", "layer4"),
    _torchvision("resnet101", "resnet101_v1_5", "layer4"),
    _torchvision("resnet152", "resnet152_v1_5", "layer4"),
    _torchvision("wide_resnet50_2", "wide_resnet50_2", "layer4"),
    _torchvision("wide_resnet101_2", "wide_resnet101_2", "layer4"),
    _torchvision("resnext50_32x4d", "resnext50_32x4d", "layer4"),
    _torchvision("resnext101_32x8d", "resnext101_32x8d", "layer4"),
    *(
        _torchvision(name, name, "features")
        for name in ("vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19")
    ),
    _torchvision("vgg19_bn", "vgg19_bn", "features"),
    *(
        _torchvision(name, name, "features")
        for name in ("densenet121", "densenet161", "densenet169", "densenet201")
    ),
    _timm("resnet18", "resnet18", "layer4", "torchvision"),
    _timm("resnet50", "resnet50_v1_5", "layer4", "torchvision"),
    _timm("resnet18d", "resnet18d", "layer4", "timm"),
    _timm("resnet34d", "resnet34d", "layer4", "timm"),
    _timm("resnet50d", "resnet50d", "layer4", "timm"),
    _timm("densenet121", "densenet121", "features", "torchvision"),
    _timm("vgg11_bn", "vgg11_bn", "features", "timm"),
    Case(
        backbone="densenet121",
        make=_xrv_densenet,
        top="features",
        publisher="torchxrayvision",
        channels=1,
        classes=18,
        library="torchxrayvision",
    ),
    Case(
        backbone="resnet50_v1_5",
        make=_xrv_resnet,
        top="layer4",
        publisher="torchxrayvision",
        channels=1,
        classes=18,
        library="torchxrayvision",
    ),
    *(_medicalnet(depth) for depth in (10, 18, 34, 50)),
)
LARGE = 30_000_000


def _marked(case: Case) -> Any:
    marks = (pytest.mark.big,) if get_spec(case.backbone).params > LARGE else (pytest.mark.slow,)
    return pytest.param(case, id=str(case), marks=marks)


@pytest.mark.parametrize("case", [_marked(case) for case in CASES])
def test_features_and_logits_are_those_of_pytorch(case: Case, tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = case.make()
    x = np.random.default_rng(2).normal(size=(2, case.channels, *case.sides)).astype("float32")
    _draw(network, torch.tensor(x))
    features, logits = _run(network, case, torch.tensor(x))
    tensors = _saved(network, case, tmp_path)

    layout = detect(tensors)
    assert (layout.backbone, layout.publisher) == (case.backbone, case.publisher)
    assert (layout.channels, layout.classes) == (case.channels, case.classes)
    spec = get_spec(layout.backbone)
    family = family_module(layout.converter.split(":")[0].rpartition(".")[2])
    layers = family.convert(tensors, spec)
    ours = _features(spec, layers, x)
    assert _error(ours, features) < 1e-4
    if logits is not None:
        assert _error(_logits(network, case, family.head(tensors), ours), logits) < 1e-4

    # A kernel in the middle shifted by one filter shows.
    kernels = [name for name, arrays in layers.items() if arrays[0].ndim == len(case.sides) + 2]
    middle = kernels[len(kernels) // 2]
    spoilt = {**layers, middle: [np.roll(layers[middle][0], 1, -1), *layers[middle][1:]]}
    assert _error(_features(spec, spoilt, x), features) > 1e-3


def _draw(network: Any, x: Any) -> None:
    """Draw all values; statistics of the norms are near those of ``x``, so the signal survives.

    The norms that end the branches of bottlenecks are drawn small, as trained ones are: else a
    hundred layers blow the rounding of float32 up to 2e-4.
    """
    norms = []
    with torch.no_grad():
        for name, module in network.named_modules():
            weight = getattr(module, "weight", None)
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                norms.append(module)
                module.momentum = 1.0
                module.weight.uniform_(0.5, 1.5).mul_(0.3 if name.endswith(".bn3") else 1.0)
            elif weight is not None and weight.ndim > 1:
                weight.normal_(0.0, (2.0 / weight[0].numel()) ** 0.5)
            if getattr(module, "bias", None) is not None:
                module.bias.normal_(0.0, 0.1)
        network.train()(x)
        for norm in norms:
            norm.running_var.mul_(torch.empty_like(norm.running_var).uniform_(0.8, 1.25)).add_(1e-3)
            norm.running_mean.add_(0.1 * torch.randn_like(norm.running_mean))
    network.eval()


def _run(network: Any, case: Case, x: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """Give PyTorch's feature map, channels last, and its logits where it has a head."""
    kept: list[Any] = []
    hook = network.get_submodule(case.top).register_forward_hook(
        lambda module, entered, left: kept.append(left.clone())
    )
    with torch.no_grad():
        logits = network(x)
    hook.remove()
    features = np.moveaxis(kept[0].numpy(), 1, -1)
    if "densenet" in case.backbone:
        features = np.maximum(features, 0.0)
    return features, None if case.classes is None else logits.numpy()


def _saved(network: Any, case: Case, folder: Path) -> dict[str, np.ndarray]:
    """Save as the publisher does, and read it back."""
    path = folder / "checkpoint.pth"
    state = network.state_dict()
    if case.publisher == "medicalnet":
        state = {f"module.{name}": value for name, value in state.items()}
        torch.save({"epoch": 110, "state_dict": state, "optimizer": {}}, path)
    elif case.publisher == "torchxrayvision" and "densenet" in case.backbone:
        with path.open("wb") as file:  # the whole network, in the legacy format
            torch.save(network, file, pickle, _use_new_zipfile_serialization=False)
    elif case.publisher == "timm":
        path = path.with_suffix(".safetensors")
        pytest.importorskip("safetensors.torch").save_file(state, path)
    else:
        torch.save(state, path)
    found = read_checkpoint(path)
    assert set(found) == {name.removeprefix("module.") for name in state}
    return found


def _features(spec: BackboneSpec, layers: LayerArrays, x: np.ndarray) -> np.ndarray:
    """Run the zoo's network on the same preprocessed input."""
    keras.backend.clear_session()
    pixels = np.moveaxis(x, 1, -1)
    image = keras.Input(pixels.shape[1:])
    module, function = spec.builder.split(":")
    network = getattr(importlib.import_module(module), function)(spec, image)
    assign_layers(network, layers, source="the checkpoint")
    top = keras.Model(image, network.get_layer(spec.taps[-1][1]).output)
    return keras.ops.convert_to_numpy(top([pixels]))


def _logits(network: Any, case: Case, head: Any, ours: np.ndarray) -> np.ndarray:
    """Put the converted head on our features; for VGG, which has none, PyTorch's own."""
    if head is not None:
        kernel, bias = head
        dense = keras.layers.Dense(kernel.shape[1])
        dense.build((None, kernel.shape[0]))
        dense.set_weights([kernel, bias])
        return keras.ops.convert_to_numpy(dense(ours.mean(axis=(1, 2))))
    assert case.backbone.startswith("vgg")
    given = torch.tensor(np.moveaxis(ours, -1, 1).copy())
    with torch.no_grad():
        if case.publisher == "timm":
            return np.asarray(network.forward_head(given))
        return np.asarray(network.classifier(torch.flatten(network.avgpool(given), 1)))


def _error(found: np.ndarray, wanted: np.ndarray) -> float:
    """Largest deviation relative to the largest value."""
    assert found.shape == wanted.shape
    assert np.isfinite(wanted).all()
    assert np.ptp(wanted) > 0.1 * np.abs(wanted).max()
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())
