"""Value and gradient of a loss on the backend that runs."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np


def value_and_gradient(
    loss: Any, truth: Any, logits: np.ndarray, weight: np.ndarray | None = None
) -> tuple[float, np.ndarray]:
    """Value, and gradient by the logits."""
    options = {} if weight is None else {"sample_weight": weight}
    if keras.backend.backend() == "torch":
        import torch

        z = torch.tensor(logits, requires_grad=True)
        value = loss(truth, z, **options)
        value.backward()
        assert z.grad is not None
        return float(value.detach()), z.grad.numpy()
    if keras.backend.backend() == "jax":
        import jax

        value, gradient = jax.value_and_grad(lambda z: loss(truth, z, **options))(logits)
        return float(value), np.asarray(gradient)
    import tensorflow as tf

    variable = tf.Variable(logits)
    with tf.GradientTape() as tape:
        value = loss(truth, variable, **options)
    return float(value), tape.gradient(value, variable).numpy()
