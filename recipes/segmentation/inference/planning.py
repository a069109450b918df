"""How an image is taken through a network: at once, in exact tiles, or in blended windows."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from recipes.segmentation.inference.errors import InferenceError, OutOfMemoryError
from recipes.segmentation.inference.network import Network
from recipes.segmentation.inference.windows import Sides, window_starts
from zoo.errors import NotExactError
from zoo.inference import by

MODES = ("auto", "tiles", "blend")
CANDIDATES = 24
"""Window sizes that are tried along an axis."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How an image is taken through a network.

    Attributes:
        mode: ``"whole"``: one pass; ``"tiles"``: tiles whose joined results are those of one pass;
            ``"blend"``: overlapping windows, averaged with Gaussian weights.
        size: Spatial sizes with the zeros around the image.
        window: Spatial sizes of one pass.
        halo: Samples around a tile whose results are thrown away; all 0 unless ``"tiles"``.
        starts: Per axis the first samples of the windows.
        batch: Windows per pass.
        estimate_gb: Estimated memory of one pass, 10^9 bytes.
        reason: Why this mode.
    """

    mode: str
    size: Sides
    window: Sides
    halo: Sides
    starts: tuple[tuple[int, ...], ...]
    batch: int
    estimate_gb: float
    reason: str

    @property
    def passes(self) -> int:
        """Windows of one view."""
        return math.prod(len(line) for line in self.starts)

    @property
    def work(self) -> int:
        """Samples that go through the network, repeated ones counted each time."""
        return self.passes * math.prod(self.window)


def plan_inference(
    networks: Sequence[Network],
    shape: Sequence[int],
    *,
    mode: str = "auto",
    overlap: float = 0.5,
    memory_gb: float = 1.5,
    batch_size: int | None = None,
) -> Plan:
    """Choose how an image is taken through networks.

    Args:
        networks: Members of an ensemble, all trained on one patch size.
        shape: Spatial sizes of the image.
        mode: ``"auto"``: tiles where they are exact and no more work than windows, else windows;
            ``"tiles"`` or ``"blend"``: that.
        overlap: Part of a window that the next one repeats, in [0, 1).
        memory_gb: What one pass may take, 10^9 bytes.
        batch_size: Windows per pass; None: 1 on tiles, for windows what fits, 4 at most.

    Returns:
        The plan.

    Raises:
        NotExactError: Tiles were asked for, and the network's result on a part of an image is
            another than on the whole.
        OutOfMemoryError: Not even the smallest window fits ``memory_gb``.
        InferenceError: For arguments out of range.
    """
    _check(networks, shape, mode, overlap, memory_gb, batch_size)
    why_not = next((n.reach.reason for n in networks if n.reach.halo is None), "")
    if mode == "tiles" and why_not:
        raise NotExactError(f'tiles are not exact: {why_not}; choose mode="blend"')
    if mode == "blend" or why_not:
        reason = f"windows, since tiles are not exact: {why_not}" if why_not else "as asked"
        return _windows(networks, shape, overlap, memory_gb, batch_size, reason)
    tiles = _tiles(networks, shape, memory_gb)
    if mode == "tiles":
        if tiles is None:
            raise OutOfMemoryError(_too_small(networks, memory_gb))
        return tiles
    if tiles is not None and tiles.mode == "whole":
        return tiles
    if tiles is None:
        reason = f"windows, since no tile with its halo fits {memory_gb} GB"
        return _windows(networks, shape, overlap, memory_gb, batch_size, reason)
    blend = _windows(networks, shape, overlap, memory_gb, batch_size, "")
    if tiles.work <= blend.work:
        return tiles
    reason = (
        f"windows, since tiles within {memory_gb} GB are {tiles.work / blend.work:.1f}x the work"
    )
    return _windows(networks, shape, overlap, memory_gb, batch_size, reason)


def _windows(
    networks: Sequence[Network],
    shape: Sequence[int],
    overlap: float,
    memory_gb: float,
    batch_size: int | None,
    reason: str,
) -> Plan:
    patch = networks[0].patch
    size = tuple(max(n, p) for n, p in zip(shape, patch, strict=True))
    starts = tuple(tuple(window_starts(n, p, overlap)) for n, p in zip(size, patch, strict=True))
    one = max(network.bytes_for(patch) for network in networks) / 1e9
    count = math.prod(len(line) for line in starts)
    batch = batch_size or max(1, min(4, count, int(memory_gb / one)))
    return Plan(
        mode="blend",
        size=size,
        window=patch,
        halo=(0,) * len(size),
        starts=starts,
        batch=batch,
        estimate_gb=batch * one,
        reason=reason,
    )


def _tiles(networks: Sequence[Network], shape: Sequence[int], memory_gb: float) -> Plan | None:
    """Find the tiles of least work within memory; None where none fits."""
    aligned = [math.lcm(*axis) for axis in zip(*(n.reach.alignment for n in networks), strict=True)]
    reach = [max(axis) for axis in zip(*(n.reach.halo or () for n in networks), strict=True)]
    halo = tuple(-(-h // a) * a for h, a in zip(reach, aligned, strict=True))
    patch = networks[0].patch
    size = tuple(-(-max(n, p) // a) * a for n, p, a in zip(shape, patch, aligned, strict=True))
    # Memory grows with the samples of a pass, whatever its shape.
    most = int(memory_gb * 1e9 / max(network.bytes_for((1,) * len(size)) for network in networks))
    axes = [_lengths(*axis) for axis in zip(size, halo, aligned, strict=True)]
    best: tuple[int, Sides] | None = None
    for window in itertools.product(*axes):
        if math.prod(window) > most:
            continue
        counts = (len(tile_starts(*axis)) for axis in zip(size, window, halo, strict=True))
        work = math.prod(counts) * math.prod(window)
        if best is None or work < best[0]:
            best = work, window
    if best is None:
        return None
    window = best[1]
    whole = window == size
    return Plan(
        mode="whole" if whole else "tiles",
        size=size,
        window=window,
        halo=(0,) * len(size) if whole else halo,
        starts=tuple(tuple(tile_starts(*axis)) for axis in zip(size, window, halo, strict=True)),
        batch=1,
        estimate_gb=max(network.bytes_for(window) for network in networks) / 1e9,
        reason="the whole image fits" if whole else f"{by(window)} is what fits {memory_gb} GB",
    )


def _lengths(side: int, halo: int, aligned: int) -> list[int]:
    """Window lengths worth a try along one axis: the whole, and those of different tile counts."""
    by_count = {}
    for length in range(side - aligned, 2 * halo, -aligned):
        by_count[len(tile_starts(side, length, halo))] = length
    return [side, *sorted(by_count.values(), reverse=True)[:CANDIDATES]]


def tile_starts(side: int, window: int, halo: int) -> list[int]:
    """First samples of the tiles along one axis, multiples of the alignment if the others are."""
    if window >= side:
        return [0]
    last = side - window
    return [*range(0, last, window - 2 * halo), last]


def tile_ends(starts: Sequence[int], side: int, window: int, halo: int) -> list[int]:
    """Where each tile's part of the result ends; the next one's begins there."""
    return [*(start + window - halo for start in starts[:-1]), side]


def _too_small(networks: Sequence[Network], memory_gb: float) -> str:
    halo = tuple(max(axis) for axis in zip(*(n.reach.halo or () for n in networks), strict=True))
    return (
        f"memory_gb {memory_gb} holds no tile with its halo of {by(halo)} samples on every side; "
        'give more, or mode="blend"'
    )


def _check(
    networks: Sequence[Network],
    shape: Sequence[int],
    mode: str,
    overlap: float,
    memory_gb: float,
    batch_size: int | None,
) -> None:
    if mode not in MODES:
        raise InferenceError(f"unknown mode {mode!r}; choose from {', '.join(MODES)}")
    if not 0.0 <= overlap < 1.0:
        raise InferenceError(f"overlap is {overlap}; it must lie in [0, 1)")
    if not 0.0 < memory_gb < math.inf:
        raise InferenceError(f"memory_gb is {memory_gb}; give a positive number of 10^9 bytes")
    if batch_size is not None and batch_size < 1:
        raise InferenceError(f"batch_size is {batch_size}; give at least 1")
    patch = networks[0].patch
    if len(shape) != len(patch) or min(shape) < 1:
        raise InferenceError(f"an image of {by(shape)} for a network of patches of {by(patch)}")
