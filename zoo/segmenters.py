"""Segmentation networks: a backbone of the registry, a decoder on its pyramid, logits per pixel."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import keras

from zoo.architectures.blocks import check_norm, conv
from zoo.backbones import build_pyramid, check_input
from zoo.channels import ChannelMap
from zoo.decoders import DecoderInput, check_widths, decoder_builder, get_decoder
from zoo.decoders.levels import stages
from zoo.decoders.supervision import MAIN
from zoo.errors import ZooError
from zoo.heads.model import to_pixels
from zoo.registry import get_spec
from zoo.weights.loading import find_weights


def create_segmenter(
    name: str,
    *,
    input_shape: tuple[int, ...],
    classes: int,
    decoder: str = "unet",
    weights: str | Path | None = "imagenet",
    dims: int = 2,
    widths: Sequence[int] | None = None,
    norm: str = "batch",
    deep_supervision: bool = False,
    channel_map: ChannelMap | None = None,
    depth_strides: Sequence[int] | None = None,
    input_range: tuple[float, float] = (0.0, 255.0),
    dropout: float = 0.0,
) -> keras.Model:
    """Build a segmentation network: one flat graph of built-in layers from pixels to logits.

    Args:
        name: Registered name of the backbone.
        input_shape: ``(height, width, channels)``, or ``(depth, height, width, channels)`` in 3D;
            any size, odd ones included, but known: for another size build again and copy the
            weights, which do not depend on it.
        classes: Logits per pixel: the number of classes with the background, or 1 for a binary
            task with one logit, or one per overlapping structure.
        decoder: One of ``zoo.decoders.DECODERS``.
        weights: Weights of the backbone, as for ``create_backbone``; the decoder is always new.
        dims: As for ``create_backbone``.
        widths: Channels of the decoder, finest first; see ``DecoderSpec.meaning``. None: its own.
        norm: Norm in the decoder: ``"batch"``, ``"instance"``, ``"group"`` or ``"none"``.
        deep_supervision: Give logits at coarser levels too; see ``zoo.decoders.supervision``.
        channel_map: As for ``create_backbone``.
        depth_strides: As for ``create_backbone``.
        input_range: Bounds of the input in modality units, clipped and scaled to 0-255 inside, as
            for ``create_model``.
        dropout: Rate of channel dropout before the main logits, in [0, 1).

    Returns:
        A functional model ``<name>_<decoder>``: input ``image``, float32
        ``(batch, *spatial, channels)``; output of the layer ``logits``, float32
        ``(batch, *spatial, classes)``, without an activation. With deep supervision a dict:
        ``"P0"`` is that output, the others (``logits_<level>``) are coarser.

    Raises:
        ZooError: As ``create_backbone`` does, and for arguments out of range.
    """
    spec = get_spec(name)
    if dims not in (2, 3):
        raise ZooError(f"dims is {dims!r}; a segmenter takes 2 or 3")
    check_input(spec, input_shape, dims=dims, depth_strides=depth_strides)
    _check(input_shape, classes, norm, input_range, dropout)
    chosen = get_decoder(decoder)
    if widths is not None:
        check_widths(chosen, tuple(widths), len(widths) if chosen.by_level else 0)
    found = find_weights(spec, weights)
    image = keras.Input(input_shape, name="image", dtype="float32")
    pyramid = build_pyramid(
        spec,
        to_pixels(image, input_range),
        found=found,
        channel_map=channel_map,
        depth_strides=depth_strides,
    )
    asked = None if widths is None else tuple(widths)
    given = DecoderInput(
        image=image,
        pyramid=pyramid,
        widths=check_widths(chosen, asked, len(stages(image, pyramid))),
        norm=norm,
        dropout=dropout,
        supervised=deep_supervision,
    )
    maps = decoder_builder(chosen)(given)
    return keras.Model(
        image,
        with_logits(maps, classes, supervised=deep_supervision),
        name=f"{spec.name}_{decoder}",
    )


def with_logits(
    maps: dict[str, keras.KerasTensor], classes: int, *, supervised: bool
) -> keras.KerasTensor | dict[str, keras.KerasTensor]:
    """Put 1x1 convolutions on a decoder's maps: ``logits``, and ``logits_<name>`` for the others.

    Args:
        maps: Output name -> map; ``"P0"`` is the main one.
        classes: Logits per pixel.
        supervised: Whether a dict is wanted.

    Returns:
        The main logits, or a dict of all. All are float32.
    """
    logits = {
        name: conv(
            x,
            classes,
            1,
            bias=True,
            dtype="float32",
            name="logits" if name == MAIN else f"logits_{name}",
        )
        for name, x in maps.items()
    }
    return logits if supervised else logits[MAIN]


def _check(
    input_shape: Sequence[int | None],
    classes: int,
    norm: str,
    input_range: tuple[float, float],
    dropout: float,
) -> None:
    if None in input_shape:
        raise ZooError(
            f"input_shape {tuple(input_shape)} leaves a side open; a segmenter is built for one "
            "size, and its weights fit every other"
        )
    if not isinstance(classes, int) or classes < 1:
        raise ZooError(f"classes is {classes!r}; a segmenter needs at least 1 logit per pixel")
    if not 0.0 <= dropout < 1.0:
        raise ZooError(f"dropout is {dropout}; it must lie in [0, 1)")
    if not input_range[0] < input_range[1]:
        raise ZooError(f"input_range {input_range} is empty; give (lower, upper)")
    check_norm(norm)
