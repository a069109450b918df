"""Where caches live."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """The folder of caches: `RADZOO_HOME`, else the platform's cache folder (not made here)."""
    given = os.environ.get("RADZOO_HOME")
    if given:
        return from_home(given)
    import platformdirs

    return platformdirs.user_cache_path("radzoo")


def from_home(path: str | Path) -> Path:
    """Replace a leading `~`; `~name` of nobody stays, a name like any other."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)
