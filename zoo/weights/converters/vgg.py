"""VGGs of torchvision and timm: convolutions numbered among ``features``, three dense layers.

The dense layers (``classifier`` in torchvision, ``pre_logits`` and ``head`` in timm) work on a map
of 7x7 positions, not on pooled features; they are left out.
"""

from __future__ import annotations

from collections.abc import Mapping

from zoo.architectures.vgg_plan import PLANS, VGGPlan, vgg_convs
from zoo.spec import BackboneSpec
from zoo.weights.converters import Layout, State
from zoo.weights.files import Array, LayerArrays

SIGNS = ("features.0.weight", "features.0.bias", "classifier.6.weight|head.fc.weight")


def recognise(tensors: Mapping[str, Array]) -> Layout | None:
    """Tell which VGG a state dict is of; see ``zoo.weights.converters``."""
    first = tensors.get("features.0.weight")
    if first is None or first.ndim != 4 or first.shape[2:] != (3, 3):
        return None
    channels = int(first.shape[1])
    found = {
        name: tensor.shape
        for name, tensor in tensors.items()
        if name.startswith("features.") and tensor.ndim == 4
    }
    timm = any(name.startswith(("pre_logits.", "head.")) for name in tensors)
    for name, plan in PLANS.items():
        wanted = {
            f"features.{conv.index}.weight": (conv.filters_out, conv.filters_in, 3, 3)
            for conv in vgg_convs(plan, channels)
        }
        if found == wanted and ("features.1.running_mean" in tensors) == plan.norm:
            return Layout(
                publisher="timm" if timm else "torchvision",
                backbone=name,
                converter="zoo.weights.converters.vgg:convert",
                classes=_classes(tensors, "head.fc.weight" if timm else "classifier.6.weight"),
                channels=channels,
                preprocessing="torch",
            )
    return None


def _classes(tensors: Mapping[str, Array], name: str) -> int | None:
    weight = tensors.get(name)
    return None if weight is None or weight.ndim < 2 else int(weight.shape[0])


def convert(tensors: Mapping[str, Array], spec: BackboneSpec) -> LayerArrays:
    """Translate a state dict into the arrays of the backbone ``spec``.

    Raises:
        WeightsMismatchError: When a tensor is missing, left over or of another shape.
    """
    return convert_plan(tensors, PLANS[spec.name])


def head(tensors: Mapping[str, Array]) -> list[Array] | None:
    """Give None: no single layer turns pooled features into logits."""
    return None


def convert_plan(tensors: Mapping[str, Array], plan: VGGPlan) -> LayerArrays:
    """Translate a state dict into the arrays of a plan's network."""
    state = State(tensors)
    state.drop("classifier", "pre_logits", "head")
    layers: LayerArrays = {}
    for conv in vgg_convs(plan, state.inputs("features.0.weight")):
        name = f"block{conv.block}_conv{conv.number}"
        layers[name] = state.conv(
            f"features.{conv.index}", conv.filters_in, conv.filters_out, 3, bias=True
        )
        if plan.norm:
            norm = f"block{conv.block}_bn{conv.number}"
            layers[norm] = state.norm(f"features.{conv.index + 1}", conv.filters_out)
    state.finish()
    return layers
