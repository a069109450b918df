"""Converted weight sets under ``RADZOO_HOME/weights``: found by name, verified, written whole.

Nothing heavy is imported here, so that a listing costs milliseconds.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import struct
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from zoo.errors import WeightsMismatchError, ZooError
from zoo.home import home
from zoo.registry import get_spec
from zoo.spec import WeightSpec
from zoo.weights.download import Progress
from zoo.weights.manifest import LARGEST, Manifest, from_json, to_json

_CHUNK: Final = 1 << 20
_OLD: Final = 86400.0
_HEADER: Final = 100_000_000
"""Bytes of the longest header of a safetensors file that safetensors itself accepts."""


@dataclass(frozen=True, kw_only=True)
class WeightSet:
    """A set in a folder; its manifest is sound, its arrays are not looked at yet.

    Attributes:
        path: The ``.safetensors`` file.
        manifest: What is known of it.
    """

    path: Path
    manifest: Manifest

    @property
    def shown(self) -> str:
        """What to call it in messages."""
        return f"{self.manifest.backbone}:{self.manifest.name}"


def folder() -> Path:
    """Give the folder of the sets; it may not exist yet."""
    return home() / "weights"


def stem_of(backbone: str, weight: WeightSpec) -> str:
    """Give the stem of a set's files.

    Weights out of a pip package keep that of the packaged file, under which their cache lies.
    """
    return stem_for(backbone, weight.name) if weight.source != "package" else Path(weight.file).stem


def stem_for(backbone: str, name: str) -> str:
    """Give the stem of a set that comes in no package."""
    return f"{backbone}.{name}"


def read_manifest(path: Path) -> Manifest:
    """Read the manifest of a set.

    Args:
        path: The ``.json`` or the ``.safetensors`` file.

    Raises:
        WeightsMismatchError: When it is damaged or altered.
        OSError: When it cannot be read.
    """
    path = path.with_name(f"{stem_name(path)}.json")
    if path.stat().st_size > LARGEST:
        raise WeightsMismatchError(f"{path.name!r} is too long for a manifest of weights")
    try:
        text = path.read_bytes().decode("ascii")
    except UnicodeDecodeError as error:
        raise WeightsMismatchError(f"the manifest {path.name!r} is damaged") from error
    return from_json(text, file=path.name)


def stem_name(path: Path) -> str:
    """Take ``.json`` or ``.safetensors`` off a file name."""
    return path.name.removesuffix(".json").removesuffix(".safetensors")


def find_set(backbone: str, name: str, *, place: Path | None = None) -> WeightSet | None:
    """Look a set up by backbone and name.

    Args:
        backbone: Registered name.
        name: Of the weights.
        place: Folder; None: ``RADZOO_HOME/weights``.

    Returns:
        None where there is none.

    Raises:
        WeightsMismatchError: When its manifest is damaged, or belongs to another set.
    """
    catalogued = {weight.name: weight for weight in get_spec(backbone).weights}
    weight = catalogued.get(name)
    stem = stem_for(backbone, name) if weight is None else stem_of(backbone, weight)
    path = (place or folder()) / f"{stem}.safetensors"
    try:
        if not is_manifest(path.with_name(f"{stem}.json")):
            return None
        manifest = read_manifest(path)
    except OSError:
        return None
    if (manifest.backbone, manifest.name) != (backbone, name):
        raise WeightsMismatchError(
            f"{path.name!r} is the set {manifest.backbone}:{manifest.name}, not {backbone}:{name}: "
            "it was renamed"
        )
    if not path.is_file():
        return None
    return WeightSet(path=path, manifest=manifest)


def is_manifest(path: Path) -> bool:
    """Tell a set's manifest from the short note beside the cache of a pip package's weights."""
    try:
        if path.stat().st_size > LARGEST:
            return False
        content = json.loads(path.read_bytes())
    except OSError:
        return False
    except (ValueError, RecursionError):
        return "." in stem_name(path)  # a damaged manifest, to be refused as such
    return isinstance(content, dict) and "source" in content and len(content) > 4


def imported(backbone: str | None = None) -> Iterator[WeightSet]:
    """Give the sets under names that the catalogue does not know, by backbone and name.

    Damaged ones are left out; looking one up by name says what is wrong with it.

    Args:
        backbone: Only those of this backbone.
    """
    for path in manifests(f"{backbone or '*'}.*.json"):
        try:
            manifest = read_manifest(path)
        except (OSError, WeightsMismatchError):
            continue
        data = path.with_name(f"{stem_name(path)}.safetensors")
        own = data.name == f"{manifest.backbone}.{manifest.name}.safetensors"
        if own and data.is_file() and manifest.name not in _catalogued(manifest.backbone):
            yield WeightSet(path=data, manifest=manifest)


def manifests(pattern: str = "*.json") -> list[Path]:
    """List what may be manifests, by name."""
    try:
        return sorted(path for path in folder().glob(pattern) if not path.name.startswith("."))
    except OSError:
        return []


def imported_weights() -> dict[str, list[WeightSpec]]:
    """List the weights that were imported under names of their own, by backbone."""
    own: dict[str, list[WeightSpec]] = {}
    for one in imported():
        own.setdefault(one.manifest.backbone, []).append(one.manifest.weight())
    return own


def check_set(
    found: WeightSet, weight: WeightSpec | None, progress: Progress | None = None
) -> None:
    """Compare a set's arrays with its manifest, and its manifest with the catalogue.

    Args:
        found: The set.
        weight: Its entry in the catalogue, where it has one.
        progress: Called with bytes read and bytes in all.

    Raises:
        WeightsMismatchError: Naming the file and what differs.
    """
    manifest = found.manifest
    if weight is not None:
        check_source(weight, manifest)
    try:
        size = found.path.stat().st_size
        digest = sha256_of(found.path, progress)
    except OSError as error:
        raise ZooError(f"{found.path.name!r} cannot be read: {error.strerror}") from error
    if (size, digest) != (manifest.size, manifest.sha256):
        raise WeightsMismatchError(
            f"{found.path.name!r} has the SHA-256 {digest[:12]}... and {size} bytes, its manifest "
            f"says {manifest.sha256[:12]}... and {manifest.size}: it is damaged or another file; "
            "remove both and import the source anew"
        )


def check_source(weight: WeightSpec, manifest: Manifest) -> None:
    """Refuse a set under a published name that was made from another file.

    Raises:
        WeightsMismatchError: Naming both digests.
    """
    stated = weight.sha256 or weight.sha256_prefix or ""
    if not manifest.source_sha256.startswith(stated):
        raise WeightsMismatchError(
            f"the set {manifest.backbone}:{manifest.name} was made from a file with the SHA-256 "
            f"{manifest.source_sha256[:12]}..., the catalogue states {stated[:12]}...: remove it "
            "and import the published file"
        )


def sha256_of(path: Path, progress: Progress | None = None) -> str:
    """Digest a file, saying how far it is."""
    digest, done, total = hashlib.sha256(), 0, path.stat().st_size
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            done += len(chunk)
            if progress is not None:
                progress(done, total)
    return digest.hexdigest()


def check_header(path: Path) -> None:
    """Refuse a file that is no safetensors file, without reading its arrays.

    Raises:
        WeightsMismatchError: When its header is not one.
    """
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 0 < length <= min(_HEADER, path.stat().st_size - 8):
            raise WeightsMismatchError(f"{path.name!r} is no safetensors file")
        try:
            header = json.loads(file.read(length))
        except (ValueError, RecursionError) as error:
            raise WeightsMismatchError(f"{path.name!r} is no safetensors file") from error
    if not isinstance(header, dict):
        raise WeightsMismatchError(f"{path.name!r} is no safetensors file")


def write_set(data: bytes, manifest: Manifest, *, place: Path | None = None) -> WeightSet:
    """Write a set, the manifest last: a reader sees a whole set or none.

    Args:
        data: Content of the ``.safetensors`` file.
        manifest: Its manifest.
        place: Folder; None: ``RADZOO_HOME/weights``.

    Raises:
        ZooError: When the folder cannot be written.
    """
    where = place or folder()
    weight = {item.name: item for item in get_spec(manifest.backbone).weights}.get(manifest.name)
    stem = stem_for(manifest.backbone, manifest.name)
    path = where / f"{stem if weight is None else stem_of(manifest.backbone, weight)}.safetensors"
    try:
        where.mkdir(parents=True, exist_ok=True)
        path.with_name(f"{stem_name(path)}.json").unlink(missing_ok=True)
        replace_file(path, data)
        replace_file(path.with_name(f"{stem_name(path)}.json"), to_json(manifest).encode())
    except OSError as error:
        raise not_writable(error) from error
    return WeightSet(path=path, manifest=manifest)


def replace_file(path: Path, data: bytes) -> None:
    """Write a file so that it appears whole or not at all."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def not_writable(error: OSError) -> ZooError:
    """Say that the folder of weights cannot be written, without its path."""
    return ZooError(
        f"cannot write into the folder of weights ({error.strerror}): set RADZOO_HOME to a folder "
        "that can be written and has room"
    )


def remove_tree(path: Path) -> None:
    """Remove a folder of ours, whatever is in it."""
    shutil.rmtree(path, ignore_errors=True)


def clear_leftovers(place: Path) -> None:
    """Remove what work that was killed more than a day ago left in a folder of sets."""
    for path in place.glob(".*"):
        if path.name.startswith((".unpack-", ".mirror-")) or path.name.endswith(".tmp"):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > _OLD:
                    remove_tree(path) if path.is_dir() else path.unlink()


def _catalogued(backbone: str) -> set[str]:
    """Name the published weights of a backbone; of an unknown one there are none."""
    from zoo.errors import UnknownBackboneError

    try:
        return {weight.name for weight in get_spec(backbone).weights}
    except UnknownBackboneError:
        return set()
