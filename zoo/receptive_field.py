"""How far an output looks into the image, computed from a Keras graph, for exact tiling.

Every tensor gets, per spatial axis, the affine bounds of the input indices that its index ``i``
depends on: ``stride * i + low`` to ``stride * i + high`` (Araujo et al., 2019,
doi:10.23915/distill.00021, in rational numbers, so that upsampling is exact too). Bounds are those
of the graph: a weight that is zero may make the true field smaller. Networks inflated to 3D mirror
the depth axis and convolve it slice by slice, by taking slices by number: those are followed one by
one until a window or a sum has put them together again.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import keras

from zoo.axis_field import Axis, folded, joined, split, without_reads
from zoo.errors import ZooError

POINTWISE = frozenset(
    {
        "BatchNormalization",
        "Activation",
        "ReLU",
        "LeakyReLU",
        "PReLU",
        "ELU",
        "Softmax",
        "Dropout",
        "SpatialDropout2D",
        "SpatialDropout3D",
        "GaussianNoise",
        "GaussianDropout",
        "AlphaDropout",
        "Rescaling",
        "Normalization",
        "Identity",
        "InputLayer",
        "Dense",
        "Add",
        "Subtract",
        "Multiply",
        "Divide",
        "Maximum",
        "Minimum",
        "Average",
        "Sqrt",
        "Square",
        "Absolute",
        "Negative",
        "Exp",
        "Log",
        "Sigmoid",
        "Tanh",
        "Relu",
        "Silu",
        "Gelu",
        "Cast",
        "Clip",
        "Power",
        "TrueDivide",
        "OnesLike",
        "ZerosLike",
        "Relu6",
        "HardSigmoid",
        "HardSwish",
        "Softplus",
        "LayerNormalization",
        "UnitNormalization",
    }
)
"""Layers and operations that look at one place only (LayerNormalization: over channels)."""
UNBOUNDED = frozenset(
    {
        "GroupNormalization",
        "GlobalAveragePooling2D",
        "GlobalAveragePooling3D",
        "GlobalMaxPooling2D",
        "GlobalMaxPooling3D",
        "Flatten",
    }
)
"""Layers that look at the whole map."""


@dataclass(frozen=True, kw_only=True)
class AxisField:
    """What an output sees along one axis.

    Attributes:
        size: Samples that one output sample depends on at most; None: the whole axis.
        stride: Input samples from one output sample to the next.
        low: Output ``i`` depends on no input sample before ``stride * i + low``.
        high: Nor on any after ``stride * i + high``.
        alignment: A tile must start at a multiple of this many samples, or coarse grids shift.
        padded: Whether samples invented at the border (padding) reach the output.
        fixed: Whether samples are taken by number, as networks inflated to 3D mirror their depth:
            such a graph is for images of this size alone.
    """

    size: int | None
    stride: Fraction
    low: Fraction
    high: Fraction
    alignment: int
    padded: bool
    fixed: bool = False

    @property
    def margin(self) -> int | None:
        """Samples at each end of a tile whose results may differ from those on the whole image.

        Results further inside equal them exactly, for tiles that start and end at multiples of
        ``alignment`` in an image whose sides are such multiples; None where no result does.
        """
        if self.size is None:
            return None
        return 0 if not self.padded else max(0, math.ceil(-self.low), math.ceil(self.high))


def receptive_field(
    model: keras.Model, output: str | None = None, *, layer: str | None = None
) -> tuple[AxisField, ...]:
    """Compute the receptive field of an output or of a layer inside, per spatial axis.

    Args:
        model: A functional model with one image input ``(batch, *spatial, channels)``; it may hold
            further such models.
        output: Key of the output, where the model gives a dict; None takes the only one, or
            ``"P0"``.
        layer: Name of a layer, ``model/layer`` inside another model, in place of an output; the
            second call of a layer that is called several times is ``layer:2``.

    Returns:
        One ``AxisField`` per spatial axis.

    Raises:
        ZooError: For a model that is not functional, an unknown output or layer, or a layer on the
            way to it that moves pixels in a way not known here, by name.
    """
    if not hasattr(model, "_nodes_by_depth") or len(model.inputs) != 1:
        raise ZooError(f"model {model.name!r} is not a functional model with one input")
    dims = len(model.inputs[0].shape) - 2
    layers: dict[str, _Known] = {}
    known = _trace(model, [(Axis(),) * dims], dims, "", layers)
    if layer is None:
        field = known.get(id(_output(model, output)))
    elif layer in layers:
        field = layers[layer]
    else:
        raise ZooError(f"model {model.name!r} has no layer {layer!r} that depends on its input")
    if field is None:
        raise ZooError(f"output of {model.name!r} does not depend on its input")
    if isinstance(field, ZooError):
        raise field
    return tuple(_field(axis) for axis in field)


_Known = tuple[Axis, ...] | ZooError
"""The field of a tensor, or why it is not known."""


def _trace(
    model: Any, given: list[_Known | None], dims: int, prefix: str, layers: dict[str, _Known]
) -> dict[int, _Known]:
    """Fields of the tensors of a model, by their identity; those of layers by name too."""
    known: dict[int, _Known] = {
        id(x): field for x, field in zip(model.inputs, given, strict=True) if field is not None
    }
    calls: Counter[int] = Counter()
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            if node.is_input:
                continue
            calls[id(node.operation)] += 1
            inputs = list(node.input_tensors)
            fields = [known[id(x)] for x in inputs if id(x) in known]
            if not fields:
                continue  # made of constants alone
            name = prefix + node.operation.name
            inner = getattr(node.operation, "_functional", None) or node.operation
            if hasattr(inner, "_nodes_by_depth"):
                handed = [known.get(id(x)) for x in inputs]
                inside = _trace(inner, handed, dims, f"{name}/", layers)
                made = [inside.get(id(x)) for x in inner.outputs]
            else:
                made = _after_known(node, fields, dims)
            known |= {id(x): f for x, f in zip(node.outputs, made, strict=True) if f is not None}
            if made and made[0] is not None:
                count = calls[id(node.operation)]
                layers[name if count == 1 else f"{name}:{count}"] = made[0]
    return known


def _after_known(node: Any, fields: list[_Known], dims: int) -> list[_Known | None]:
    """The fields behind a layer; why they are not known, where something before it is not."""
    clear: list[tuple[Axis, ...]] = []
    for field in fields:
        if isinstance(field, ZooError):
            return [field] * len(node.outputs)
        clear.append(field)
    inputs, outputs = list(node.input_tensors), list(node.outputs)
    try:
        if type(node.operation).__name__ == "Split":
            return list(split(node.operation, clear[0], inputs[0], outputs))
        return [_after(node.operation, clear, inputs, outputs[0], dims)] * len(outputs)
    except ZooError as error:
        return [error] * len(outputs)


def _field(axis: Axis) -> AxisField:
    axis = axis.settled()
    size = math.floor(axis.high) - math.ceil(axis.low) + 1 if axis.bounded else None
    return AxisField(
        size=size,
        stride=axis.stride,
        low=axis.low,
        high=axis.high,
        alignment=axis.coarsest,
        padded=axis.padded,
        fixed=axis.fixed,
    )


def _output(model: keras.Model, output: str | None) -> Any:
    outputs = model.output
    if not isinstance(outputs, dict):
        if output is not None or isinstance(outputs, list | tuple):
            raise ZooError(f"model {model.name!r} has no outputs by name, asked for {output!r}")
        return outputs
    name = output or "P0"
    if name not in outputs:
        raise ZooError(f"model {model.name!r} has no output {name!r}; it has {', '.join(outputs)}")
    return outputs[name]


def _after(
    operation: Any, fields: list[tuple[Axis, ...]], inputs: list[Any], output: Any, dims: int
) -> tuple[Axis, ...]:
    """Give the field behind a layer or operation."""
    kind = type(operation).__name__
    first = fields[0]
    if kind in UNBOUNDED:
        return tuple(replace(axis.settled(), bounded=False) for axis in first)
    if kind == "Concatenate":
        return _concatenated(operation, fields, inputs, dims)
    if kind in POINTWISE or _over_channels(operation, kind, dims):
        return _merged(fields)
    if kind == "Reshape" and not isinstance(operation, keras.Layer):
        in_batch = folded(first, inputs[0].shape, output.shape)
        if in_batch is not None:
            return in_batch
    skipped = 0 if first[0].folded is None else 1  # slices in the batch: layers of pictures
    plane = dims - skipped
    if len(fields) == 1 and kind.endswith((f"{plane}D", f"{plane}DTranspose")):
        whole = spatial_sizes(inputs[0], plane)
        parts = [_windowed(operation, kind, axis, whole[axis]) for axis in range(plane)]
        done = [part for part in parts if part is not None]
        if len(done) == plane:
            seen = zip(first[skipped:], done, strict=True)
            return (*first[:skipped], *(axis.windowed(*part) for axis, part in seen))
    if not any(axis.bounded for field in fields for axis in field):
        return _merged(fields)  # nothing sees more than everything
    raise ZooError(
        f"the receptive field behind layer {operation.name!r} ({kind}) is not known here"
    )


def _over_channels(operation: Any, kind: str, dims: int) -> bool:
    """Whether an operation works along the channels alone."""
    axis = getattr(operation, "axis", None)
    if kind == "Mean":
        return bool(operation.keepdims) and axis in (-1, dims + 1, [-1], [dims + 1])
    return kind == "Flip" and axis in (-1, dims + 1)


def spatial_sizes(x: Any, dims: int) -> list[int | None]:
    """Give the sizes along the spatial axes, None where open."""
    return list(x.shape[1:-1]) if len(x.shape) == dims + 2 else [None] * dims


def _merged(fields: list[tuple[Axis, ...]]) -> tuple[Axis, ...]:
    merged = fields[0]
    for other in fields[1:]:
        merged = tuple(a.join(b) for a, b in zip(merged, other, strict=True))
    return merged


def _concatenated(
    layer: Any, fields: list[tuple[Axis, ...]], inputs: list[Any], dims: int
) -> tuple[Axis, ...]:
    """Along channels: depend on all. Along space: samples by number, or borders repeated."""
    rank = len(inputs[0].shape)
    axis = layer.axis % rank
    if axis == rank - 1:
        return _merged(fields)
    if fields[0][0].folded is not None:
        raise ZooError(f"the receptive field behind layer {layer.name!r} is not known here")
    taken = joined([field[axis - 1] for field in fields], [x.shape[axis] for x in inputs])
    if taken is not None:
        found = list(_merged([without_reads(field, axis - 1) for field in fields]))
        found[axis - 1] = replace(found[axis - 1], reads=taken, fixed=True)
        return tuple(found)
    largest = max(range(len(fields)), key=lambda i: inputs[i].shape[axis] or 0)
    before = sum(int(x.shape[axis]) for x in inputs[:largest])
    found = [one.settled() for one in fields[largest]]
    moved = found[axis - 1].through(Fraction(1), Fraction(-before), Fraction(-before))
    found[axis - 1] = replace(moved, padded=True)
    return tuple(found)


def _windowed(
    layer: Any, kind: str, axis: int, size: int | None
) -> tuple[Fraction, Fraction, Fraction, bool] | None:
    """Describe a windowed layer along one axis: step, low, high, whether it invents samples."""
    if kind.endswith("Transpose"):
        return _transposed(layer, axis)
    name = kind[:-2]
    if name in ("Conv", "DepthwiseConv", "SeparableConv"):
        return _window(layer, axis, size, layer.kernel_size[axis], layer.dilation_rate[axis])
    if name in ("MaxPooling", "AveragePooling"):
        return _window(layer, axis, size, layer.pool_size[axis], 1)
    if name == "ZeroPadding":
        low, high = layer.padding[axis]
        shift = Fraction(-low)
        return Fraction(1), shift, shift, bool(low or high)
    if name == "Cropping":
        shift = Fraction(layer.cropping[axis][0])
        return Fraction(1), shift, shift, False
    if name == "UpSampling":
        return _upsampling(layer, layer.size[axis])
    return None


def _transposed(layer: Any, axis: int) -> tuple[Fraction, Fraction, Fraction, bool] | None:
    """Output ``i`` reads ``j`` where ``stride * j + tap - cut = i``."""
    stride, kernel = layer.strides[axis], layer.kernel_size[axis]
    if layer.dilation_rate[axis] != 1 or layer.output_padding is not None:
        return None
    cut = max(0, kernel - stride) // 2 if layer.padding == "same" else 0
    step = Fraction(1, stride)
    # Where windows overlap, the first and last samples get fewer terms.
    return step, Fraction(cut - kernel + 1, stride), Fraction(cut, stride), kernel > stride


def _window(
    layer: Any, axis: int, size: int | None, kernel: int, dilation: int
) -> tuple[Fraction, Fraction, Fraction, bool]:
    stride = layer.strides[axis]
    extent = (kernel - 1) * dilation + 1
    pad = 0
    total = 0
    if layer.padding == "same":
        left = stride if size is None or size % stride == 0 else size % stride
        total = max(0, extent - left)
        pad = total // 2
    # Maxima and averages ignore padding, but their window is cut there: the values differ as well.
    return Fraction(stride), Fraction(-pad), Fraction(extent - 1 - pad), total > 0


def _upsampling(layer: Any, factor: int) -> tuple[Fraction, Fraction, Fraction, bool]:
    step = Fraction(1, factor)
    if getattr(layer, "interpolation", "nearest") == "nearest" or factor == 1:
        return step, -Fraction(factor - 1, factor), Fraction(0), False
    # Half-pixel centres: i reads floor and ceil of (i + 1/2) / factor - 1/2, held at the border.
    centre = Fraction(1, 2 * factor) - Fraction(1, 2)
    reach = 1 - Fraction(1, 2 * factor) if factor % 2 == 0 else 1 - Fraction(1, factor)
    return step, centre - reach, centre + reach, True
