"""Rebuild a Keras application layer by layer: stable names, built-in layers only, one flat graph.

keras.applications leaves many layers to automatic names, which count up through the process;
uses three layer classes that plain Keras cannot load back; nests Sequential models; and writes
depthwise convolutions as grouped ones, which TensorFlow runs some thirty times slower on a CPU.
The functions here build the same network with none of that.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping
from typing import Any

import keras

from zoo.errors import ZooError


def rebuild(
    donor: keras.Model,
    input_tensor: keras.KerasTensor,
    *,
    skip: Container[str] = (),
) -> keras.Model:
    """Build the network of ``donor`` anew on ``input_tensor``, with fresh weights.

    Args:
        donor: A functional model with one input and one output.
        input_tensor: What takes the place of the donor's input.
        skip: Stable names of layers to leave out; what enters them passes on.

    Returns:
        A flat functional model from the source inputs of ``input_tensor``; its layers bear the
        names that ``layer_plan`` gives.

    Raises:
        ZooError: For an operation without a built-in counterpart.
    """
    source = keras.utils.get_source_inputs(input_tensor)[0]
    rebuilder = _Rebuilder(stable_names(donor), skip)

    def copy(operation: Any) -> Any:
        return operation

    def call(operation: Any, *args: Any, **kwargs: Any) -> Any:
        swapped = keras.tree.map_structure(lambda t: input_tensor if t is source else t, args)
        return rebuilder.call(operation, swapped, kwargs)

    return keras.models.clone_model(
        donor, input_tensors=source, clone_function=copy, call_function=call
    )


def layer_plan(donor: keras.Model) -> Iterator[tuple[keras.Layer, str]]:
    """List the donor's layers that hold weights, each with its name in the rebuilt model."""
    names = stable_names(donor)
    for layer in donor.layers:
        inner = layer.layers if isinstance(layer, keras.Sequential) else [layer]
        for one in inner:
            if one.weights:
                yield one, names.get(one.name, one.name)


def stable_names(donor: keras.Model) -> dict[str, str]:
    """Map the donor's automatic names to those a fresh process would give.

    ``conv2d_97, conv2d_98`` become ``conv2d, conv2d_1``: the order of creation within the model,
    whatever was built before it. Explicit names are left out of the map.
    """
    found: dict[str, list[int]] = {}
    for operation in donor.operations:
        match = re.fullmatch(rf"{_snake_case(type(operation).__name__)}(?:_(\d+))?", operation.name)
        if match:
            base = operation.name.removesuffix(f"_{match[1]}")
            found.setdefault(base, []).append(int(match[1] or 0))
    names = {}
    for base, numbers in found.items():
        for rank, number in enumerate(sorted(numbers)):
            names[_numbered(base, number)] = _numbered(base, rank)
    return names


def shape_of(layer: keras.Layer, array: Any) -> tuple[int, ...]:
    """Give the shape that a donor's array has in the layer's counterpart."""
    if type(layer).__name__ == "LayerScale":
        return (1, 1, array.shape[-1], 1)
    if _is_depthwise(layer) and array.ndim == 4:
        return (*array.shape[:2], array.shape[3], 1)
    return tuple(array.shape)


def _is_depthwise(layer: keras.Layer) -> bool:
    """Tell a depthwise convolution that is written as a grouped one."""
    return isinstance(layer, keras.layers.Conv2D) and layer.groups == layer.filters > 1


def _numbered(base: str, number: int) -> str:
    return f"{base}_{number}" if number else base


def _snake_case(name: str) -> str:
    """Spell a class name as Keras does for automatic names."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=.)(?=[A-Z][a-z])", "_", name).lower()


class _Rebuilder:
    """Calls the counterpart of each donor operation and remembers which layer made a tensor."""

    def __init__(self, names: Mapping[str, str], skip: Container[str]) -> None:
        self._names = names
        self._skip = skip
        self._maker: dict[int, str] = {}
        self._kept: list[Any] = []

    def call(self, operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Apply the counterpart of one operation."""
        kind = type(operation).__name__
        if isinstance(operation, keras.Sequential):
            (x,) = args
            for layer in operation.layers:
                x = self._apply(_counterpart(layer, layer.name), x)
            return x
        name = self._names.get(operation.name, operation.name)
        if name in self._skip:
            return args[0]
        if kind == "CustomScaleLayer":
            return self._scaled_sum(operation.scale, *args[0])
        if isinstance(operation, keras.Layer):
            return self._apply(_counterpart(operation, name), *args, **kwargs)
        return self._arithmetic(kind, *args)

    def _apply(self, layer: keras.Layer, *args: Any, **kwargs: Any) -> Any:
        out = layer(*args, **kwargs)
        self._maker[id(out)] = layer.name
        self._kept.append(out)
        return out

    def _sum(self, shortcut: Any, branch: Any) -> Any:
        """Residual addition, named after the branch's last layer."""
        block = self._maker[id(branch)].removesuffix("_identity").removesuffix("_scale")
        return self._apply(keras.layers.Add(name=f"{block}_add"), [shortcut, branch])

    def _scaled_sum(self, scale: float, shortcut: Any, branch: Any) -> Any:
        """Residual addition of a branch times a constant."""
        block = self._maker[id(branch)].removesuffix("_conv")
        scaled = self._apply(keras.layers.Rescaling(scale, name=f"{block}_scale"), branch)
        return self._sum(shortcut, scaled)

    def _arithmetic(self, kind: str, x: Any, *others: Any) -> Any:
        """A sum, or a constant added or multiplied, as a layer named after what comes before."""
        before = self._maker[id(x)]
        other = others[0] if len(others) == 1 else None
        constant = float(other) if isinstance(other, int | float) else None
        if kind == "Add" and keras.backend.is_keras_tensor(other):
            return self._sum(x, other)
        if kind == "Add" and constant is not None:
            layer = keras.layers.Rescaling(1.0, offset=constant, name=f"{before}_shift")
        elif kind == "Multiply" and constant is not None:
            layer = keras.layers.Rescaling(constant, name=f"{before}_scale")
        else:
            raise ZooError(f"cannot rebuild the operation {kind!r} after layer {before!r}")
        return self._apply(layer, x)


def _counterpart(layer: keras.Layer, name: str) -> keras.Layer:
    """Make a fresh built-in layer that computes what ``layer`` does."""
    if type(layer).__name__ == "LayerScale":
        return keras.layers.DepthwiseConv2D(
            1,
            use_bias=False,
            depthwise_initializer=keras.initializers.Constant(layer.init_values),
            name=name,
        )
    if _is_depthwise(layer):
        return keras.layers.DepthwiseConv2D(
            layer.kernel_size,
            strides=layer.strides,
            padding=layer.padding,
            dilation_rate=layer.dilation_rate,
            activation=layer.activation,
            use_bias=layer.use_bias,
            depthwise_initializer=layer.kernel_initializer.clone(),
            name=name,
        )
    return type(layer).from_config({**layer.get_config(), "name": name})
