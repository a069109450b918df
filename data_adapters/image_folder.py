"""Pictures in one folder per class, with or without folders for train, val and test above."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from data_adapters.adapter import IndexRow, local_path, register_adapter
from data_adapters.entries import is_folder
from data_adapters.errors import DataError, FormatError
from data_adapters.files import FileCases, Found, header_facts, is_hidden, scan_folder
from data_adapters.indexing import check_positive, class_name_notes, class_order, pseudonyms
from data_adapters.privacy import case_ids
from data_adapters.table_text import TABLE_SUFFIXES

PART_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
LAYOUTS = "DATA/<class>/* or DATA/{train,val,test}/<class>/*"


def sniff(source: str) -> str | None:
    """None when the source is a folder with folders in it, else why it does not fit."""
    path = local_path(source)
    if not path.is_dir():
        return "not a folder"
    try:
        inside = [is_folder(entry) and not is_hidden(entry.name) for entry in os.scandir(path)]
    except OSError as error:
        return f"the folder cannot be read ({error.strerror})"
    return None if any(inside) else f"no folders of classes in it (wanted {LAYOUTS})"


@register_adapter("image_folder", sniff)
class ImageFolder(FileCases):
    """Pictures in `DATA/<class>/*` or `DATA/{train,val,test}/<class>/*`, searched to any depth.

    Args:
        source: The folder.
        positive: Name of the positive class of a two-class task.
        modality: `CT`, `XR-chest`, `US`, ... where known.
        patient: Where a file's patient stands: `folder` for the first folder below the class's,
            or a regular expression with one group that is searched in the path below the class's
            folder, such as `person([0-9]+)_`. Without it DICOM headers say, or the patient is
            unknown.

    Raises:
        FormatError: There are no class folders, or no pictures in them.
        DataError: `positive` or `patient` does not fit.
    """

    def __init__(
        self,
        source: str | Path,
        *,
        positive: str | None = None,
        modality: str | None = None,
        patient: str | None = None,
    ) -> None:
        root = local_path(source)
        scan = scan_folder(root)
        files, loose = _below_folders(scan.files)
        if not files:
            raise FormatError(f"no pictures in the folders of {str(source)!r}; wanted {LAYOUTS}")
        split = _has_parts(files)
        placed = [_place(found, split) for found in files]
        if not split and patient is None:
            _refuse_wrapper(placed)
        names = class_order(class_name for _, class_name, _ in placed)
        _refuse_table(root, names)
        _refuse_cases(len(files), len(names))
        headers, seen_modality = header_facts(files)
        who, patient_notes = find_patients(patient, [below for _, _, below in placed], headers)
        ids = case_ids([found.name for found in files])
        rows = [
            IndexRow(case_id, person, names.index(class_name), None, part)
            for case_id, person, (part, class_name, _) in zip(ids, who, placed, strict=True)
        ]
        notes = scan.notes() + class_name_notes(names) + patient_notes
        notes += _empty_class_notes(root, split, names)
        if loose:
            notes.append(f"{loose} pictures outside the class folders were ignored")
        super().__init__(
            files,
            rows,
            kind="image_folder",
            root=str(root.resolve()),
            class_names=names,
            task="single",
            positive=check_positive(positive, names, "single"),
            modality=modality or seen_modality,
            skipped=scan.skips(),
            notes=notes,
        )


def _refuse_cases(pictures: int, folders: int) -> None:
    """Folders of one picture each name cases, most likely patients: not a word of them is shown."""
    if folders >= 3 and pictures == folders:
        raise FormatError(
            f"each of the {folders} folders holds one picture, so they look like patients rather "
            "than classes: give a table with path, label and patient"
        )


def _below_folders(files: list[Found]) -> tuple[list[Found], int]:
    """The files that lie in some folder, and how many lie loose at the top."""
    kept = [found for found in files if "/" in found.name]
    return kept, len(files) - len(kept)


def _has_parts(files: list[Found]) -> bool:
    """Whether the top folders are parts; an error when they are a mixture or hold no classes."""
    tops = {found.name.split("/")[0] for found in files}
    parts = {top for top in tops if top.lower() in PART_NAMES}
    meant = {PART_NAMES[top.lower()] for top in parts}
    others = sorted(tops - parts)
    if not parts or (others and not ("train" in meant and len(meant) > 1)):
        return False
    if others:
        raise FormatError(
            f"folders {sorted(parts)} look like parts, but {others[:5]} do not: "
            f"wanted {LAYOUTS}; move the others away"
        )
    if len(parts) > len(meant):
        raise FormatError(f"folders {sorted(parts)} name the same part twice: join them")
    loose = sorted({f.name.split("/")[0] for f in files if f.name.count("/") == 1})
    if loose:
        raise FormatError(
            f"pictures lie directly in {loose[0]!r}; wanted class folders there: {LAYOUTS}"
        )
    return True


def _place(found: Found, split: bool) -> tuple[str | None, str, str]:
    """(part, class name, path below the class folder) of a file."""
    pieces = found.name.split("/")
    part = PART_NAMES[pieces[0].lower()] if split else None
    start = 1 if split else 0
    return part, pieces[start], "/".join(pieces[start + 1 :])


def _refuse_wrapper(placed: list[tuple[str | None, str, str]]) -> None:
    """A single folder around the class folders is not a class."""
    wrappers = {class_name for _, class_name, _ in placed}
    inner = {below.split("/")[0] for _, _, below in placed if "/" in below}
    direct = any("/" not in below for _, _, below in placed)
    if len(wrappers) == 1 and len(inner) > 1 and not direct:
        wrapper = wrappers.pop()
        raise FormatError(
            f"the only folder {wrapper!r} holds {len(inner)} folders: give DATA/{wrapper} if "
            "those are the classes, or patient='folder' if they are patients"
        )


def _refuse_table(root: Path, names: tuple[str, ...]) -> None:
    """A single folder beside a table holds the pictures that the table lists."""
    tables = sorted(p.name for p in root.iterdir() if p.suffix.lower() in TABLE_SUFFIXES)
    if len(names) == 1 and tables:
        raise FormatError(
            f"the only class folder is {names[0]!r}, beside a table: give DATA/{tables[0]}"
        )


def find_patients(
    rule: str | None, below: Sequence[str], headers: Sequence[str | None]
) -> tuple[list[str | None], list[str]]:
    """Pseudonyms by the rule or from the headers, and sentences about those not found."""
    if rule is None:
        return pseudonyms(headers)
    find = _patient_finder(rule)
    found = [find(path) for path in below]
    if not any(found):
        raise DataError(f"patient={rule!r} finds no patient in any file name")
    return pseudonyms(found)


def _patient_finder(rule: str) -> Callable[[str], str | None]:
    if rule == "folder":
        return lambda path: path.split("/")[0] if "/" in path else None
    try:
        pattern = re.compile(rule)
    except re.error as error:
        raise DataError(f"patient={rule!r} is no regular expression: {error}") from None
    if pattern.groups != 1:
        raise DataError(
            f"patient={rule!r} has {pattern.groups} groups; wanted 'folder' or an expression "
            "with one group, such as 'person([0-9]+)_'"
        )

    def find(path: str) -> str | None:
        match = pattern.search(path)
        return (match.group(1) or None) if match else None

    return find


def _empty_class_notes(root: Path, split: bool, names: tuple[str, ...]) -> list[str]:
    """A sentence for each class folder that holds no picture anywhere."""
    empty = set()
    for part in _folders(root) if split else [root]:
        empty |= {folder.name for folder in _folders(part)} - set(names)
    return [
        f"class folder {name!r} holds no readable pictures and is left out"
        for name in sorted(empty)
    ]


def _folders(above: Path) -> list[Path]:
    try:
        inside = list(above.iterdir())
    except OSError:
        return []
    return [path for path in inside if path.is_dir() and not is_hidden(path.name)]
