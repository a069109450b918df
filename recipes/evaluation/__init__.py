"""How good is it: metrics with intervals, calibration, operating points, comparisons.

Everything here works on arrays of truth and probabilities; nothing knows a model or a file.
The names below are loaded on first use, so importing this package costs nothing.
"""

from __future__ import annotations

from recipes.lazy import exports

_HOMES = {
    "evaluate": "assess",
    "paired_difference": "compare",
    "OperatingPoint": "operating_point",
    "choose_operating_point": "operating_point",
    "parse_rule": "operating_point",
    "reliability_bins": "calibration",
    "confusion_counts": "metrics",
}

__getattr__, __all__ = exports(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
