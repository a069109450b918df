"""EfficientNet and ConvNeXt checkpoints against outputs that PyTorch gave for them.

The checkpoints are drawn anew from the publishers' recorded names and shapes, see
``tests/zoo/record/torch_mobile.py``; ``test_mobile_against_torch.py`` covers every variant.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.zoo.weights.converters.drawn import draw, error, picture
from tests.zoo.weights.converters.mobile import Converted, converted, middle_kernel
from zoo.architectures.convnext_plan import VARIANTS, convnext_plan
from zoo.architectures.efficientnet_plan import efficientnet_plan
from zoo.backbones import create_backbone
from zoo.errors import WeightsMismatchError
from zoo.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from zoo.registry import get_spec, list_backbones
from zoo.weights.converters import convnext, detect, efficientnet
from zoo.weights.importing import import_weights

GOLDEN = Path(__file__).parents[2] / "golden"
LAYOUTS = json.loads((GOLDEN / "torch_mobile.json").read_text())
VALUES = np.load(GOLDEN / "torch_mobile.npz")
TOLERANCE = 1e-4
NAMES = [name for name in LAYOUTS if name != "versions"]
SIDES = ((64, 96), (65, 97))


def shapes(name: str) -> dict[str, tuple[int, ...]]:
    return {key: tuple(shape) for key, shape in LAYOUTS[name].items()}


@functools.cache
def drawn(name: str) -> dict[str, Any]:
    return draw(shapes(name), seed=3)


@functools.cache
def ours(name: str) -> Converted:
    """Build each network once, for pictures of any size."""
    return converted(drawn(name), name)


@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize("name", NAMES)
def test_features_and_logits_equal_the_recorded_ones(name: str, sides: tuple[int, int]) -> None:
    """At the odd size, padding differs between the two sides of each strided convolution."""
    features = ours(name).features(picture(*sides))
    assert error(features[..., ::5], VALUES[f"{name}/{sides[0]}/features"]) < TOLERANCE
    assert error(ours(name).logits(features), VALUES[f"{name}/{sides[0]}/logits"]) < TOLERANCE


def test_a_published_file_goes_through_the_front_door(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its pixels are 0-255, and its last level is normalised at each place."""
    name = "convnext_atto"
    file = tmp_path / "published.safetensors"
    save_file({key: np.asarray(value) for key, value in drawn(name).items()}, file)
    monkeypatch.setenv("RADZOO_HOME", str(tmp_path / "home"))
    import_weights(file, name="mine")
    model = create_backbone(name, input_shape=(64, 96, 3), weights="mine")
    x = picture(64, 96)
    pixels = (x * IMAGENET_STD + IMAGENET_MEAN) * 255.0
    found = np.asarray(keras.ops.convert_to_numpy(model(pixels.astype("float32"))["P5"]))
    recorded = ours(name).features(x)
    gamma, beta = ours(name).layers[f"{name}_layernorm"]
    centred = recorded - recorded.mean(-1, keepdims=True)
    wanted = centred / np.sqrt(recorded.var(-1, keepdims=True) + 1e-6) * gamma + beta
    assert error(found, wanted) < TOLERANCE


@pytest.mark.parametrize("name", NAMES)
def test_the_comparison_notices_a_turned_middle_kernel(name: str) -> None:
    layer = middle_kernel(ours(name).network)
    before = layer.get_weights()
    try:
        kernel, *rest = before
        layer.set_weights([kernel[::-1, ::-1] if len(kernel) > 1 else kernel * 1.2, *rest])
        features = ours(name).features(picture(64, 96))
    finally:
        layer.set_weights(before)
    assert error(features[..., ::5], VALUES[f"{name}/64/features"]) > 10 * TOLERANCE


@pytest.mark.parametrize(
    ("name", "publisher"), list(zip(NAMES, ("torchvision", "timm"), strict=True))
)
def test_the_layout_is_recognised(name: str, publisher: str) -> None:
    layout = detect(drawn(name))
    assert (layout.publisher, layout.backbone) == (publisher, name)
    assert (layout.classes, layout.channels, layout.preprocessing) == (7, 3, "torch")
    assert layout.alternatives == ()
    names = {weight.converter for weight in get_spec(name).weights}
    assert layout.converter in names


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("change", ["without", "besides", "narrower"])
def test_a_checkpoint_that_does_not_fit_is_refused(name: str, change: str) -> None:
    family = convnext if name.startswith("convnext") else efficientnet
    tensors = dict(drawn(name))
    victim = next(key for key in reversed(tensors) if "block" in key and tensors[key].ndim == 4)
    if change == "without":
        del tensors[victim]
    elif change == "besides":
        tensors[f"{victim}.more"] = np.zeros(1, "float32")
        victim = f"{victim}.more"
    else:
        tensors[victim] = tensors[victim][:-1]
    with pytest.raises(WeightsMismatchError, match=victim.replace(".", r"\.")):
        family.convert(tensors, get_spec(name))


def test_no_other_padding_takes_torchvisions_file() -> None:
    with pytest.raises(WeightsMismatchError, match="take 'efficientnet_b0_symmetric'"):
        efficientnet.convert(drawn("efficientnet_b0_symmetric"), get_spec("efficientnet_b0"))


def test_timms_name_leaves_the_padding_open() -> None:
    """Its two EfficientNets have the same tensors: the caller has to say which one it is."""
    renamed = {
        "conv_stem.weight": np.zeros((32, 3, 3, 3)),
        "bn1.weight": np.zeros(32),
        "bn2.weight": np.zeros(1280),
        "blocks.0.0.se.conv_reduce.weight": np.zeros((8, 32, 1, 1)),
    }
    plan = efficientnet_plan("efficientnet_b0")
    for stage, blocks in enumerate(plan.stages):
        for index, block in enumerate(blocks):
            renamed[f"blocks.{stage}.{index}.bn1.weight"] = np.zeros(block.inner)
            last = efficientnet.block_parts("timm", block, stage, index)["project"]
            renamed[f"{last.norm}.weight"] = np.zeros(block.filters_out)
    layout = efficientnet.recognise(renamed)
    assert layout is not None
    assert layout.backbone == "efficientnet_b0_symmetric"
    assert layout.alternatives == ("efficientnet_b0",)
    del renamed["blocks.2.1.bn3.weight"]
    assert efficientnet.recognise(renamed) is None


def test_every_planned_network_is_registered() -> None:
    """Save the two largest ConvNeXtV2, which are recognised but too large for most."""
    known = set(list_backbones())
    for name in VARIANTS:
        assert len(convnext_plan(name).widths) == 4
    assert set(VARIANTS) - known == {"convnext_v2_base", "convnext_v2_large"}
    for spec in map(get_spec, sorted(known)):
        if spec.family in ("efficientnet", "efficientnet_v2"):
            assert efficientnet_plan(spec.name).blocks
