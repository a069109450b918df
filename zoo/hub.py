"""Backbones out of keras-hub presets: ``create_backbone("hub:resnet_50_imagenet", ...)``.

keras-hub is an extra (``pip install 'radzoo[hub]'``). Its networks consist of its own classes, so
a model saved with one inside needs keras-hub to be opened again, and opens in no plain Keras.
"""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from zoo.channels import ChannelMap, channel_matrix
from zoo.errors import WeightsNotFoundError, ZooError
from zoo.home import from_home
from zoo.preprocessing import per_channel
from zoo.weights.download import reachable

PREFIX = "hub:"
_LEVELS = ("P1", "P2", "P3", "P4", "P5")
_HOSTS = {"hf://": "https://huggingface.co", "": "https://www.kaggle.com"}


def hub_backbone(
    name: str,
    *,
    input_shape: tuple[int | None, ...],
    weights: str | Path | None = "imagenet",
    dims: float = 2,
    channel_map: ChannelMap | None = None,
    depth_strides: Sequence[int] | None = None,
) -> keras.Model:
    """Build the backbone of a keras-hub preset on 0-255 input.

    Args:
        name: ``"hub:"`` and a preset: its name, a ``kaggle://`` or ``hf://`` address, or a folder
            that ``save_to_preset`` wrote (network and image converter).
        input_shape: ``(height, width, channels)``. Other than three channels enter by
            ``zoo.channels.channel_matrix``, as a 1x1 convolution in front of the preprocessing:
            the same picture in all channels gives what the picture gives in colour.
        weights: ``"imagenet"``, the preset's own, or None for random ones.
        dims: 2; keras-hub's networks are not inflated.
        channel_map: As for ``zoo.create_backbone``.
        depth_strides: None.

    Returns:
        A functional model: input ``image``, outputs ``"P1"``..``"P5"``, those that the preset has.

    Raises:
        WeightsNotFoundError: When the preset is neither a folder here nor within reach.
        ZooError: When keras-hub is missing, the preset has no feature pyramid or no image
            converter of a scale and an offset, or an argument does not fit.
    """
    preset = _checked(name, weights, dims=dims, depth_strides=depth_strides)
    channels = _channels(input_shape)
    hub = _keras_hub(name)
    source = _locate(hub, preset)
    network = _load(hub.models.Backbone, source, name, load_weights=weights is not None)
    levels = getattr(network, "pyramid_outputs", {})
    outputs = {level: levels[level] for level in _LEVELS if level in levels}
    if not outputs:
        raise ZooError(f"{name!r} ({type(network).__name__}) has no feature pyramid to take out")
    if isinstance(network.input, dict | list):
        raise ZooError(f"{name!r} ({type(network).__name__}) takes more than one picture")
    converter = _load(hub.layers.ImageConverter, source, name)
    image = keras.Input(input_shape, name="image", dtype="float32")
    colours = network.input.shape[-1]
    pixels = image
    if channel_map is not None or channels != colours:
        pixels = _to_colours(image, channel_matrix(channels, channel_map, base=colours))
    pyramid = keras.Model(network.input, outputs, name="network")
    _check_size(name, input_shape, pyramid.input.shape)
    features = pyramid(_preprocess(pixels, converter, name))
    return keras.Model(image, features, name=re.sub(r"[^A-Za-z0-9_]+", "_", name))


def _checked(
    name: str,
    weights: str | Path | None,
    *,
    dims: float,
    depth_strides: Sequence[int] | None,
) -> str:
    """Give the preset, after refusing arguments that no preset takes."""
    preset = name.removeprefix(PREFIX)
    if not preset:
        raise ZooError(f"{name!r} names no preset; write for example 'hub:resnet_50_imagenet'")
    if dims != 2 or depth_strides is not None:
        raise ZooError(f"{name!r} is 2D only: volumes are for the registered networks, dims=3")
    if weights not in (None, "imagenet"):
        raise ZooError(
            f"weights {str(weights)!r} for {name!r}: a preset brings its own; give 'imagenet' for "
            "those, or None for random ones"
        )
    return preset


def _channels(input_shape: tuple[int | None, ...]) -> int:
    channels = input_shape[-1] if len(input_shape) == 3 else None
    if not isinstance(channels, int) or channels < 1:
        raise ZooError(f"input_shape {input_shape} is not (height, width, channels)")
    return channels


