"""Pictures without labels: a folder that holds them directly, or a single one."""

from __future__ import annotations

import itertools
from pathlib import Path

from data_adapters.adapter import Adapter, local_path, register_adapter
from data_adapters.entries import is_plain
from data_adapters.files import is_hidden, is_picture, open_files

_LOOKED_AT = 200


def sniff(source: str) -> str | None:
    """None when the source is a picture or holds some, not in folders, else why it does not fit."""
    path = local_path(source)
    if is_plain(path):
        return None if is_picture(path) else "no picture that can be read here"
    try:
        inside = itertools.islice(path.iterdir(), _LOOKED_AT)
        found = any(is_plain(p) and not is_hidden(p.name) and is_picture(p) for p in inside)
    except OSError:
        return "not a folder that can be looked into"
    return None if found else "no pictures lie directly in it"


@register_adapter("files", sniff)
def open_loose(source: str | Path, *, modality: str | None = None) -> Adapter:
    """Open pictures that come without labels, as `open_files` does.

    Args:
        source: A picture, or a folder of pictures (searched through).
        modality: `CT`, `XR-chest`, ... where known.
    """
    return open_files(source, modality=modality)
