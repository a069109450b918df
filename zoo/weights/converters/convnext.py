"""ConvNeXt and ConvNeXtV2 checkpoints of torchvision, timm and the authors.

The authors' files (``facebookresearch``) and timm's differ in names only. All three normalise
behind the global mean; the zoo's networks end with the same normalisation at each place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from zoo.architectures.convnext_plan import VARIANTS, Plan, convnext_plan
from zoo.errors import WeightsMismatchError
from zoo.spec import BackboneSpec
from zoo.weights.converters import Layout, State
from zoo.weights.files import Array, LayerArrays

SIGNS = (
    "features.0.0.weight|stem.0.weight|downsample_layers.0.0.weight",
    "features.1.0.block.0.weight|stages.0.blocks.0.conv_dw.weight|stages.0.0.dwconv.weight",
    "features.2.1.weight|stages.1.downsample.1.weight|downsample_layers.1.1.weight",
    "classifier.0.weight|head.norm.weight|norm.weight",
)
_CONVERTER = "zoo.weights.converters.convnext:convert"


@dataclass(frozen=True, kw_only=True)
class _Names:
    """How one publisher calls the tensors; ``{s}`` is the stage, ``{b}`` the block, from 0."""

    publisher: str
    stem: str
    stem_norm: str
    shrink_norm: str
    shrink: str
    block: str
    depthwise: str
    norm: str
    widen: str
    narrow: str
    scale: str
    responses: tuple[str, str]
    last_norm: str
    head: str


_PUBLISHERS = (
    _Names(
        publisher="torchvision",
        stem="features.0.0",
        stem_norm="features.0.1",
        shrink_norm="features.{even}.0",
        shrink="features.{even}.1",
        block="features.{odd}.{b}",
        depthwise="block.0",
        norm="block.2",
        widen="block.3",
        narrow="block.5",
        scale="layer_scale",
        responses=("", ""),
        last_norm="classifier.0",
        head="classifier.2",
    ),
    _Names(
        publisher="timm",
        stem="stem.0",
        stem_norm="stem.1",
        shrink_norm="stages.{s}.downsample.0",
        shrink="stages.{s}.downsample.1",
        block="stages.{s}.blocks.{b}",
        depthwise="conv_dw",
        norm="norm",
        widen="mlp.fc1",
        narrow="mlp.fc2",
        scale="gamma",
        responses=("mlp.grn.weight", "mlp.grn.bias"),
        last_norm="head.norm",
        head="head.fc",
    ),
    _Names(
        publisher="facebookresearch",
        stem="downsample_layers.0.0",
        stem_norm="downsample_layers.0.1",
        shrink_norm="downsample_layers.{s}.0",
        shrink="downsample_layers.{s}.1",
        block="stages.{s}.{b}",
        depthwise="dwconv",
        norm="norm",
        widen="pwconv1",
        narrow="pwconv2",
        scale="gamma",
        responses=("grn.gamma", "grn.beta"),
        last_norm="norm",
        head="head",
    ),
)


def recognise(tensors: Mapping[str, Array]) -> Layout | None:
    """Tell the variant from the names and widths of a checkpoint; None when it is no such one."""
    names = _names(tensors)
    if names is None:
        return None
    name = next((name for name in VARIANTS if _fits(tensors, names, convnext_plan(name))), None)
    if name is None:
        return None
    last = head(tensors)
    return Layout(
        publisher=names.publisher,
        backbone=name,
        converter=_CONVERTER,
        classes=None if last is None else int(last[0].shape[1]),
        channels=int(tensors[f"{names.stem}.weight"].shape[1]),
        preprocessing="torch",
    )


def convert(tensors: Mapping[str, Array], spec: BackboneSpec) -> LayerArrays:
    """Translate a checkpoint for ``spec``, every tensor accounted for.

    Args:
        tensors: Name -> array.
        spec: A ConvNeXt, of keras.applications or of the zoo's own.

    Raises:
        WeightsMismatchError: When a tensor is missing, left over or of another shape.
    """
    names = _names(tensors)
    if names is None:
        raise WeightsMismatchError(
            f"a checkpoint for {spec.name!r} has 'features.0.0.weight' (torchvision), "
            "'stem.0.weight' (timm) or 'downsample_layers.0.0.weight' (the authors); this has none"
        )
    state, plan = State(tensors), convnext_plan(spec.name)
    widths, prefix = plan.widths, spec.name
    channels = state.shape(f"{names.stem}.weight")[1]
    layers: LayerArrays = {
        f"{prefix}_stem_conv": state.conv(names.stem, channels, widths[0], 4, bias=True),
        f"{prefix}_stem_layernorm": state.layer_norm(names.stem_norm, widths[0]),
    }
    for stage, (depth, width) in enumerate(zip(plan.depths, widths, strict=True)):
        if stage:
            before = widths[stage - 1]
            norm, shrink = (_at(name, stage) for name in (names.shrink_norm, names.shrink))
            layers[f"{prefix}_downsampling_layernorm_{stage - 1}"] = state.layer_norm(norm, before)
            layers[f"{prefix}_downsampling_conv_{stage - 1}"] = state.conv(
                shrink, before, width, 2, bias=True
            )
        for index in range(depth):
            layers.update(_block(state, names, plan, stage, index, prefix))
    # keras.applications leaves its last normalisation to an automatic name; the taps know it.
    layers[spec.taps[-1][1]] = state.layer_norm(names.last_norm, widths[-1])
    state.drop(names.head)
    state.finish()
    return layers


def head(tensors: Mapping[str, Array]) -> list[Array] | None:
    """Give ``[kernel, bias]`` of the classification layer as Keras' Dense takes them."""
    names = _names(tensors)
    if names is None or f"{names.head}.weight" not in tensors:
        return None
    classes, width = tensors[f"{names.head}.weight"].shape[:2]
    return _pointwise(State(tensors), names.head, int(width), int(classes))


