"""Deliveries as zip or tar files: unpacked once, safely, into a folder named by their content.

Nothing that an archive says about itself is believed: no member leaves the folder, links and
devices are refused, sizes are counted while they are written. Errors number members and do not name
them, as names are patient data.
"""

from __future__ import annotations

import bz2
import calendar
import contextlib
import gzip
import hashlib
import json
import lzma
import os
import shutil
import stat
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from data_adapters.errors import DataError, FormatError
from data_adapters.home import home as default_home
from data_adapters.locks import Hold, hold
from data_adapters.privacy import uid_pseudonym

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tbz", ".tar.xz", ".txz")
MAX_MEMBERS = 1_000_000
MAX_BYTES = 1 << 40
MAX_RATIO = 200
"""Unpacked bytes per packed byte; more is allowed up to `FREE_BYTES` in all."""
FREE_BYTES = 1 << 30
FOLDER = "unpacked"

_CHUNK = 1 << 20
_DEEPEST = 100
_LONGEST_NAME = 240  # bytes of one component; file systems end at 255
_LARGEST_READ = 1 << 26
_WAY_OUT = "if you trust it, unpack it by hand and give the folder"
# What the modules of the standard library raise on damaged archives, beside OSError.
_DAMAGE = (
    EOFError,
    LookupError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    TypeError,
    ValueError,
    lzma.LZMAError,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
)
_in_use: dict[Path, Hold] = {}
"""Folders that this process has handed out: they are not pruned while it lives."""


def is_archive(path: Path) -> bool:
    """Whether a file is a zip or tar delivery, by extension; many other formats are zips inside."""
    return path.name.lower().endswith(SUFFIXES) and path.is_file()


