"""Classification of images: fit, evaluate, predict."""

from __future__ import annotations

from recipes.lazy import exports

_HOMES = {
    "ClassificationConfig": "config",
    "fit": "fitting",
    "evaluate": "evaluating",
    "predict": "predicting",
}

__getattr__, __all__ = exports(__name__, _HOMES)
