"""The depth axis of an inflated network: how far kernels reach, how they step, what pads them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from zoo.errors import ZooError


@dataclass(frozen=True, kw_only=True)
class Depth:
    """How one layer acts along depth; it turns D slices into ceil(D / stride).

    Attributes:
        kernel: Number of slices under the window.
        stride: Slices from one output slice to the next.
        dilation: Slices from one tap of the window to the next.
    """

    kernel: int
    stride: int
    dilation: int = 1

    @property
    def before(self) -> int:
        """Slices to pad in front: the window's middle is over each ``stride``-th slice."""
        if self.kernel % 2:
            return self.kernel // 2 * self.dilation
        return max(self.kernel - self.stride, 0) // 2 * self.dilation

    @property
    def after(self) -> int:
        """Slices to pad behind, so that window and padding cancel."""
        return (self.kernel - 1) * self.dilation - self.before

    @property
    def plain(self) -> bool:
        """Whether each slice stays by itself."""
        return self.kernel == self.stride == 1


def check_depth_strides(strides: Sequence[int] | None, *, stride: int, name: str) -> None:
    """Refuse depth strides that a network cannot take.

    Args:
        strides: What the caller gave; None will do.
        stride: The network's stride in plane, a power of two.
        name: What to call the network in a message.

    Raises:
        ZooError: Naming the strides and what would do.
    """
    if strides is None:
        return
    halvings = stride.bit_length() - 1
    if isinstance(strides, str) or list(strides) != [one for one in strides if one in (1, 2)]:
        raise ZooError(f"depth_strides {strides!r} must hold the numbers 1 and 2")
    if len(strides) != halvings:
        raise ZooError(
            f"depth_strides {tuple(strides)} has {len(strides)} entries; {name!r} halves height "
            f"and width {halvings} times: give one each"
        )


def depth_stride(strides: Sequence[int] | None, *, reached: int, stride: int, layer: str) -> int:
    """Give the depth stride of a layer from its stride in plane.

    Args:
        strides: One stride for each halving of height and width; None: as in plane.
        reached: Stride in plane of what enters the layer, to the network's input.
        stride: The layer's own stride in plane.
        layer: What to call it in a message.

    Raises:
        ZooError: For a stride that is no power of two, or one halving more than there are strides.
    """
    if strides is None or stride == 1:
        return stride
    first, last = reached.bit_length() - 1, (reached * stride).bit_length() - 1
    if stride & (stride - 1) or reached & (reached - 1):
        raise ZooError(f"layer {layer!r} has stride {stride}: depth_strides is for halvings alone")
    if last > len(strides):
        raise ZooError(
            f"depth_strides {tuple(strides)} is too short: layer {layer!r} is halving number {last}"
        )
    product = 1
    for one in strides[first:last]:
        product *= one
    return product


def mirrored(size: int, depth: Depth) -> list[int]:
    """Index the slices of a padded volume: mirrored at the ends, as ``numpy.pad``'s "symmetric"."""
    padding = (depth.before, depth.after)
    return [int(one) for one in np.pad(np.arange(size), padding, mode="symmetric")]


def pad_depth(x: keras.KerasTensor, depth: Depth, name: str) -> keras.KerasTensor:
    """Mirror a volume at its first and last slice; any number of slices will do.

    Args:
        x: ``(batch, depth, height, width, channels)``.
        depth: What the padding is for.
        name: Prefix of the operations' names.

    Returns:
        ``(batch, depth + before + after, height, width, channels)``.
    """
    if depth.before == depth.after == 0:
        return x
    if x.shape[1] is not None:
        return take_slices(x, {f"{name}_padded": mirrored(x.shape[1], depth)}, name)[0]
    parts = [x]
    if depth.before:
        parts.insert(0, _beyond(x, depth.before, f"{name}_before", front=True))
    if depth.after:
        parts.append(_beyond(x, depth.after, f"{name}_after", front=False))
    return keras.layers.Concatenate(axis=1, name=f"{name}_padded")(parts)


def take_slices(
    x: keras.KerasTensor, wanted: Mapping[str, list[int]], name: str
) -> list[keras.KerasTensor]:
    """Gather slices by one split and concatenations, whose gradients are copies too.

    The gradient of a slice fills a whole volume with zeros: 10 to 50 times slower on a CPU. And
    backends do not agree on mirrored padding.

    Args:
        x: ``(batch, depth, height, width, channels)``, the depth known.
        wanted: Name of an operation -> indices of slices, in any order, with repeats.
        name: Prefix of the split's name.

    Returns:
        One volume for each list of indices.
    """
    size = x.shape[1]
    runs = {own: list(_runs(indices)) for own, indices in wanted.items()}
    cuts = sorted({end for found in runs.values() for run in found for end in run} - {0, size})
    pieces = [x]
    if cuts:
        pieces = keras.ops.split(x, cuts, axis=1)
        called(pieces[0], f"{name}_split")
    starts = [0, *cuts, size]
    taken = []
    for own, found in runs.items():
        parts = [
            piece
            for first, last in found
            for piece in pieces[starts.index(first) : starts.index(last)]
        ]
        if found == [(0, size)]:
            parts = [x]
        joined = keras.layers.Concatenate(axis=1, name=own)(parts) if len(parts) > 1 else parts[0]
        taken.append(joined)
    return taken


def _runs(indices: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Cut indices into runs that rise by one: (first, behind the last)."""
    first = 0
    for position in range(1, len(indices) + 1):
        if position == len(indices) or indices[position] != indices[position - 1] + 1:
            yield indices[first], indices[position - 1] + 1
            first = position


def _beyond(x: keras.KerasTensor, count: int, name: str, *, front: bool) -> keras.KerasTensor:
    """Give what lies beyond one end of a volume of unknown depth.

    The outermost slices are mirrored ``count`` times over and cut, in case there are fewer.
    """
    edge = called(x[:, :count] if front else x[:, -count:], name)
    if count == 1:
        return edge
    flipped = called(keras.ops.flip(edge, axis=1), f"{name}_flip")
    chain = [flipped if index % 2 == 0 else edge for index in range(count)]
    joined = keras.layers.Concatenate(axis=1, name=f"{name}_chain")(chain[::-1] if front else chain)
    return called(joined[:, -count:] if front else joined[:, :count], f"{name}_cut")


def called(x: Any, name: str) -> Any:
    """Name the operation that made a tensor, else it would count up from build to build."""
    x._keras_history.operation.name = name
    return x
