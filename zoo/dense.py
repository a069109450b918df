"""Exact conversion of a network on patches to the same network on images of any size.

Invariant: if ``T(o)`` is a tensor of the patch network on the patch that starts at ``o``, its
dense counterpart ``D`` holds ``D[o + step * j] = T(o)[j]`` for every origin ``o`` and place ``j``,
and has ``origins + step * (size - 1)`` places along an axis, ``size`` being those of ``T``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
from keras import layers

from zoo.errors import NotExactError

Sides = tuple[int, ...]

_CONVOLUTIONS = (layers.Conv2D, layers.Conv3D, layers.DepthwiseConv2D, layers.SeparableConv2D)
_MAXIMA = (layers.MaxPooling2D, layers.MaxPooling3D)
_AVERAGES = (layers.AveragePooling2D, layers.AveragePooling3D)
_GLOBAL_MAXIMA = (layers.GlobalMaxPooling2D, layers.GlobalMaxPooling3D)
_GLOBAL_AVERAGES = (layers.GlobalAveragePooling2D, layers.GlobalAveragePooling3D)
_CROPPINGS = (layers.Cropping2D, layers.Cropping3D)
_CROPPING = {2: layers.Cropping2D, 3: layers.Cropping3D}
_CONVOLUTION = {2: layers.Conv2D, 3: layers.Conv3D}
_POOLING = {
    ("max", 2): layers.MaxPooling2D,
    ("max", 3): layers.MaxPooling3D,
    ("avg", 2): layers.AveragePooling2D,
    ("avg", 3): layers.AveragePooling3D,
}
_MERGES = (
    layers.Add,
    layers.Subtract,
    layers.Multiply,
    layers.Average,
    layers.Maximum,
    layers.Minimum,
    layers.Concatenate,
)
_PER_NUMBER = (
    layers.Dropout,
    layers.ReLU,
    layers.LeakyReLU,
    layers.ELU,
    layers.GaussianNoise,
    layers.GaussianDropout,
    layers.AlphaDropout,
    layers.Identity,
    layers.Rescaling,
)
"""Layers that treat every number alike: they stay, before and behind Flatten."""
_PER_CHANNEL = (
    layers.BatchNormalization,
    layers.LayerNormalization,
    layers.UnitNormalization,
    layers.Normalization,
    layers.Softmax,
    layers.PReLU,
    layers.SpatialDropout2D,
    layers.SpatialDropout3D,
)
"""Layers that stay if they mix channels at most."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Where the places of a tensor of the patch network lie in the patch; a number per axis.

    Attributes:
        size: Places.
        step: Pixels from place to place.
        start: First pixel that the first place depends on.
        field: Pixels that a place depends on.
        stride: Largest step on the way.
        flat: Whether Flatten has joined places and channels, and ``size`` is what it joined.
    """

    size: Sides
    step: Sides
    start: Sides
    field: Sides
    stride: Sides
    flat: bool = False

    @property
    def single(self) -> bool:
        """Whether one place is left."""
        return math.prod(self.size) == 1

    def window(self, size: Sides, *, stride: Sides, dilation: Sides) -> Grid:
        """Places behind a layer with this window, and no padding."""
        reach = [(k - 1) * d for k, d in zip(size, dilation, strict=True)]
        step = tuple(a * s for a, s in zip(self.step, stride, strict=True))
        return replace(
            self,
            size=tuple(
                (n - 1 - r) // s + 1 for n, r, s in zip(self.size, reach, stride, strict=True)
            ),
            field=tuple(f + r * a for f, r, a in zip(self.field, reach, self.step, strict=True)),
            step=step,
            stride=tuple(max(pair) for pair in zip(self.stride, step, strict=True)),
        )


def convert(model: keras.Model) -> tuple[keras.Model, Grid]:
    """Convert a patch network; see ``zoo.patch.to_dense``.

    Returns:
        The dense network, and the grid of its output.

    Raises:
        NotExactError: Naming the layer that cannot be converted exactly.
    """
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise NotExactError(f"model {model.name!r} must have one input and one output")
    shape = tuple(model.inputs[0].shape[1:])
    if len(shape) not in (3, 4) or None in shape:
        raise NotExactError(
            f"input of model {model.name!r} has shape {shape}: the patch must have fixed sides, "
            "(height, width, channels) or (depth, height, width, channels)"
        )
    model = keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    source = model.inputs[0]._keras_history.operation
    dims = len(shape) - 1
    image = keras.Input((None,) * dims + shape[-1:], name=source.name, dtype=model.inputs[0].dtype)
    converter = _Converter(image, shape[:-1])
    dense = keras.models.clone_model(
        model,
        input_tensors=image,
        clone_function=lambda layer: layer,
        call_function=converter.call,
    )
    grid = converter.grid_of(dense.outputs[0], model.name)
    if not grid.single:
        raise NotExactError(
            f"model {model.name!r} gives a map of {grid.size} a patch, not one score: end it with "
            "Flatten or global pooling, and Dense"
        )
    return keras.Model(image, dense.outputs[0], name=f"{model.name}_dense"), grid


class _Converter:
    """Builds the dense layer for each layer of the patch network, and keeps the grids."""

    def __init__(self, image: keras.KerasTensor, sides: Sides) -> None:
        ones = (1,) * len(sides)
        first = Grid(size=sides, step=ones, start=(0,) * len(sides), field=ones, stride=ones)
        self.dims = len(sides)
        self.done: set[str] = set()
        # The tensors are kept with their grids, so that no id is used twice.
        self.known: dict[int, tuple[Any, Grid]] = {id(image): (image, first)}

    def grid_of(self, tensor: Any, name: str) -> Grid:
        """Grid of a tensor of the dense network."""
        if id(tensor) not in self.known:
            raise NotExactError(f"{name!r} takes what the patch does not give")
        return self.known[id(tensor)][1]

    def call(self, layer: Any, *args: Any, **kwargs: Any) -> Any:
        """Convert one layer; ``clone_model`` calls it for every node."""
        inputs = keras.tree.flatten(args)
        grids = [self.grid_of(x, layer.name) for x in inputs if keras.utils.is_keras_tensor(x)]
        if len(grids) != len(inputs) or not isinstance(layer, keras.layers.Layer):
            raise refuse(layer, "is an operation on tensors, not a layer that can be converted")
        if getattr(layer, "data_format", "channels_last") == "channels_first":
            raise refuse(layer, "has its channels first")
        if layer.name in self.done:
            raise refuse(layer, "is called more than once")
        self.done.add(layer.name)
        output, grid = self._handler(layer)(layer, inputs, grids)
        self.known[id(output)] = (output, grid)
        return output

    def _handler(self, layer: Any) -> Callable[..., tuple[Any, Grid]]:
        handlers: list[tuple[tuple[type, ...], Callable[..., tuple[Any, Grid]]]] = [
            (_CONVOLUTIONS, self._convolution),
            (_MAXIMA, self._pooling),
            (_AVERAGES, self._pooling),
            (_GLOBAL_MAXIMA, self._global_pooling),
            (_GLOBAL_AVERAGES, self._global_pooling),
            (_CROPPINGS, self._cropping),
            (_MERGES, self._merge),
            ((layers.Flatten,), self._flatten),
            ((layers.Dense,), self._dense),
            (_PER_NUMBER, self._same),
            (_PER_CHANNEL, self._per_channel),
            ((layers.Activation,), self._activation),
        ]
        for kinds, handler in handlers:
            if type(layer) in kinds:
                return handler
        raise refuse(layer, "is not known to give the same on patch and image")

    def _convolution(self, layer: Any, inputs: list[Any], grids: list[Grid]) -> tuple[Any, Grid]:
        (grid,) = grids
        _unflattened(layer, grid)
        _unpadded(layer, layer.kernel_size)
        dilation = tuple(d * s for d, s in zip(layer.dilation_rate, grid.step, strict=True))
        twin = _twin(layer, strides=1, dilation_rate=dilation, padding="valid")
        behind = grid.window(layer.kernel_size, stride=layer.strides, dilation=layer.dilation_rate)
        reach = [(k - 1) * d for k, d in zip(layer.kernel_size, layer.dilation_rate, strict=True)]
        output = _filled(twin, inputs[0], layer)
        return self._without_surplus(layer.name, output, grid, behind, reach), behind

    def _pooling(self, layer: Any, inputs: list[Any], grids: list[Grid]) -> tuple[Any, Grid]:
        (grid,) = grids
        _unpadded(layer, layer.pool_size)
        kind = "max" if isinstance(layer, _MAXIMA) else "avg"
        ones = (1,) * self.dims
        behind = grid.window(layer.pool_size, stride=layer.strides, dilation=ones)
        output = self._pool(kind, layer, inputs[0], layer.pool_size, grid.step)
        reach = [size - 1 for size in layer.pool_size]
        return self._without_surplus(layer.name, output, grid, behind, reach), behind

    def _global_pooling(self, layer: Any, inputs: list[Any], grids: list[Grid]) -> tuple[Any, Grid]:
        (grid,) = grids
        kind = "max" if isinstance(layer, _GLOBAL_MAXIMA) else "avg"
        ones = (1,) * self.dims
        behind = grid.window(grid.size, stride=ones, dilation=ones)
        return self._pool(kind, layer, inputs[0], grid.size, grid.step), behind

    def _pool(self, kind: str, layer: Any, x: Any, size: Sides, step: Sides) -> Any:
        """Pool with stride 1 over a window whose places lie ``step`` apart."""
        if all(a == 1 or k == 1 for a, k in zip(step, size, strict=True)):
            pooling = _POOLING[kind, self.dims]
            return pooling(size, strides=1, dtype=layer.dtype_policy, name=layer.name)(x)
        merge = layers.Maximum if kind == "max" else layers.Average
        axes = [axis for axis in range(self.dims) if size[axis] > 1]
        for axis in axes:
            reach = (size[axis] - 1) * step[axis]
            parts = []
            for i in range(size[axis]):
                before = i * step[axis]
                cut = [(0, 0)] * self.dims
                cut[axis] = (before, reach - before)
                name = f"{layer.name}_shift{axis}_{i}"
                parts.append(_CROPPING[self.dims](tuple(cut), name=name)(x))
            name = layer.name if axis == axes[-1] else f"{layer.name}_axis{axis}"
            x = merge(dtype=layer.dtype_policy, name=name)(parts)
        return x

    def _without_surplus(
        self, name: str, x: Any, before: Grid, behind: Grid, reach: Sequence[int]
    ) -> Any:
        """Cut the places of rows that the stride leaves over at the end of a patch."""
        strides = [b // a for b, a in zip(behind.step, before.step, strict=True)]
        left = [
            a * (n - 1 - r - s * (m - 1))
            for a, n, r, s, m in zip(
                before.step, before.size, reach, strides, behind.size, strict=True
            )
        ]
        if not any(left):
            return x
        return _CROPPING[self.dims](tuple((0, one) for one in left), name=f"{name}_surplus")(x)

    def _cropping(self, layer: Any, inputs: list[Any], grids: list[Grid]) -> tuple[Any, Grid]:
        (grid,) = grids
        cut = tuple((a * s, b * s) for (a, b), s in zip(layer.cropping, grid.step, strict=True))
        behind = replace(
            grid,
            size=tuple(n - a - b for n, (a, b) in zip(grid.size, layer.cropping, strict=True)),
            start=tuple(p + a for p, (a, _) in zip(grid.start, cut, strict=True)),
        )
        return _CROPPING[self.dims](cut, name=layer.name)(inputs[0]), behind

    def _merge(self, layer: Any, inputs: list[Any], grids: list[Grid]) -> tuple[Any, Grid]:
        first = grids[0]
        for grid in grids:
            steps = zip(grid.size, grid.step, first.step, strict=True)
            if grid.size != first.size or any(n > 1 and a != b for n, a, b in steps):
                raise refuse(layer, "joins maps whose places lie differently in the patch")
            if not grid.single and (grid.flat or first.flat):
                raise refuse(layer, "joins flattened maps: join them before Flatten")
        if isinstance(layer, layers.Concatenate):
            _last_axis(layer, layer.axis, inputs[0])
        start = tuple(min(values) for values in zip(*(g.start for g in grids), strict=True))
        ends = zip(
            *([s + f for s, f in zip(g.start, g.field, strict=True)] for g in grids), strict=True
        )
        behind = replace(
            first,
            start=start,
            field=tuple(max(end) - s for end, s in zip(ends, start, strict=True)),
            stride=tuple(max(values) for values in zip(*(g.stride for g in grids), strict=True)),
        )
        return _twin(layer)(inputs), behind

    def _flatten(self, layer: Any, inputs: list[Any], grids: list[Grid]) -> tuple[Any, Grid]:
        twin = layers.Activation("linear", dtype=layer.dtype_policy, name=layer.name)
        return twin(inputs[0]), replace(grids[0], flat=True)

    def _dense(self, layer: Any, inputs: list[Any], grids: list[Grid]) -> tuple[Any, Grid]:
        """Dense behind Flatten is a convolution over the whole map; elsewhere it is one of 1."""
        (grid,) = grids
        ones = (1,) * self.dims
        size = grid.size if grid.flat else ones
        dilation = tuple(s if n > 1 else 1 for s, n in zip(grid.step, size, strict=True))
        behind = grid.window(size, stride=ones, dilation=ones)
        twin = _CONVOLUTION[self.dims](
            layer.units,
            size,
            dilation_rate=dilation,
            activation=layer.activation,
            use_bias=layer.use_bias,
            dtype=layer.dtype_policy,
            name=layer.name,
        )
        output = twin(inputs[0])
        kernel, *bias = layer.get_weights()
        twin.set_weights([kernel.reshape(*size, -1, layer.units), *bias])
        return output, behind

    def _same(self, layer: Any, inputs: list[Any], grids: list[Grid]) -> tuple[Any, Grid]:
        if getattr(layer, "noise_shape", None) is not None:
            raise refuse(layer, "drops by a noise_shape of the patch")
        if isinstance(layer, layers.Rescaling) and np.size(layer.scale) * np.size(layer.offset) > 1:
            _unflattened(layer, grids[0])
        return _filled(_twin(layer), inputs[0], layer), grids[0]

    def _activation(self, layer: Any, inputs: list[Any], grids: list[Grid]) -> tuple[Any, Grid]:
        if layer.activation in (keras.activations.softmax, keras.activations.log_softmax):
            _unflattened(layer, grids[0])
        return _twin(layer)(inputs[0]), grids[0]

    def _per_channel(self, layer: Any, inputs: list[Any], grids: list[Grid]) -> tuple[Any, Grid]:
        _unflattened(layer, grids[0])
        if hasattr(layer, "axis"):
            rank = 2 if grids[0].flat else self.dims + 2
            axis = layer.axis
            axis = axis[0] if isinstance(axis, list | tuple) and len(axis) == 1 else axis
            if axis not in (-1, rank - 1):
                raise refuse(layer, f"works along axis {axis}, not along channels alone")
        if isinstance(layer, layers.PReLU) and math.prod(layer.alpha.shape[:-1]) != 1:
            raise refuse(layer, "has a slope for every pixel: share it with shared_axes")
        return _filled(_twin(layer, **_last(layer)), inputs[0], layer), grids[0]


def _last(layer: Any) -> dict[str, Any]:
    """The axis counted from the end, since a vector becomes a map."""
    return {"axis": -1} if hasattr(layer, "axis") else {}


def _last_axis(layer: Any, axis: Any, x: Any) -> None:
    if axis not in (-1, len(x.shape) - 1):
        raise refuse(layer, f"works along axis {axis}, not along channels")


def _twin(layer: Any, **changes: Any) -> Any:
    """A new layer of the same kind and name."""
    return type(layer).from_config({**layer.get_config(), **changes})


def _filled(twin: Any, x: Any, layer: Any) -> Any:
    """Call a layer and give it the other's weights."""
    output = twin(x)
    twin.set_weights(layer.get_weights())
    return output


def _unpadded(layer: Any, size: Sides) -> None:
    if layer.padding != "valid" and (max(size) > 1 or layer.padding not in ("same", "valid")):
        raise refuse(
            layer, f"pads ({layer.padding!r}): a patch has zeros where an image has neighbours"
        )


def _unflattened(layer: Any, grid: Grid) -> None:
    if grid.flat and not grid.single:
        raise refuse(layer, "stands between Flatten and Dense: put it before Flatten")


def refuse(layer: Any, why: str) -> NotExactError:
    """Say which layer rules out an exact conversion, and why."""
    return NotExactError(
        f"layer {layer.name!r} ({type(layer).__name__}) {why}: no dense network gives the same "
        "scores"
    )
