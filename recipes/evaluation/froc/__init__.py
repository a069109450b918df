"""Free-response evaluation: lesions, candidates, and how many false positives a sensitivity costs.

Everything works on arrays; nothing knows a model. The names below are loaded on first use, so
importing this package costs nothing.
"""

from __future__ import annotations

from recipes.lazy import exports

_HOMES = {
    "HitRule": "hits",
    "hit_matrix": "hits",
    "Findings": "matching",
    "Candidates": "matching",
    "Marks": "matching",
    "match": "matching",
    "per_patient": "matching",
    "RATES": "curve",
    "Curve": "curve",
    "froc_curve": "curve",
    "sensitivity_at": "curve",
    "summarise_froc": "summary",
    "at_threshold": "operating",
    "threshold_at": "operating",
    "average_precision": "precision",
    "detections": "precision",
    "score_tables": "tables",
}

__getattr__, __all__ = exports(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
