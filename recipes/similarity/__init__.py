"""What looks alike to a network: its embeddings as a map, neighbours, overlap, odd labels.

The names below are loaded on first use, so importing this package costs nothing.
"""

from __future__ import annotations

from recipes.lazy import exports

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

__getattr__, __all__ = exports(__name__, _HOMES)
