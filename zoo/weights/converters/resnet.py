"""ResNets of torchvision, timm and TorchXRayVision; the 3D ones of MedicalNet share it all.

torchvision and timm give plain ResNets, wide ones and ResNeXts the same names. timm's "D" variants
have a stem of three convolutions (``conv1.0``, ``conv1.3``, ``conv1.6``) and count the pooling of a
shortcut (``downsample.0``), so that its convolution is ``downsample.1``. TorchXRayVision's ResNet50
is torchvision's with one input channel, on pixels in [-1024, 1024].
"""

from __future__ import annotations

from collections.abc import Mapping

from zoo.architectures.resnet_plan import (
    DEEP_STEM_FILTERS,
    PLANS,
    ResidualBlock,
    ResNetPlan,
    residual_blocks,
)
from zoo.spec import BackboneSpec
from zoo.weights.converters import Layout, State
from zoo.weights.files import Array, LayerArrays

SIGNS = (
    "conv1.weight|conv1.0.weight",
    "bn1.running_mean",
    "layer1.0.conv1.weight",
    "layer2.0.conv1.weight",
    "layer3.0.conv1.weight",
    "layer4.0.conv2.weight",
)
CONVERTER = "zoo.weights.converters.resnet:convert"
XRV_CLASSES = 18


def recognise(tensors: Mapping[str, Array]) -> Layout | None:
    """Tell which ResNet a state dict is of; see ``zoo.weights.converters``."""
    name = matching_plan(tensors, dims=2)
    if name is None:
        return None
    stem = "conv1.0.weight" if PLANS[name].deep_stem else "conv1.weight"
    channels, classes = tensors[stem].shape[1], count_classes(tensors, "fc")
    xrv = channels == 1 and classes == XRV_CLASSES
    publisher = "timm" if PLANS[name].deep_stem else "torchxrayvision" if xrv else "torchvision"
    return Layout(
        publisher=publisher,
        backbone=name,
        converter=CONVERTER,
        classes=classes,
        channels=channels,
        preprocessing="xrv" if xrv else "torch",
    )


def convert(tensors: Mapping[str, Array], spec: BackboneSpec) -> LayerArrays:
    """Translate a state dict into the arrays of the backbone ``spec``.

    Raises:
        WeightsMismatchError: When a tensor is missing, left over or of another shape.
    """
    return convert_plan(tensors, PLANS[spec.name])


def head(tensors: Mapping[str, Array]) -> list[Array] | None:
    """Give the classification layer, where there is one."""
    return linear(tensors, "fc")


def convert_plan(tensors: Mapping[str, Array], plan: ResNetPlan, *, dims: int = 2) -> LayerArrays:
    """Translate a state dict into the arrays of a plan's network in two or three dimensions."""
    state = State(tensors)
    state.drop("fc", "conv_seg", "op_threshs")
    layers = _stem(state, plan, dims)
    for block in residual_blocks(plan):
        layers.update(_block(state, plan, block, dims))
    state.finish()
    return layers


def linear(tensors: Mapping[str, Array], name: str) -> list[Array] | None:
    """Give a fully connected layer as ``[kernel, bias]``, None where it is missing."""
    weight = tensors.get(f"{name}.weight")
    if weight is None or weight.ndim != 2:
        return None
    return State(tensors).dense(name, weight.shape[1], weight.shape[0])


def count_classes(tensors: Mapping[str, Array], name: str) -> int | None:
    """Give the outputs of a fully connected layer, None where it is missing."""
    weight = tensors.get(f"{name}.weight")
    return None if weight is None or weight.ndim != 2 else int(weight.shape[0])


