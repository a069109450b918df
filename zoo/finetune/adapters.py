"""Low-rank adapters: small trainable factors beside frozen kernels, merged when training is done.

LoRA (Hu et al., arXiv:2106.09685) for dense layers and 1x1 convolutions; for a larger kernel the
first factor is a convolution of that size to ``rank`` channels, the second a 1x1 convolution.
Keras' own ``enable_lora`` holds the factors, so no layer is added and none is of our making.
"""

from __future__ import annotations

import math
import zlib

import keras
import numpy as np

from zoo.errors import ZooError
from zoo.finetune.policy import Adapters
from zoo.finetune.stages import assign_stages, leaf_layers
from zoo.finetune.trainable import adapted_kernel, first_trained, switch
from zoo.spec import BackboneSpec

_CONVOLUTIONS = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)
_DENSE = (keras.layers.Dense,)
FACTORS = ("lora_kernel_a", "lora_kernel_b")


def add_adapters(
    model: keras.Model, spec: BackboneSpec, adapters: Adapters, *, stages: int | str = "all"
) -> int:
    """Put adapters beside the kernels of a backbone; the model's output stays as it is.

    The second factor starts at zero, so the adapted network begins as the pretrained one. A layer
    whose adapter would not be smaller than its kernel gets none, and neither does the head.
    Adapters that are there stay; those of a loaded file, whose factors Keras has merged and
    zeroed, start again.

    Args:
        model: A model with the backbone in it; changed in place.
        spec: The backbone.
        adapters: Their rank and where they go.
        stages: Stages that get them, counted from the top as in ``set_trainable``.

    Returns:
        Layers with an adapter.

    Raises:
        ZooError: When no layer can take one, or one of another rank is there.
    """
    staged = assign_stages(model, spec)
    first = first_trained(spec, stages, staged)
    count = 0
    for place, layer in staged.layers.items():
        if not first <= staged.stages[place] < staged.head:
            continue
        if adapted_kernel(layer) is not None:
            _start_again(layer, place, adapters)
        elif _takes_adapter(layer, adapters):
            layer.enable_lora(
                adapters.rank,
                lora_alpha=adapters.alpha,
                a_initializer=_initializer(adapters, place),
            )
        else:
            continue
        count += 1
    if not count:
        raise ZooError(
            f"no layer of {model.name!r} takes an adapter of rank {adapters.rank} on "
            f"{adapters.layers!r} layers; give a smaller rank, or layers='all'"
        )
    return count


def merge_adapters(model: keras.Model) -> int:
    """Add every adapter to its kernel and take it away: plain layers, the same function.

    The sum is formed in float64 and rounded once to the kernel's type.

    Args:
        model: Any model, flat or nested; changed in place.

    Returns:
        Layers whose adapter was merged.
    """
    count = 0
    for layer in leaf_layers(model).values():
        kernel = adapted_kernel(layer)
        if kernel is None:
            continue
        plain, a, b = (
            np.asarray(keras.ops.convert_to_numpy(v), "float64")
            for v in (kernel, layer.lora_kernel_a, layer.lora_kernel_b)
        )
        kernel.assign(plain + layer.lora_alpha / layer.lora_rank * (a @ b))
        for name in FACTORS:  # del would untrack it too, and collect garbage for each layer
            layer._untrack_variable(getattr(layer, name))
            layer.__dict__.pop(name)
        layer.lora_enabled, layer.lora_rank, layer.lora_alpha = False, None, None
        switch(layer, on=layer.trainable)
        count += 1
    return count


def _takes_adapter(layer: keras.Layer, adapters: Adapters) -> bool:
    convolution = isinstance(layer, _CONVOLUTIONS)
    if not convolution and not isinstance(layer, _DENSE):
        return False
    if layer.kernel_constraint is not None or (convolution and layer.groups > 1):
        return False
    shape = layer._kernel.shape
    if adapters.layers == "pointwise" and math.prod(shape[:-2]) > 1:
        return False
    inputs, outputs = math.prod(shape[:-1]), shape[-1]
    return bool(adapters.rank * (inputs + outputs) < inputs * outputs)


def _start_again(layer: keras.Layer, place: str, adapters: Adapters) -> None:
    if layer.lora_rank != adapters.rank:
        raise ZooError(
            f"layer {place!r} has an adapter of rank {layer.lora_rank}, not {adapters.rank}; call "
            "merge_adapters first"
        )
    a, b = (np.asarray(keras.ops.convert_to_numpy(getattr(layer, name))) for name in FACTORS)
    if not a.any() and not b.any():
        layer.lora_kernel_a.assign(_initializer(adapters, place)(a.shape))


def _initializer(adapters: Adapters, place: str) -> keras.initializers.Initializer:
    """He's uniform draw, a function of (seed, place of the layer) alone."""
    return keras.initializers.HeUniform(seed=zlib.crc32(f"{adapters.seed}:{place}".encode()))
