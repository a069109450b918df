"""Segmentation decoders on a backbone's feature pyramid, in 2D and 3D.

``DECODERS`` says what there is; importing it loads no Keras. A decoder takes the pyramid and gives
feature maps by level; ``zoo.segmenters.create_segmenter`` puts logits on them.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from zoo.errors import ZooError


@dataclass(frozen=True, kw_only=True)
class DecoderSpec:
    """One decoder.

    Attributes:
        name: What the caller asks for.
        builder: Dotted ``"module:function"``; the function takes a ``DecoderInput`` and returns
            output name -> feature map, the one for the main logits first.
        widths: Channels by default, finest first; what they mean is in ``meaning``.
        by_level: Whether there is one width per level, from full resolution to the level below the
            top, so that fewer are used on a shorter pyramid; otherwise their number is fixed.
        meaning: What the widths are, in words.
        paper: Short citation with the arXiv identifier.
    """

    name: str
    builder: str
    widths: tuple[int, ...]
    by_level: bool
    meaning: str
    paper: str


_BY_LEVEL = "channels of the levels P0 (full resolution), P1, ... below the backbone's top level"

DECODERS: dict[str, DecoderSpec] = {
    spec.name: spec
    for spec in (
        DecoderSpec(
            name="unet",
            builder="zoo.decoders.unet:unet",
            widths=(16, 32, 64, 128, 256),
            by_level=True,
            meaning=_BY_LEVEL,
            paper="Ronneberger et al., 2015, arXiv:1505.04597",
        ),
        DecoderSpec(
            name="attention_unet",
            builder="zoo.decoders.unet:attention_unet",
            widths=(16, 32, 64, 128, 256),
            by_level=True,
            meaning=_BY_LEVEL,
            paper="Oktay et al., 2018, arXiv:1804.03999",
        ),
        DecoderSpec(
            name="unetpp",
            builder="zoo.decoders.unetpp:unetpp",
            widths=(16, 32, 64, 128, 256),
            by_level=True,
            meaning=_BY_LEVEL,
            paper="Zhou et al., 2018, arXiv:1807.10165",
        ),
        DecoderSpec(
            name="fpn",
            builder="zoo.decoders.fpn:fpn",
            widths=(128, 256),
            by_level=False,
            meaning="channels of the segmentation branch, and of the pyramid",
            paper="Lin et al., 2016, arXiv:1612.03144; Kirillov et al., 2019, arXiv:1901.02446",
        ),
        DecoderSpec(
            name="deeplabv3plus",
            builder="zoo.decoders.deeplab:deeplabv3plus",
            widths=(48, 256),
            by_level=False,
            meaning="channels of the projected stride-4 map, and of the pooling pyramid",
            paper="Chen et al., 2018, arXiv:1802.02611",
        ),
    )
}
"""Every decoder by name."""


@dataclass(frozen=True, kw_only=True)
class DecoderInput:
    """What a decoder is built on.

    Attributes:
        image: The input tensor ``(batch, *spatial, channels)``: its size is that of the logits.
        pyramid: Level (``"P1"``..) -> map, by rising stride; levels may be missing, and two may
            share the size of an axis.
        widths: Channels; see ``DecoderSpec.widths``.
        norm: One of ``zoo.architectures.blocks.NORMS``.
        dropout: Rate of channel dropout before the main logits.
        supervised: Whether the maps for deep supervision are wanted too.
    """

    image: Any
    pyramid: dict[str, Any]
    widths: tuple[int, ...]
    norm: str = "batch"
    dropout: float = 0.0
    supervised: bool = False


def get_decoder(name: str) -> DecoderSpec:
    """Look a decoder up.

    Raises:
        ZooError: For an unknown name, with the nearest one and the choices.
    """
    if name in DECODERS:
        return DECODERS[name]
    near = difflib.get_close_matches(name, DECODERS, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ZooError(f"unknown decoder {name!r}; {hint}choose from {', '.join(DECODERS)}")


def decoder_builder(spec: DecoderSpec) -> Callable[[DecoderInput], dict[str, Any]]:
    """Import the function that builds a decoder."""
    module, function = spec.builder.split(":")
    builder: Callable[[DecoderInput], dict[str, Any]] = getattr(
        importlib.import_module(module), function
    )
    return builder


def check_widths(spec: DecoderSpec, widths: tuple[int, ...] | None, levels: int) -> tuple[int, ...]:
    """Give the widths to build with.

    Args:
        spec: The decoder.
        widths: What the caller asked for; None takes the default.
        levels: Levels that a decoder by level needs widths for.

    Raises:
        ZooError: For a wrong number of widths, or one below 1.
    """
    wanted = levels if spec.by_level else len(spec.widths)
    if widths is None:
        last = spec.widths[-1]
        return (*spec.widths[:wanted], *(last,) * (wanted - len(spec.widths)))
    if len(widths) != wanted or any(not isinstance(w, int) or w < 1 for w in widths):
        raise ZooError(
            f"widths {tuple(widths)} do not fit decoder {spec.name!r}: it needs {wanted} positive "
            f"numbers, finest first: {spec.meaning}"
        )
    return tuple(widths)
