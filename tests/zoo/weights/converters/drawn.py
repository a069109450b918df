"""Random checkpoints in a published key layout, drawn so that a signal survives to the top."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Shapes = Mapping[str, tuple[int, ...]]


def draw(shapes: Shapes, *, seed: int, gain: float = 2.0) -> dict[str, NDArray[np.float32]]:
    """Draw every tensor of a PyTorch state dict.

    Norms and biases vary around one and zero, LayerScale and response normalisation are as large
    as trained ones. Each tensor depends on its name, not on the order.

    Args:
        shapes: Tensor name -> shape, as the instantiated network gives them.
        seed: Changes all of them.
        gain: Variance of a kernel times its inputs: 2 keeps the signal through a ReLU, but lets it
            grow from residual block to block; deep networks need less.
    """
    return {name: _tensor(name, shape, seed, gain) for name, shape in shapes.items()}


def picture(height: int, width: int, *, seed: int = 0, count: int = 1) -> NDArray[np.float32]:
    """Draw normalised RGB pictures ``(count, height, width, 3)``."""
    rng = np.random.default_rng([seed, height, width])
    return rng.normal(0.0, 1.0, (count, height, width, 3)).astype("float32")


def error(found: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
    """Give the largest deviation relative to the largest value."""
    assert found.shape == wanted.shape
    assert np.isfinite(wanted).all()
    assert np.ptp(wanted) > 0.1 * np.abs(wanted).max() > 0
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


def _tensor(name: str, shape: tuple[int, ...], seed: int, gain: float) -> NDArray[np.float32]:
    rng = np.random.default_rng([seed, *name.encode()])
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, "float32")
    if name.endswith(("running_var", "gamma", "layer_scale", "grn.weight")):
        values = rng.uniform(0.5, 1.5, shape)
    elif name.endswith(("bias", "running_mean", "beta")):
        values = rng.normal(0.0, 0.1, shape)
    elif len(shape) >= 2:
        depthwise = len(shape) == 4 and shape[1] == 1
        squeezes = ".se." in name or (".fc" in name and "mlp" not in name and len(shape) == 4)
        # Squeeze-and-excitation multiplies: a wide spread there makes chaos.
        variance = 2.0 if depthwise else 0.25 if squeezes else gain
        values = rng.normal(0.0, np.sqrt(variance / np.prod(shape[1:])), shape)
    else:
        values = rng.uniform(0.5, 1.5, shape)
    return values.astype("float32")
