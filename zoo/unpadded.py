"""Backbones without padding: patch classifiers whose dense form gives the same scores.

A padded network sees zeros where a larger image has neighbours, so no dense network gives its
patches' scores. Here every convolution and pooling loses its padding, and where branches meet the
larger ones are cropped to the places that both have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
from keras import layers

from zoo.dense import refuse
from zoo.errors import NotExactError, ZooError

_WINDOWED = {
    layers.Conv2D: "kernel_size",
    layers.Conv3D: "kernel_size",
    layers.DepthwiseConv2D: "kernel_size",
    layers.SeparableConv2D: "kernel_size",
    layers.MaxPooling2D: "pool_size",
    layers.MaxPooling3D: "pool_size",
    layers.AveragePooling2D: "pool_size",
    layers.AveragePooling3D: "pool_size",
}
_PADDINGS = (layers.ZeroPadding2D, layers.ZeroPadding3D)
_ALIKE = (
    layers.BatchNormalization,
    layers.ReLU,
    layers.LeakyReLU,
    layers.Activation,
    layers.Rescaling,
    layers.Normalization,
    layers.Dropout,
)
_MERGES = (layers.Add, layers.Concatenate, layers.Average, layers.Maximum, layers.Multiply)
_CROPPING = {2: layers.Cropping2D, 3: layers.Cropping3D}


@dataclass(frozen=True)
class _Place:
    """Where the places of a tensor lie, one number per axis.

    Attributes:
        offset: Pixel of the image in the middle of what the first place sees.
        step: Pixels from place to place.
    """

    offset: tuple[float, ...]
    step: tuple[int, ...]


def patch_backbone(
    name: str,
    *,
    patch_shape: Sequence[int],
    classes: int,
    level: str = "P3",
    weights: str | Path | None = "imagenet",
    hidden: int = 0,
    dropout: float = 0.2,
    input_range: tuple[float, float] = (0.0, 255.0),
) -> keras.Model:
    """Build a classifier of a patch's centre out of a backbone; ``to_dense`` converts it exactly.

    The backbone is cut off at a level of its pyramid and stripped of its padding; what it leaves of
    the patch is joined by a dense layer. Its weights are those of the padded network.

    Args:
        name: A registered 2D convolutional backbone.
        patch_shape: ``(height, width, channels)``.
        classes: Number of logits.
        level: Level of the pyramid, ``"P1"`` to ``"P5"``.
        weights: As for ``create_backbone``.
        hidden: Units of a dense layer before the logits; 0 has none.
        dropout: Rate before the dense layers, in [0, 1).
        input_range: As for ``create_model``.

    Returns:
        A model from ``image``, float32 ``(batch, *patch_shape)``, to float32 ``logits``
        ``(batch, classes)``.

    Raises:
        ZooError: An unknown level, arguments out of range, or a patch too small.
        NotExactError: Naming the layer that looks at the whole image (squeeze and excitation,
            attention) or is not known.
    """
    from zoo.backbones import create_backbone
    from zoo.heads.model import to_pixels

    if len(patch_shape) != 3 or classes < 1 or hidden < 0 or not 0 <= dropout < 1:
        raise ZooError(
            f"patch_shape {tuple(patch_shape)} must be (height, width, channels), classes "
            f"{classes} 1 or more, hidden {hidden} 0 or more, dropout {dropout} in [0, 1)"
        )
    padded = create_backbone(name, input_shape=tuple(patch_shape), weights=weights)
    if level not in padded.output:
        raise ZooError(f"{name} has the levels {', '.join(padded.output)}, not {level!r}")
    image = keras.Input(tuple(patch_shape), name="image", dtype="float32")
    body = keras.Model(padded.inputs[0], padded.output[level], name=name)
    x = _stripped(body, to_pixels(image, input_range))
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dropout(dropout, name="dropout")(x)
    if hidden:
        x = layers.Dense(hidden, activation="relu", name="hidden")(x)
        x = layers.Dropout(dropout, name="hidden_dropout")(x)
    x = layers.Dense(classes, dtype="float32", name="logits")(x)
    return keras.Model(image, x, name=f"{name}_patch_classifier")


def unpadded(model: keras.Model) -> keras.Model:
    """The same network without padding, on inputs of the same fixed size.

    Args:
        model: A functional model from ``(batch, *sides, channels)`` to one feature map: of
            convolutions, poolings, zero paddings, batch norms, activations and merges.

    Returns:
        A model with a copy of the weights; its feature map is smaller, and each place of it is what
        the padded network gives far from the borders, on an image moved by less than its stride:
        padding moves the grid too.

    Raises:
        NotExactError: Naming a layer that is not one of these.
        ZooError: The input is too small for the network.
    """
    sides = tuple(model.inputs[0].shape[1:-1])
    if None in sides or len(sides) not in (2, 3):
        raise NotExactError(f"model {model.name!r} takes {sides}: its sides must be fixed")
    image = keras.Input(model.inputs[0].shape[1:], name="image", dtype=model.inputs[0].dtype)
    return keras.Model(image, _stripped(model, image), name=f"{model.name}_unpadded")


def _stripped(model: keras.Model, image: keras.KerasTensor) -> keras.KerasTensor:
    """The feature map of the stripped network on an image."""
    try:
        bare = keras.models.clone_model(
            model,
            input_tensors=image,
            clone_function=lambda layer: layer,
            call_function=_Stripper(image).call,
        )
    except ZooError:
        raise
    except ValueError as error:
        sides = " x ".join(map(str, image.shape[1:-1]))
        raise ZooError(
            f"a patch of {sides} is too small for {model.name!r} without padding ({error}); give a "
            "larger one or a lower level"
        ) from error
    return bare.outputs[0]


class _Stripper:
    """Rebuilds each layer without padding and keeps where the places of every tensor lie."""

    def __init__(self, image: keras.KerasTensor) -> None:
        self.dims = len(image.shape) - 2
        first = _Place((0.0,) * self.dims, (1,) * self.dims)
        # Tensors are kept with their places, so that no id is used twice.
        self.known: dict[int, tuple[Any, _Place]] = {id(image): (image, first)}
        self.makers: dict[int, tuple[Any, Any]] = {}

    def call(self, layer: Any, *args: Any, **kwargs: Any) -> Any:
        """Rebuild one layer; ``clone_model`` calls it for every node."""
        inputs = keras.tree.flatten(args)
        if not all(keras.utils.is_keras_tensor(x) and id(x) in self.known for x in inputs):
            raise refuse(layer, "takes what is no feature map")
        if type(layer) in _PADDINGS or getattr(layer, "noise_shape", None) is not None:
            return inputs[0]
        if type(layer) in _MERGES:
            return self._merge(layer, inputs)
        if type(layer) in _WINDOWED or type(layer) in _ALIKE:
            return self._one(layer, inputs[0])
        raise refuse(layer, "is not known to work without padding")

    def _one(self, layer: Any, x: Any) -> Any:
        """A layer with one input, its padding left out."""
        place = self.known[id(x)][1]
        config = layer.get_config()
        if type(layer) in _WINDOWED:
            config["padding"] = "valid"
            place = self._behind(layer, place)
        twin = type(layer).from_config(config)
        output = twin(x)
        twin.set_weights(layer.get_weights())
        self.known[id(output)] = (output, place)
        self.makers[id(output)] = (layer, x)
        return output

    def _behind(self, layer: Any, place: _Place) -> _Place:
        size = getattr(layer, _WINDOWED[type(layer)])
        dilation = getattr(layer, "dilation_rate", 1)
        dilation = dilation if isinstance(dilation, tuple) else (dilation,) * self.dims
        strides = (
            layer.strides if isinstance(layer.strides, tuple) else (layer.strides,) * self.dims
        )
        axes = range(self.dims)
        return _Place(
            tuple(place.offset[a] + place.step[a] * dilation[a] * (size[a] - 1) / 2 for a in axes),
            tuple(place.step[a] * strides[a] for a in axes),
        )

    def _merge(self, layer: Any, inputs: list[Any]) -> Any:
        """Crop what meets to the places that all have."""
        places = [self.known[id(x)][1] for x in inputs]
        if len({place.step for place in places}) > 1:
            raise refuse(layer, "joins maps of different strides")
        axes = range(self.dims)
        start = tuple(max(place.offset[a] for place in places) for a in axes)
        moved = [self._moved(layer, x, start) for x in inputs]
        sides = [min(x.shape[1 + a] for x in moved) for a in axes]
        if min(sides) < 1:
            raise ZooError(
                f"nothing is left of the patch at layer {layer.name!r}; give a larger one"
            )
        cut = [
            self._cropped(
                x, tuple((0, x.shape[1 + a] - sides[a]) for a in axes), f"{layer.name}_{k}"
            )
            for k, x in enumerate(moved)
        ]
        output = type(layer).from_config(layer.get_config())(cut)
        self.known[id(output)] = (output, replace(places[0], offset=start))
        return output

    def _moved(self, layer: Any, x: Any, start: tuple[float, ...]) -> Any:
        """The tensor from the place on that lies at `start`, made again where it skips it."""
        place = self.known[id(x)][1]
        away = [(b - a) / s for a, b, s in zip(place.offset, start, place.step, strict=True)]
        if all(float(n).is_integer() for n in away):
            cut = tuple((int(n), 0) for n in away)
            return self._cropped(x, cut, f"{layer.name}_{len(self.known)}")
        if id(x) not in self.makers:
            raise refuse(layer, "joins maps whose places lie between each other")
        maker, source = self.makers[id(x)]
        if type(maker) in _WINDOWED and max(getattr(maker, _WINDOWED[type(maker)])) > 1:
            raise refuse(layer, "joins maps whose places lie between each other")
        return self._one(maker, self._moved(layer, source, start))

    def _cropped(self, x: Any, cut: tuple[tuple[int, int], ...], name: str) -> Any:
        if not any(any(pair) for pair in cut):
            return x
        output = _CROPPING[self.dims](cut, name=f"{name}_crop")(x)
        place = self.known[id(x)][1]
        offset = tuple(
            o + s * first for o, s, (first, _) in zip(place.offset, place.step, cut, strict=True)
        )
        self.known[id(output)] = (output, replace(place, offset=offset))
        self.makers.pop(id(output), None)
        return output
