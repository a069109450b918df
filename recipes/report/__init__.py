"""The report of a run: one self-contained HTML page, and a model card beside it.

The names below are loaded on first use, so importing this package costs nothing.
"""

from __future__ import annotations

from recipes.lazy import exports

_HOMES = {
    "ReportInputs": "inputs",
    "write_report": "page",
    "write_model_card": "card",
}

__getattr__, __all__ = exports(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
