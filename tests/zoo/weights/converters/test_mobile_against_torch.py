"""EfficientNet and ConvNeXt against PyTorch running the same checkpoint.

Needs torch, torchvision and timm beside Keras; run it where they are, Keras on PyTorch too
(TensorFlow and PyTorch in one process may crash): ``KERAS_BACKEND=torch pytest <this file>``, all
variants with ``-m ""``. Every case instantiates the publisher's own network, draws its values,
saves them as the publisher does, and compares feature map and logits at an even and an odd size.
The default suite has recorded outputs instead: ``test_recorded_mobile.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.zoo.weights.converters.drawn import draw, error, picture
from tests.zoo.weights.converters.mobile import converted, middle_kernel
from zoo.errors import WeightsMismatchError
from zoo.registry import get_spec
from zoo.weights.converters import detect, efficientnet
from zoo.weights.unpickle import read_checkpoint

torch = pytest.importorskip("torch")

TOLERANCE = 1e-4
SIZES = ((64, 96), (65, 97))


def _case(publisher: str, function: str, name: str, *, small: bool = False) -> Any:
    marks = () if small else (pytest.mark.big,)
    return pytest.param(publisher, function, name, marks=marks, id=f"{publisher}-{function}")


def _cases() -> list[Any]:
    cases = [
        _case("torchvision", "efficientnet_b0", "efficientnet_b0_symmetric", small=True),
        _case("timm", "efficientnet_b0", "efficientnet_b0_symmetric", small=True),
        _case("timm", "tf_efficientnet_b0", "efficientnet_b0", small=True),
        _case("timm", "tf_efficientnet_lite0", "efficientnet_lite0", small=True),
        _case("timm", "convnext_atto", "convnext_atto", small=True),
        _case("timm", "convnextv2_atto", "convnext_v2_atto", small=True),
    ]
    for number in range(1, 8):
        name = f"efficientnet_b{number}"
        cases.append(_case("torchvision", name, f"{name}_symmetric"))
        cases.append(_case("timm", name, f"{name}_symmetric"))
        cases.append(_case("timm", f"tf_{name}", name))
    cases += [
        _case("timm", f"tf_efficientnet_lite{number}", f"efficientnet_lite{number}")
        for number in range(1, 5)
    ]
    for size in "sml":
        cases.append(
            _case("torchvision", f"efficientnet_v2_{size}", f"efficientnet_v2_{size}_symmetric")
        )
        cases.append(_case("timm", f"tf_efficientnetv2_{size}", f"efficientnet_v2_{size}"))
    cases += [
        _case("timm", f"tf_efficientnetv2_b{number}", f"efficientnet_v2_b{number}")
        for number in range(4)
    ]
    for size in ("tiny", "small", "base", "large"):
        cases.append(_case("torchvision", f"convnext_{size}", f"convnext_{size}"))
        cases.append(_case("timm", f"convnext_{size}", f"convnext_{size}"))
    cases += [
        _case("timm", f"convnext_{size}", f"convnext_{size}")
        for size in ("femto", "pico", "nano", "xlarge")
    ]
    return cases + [
        _case("timm", f"convnextv2_{size}", f"convnext_v2_{size}")
        for size in ("femto", "pico", "nano", "tiny")
    ]


def make(publisher: str, function: str) -> Any:
    """Instantiate a published network with seven classes."""
    if publisher == "timm":
        return pytest.importorskip("timm").create_model(function, num_classes=7).eval()
    models = pytest.importorskip("torchvision").models
    return getattr(models, function)(weights=None, num_classes=7).eval()


def gain(network: Any) -> float:
    """Choose the spread of kernels by depth: the signal neither fades nor turns chaotic."""
    return 2.0 if len(list(network.state_dict())) < 400 else 1.0


def load(network: Any, tensors: dict[str, Any]) -> None:
    network.load_state_dict({name: torch.from_numpy(array) for name, array in tensors.items()})


def run(network: Any, pictures: Any) -> tuple[Any, Any]:
    """Give PyTorch's feature map, channels last, and its logits."""
    features = network.features if hasattr(network, "features") else network.forward_features
    with torch.no_grad():
        x = torch.from_numpy(pictures.transpose(0, 3, 1, 2).copy())
        return features(x).permute(0, 2, 3, 1).numpy(), network(x).numpy()


