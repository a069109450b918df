"""From a fingerprint to a plan: rules one can read, each decision with its reason.

The rules follow nnU-Net (Isensee et al., 2021, doi:10.1038/s41592-020-01008-z) where they can: the
median voxel, the median size as the patch where memory allows it, as deep as the patch allows.
They differ where a CPU with half an hour decides: narrower networks, and BatchNorm, which lets
whole volumes be predicted in exact tiles.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipes.errors import ConfigError
from recipes.segmentation.augmenting import side_reason
from recipes.segmentation.config import SegmentationConfig
from recipes.segmentation.fingerprint import Fingerprint
from recipes.segmentation.patchwise import (
    BATCH,
    BODY_SIDE,
    SIDES,
    check_choices,
    plan_classifier,
)
from recipes.segmentation.plan import Network, Plan, read_plan
from recipes.segmentation.sizes import SMALLEST, levels, step_memory, total_stride
from recipes.segmentation.spacing import THICK, resampled, target_spacing

FEW_SLICES = 12
"""Median slices below which thick volumes are cut into single slices with neighbours."""
NEIGHBOURS = 1
"""Slices on either side that 2.5D shows as channels."""
CPU_WIDTH, GPU_WIDTH = 16, 32
WIDEST = {2: 512, 3: 320}
LARGEST_PATCH = {2: 512, 3: 160}
CPU_PATCH = {2: 320**2, 3: 64 * 64 * 96}
"""Voxels of a patch on a CPU, at most."""
CPU_VOXELS = {2: 2 * 320**2, 3: 2**17}
"""Voxels of a step on a CPU, above two patches: more takes the time from the number of steps."""


@dataclass(frozen=True)
class Machine:
    """What there is to compute with.

    Attributes:
        memory_gb: Free memory, 10^9 bytes.
        gpu: Whether a GPU trains.
    """

    memory_gb: float
    gpu: bool


def this_machine(*, gpu: bool) -> Machine:
    """Free memory as the system tells it (4 GB where it does not)."""
    try:
        pages = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        pages = 4_000_000_000
    return Machine(memory_gb=pages / 1e9, gpu=gpu)


def make_plan(found: Fingerprint, config: SegmentationConfig, machine: Machine) -> Plan:
    """Plan a run.

    Args:
        found: Fingerprint of the training part.
        config: What the plan is told.
        machine: Memory, and whether a GPU trains.

    Returns:
        The plan with its reasons.

    Raises:
        ConfigError: A wish does not fit the data.
    """
    if config.plan.file is not None:
        plan = read_plan(Path(config.plan.file), found)
        if plan.network.kind == "patch":
            check_choices(config)
        return plan
    why: list[str] = []
    dims = _dims(found, config, why)
    axes = 3 if dims == 3 else 2
    spacing = target_spacing(found, config, why)
    kind = _kind(found, config, axes, why)
    if kind == "patch":
        check_choices(config)
    body = kind == "backbone" or (kind == "patch" and config.model.centre == "backbone")
    chain = _chain(found, spacing, body, why)
    shape, voxel = resampled(found, spacing)
    neighbours = NEIGHBOURS if dims == 2.5 else 0
    if neighbours:
        why.append(f"{neighbours} slice on either side as further channels")
    patch = _patch(shape[-axes:], config, axes, kind, why)
    memory = _memory(config, machine)
    patch, network = _fitting(patch, voxel[-axes:], found, config, kind, machine, memory, why)
    batch = _batch(patch, network, found, config, machine, memory, why)
    if (reason := side_reason(found, config)) is not None:
        why.append(reason)
    return Plan(
        dims=dims,
        neighbours=neighbours,
        spacing=spacing,
        chain=chain,
        patch=patch,
        batch=batch,
        channels=found.channels * (2 * neighbours + 1),
        classes=found.class_names,
        network=network,
        reasons=tuple(why),
    )


def _dims(found: Fingerprint, config: SegmentationConfig, why: list[str]) -> Any:
    wish = config.plan.dims
    if found.axes == 2:
        if wish not in ("auto", 2):
            raise ConfigError(f"plan.dims={wish}: the data are pictures; give 2 or auto")
        why.append("2D: the cases are pictures")
        return 2
    if wish != "auto":
        why.append(f"{wish:g}D, as asked")
        return wish
    if found.anisotropy >= THICK and found.shape[0] < FEW_SLICES:
        why.append(
            f"2.5D: voxels are {found.anisotropy:.1f} times as long as wide and a case has "
            f"{found.shape[0]} slices (below {FEW_SLICES})"
        )
        return 2.5
    why.append(
        f"3D: a case has {_by(found.shape)} voxels, {found.anisotropy:.1f} times anisotropic"
    )
    return 3


def _kind(found: Fingerprint, config: SegmentationConfig, axes: int, why: list[str]) -> Any:
    wish = config.model.network
    if wish == "vnet" and axes == 2:
        raise ConfigError("model.network=vnet is 3D; the plan is 2D: give unet or backbone")
    if wish != "auto":
        why.append(f"network {wish}, as asked")
        return wish
    if axes == 2:
        why.append(
            f"encoder {config.model.backbone} ({config.model.weights}): in 2D pretrained features "
            "save labelled cases"
        )
        return "backbone"
    why.append("a U-Net from scratch: there are no pretrained 3D weights offline")
    return "unet"


def _chain(
    found: Fingerprint, spacing: tuple[float, ...] | None, body: bool, why: list[str]
) -> tuple[dict[str, Any], ...]:
    steps: list[dict[str, Any]] = []
    if found.stored != (found.channels,):
        steps.append({"step": "channels", "count": found.channels})
        why.append(
            f"{found.channels} channel{'s' if found.channels > 1 else ''}: files store "
            f"{' or '.join(map(str, found.stored))}"
            + (", all of them grey" if found.channels == 1 else "")
        )
    if found.orientation is not None:
        steps.append({"step": "reorient", "to": found.orientation})
        why.append(
            f"axes turned to {found.orientation}, as most cases lie: files may lie otherwise"
        )
    if spacing is not None:
        steps.append({"step": "resample", "spacing": list(spacing), "mask": "onehot"})
    if (found.modality or "").upper() == "CT" and found.channels == 1:
        one = found.intensity[0]
        low, high = one.low, max(one.high, one.low + 1.0)
        steps.append({"step": "windows", "windows": [[(low + high) / 2, high - low]]})
        where = "foreground" if any(found.present.values()) else "voxels"
        why.append(
            f"CT: {low:.0f} to {high:.0f} HU to 0-1, the 0.5th and 99.5th percentile of the "
            f"{where} of all training cases"
        )
    elif body and found.integer8:
        why.append("8-bit pictures as they are: the encoder scales 0-255 itself")
    elif body:
        steps.append({"step": "normalize", "how": "percentile"})
        why.append("each case from its 0.5th to its 99.5th percentile to 0-1")
    else:
        steps.append({"step": "normalize", "how": "zscore"})
        why.append("each case to mean 0 and standard deviation 1, clipped at 0.5% and 99.5%")
    return tuple(steps)


def _patch(
    shape: tuple[int, ...], config: SegmentationConfig, axes: int, kind: str, why: list[str]
) -> tuple[int, ...]:
    wish = config.plan.patch
    if wish != "auto":
        if len(wish) != axes:
            raise ConfigError(f"plan.patch={list(wish)}: a {axes}D plan wants {axes} sides")
        if kind == "patch" and any(side % 2 == 0 for side in wish):
            raise ConfigError(
                f"plan.patch={list(wish)}: a patch classifier wants odd sides, whose centre is a "
                "voxel"
            )
        why.append(f"patch {_by(wish)}, as asked")
        return tuple(wish)
    if kind == "patch":
        most = BODY_SIDE if config.model.centre == "backbone" else SIDES[axes]
        patch = tuple(min(most, side - 1 + side % 2) for side in shape)
        why.append(f"patch {_by(patch)}: a classifier of its centre, at most {most} a side")
        return patch
    most = LARGEST_PATCH[axes] if config.plan.largest == "auto" else config.plan.largest
    patch = tuple(min(side, most) for side in shape)
    why.append(f"patch from the median size {_by(shape)}, at most {most} a side")
    return patch


def _network(
    patch: tuple[int, ...],
    voxel: tuple[float, ...],
    found: Fingerprint,
    config: SegmentationConfig,
    kind: Any,
    machine: Machine,
    why: list[str],
) -> Network:
    model = config.model
    eight = found.integer8 and (found.modality or "").upper() != "CT"
    if kind == "backbone":
        return Network(
            kind=kind,
            norm=model.norm,
            backbone=model.backbone,
            decoder=model.decoder,
            weights=model.weights,
            input_range=(0.0, 255.0) if eight else (0.0, 1.0),
            deep_supervision=model.deep_supervision,
        )
    if kind == "patch":
        return plan_classifier(config, patch, why, eight=eight)
    first = config.plan.width
    if first == "auto":
        first = GPU_WIDTH if machine.gpu else CPU_WIDTH
        why.append(f"{first} channels at the finest level: {'a GPU' if machine.gpu else 'a CPU'}")
    strides, kernels = levels(patch, voxel)
    widths = tuple(min(WIDEST[len(patch)], first * 2**k) for k in range(len(strides)))
    why.append(
        f"{len(widths)} levels: the coarsest keeps {SMALLEST} voxels along each halved axis; axes "
        "twice as coarse as the finest are halved later"
    )
    return Network(
        kind=kind,
        widths=widths,
        strides=strides,
        kernels=kernels,
        norm=model.norm,
        deep_supervision=model.deep_supervision and len(widths) > 2,
    )


def _rounded(
    patch: tuple[int, ...], network: Network, why: list[str], *, up: bool
) -> tuple[int, ...]:
    """Multiples of the network's stride: the next ones, or the nearest where time is short."""
    total = total_stride(network, len(patch))
    sides = tuple(
        max(1, math.ceil(n / t) if up else math.ceil(n / t - 0.5)) * t
        for n, t in zip(patch, total, strict=True)
    )
    if sides != patch:
        how = "rounded up" if up else "rounded, as a CPU's time is short,"
        why.append(f"patch {_by(patch)} {how} to {_by(sides)}, multiples of {_by(total)}")
    return sides


