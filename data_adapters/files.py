"""Data sets of one file per case: finding the files, and the adapter without labels."""

from __future__ import annotations

import hashlib
import operator
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from data_adapters.adapter import Adapter, IndexRow, Skip, Task, local_path
from data_adapters.case import Case
from data_adapters.dicom.model import Instance
from data_adapters.entries import is_folder
from data_adapters.errors import CaseError, DataError
from data_adapters.pictures import (
    DICOM_SUFFIXES,
    PICTURE_SUFFIXES,
    looks_like_picture,
    read_picture_with_notes,
)
from data_adapters.privacy import case_ids
from data_adapters.volumes.names import HEAD_BYTES, is_volume_name

_SYSTEM_NAMES = frozenset(
    {"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir", "dicomdir"}
)


@dataclass(frozen=True, slots=True)
class Found:
    """A file of a data set.

    Attributes:
        name: Relative path with forward slashes, as the user knows it.
        path: Where it lies.
        size: Bytes.
        mtime_ns: Time of the last change in nanoseconds.
    """

    name: str
    path: Path
    size: int
    mtime_ns: int


@dataclass
class Scan:
    """What lies below a folder.

    Attributes:
        files: Pictures, by name.
        left_out: (name, kind, message) of each file that cannot become a case.
        others: How many files of each extension are no pictures.
        hidden: How many hidden files and leavings of operating systems were passed over.
        outside: How many links lead out of the folder (they are followed).
    """

    files: list[Found] = field(default_factory=list)
    left_out: list[tuple[str, str, str]] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    hidden: int = 0
    outside: int = 0

    def notes(self) -> list[str]:
        """Sentences for the report about what was passed over."""
        notes = []
        if self.hidden:
            notes.append(f"{self.hidden} hidden or system files were ignored")
        if self.others:
            kinds = ", ".join(f"{n} {suffix}" for suffix, n in sorted(self.others.items()))
            notes.append(f"{self.others.total()} files that are no pictures were ignored: {kinds}")
        if self.outside:
            notes.append(f"{self.outside} links lead out of the folder and were followed")
        return notes

    def skips(self, *, named: bool = False) -> list[Skip]:
        """Records of the files that cannot become cases, with their names where `named`."""
        ids = case_ids([name for name, _, _ in self.left_out])
        return [
            Skip(case_id, kind, message, name if named else None)
            for case_id, (name, kind, message) in zip(ids, self.left_out, strict=True)
        ]


def is_hidden(name: str) -> bool:
    """Whether a file or folder name is hidden or a leaving of an operating system."""
    return name.startswith(".") or name.lower() in _SYSTEM_NAMES


def is_picture(path: Path) -> bool:
    """Whether a file is to be read as a picture or volume: by name, else by its first bytes."""
    if _is_named(path):
        return True
    try:
        with path.open("rb") as file:
            return looks_like_picture(file.read(HEAD_BYTES))
    except OSError:
        return False


def _is_named(path: Path) -> bool:
    return path.suffix.lower() in PICTURE_SUFFIXES or is_volume_name(path)


def scan_folder(root: Path) -> Scan:
    """List the pictures below a folder, in the order of their names; no pixels are read.

    Links are followed, wherever they lead, except back into a folder they lie in.

    Args:
        root: The folder.

    Returns:
        What lies there, with names relative to `root`.
    """
    scan = Scan()
    _scan_into(scan, root, "", (root.resolve(),))
    scan.files.sort(key=lambda found: found.name)
    return scan


def _scan_into(scan: Scan, folder: Path, prefix: str, above: tuple[Path, ...]) -> None:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        scan.left_out.append((prefix, "unreadable", "the folder cannot be looked into"))
        return
    for entry in entries:
        if is_hidden(entry.name):
            scan.hidden += 1
            continue
        path, name = Path(entry.path), prefix + entry.name
        if entry.is_symlink():
            target = Path(os.path.realpath(path))
            if target in above:
                continue
            scan.outside += not target.is_relative_to(above[0])
        if is_folder(entry):
            _scan_into(scan, path, name + "/", (*above, path.resolve()))
        else:
            _add_file(scan, path, name)


