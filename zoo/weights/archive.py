"""Carry weight sets to a machine without a network: one archive, verified before anything counts.

The archive is a zip file without compression: ``radzoo-weights.json`` (what is in it), then for
each set its manifest and its arrays. Times, modes and order are fixed, so the same sets give the
same bytes. Its comment holds the SHA-256 of all that comes before the comment's text: a change of
any byte is noticed.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import stat
import uuid
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from zoo.errors import WeightsMismatchError, WeightsNotFoundError, ZooError
from zoo.weights.download import Progress
from zoo.weights.manifest import LARGEST, LAYOUT, STEM, from_json, to_json
from zoo.weights.sets import (
    WeightSet,
    check_header,
    check_set,
    clear_leftovers,
    folder,
    is_manifest,
    not_writable,
    remove_tree,
    sha256_of,
    stem_name,
)

INDEX: Final = "radzoo-weights.json"
_MARK: Final = b"radzoo sha256 "
_COMMENT: Final = len(_MARK) + 64
_CHUNK: Final = 1 << 20
_MOST_MEMBERS: Final = 2001
_TIME: Final = (1980, 1, 1, 0, 0, 0)
_UNIX: Final = 3
_MODE: Final = (stat.S_IFREG | 0o644) << 16


@dataclass(frozen=True, kw_only=True)
class Unpacked:
    """What ``unpack`` did.

    Attributes:
        sets: ``backbone:name`` of all sets in the archive, in its order.
        kept: Those that were there already, byte for byte.
        replaced: Those that took the place of others.
    """

    sets: tuple[str, ...]
    kept: tuple[str, ...]
    replaced: tuple[str, ...]


def pack(sets: Sequence[WeightSet], out: Path, *, progress: Progress | None = None) -> str:
    """Write sets into one archive; it appears whole or not at all.

    Args:
        sets: Sets, each verified first.
        out: The archive; an existing one is replaced.
        progress: Called with bytes written and bytes in all.

    Returns:
        The archive's SHA-256.

    Raises:
        WeightsMismatchError: When a set is damaged.
        ZooError: When two sets are the same, or the archive cannot be written.
    """
    ordered = sorted(sets, key=lambda one: (one.manifest.backbone, one.manifest.name))
    stems = [stem_name(one.path) for one in ordered]
    if len(set(stems)) < len(stems):
        raise ZooError("a weight set is named twice")
    for one in ordered:
        check_set(one, None)
    index = {
        "layout": LAYOUT,
        "sets": [
            {
                "backbone": one.manifest.backbone,
                "name": one.manifest.name,
                "stem": stem,
                "sha256": one.manifest.sha256,
                "size": one.manifest.size,
                "licence": one.manifest.licence,
            }
            for one, stem in zip(ordered, stems, strict=True)
        ],
    }
    temporary = out.with_name(f".{out.name}.{uuid.uuid4().hex}.tmp")
    total, done = sum(one.manifest.size for one in ordered), 0
    try:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            archive.writestr(_info(INDEX), _text(index))
            for one, stem in zip(ordered, stems, strict=True):
                archive.writestr(_info(f"{stem}.json"), to_json(one.manifest))
                info = _info(f"{stem}.safetensors")
                info.file_size = one.manifest.size
                with one.path.open("rb") as source, archive.open(info, "w") as target:
                    while chunk := source.read(_CHUNK):
                        done += target.write(chunk)
                        if progress is not None:
                            progress(done, max(total, done))
            archive.comment = _MARK + b"0" * 64
        digest = _seal(temporary)
        temporary.replace(out)
    except OSError as error:
        raise ZooError(
            f"cannot write {out.name!r}: {error.strerror}; give --out a place with room that can "
            "be written"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return digest


def unpack(
    path: Path, *, into: Path | None = None, force: bool = False, progress: Progress | None = None
) -> Unpacked:
    """Take the sets out of an archive, after everything in it was verified.

    Args:
        path: What ``pack`` wrote.
        into: Folder that gets the files; None: ``RADZOO_HOME/weights``.
        force: Replace sets of the same name with another content.
        progress: Called with bytes read and bytes in all.

    Raises:
        WeightsNotFoundError: When there is no such file.
        WeightsMismatchError: When the archive is damaged, was not written by ``pack``, or holds
            what it must not; nothing was unpacked then.
        ZooError: When other sets of the same name are there, or the folder cannot be written.
    """
    if not path.is_file():
        raise WeightsNotFoundError(f"there is no archive {path.name!r} where it was given")
    place = into or folder()
    staging = place / f".unpack-{uuid.uuid4().hex}"
    with _refusing(path):
        _check_seal(path)
        with zipfile.ZipFile(path) as archive:
            stems = _check_members(archive, path)
            _check_room(place, path.stat().st_size)
            try:
                staging.mkdir(parents=True)
                clear_leftovers(place)
                sets = _stage(archive, stems, staging, path, progress)
                return _place(sets, place, force=force)
            except OSError as error:
                raise not_writable(error) from error
            finally:
                remove_tree(staging)


def place_files(files: Sequence[Path], place: Path, *, move: bool) -> None:
    """Put files into a folder one by one, each whole.

    Args:
        files: The manifest last.
        place: The folder.
        move: Whether they may be moved rather than copied.
    """
    place.mkdir(parents=True, exist_ok=True)
    for file in files:
        source = file
        if not move:
            source = place / f".{file.name}.{uuid.uuid4().hex}.tmp"
            shutil.copyfile(file, source)
        source.replace(place / file.name)


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """Turn what reading a damaged zip file raises into one error."""
    try:
        yield
    except ZooError:
        raise
    except (
        zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError, OSError,
        KeyError,
    ) as error:  # fmt: skip
        raise _refused(path, "is damaged, or no archive of weights") from error


def _seal(path: Path) -> str:
    """Write the digest of all before it into the comment; give that of the whole file."""
    with path.open("r+b") as file:
        body = path.stat().st_size - 64
        digest = _digest(file, body)
        file.seek(body)
        file.write(digest.encode())
        file.flush()
        os.fsync(file.fileno())
    return sha256_of(path)


def _check_seal(path: Path) -> None:
    with path.open("rb") as file:
        body = path.stat().st_size - 64
        if body < _COMMENT:
            raise _refused(path, "is no archive of weights")
        file.seek(body - len(_MARK))
        comment = file.read()
        if not comment.startswith(_MARK):
            raise _refused(path, "is cut short, or was not written by `radzoo weights pack`")
        file.seek(0)
        if _digest(file, body).encode() != comment[len(_MARK) :]:
            raise _refused(path, "does not have its recorded SHA-256: it is damaged")


def _digest(file: IO[bytes], length: int) -> str:
    digest, left = hashlib.sha256(), length
    while left and (chunk := file.read(min(_CHUNK, left))):
        digest.update(chunk)
        left -= len(chunk)
    return digest.hexdigest()


def _check_members(archive: zipfile.ZipFile, path: Path) -> list[dict[str, Any]]:
    """Look at the list of members alone; nothing is read that could be large.

    Returns:
        The entries of the index.
    """
    members = archive.infolist()
    names = [info.filename for info in members]
    if len(names) > _MOST_MEMBERS or len(set(names)) < len(names) or INDEX not in names:
        raise _refused(path, "lacks its index, or names a member twice")
    for info in members:
        _check_member(info, path)
    if sum(info.file_size for info in members) > path.stat().st_size:
        raise _refused(path, "declares more bytes than it has")
    if archive.getinfo(INDEX).file_size > LARGEST:
        raise _refused(path, "has too long an index")
    index = json.loads(archive.read(INDEX))
    if not isinstance(index, dict) or index.get("layout") != LAYOUT:
        raise _refused(path, f"is of another layout; this radzoo reads layout {LAYOUT}")
    entries = index.get("sets")
    if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
        raise _refused(path, "has a damaged index")
    listed = [f"{one.get('stem')}{kind}" for one in entries for kind in (".json", ".safetensors")]
    if sorted([INDEX, *listed]) != sorted(names):
        raise _refused(path, "holds other files than its index lists")
    return entries


def _check_member(info: zipfile.ZipInfo, path: Path) -> None:
    """Refuse folders, links, ways out of the folder, compression and encryption."""
    name, kind = info.filename, stat.S_IFMT(info.external_attr >> 16)
    stem = name.removesuffix(".json").removesuffix(".safetensors")
    if STEM.fullmatch(stem) is None or ".." in name or name == stem or name != info.orig_filename:
        raise _refused(path, f"holds a member with the name {name[:60]!r}")
    if kind not in (0, stat.S_IFREG) or info.is_dir():
        raise _refused(path, f"holds {name!r}, which is no plain file")
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
        raise _refused(path, f"holds {name!r} compressed")
    if info.flag_bits & 0x1:
        raise _refused(path, f"holds {name!r} encrypted")
    if name.endswith(".json") and info.file_size > LARGEST:
        raise _refused(path, f"holds {name!r}, too long for a manifest")


def _stage(
    archive: zipfile.ZipFile,
    entries: list[dict[str, Any]],
    staging: Path,
    path: Path,
    progress: Progress | None,
) -> list[WeightSet]:
    """Extract into a folder of our own and verify each set there."""
    total, done, sets = path.stat().st_size, 0, []
    for entry in entries:
        stem = str(entry["stem"])
        manifest_text = archive.read(f"{stem}.json").decode("ascii")
        manifest = from_json(manifest_text, file=f"{stem}.json")
        target = staging / f"{stem}.safetensors"
        with archive.open(f"{stem}.safetensors") as source, target.open("wb") as file:
            while chunk := source.read(_CHUNK):
                done += file.write(chunk)
                if progress is not None:
                    progress(done, total)
        known = (manifest.backbone, manifest.name, manifest.sha256, manifest.size)
        if known != tuple(entry.get(key) for key in ("backbone", "name", "sha256", "size")):
            raise _refused(path, f"lists {stem!r} in its index otherwise than its manifest")
        one = WeightSet(path=target, manifest=manifest)
        _check_catalogued(one, stem, path)
        check_header(target)
        target.with_name(f"{stem}.json").write_text(manifest_text, encoding="ascii")
        sets.append(one)
    return sets


def _check_catalogued(one: WeightSet, stem: str, path: Path) -> None:
    """Compare a set with the catalogue: its stem, and the file that it was made from."""
    from zoo.registry import get_spec
    from zoo.weights.sets import stem_for, stem_of

    spec = get_spec(one.manifest.backbone)
    weight = {item.name: item for item in spec.weights}.get(one.manifest.name)
    wanted = (
        stem_for(spec.name, one.manifest.name) if weight is None else stem_of(spec.name, weight)
    )
    if stem != wanted:
        raise _refused(path, f"holds {one.shown} under the name {stem!r}, not {wanted!r}")
    check_set(one, weight)


def _place(sets: list[WeightSet], place: Path, *, force: bool) -> Unpacked:
    """Move verified sets into their folder; all are looked at before the first is moved."""
    kept, other = [], []
    for one in sets:
        there = _there(place / one.path.name)
        if there == one.manifest.sha256:
            kept.append(one)
        elif there is not None:
            other.append(one)
    if other and not force:
        names = ", ".join(one.shown for one in other)
        raise ZooError(
            f"other weights are there under the same name: {names}; nothing was unpacked; give "
            "--force to replace them"
        )
    for one in sets:
        if one not in kept:
            manifest = one.path.with_name(f"{stem_name(one.path)}.json")
            (place / manifest.name).unlink(missing_ok=True)
            place_files([one.path, manifest], place, move=True)
    return Unpacked(
        sets=tuple(one.shown for one in sets),
        kept=tuple(one.shown for one in kept),
        replaced=tuple(one.shown for one in other),
    )


def _there(path: Path) -> str | None:
    """Digest the arrays that lie where a set is to go.

    Returns:
        None where nothing lies there, or only what a pip package's weights are cached as, which the
        set replaces.
    """
    if not path.exists() or not is_manifest(path.with_name(f"{stem_name(path)}.json")):
        return None
    return sha256_of(path) if path.is_file() else "not a file"


def _check_room(place: Path, size: int) -> None:
    """Refuse before writing what the disk cannot hold."""
    there = next((one for one in (place, *place.parents) if one.exists()), None)
    if there is not None and shutil.disk_usage(there).free < size:
        raise not_writable(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))


def _info(name: str) -> zipfile.ZipInfo:
    """Describe a member by its name alone: no time, one mode, one system."""
    info = zipfile.ZipInfo(name, _TIME)
    info.compress_type = zipfile.ZIP_STORED
    info.create_system = _UNIX
    info.external_attr = _MODE
    return info


def _text(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=1, ensure_ascii=True) + "\n"


def _refused(path: Path, problem: str) -> WeightsMismatchError:
    return WeightsMismatchError(f"{path.name!r} {problem}; nothing was unpacked")