def _keras_hub(name: str) -> Any:
    try:
        return importlib.import_module("keras_hub")
    except ImportError as error:
        raise ZooError(f"{name!r} needs keras-hub: pip install 'radzoo[hub]' ({error})") from error


def _locate(hub: Any, preset: str) -> str:
    """Give what keras-hub loads: a folder that is here, or a preset whose host answers.

    Raises:
        WeightsNotFoundError: When it is neither.
        ZooError: For a name that keras-hub does not know.
    """
    folder = from_home(preset)
    if (folder / "config.json").is_file():
        return str(folder)
    if folder.is_dir() or folder.is_absolute():
        raise WeightsNotFoundError(
            f"the folder {folder.name!r} holds no keras-hub preset: its config.json is missing"
        )
    known = hub.models.Backbone.presets
    if "://" not in preset and preset not in known:
        near = difflib.get_close_matches(preset, known, n=1)
        hint = f"; did you mean 'hub:{near[0]}'?" if near else ""
        raise ZooError(f"keras-hub knows no preset {preset!r}{hint}")
    host = next(url for prefix, url in _HOSTS.items() if preset.startswith(prefix))
    if not reachable(host):
        raise WeightsNotFoundError(
            f"the keras-hub preset {preset!r} is not here and {host.removeprefix('https://')} is "
            "out of reach: save it with save_to_preset (network and image converter) where there "
            "is a network, and give 'hub:FOLDER'"
        )
    return preset


def _load(kind: Any, source: str, name: str, **options: Any) -> Any:
    """Load a part of a preset.

    Raises:
        ZooError: When keras-hub refuses, with its words.
    """
    try:
        return kind.from_preset(source, **options)
    except (ValueError, OSError, KeyError) as error:
        first = str(error).strip().partition("\n")[0]
        raise ZooError(f"keras-hub gives no {kind.__name__} for {name!r}: {first}") from error


def _to_colours(image: keras.KerasTensor, matrix: np.ndarray[Any, Any]) -> keras.KerasTensor:
    """Mix C channels to the colours of the preset; zero padding comes later, so borders are right.

    Args:
        image: ``(batch, height, width, C)``.
        matrix: ``(colours, C)``.
    """
    kernel = matrix.T[None, None].astype("float32")
    mix = keras.layers.Conv2D(len(matrix), 1, use_bias=False, name="to_colours")
    colours = mix(image)
    mix.set_weights([kernel])
    return colours


def _preprocess(x: keras.KerasTensor, converter: Any, name: str) -> keras.KerasTensor:
    """Scale and shift as the preset's image converter does, without its resizing.

    Raises:
        ZooError: When it does something else besides.
    """
    colours = x.shape[-1]
    scale = 1.0 if converter.scale is None else converter.scale
    offset = 0.0 if converter.offset is None else converter.offset
    parts = [np.ravel(np.asarray(part, "float64")).tolist() for part in (scale, offset)]
    if any(len(part) not in (1, colours) for part in parts):
        raise ZooError(f"the image converter of {name!r} is for other than {colours} channels")
    factors, shifts = (per_channel(tuple(part), colours) for part in parts)
    layer = keras.layers.Rescaling(factors, offset=shifts, name="preprocess")
    probe = np.random.default_rng(0).uniform(0.0, 255.0, (1, 4, 4, colours)).astype("float32")
    converter.image_size = None
    theirs, ours = (keras.ops.convert_to_numpy(one(probe)) for one in (converter, layer))
    if theirs.shape != ours.shape or not np.allclose(theirs, ours, rtol=1e-4, atol=1e-4):
        raise ZooError(
            f"the image converter of {name!r} ({type(converter).__name__}) does more than scale "
            "and shift, which cannot be put into the network"
        )
    return layer(x)


def _check_size(name: str, given: tuple[int | None, ...], wanted: tuple[int | None, ...]) -> None:
    sides = list(zip(given[:2], wanted[1:3], strict=True))
    if any(side is not None and one != side for one, side in sides):
        raise ZooError(
            f"{name!r} takes pictures of {wanted[1]} x {wanted[2]} only, not {given[:2]}"
        )