def _add_file(scan: Scan, path: Path, name: str) -> None:
    try:
        status = path.stat()
    except OSError:
        message = "the file is a link that leads nowhere, or cannot be looked at"
        scan.left_out.append((name, "missing", message))
        return
    if not path.is_file():
        scan.others["(no file)"] += 1
    elif status.st_size == 0 and _is_named(path):
        scan.left_out.append((name, "zero-byte", "the file is empty (0 bytes)"))
    elif not is_picture(path):
        scan.others[path.suffix.lower() or "(no extension)"] += 1
    else:
        scan.files.append(Found(name, path, status.st_size, status.st_mtime_ns))


class FileCases:
    """An adapter over files that hold one case each; the others of this kind build on it.

    Attributes: as in `Adapter`.
    """

    def __init__(
        self,
        files: Sequence[Found],
        index: Sequence[IndexRow],
        *,
        kind: str,
        root: str,
        class_names: tuple[str, ...] = (),
        task: Task = "unlabelled",
        positive: str | None = None,
        modality: str | None = None,
        skipped: Iterable[Skip] = (),
        notes: Iterable[str] = (),
    ) -> None:
        self.kind = kind
        self.index = tuple(index)
        self.class_names = class_names
        self.task = task
        self.positive = positive
        self.modality = modality
        self.bans: tuple[str, ...] = ()
        self.skipped = tuple(skipped)
        self.notes = tuple(notes)
        self._files = tuple(files)
        self._root = root

    def __len__(self) -> int:
        """Number of cases."""
        return len(self._files)

    def __getitem__(self, i: int) -> Case:
        """Read case `i`; raises `CaseError` when its file cannot be read."""
        found, row = self._files[operator.index(i)], self.index[operator.index(i)]
        picture = read_picture_with_notes(found.path, case_id=row.case_id)
        return Case(
            image=picture.image,
            case_id=row.case_id,
            patient_id=row.patient_id,
            label=row.label,
            labels=None if row.labels is None else np.asarray(row.labels, np.float32),
            padding=picture.padding,
            display=picture.display,
            geometry=picture.geometry,
            meta={"modality": self.modality, **picture.meta, "reading": picture.notes},
        )

    def instances(self, i: int) -> tuple[Instance, ...]:
        """Header facts of the file of case `i`; none where it is no DICOM that can be read."""
        found = self._files[operator.index(i)]
        if not _may_be_dicom(found.path):
            return ()
        from data_adapters.dicom.headers import read_instance

        try:
            size, time = found.size, found.mtime_ns
            return (read_instance(found.path, name=found.name, size=size, mtime_ns=time),)
        except CaseError:
            return ()

    def identity(self) -> str:
        """Hex sha256 over the place, names, sizes and times of all files."""
        digest = hashlib.sha256(f"{self.kind}\n{self._root}\n".encode("utf-8", "surrogateescape"))
        for i in range(len(self)):
            digest.update(self.file_key(i).encode("utf-8", "surrogateescape") + b"\n")
        return digest.hexdigest()

    def scope(self) -> str:
        """Place of the data, to which `file_key` is relative."""
        return f"{self.kind}\n{self._root}"

    def file_key(self, i: int) -> str:
        """Name, size and time of the file of case `i`."""
        found = self._files[i]
        return f"{found.name}|{found.size}|{found.mtime_ns}"

    def source_name(self, i: int) -> str:
        """Relative path of the file of case `i`."""
        name = self._files[i].name
        return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _may_be_dicom(path: Path) -> bool:
    """Whether a name is not that of another format."""
    other = path.suffix.lower() in PICTURE_SUFFIXES - DICOM_SUFFIXES
    return not other and not is_volume_name(path)


def header_facts(files: Sequence[Found]) -> tuple[list[str | None], str | None]:
    """What DICOM headers say that an index needs; other files are not opened.

    Args:
        files: Files of a data set.

    Returns:
        The patient id of each file as its header gives it, None where there is none; and the
        modality, if every file is DICOM and all agree on it.
    """
    patients: list[str | None] = [None] * len(files)
    modalities: set[str | None] = set()
    for i, found in enumerate(files):
        if not _may_be_dicom(found.path):
            modalities.add(None)
        else:
            patients[i], modality = _dicom_facts(found)
            modalities.add(modality)
    return patients, modalities.pop() if len(modalities) == 1 else None


