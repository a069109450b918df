"""From a registered name to a Keras model with a feature pyramid."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from zoo.architectures.depth import check_depth_strides
from zoo.architectures.inflate import Inflated, inflate
from zoo.channels import Array, ChannelMap, channel_matrix, fold_kernel, needs_constant
from zoo.channels import with_constant as append_constant
from zoo.errors import WeightsMismatchError, ZooError
from zoo.planes import slices_as_channels
from zoo.preprocessing import preprocess, preprocess_evenly
from zoo.registry import get_spec
from zoo.spec import BackboneSpec
from zoo.weights.loading import (
    FoundWeights,
    assign_layers,
    canonical_layers,
    check_axes,
    find_weights,
    source_of,
    weighted_layers,
)


def create_backbone(
    name: str,
    *,
    input_shape: tuple[int | None, ...],
    weights: str | Path | None = "imagenet",
    dims: float = 2,
    channel_map: ChannelMap | None = None,
    depth_strides: Sequence[int] | None = None,
) -> keras.Model:
    """Build a backbone on 0-255 input, its preprocessing inside.

    Args:
        name: Registered name; or ``"hub:"`` and a preset of keras-hub, see ``zoo.hub``.
        input_shape: ``(height, width, channels)``; ``(depth, height, width, channels)`` in 3D;
            ``(slices, height, width, channels)`` in 2.5D.
            Three channels are RGB; any other number gets the published filters folded (see
            ``zoo.channels``): one channel their sum, several the filters in turn, rescaled. Height
            and width may be None unless ``spec.static_size``.
        weights: ``"imagenet"`` or another name that the registry lists for this backbone, a path
            to a weight file (``.weights.h5``, ``.h5``, ``.keras``, ``.safetensors``), or None for
            random weights.
        dims: 2; 3 for volumes: a network of pictures is inflated with its weights; or 2.5: the
            slices of a slab (``zoo.planes``) are the channels of a network of pictures, whose
            feature maps have no depth.
        channel_map: What each input channel is to the published filters, instead of taking them
            in turn: ``"R"``, ``"G"``, ``"B"``, ``"RGB"``, ``"none"``, or a weight for each. In
            2.5D an entry for each channel of the first slice, then of the second...
        depth_strides: In 3D, the stride along depth at each halving of height and width, in their
            order, for slices thicker than pixels, for example ``(1, 1, 2, 2, 2)``; None: as in
            plane. Depth is mirrored at its ends, so any number of slices will do.

    Returns:
        A functional model named ``name``. Its input is ``image``, float32
        ``(batch, *spatial, channels)`` in 0-255; its output a dict ``"P1"``..``"P5"`` by
        rising stride 2..32, without those the network does not have. It is made of built-in
        layers, so plain Keras opens the saved file.

    Raises:
        UnknownBackboneError: For a name that is not registered.
        WeightsNotFoundError: When the weights are neither here nor obtainable now.
        WeightsMismatchError: When a weight file does not fit.
        ZooError: For an input too small, or arguments that the backbone rules out.
    """
    if name.startswith("hub:"):
        from zoo.hub import hub_backbone

        return hub_backbone(
            name,
            input_shape=input_shape,
            weights=weights,
            dims=dims,
            channel_map=channel_map,
            depth_strides=depth_strides,
        )
    spec = get_spec(name)
    check_input(spec, input_shape, dims=dims, depth_strides=depth_strides)
    found = find_weights(spec, weights)
    image = keras.Input(input_shape, name="image", dtype="float32")
    pixels = slices_as_channels(image) if dims == 2.5 else image
    pyramid = build_pyramid(
        spec, pixels, found=found, channel_map=channel_map, depth_strides=depth_strides
    )
    return keras.Model(image, pyramid, name=spec.name)


def build_pyramid(
    spec: BackboneSpec,
    pixels: keras.KerasTensor,
    *,
    found: FoundWeights | None = None,
    channel_map: ChannelMap | None = None,
    depth_strides: Sequence[int] | None = None,
) -> dict[str, keras.KerasTensor]:
    """Build the network of ``spec`` on a tensor of 0-255 pixels and give it its weights.

    Args:
        spec: The backbone.
        pixels: ``(batch, height, width, channels)``, or ``(batch, depth, height, width,
            channels)`` for the network in 3D.
        found: What ``find_weights`` gave; None leaves random weights.
        channel_map: As for ``create_backbone``.
        depth_strides: As for ``create_backbone``.

    Returns:
        Pyramid level (``"P1"``: stride 2, to ``"P5"``: stride 32) -> feature map.

    Raises:
        WeightsMismatchError: When the weights do not fit.
        ZooError: For a channel map that does not fit.
    """
    entry = _entry(spec, found, pixels.shape[-1], channel_map)
    module, function = spec.builder.split(":")
    builder = getattr(importlib.import_module(module), function)
    entered = entry.apply(pixels)
    if len(pixels.shape) == spec.dims + 2:
        network = builder(spec, entered)
        _fill(network, spec, found, entry)
        return {level(stride): network.get_layer(layer).output for stride, layer in spec.taps}
    check_depth_strides(depth_strides, stride=spec.taps[-1][0], name=spec.name)
    flat = builder(spec, keras.Input(entered.shape[2:], dtype=entered.dtype))
    inflated = inflate(flat, entered, depth_strides=depth_strides)
    _fill(inflated.model, spec, found, entry, inflated=inflated)
    return {level(stride): inflated.outputs[layer] for stride, layer in spec.taps}


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """How pixels enter a network: its preprocessing, and how channels fold.

    Attributes:
        mode: Preprocessing.
        base: Channels of the published network.
        matrix: ``(base, channels)``; None where the channels are the published ones.
        mapped: Whether the caller gave a channel map.
    """

    mode: str
    base: int
    matrix: Array | None
    mapped: bool

    @property
    def constant(self) -> bool:
        """Whether the first kernel takes a further channel of ones."""
        return self.matrix is not None and needs_constant(self.mode, self.matrix)

    def apply(self, pixels: keras.KerasTensor) -> keras.KerasTensor:
        """Preprocess, and append the channel of ones where it is needed."""
        if self.matrix is None:
            return preprocess(pixels, self.mode)
        x = preprocess_evenly(pixels, self.mode)
        return append_constant(x) if self.constant else x


def _entry(
    spec: BackboneSpec, found: FoundWeights | None, channels: int, channel_map: ChannelMap | None
) -> _Entry:
    weight = found.weight if found is not None else None
    mode = (weight.preprocessing if weight else None) or spec.preprocessing
    base = weight.channels if weight else (spec.weights[0].channels if spec.weights else 3)
    native = channels == base and channel_map is None
    matrix = None if native else channel_matrix(channels, channel_map, base=base)
    return _Entry(mode=mode, base=base, matrix=matrix, mapped=channel_map is not None)


def _fill(
    network: keras.Model,
    spec: BackboneSpec,
    found: FoundWeights | None,
    entry: _Entry,
    *,
    inflated: Inflated | None = None,
) -> None:
    """Put weights into the network; without any, let the channel of ones start silent."""
    name = inflated.stem if inflated else stem_layer(network)
    stems = [network.get_layer(one) for one in _with_taps(name, weighted_layers(network))]
    if found is None:
        for stem in stems if entry.constant else []:
            kernel, *rest = stem.get_weights()
            kernel[..., -1, :] = 0.0
            stem.set_weights([kernel, *rest])
        return
    names = inflated.flat_layers if inflated else weighted_layers(network)
    arrays = canonical_layers(spec, found, names=names)
    source = source_of(spec, found)
    channels = stems[0].kernel.shape[-2]
    for one in _with_taps(name, arrays) if entry.matrix is not None else ():
        published = found.weight is not None or entry.mapped
        kernel, *rest = arrays[one]
        kernel = _fold(kernel, channels, entry, published=published, source=source)
        arrays = {**arrays, one: [kernel, *rest]}
    if inflated is not None:
        arrays = inflated.arrays(arrays)
    else:
        check_axes(network, arrays, source=source)
    _check_channels(stems, arrays, source=source)
    assign_layers(network, arrays, source=source)


def _check_channels(
    stems: Sequence[keras.Layer], arrays: Mapping[str, Sequence[Array]], *, source: str
) -> None:
    """Refuse a first kernel that fits but for its channels.

    Raises:
        WeightsMismatchError: With both numbers, and what to do.
    """
    for stem in stems:
        wanted = tuple(stem.kernel.shape)
        have = tuple(arrays[stem.name][0].shape) if arrays.get(stem.name) else wanted
        same = len(have) == len(wanted) and (*have[:-2], have[-1]) == (*wanted[:-2], wanted[-1])
        if same and have != wanted:
            raise WeightsMismatchError(
                f"the first kernel of {source} (layer {stem.name!r}) takes {have[-2]} channels and "
                f"the network's {wanted[-2]} (a constant one counts where the preprocessing needs "
                "it): only weights for the published channels fold into other numbers; give input "
                "of as many channels as the weights were trained on, or other weights"
            )


def _fold(kernel: Array, channels: int, entry: _Entry, *, published: bool, source: str) -> Array:
    """Fit a first kernel to the channels that the network has.

    Args:
        kernel: ``(*window, channels, filters)``.
        channels: What the network's own first kernel takes, the channel of ones included.
        entry: How pixels enter.
        published: Whether the kernel is known to be for the published channels.
        source: What to call the weights in a message.

    Raises:
        WeightsMismatchError: When the kernel could be meant in two ways.
    """
    given = kernel.shape[-2]
    if given == channels == entry.base and not published:
        raise WeightsMismatchError(
            f"the first kernel of {source} takes {given} channels, which may be {entry.base} "
            f"colours, or {given - 1} channels and a constant: give channel_map to fold colours, "
            "or open the saved model with keras.models.load_model"
        )
    if given != entry.base or entry.matrix is None:
        return kernel
    return fold_kernel(np.asarray(kernel), entry.mode, entry.matrix)


def _with_taps(stem: str, names: Iterable[str]) -> list[str]:
    """Pick a first convolution, or the layers that it became when it was inflated."""
    return [one for one in names if one == stem or one.startswith(f"{stem}_tap")]


def stem_layer(network: keras.Model) -> str:
    """Name the first convolution, the one that the image enters.

    Raises:
        ZooError: When the network has none.
    """
    for layer in network.layers:
        if any(len(weight.shape) >= 4 for weight in layer.weights):
            return str(layer.name)
    raise ZooError(f"network {network.name!r} has no convolution to take other channels")


def level(stride: int) -> str:
    """Name the pyramid level of a stride: 2 is ``"P1"``, 32 is ``"P5"``."""
    return f"P{stride.bit_length() - 1}"


def check_input(
    spec: BackboneSpec,
    input_shape: tuple[int | None, ...],
    *,
    dims: float = 2,
    depth_strides: Sequence[int] | None = None,
) -> None:
    """Refuse shapes that the backbone cannot take.

    Raises:
        ZooError: Naming the shape and what would do.
    """
    if dims not in (2, 2.5, 3):
        raise ZooError(f"dims is {dims!r}; give 2 for pictures, 2.5 for slabs or 3 for volumes")
    if dims < spec.dims:
        raise ZooError(f"{spec.name!r} takes volumes: give dims=3 and (depth, height, width, C)")
    if dims == 3 > spec.dims and not spec.inflatable:
        raise ZooError(f"{spec.name!r} cannot be built in 3D: it is not made of convolutions alone")
    if depth_strides is not None and (dims, spec.dims) != (3, 2):
        raise ZooError("depth_strides is for networks of pictures built with dims=3")
    first = {2: (), 2.5: ("slices",), 3: ("depth",)}[dims]
    axes = (*first, "height", "width", "channels")
    needed = (input_shape[0], input_shape[-1]) if dims == 2.5 and input_shape else input_shape[-1:]
    given = [one for one in input_shape if one is not None]
    if (
        len(input_shape) != len(axes)
        or None in needed
        or not all(isinstance(one, int) and one > 0 for one in given)
    ):
        raise ZooError(f"input_shape {input_shape} is not ({', '.join(axes)})")
    sides = input_shape[-3:-1]
    if spec.static_size and None in sides:
        raise ZooError(f"input_shape {input_shape} leaves a side open; {spec.name!r} needs both")
    if any(side is not None and side < spec.min_size for side in sides):
        raise ZooError(
            f"input_shape {input_shape} is too small for {spec.name!r}: "
            f"at least {spec.min_size} pixels a side"
        )
