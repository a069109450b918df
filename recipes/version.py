"""The installed version of radzoo."""

from __future__ import annotations

from importlib import metadata


def version() -> str:
    """Version of the installed distribution, ``"0+unknown"`` when run from a bare checkout."""
    try:
        return metadata.version("radzoo")
    except metadata.PackageNotFoundError:
        return "0+unknown"
