"""``radzoo data cache``: what lies under ``RADZOO_HOME``, and taking out of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table

from data_adapters.cache_list import CacheEntry, Pruned
from recipes.errors import ConfigError
from recipes.figures import size_text

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_KEY = 12
"""Digits of a key on the terminal; ``--keep`` takes beginnings."""


def parse_size(text: str) -> int:
    """Bytes from a number with ``kB``, ``MB``, ``GB`` or ``TB`` (powers of ten), or without.

    Raises:
        ConfigError: It is no size.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)b?\s*", text, re.IGNORECASE)
    if match is None:
        raise ConfigError(f"--larger {text!r} is no size; wanted a number such as 500MB or 2GB")
    return int(float(match[1]) * _UNITS[match[2].lower()])


def show_entries(entries: Sequence[CacheEntry], console: Console) -> None:
    """Print the caches, what was used last first, and their sum.

    Args:
        entries: Caches.
        console: Where to.
    """
    if entries:
        table = Table(box=None, pad_edge=False)
        for heading in ("kind", "key", "size", "cases", "last used", "data", ""):
            table.add_column(heading, justify="right" if heading in ("size", "cases") else "left")
        for entry in entries:
            state = [] if entry.complete else ["unfinished"]
            state += ["in use"] if entry.in_use else []
            table.add_row(
                entry.kind,
                entry.key[:_KEY],
                size_text(entry.size),
                "" if entry.cases is None else str(entry.cases),
                datetime.fromtimestamp(entry.last_used, UTC).strftime("%Y-%m-%d %H:%M"),
                entry.data or "",
                ", ".join(state),
            )
        console.print(table)
    total = size_text(sum(entry.size for entry in entries))
    console.print(f"{len(entries)} caches, {total}", highlight=False)


def pruned_text(done: Pruned) -> str:
    """What pruning did, in a line.

    Args:
        done: What went and what stayed.
    """
    verb = "would remove" if done.dry_run else "removed"
    stayed = f"; {len(done.in_use)} in use were left" if done.in_use else ""
    return f"{verb} {len(done.removed)} caches, {size_text(done.freed)}{stayed}"
