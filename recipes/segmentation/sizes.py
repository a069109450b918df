"""How deep a network may be on a patch, and what a training step of it takes."""

from __future__ import annotations

import math
from dataclasses import replace

from recipes.segmentation.plan import Network
from zoo.unet_budget import estimate_memory
from zoo.unets import UNetPlan

SMALLEST = 4
"""Least side of the coarsest map."""


def levels(
    patch: tuple[int, ...], voxel: tuple[float, ...]
) -> tuple[tuple[tuple[int, ...], ...], tuple[tuple[int, ...], ...]]:
    """Strides and kernels per level."""
    axes = len(patch)
    size, space = [float(n) for n in patch], list(voxel)

    def kernel() -> tuple[int, ...]:
        return tuple(3 if one < 2 * min(space) else 1 for one in space)

    strides, kernels = [(1,) * axes], [kernel()]
    while len(strides) < 6:
        able = [a for a in range(axes) if size[a] >= 2 * SMALLEST]
        near = [a for a in able if space[a] < 2 * min(space) or len(able) == 1]
        if not near:
            break
        strides.append(tuple(2 if a in near else 1 for a in range(axes)))
        for a in near:
            size[a], space[a] = math.ceil(size[a] / 2), space[a] * 2
        kernels.append(tuple(max(a, b) for a, b in zip(kernel(), kernels[-1], strict=True)))
    return tuple(strides), tuple(kernels)


def total_stride(network: Network, axes: int) -> tuple[int, ...]:
    """By how much the coarsest level is smaller, along each axis."""
    if network.kind == "patch":
        return (1,) * axes
    if network.kind in ("backbone", "vnet"):
        return (32 if network.kind == "backbone" else 16,) * axes
    return tuple(math.prod(axis) for axis in zip(*network.strides, strict=True))


def step_memory(patch: tuple[int, ...], network: Network, classes: int, batch: int) -> float:
    """Estimated peak of a training step, 10^9 bytes.

    For networks from scratch `zoo.unet_budget.estimate_memory`; for a pretrained encoder under a
    decoder a rule of thumb of 600 kept floats a pixel in 2D, a third more in 3D, half for a body
    alone, not measured.
    """
    if network.kind == "patch" and network.backbone is not None:
        return batch * math.prod(patch) * 300 * 4 / 1e9 + 0.3
    if network.kind == "patch":  # two convolutions a stage, their norms and gradients
        floats = sum(12.0 * w * 0.5 ** (len(patch) * k) for k, w in enumerate(network.widths))
        return float(batch * math.prod(patch) * floats * 4 / 1e9 + 0.1)
    if network.kind in ("backbone", "vnet"):
        per_voxel = 600 if len(patch) == 2 else 800
        return batch * math.prod(patch) * per_voxel * 4 / 1e9 + 0.3
    levels = len(network.widths)
    plan = UNetPlan(
        widths=network.widths,
        strides=network.strides,
        kernels=network.kernels,
        encoder_blocks=(2,) * levels,
        decoder_blocks=(2,) * (levels - 1),
        norm=network.norm,
    )
    if network.kind == "residual":
        plan = replace(plan, residual=True)
    return estimate_memory(plan, patch=patch, channels=1, classes=classes, batch=batch)
