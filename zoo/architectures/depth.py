"""The depth axis of an inflated network: how far kernels reach, how they step, what pads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras

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


def pad_depth(x: keras.KerasTensor, depth: Depth, name: str) -> keras.KerasTensor:
    """Mirror a volume at its first and last slice, as ``numpy.pad`` does with ``"symmetric"``.

    Built from slices, as the backends do not agree on that mode; any number of slices will do.

    Args:
        x: ``(batch, depth, height, width, channels)``.
        depth: What the padding is for.
        name: Prefix of the operations' names.

    Returns:
        ``(batch, depth + before + after, height, width, channels)``.
    """
    parts = [
        *_mirrored(x, depth.before, f"{name}_before", front=True),
        x,
        *_mirrored(x, depth.after, f"{name}_after", front=False),
    ]
    if len(parts) == 1:
        return x
    return keras.layers.Concatenate(axis=1, name=f"{name}_padded")(parts)


def _mirrored(x: keras.KerasTensor, count: int, name: str, *, front: bool) -> list[Any]:
    """Give what lies beyond one end, as a list of none or one tensor."""
    if count == 0:
        return []
    edge = called(x[:, :count] if front else x[:, -count:], name)
    if count == 1:
        return [edge]
    size = x.shape[1]
    got = 1 if size is None else min(size, count)
    copies = -(-count // got)
    flipped = edge if size == 1 else called(keras.ops.flip(edge, axis=1), f"{name}_flip")
    chain = [flipped if index % 2 == 0 else edge for index in range(copies)]
    if copies == 1:
        return chain
    joined = keras.layers.Concatenate(axis=1, name=f"{name}_chain")(chain[::-1] if front else chain)
    if size is not None and got * copies == count:
        return [joined]
    return [called(joined[:, -count:] if front else joined[:, :count], f"{name}_cut")]


def called(x: Any, name: str) -> Any:
    """Name the operation that made a tensor, else it would count up from build to build."""
    x._keras_history.operation.name = name
    return x
