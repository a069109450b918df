"""DenseNets of torchvision and timm, and TorchXRayVision's DenseNet121 of one input channel.

torchvision's published files still bear the names of its first release (``denselayer1.norm.1``);
they are read as what they mean (``denselayer1.norm1``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from zoo.architectures.densenet_plan import (
    BOTTLENECK,
    PLANS,
    DenseBlock,
    DenseNetPlan,
    dense_blocks,
)
from zoo.spec import BackboneSpec
from zoo.weights.converters import Layout, State
from zoo.weights.converters.resnet import XRV_CLASSES, count_classes, linear
from zoo.weights.files import Array, LayerArrays

SIGNS = (
    "features.conv0.weight",
    "features.norm0.running_mean",
    "features.transition1.conv.weight",
    "features.norm5.running_mean",
)
_TORCH_EPSILON: Final = 1e-5
_EPSILON: Final = 1.001e-5
_FIRST_RELEASE: Final = re.compile(r"(?<=\.)(denselayer\d+\.(?:norm|conv))\.([12])(?=\.)")


def recognise(tensors: Mapping[str, Array]) -> Layout | None:
    """Tell which DenseNet a state dict is of; see ``zoo.weights.converters``."""
    stem, top = (tensors.get(name) for name in (SIGNS[0], SIGNS[3]))
    if stem is None or top is None or (stem.ndim, top.ndim) != (4, 1):
        return None
    names = {_FIRST_RELEASE.sub(r"\1\2", name) for name in tensors}
    for name, plan in PLANS.items():
        blocks = dense_blocks(plan)
        lasts = [_layer(block, block.repeats) for block in blocks]
        beyond = [_layer(block, block.repeats + 1) for block in blocks]
        if (
            (stem.shape[0], top.shape[0]) == (plan.stem, blocks[-1].filters_out)
            and all(f"{last}.conv2.weight" in names for last in lasts)
            and not any(f"{one}.conv2.weight" in names for one in beyond)
        ):
            channels, classes = stem.shape[1], count_classes(tensors, "classifier")
            xrv = channels == 1 and (classes == XRV_CLASSES or "op_threshs" in tensors)
            return Layout(
                publisher="torchxrayvision" if xrv else "torchvision",
                backbone=name,
                converter="zoo.weights.converters.densenet:convert",
                classes=classes,
                channels=channels,
                preprocessing="xrv" if xrv else "torch",
            )
    return None


def convert(tensors: Mapping[str, Array], spec: BackboneSpec) -> LayerArrays:
    """Translate a state dict into the arrays of the backbone ``spec``.

    Keras' DenseNets add 1.001e-5 to the variance where PyTorch's add 1e-5: gamma takes that up.

    Raises:
        WeightsMismatchError: When a tensor is missing, left over or of another shape.
    """
    return convert_plan(tensors, PLANS[spec.name])


def head(tensors: Mapping[str, Array]) -> list[Array] | None:
    """Give the classification layer, where there is one."""
    return linear(tensors, "classifier")


def convert_plan(tensors: Mapping[str, Array], plan: DenseNetPlan) -> LayerArrays:
    """Translate a state dict into the arrays of a plan's network."""
    state = State({_FIRST_RELEASE.sub(r"\1\2", name): item for name, item in tensors.items()})
    state.drop("classifier", "op_threshs")
    channels = state.inputs(SIGNS[0])
    layers: LayerArrays = {
        "conv1_conv": state.conv("features.conv0", channels, plan.stem, 7),
        "conv1_bn": _norm(state, "features.norm0", plan.stem),
    }
    blocks = dense_blocks(plan)
    for block in blocks:
        layers.update(_dense_block(state, block, plan.growth))
        if block is not blocks[-1]:
            ours, theirs = f"pool{block.number + 1}", f"features.transition{block.number}"
            filters = block.filters_out
            layers[f"{ours}_bn"] = _norm(state, f"{theirs}.norm", filters)
            layers[f"{ours}_conv"] = state.conv(f"{theirs}.conv", filters, filters // 2, 1)
    layers["bn"] = _norm(state, "features.norm5", blocks[-1].filters_out)
    state.finish()
    return layers


def _dense_block(state: State, block: DenseBlock, growth: int) -> LayerArrays:
    layers: LayerArrays = {}
    inner = BOTTLENECK * growth
    for index in range(1, block.repeats + 1):
        ours, theirs = f"{block.name}_block{index}", _layer(block, index)
        filters = block.filters_in + (index - 1) * growth
        layers[f"{ours}_0_bn"] = _norm(state, f"{theirs}.norm1", filters)
        layers[f"{ours}_1_conv"] = state.conv(f"{theirs}.conv1", filters, inner, 1)
        layers[f"{ours}_1_bn"] = _norm(state, f"{theirs}.norm2", inner)
        layers[f"{ours}_2_conv"] = state.conv(f"{theirs}.conv2", inner, growth, 3)
    return layers


def _layer(block: DenseBlock, index: int) -> str:
    return f"features.denseblock{block.number}.denselayer{index}"


def _norm(state: State, name: str, channels: int) -> list[Array]:
    return state.norm(name, channels, epsilon=_TORCH_EPSILON, ours=_EPSILON)
