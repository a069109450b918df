"""Where the zoo keeps its caches."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_path


def home() -> Path:
    """Give the cache folder: ``RADZOO_HOME`` if set, else the platform's; it may not exist yet."""
    given = os.environ.get("RADZOO_HOME")
    return from_home(given) if given else user_cache_path("radzoo")


def from_home(path: str | Path) -> Path:
    """Replace a leading ``~``; ``~name`` of nobody stays, a name like any other."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)
