"""Calls of a network's steps with the gradient of every ReLU changed."""

from __future__ import annotations

from typing import Any

import keras

from recipes.explaining.errors import ExplainError
from recipes.explaining.gradients import Rectify, rectified
from recipes.explaining.program import Call, Program, Step, plain

DEFINED = "ReLU, clipped or not (ReLU6), as a layer, as an operation or inside another layer"
"""Activations for which guided back-propagation and deconvolution are defined."""
_BENT = frozenset(
    {
        "LeakyReLU", "PReLU", "ELU", "Softmax", "LogSoftmax", "Silu", "Gelu", "Sigmoid", "Tanh",
        "Elu", "Selu", "Softplus", "Softsign", "HardSigmoid", "HardSilu", "HardSwish", "LeakyRelu",
        "LogSigmoid", "Mish", "Celu", "Glu", "HardTanh", "Exp",
    }
)  # fmt: skip
"""Layers and operations that bend their input in another way."""


def rectifying(program: Program, kind: Rectify) -> Call:
    """How the steps of a network are called so that its ReLUs have the gradients of a method.

    Args:
        program: The network.
        kind: The method.

    Raises:
        ExplainError: The network has no ReLU, or activations for which the method is not defined.
    """
    tops = {id(step): _top(step) for step in program.steps if _is_relu(step)}
    name = "guided back-propagation" if kind == "guided" else "deconvolution"
    for step in program.steps:
        if id(step) not in tops and _bends(step):
            raise ExplainError(
                f"{name} is not defined for layer {step.name!r} ({_activation(step)}); it is "
                f"defined for {DEFINED}: take gradcam, integrated or smoothgrad"
            )
    if not tops:
        raise ExplainError(f"{name} changes ReLUs and the network has none; take gradcam")

    def call(step: Step, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if id(step) not in tops:
            return plain(step, args, kwargs)
        relu = rectified(kind, tops[id(step)])
        layer = step.operation
        if not _fused(step):
            return relu(*args[:1] or (kwargs["x"],))
        kept = layer.activation
        layer.activation = relu
        try:
            return plain(step, args, kwargs)
        finally:
            layer.activation = kept

    return call


def _fused(step: Step) -> bool:
    """Whether the activation is that of a layer which does something else too."""
    return hasattr(step.operation, "activation")


def _activation(step: Step) -> str:
    """Name of a step's activation."""
    if _fused(step):
        found = step.operation.activation
        return str(getattr(found, "__name__", type(found).__name__))
    return type(step.operation).__name__


def _is_relu(step: Step) -> bool:
    operation = step.operation
    if isinstance(operation, keras.layers.ReLU):
        return not operation.negative_slope and not operation.threshold
    return _activation(step) in ("relu", "relu6", "ReLU", "Relu", "Relu6")


def _top(step: Step) -> float | None:
    if isinstance(step.operation, keras.layers.ReLU):
        top = step.operation.max_value
        return None if top is None else float(top)
    return 6.0 if _activation(step) in ("relu6", "Relu6") else None


def _bends(step: Step) -> bool:
    if _fused(step):
        return _activation(step) not in ("linear", "NoneType")
    return isinstance(step.operation, keras.layers.ReLU) or type(step.operation).__name__ in _BENT
