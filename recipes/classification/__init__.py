"""Classification of images: fit, evaluate, predict."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "ClassificationConfig": "config",
    "fit": "fitting",
    "evaluate": "evaluating",
    "predict": "predicting",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)
