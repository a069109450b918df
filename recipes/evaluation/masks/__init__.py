"""How good are the masks: overlap, surface distances, lesions, volumes, membranes.

Everything but `score_folders` works on arrays; nothing knows a model. Every definition, and what
it does with empty masks, stands where it is computed and in `cases.FIGURES`. The names below are
loaded on first use, so importing this package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "FIGURES": "cases",
    "CaseScores": "cases",
    "ScoreOptions": "cases",
    "score_case": "cases",
    "score_class": "cases",
    "Detection": "lesions",
    "detection": "lesions",
    "Overlap": "counts",
    "overlap": "counts",
    "SurfaceDistances": "surfaces",
    "surface_distances": "surfaces",
    "bland_altman": "agreement",
    "burden": "agreement",
    "summarise": "summary",
    "case_rows": "summary",
    "membrane_scores": "membranes",
    "best_membrane_scores": "membranes",
    "score_folders": "folders",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
