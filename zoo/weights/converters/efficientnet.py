"""EfficientNet, EfficientNetV2 and EfficientNet-Lite checkpoints of torchvision and timm.

torchvision pads alike on both sides: its checkpoints go into the ``..._symmetric`` networks. timm
publishes both kinds under the same tensor names: ``efficientnet_b0`` (symmetric, epsilon 1e-5) and
``tf_efficientnet_b0`` (TensorFlow's padding, epsilon 1e-3), so there the target network decides
how its checkpoint is read. Where a checkpoint's epsilon is not the layer's, gamma takes up the
difference: the same outputs at inference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from zoo.architectures.efficientnet_plan import (
    KERAS_EPSILON,
    TORCH_EPSILON,
    Block,
    Plan,
    efficientnet_plan,
)
from zoo.errors import WeightsMismatchError
from zoo.spec import BackboneSpec
from zoo.weights.converters import Layout, State
from zoo.weights.files import Array, LayerArrays

SIGNS = (
    "features.0.0.weight|conv_stem.weight",
    "features.0.1.running_mean|bn1.running_mean",
    "features.2.0.block.0.0.weight|blocks.1.0.conv_pw.weight|blocks.1.0.conv_exp.weight",
)
_CONVERTER = "zoo.weights.converters.efficientnet:convert"
_SYMMETRIC = "_symmetric"
_V1 = tuple(f"efficientnet_b{number}" for number in range(8))
_V2 = tuple(f"efficientnet_v2_{size}" for size in "sml")
_V2_B = tuple(f"efficientnet_v2_b{number}" for number in range(4))
_LITE = tuple(f"efficientnet_lite{number}" for number in range(5))


@dataclass(frozen=True, kw_only=True)
class _Part:
    """Names of one convolution and the normalisation behind it."""

    conv: str
    norm: str


def recognise(tensors: Mapping[str, Array]) -> Layout | None:
    """Tell the variant from the names and widths of a checkpoint; None when it is no such one."""
    publisher = _publisher(tensors)
    if publisher is None:
        return None
    names = (*_V1, *_V2) if publisher == "torchvision" else (*_V1, *_V2, *_V2_B, *_LITE)
    name = next((name for name in names if _fits(tensors, efficientnet_plan(name))), None)
    if name is None:
        return None
    symmetric = publisher == "torchvision" or name in _V1
    # Of timm's two networks with the same tensors the symmetric one bears the plain name.
    both = publisher == "timm" and name in _V1
    kernel = head(tensors)
    signed = ("efficientnet_v2_l",) if publisher == "torchvision" else (*_V2, *_LITE)
    return Layout(
        publisher=publisher,
        backbone=name + _SYMMETRIC if symmetric else name,
        converter=_CONVERTER,
        classes=None if kernel is None else int(kernel[0].shape[1]),
        channels=int(tensors[_part(publisher, "stem").conv + ".weight"].shape[1]),
        preprocessing="tf" if name in signed else "torch",
        alternatives=(name,) if both else (),
    )


def convert(tensors: Mapping[str, Array], spec: BackboneSpec) -> LayerArrays:
    """Translate a checkpoint for ``spec``, every tensor accounted for.

    Args:
        tensors: Name -> array.
        spec: An EfficientNet; for torchvision's files one of the ``..._symmetric`` networks.

    Raises:
        WeightsMismatchError: When a tensor is missing, left over or of another shape, or the file
            is torchvision's and the network pads as TensorFlow does.
    """
    publisher = _publisher(tensors) or "torchvision"
    plan = efficientnet_plan(spec.name)
    symmetric = spec.name.endswith(_SYMMETRIC)
    if publisher == "torchvision" and not symmetric:
        raise WeightsMismatchError(
            f"a checkpoint of torchvision does not fit {spec.name!r}, which pads as TensorFlow "
            f"does; take {spec.name + _SYMMETRIC!r}"
        )
    epsilon = KERAS_EPSILON
    if publisher == "timm":
        epsilon = TORCH_EPSILON if symmetric and "_v2_" not in spec.name else KERAS_EPSILON
    elif spec.name < "efficientnet_b5":
        epsilon = TORCH_EPSILON
    reader = _Reader(State(tensors), publisher, epsilon=epsilon, ours=plan.epsilon)
    layers = reader.read(plan)
    reader.finish()
    return layers


def head(tensors: Mapping[str, Array]) -> list[Array] | None:
    """Give ``[kernel, bias]`` of the classification layer as Keras' Dense takes them."""
    for name in ("classifier.1", "classifier"):
        if f"{name}.weight" in tensors:
            classes, width = tensors[f"{name}.weight"].shape
            return State(tensors).dense(name, int(width), int(classes))
    return None


