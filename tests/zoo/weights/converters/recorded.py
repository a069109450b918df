"""Narrow networks whose key layout and outputs are recorded from PyTorch, and their values.

The values are drawn by numpy from the names and shapes, here and where PyTorch's outputs were
recorded (``tests/zoo/record/torch_networks.py``), so only layouts and outputs are stored.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np

from zoo.architectures.densenet_plan import DenseNetPlan
from zoo.architectures.resnet_plan import ResNetPlan
from zoo.architectures.vgg_plan import VGGPlan

Array = np.ndarray
CLASSES = 5
PLANS: dict[str, ResNetPlan | DenseNetPlan | VGGPlan] = {
    "resnet": ResNetPlan(repeats=(1, 2, 1, 1), bottleneck=False, filters=8, width=8),
    "resnext": ResNetPlan(repeats=(1, 1, 2, 1), bottleneck=True, filters=8, width=8, groups=2),
    "resnet_d": ResNetPlan(
        repeats=(2, 1, 1, 1),
        bottleneck=True,
        filters=8,
        width=8,
        deep_stem=True,
        shortcut="pool",
    ),
    "densenet": DenseNetPlan(growth=4, stem=8, repeats=(2, 1, 2, 1)),
    "vgg": VGGPlan(repeats=(1, 1, 2, 2, 2), filters=(4, 6, 8, 10, 12)),
    "vgg_bn": VGGPlan(repeats=(1, 1, 2, 2, 2), filters=(4, 6, 8, 10, 12), norm=True),
    "medicalnet_a": ResNetPlan(
        repeats=(1, 2, 1, 1),
        bottleneck=False,
        filters=4,
        width=4,
        stem=4,
        shortcut="pad",
        strides=(1, 2, 1, 1),
        dilations=(1, 1, 2, 4),
    ),
    "medicalnet_b": ResNetPlan(
        repeats=(1, 1, 1, 1),
        bottleneck=True,
        filters=4,
        width=4,
        stem=4,
        strides=(1, 2, 1, 1),
        dilations=(1, 1, 2, 4),
    ),
}


def dims(name: str) -> int:
    """Tell the networks of volumes from those of pictures."""
    return 3 if name.startswith("medicalnet") else 2


def inputs(name: str) -> Array:
    """Draw ``(1, channels, *sides)``, odd sides among them."""
    shape = (1, 1, 17, 24, 21) if dims(name) == 3 else (1, 3, 37, 65)
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def draw(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Array]:
    """Draw a state dict in which the signal survives to the top and every norm matters."""
    return {name: _draw(name, tuple(shape)) for name, shape in shapes.items()}


def _draw(name: str, shape: tuple[int, ...]) -> Array:
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, "int64")
    if len(shape) > 1:
        return rng.normal(0.0, np.sqrt(2.0 / np.prod(shape[1:])), shape).astype("float32")
    if name.endswith(("bias", "running_mean")):
        return rng.normal(0.0, 0.1, shape).astype("float32")
    return rng.uniform(0.5, 1.5, shape).astype("float32")
