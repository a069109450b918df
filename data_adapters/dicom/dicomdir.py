"""DICOMDIR: the list of files that a medium carries (PS3.3 F.3, PS3.10, 8)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from data_adapters.dicom.model import Instance

DICOMDIR_CLASS = "1.2.840.10008.1.3.10"
_RECORDS = 0x00041220
_FILE_ID = 0x00041500


@dataclass(frozen=True)
class Listed:
    """What became of the files that a DICOMDIR lists.

    Attributes:
        missing: Names (relative to the scanned folder) of listed files that are not there.
        unsafe: How many entries would lead out of the folder; they are not followed.
        found: Names of listed files that are there.
    """

    missing: tuple[str, ...] = ()
    unsafe: int = 0
    found: frozenset[str] = frozenset()


def listed_files(path: str) -> tuple[str, ...]:
    """Names in a DICOMDIR: the components of each Referenced File ID, joined by slashes.

    A component that is no plain file name is kept as it is: `resolve` refuses it.

    Raises:
        OSError: The file cannot be read.
        ValueError, AttributeError, ...: The directory is damaged.
    """
    import pydicom

    dataset = pydicom.dcmread(path, specific_tags=[_RECORDS])
    names: dict[str, None] = {}
    records = dataset.get(_RECORDS)
    for record in [] if records is None else records.value:
        file_id = record.get(_FILE_ID)
        value = None if file_id is None else file_id.value
        if value:
            parts = [value] if isinstance(value, str) else value
            names["/".join(str(part).strip(" \0") for part in parts)] = None
    return tuple(names)


def resolve(directory: Instance, names: Mapping[str, str]) -> Listed:
    """Find the listed files among those that lie in the tree.

    Media are written in capitals and mounted in either case, hence case does not count where no
    file of exactly that name is there.

    Args:
        directory: A DICOMDIR.
        names: By `folded` name: the names of all files of the tree.
    """
    prefix = directory.name.rpartition("/")[0]
    prefix = f"{prefix}/" if prefix else ""
    missing: list[str] = []
    found: set[str] = set()
    unsafe = 0
    for name in directory.listed:
        if not _is_plain(name):
            unsafe += 1
        elif (there := names.get(folded(prefix + name))) is not None:
            found.add(there)
        else:
            missing.append(prefix + name)
    return Listed(tuple(missing), unsafe, frozenset(found))


def folded(name: str) -> str:
    """A name as it compares: without case and without ISO 9660's version number."""
    return name.removesuffix(";1").rstrip(".").casefold()


def by_folded(names: Iterable[str]) -> dict[str, str]:
    """The mapping that `resolve` wants."""
    return {folded(name): name for name in names}


def _is_plain(name: str) -> bool:
    """Whether every component is the name of something inside the folder."""
    parts = name.split("/")
    return all(part.strip(".") and not set(part) & set('\\:\0*?"<>|') for part in parts)
