"""Explicit names for what ``keras.ops`` adds to a graph."""

from __future__ import annotations

import keras


def named(tensor: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """Name the operation that made a symbolic tensor.

    Keras numbers operations through the process (``maximum_7``), so two builds of one network
    would differ in names and so in their files.

    Args:
        tensor: What a function of ``keras.ops`` gave for a symbolic tensor.
        name: Unique within the model.

    Returns:
        The tensor itself.
    """
    tensor._keras_history.operation.name = name
    return tensor
