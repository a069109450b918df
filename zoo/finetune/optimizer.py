"""AdamW with a rate of its own per variable, and the moving average of weights it keeps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from zoo.errors import ZooError
from zoo.finetune.stages import assign_stages
from zoo.spec import BackboneSpec


def rate_multipliers(model: keras.Model, spec: BackboneSpec, *, decay: float) -> dict[str, float]:
    """Give each trainable variable its share of the learning rate, smaller further down.

    Args:
        model: A model with the backbone in it, flat or nested.
        spec: The backbone.
        decay: Factor from stage to stage, in (0, 1].

    Returns:
        ``variable.path`` -> multiplier: 1 in the head, ``decay`` in the top stage of the backbone,
        ``decay ** 2`` in the next, and so on.

    Raises:
        ZooError: For a decay out of range, or two variables of one path in different stages.
    """
    if not 0.0 < decay <= 1.0:
        raise ZooError(f"decay is {decay}; it must lie in (0, 1]")
    staged = assign_stages(model, spec)
    rates: dict[str, float] = {}
    for place, layer in staged.layers.items():
        for variable in layer.trainable_variables:
            rate = staged.share(place, decay)
            if rates.setdefault(variable.path, rate) != rate:
                raise ZooError(
                    f"two variables are called {variable.path!r}, in stages of different rates; "
                    f"rename layer {place!r}"
                )
    return rates


@keras.saving.register_keras_serializable(package="radzoo")
class LayerwiseAdamW(keras.optimizers.AdamW):
    """AdamW (Loshchilov and Hutter, arXiv:1711.05101) with a learning rate of its own per variable.

    Adam divides by the size of the gradient, so scaling gradients changes nothing; here the
    multiplier acts on the update, and on the decoupled weight decay with it. Biases, norms and
    per-channel scales do not decay.

    With ``use_ema`` it keeps the moving average of every variable beside the weights: ``averaged``
    puts it in their place for a while, and ``fit`` does not. The recurrence is Keras' own, with a
    momentum that rises as (1 + t) / (10 + t) with the step t until it reaches ``ema_momentum``, so
    that the weights of the start are soon forgotten.

    Args:
        multipliers: ``variable.path`` -> factor on the learning rate; 1 for a path not in it.
        learning_rate: As in AdamW.
        weight_decay: As in AdamW; a variable moves by ``rate * multiplier * weight_decay`` of
            itself a step.
        starts: ``variable.path`` -> step (from 0) from which the variable trains; 0 for a path not
            in it. Adam's bias correction counts from there.
        **options: Further arguments of AdamW.
    """

    def __init__(
        self,
        multipliers: Mapping[str, float],
        learning_rate: Any = 0.001,
        weight_decay: float = 0.004,
        starts: Mapping[str, int] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, weight_decay=weight_decay, **options)
        # None keeps the parent from decaying every variable at the full rate beforehand.
        self.weight_decay = None
        self._full_momentum = float(options.get("ema_momentum", 0.99))
        self.multipliers = dict(multipliers)
        self.layerwise_decay = float(weight_decay)
        self.starts = dict(starts or {})
        self._paths: dict[int, str] = {}
        self._built_on: list[keras.Variable] = []

    def build(self, variables: list[keras.Variable]) -> None:
        """Create the slots and note which path each variable has."""
        super().build(variables)
        self._paths = {self._get_variable_index(v): v.path for v in variables}
        self._built_on = list(variables)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Decay and move one variable at its own rate."""
        path = self._paths[self._get_variable_index(variable)]
        rate = keras.ops.cast(learning_rate, variable.dtype) * self.multipliers.get(path, 1.0)
        if self.layerwise_decay and decays(variable.shape):
            self.assign_sub(variable, variable * (rate * self.layerwise_decay))
        start = self.starts.get(path, 0)
        if start:
            rate = rate * self._correction(start, variable.dtype)
        super().update_step(gradient, variable, rate)

    def _update_model_variables_moving_average(self, trainable_variables: Any) -> None:
        """Average over fewer steps at first."""
        full = self._full_momentum
        step = keras.ops.cast(self.iterations, "float32")
        self.ema_momentum = keras.ops.minimum((1.0 + step) / (10.0 + step), full)
        try:
            super()._update_model_variables_moving_average(trainable_variables)
        finally:
            self.ema_momentum = full

    def _correction(self, start: int, dtype: str) -> Any:
        """Ratio of Adam's bias correction at the variable's own step to that at the common one."""
        ops = keras.ops
        step = ops.cast(self.iterations + 1, dtype)
        own = ops.maximum(step - float(start), 1.0)
        first = (1.0 - ops.power(self.beta_1, step)) / (1.0 - ops.power(self.beta_1, own))
        second = (1.0 - ops.power(self.beta_2, own)) / (1.0 - ops.power(self.beta_2, step))
        return ops.cast(first * ops.sqrt(second), dtype)

    def finalize_variable_values(self, var_list: list[Any]) -> None:
        """Leave the weights as trained when ``fit`` ends: see ``averaged``."""

    def overwrite_with_average(self) -> list[Any]:
        """Put the moving averages into the variables and give what was in them."""
        before = [np.array(keras.ops.convert_to_numpy(v)) for v in self._built_on]
        super().finalize_variable_values(self._built_on)
        return before

    def restore(self, values: list[Any]) -> None:
        """Put back what ``overwrite_with_average`` gave."""
        for variable, value in zip(self._built_on, values, strict=True):
            variable.assign(value)

    def get_config(self) -> dict[str, Any]:
        """Give the arguments that rebuild this optimizer."""
        config = super().get_config()
        config.update(
            multipliers=dict(self.multipliers),
            weight_decay=self.layerwise_decay,
            starts=dict(self.starts),
        )
        return dict(config)


@contextmanager
def averaged(model: keras.Model) -> Iterator[bool]:
    """Hold the moving average of the weights in a model, and its own weights again afterwards.

    Args:
        model: Compiled with an optimizer of ``FineTunePolicy.optimizer``.

    Yields:
        Whether there is an average; without one (no EMA, or no step taken yet) nothing changes.
    """
    optimizer = model.optimizer
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    if not isinstance(optimizer, LayerwiseAdamW) or not optimizer.use_ema:
        yield False
        return
    if not optimizer.built or int(keras.ops.convert_to_numpy(optimizer.iterations)) == 0:
        yield False
        return
    own = optimizer.overwrite_with_average()
    try:
        yield True
    finally:
        optimizer.restore(own)


def averages(optimizer: keras.Optimizer) -> list[tuple[keras.Variable, keras.Variable]]:
    """Pair the variables that an optimizer trains with their moving averages.

    Args:
        optimizer: One of ``FineTunePolicy.optimizer``, built, of a policy with ``ema``.

    Returns:
        (variable, average) pairs; the averages are zero before the first step.

    Raises:
        ZooError: It keeps no averages, or is not built.
    """
    own = getattr(optimizer, "inner_optimizer", optimizer)
    if not isinstance(own, LayerwiseAdamW) or not own.use_ema or not own.built:
        raise ZooError("this optimizer keeps no moving average; give its policy ema=0.99")
    return list(zip(own._built_on, own._model_variables_moving_average, strict=True))


def decays(shape: tuple[int, ...]) -> bool:
    """Tell whether a variable of this shape is a kernel: not a bias, norm or channel scale."""
    several = sum(side > 1 for side in shape)
    return len(shape) == 2 or (len(shape) > 2 and several > 1)