def matching_plan(tensors: Mapping[str, Array], *, dims: int) -> str | None:
    """Find the plan that has the blocks, widths, groups, stem and shortcuts of a state dict."""
    for name, plan in PLANS.items():
        stem = tensors.get("conv1.0.weight" if plan.deep_stem else "conv1.weight")
        three = plan.dilations != (1, 1, 1, 1)
        if stem is None or stem.ndim != dims + 2 or three != (dims == 3):
            continue
        if stem.shape[0] == (DEEP_STEM_FILTERS if plan.deep_stem else plan.stem) and _fits(
            tensors, plan, dims
        ):
            return name
    return None


def _fits(tensors: Mapping[str, Array], plan: ResNetPlan, dims: int) -> bool:
    """Tell whether the last convolution and the shortcut of each block are as planned."""
    blocks = residual_blocks(plan)
    found = {name.rpartition(".conv1.")[0] for name in tensors if name.endswith(".conv1.weight")}
    if {block.source for block in blocks} != found:
        return False
    for block in blocks:
        inner = block.width if plan.bottleneck else block.filters_out
        middle = tensors.get(f"{block.source}.conv2.weight")
        if middle is None or middle.shape != (inner, inner // plan.groups, *[3] * dims):
            return False
        if (f"{block.source}.conv3.weight" in tensors) != plan.bottleneck:
            return False
        projections = {
            name.removesuffix(".weight")
            for name, tensor in tensors.items()
            if name.startswith(f"{block.source}.downsample.") and tensor.ndim == dims + 2
        }
        if projections != {conv for conv, _ in _projection(plan, block)}:
            return False
    return True


def _stem(state: State, plan: ResNetPlan, dims: int) -> LayerArrays:
    first = "conv1.0.weight" if plan.deep_stem else "conv1.weight"
    channels = state.inputs(first)
    if not plan.deep_stem:
        conv = state.conv("conv1", channels, plan.stem, (7,) * dims)
        return {"conv1_conv": conv, "conv1_bn": state.norm("bn1", plan.stem)}
    narrow, sides = DEEP_STEM_FILTERS, (3,) * dims
    return {
        "conv1_1_conv": state.conv("conv1.0", channels, narrow, sides),
        "conv1_1_bn": state.norm("conv1.1", narrow),
        "conv1_2_conv": state.conv("conv1.3", narrow, narrow, sides),
        "conv1_2_bn": state.norm("conv1.4", narrow),
        "conv1_conv": state.conv("conv1.6", narrow, plan.stem, sides),
        "conv1_bn": state.norm("bn1", plan.stem),
    }


def _block(state: State, plan: ResNetPlan, block: ResidualBlock, dims: int) -> LayerArrays:
    one, three = (1,) * dims, (3,) * dims
    enter, inner, leave = block.filters_in, block.width, block.filters_out
    convs: tuple[tuple[int, int, tuple[int, ...], int], ...]
    if plan.bottleneck:
        convs = ((enter, inner, one, 1), (inner, inner, three, plan.groups), (inner, leave, one, 1))
    else:
        convs = ((enter, leave, three, 1), (leave, leave, three, 1))
    layers: LayerArrays = {}
    for index, (before, after, sides, groups) in enumerate(convs, start=1):
        layers[f"{block.name}_{index}_conv"] = state.conv(
            f"{block.source}.conv{index}", before, after, sides, groups=groups
        )
        layers[f"{block.name}_{index}_bn"] = state.norm(f"{block.source}.bn{index}", after)
    for conv, norm in _projection(plan, block):
        layers[f"{block.name}_0_conv"] = state.conv(conv, enter, leave, one)
        layers[f"{block.name}_0_bn"] = state.norm(norm, leave)
    return layers


def _projection(plan: ResNetPlan, block: ResidualBlock) -> list[tuple[str, str]]:
    """Name the convolution and norm of a shortcut; empty for one without tensors."""
    if not block.shortcut or plan.shortcut == "pad":
        return []
    first = 1 if plan.shortcut == "pool" else 0
    prefix = f"{block.source}.downsample"
    return [(f"{prefix}.{first}", f"{prefix}.{first + 1}")]
