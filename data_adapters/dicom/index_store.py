"""The index of a delivery on disk, so that an unchanged tree is scanned without opening a file.

One SQLite file per scanned folder under `dicom-index/` of the folder of caches. Its rows hold
header facts (patient ids, dates, names of files): patient data, readable by their owner only. The
name of the file tells nothing about the folder. It is a cache: deleting it costs a longer scan.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_adapters.dicom.model import Instance
from data_adapters.locks import hold
from data_adapters.privacy import uid_pseudonym

READER = 1
"""Raised by one whenever the reader's facts change meaning, so that old indices are made anew."""
FOLDER = "dicom-index"

_FACTS = tuple(field.name for field in dataclasses.fields(Instance))[4:]
_TUPLES = frozenset(
    "image_type position orientation spacing referenced_series listed texts".split()  # noqa: SIM905
)
_VERSION = zlib.crc32(repr((READER, 1, _FACTS)).encode()) & 0x7FFFFFFF or 1
_TABLE = "CREATE TABLE IF NOT EXISTS folder (name BLOB PRIMARY KEY, body BLOB NOT NULL)"
_DAMAGE = (sqlite3.Error, OSError, ValueError, LookupError, TypeError, zlib.error)

Broken = tuple[str, str]
Entry = Instance | Broken | None
"""What a file is: DICOM, (kind, message) of a broken one, or None for any other file."""


@dataclass(slots=True)
class Listing:
    """The files of one folder, in the order of their names.

    Attributes:
        names: Names in the folder.
        sizes: Bytes.
        times: Times of the last change, nanoseconds.
    """

    names: list[str]
    sizes: list[int]
    times: list[int]


class Index:
    """The index of one scanned folder."""

    def __init__(self, root: Path, home: Path) -> None:
        """Name the index; nothing is read or written yet.

        Args:
            root: The scanned folder, resolved.
            home: Folder of caches.
        """
        self._folder = home / FOLDER
        self._root = root

    def read(self, listings: Mapping[str, Listing]) -> dict[str, list[tuple[bool, Entry]]]:
        """What is known of the files that lie there now.

        Args:
            listings: By relative folder name, with its closing slash.

        Returns:
            For each folder that the index knows: (known, what it is) per file, as listed.
            Paths and names of the instances are those of this scan. Empty where there is no
            index, or it is damaged or of another version.
        """
        try:
            with self._locked(), self._connected(writing=False) as base:
                if base is None:
                    return {}
                rows = base.execute("SELECT name, body FROM folder").fetchall()
            bodies = {name.decode("utf-8", "surrogateescape"): body for name, body in rows}
            return {
                name: self._match(name, listing, json.loads(zlib.decompress(bodies[name])))
                for name, listing in listings.items()
                if name in bodies
            }
        except _DAMAGE:
            return {}

    def write(
        self, changed: Iterable[tuple[str, Listing, list[Entry]]], present: Iterable[str]
    ) -> None:
        """Remember folders, and forget those that are gone; where it cannot, nothing is kept.

        Args:
            changed: Relative folder name, its files, and what each is.
            present: All folders that are still there.
        """
        rows = [
            (_key(name), zlib.compress(json.dumps(_packed(listing, entries)).encode(), 1))
            for name, listing, entries in changed
        ]
        keep = {_key(name) for name in present}
        try:
            with self._locked():
                try:
                    self._store(rows, keep)
                except sqlite3.OperationalError:  # locked, disk full, ...
                    raise
                except sqlite3.DatabaseError:  # damaged: begin anew
                    self._remove()
                    self._store(rows, keep)
        except _DAMAGE:
            return

    def _store(self, rows: list[tuple[bytes, bytes]], keep: set[bytes]) -> None:
        with self._connected(writing=True) as base:
            assert base is not None
            with base:
                known = [name for (name,) in base.execute("SELECT name FROM folder")]
                gone = [(name,) for name in known if name not in keep]
                base.executemany("DELETE FROM folder WHERE name = ?", gone)
                base.executemany("INSERT OR REPLACE INTO folder VALUES (?, ?)", rows)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with hold(self.path().with_suffix(".lock"), shared=False):
            yield

    def path(self) -> Path:
        """Where the index lies: named by the pseudonym of the folder's place.

        Raises:
            DataError: The salt of pseudonyms can be neither read nor made.
        """
        return self._folder / f"{uid_pseudonym(str(self._root), 'root')}.sqlite"

    @contextlib.contextmanager
    def _connected(self, *, writing: bool) -> Iterator[sqlite3.Connection | None]:
        """A connection to a database of this version; None where there is none to read."""
        path = self.path()
        if not path.exists():
            if not writing:
                yield None
                return
            _private_file(path)
        with contextlib.closing(sqlite3.connect(path, timeout=30)) as base:
            version = base.execute("PRAGMA user_version").fetchone()[0]
            if writing:
                base.execute("PRAGMA journal_mode=WAL")
                if version != _VERSION:
                    base.execute("DROP TABLE IF EXISTS folder")
                    base.execute(f"PRAGMA user_version = {_VERSION}")
                base.execute(_TABLE)
                base.commit()
            elif version != _VERSION:
                yield None
                return
            yield base

    def _remove(self) -> None:
        path = self.path()
        for end in ("", "-wal", "-shm", "-journal"):
            Path(f"{path}{end}").unlink(missing_ok=True)

    def _match(self, folder: str, now: Listing, body: dict[str, Any]) -> list[tuple[bool, Entry]]:
        """Facts of the files whose size and time are those of the index."""
        unchanged = (
            now.names == body["names"] and now.sizes == body["sizes"] and now.times == body["times"]
        )
        entries = _unpacked(body, f"{self._root}{os.sep}{folder}", folder)
        if unchanged:
            return [(True, entry) for entry in entries]
        known = {
            name: (size, time, entry)
            for name, size, time, entry in zip(
                body["names"], body["sizes"], body["times"], entries, strict=True
            )
        }
        matched: list[tuple[bool, Entry]] = []
        for name, size, time in zip(now.names, now.sizes, now.times, strict=True):
            was = known.get(name)
            same = was is not None and was[:2] == (size, time)
            matched.append((True, was[2]) if was is not None and same else (False, None))
        return matched


