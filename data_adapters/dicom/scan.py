"""From a delivery of files to the header facts of every DICOM file in it."""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from data_adapters.dicom.dicomdir import DICOMDIR_CLASS, by_folded, resolve
from data_adapters.dicom.headers import might_be_dicom, read_instance
from data_adapters.dicom.index_store import Entry, Index, Listing
from data_adapters.dicom.model import Instance
from data_adapters.errors import CaseError, DataError
from data_adapters.files import is_hidden

DICOM_SUFFIXES = frozenset({".dcm", ".dicom", ".ima"})
# Extensions that a report may name; any other might be part of somebody's name.
_PLAIN = re.compile(
    r"\.(?:bmp|bz2|csv|db|docx?|exe|gif|gz|html?|inf|ini|jpe?g|json|log|md|mha|nii|npz|nrrd|pdf|png|py"
    r"|tar|tiff?|tsv|txt|xlsx?|xml|xz|ya?ml|zip)|\(no (?:extension|file)\)"
)
DEEPEST = 100
"""Folders in folders that are followed."""
LeftOut = tuple[str, str, str]


@dataclass(frozen=True)
class Scanned:
    """What lies in a delivery.

    Attributes:
        instances: DICOM files in the order of their names, without directories (DICOMDIR).
        left_out: (name, kind, message) of each file that should be DICOM and cannot be read.
        others: How many files of each extension are no DICOM.
        hidden: How many hidden files and leavings of operating systems were passed over.
        notes: Sentences for the report.
    """

    instances: tuple[Instance, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    others: Counter[str] = field(default_factory=Counter)
    hidden: int = 0
    notes: tuple[str, ...] = ()


@dataclass
class _Walk:
    """What was seen without opening a file: by relative folder, its closing slash included."""

    listings: dict[str, Listing] = field(default_factory=dict)
    left_out: list[LeftOut] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    hidden: int = 0
    outside: int = 0


def scan_tree(
    root: str | Path,
    *,
    home: Path | None = None,
    progress: Callable[[int, int], object] | None = None,
    members: Collection[str] | None = None,
) -> Scanned:
    """Find the DICOM files of a folder (or a single one) and read their headers, not their pixels.

    Files are recognised by content, with or without extension and preamble. Links are followed,
    wherever they lead, except back into a folder they lie in.

    Args:
        root: A folder, one DICOM file, or a DICOMDIR, which stands for the folder it lies in.
        home: Folder of caches, where the index is kept: a second scan of an unchanged tree opens
            no file. None: no index is read or written.
        progress: Called now and then with the number of files done and of all.
        members: Names (relative, forward slashes) to look at; None for all.

    Raises:
        DataError: There is no such file or folder.
    """
    top = Path(root)
    if not top.exists():
        raise DataError("no such file or folder to scan for DICOM")
    walk = _Walk()
    if top.name.lower() == "dicomdir" and top.is_file():
        top = top.parent
    base = (top if top.is_dir() else top.parent).resolve()
    index = Index(base, home) if home is not None and top.is_dir() else None
    if top.is_dir():
        _walk_into(walk, str(base), "", (base,))
    else:
        members = {top.name}
        _list_files(walk, "", [(top.name, top.stat())])
    known = index.read(walk.listings) if index else {}
    reading = _Reading(base, members, progress, sum(len(x.names) for x in walk.listings.values()))
    looked = {
        folder: reading.folder(folder, listing, known.get(folder))
        for folder, listing in walk.listings.items()
    }
    if index is not None and members is None:
        changed = [
            (folder, walk.listings[folder], entries)
            for folder, (entries, opened) in looked.items()
            if opened or len(entries) != len(known.get(folder, ()))
        ]
        index.write(changed, walk.listings)
    return _summary(walk, {folder: entries for folder, (entries, _) in looked.items()}, members)


def _walk_into(walk: _Walk, folder: str, prefix: str, above: tuple[Path, ...]) -> None:
    try:
        with os.scandir(folder) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
    except OSError:
        walk.left_out.append((prefix, "unreadable", "the folder cannot be looked into"))
        return
    if len(above) > DEEPEST:
        message = f"folders lie more than {DEEPEST} deep: what is in them was not looked at"
        walk.left_out.append((prefix, "too-deep", message))
        return
    files: list[tuple[str, os.stat_result]] = []
    for entry in listed:
        name = entry.name
        if is_hidden(name) and name.lower() != "dicomdir":
            walk.hidden += 1
            continue
        if entry.is_symlink():
            target = Path(os.path.realpath(entry.path))
            if target in above:
                continue
            walk.outside += not target.is_relative_to(above[0])
        try:
            if entry.is_dir():
                place = (*above, Path(entry.path).resolve())
                _walk_into(walk, entry.path, f"{prefix}{name}/", place)
            else:
                files.append((name, entry.stat()))
        except OSError:
            message = "the file is a link that leads nowhere, or cannot be looked at"
            walk.left_out.append((prefix + name, "missing", message))
    _list_files(walk, prefix, files)


def _list_files(walk: _Walk, prefix: str, files: list[tuple[str, os.stat_result]]) -> None:
    regular = [(name, status) for name, status in files if stat.S_ISREG(status.st_mode)]
    if len(regular) < len(files):
        walk.others["(no file)"] += len(files) - len(regular)
    if regular:
        walk.listings[prefix] = Listing(
            [name for name, _ in regular],
            [status.st_size for _, status in regular],
            [status.st_mtime_ns for _, status in regular],
        )


@dataclass
class _Reading:
    """Opening the files that the index does not know."""

    base: Path
    members: Collection[str] | None
    progress: Callable[[int, int], object] | None
    total: int
    done: int = 0

    def folder(
        self, prefix: str, listing: Listing, known: list[tuple[bool, Entry]] | None
    ) -> tuple[list[Entry], int]:
        """What each file of a folder is, and how many were opened to find out."""
        if known is not None and self.members is None and all(sure for sure, _ in known):
            self._tell(len(known))
            return [entry for _, entry in known], 0
        entries: list[Entry] = []
        opened = 0
        place = f"{self.base}{os.sep}{prefix}"
        for i, name in enumerate(listing.names):
            self._tell(1)
            if known is not None and known[i][0]:
                entries.append(known[i][1])
            elif self.members is not None and prefix + name not in self.members:
                entries.append(None)
            else:
                opened += 1
                size, time = listing.sizes[i], listing.times[i]
                entries.append(_look(place + name, prefix + name, size, time))
        return entries, opened

    def _tell(self, files: int) -> None:
        before, self.done = self.done, self.done + files
        if self.progress is not None and (
            before // 256 < self.done // 256 or self.done == self.total
        ):
            self.progress(self.done, self.total)


def _look(path: str, name: str, size: int, mtime_ns: int) -> Entry:
    """Facts of a DICOM file, (kind, message) of a broken one, None of any other file."""
    try:
        return read_instance(path, name=name, size=size, mtime_ns=mtime_ns)
    except CaseError as error:
        claims = _suffix(name) in DICOM_SUFFIXES
        if error.kind in ("not-dicom", "zero-byte") and not claims:
            return None
        if error.kind in ("truncated", "corrupt") and not claims and not _marked(path):
            return None
        return error.kind, error.message


def _summary(
    walk: _Walk, looked: Mapping[str, list[Entry]], members: Collection[str] | None
) -> Scanned:
    instances: list[Instance] = []
    left_out = list(walk.left_out)
    others = Counter(walk.others)
    for folder, entries in looked.items():
        for name, entry in zip(walk.listings[folder].names, entries, strict=True):
            if members is not None and folder + name not in members:
                continue
            if entry is None:
                others[_suffix(name) or "(no extension)"] += 1
            elif isinstance(entry, Instance):
                instances.append(entry)
            else:
                left_out.append((folder + name, *entry))
    directories = [one for one in instances if one.sop_class == DICOMDIR_CLASS]
    images = [one for one in instances if one.sop_class != DICOMDIR_CLASS]
    images.sort(key=lambda one: one.name)
    notes = _notes(walk, others)
    if directories:
        more, told = _listed(walk, directories, images)
        left_out += more
        notes += told
    return Scanned(tuple(images), tuple(sorted(left_out)), others, walk.hidden, tuple(notes))


def _listed(
    walk: _Walk, directories: list[Instance], images: list[Instance]
) -> tuple[list[LeftOut], list[str]]:
    """What DICOMDIRs list and is not there, and what is there and not listed."""
    names = by_folded(
        folder + name for folder, listing in walk.listings.items() for name in listing.names
    )
    left_out: list[LeftOut] = []
    listed: set[str] = set()
    for directory in directories:
        result = resolve(directory, names)
        listed |= result.found
        message = "a DICOMDIR lists this file, and it is not there"
        left_out += [(name, "missing", message) for name in result.missing]
        if result.unsafe:
            message = f"{result.unsafe} entries of a DICOMDIR lead out of its folder: not followed"
            left_out.append((directory.name, "unsafe-path", message))
    beside = sum(one.name not in listed for one in images)
    notes = [f"{len(listed)} files are listed in {len(directories)} DICOMDIR"]
    if beside:
        notes.append(f"{beside} DICOM files that no DICOMDIR lists were found beside them")
    return left_out, notes


def _marked(path: str) -> bool:
    """Whether a file that cannot be read as DICOM says that it is."""
    try:
        with Path(path).open("rb") as file:
            head = file.read(132)
    except OSError:
        return False
    return might_be_dicom(head) and head[128:] == b"DICM"


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 - twenty times as fast as Path


def _notes(walk: _Walk, others: Counter[str]) -> list[str]:
    notes = []
    if walk.hidden:
        notes.append(f"{walk.hidden} hidden or system files were ignored")
    if others:
        shown: Counter[str] = Counter()
        for suffix, n in others.items():
            shown[suffix if _PLAIN.fullmatch(suffix) else "(other)"] += n
        kinds = ", ".join(f"{n} {suffix}" for suffix, n in sorted(shown.items()))
        notes.append(f"{others.total()} files that are no DICOM were ignored: {kinds}")
    if walk.outside:
        notes.append(f"{walk.outside} links lead out of the folder and were followed")
    return notes
