"""Losses and measures of self-supervised pretraining."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import numpy.typing as npt

_FAR = -1e9


def nt_xent(first: Any, second: Any, *, temperature: float) -> Any:
    """Normalised temperature-scaled cross-entropy (SimCLR, arXiv:2002.05709, equation 1).

    Each of the ``2 n`` embeddings is to be found, by cosine similarity, among the ``2 n - 1``
    others by that of the other view of its case.

    Args:
        first: ``(n, d)`` embeddings of one view, of any length.
        second: ``(n, d)`` embeddings of the other view.
        temperature: Above 0.

    Returns:
        The mean over the ``2 n`` embeddings, in nats.
    """
    ops = keras.ops
    z = ops.cast(ops.concatenate([first, second], axis=0), "float32")
    z = z / ops.maximum(ops.sqrt(ops.sum(ops.square(z), axis=-1, keepdims=True)), 1e-12)
    count = ops.shape(z)[0]
    similar = ops.matmul(z, ops.transpose(z)) / temperature
    similar = similar + _FAR * ops.eye(count)
    other = ops.roll(z, count // 2, axis=0)
    wanted = ops.sum(z * other, axis=-1) / temperature
    return ops.mean(ops.logsumexp(similar, axis=-1) - wanted)


def regression_loss(predicted: Any, target: Any) -> Any:
    """BYOL's loss (arXiv:2006.07733, equation 2): squared distance of vectors of length 1.

    Args:
        predicted: ``(n, d)``, of any length.
        target: ``(n, d)``, of any length.

    Returns:
        The mean over cases of ``2 - 2 cos``, from 0 to 4.
    """
    ops = keras.ops
    cosine = ops.sum(_unit(predicted) * _unit(target), axis=-1)
    return ops.mean(2.0 - 2.0 * cosine)


def _unit(vectors: Any) -> Any:
    ops = keras.ops
    x = ops.cast(vectors, "float32")
    return x / ops.maximum(ops.sqrt(ops.sum(ops.square(x), axis=-1, keepdims=True)), 1e-12)


def masked_error(pictures: Any, rebuilt: Any, hidden: Any) -> Any:
    """Mean absolute error over the hidden pixels (SimMIM, arXiv:2111.09886).

    Args:
        pictures: ``(n, H, W, C)``, what was to be rebuilt.
        rebuilt: ``(n, H, W, C)``.
        hidden: ``(n, H, W, 1)``, 1 where a pixel was hidden, else 0.
    """
    ops = keras.ops
    each = ops.mean(ops.abs(ops.cast(rebuilt, "float32") - pictures), axis=-1, keepdims=True)
    return ops.sum(each * hidden) / ops.maximum(ops.sum(hidden), 1.0)


def spread(embeddings: npt.NDArray[Any]) -> float:
    """How far embeddings of length 1 are from a single point, 0 to about 1.

    The standard deviation of each coordinate over cases, averaged, times ``sqrt(d)``: 1 for
    directions that are evenly spread, 0 for a collapsed network (SimSiam, arXiv:2011.10566,
    section 4.1).

    Args:
        embeddings: ``(n, d)``, of any length.
    """
    z = np.asarray(embeddings, "float64")
    z = z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-12)
    return float(z.std(axis=0).mean() * np.sqrt(z.shape[1]))


def effective_rank(features: npt.NDArray[Any]) -> float:
    """Number of directions that features use (Roy and Vetterli 2007, EUSIPCO).

    The exponential of the entropy of the singular values of the centred features, scaled to sum
    1; 1 where they lie on a line, 0 where they are all the same.

    Args:
        features: ``(n, f)``.
    """
    x = np.asarray(features, "float64")
    values = np.linalg.svd(x - x.mean(axis=0), compute_uv=False)
    total = values.sum()
    if total <= 1e-12 * max(1.0, float(np.abs(x).max())):
        return 0.0
    shares = values[values > 0] / total
    return float(np.exp(-(shares * np.log(shares)).sum()))
