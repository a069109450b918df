"""Inflate a network of pictures into a network of volumes, with its weights.

Each kernel is repeated along depth and divided by the number of its copies (Carreira and Zisserman,
arXiv:1705.07750), so that a volume of equal slices gives in every slice what the picture gave. For
that to hold at the first and last slice too, depth is padded by mirroring, never by zeros; in plane
everything stays as it was. A window is as deep as it is high, so ``(1, 7)`` and ``(7, 1)`` together
span ``7 x 7 x 7``.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras

from zoo.architectures.inflate_layers import Convert, Inflater
from zoo.architectures.taps import cut_taps, join_taps
from zoo.errors import ZooError
from zoo.weights.files import LayerArrays


@dataclass(frozen=True, kw_only=True)
class Inflated:
    """A network of volumes that came from one of pictures.

    Attributes:
        model: From the source inputs of the volume to the network's last feature map.
        outputs: Layer of the network of pictures -> the feature map that takes the place of its.
        converts: Layer of the network of pictures -> what makes arrays of layers of this network
            out of its arrays; layers that are not in it keep theirs.
        flat_layers: Layers of the network of pictures that hold weights, in the order of its graph.
    """

    model: keras.Model
    outputs: dict[str, keras.KerasTensor]
    converts: dict[str, Convert]
    flat_layers: tuple[str, ...]

    @property
    def stem(self) -> str:
        """The first convolution of the network of pictures."""
        return next(iter(self.converts))

    def arrays(self, layers: LayerArrays) -> LayerArrays:
        """Turn the arrays of the network of pictures into those of this network.

        Args:
            layers: Layer name -> arrays. Layers that already are those of a volume stay as they
                are, so a file that this network was saved to fits as well. A kernel that lies
                there as one and is a sum of 2D ones here, or the other way round (which depends
                on whether the sizes are known), is cut or joined.

        Returns:
            Layer name -> arrays, to be assigned to ``model``.
        """
        own = {one.name: len(one.weights[0].shape) for one in self.model.layers if one.weights}
        inflated: LayerArrays = {}
        for name, arrays in join_taps(layers, self.converts, own).items():
            convert = self.converts.get(name)
            if convert is None or not arrays or arrays[0].ndim not in (4, 5):
                inflated[name] = arrays
            elif arrays[0].ndim == 4:
                inflated |= convert(arrays)
            else:
                inflated |= {name: arrays} if own.get(name) == 5 else cut_taps(name, arrays)
        return inflated


def inflate(
    network: keras.Model,
    volume: keras.KerasTensor,
    *,
    depth_strides: Sequence[int] | None = None,
    inflater: type[Inflater] = Inflater,
) -> Inflated:
    """Build the counterpart of a network of pictures on a volume, with fresh weights.

    Args:
        network: A flat functional model with one ``(height, width, channels)`` input and one
            output, out of convolutions, poolings, norms, activations and arithmetic.
        volume: ``(batch, depth, height, width, channels)``; height, width and channels as the
            network's input. All three sizes must be known where the network holds depthwise
            convolutions, height and width where a "same" convolution has a stride.
        depth_strides: The stride along depth at each halving of height and width, in their order;
            None: as in plane.
        inflater: What builds the single layers.

    Returns:
        The network, whose layers bear the names of the given one. A depthwise convolution becomes
        one 2D depthwise convolution for each slice under the window, ``<name>_tap0`` on; so does a
        strided one where all three sizes are known; a 1x1 convolution without stride a Dense layer.

    Raises:
        ZooError: For a layer without a counterpart, or sizes that must be known and are not.
    """
    source = keras.utils.get_source_inputs(volume)[0]
    worker = inflater(depth_strides)
    worker.enter(volume)

    def call(operation: Any, *args: Any, **kwargs: Any) -> Any:
        default = inspect.signature(operation.call).parameters
        given = sorted(key for key, value in kwargs.items() if value != default[key].default)
        if given:
            raise ZooError(f"cannot inflate layer {operation.name!r}: it is called with {given}")
        swapped = keras.tree.map_structure(lambda t: volume if t is source else t, args)
        return worker.call(operation, *swapped)

    inputs = keras.tree.map_structure(lambda _: source, network.input)
    model = keras.models.clone_model(
        network, input_tensors=inputs, clone_function=lambda layer: layer, call_function=call
    )
    return Inflated(
        model=model,
        outputs=worker.outputs,
        converts=worker.converts,
        flat_layers=tuple(layer.name for layer in network.layers if layer.weights),
    )