def _block(
    state: State, names: _Names, plan: Plan, stage: int, index: int, prefix: str
) -> LayerArrays:
    width = plan.widths[stage]
    theirs = _at(names.block, stage, index)
    ours = f"{prefix}_stage_{stage}_block_{index}"
    layers = {
        f"{ours}_depthwise_conv": state.depthwise(
            f"{theirs}.{names.depthwise}", width, 7, bias=True
        ),
        f"{ours}_layernorm": state.layer_norm(f"{theirs}.{names.norm}", width),
        f"{ours}_pointwise_conv_1": _pointwise(state, f"{theirs}.{names.widen}", width, 4 * width),
        f"{ours}_pointwise_conv_2": _pointwise(state, f"{theirs}.{names.narrow}", 4 * width, width),
    }
    if plan.responses:
        kernel, bias = (_vector(state, f"{theirs}.{one}", 4 * width) for one in names.responses)
        layers[f"{ours}_response_scale"] = [kernel.reshape(1, 1, -1, 1), bias]
    else:
        scale = _vector(state, f"{theirs}.{names.scale}", width)
        layers[f"{ours}_layer_scale"] = [scale.reshape(1, 1, -1, 1)]
    return layers


def _pointwise(state: State, name: str, filters_in: int, filters_out: int) -> list[Array]:
    """Take a fully connected layer, whether it is written as one or as a 1x1 convolution."""
    if len(state.shape(f"{name}.weight")) == 2:
        return state.dense(name, filters_in, filters_out)
    kernel, bias = state.conv(name, filters_in, filters_out, 1, bias=True)
    return [kernel[0, 0], bias]


def _vector(state: State, name: str, width: int) -> Array:
    """Take one value per channel, whatever axes of length one are around them."""
    shape = state.shape(name)
    wanted = tuple(width if side != 1 else 1 for side in shape) if len(shape) > 1 else (width,)
    return state.take(name, wanted).reshape(width)


def _at(name: str, stage: int, index: int = 0) -> str:
    return name.format(s=stage, b=index, even=2 * stage, odd=2 * stage + 1)


def _names(tensors: Mapping[str, Array]) -> _Names | None:
    for names in _PUBLISHERS:
        if f"{names.stem}.weight" in tensors:
            depthwise = f"{_at(names.block, 0)}.{names.depthwise}.weight"
            return names if depthwise in tensors else None
    return None


def _fits(tensors: Mapping[str, Array], names: _Names, plan: Plan) -> bool:
    """Whether the depth and width of all stages, and the kind of block, are the plan's."""
    first = _at(names.block, 0)
    if plan.responses != (f"{first}.{names.responses[0]}" in tensors):
        return False
    for stage, (depth, width) in enumerate(zip(plan.depths, plan.widths, strict=True)):
        last = f"{_at(names.block, stage, depth - 1)}.{names.norm}.weight"
        beyond = f"{_at(names.block, stage, depth)}.{names.norm}.weight"
        if last not in tensors or beyond in tensors or tensors[last].shape != (width,):
            return False
    stem = tensors[f"{names.stem}.weight"].shape
    return stem[2:] == (4, 4) and f"{names.last_norm}.weight" in tensors