def _memory(config: SegmentationConfig, machine: Machine) -> float:
    wish = config.plan.memory_gb
    return min(8.0, 0.5 * machine.memory_gb) if wish == "auto" else wish


def _fitting(
    patch: tuple[int, ...],
    voxel: tuple[float, ...],
    found: Fingerprint,
    config: SegmentationConfig,
    kind: Any,
    machine: Machine,
    memory: float,
    why: list[str],
) -> tuple[tuple[int, ...], Network]:
    """The largest patch of which two fit memory, and a CPU's time, and the network for it."""
    classes = len(found.class_names)
    asked = config.plan.patch != "auto"
    most = math.inf if machine.gpu or asked else CPU_PATCH[len(patch)]
    began, cut = patch, list[str]()
    while True:
        steps: list[str] = []
        network = _network(patch, voxel, found, config, kind, machine, steps)
        patch = _rounded(patch, network, steps, up=machine.gpu or asked)
        needed = step_memory(patch, network, classes, 2)
        smaller = _cut(patch, voxel, total_stride(network, len(patch)))
        slow = math.prod(patch) > most and smaller is not None
        if needed <= memory and not slow:
            if cut:
                reason = " and ".join(dict.fromkeys(cut))
                why.append(f"patch {_by(began)} cut to {_by(patch)}: {reason}")
            why += steps
            return patch, network
        if smaller is None:
            raise ConfigError(
                f"plan.memory_gb={memory:g} is too little: two patches of {_by(patch)} need "
                f"{needed:.2f}"
            )
        if kind == "patch":
            smaller = tuple(side - 1 + side % 2 for side in smaller)
        cut.append("a CPU's time is short" if slow else f"two need more than {memory:.1f} GB")
        patch = smaller


