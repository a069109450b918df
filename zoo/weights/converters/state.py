"""A PyTorch state dict whose tensors are taken out one by one, in Keras' axis order."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from zoo.errors import WeightsMismatchError
from zoo.weights.files import Array

_NORM_PARTS = ("weight", "bias", "running_mean", "running_var")


class State:
    """What is left of a state dict; every tensor is taken once, with the shape it must have."""

    def __init__(self, tensors: Mapping[str, Array], file: str = "the checkpoint") -> None:
        """Copy the mapping, not the arrays.

        Args:
            tensors: Name -> array.
            file: What to call it in messages, a bare file name.
        """
        self._tensors = dict(tensors)
        self._file = file

    def __contains__(self, name: str) -> bool:
        """Whether a tensor of that name is still there."""
        return name in self._tensors

    def shape(self, name: str) -> tuple[int, ...]:
        """Give the shape of a tensor without taking it.

        Raises:
            WeightsMismatchError: When there is none of that name.
        """
        if name not in self._tensors:
            raise WeightsMismatchError(f"'{self._file}' has no tensor '{name}'")
        return tuple(self._tensors[name].shape)

    def inputs(self, name: str) -> int:
        """Give the input channels of a convolution (out, in, *sides) without taking it.

        Raises:
            WeightsMismatchError: When there is none of that name, or it is no kernel.
        """
        shape = self.shape(name)
        if len(shape) < 3:
            raise WeightsMismatchError(
                f"'{self._file}' has '{name}' of shape {shape}, not that of a convolution"
            )
        return shape[1]

    def take(self, name: str, shape: tuple[int, ...]) -> Array:
        """Remove and return one tensor of the given shape, as float32.

        Raises:
            WeightsMismatchError: When it is missing or of another shape.
        """
        tensor = self._tensors.pop(name, None)
        if tensor is None:
            raise WeightsMismatchError(f"'{self._file}' has no tensor '{name}'")
        if tensor.shape != shape:
            raise WeightsMismatchError(
                f"'{self._file}' has '{name}' of shape {tensor.shape}, not {shape}"
            )
        return tensor.astype("float32", copy=False)

    def conv(
        self,
        name: str,
        filters_in: int,
        filters_out: int,
        kernel: int | tuple[int, ...],
        *,
        bias: bool = False,
        groups: int = 1,
    ) -> list[Array]:
        """Take a convolution; its kernel turns from (out, in, *sides) into (*sides, in, out).

        Args:
            name: Prefix of its tensors.
            filters_in: Channels that enter, of all groups together.
            filters_out: Channels that leave.
            kernel: Side of a square 2D kernel, or all sides (two or three).
            bias: Whether there is a bias to take besides.
            groups: Groups of the convolution; the kernel then has ``filters_in / groups`` inputs.
        """
        sides = (kernel, kernel) if isinstance(kernel, int) else kernel
        shape = (filters_out, filters_in // groups, *sides)
        axes = (*range(2, 2 + len(sides)), 1, 0)
        arrays = [self.take(f"{name}.weight", shape).transpose(axes)]
        return [*arrays, self.take(f"{name}.bias", (filters_out,))] if bias else arrays

    def depthwise(
        self, name: str, channels: int, kernel: int | tuple[int, ...], *, bias: bool = False
    ) -> list[Array]:
        """Take a depthwise convolution; (channels, 1, h, w) turns into (h, w, channels, 1)."""
        sides = (kernel, kernel) if isinstance(kernel, int) else kernel
        weight = self.take(f"{name}.weight", (channels, 1, *sides))
        arrays = [weight.transpose((*range(2, 2 + len(sides)), 0, 1))]
        return [*arrays, self.take(f"{name}.bias", (channels,))] if bias else arrays

    def norm(
        self, name: str, channels: int, *, epsilon: float | None = None, ours: float | None = None
    ) -> list[Array]:
        """Take gamma, beta, moving mean and moving variance of a batch normalisation.

        Args:
            name: Prefix of its tensors.
            channels: Number of channels.
            epsilon: What the checkpoint's network adds to the variance.
            ours: What the Keras layer adds. Where the two differ, gamma takes up the difference:
                ``gamma / sqrt(variance + epsilon)`` stays the same.
        """
        gamma, beta, mean, variance = (self.take(f"{name}.{p}", (channels,)) for p in _NORM_PARTS)
        if epsilon is not None and ours is not None and epsilon != ours:
            wide = variance.astype("float64")
            gamma = (gamma * np.sqrt((wide + ours) / (wide + epsilon))).astype("float32")
        return [gamma, beta, mean, variance]

    def layer_norm(self, name: str, channels: int) -> list[Array]:
        """Take gamma and beta of a layer normalisation."""
        return [self.take(f"{name}.{part}", (channels,)) for part in ("weight", "bias")]

    def dense(self, name: str, filters_in: int, filters_out: int) -> list[Array]:
        """Take a fully connected layer; its kernel turns from (out, in) into (in, out)."""
        kernel = self.take(f"{name}.weight", (filters_out, filters_in))
        return [kernel.T, self.take(f"{name}.bias", (filters_out,))]

    def drop(self, *prefixes: str) -> None:
        """Leave out what lies under these names, a classification head for example."""
        for name in list(self._tensors):
            if name.startswith(tuple(f"{prefix}." for prefix in prefixes)) or name in prefixes:
                del self._tensors[name]

    def finish(self) -> None:
        """Refuse leftovers, except the counters of PyTorch's BatchNorm.

        Raises:
            WeightsMismatchError: Naming one of them.
        """
        left = [name for name in self._tensors if not name.endswith("num_batches_tracked")]
        if left:
            raise WeightsMismatchError(
                f"'{self._file}' has {len(left)} tensors too many, among them '{left[0]}'"
            )
