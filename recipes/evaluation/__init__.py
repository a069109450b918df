"""How good is it: metrics with intervals, calibration, operating points, comparisons.

Everything here works on arrays of truth and probabilities; nothing knows a model or a file.
The names below are loaded on first use, so importing this package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "evaluate": "assess",
    "paired_difference": "compare",
    "OperatingPoint": "operating_point",
    "choose_operating_point": "operating_point",
    "parse_rule": "operating_point",
    "reliability_bins": "calibration",
    "confusion_counts": "metrics",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
