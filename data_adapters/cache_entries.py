"""What each kind of cache under `RADZOO_HOME` looks like on disk."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from data_adapters.cache_store import read_json
from data_adapters.locks import Hold, try_hold

LEFTOVER = "leftover"
"""Key of stored cases that no store lists, and of what an interrupted removal left."""
REMOVING = ".removing-"
"""How the name of a folder begins that is being removed."""


@dataclass(frozen=True)
class CacheEntry:
    """One thing that radzoo keeps.

    Attributes:
        kind: One of `cache_list.KINDS`.
        key: Its name within the kind: a digest, for weights the file's name.
        size: Bytes on disk; cases that two stores share count for both.
        created: Seconds since 1970.
        last_used: Seconds since 1970.
        data: Pseudonym of the data set; None where it is not recorded.
        complete: False for what a stopped run or an interrupted removal left behind.
        in_use: A living process has it open.
        cases: Number of cases; None where that is not recorded.
        paths: Its files and folders.
    """

    kind: str
    key: str
    size: int
    created: float
    last_used: float
    data: str | None = None
    complete: bool = True
    in_use: bool = False
    cases: int | None = None
    paths: tuple[Path, ...] = field(default=(), repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """For JSON: times as ISO 8601 in UTC, no paths."""
        moments = {
            name: datetime.fromtimestamp(getattr(self, name), UTC).isoformat(timespec="seconds")
            for name in ("created", "last_used")
        }
        names = ("kind", "key", "size", "data", "complete", "in_use", "cases")
        return {name: getattr(self, name) for name in names} | moments


def entries(home: Path) -> Iterator[CacheEntry]:
    """Every cache, kind by kind.

    Raises:
        OSError: A folder cannot be read.
    """
    yield from _decoded(home / "decoded")
    yield from _stores(home / "store")
    yield from _folders("npz", home / "cache" / "npz")
    yield from _databases("dicom-index", home / "dicom-index")
    yield from _folders("unpacked", home / "unpacked")
    yield from _files("weights", home / "weights")


@contextlib.contextmanager
def sole_user(entry: CacheEntry) -> Iterator[bool]:
    """Hold every lock of an entry for the block; False where a living process holds one."""
    with contextlib.ExitStack() as stack:
        holds: list[Hold | None] = []
        for path in lock_files(entry):
            held = try_hold(path)
            holds.append(held)
            if held is not None:
                stack.enter_context(held)
        databases = [path for path in entry.paths if path.suffix in (".sqlite", ".db")]
        yield None not in holds and not any(_database_busy(path) for path in databases)


def lock_files(entry: CacheEntry) -> list[Path]:
    """The lock files of an entry that are there."""
    named = [path for path in entry.paths if not path.name.startswith(".")]
    stems = {path.with_name(path.name.split(".")[0]) for path in named}
    found = (stem.with_name(stem.name + end) for stem in stems for end in (".lock", ".use"))
    return sorted(path for path in found if path.is_file())


def size_of(paths: Iterable[Path]) -> int:
    """Bytes of files and of everything in folders; what vanishes meanwhile counts nothing."""
    return sum(_status(path)[0] for path in paths)


def stored_cases(folder: Path, manifest: Path) -> list[Path]:
    """Case files that a store's list names, there or not; none where the list is damaged."""
    listed = (read_json(manifest) or {}).get("cases", [])
    keys = [entry["key"] for entry in listed]
    return [folder / "cases" / key[:2] / f"{key}.case" for key in keys]


def manifests(folder: Path) -> list[Path]:
    """Lists of cases in a store's folder, finished and unfinished."""
    return sorted(folder.glob("*.json"))


def unlisted(folder: Path, listing: Iterable[Path]) -> list[Path]:
    """Files under `cases` that none of these lists names: cases, and leavings of killed runs."""
    named = {path for manifest in listing for path in stored_cases(folder, manifest)}
    return [path for path in sorted(folder.glob("cases/*/*")) if path not in named]


