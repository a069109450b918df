"""The decoded pictures on disk: chunks that survive a kill, and a finished folder that is checked.

While it is made, a cache is the folder `<key>.part`:
    `plan.json`: shape of a picture and number of cases per chunk.
    `images.uint8` or `images.float32`: the pixels, case after case, without a header. It starts as
        uint8 and is rewritten once as float32 when the first other picture comes.
    `chunk-NNNNNN.npz`: one record per finished chunk, put in place in one move after its pixels
        are on disk, with a checksum of the pixels that does not depend on their type.
A finished cache is the folder `<key>`, put in place in one move: the pixels, `cases.npz` (what is
known per case) and `manifest.json` (sizes and checksums of all, and of itself).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_adapters.errors import DataError

Array = NDArray[Any]
Records = dict[str, Array]

LAYOUT = 1
CHUNK_BYTES = 16 * 2**20
LARGEST_CHUNK = 256
CHECKED_BYTES = 2**30
"""How much of a finished cache's pixels is checked when it is opened, spread evenly."""


@contextlib.contextmanager
def storing(what: str = "cache of decoded images") -> Iterator[None]:
    """Turn a failure to write into an error that names the way out.

    Args:
        what: What cannot be written.

    Raises:
        DataError: The disk is full, read-only, or no place for a cache.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise DataError(
            f"the {what} cannot be written ({reason}); free space there, or set "
            "RADZOO_HOME to a writable folder with room"
        ) from error


def require_room(folder: Path, wanted: int, what: str = "cache of decoded images") -> None:
    """Refuse to begin what cannot fit.

    Raises:
        DataError: Fewer than `wanted` bytes are free.
    """
    free = shutil.disk_usage(folder).free
    if free < wanted:
        raise DataError(
            f"the {what} needs {wanted / 1e9:.1f} GB and {free / 1e9:.1f} GB are "
            "free; free space there, or set RADZOO_HOME to a folder with room"
        )


class PartialCache:
    """A cache in the making."""

    def __init__(self, folder: Path, cases: int, shape: tuple[int, int, int]) -> None:
        """Take up a folder from an earlier attempt, or begin it.

        Args:
            folder: The `.part` folder; what does not fit the plan in it is thrown away.
            cases: Number of cases.
            shape: `(H, W, C)` of every picture.
        """
        self.folder, self.cases, self.shape = folder, cases, shape
        values = int(np.prod(shape))
        self.chunk = max(1, min(LARGEST_CHUNK, CHUNK_BYTES // (4 * values)))
        plan = {"layout": LAYOUT, "cases": cases, "shape": list(shape), "chunk": self.chunk}
        if read_json(folder / "plan.json") != plan:
            if folder.exists():
                shutil.rmtree(folder)
            folder.mkdir(parents=True)
            write_file(folder / "plan.json", json.dumps(plan).encode())
        wide = (folder / "images.float32").exists()
        self.dtype = np.dtype(np.float32 if wide else np.uint8)
        if wide:
            (folder / "images.uint8").unlink(missing_ok=True)

    @property
    def chunks(self) -> int:
        """Number of chunks."""
        return -(-self.cases // self.chunk)

    def members(self, number: int) -> range:
        """Cases of a chunk."""
        return range(number * self.chunk, min(self.cases, (number + 1) * self.chunk))

    def finished(self, number: int) -> Records | None:
        """The record of a chunk, None where it is missing or damaged, or its pixels are."""
        records = _read_npz(self._record(number))
        if records is None or len(records.get("ok", ())) != len(self.members(number)):
            return None
        pixels = self._read(number)
        if pixels is None or checksum(pixels) != int(records["crc"]):
            return None
        return records

    def store(self, number: int, pixels: Array, records: Records) -> None:
        """Put a chunk on disk: the pixels first, then the record that vouches for them.

        Args:
            number: Number of the chunk.
            pixels: `(n, H, W, C)` uint8 or float32.
            records: Arrays with one row per case.
        """
        if pixels.dtype != np.uint8 and self.dtype == np.uint8:
            self._widen()
        size = self.dtype.itemsize * int(np.prod(self.shape))
        path = self._images()
        with path.open("r+b" if path.exists() else "w+b") as handle:
            handle.seek(self.members(number).start * size)
            handle.write(np.ascontiguousarray(pixels, self.dtype).tobytes())
            _sync(handle)
        full = {**records, "crc": np.array(checksum(pixels), np.uint32)}
        _write_npz(self._record(number), full)

    def finish(self, target: Path, records: list[Records], facts: dict[str, Any]) -> None:
        """Write what is known of all cases and the manifest, and move the folder to its place.

        Args:
            target: The finished folder; whatever stands there gives way.
            records: One per chunk, in order.
            facts: Further entries of the manifest.
        """
        crcs = [int(record.pop("crc")) for record in records]
        merged = {key: np.concatenate([r[key] for r in records]) for key in records[0]}
        _write_npz(self.folder / "cases.npz", merged)
        manifest = {
            **facts,
            "layout": LAYOUT,
            "cases": self.cases,
            "shape": list(self.shape),
            "dtype": self.dtype.name,
            "chunk": self.chunk,
            "crcs": crcs,
            "cases_sha256": _digest((self.folder / "cases.npz").read_bytes()),
        }
        manifest["sha256"] = json_digest(manifest)
        write_file(self.folder / "manifest.json", json.dumps(manifest).encode())
        if target.exists():
            shutil.rmtree(target)
        self.folder.rename(target)
        for leftover in (*target.glob("chunk-*.npz"), target / "plan.json"):
            leftover.unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder)

    def _images(self) -> Path:
        return self.folder / f"images.{self.dtype.name}"

    def _record(self, number: int) -> Path:
        return self.folder / f"chunk-{number:06d}.npz"

    def _read(self, number: int) -> Array | None:
        """Pixels of a chunk as they lie on disk; None where the file ends before them."""
        members = self.members(number)
        values = int(np.prod(self.shape))
        try:
            with self._images().open("rb") as handle:
                handle.seek(members.start * values * self.dtype.itemsize)
                data = handle.read(len(members) * values * self.dtype.itemsize)
        except FileNotFoundError:
            return None
        if len(data) != len(members) * values * self.dtype.itemsize:
            return None
        return np.frombuffer(data, self.dtype).reshape(len(members), *self.shape)

    def _widen(self) -> None:
        """Rewrite the pixels as float32, which holds every uint8 exactly."""
        wide = np.dtype(np.float32)
        temporary = self.folder / "images.widening"
        size = wide.itemsize * int(np.prod(self.shape))
        with temporary.open("wb") as handle:
            for number in range(self.chunks):
                pixels = self._read(number)
                if pixels is not None:
                    handle.seek(self.members(number).start * size)
                    handle.write(pixels.astype(wide).tobytes())
            _sync(handle)
        temporary.rename(self.folder / "images.float32")
        (self.folder / "images.uint8").unlink(missing_ok=True)
        self.dtype = wide


def open_finished(folder: Path) -> tuple[np.memmap[Any, Any], Records, dict[str, Any]] | None:
    """Open a finished cache after checking it.

    Returns:
        The pixels `(N, H, W, C)` as a read-only memory map, the arrays per case, the manifest;
        None where there is no such cache or any size or checksum is wrong.
    """
    manifest = read_json(folder / "manifest.json")
    if manifest is None or manifest.get("sha256") != json_digest(manifest):
        return None
    try:
        cases = (folder / "cases.npz").read_bytes()
        size = (folder / f"images.{manifest['dtype']}").stat().st_size
    except OSError:
        return None
    shape = (manifest["cases"], *manifest["shape"])
    wanted = int(np.prod(shape)) * np.dtype(manifest["dtype"]).itemsize
    if _digest(cases) != manifest["cases_sha256"] or size != wanted:
        return None
    records = _read_npz(folder / "cases.npz")
    path = folder / f"images.{manifest['dtype']}"
    images = np.memmap(path, np.dtype(manifest["dtype"]), "r", shape=shape)
    if records is None or not _pixels_intact(images, manifest):
        return None
    return images, records, manifest


def _pixels_intact(images: Array, manifest: dict[str, Any]) -> bool:
    """Compare the chunks' checksums, all or as many as `CHECKED_BYTES` allows."""
    chunk, crcs = manifest["chunk"], manifest["crcs"]
    per_chunk = max(1, images[:chunk].nbytes)
    count = min(len(crcs), max(2, CHECKED_BYTES // per_chunk))
    numbers = np.unique(np.linspace(0, len(crcs) - 1, count).astype(int))
    return all(
        checksum(np.asarray(images[number * chunk : (number + 1) * chunk])) == crcs[number]
        for number in numbers
    )


def checksum(pixels: Array) -> int:
    """CRC-32 of the pixels as float32, the same for uint8 and the float32 made of it."""
    return zlib.crc32(np.ascontiguousarray(pixels, np.float32).data)


def json_digest(manifest: dict[str, Any]) -> str:
    """Digest of a JSON object but for its own entry `sha256`."""
    rest = {key: value for key, value in manifest.items() if key != "sha256"}
    return _digest(json.dumps(rest, sort_keys=True).encode())


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _sync(handle: Any) -> None:
    handle.flush()
    os.fsync(handle.fileno())


def write_file(path: Path, data: bytes) -> None:
    """Write a file in one move: a reader sees all of it or none."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as handle:
        handle.write(data)
        _sync(handle)
    temporary.replace(path)


def _write_npz(path: Path, arrays: Records) -> None:
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as handle:
        np.savez(handle, **arrays)  # type: ignore[arg-type]
        _sync(handle)
    temporary.replace(path)


def _read_npz(path: Path) -> Records | None:
    try:
        with np.load(path, allow_pickle=False) as loaded:
            return {key: loaded[key] for key in loaded.files}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file; None where there is none."""
    try:
        loaded = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return loaded if isinstance(loaded, dict) else None