@pytest.mark.parametrize(("publisher", "function", "name"), _cases())
def test_features_and_logits_equal_pytorch(
    publisher: str, function: str, name: str, tmp_path: Path
) -> None:
    network = make(publisher, function)
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    tensors = draw(shapes, seed=1, gain=gain(network))
    load(network, tensors)
    torch.save(network.state_dict(), tmp_path / "saved.pth")
    pytest.importorskip("safetensors.torch").save_file(
        network.state_dict(), tmp_path / "saved.safetensors"
    )
    read = {end: read_checkpoint(tmp_path / f"saved.{end}") for end in ("pth", "safetensors")}
    for one in read.values():
        layout = detect(one)
        assert layout.publisher == publisher
        assert name in (layout.backbone, *layout.alternatives)
        assert (layout.classes, layout.channels) == (7, 3)
    # The networks of keras.applications pad by the size they are built for.
    fixed = get_spec(name).builder.startswith("zoo.architectures.keras_applications")
    ours = None if fixed else converted(read["pth"], name)
    for sides, kind in zip(SIZES, read, strict=True):
        ours = converted(read[kind], name, sides) if fixed or ours is None else ours
        pictures = picture(*sides)
        features, logits = run(network, pictures)
        found = ours.features(pictures)
        assert error(found, features) < TOLERANCE
        assert error(ours.logits(found), logits) < TOLERANCE
    assert ours is not None
    layer = middle_kernel(ours.network)
    kernel, *rest = layer.get_weights()
    layer.set_weights([kernel[::-1, ::-1] if len(kernel) > 1 else kernel * 1.2, *rest])
    assert error(ours.features(pictures), features) > 10 * TOLERANCE


@pytest.mark.parametrize(
    ("function", "name"),
    [
        ("convnext_tiny", "convnext_tiny"),
        ("convnextv2_atto", "convnext_v2_atto"),
    ],
)
def test_the_authors_convnext_files_read_as_timm_reads_them(function: str, name: str) -> None:
    """timm's own translation of the authors' names is the witness."""
    timm = pytest.importorskip("timm")
    network = make("timm", function)
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    theirs = _authors_names(draw(shapes, seed=2))
    filtered = timm.models.convnext.checkpoint_filter_fn(
        {key: torch.from_numpy(value) for key, value in theirs.items()}, network
    )
    network.load_state_dict(filtered)
    layout = detect(theirs)
    assert (layout.publisher, layout.backbone) == ("facebookresearch", name)
    ours = converted(theirs, name, (64, 96))
    features, logits = run(network, picture(64, 96))
    found = ours.features(picture(64, 96))
    assert error(found, features) < TOLERANCE
    assert error(ours.logits(found), logits) < TOLERANCE


def _authors_names(tensors: dict[str, Any]) -> dict[str, Any]:
    """Rename timm's tensors to those of the authors' repository."""
    renamed = {}
    for key, value in tensors.items():
        for old, new in (
            ("stem.", "downsample_layers.0."),
            (".blocks.", "."),
            ("conv_dw.", "dwconv."),
            ("mlp.fc1.", "pwconv1."),
            ("mlp.fc2.", "pwconv2."),
            ("mlp.grn.weight", "grn.gamma"),
            ("mlp.grn.bias", "grn.beta"),
            ("head.norm.", "norm."),
            ("head.fc.", "head."),
        ):
            key = key.replace(old, new)
        if ".downsample." in key:
            _, stage, _, rest = key.split(".", 3)
            key = f"downsample_layers.{stage}.{rest}"
        if "grn" in key:
            value = value.reshape(1, 1, 1, -1)
        if "pwconv" in key and value.ndim == 4:
            value = value[:, :, 0, 0]
        renamed[key] = value
    return renamed


def test_a_torchvision_file_is_refused_for_the_other_padding() -> None:
    network = make("torchvision", "efficientnet_b0")
    tensors = {key: value.numpy() for key, value in network.state_dict().items()}
    with pytest.raises(WeightsMismatchError, match="take 'efficientnet_b0_symmetric'"):
        efficientnet.convert(tensors, get_spec("efficientnet_b0"))


@pytest.mark.parametrize(
    "build",
    [
        lambda: make("torchvision", "mobilenet_v3_small"),
        lambda: make("timm", "convnext_atto_ols"),
        lambda: make("timm", "efficientnet_es"),
        lambda: make("timm", "efficientnet_b8"),
    ],
)
def test_relatives_are_refused(build: Callable[[], Any]) -> None:
    tensors = {key: value.numpy() for key, value in build().state_dict().items()}
    with pytest.raises(WeightsMismatchError, match=r"layout|resembles"):
        detect(tensors)
    assert np.isfinite(next(iter(tensors.values()))).all()
