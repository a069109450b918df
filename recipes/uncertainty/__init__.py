"""How sure a classifier is: calibrated probabilities, prediction sets, cases of another kind.

The names below are loaded on first use, so importing this package costs nothing.
"""

from __future__ import annotations

from recipes.lazy import exports

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
    "LabelCalibration": "calibration",
    "fit_calibration": "calibration",
    "UncertaintyRecord": "record",
    "load_uncertainty": "record",
    "save_uncertainty": "record",
    "ensemble": "ensembles",
}

__getattr__, __all__ = exports(__name__, _HOMES)