class _Reader:
    """Takes the layers of a plan out of a state dict."""

    def __init__(self, state: State, publisher: str, *, epsilon: float, ours: float) -> None:
        self._state = state
        self._publisher = publisher
        self._epsilon = epsilon
        self._ours = ours

    def read(self, plan: Plan) -> LayerArrays:
        stem, top = (_part(self._publisher, end, len(plan.stages)) for end in ("stem", "top"))
        channels = self._state.shape(f"{stem.conv}.weight")[1]
        layers: LayerArrays = {
            "stem_conv": self._state.conv(stem.conv, channels, plan.stem, 3),
            "stem_bn": self._norm(stem, plan.stem),
        }
        for stage, blocks in enumerate(plan.stages):
            for index, block in enumerate(blocks):
                layers.update(self._block(block, stage, index))
        width = plan.blocks[-1].filters_out
        layers["top_conv"] = self._state.conv(top.conv, width, plan.top, 1)
        layers["top_bn"] = self._norm(top, plan.top)
        return layers

    def finish(self) -> None:
        """Leave the head out and refuse what else is left."""
        self._state.drop("classifier")
        self._state.finish()

    def _block(self, block: Block, stage: int, index: int) -> LayerArrays:
        parts = block_parts(self._publisher, block, stage, index)
        name, last = block.name, block.filters_out
        layers: LayerArrays = {}
        if "expand" in parts:
            kernel = block.kernel if block.fused else 1
            layers[f"{name}_expand_conv"] = self._state.conv(
                parts["expand"].conv, block.filters_in, block.inner, kernel
            )
            layers[f"{name}_expand_bn"] = self._norm(parts["expand"], block.inner)
        if not block.fused:
            layers[block.depthwise] = self._state.depthwise(
                parts["filter"].conv, block.inner, block.kernel
            )
            layers[f"{name}_bn"] = self._norm(parts["filter"], block.inner)
            layers.update(self._squeeze_excite(block, stage, index))
        side = block.kernel if block.fused and block.expansion == 1 else 1
        layers[f"{name}_project_conv"] = self._state.conv(
            parts["project"].conv, block.inner, last, side
        )
        layers[f"{name}_project_bn"] = self._norm(parts["project"], last)
        return layers

    def _squeeze_excite(self, block: Block, stage: int, index: int) -> LayerArrays:
        if not block.squeezed:
            return {}
        reduce, expand = _squeeze_names(self._publisher, block, stage, index)
        inner, squeezed = block.inner, block.squeezed
        return {
            f"{block.name}_se_reduce": self._state.conv(reduce, inner, squeezed, 1, bias=True),
            f"{block.name}_se_expand": self._state.conv(expand, squeezed, inner, 1, bias=True),
        }

    def _norm(self, part: _Part, channels: int) -> list[Array]:
        return self._state.norm(part.norm, channels, epsilon=self._epsilon, ours=self._ours)


def block_parts(publisher: str, block: Block, stage: int, index: int) -> dict[str, _Part]:
    """Name the tensors of one block: of ``"expand"``, ``"filter"`` and ``"project"``."""
    roles = ["expand"] if block.expansion != 1 else []
    roles += [] if block.fused else ["filter"]
    roles += ["project"]
    if publisher == "torchvision":
        prefix = f"features.{stage + 1}.{index}.block"
        # Squeeze-and-excitation stands between the depthwise convolution and the projection.
        numbers = [*range(len(roles) - 1), len(roles) - (1 if block.fused else 0)]
        return {
            role: _Part(conv=f"{prefix}.{number}.0", norm=f"{prefix}.{number}.1")
            for role, number in zip(roles, numbers, strict=True)
        }
    prefix = f"blocks.{stage}.{index}"
    return {
        role: _Part(conv=f"{prefix}.{conv}", norm=f"{prefix}.bn{number}")
        for number, (role, conv) in enumerate(
            zip(roles, _timm_convolutions(block), strict=True), start=1
        )
    }


def _timm_convolutions(block: Block) -> tuple[str, ...]:
    if block.fused:
        return ("conv",) if block.expansion == 1 else ("conv_exp", "conv_pwl")
    if block.expansion == 1:
        return ("conv_dw", "conv_pw")
    return ("conv_pw", "conv_dw", "conv_pwl")


def _squeeze_names(publisher: str, block: Block, stage: int, index: int) -> tuple[str, str]:
    if publisher == "timm":
        prefix = f"blocks.{stage}.{index}.se"
        return f"{prefix}.conv_reduce", f"{prefix}.conv_expand"
    prefix = f"features.{stage + 1}.{index}.block.{1 if block.expansion == 1 else 2}"
    return f"{prefix}.fc1", f"{prefix}.fc2"


def _part(publisher: str, end: str, stages: int = 0) -> _Part:
    """Name the tensors of the stem or the top."""
    if publisher == "torchvision":
        number = 0 if end == "stem" else stages + 1
        return _Part(conv=f"features.{number}.0", norm=f"features.{number}.1")
    if end == "stem":
        return _Part(conv="conv_stem", norm="bn1")
    return _Part(conv="conv_head", norm="bn2")


def _publisher(tensors: Mapping[str, Array]) -> str | None:
    if "conv_stem.weight" in tensors and "blocks.0.0.bn1.weight" in tensors:
        return "timm"
    return "torchvision" if "features.1.0.block.0.0.weight" in tensors else None


def _fits(tensors: Mapping[str, Array], plan: Plan) -> bool:
    """Whether stem, the projections of all blocks, and the top have the plan's shapes."""
    publisher = _publisher(tensors) or ""
    stages = len(plan.stages)
    wanted = {
        _part(publisher, "stem").norm: plan.stem,
        _part(publisher, "top", stages).norm: plan.top,
    }
    squeezes = False
    for stage, blocks in enumerate(plan.stages):
        for index, block in enumerate(blocks):
            part = block_parts(publisher, block, stage, index)["project"]
            wanted[part.norm] = block.filters_out
            squeezes |= bool(block.squeezed) and not block.fused
    # One block more in any stage, or one stage more, is another network.
    for stage, blocks in enumerate(plan.stages):
        beyond = block_parts(publisher, blocks[-1], stage, len(blocks))["project"]
        if f"{beyond.norm}.weight" in tensors:
            return False
    found = all(
        f"{norm}.weight" in tensors and tensors[f"{norm}.weight"].shape == (width,)
        for norm, width in wanted.items()
    )
    return found and squeezes == any(".se." in name or ".fc1." in name for name in tensors)
