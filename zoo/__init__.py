"""Pretrained backbones for radiology: a registry, their weights, heads and fine-tuning.

``import zoo`` loads neither Keras nor numpy; each name is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo.backbones import create_backbone
    from zoo.boxes import box_places, create_box_detector
    from zoo.classics import alexnet, lenet5, multilayer_perceptron
    from zoo.errors import (
        FrozenMovedError,
        NotExactError,
        UnknownBackboneError,
        WeightsMismatchError,
        WeightsNotFoundError,
        ZooError,
    )
    from zoo.finetune import FineTunePolicy, merge_adapters
    from zoo.heads import (
        attention_map,
        create_model,
        fit_standardization,
        ordinal_decode,
        ordinal_probabilities,
        split_head,
    )
    from zoo.imagenet import imagenet_classifier
    from zoo.inference import for_inference
    from zoo.listing import backbone_table
    from zoo.patch import patch_classifier, patch_field, to_dense
    from zoo.receptive_field import receptive_field
    from zoo.registry import get_spec, list_backbones, register
    from zoo.residual_unet import residual_unet3d
    from zoo.segmenters import create_segmenter
    from zoo.spec import BackboneSpec, WeightSpec
    from zoo.unet_budget import unet_for_budget
    from zoo.unets import build_unet, unet
    from zoo.unpadded import patch_backbone
    from zoo.weights.importing import import_weights
    from zoo.weights.inventory import weight_table

_HOME_OF = {
    "BackboneSpec": "zoo.spec",
    "FineTunePolicy": "zoo.finetune",
    "FrozenMovedError": "zoo.errors",
    "NotExactError": "zoo.errors",
    "UnknownBackboneError": "zoo.errors",
    "WeightSpec": "zoo.spec",
    "WeightsMismatchError": "zoo.errors",
    "WeightsNotFoundError": "zoo.errors",
    "ZooError": "zoo.errors",
    "alexnet": "zoo.classics",
    "attention_map": "zoo.heads",
    "backbone_table": "zoo.listing",
    "box_places": "zoo.boxes",
    "build_unet": "zoo.unets",
    "create_backbone": "zoo.backbones",
    "create_box_detector": "zoo.boxes",
    "create_model": "zoo.heads",
    "create_segmenter": "zoo.segmenters",
    "fit_standardization": "zoo.heads",
    "for_inference": "zoo.inference",
    "get_spec": "zoo.registry",
    "imagenet_classifier": "zoo.imagenet",
    "import_weights": "zoo.weights.importing",
    "lenet5": "zoo.classics",
    "list_backbones": "zoo.registry",
    "merge_adapters": "zoo.finetune",
    "multilayer_perceptron": "zoo.classics",
    "ordinal_decode": "zoo.heads",
    "ordinal_probabilities": "zoo.heads",
    "patch_backbone": "zoo.unpadded",
    "patch_classifier": "zoo.patch",
    "patch_field": "zoo.patch",
    "receptive_field": "zoo.receptive_field",
    "register": "zoo.registry",
    "residual_unet3d": "zoo.residual_unet",
    "split_head": "zoo.heads",
    "to_dense": "zoo.patch",
    "unet": "zoo.unets",
    "unet_for_budget": "zoo.unet_budget",
    "weight_table": "zoo.weights.inventory",
}

__all__ = [
    "BackboneSpec",
    "FineTunePolicy",
    "FrozenMovedError",
    "NotExactError",
    "UnknownBackboneError",
    "WeightSpec",
    "WeightsMismatchError",
    "WeightsNotFoundError",
    "ZooError",
    "alexnet",
    "attention_map",
    "backbone_table",
    "box_places",
    "build_unet",
    "create_backbone",
    "create_box_detector",
    "create_model",
    "create_segmenter",
    "fit_standardization",
    "for_inference",
    "get_spec",
    "imagenet_classifier",
    "import_weights",
    "lenet5",
    "list_backbones",
    "merge_adapters",
    "multilayer_perceptron",
    "ordinal_decode",
    "ordinal_probabilities",
    "patch_backbone",
    "patch_classifier",
    "patch_field",
    "receptive_field",
    "register",
    "residual_unet3d",
    "split_head",
    "to_dense",
    "unet",
    "unet_for_budget",
    "weight_table",
]


def __getattr__(name: str) -> Any:
    """Import the module that defines ``name`` (PEP 562)."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'zoo' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *_HOME_OF})
