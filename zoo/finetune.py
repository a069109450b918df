"""Staged fine-tuning: which layers train, how fast each, and proof that the others stood still."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Literal

import keras
import numpy as np

from zoo.errors import FrozenMovedError, ZooError
from zoo.spec import BackboneSpec


def layer_stages(model: keras.Model, spec: BackboneSpec) -> dict[str, int]:
    """Assign every layer to a stage: that of the first tap which depends on it.

    Args:
        model: A backbone, or a flat model with the backbone's layers in it.
        spec: The backbone.

    Returns:
        Layer name -> stage. With n taps, 0 is the stem (everything up to the first tap), n - 1 the
        layers between the last two taps, n + 1 the head: whatever no tap depends on. Layers
        that lie behind the top tap are not part of these models, so n stays unused. A classifier
        on lower levels ends at its highest one and lacks the stages above it.

    Raises:
        ZooError: When the model lacks the taps of ``spec``.
    """
    stages: dict[str, int] = {}
    for stage, tap in enumerate(_present_taps(model, spec)):
        before = keras.Model(model.inputs, model.get_layer(tap).output)
        for layer in before.layers:
            stages.setdefault(layer.name, stage)
    head = len(spec.taps) + 1
    return {layer.name: stages.get(layer.name, head) for layer in model.layers}


def _present_taps(model: keras.Model, spec: BackboneSpec) -> list[str]:
    """Name the taps that the model has, from the stem up to its highest level."""
    known = {layer.name for layer in model.layers}
    there = [tap in known for _, tap in spec.taps]
    count = there.index(False) if False in there else len(there)
    if not count or any(there[count:]):
        missing = spec.taps[count][1]
        raise ZooError(f"model {model.name!r} has no layer {missing!r}: not a {spec.name!r}")
    return [tap for _, tap in spec.taps[:count]]


def set_trainable(
    model: keras.Model,
    spec: BackboneSpec,
    *,
    stages: int | Literal["all"],
    batch_norm: Literal["frozen", "train"] = "frozen",
) -> None:
    """Choose what trains. Compile the model afterwards: Keras notes it at compile time.

    Args:
        model: A flat model with the backbone's layers in it; changed in place.
        spec: The backbone.
        stages: 0 trains the head alone, k the head and the top k stages, ``"all"`` everything.
        batch_norm: ``"frozen"`` keeps every BatchNormalization in inference mode, its statistics
            unmoved, also in stages that train and in the head. ``"train"`` lets those of training
            stages train.

    Raises:
        ZooError: For a number of stages that the backbone does not have.
    """
    of_layer = layer_stages(model, spec)
    first = _first_trained(spec, stages, len(_present_taps(model, spec)))
    if batch_norm not in ("frozen", "train"):
        raise ZooError(f"unknown batch_norm {batch_norm!r}; choose 'frozen' or 'train'")
    for layer in model.layers:
        stage = of_layer[layer.name]
        is_norm = isinstance(layer, keras.layers.BatchNormalization)
        stays = is_norm and batch_norm == "frozen"
        layer.trainable = stage >= first and not stays


def _first_trained(spec: BackboneSpec, stages: int | str, count: int) -> int:
    """Turn a number of stages from the top of ``count`` into the lowest stage that trains."""
    if stages == "all":
        return 0
    if isinstance(stages, bool) or not isinstance(stages, int) or not 0 <= stages <= count:
        raise ZooError(
            f"stages is {stages!r}; {spec.name!r} has {count} stages: give 0 to {count}, or 'all'"
        )
    return count - stages if stages else len(spec.taps) + 1


def rate_multipliers(model: keras.Model, spec: BackboneSpec, *, decay: float) -> dict[str, float]:
    """Give each variable its share of the learning rate, smaller further down.

    Args:
        model: A flat model with the backbone's layers in it.
        spec: The backbone.
        decay: Factor from stage to stage, in (0, 1].

    Returns:
        ``variable.path`` -> multiplier: 1 in the head, ``decay`` in the top stage of the backbone,
        ``decay ** 2`` in the next, and so on.

    Raises:
        ZooError: For a decay out of range.
    """
    if not 0.0 < decay <= 1.0:
        raise ZooError(f"decay is {decay}; it must lie in (0, 1]")
    count = len(_present_taps(model, spec))
    of_layer = layer_stages(model, spec)
    return {
        variable.path: decay ** max(0, count - of_layer[layer.name])
        for layer in model.layers
        for variable in layer.trainable_variables
    }


@keras.saving.register_keras_serializable(package="radzoo")
class LayerwiseAdamW(keras.optimizers.AdamW):
    """AdamW (Loshchilov and Hutter, arXiv:1711.05101) with a learning rate of its own per variable.

    Adam divides by the size of the gradient, so scaling gradients changes nothing; here the
    multiplier acts on the update, and on the decoupled weight decay with it. Biases, norms and
    per-channel scales do not decay.

    Args:
        multipliers: ``variable.path`` -> factor on the learning rate; 1 for a path not in it.
        learning_rate: As in AdamW.
        weight_decay: As in AdamW; a variable moves by ``rate * multiplier * weight_decay`` of
            itself a step.
        **options: Further arguments of AdamW.
    """

    def __init__(
        self,
        multipliers: Mapping[str, float],
        learning_rate: Any = 0.001,
        weight_decay: float = 0.004,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, weight_decay=weight_decay, **options)
        # None keeps the parent from decaying every variable at the full rate beforehand.
        self.weight_decay = None
        self.multipliers = dict(multipliers)
        self.layerwise_decay = float(weight_decay)
        self._paths: dict[int, str] = {}

    def build(self, variables: list[keras.Variable]) -> None:
        """Create the slots and note which path each variable has."""
        super().build(variables)
        self._paths = {self._get_variable_index(v): v.path for v in variables}

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Decay and move one variable at its own rate."""
        path = self._paths[self._get_variable_index(variable)]
        rate = keras.ops.cast(learning_rate, variable.dtype) * self.multipliers.get(path, 1.0)
        if self.layerwise_decay and decays(variable.shape):
            self.assign_sub(variable, variable * (rate * self.layerwise_decay))
        super().update_step(gradient, variable, rate)

    def get_config(self) -> dict[str, Any]:
        """Give the arguments that rebuild this optimizer."""
        config = super().get_config()
        config.update(multipliers=dict(self.multipliers), weight_decay=self.layerwise_decay)
        return dict(config)


