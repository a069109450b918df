"""What differs between the backends of Keras: gradients, and compiling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, Literal

import keras

from recipes.explaining.errors import ExplainError

Rectify = Literal["guided", "deconvolution"]


def value_and_gradients(
    function: Callable[..., Any], points: Sequence[Any]
) -> tuple[Any, list[Any]]:
    """A function's values and the gradient of their sum, on the backend that Keras runs on.

    Args:
        function: Takes the points and gives one value for each case, ``(batch,)``.
        points: Tensors.

    Returns:
        The values, and a gradient like each point: zeros where nothing depends on it.

    Raises:
        ExplainError: The backend has no gradients.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        return _tensorflow(function, points)
    if backend == "jax":
        return _jax(function, points)
    if backend == "torch":
        return _torch(function, points)
    raise ExplainError(
        f"Keras runs on {backend!r}, which gives no gradients; set KERAS_BACKEND to tensorflow, "
        "jax or torch, or take the method occlusion"
    )


def _tensorflow(function: Callable[..., Any], points: Sequence[Any]) -> tuple[Any, list[Any]]:
    import tensorflow as tf

    points = [tf.convert_to_tensor(point) for point in points]
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        for point in points:
            tape.watch(point)
        values = function(*points)
    zero = tf.UnconnectedGradients.ZERO
    return values, list(tape.gradient(values, points, unconnected_gradients=zero))


def _jax(function: Callable[..., Any], points: Sequence[Any]) -> tuple[Any, list[Any]]:
    import jax

    def summed(*given: Any) -> tuple[Any, Any]:
        values = function(*given)
        return values.sum(), values

    places = tuple(range(len(points)))
    (_, values), found = jax.value_and_grad(summed, argnums=places, has_aux=True)(*points)
    return values, list(found)


def _torch(function: Callable[..., Any], points: Sequence[Any]) -> tuple[Any, list[Any]]:
    # The backend that Keras was set to and has loaded itself; no dependency of this package.
    torch = import_module("torch")
    points = [point.detach().requires_grad_() for point in points]
    with torch.enable_grad():
        values = function(*points)
        found = torch.autograd.grad(values.sum(), points, allow_unused=True)
    zipped = zip(found, points, strict=True)
    return values.detach(), [torch.zeros_like(p) if g is None else g for g, p in zipped]


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as one graph on TensorFlow; as it is on the others, which run it step by step.

    Args:
        function: Takes and gives tensors.
    """
    if keras.backend.backend() != "tensorflow":
        return function
    import tensorflow as tf

    # Not XLA, whose convolutions are many times slower on a CPU.
    return tf.function(function, reduce_retracing=True)  # type: ignore[no-any-return]


def rectified(kind: Rectify, top: float | None = None) -> Callable[[Any], Any]:
    """A ReLU whose gradient is changed.

    Args:
        kind: ``guided``: the gradient passes where it is positive and the input is inside the
            linear part (Springenberg et al., 2014, arXiv:1412.6806, equation 1).
            ``deconvolution``: it passes where it is positive, whatever the input (Zeiler and
            Fergus, 2014, arXiv:1311.2901).
        top: Where the ReLU ends, as in ReLU6; None: nowhere.
    """

    def relu(x: Any) -> Any:
        inside = x > 0 if top is None else keras.ops.logical_and(x > 0, x < top)
        value = keras.ops.maximum(x, 0.0)
        value = value if top is None else keras.ops.minimum(value, top)

        def backwards(*args: Any, upstream: Any = None) -> Any:
            given = args[0] if upstream is None else upstream
            passed = keras.ops.maximum(given, 0.0)
            if kind == "guided":
                passed = passed * keras.ops.cast(inside, passed.dtype)
            return passed

        return value, backwards

    return keras.ops.custom_gradient(relu)  # type: ignore[no-any-return]