def _decoded(folder: Path) -> Iterator[CacheEntry]:
    for path in _inside(folder):
        if path.is_dir():
            manifest = read_json(path / "manifest.json") or {}
            yield _entry(
                "decoded",
                _key(path),
                (path,),
                complete=_key(path) != LEFTOVER and path.suffix != ".part",
                data=manifest.get("data"),
                cases=manifest.get("cases"),
            )


def _stores(folder: Path) -> Iterator[CacheEntry]:
    for path in manifests(folder):
        content = read_json(path) or {}
        files = stored_cases(folder, path)
        yield _entry(
            "store",
            path.name.split(".")[0],
            (path, *files),
            complete=not path.name.endswith(".part.json"),
            data=content.get("data"),
            cases=len(files),
        )
    left = unlisted(folder, manifests(folder))
    if left:
        yield _entry("store", LEFTOVER, tuple(left), complete=False)


def _folders(kind: str, folder: Path) -> Iterator[CacheEntry]:
    for path in _inside(folder):
        if path.is_dir():
            whole = _key(path) != LEFTOVER and not any(path.glob("*.part"))
            yield _entry(kind, _key(path), (path,), complete=whole)


def _databases(kind: str, folder: Path) -> Iterator[CacheEntry]:
    for path in _inside(folder):
        if path.suffix in (".sqlite", ".db"):
            beside = [path.with_name(path.name + end) for end in ("-wal", "-shm", "-journal")]
            yield _entry(kind, path.stem, (path, *(p for p in beside if p.exists())))


def _files(kind: str, folder: Path) -> Iterator[CacheEntry]:
    for path in _inside(folder):
        if path.is_file() and path.suffix not in (".lock", ".json"):
            yield _entry(kind, path.name, (path,), complete=path.suffix != ".part")


def _entry(
    kind: str,
    key: str,
    paths: tuple[Path, ...],
    *,
    complete: bool = True,
    data: str | None = None,
    cases: int | None = None,
) -> CacheEntry:
    """An entry with its sizes and times; a lock file's time is that of the last use."""
    states = [_status(path) for path in paths]
    bare = CacheEntry(kind, key, 0, 0.0, 0.0, paths=paths)
    used = [_status(path)[2] for path in lock_files(bare)]
    with sole_user(bare) as alone:
        return CacheEntry(
            kind,
            key,
            size=sum(state[0] for state in states),
            created=min((state[1] for state in states if state[1]), default=0.0),
            last_used=max([state[2] for state in states] + used, default=0.0),
            data=data,
            complete=complete,
            in_use=not alone,
            cases=cases,
            paths=paths,
        )


def _status(path: Path) -> tuple[int, float, float]:
    """Bytes, time of the oldest change and of the latest, of a file or all files of a folder."""
    parts = path.rglob("*") if path.is_dir() else [path]
    states = []
    for part in parts:
        with contextlib.suppress(OSError):
            if not part.is_dir():
                states.append(part.stat())
    size = sum(state.st_size for state in states)
    times = [state.st_mtime for state in states]
    return size, min(times, default=0.0), max(times, default=0.0)


def _key(path: Path) -> str:
    return LEFTOVER if path.name.startswith(REMOVING) else path.name.split(".")[0]


def _inside(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _database_busy(path: Path) -> bool:
    """Whether another connection has this SQLite file open or locked."""
    if not path.is_file():
        return False
    try:
        link = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=0)
    except sqlite3.Error:
        return False
    try:
        link.execute("PRAGMA locking_mode=EXCLUSIVE")
        link.execute("BEGIN EXCLUSIVE")
        link.execute("ROLLBACK")
    except sqlite3.OperationalError as error:
        return "locked" in str(error)
    except sqlite3.DatabaseError:
        return False  # damaged: nobody can use it
    finally:
        link.close()
    return False