def _dicom_facts(found: Found) -> tuple[str | None, str | None]:
    """Patient id and modality of a DICOM file; None where it does not say or cannot be read."""
    from data_adapters.dicom.headers import read_instance

    try:
        facts = read_instance(found.path, name=found.name, size=found.size, mtime_ns=found.mtime_ns)
    except CaseError:  # reading its case says why
        return None, None
    return facts.patient_id or None, facts.modality or None


def open_files(paths: str | Path | Sequence[str | Path], *, modality: str | None = None) -> Adapter:
    """Open files or folders without labels, for prediction.

    Args:
        paths: One or several pictures, volumes, single-frame DICOM files, or folders of them
            (searched through); or one folder of DICOM series or one multi-frame DICOM file; or one
            MedMNIST npz file; or one table, whose labels are not looked at.
        modality: `CT`, `XR-chest`, ... where known.

    Returns:
        An adapter whose `source_name(i)` is the file's name as given, or relative to its folder.

    Raises:
        DataError: A path does not exist, nothing readable lies there, or an npz or a table is
            mixed with other files.
    """
    given = [paths] if isinstance(paths, str | Path) else list(paths)
    if not given:
        raise DataError("no files given")
    special = [p for p in given if local_path(p).suffix.lower() in _OPENED_BY]
    if special:
        if len(given) > 1:
            raise DataError(f"{str(special[0])!r} holds many cases: give it alone")
        return _open_special(str(special[0]), modality)
    if len(given) == 1:
        from data_adapters.dicom.sniffing import holds_volumes

        if holds_volumes(local_path(given[0])):
            return _open_series(str(given[0]), modality)
    total = Scan()
    for one in given:
        _scan_given(total, one, alone=len(given) == 1)
    if not total.files and not total.left_out:
        raise DataError(f"no pictures in {', '.join(repr(str(p)) for p in given[:3])}")
    total.files.sort(key=lambda found: found.name)
    ids = case_ids([found.name for found in total.files])
    if len(set(ids)) < len(ids):
        raise DataError("the same file is given twice")
    rows = [IndexRow(case_id) for case_id in ids]
    root = (Path() if len(given) > 1 else local_path(given[0])).resolve()
    return FileCases(
        total.files,
        rows,
        kind="files",
        root=str(root),
        modality=modality,
        skipped=total.skips(named=True),
        notes=total.notes(),
    )


_OPENED_BY = {
    ".npz": "medmnist",
    ".csv": "table",
    ".tsv": "table",
    ".parquet": "table",
    ".pq": "table",
}


def _open_series(source: str, modality: str | None) -> Adapter:
    from data_adapters.dicom_tree import DicomTree

    tree = DicomTree(source, modality=modality)
    tree.skipped = tree.named_skips()
    return tree


def _open_special(source: str, modality: str | None) -> Adapter:
    from data_adapters.adapter import open as open_adapter

    name = _OPENED_BY[local_path(source).suffix.lower()]
    if name == "table":
        return open_adapter(source, format=name, modality=modality, labelled=False)
    return open_adapter(source, format=name, modality=modality)


def _scan_given(total: Scan, given: str | Path, *, alone: bool) -> None:
    path = local_path(given)
    prefix, part = "", Scan()
    if path.is_dir():
        part = scan_folder(path)
        prefix = "" if alone else path.as_posix().rstrip("/") + "/"
    elif path.exists() or path.is_symlink():
        _add_file(part, path, path.as_posix())
        if part.others and not alone:
            message = "the content is no picture that can be read here"
            part.left_out.append((path.as_posix(), "not-a-picture", message))
            part.others.clear()
    else:
        raise DataError(f"no such file or folder: {str(given)!r}")
    total.files += [Found(prefix + f.name, f.path, f.size, f.mtime_ns) for f in part.files]
    total.left_out += [(prefix + name, kind, text) for name, kind, text in part.left_out]
    total.others += part.others
    total.hidden += part.hidden
    total.outside += part.outside
