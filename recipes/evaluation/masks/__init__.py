"""How good are the masks: overlap, surface distances, lesions, volumes, membranes.

Everything but `score_folders` works on arrays; nothing knows a model. Every definition, and what
it does with empty masks, stands where it is computed and in `cases.FIGURES`. The names below are
loaded on first use, so importing this package costs nothing.
"""

from __future__ import annotations

from recipes.lazy import exports

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

__getattr__, __all__ = exports(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
