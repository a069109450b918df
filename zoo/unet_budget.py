"""A U-Net sized by patch, spacing and memory, by rules that say why.

The rules follow nnU-Net (Isensee et al., 2021, doi:10.1038/s41592-020-01008-z) and its residual
encoder variant (Isensee et al., 2024, arXiv:2404.09556): as deep as the patch allows, thick axes
halved later, widths doubled up to a cap, and what memory is left spent on the batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras

from zoo.errors import ZooError
from zoo.unets import UNetPlan, build_unet

SMALLEST = 4
"""Least side of the coarsest map along an axis that is halved."""
FIRST_WIDTH = 32
WIDEST = {2: 512, 3: 320}
LEAST_BATCH = 2
RESIDUAL_BLOCKS = (1, 3, 4, 6, 6, 6, 6, 6)
TENSORS = 3
"""Maps kept per convolution until the backward pass: convolution, norm, activation."""
_FLOAT = 4
_PER_PARAMETER = 4
"""Copies of the weights: themselves, gradients, and two moments of Adam."""

RESERVE = 1.3
"""What a step takes beyond its maps and weights (scratch of convolutions, fragmentation)."""


@dataclass(frozen=True, kw_only=True)
class BudgetPlan:
    """A U-Net that fits a memory budget, and why it looks as it does.

    Attributes:
        network: Levels, strides, kernels and widths.
        patch: Patch in voxels; smaller than asked for where memory demanded it.
        channels: Input channels.
        classes: Logits per voxel.
        batch: Patches per step.
        memory_gb: The budget, 10^9 bytes.
        estimate_gb: Estimated peak of a training step, 10^9 bytes.
        reasons: One sentence per decision, in the order they were taken.
    """

    network: UNetPlan
    patch: tuple[int, ...]
    channels: int
    classes: int
    batch: int
    memory_gb: float
    estimate_gb: float
    reasons: tuple[str, ...]


def unet_for_budget(
    *,
    patch: Sequence[int],
    spacing: Sequence[float],
    channels: int,
    classes: int,
    memory_gb: float,
    residual: bool = False,
    dims: int | None = None,
    largest_batch: int = 32,
) -> BudgetPlan:
    """Plan a U-Net with instance norm, leaky ReLU and strided convolutions for a memory budget.

    Args:
        patch: Wanted patch in voxels, ``(height, width)`` or ``(depth, height, width)``; sides are
            rounded up to multiples of their stride, and cut where a batch of 2 does not fit.
        spacing: Spacing along the same axes, mm.
        channels: Input channels.
        classes: Logits per voxel.
        memory_gb: Memory for a training step in float32 with Adam, 10^9 bytes.
        residual: Residual blocks in the encoder (1, 3, 4, 6, 6 ... per level) and one convolution
            per level on the way up, instead of two convolutions on both sides.
        dims: 2 or 3, to have the length of ``patch`` checked.
        largest_batch: Where the batch stops growing.

    Returns:
        The plan; ``build`` makes the network.

    Raises:
        ZooError: For arguments out of range, or a budget that not even the smallest patch fits.
    """
    _check(patch, spacing, channels, classes, memory_gb, dims)
    reasons: list[str] = []
    sides = tuple(int(side) for side in patch)
    while True:
        steps: list[str] = []
        network = _network(sides, spacing, residual, steps)
        rounded = _round_up(sides, network)
        if rounded != sides:
            steps.append(f"patch {_by(sides)} rounded up to {_by(rounded)}, multiples of strides")

        def needed(batch: int, plan: UNetPlan = network, size: tuple[int, ...] = rounded) -> float:
            return estimate_memory(
                plan, patch=size, channels=channels, classes=classes, batch=batch
            )

        if needed(LEAST_BATCH) <= memory_gb:
            break
        smaller = _cut(sides, spacing, network)
        if smaller is None:
            raise ZooError(
                f"memory_gb {memory_gb} is too little: a batch of {LEAST_BATCH} patches of "
                f"{_by(rounded)} needs {needed(LEAST_BATCH):.2f}; raise it or use fewer classes"
            )
        reasons.append(
            f"patch {_by(sides)} cut to {_by(smaller)}: a batch of {LEAST_BATCH} would need "
            f"{needed(LEAST_BATCH):.2f} of {memory_gb} GB"
        )
        sides = smaller
    batch = LEAST_BATCH
    while batch < largest_batch and needed(batch + 1) <= memory_gb:
        batch += 1
    limit = "the most allowed" if batch == largest_batch else f"{batch + 1} would not fit"
    steps.append(f"batch {batch}, {needed(batch):.2f} of {memory_gb} GB: {limit}")
    return BudgetPlan(
        network=network,
        patch=rounded,
        channels=channels,
        classes=classes,
        batch=batch,
        memory_gb=memory_gb,
        estimate_gb=needed(batch),
        reasons=(*reasons, *steps),
    )


def build(plan: BudgetPlan, *, deep_supervision: bool = False) -> keras.Model:
    """Build the network of a plan: ``budget_unet``, as ``zoo.unets.build_unet`` describes it."""
    return build_unet(
        plan.network,
        input_shape=(*plan.patch, plan.channels),
        classes=plan.classes,
        deep_supervision=deep_supervision,
        name="budget_unet",
    )


def _network(
    sides: tuple[int, ...], spacing: Sequence[float], residual: bool, reasons: list[str]
) -> UNetPlan:
    """Choose levels, strides, kernels and widths, noting why."""
    dims, size, space = len(sides), list(sides), [float(one) for one in spacing]
    strides, kernels = [(1,) * dims], [_kernel(space)]
    while True:
        finest = min(space)
        axes = [a for a in range(dims) if size[a] >= 2 * SMALLEST]
        near = [a for a in axes if space[a] < 2 * finest or len(axes) == 1]
        if not near:
            break
        strides.append(tuple(2 if a in near else 1 for a in range(dims)))
        for a in near:
            size[a], space[a] = -(-size[a] // 2), space[a] * 2
        kernels.append(_kernel(space, before=kernels[-1]))
    levels = len(strides)
    if levels < 2:
        raise ZooError(f"patch {_by(sides)} is too small: one side must have {2 * SMALLEST}")
    reasons.append(
        f"{levels} levels: sides {_by(sides)} halved to {_by(size)}; none below {SMALLEST}"
    )
    late = [stride for stride in strides[1:] if min(stride) == 1]
    if late:
        reasons.append(
            f"{len(late)} of {levels - 1} halvings leave an axis: it is twice as coarse as the "
            "finest one, or too short"
        )
    if any(1 in kernel for kernel in kernels):
        reasons.append("kernels of 1 along axes at least twice as coarse as the finest")
    cap = WIDEST[dims]
    widths = tuple(min(cap, FIRST_WIDTH * 2**level) for level in range(levels))
    reasons.append(f"widths {', '.join(map(str, widths))}: doubled from {FIRST_WIDTH} up to {cap}")
    blocks = (*RESIDUAL_BLOCKS, *(RESIDUAL_BLOCKS[-1],) * levels)[:levels]
    return UNetPlan(
        widths=widths,
        strides=tuple(strides),
        kernels=tuple(kernels),
        encoder_blocks=blocks if residual else (2,) * levels,
        decoder_blocks=(1 if residual else 2,) * (levels - 1),
        norm="instance",
        activation="leaky_relu",
        residual=residual,
        downsampling="stride",
    )


def _kernel(space: Sequence[float], before: tuple[int, ...] | None = None) -> tuple[int, ...]:
    """Take 3 along axes of about the finest spacing, 1 along coarser ones; 3 stays 3."""
    finest = min(space)
    kernel = tuple(3 if one < 2 * finest else 1 for one in space)
    return kernel if before is None else tuple(map(max, kernel, before))


def _total(network: UNetPlan) -> tuple[int, ...]:
    return tuple(math.prod(axis) for axis in zip(*network.strides, strict=True))


def _round_up(sides: tuple[int, ...], network: UNetPlan) -> tuple[int, ...]:
    return tuple(-(-s // t) * t for s, t in zip(sides, _total(network), strict=True))


def _cut(
    sides: tuple[int, ...], spacing: Sequence[float], network: UNetPlan
) -> tuple[int, ...] | None:
    """Take one stride off the physically longest side that can be cut."""
    total = _total(network)
    able = [a for a, side in enumerate(sides) if side - total[a] >= SMALLEST and total[a] > 1]
    if not able:
        return None
    longest = max(able, key=lambda a: sides[a] * spacing[a])
    smaller = tuple(s - total[a] if a == longest else s for a, s in enumerate(sides))
    return smaller if max(smaller) >= 2 * SMALLEST else None


def kept_values(network: UNetPlan, *, patch: Sequence[int], classes: int) -> tuple[int, int]:
    """Count the values that a training step keeps per patch, and those of the largest map.

    Args:
        network: The U-Net, with a norm.
        patch: Patch in voxels.
        classes: Logits per voxel.

    Returns:
        Values of all maps kept for the backward pass, and of the largest joined map.
    """
    size, total, largest = tuple(patch), 0, 0
    voxels: list[int] = []
    for index, width in enumerate(network.widths):
        size = tuple(-(-n // s) for n, s in zip(size, network.strides[index], strict=True))
        voxels.append(math.prod(size))
        blocks = network.encoder_blocks[index]
        shrinks = max(network.strides[index]) > 1
        if network.residual:
            before = network.widths[index - 1] if index else -1
            # Two convolutions, the sum and its activation take the place of one activation.
            total += blocks * (2 * TENSORS + 1) * width * voxels[-1]
            total += (2 * width if before != width else 0) * voxels[-1]
            total += (max(before, 0) if shrinks else 0) * voxels[-1]
        else:
            total += blocks * TENSORS * width * voxels[-1]
    for index, width in enumerate(network.widths[:-1]):
        joined = 2 * width * voxels[index]
        # The upsampled map, its join with the skip, the convolutions.
        total += width * voxels[index] + joined
        total += network.decoder_blocks[index] * TENSORS * width * voxels[index]
        largest = max(largest, joined)
    return total + classes * voxels[0], largest


def parameters(network: UNetPlan, *, channels: int, classes: int) -> int:
    """Count the parameters of a strided U-Net with norms, in closed form."""
    count, before = 0, channels
    for index, width in enumerate(network.widths):
        taps = math.prod(network.kernels[index])
        for block in range(network.encoder_blocks[index]):
            count += taps * before * width + 2 * width
            if network.residual:
                count += taps * width * width + 2 * width
                count += before * width + 2 * width if before != width and block == 0 else 0
            before = width
    for index, width in enumerate(network.widths[:-1]):
        taps = math.prod(network.kernels[index])
        count += math.prod(network.strides[index + 1]) * network.widths[index + 1] * width + width
        for block in range(network.decoder_blocks[index]):
            count += taps * (2 * width if block == 0 else width) * width + 2 * width
    return count + network.widths[0] * classes + classes


def estimate_memory(
    network: UNetPlan, *, patch: Sequence[int], channels: int, classes: int, batch: int
) -> float:
    """Estimate the peak memory of a training step in float32 with Adam.

    Maps kept for the backward pass, gradients of the largest joined map and of what it comes from,
    four copies of the weights, and ``RESERVE``. ``benchmarks/unet_memory.py`` compares it with
    measured peaks.

    Returns:
        10^9 bytes, without what TensorFlow itself takes.
    """
    kept, largest = kept_values(network, patch=patch, classes=classes)
    weights = _PER_PARAMETER * parameters(network, channels=channels, classes=classes)
    return RESERVE * _FLOAT * (batch * (kept + 2 * largest) + weights) / 1e9


def with_batch(plan: BudgetPlan, batch: int) -> BudgetPlan:
    """Give the plan another batch, estimate included.

    Raises:
        ZooError: For a batch below 1.
    """
    if batch < 1:
        raise ZooError(f"batch is {batch}; give at least 1")
    estimate = estimate_memory(
        plan.network, patch=plan.patch, channels=plan.channels, classes=plan.classes, batch=batch
    )
    return replace(plan, batch=batch, estimate_gb=estimate)


def _by(sides: Sequence[Any]) -> str:
    return "x".join(str(side) for side in sides)


def _check(
    patch: Sequence[int],
    spacing: Sequence[float],
    channels: int,
    classes: int,
    memory_gb: float,
    dims: int | None,
) -> None:
    if len(patch) not in (2, 3) or (dims is not None and len(patch) != dims):
        raise ZooError(f"patch {tuple(patch)} must have {dims or '2 or 3'} sides")
    if any(not isinstance(side, int) or side < 1 for side in patch):
        raise ZooError(f"patch {tuple(patch)} must be whole numbers of voxels")
    if len(spacing) != len(patch) or any(not 0 < one < math.inf for one in spacing):
        raise ZooError(f"spacing {tuple(spacing)} must be {len(patch)} positive numbers, mm")
    for name, value in (("channels", channels), ("classes", classes)):
        if not isinstance(value, int) or value < 1:
            raise ZooError(f"{name} is {value!r}; give a whole number of at least 1")
    if not 0 < memory_gb < math.inf:
        raise ZooError(f"memory_gb is {memory_gb}; give a positive number of 10^9 bytes")
