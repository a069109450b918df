"""How sure a classifier is: calibrated probabilities, prediction sets, cases of another kind.

The names below are loaded on first use, so importing this package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "fit_temperature": "temperature",
    "conformal_quantile": "conformal",
    "conformal_scores": "conformal",
    "prediction_sets": "conformal",
    "fit_mahalanobis": "outside",
    "fit_neighbours": "outside",
    "risk_coverage": "selective",
    "aurc": "selective",
    "Calibration": "calibration",
    "fit_calibration": "calibration",
    "UncertaintyRecord": "record",
    "load_uncertainty": "record",
    "save_uncertainty": "record",
    "ensemble": "ensembles",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)
