"""MedicalNet's 3D ResNets, as Tencent publishes them and as MONAI names them.

The published files hold ``{"state_dict": {"module.conv1.weight": ...}}``, which
``read_checkpoint`` unwraps. Depths 18 and 34 shorten their shortcuts without weights (type A).
"""

from __future__ import annotations

from collections.abc import Mapping

from zoo.architectures.resnet_plan import PLANS
from zoo.spec import BackboneSpec
from zoo.weights.converters import Layout, resnet
from zoo.weights.files import Array, LayerArrays

SIGNS = ("conv1.weight", "bn1.running_mean", "layer1.0.conv1.weight", "layer4.0.conv2.weight")


def recognise(tensors: Mapping[str, Array]) -> Layout | None:
    """Tell which MedicalNet a state dict is of; see ``zoo.weights.converters``."""
    name = resnet.matching_plan(tensors, dims=3)
    if name is None:
        return None
    return Layout(
        publisher="medicalnet",
        backbone=name,
        converter="zoo.weights.converters.medicalnet:convert",
        classes=resnet.count_classes(tensors, "fc"),
        channels=int(tensors["conv1.weight"].shape[1]),
        preprocessing="none",
    )


def convert(tensors: Mapping[str, Array], spec: BackboneSpec) -> LayerArrays:
    """Translate a state dict into the arrays of the backbone ``spec``.

    The segmentation head (``conv_seg``) of MedicalNet's own network is left out.

    Raises:
        WeightsMismatchError: When a tensor is missing, left over or of another shape.
    """
    return resnet.convert_plan(tensors, PLANS[spec.name], dims=3)


def head(tensors: Mapping[str, Array]) -> list[Array] | None:
    """Give the classification layer, where someone has trained one (``fc``)."""
    return resnet.linear(tensors, "fc")