def decays(shape: tuple[int, ...]) -> bool:
    """Tell whether a variable of this shape is a kernel: not a bias, norm or channel scale."""
    several = sum(side > 1 for side in shape)
    return len(shape) == 2 or (len(shape) > 2 and several > 1)


def frozen_snapshot(model: keras.Model) -> dict[str, str]:
    """Take a digest of every weight that must not move while the model trains.

    Returns:
        ``variable.path`` -> SHA-256 of its bytes, for all weights of layers with
        ``trainable=False``, statistics of BatchNormalization included.
    """
    return {
        weight.path: hashlib.sha256(np.ascontiguousarray(weight.numpy()).tobytes()).hexdigest()
        for layer in model.layers
        if not layer.trainable
        for weight in layer.weights
    }


def verify_frozen(model: keras.Model, snapshot: Mapping[str, str]) -> None:
    """Check that the weights of a snapshot are what they were.

    Args:
        model: The model the snapshot was taken of.
        snapshot: What ``frozen_snapshot`` gave before training.

    Raises:
        FrozenMovedError: Naming the variables that moved or are gone.
    """
    digests = {
        weight.path: hashlib.sha256(np.ascontiguousarray(weight.numpy()).tobytes()).hexdigest()
        for layer in model.layers
        for weight in layer.weights
        if weight.path in snapshot
    }
    moved = [path for path, digest in snapshot.items() if digests.get(path) != digest]
    if moved:
        shown = ", ".join(moved[:5]) + (f" and {len(moved) - 5} more" if len(moved) > 5 else "")
        raise FrozenMovedError(f"{len(moved)} frozen variables moved in training: {shown}")