def _cut(
    patch: tuple[int, ...], voxel: tuple[float, ...], total: tuple[int, ...]
) -> tuple[int, ...] | None:
    """A stride off the physically longest side; where no side is longer than it, half that side."""
    order = sorted(range(len(patch)), key=lambda a: patch[a] * voxel[a], reverse=True)
    for axis in order:
        if patch[axis] > total[axis] > 1:
            return tuple(n - total[axis] if a == axis else n for a, n in enumerate(patch))
    axis = order[0]
    if patch[axis] < 4 * SMALLEST:
        return None
    return tuple(n // 2 if a == axis else n for a, n in enumerate(patch))


def _batch(
    patch: tuple[int, ...],
    network: Network,
    found: Fingerprint,
    config: SegmentationConfig,
    machine: Machine,
    memory: float,
    why: list[str],
) -> int:
    """Patches in a step."""
    if config.plan.batch != "auto":
        why.append(f"{config.plan.batch} patches in a step, as asked")
        return config.plan.batch
    classes = len(found.class_names)
    if network.kind == "patch":
        batch = BATCH[len(patch)] * (4 if machine.gpu else 1)
        while batch > 2 and step_memory(patch, network, classes, batch) > memory:
            batch //= 2
        why.append(f"{batch} patches in a step")
        return batch
    most = 32 if machine.gpu else min(32, max(2, CPU_VOXELS[len(patch)] // math.prod(patch)))
    batch = 2
    while batch < most and step_memory(patch, network, classes, batch + 1) <= memory:
        batch += 1
    needed = step_memory(patch, network, classes, batch)
    limit = "memory" if batch < most else ("the most used" if machine.gpu else "the CPU's time")
    why.append(
        f"{batch} patches in a step, about {needed:.1f} of {memory:.1f} GB; the limit is {limit}"
    )
    return batch


def _by(sides: Any) -> str:
    return " x ".join(str(side) for side in sides)