def _key(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _private_file(path: Path) -> None:
    """Make an empty file that only its owner can read."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))


def _packed(listing: Listing, entries: list[Entry]) -> dict[str, Any]:
    """A folder as columns; a fact that is the same for all files is written once."""
    instances = [entry for entry in entries if isinstance(entry, Instance)]
    columns: dict[str, list[Any]] = {}
    for fact in _FACTS:
        values = [getattr(one, fact) for one in instances]
        same = all(value == values[0] for value in values)
        columns[fact] = values[:1] if same else values
    return {
        "names": listing.names,
        "sizes": listing.sizes,
        "times": listing.times,
        "broken": {i: entry for i, entry in enumerate(entries) if isinstance(entry, tuple)},
        "dicom": [i for i, entry in enumerate(entries) if isinstance(entry, Instance)],
        "facts": columns,
    }


def _unpacked(body: dict[str, Any], place: str, prefix: str) -> list[Entry]:
    """The reverse of `_packed`."""
    which, names, sizes, times = (body[key] for key in ("dicom", "names", "sizes", "times"))
    columns: list[list[Any]] = []
    for fact in _FACTS:
        values = body["facts"][fact]
        if fact in _TUPLES:
            values = [None if value is None else tuple(value) for value in values]
        columns.append(values * len(which) if len(values) == 1 else values)
    whole = len(which) == len(names)
    heads: list[list[Any]] = [
        [place + name for name in names],
        [prefix + name for name in names],
        sizes,
        times,
    ]
    if not whole:
        heads = [[column[i] for i in which] for column in heads]
    made = [Instance(*row) for row in zip(*heads, *columns, strict=True)]
    if whole:
        return list(made)
    entries: list[Entry] = [None] * len(names)
    for i, instance in zip(which, made, strict=True):
        entries[i] = instance
    for i, (kind, message) in body["broken"].items():
        entries[int(i)] = (kind, message)
    return entries
