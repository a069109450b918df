"""Exports of a package, loaded on first use (PEP 562), so that importing it costs nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def exports(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], list[str]]:
    """What a package's ``__getattr__`` and ``__all__`` are.

    Args:
        package: Its ``__name__``.
        homes: Exported name -> module inside the package that defines it.
    """

    def get(name: str) -> Any:
        home = homes.get(name)
        if home is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{home}"), name)

    return get, sorted(homes)
