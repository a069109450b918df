"""What lies under `RADZOO_HOME`, and taking out of it what is no longer wanted.

Everything that is pruned can be made again from the data. The salt of the pseudonyms is no cache:
it is neither listed nor removed. Weights are listed, and removed only when asked for by kind.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_adapters.cache_entries import (
    LEFTOVER,
    REMOVING,
    CacheEntry,
    entries,
    lock_files,
    manifests,
    size_of,
    sole_user,
    unlisted,
)
from data_adapters.errors import DataError, nearest
from data_adapters.locks import Hold, try_hold

__all__ = ["KINDS", "PRUNED", "CacheEntry", "Pruned", "list_caches", "prune"]

KINDS = ("decoded", "store", "npz", "dicom-index", "unpacked", "weights")
PRUNED = KINDS[:-1]
"""Kinds that `prune` looks at when none is named."""
_DAY = 86400.0


@dataclass(frozen=True)
class Pruned:
    """What `prune` did, or would do.

    Attributes:
        removed: Entries that went.
        in_use: Entries that were to go and stay, because a living process has them open.
        freed: Bytes.
        dry_run: Nothing was removed in truth.
    """

    removed: tuple[CacheEntry, ...]
    in_use: tuple[CacheEntry, ...]
    freed: int
    dry_run: bool

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "removed": [entry.to_dict() for entry in self.removed],
            "in_use": [entry.to_dict() for entry in self.in_use],
            "freed": self.freed,
            "dry_run": self.dry_run,
        }


def list_caches(home: Path) -> list[CacheEntry]:
    """Everything that radzoo keeps, what was used last first.

    Args:
        home: Folder of caches; it need not be there.

    Raises:
        DataError: The folder cannot be read.
    """
    try:
        found = list(entries(Path(home)))
    except OSError as error:
        raise _refused(error) from error
    return sorted(found, key=lambda entry: (-entry.last_used, entry.kind, entry.key))


def prune(
    home: Path,
    *,
    older_than_days: float | None = None,
    larger_than: int | None = None,
    keep: Sequence[str] | None = None,
    unused: bool = True,
    dry_run: bool = False,
    kinds: Sequence[str] = PRUNED,
) -> Pruned:
    """Remove caches: without any condition all of the kinds given.

    What a living process has open is never removed, nor are the salt and, unless their kind is
    named, weights. While a store is being made, no store is removed.

    Args:
        home: Folder of caches.
        older_than_days: Only what was last used longer ago.
        larger_than: Only what takes more bytes.
        keep: Keys, or beginnings of keys, that stay.
        unused: Also remove leftovers, whatever their age and size: stored cases that no store
            lists any more, and what an interrupted removal left.
        dry_run: Say what would go and leave it.
        kinds: Kinds to look at.

    Raises:
        DataError: A kind is not known, a condition is negative, or the folder cannot be changed.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise DataError(f"unknown kind of cache {kind!r}{nearest(kind, KINDS)}")
    if (older_than_days or 0) < 0 or (larger_than or 0) < 0:
        raise DataError("give the age in days and the size in bytes as numbers of 0 or more")
    oldest = None if older_than_days is None else time.time() - older_than_days * _DAY

    def chosen(entry: CacheEntry) -> bool:
        if entry.kind not in kinds or any(entry.key.startswith(k) for k in keep or () if k):
            return False
        if entry.key == LEFTOVER:
            return unused
        old = oldest is None or entry.last_used < oldest
        return old and (larger_than is None or entry.size > larger_than)

    candidates = [entry for entry in list_caches(home) if chosen(entry)]
    try:
        return _prune(Path(home), candidates, dry_run)
    except OSError as error:
        raise _refused(error) from error


def _prune(home: Path, candidates: Iterable[CacheEntry], dry_run: bool) -> Pruned:
    removed, busy, freed = [], [], 0
    with contextlib.ExitStack() as stack:
        guards = {kind: _guard(home / kind) for kind in ("decoded", "store")}
        for guard in guards.values():
            if isinstance(guard, Hold):
                stack.enter_context(guard)
        for entry in candidates:
            with sole_user(entry) as alone:
                if not alone or guards.get(entry.kind, True) is None:
                    busy.append(entry)
                    continue
                removed.append(entry)
                if entry.kind != "store":
                    freed += size_of(entry.paths)
                    if not dry_run:
                        _remove(entry, locks=entry.kind in guards)
        stores = [entry for entry in removed if entry.kind == "store"]
        if stores:
            freed += _remove_stores(home / "store", stores, dry_run)
    return Pruned(tuple(removed), tuple(busy), freed, dry_run)


def _guard(folder: Path) -> Hold | bool | None:
    """The lock against whoever is about to open a cache; None while somebody is."""
    return try_hold(folder / "prune.lock") if folder.is_dir() else True


def _remove(entry: CacheEntry, *, locks: bool) -> None:
    """Take an entry away; folders go out of sight in one move before they are emptied.

    Its lock files go too where nobody can be about to open them; elsewhere they stay, empty.
    """
    for path in entry.paths:
        if path.is_dir():
            hidden = path.with_name(f"{REMOVING}{path.name.removeprefix(REMOVING)}")
            if hidden != path:
                shutil.rmtree(hidden, ignore_errors=True)
                path.rename(hidden)
            shutil.rmtree(hidden)
        else:
            path.unlink(missing_ok=True)
    for path in lock_files(entry) if locks else ():
        path.unlink(missing_ok=True)


def _remove_stores(folder: Path, stores: Sequence[CacheEntry], dry_run: bool) -> int:
    """Remove lists of cases, then the cases that only they named."""
    lists = {path for entry in stores for path in entry.paths if path.suffix == ".json"}
    rest = [path for path in manifests(folder) if path not in lists]
    wanted = {path for entry in stores for path in entry.paths}
    files = [path for path in unlisted(folder, rest) if path in wanted]
    freed = size_of([*lists, *files])
    if not dry_run:
        for entry in stores:
            for path in lock_files(entry):
                path.unlink(missing_ok=True)
        for path in (*lists, *files):
            path.unlink(missing_ok=True)
    return freed


def _refused(error: OSError) -> DataError:
    reason = error.strerror or type(error).__name__
    return DataError(f"the folder of caches (RADZOO_HOME) cannot be read or changed: {reason}")
