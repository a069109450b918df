"""What looks alike to a network: its embeddings as a map, neighbours, overlap, odd labels.

The names below are loaded on first use, so importing this package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "embed": "embedding",
    "Embedded": "cases",
    "nearest": "neighbours",
    "class_overlap": "overlap",
    "confident_joint": "labels",
    "suspected_labels": "labels",
    "clusterings": "clusters",
    "project": "projection",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)