def unpacked(
    path: str | Path,
    *,
    home: Path | None = None,
    max_bytes: int = MAX_BYTES,
    max_members: int = MAX_MEMBERS,
) -> Path:
    """Unpack an archive, or find it unpacked already.

    Args:
        path: A `.zip`, `.tar`, `.tar.gz`, `.tar.bz2` or `.tar.xz` file.
        home: Folder of caches; the default one if None. The files lie below `unpacked/`, readable
            by their owner only, and stay until the cache is pruned after this process.
        max_bytes: Most bytes when unpacked.
        max_members: Most files and folders.

    Returns:
        The folder; where all lies in one folder at the top, that one.

    Raises:
        FormatError: The file is no archive, is damaged, or holds what no delivery should: absolute
            names, `..`, links, devices, encrypted members, names that differ in case only.
        DataError: The file is not there, or unpacking exceeds a limit or the room on the disk.
    """
    archive = Path(path)
    base = (home or default_home()) / FOLDER
    try:
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = base / _key(archive, base)
        if folder not in _in_use:
            _in_use[folder] = hold(base / f"{folder.name}.use", shared=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        files = folder / "files"
        with hold(base / f"{folder.name}.lock", shared=False):
            if not files.is_dir():
                _unpack(archive, folder, _Limits(max_bytes, max_members))
        return _top(files)
    except FileNotFoundError:
        raise DataError("the archive is not there") from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise DataError(f"the archive cannot be unpacked: {reason}") from None


def _top(folder: Path) -> Path:
    """The folder itself, or the only thing in it if that is a folder."""
    from data_adapters.files import is_hidden

    while True:
        inside = [entry for entry in os.scandir(folder) if not is_hidden(entry.name)]
        if len(inside) != 1 or not inside[0].is_dir(follow_symlinks=False):
            return folder
        folder = Path(inside[0].path)


def _key(archive: Path, base: Path) -> str:
    """Hash of an archive's content, remembered by place, size and time: hashing takes a while."""
    status = archive.stat()
    memo = base / f"{uid_pseudonym(str(archive.resolve()), 'archive')}.json"
    state = [status.st_size, status.st_mtime_ns]
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        known = json.loads(memo.read_text(encoding="ascii"))
        if known["state"] == state and len(known["key"]) == 32 and known["key"].isalnum():
            return str(known["key"])
    digest = hashlib.sha256(b"radzoo-unpacked-1")
    with archive.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    key = digest.hexdigest()[:32]
    part = memo.with_name(f"{memo.name}.{os.getpid()}.tmp")
    part.write_text(json.dumps({"state": state, "key": key}), encoding="ascii")
    part.replace(memo)
    return key


@dataclass
class _Limits:
    """What an archive may unpack to, and how much of it is used up."""

    max_bytes: int
    max_members: int
    bytes: int = 0
    members: int = 0

    def count(self, size: int) -> None:
        """Use up some bytes."""
        self.bytes += size
        if self.bytes > self.max_bytes:
            raise DataError(
                f"the archive unpacks to more than {self.max_bytes} bytes, the limit for one of "
                f"its size: {_WAY_OUT}"
            )


def _unpack(archive: Path, folder: Path, limits: _Limits) -> None:
    """Unpack into `files.part`, which becomes `files` when all is there."""
    size = archive.stat().st_size
    limits.max_bytes = min(limits.max_bytes, max(FREE_BYTES, MAX_RATIO * size))
    part = folder / "files.part"
    if part.exists():
        shutil.rmtree(part)
    part.mkdir(mode=0o700)
    try:
        writer = _Writer(part, limits)
        if archive.name.lower().endswith(".zip"):
            _from_zip(archive, writer)
        else:
            _from_tar(archive, writer)
        if not writer.names:
            raise FormatError("the archive is empty")
        part.rename(folder / "files")
    except DataError:
        shutil.rmtree(part, ignore_errors=True)
        raise
    except _DAMAGE as error:
        shutil.rmtree(part, ignore_errors=True)
        reason = type(error).__name__
        raise FormatError(
            f"the archive is damaged, or no archive of its extension ({reason})"
        ) from None
    except OSError:
        shutil.rmtree(part, ignore_errors=True)
        raise


@dataclass
class _Writer:
    """Writes members below a folder, each checked first."""

    folder: Path
    limits: _Limits
    names: dict[str, tuple[str, bool]] = field(default_factory=dict)

    def member(self, number: int, name: str, *, is_folder: bool, refused: str = "") -> Path | None:
        """Check a member; where its file is to be written, None for a folder.

        Raises:
            FormatError: It is refused.
            DataError: There are too many.
        """
        self.limits.members += 1
        if self.limits.members > self.limits.max_members:
            raise DataError(f"the archive holds more than {self.limits.max_members} members")
        parts = _safe_parts(name)
        if refused or parts is None:
            why = refused or "has a name that leads out of the folder or cannot be written"
            raise FormatError(f"member {number} of the archive {why}: {_WAY_OUT}")
        if not parts and is_folder:
            return None
        if not parts or not self._is_new(parts, is_folder):
            raise FormatError(
                f"member {number} of the archive has the name of another one, but for capital "
                f"letters or accents: {_WAY_OUT}"
            )
        path = self.folder.joinpath(*parts)
        target = path if is_folder else path.parent
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        return None if is_folder else path

    def _is_new(self, parts: tuple[str, ...], is_folder: bool) -> bool:
        """Whether a name and the folders above it clash with no other name."""
        for length in range(1, len(parts) + 1):
            name = "/".join(parts[:length])
            folder = is_folder or length < len(parts)
            key = _folded(name)
            if key not in self.names:
                self.names[key] = (name, folder)
            elif self.names[key] != (name, True) or not folder:
                return False
        return True

    def write(self, path: Path, source: IO[bytes], mtime: float) -> None:
        """Write a file in pieces, counting; its time is the archive's."""
        with open(path, "xb", opener=_private) as target:
            while chunk := source.read(_CHUNK):
                self.limits.count(len(chunk))
                target.write(chunk)
        if 0 <= mtime < 1 << 33:
            os.utime(path, (mtime, mtime))


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _safe_parts(name: str) -> tuple[str, ...] | None:
    """Components of a member's name; None where it could lead out of the folder."""
    plain = name.replace("\\", "/")
    if plain.startswith("/") or plain[1:2] == ":":
        return None
    parts = tuple(part for part in plain.split("/") if part not in ("", "."))
    if len(parts) > _DEEPEST:
        return None
    for part in parts:
        if not part.strip(". ") or any(unicodedata.category(c) == "Cc" for c in part):
            return None
        if len(part.encode("utf-8", "surrogateescape")) > _LONGEST_NAME:
            return None
    return parts


def _from_zip(archive: Path, writer: _Writer) -> None:
    with zipfile.ZipFile(archive) as source:
        members = source.infolist()
        for number, member in enumerate(members, start=1):
            mode = member.external_attr >> 16
            refused = ""
            if member.flag_bits & 0x1:
                refused = "is encrypted"
            elif stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                refused = "is a link or a device"
            folder = member.is_dir() or member.filename.endswith("\\")
            path = writer.member(number, member.filename, is_folder=folder, refused=refused)
            if path is not None:
                with source.open(member) as file:
                    writer.write(path, file, _time(member))


def _from_tar(archive: Path, writer: _Writer) -> None:
    with _stream(archive) as file:
        bounded = _Bounded(file, writer.limits)
        with tarfile.open(fileobj=bounded, mode="r:") as source:  # type: ignore[call-overload]
            number = 0
            while (member := source.next()) is not None:
                number += 1
                refused = ""
                if not (member.isreg() or member.isdir()) or member.issparse():
                    refused = "is a link, a device or a sparse file"
                path = writer.member(number, member.name, is_folder=member.isdir(), refused=refused)
                inside = source.extractfile(member) if path is not None else None
                if path is not None and inside is not None:
                    with inside:
                        writer.write(path, inside, float(member.mtime))
                source.members.clear()  # type: ignore[attr-defined]  # else it grows
            bounded.seek(source.offset)  # type: ignore[attr-defined]
            if any(bounded.read(tarfile.BLOCKSIZE)):  # it also stops at what it cannot read
                raise FormatError("the archive is damaged behind its first members")


def _time(member: zipfile.ZipInfo) -> float:
    """When a member was last changed; its time zone is not known."""
    try:
        return calendar.timegm((*member.date_time, 0, 0, 0))
    except (ValueError, OverflowError):
        return 0.0


@contextlib.contextmanager
def _stream(archive: Path) -> Iterator[IO[bytes]]:
    """The bytes of a tar file, decompressed by what its first bytes say."""
    with archive.open("rb") as raw:
        head = raw.read(6)
        raw.seek(0)
        opened: Any = raw
        if head[:2] == b"\x1f\x8b":
            opened = gzip.GzipFile(fileobj=raw)
        elif head[:3] == b"BZh":
            opened = bz2.BZ2File(raw)
        elif head == b"\xfd7zXZ\0":
            opened = lzma.LZMAFile(raw)  # noqa: SIM115 - closed by the next line
        with opened:
            yield opened


class _Bounded:
    """A stream read forwards only, in pieces, and only so far: headers can claim any length."""

    def __init__(self, file: IO[bytes], limits: _Limits) -> None:
        self._file = file
        self._end = limits.max_bytes + 2048 * min(limits.max_members, 10_000_000)
        self._read = self._place = 0  # bytes taken from the stream, place of the next read
        self._tail = b""

    def read(self, size: int = -1) -> bytes:
        """Read bytes at the place; it may lie a little behind what was read last."""
        if not 0 <= size <= _LARGEST_READ:
            raise ValueError("a header claims an impossible length")
        while self._read < self._place:
            if not self._take(min(_CHUNK, self._place - self._read)):
                return b""
        behind = self._read - self._place
        if behind > len(self._tail):
            raise ValueError("the archive goes backwards")
        data = self._tail[len(self._tail) - behind :][:size] if behind else b""
        if len(data) < size:
            data += self._take(size - len(data))
        self._place += len(data)
        return data

    def _take(self, size: int) -> bytes:
        data = self._file.read(size)
        self._read += len(data)
        self._tail = (self._tail + data)[-2 * tarfile.BLOCKSIZE :]
        return data

    def seek(self, place: int) -> int:
        """Go to a place."""
        if place > self._end:
            raise ValueError("a member claims an impossible length")
        self._place = place
        return place

    def tell(self) -> int:
        """Place of the next read."""
        return self._place
