"""Whether a path holds DICOM series, found by looking at a few files only."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from data_adapters.entries import is_folder, is_plain
from data_adapters.errors import CaseError
from data_adapters.files import is_hidden

_FOLDERS = 60
"""Most folders that are looked into."""
_FILES = 6
"""Most DICOM files of a folder whose headers are read."""
_NAMES = 40
"""Most files of a folder whose first bytes are read."""
_OBJECTS = frozenset({"SEG", "RTSTRUCT"})


def looks_like_series(path: Path) -> str | None:
    """Whether the `dicom` adapter fits a path.

    It fits a DICOM file, a DICOMDIR, and a folder tree in which a folder holds a DICOMDIR, several
    files of one series, a multi-frame object, a segmentation or an RTSTRUCT; or whose top holds
    DICOM files. A tree of single independent films is left to `image_folder`.

    Args:
        path: A file or folder.

    Returns:
        None when it fits, else a short reason.
    """
    if path.is_file():
        return None if _is_dicom(path) else "not a DICOM file"
    if not path.is_dir():
        return "no DICOM file or folder"
    if holds_volumes(path):
        return None
    _, files = _inside(path)
    if any(_is_dicom(file) for file in files[:_NAMES]):
        return None
    looked = list(_folders(path))
    if any(_is_dicom(file) for _, files in looked for file in files[:_NAMES]):
        return "single DICOM images in folders, no series"
    return "no DICOM files" + (f" in the first {len(looked)} folders" if len(looked) > 1 else "")


def holds_volumes(path: Path) -> bool:
    """Whether a path is a multi-frame DICOM file, or a folder tree with series of several files.

    Args:
        path: A file or folder.
    """
    if path.is_file():
        return _is_dicom(path) and _has_series([path])
    for _, files in _folders(path):
        if any(file.name.upper() == "DICOMDIR" for file in files):
            return True
        if _has_series([file for file in files[:_NAMES] if _is_dicom(file)][:_FILES]):
            return True
    return False


def _folders(path: Path) -> Iterator[tuple[Path, list[Path]]]:
    """A folder and those below it, the shallow ones first, each with its files."""
    waiting, looked = [path], 0
    while waiting and looked < _FOLDERS:
        folder, looked = waiting.pop(0), looked + 1
        folders, files = _inside(folder)
        waiting += folders
        yield folder, files


def _inside(folder: Path) -> tuple[list[Path], list[Path]]:
    """Folders and files of a folder, in the order of their names."""
    folders, files = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if is_hidden(entry.name) and entry.name.upper() != "DICOMDIR":
                    continue
                if is_folder(entry):
                    folders.append(Path(entry.path))
                elif is_plain(entry.path):
                    files.append(Path(entry.path))
    except OSError:
        return [], []
    return folders, files


def _is_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _has_series(files: list[Path]) -> bool:
    from data_adapters.dicom.headers import read_instance

    series: Counter[str] = Counter()
    for path in files:
        try:
            size = path.stat().st_size
            one = read_instance(path, name=path.name, size=size, mtime_ns=0)
        except (CaseError, OSError):
            continue
        if one.frames > 1 or one.modality in _OBJECTS:
            return True
        if one.series_uid:
            series[one.series_uid] += 1
    return any(count > 1 for count in series.values())
