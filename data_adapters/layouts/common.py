"""What the layouts share: JSON that is not trusted, names that stay in their folder, truth."""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from data_adapters.adapter import IndexRow, Skip, Task
from data_adapters.errors import DataError, FormatError
from data_adapters.files import FileCases, Found
from data_adapters.findings import Finding
from data_adapters.image_folder import find_patients
from data_adapters.privacy import case_ids

MAX_JSON_BYTES = 512 * 1024 * 1024
IGNORE = -1
"""Value of a mask where the truth is unknown (VOC's void, nnU-Net's ignore label)."""

_WHY = {
    "missing": "the listed file does not exist",
    "outside": "the listed name leads out of the data set's folder",
    "not-a-file": "the listed name is no plain file",
    "zero-byte": "the listed file is empty (0 bytes)",
    "unlabelled": "there is no mask or annotation of it",
    "repeated": "another file has the same name of a series",
    "not-a-picture": "the content is no picture or volume that can be read here",
    "no-series": "the listed folder holds no DICOM image",
    "several-series": "the listed folder holds several DICOM images: list a folder of one series",
    "channels": "the case lacks a channel, or has more than are named",
}
_WORD = {"zero-byte": "are empty", "outside": "lead out of the folder", "missing": "are missing"}


def read_json(path: Path, *, limit: int = MAX_JSON_BYTES) -> Any:
    """Read a JSON file that is not trusted.

    Raises:
        FormatError: It is too large, no UTF-8, no JSON, nested too deeply, or holds NaN or
            infinity, which JSON does not know.
        DataError: It cannot be read.
    """
    try:
        size = path.stat().st_size
        if size > limit:
            raise FormatError(f"{path.name} has {size} bytes; the limit for JSON is {limit}")
        return json.loads(path.read_bytes(), parse_constant=_refuse_constant)
    except FormatError:
        raise
    except OSError as error:
        raise DataError(f"{path.name} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        line = f" in line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise FormatError(f"{path.name} is no valid JSON{line}: save it anew") from None


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)


def expect(value: Any, kind: type | tuple[type, ...], where: str) -> Any:
    """The value, when it is of the kind wanted; True and False are no numbers.

    Raises:
        FormatError: It is of another kind, or no finite number.
    """
    kinds = kind if isinstance(kind, tuple) else (kind,)
    odd = isinstance(value, bool) and bool not in kinds
    if odd or not isinstance(value, kinds):
        wanted = " or ".join(_KIND_NAMES.get(k, k.__name__) for k in kinds)
        found = _KIND_NAMES.get(type(value), type(value).__name__)
        raise FormatError(f"{where}: wanted {wanted}, found {found}")
    if isinstance(value, float) and not math.isfinite(value):
        raise FormatError(f"{where}: wanted a finite number")
    return value


_KIND_NAMES: dict[type, str] = {
    dict: "an object",
    list: "a list",
    str: "a text",
    int: "a whole number",
    float: "a number",
    type(None): "nothing",
}


def safe_name(name: str) -> str | None:
    """A name inside a folder, tidied to forward slashes; None when it leads out of the folder.

    Args:
        name: Relative path from a file that is not trusted, with either kind of slash.
    """
    text = name.replace("\\", "/")
    if "\0" in text or PureWindowsPath(name).drive or text.startswith("/"):
        return None
    tidy = os.path.normpath(text)
    parts = PurePosixPath(tidy).parts
    return None if not parts or parts[0] == ".." else tidy


def locate(root: Path, name: str) -> tuple[Found | None, str]:
    """The file that a name means, and why not.

    Args:
        root: Folder of the data set.
        name: Relative path from a file that is not trusted.

    Returns:
        The file and an empty text, or None and `missing`, `outside`, `not-a-file`, `zero-byte`.
    """
    tidy = safe_name(name)
    if tidy is None:
        return None, "outside"
    path = root / tidy
    try:
        status = path.stat()
    except OSError:
        return None, "missing"
    if not stat.S_ISREG(status.st_mode):
        return None, "not-a-file"
    if status.st_size == 0:
        return None, "zero-byte"
    return Found(tidy, path, status.st_size, status.st_mtime_ns), ""


def skips_of(absent: Sequence[tuple[str, str]]) -> list[Skip]:
    """Records of the listed files that cannot become cases, from (name, kind)."""
    ids = case_ids([name for name, _ in absent])
    return [
        Skip(case_id, kind, _WHY.get(kind, kind))
        for case_id, (_, kind) in zip(ids, absent, strict=True)
    ]


def require_some(files: Sequence[Any], absent: Sequence[tuple[str, str]], where: str) -> None:
    """Refuse a data set of which nothing is there.

    Raises:
        FormatError: There is no file at all.
    """
    if files:
        return
    if not absent:
        raise FormatError(f"{where} lists no case")
    kinds = {kind for _, kind in absent}
    words = " or ".join(sorted(_WORD.get(kind, "are no plain files") for kind in kinds))
    raise FormatError(
        f"none of the {len(absent)} files listed in {where} can be read: they {words}"
    )


def named_patients(rule: str | None, names: Sequence[str]) -> tuple[list[str | None], list[str]]:
    """Pseudonyms of the patients that a regular expression with one group finds in names.

    Args:
        rule: The expression; without it nobody is known.
        names: Names of the cases.

    Returns:
        One pseudonym or None per name, and sentences for the report.

    Raises:
        DataError: The expression is none, has not one group, or finds nobody.
    """
    return find_patients(rule, names, [None] * len(names))


class LayoutCases(FileCases):
    """Cases of one picture or volume each, with truth beside them.

    Attributes: as in `Adapter`, and
        findings: What was noticed while indexing.
    """

    def __init__(
        self,
        files: Sequence[Found],
        index: Sequence[IndexRow],
        *,
        kind: str,
        root: str,
        class_names: tuple[str, ...],
        task: Task,
        truth_keys: Sequence[str],
        modality: str | None = None,
        skipped: Iterable[Skip] = (),
        notes: Iterable[str] = (),
        findings: Iterable[Finding] = (),
    ) -> None:
        super().__init__(
            files,
            index,
            kind=kind,
            root=root,
            class_names=class_names,
            task=task,
            modality=modality,
            skipped=skipped,
            notes=notes,
        )
        self.findings = tuple(findings)
        self._truth_keys = tuple(truth_keys)

    def file_key(self, i: int) -> str:
        """Name, size and time of the file of case `i`, and what its truth depends on."""
        key = self._truth_keys[i]
        return super().file_key(i) + (f"|{key}" if key else "")


def found_key(found: Found | None) -> str:
    """Text that changes when a file does; empty for none."""
    return "" if found is None else f"{found.name}|{found.size}|{found.mtime_ns}"


def usable_box(
    box: Sequence[float], shape: Sequence[float] | None
) -> tuple[tuple[float, ...] | None, str]:
    """A box cut to its picture, and what was wrong with it.

    Args:
        box: Lowest corner, then highest (exclusive), in voxels.
        shape: Size of the grid; None when unknown.

    Returns:
        The box, None where it cannot be used; and an empty text, `degenerate`, `outside` (nothing
        of it lies in the picture) or `clipped`.
    """
    half = len(box) // 2
    low, high = tuple(box[:half]), tuple(box[half:])
    if not all(map(math.isfinite, box)) or any(a >= b for a, b in zip(low, high, strict=True)):
        return None, "degenerate"
    if shape is None:
        return (*low, *high), ""
    cut_low = tuple(max(0.0, a) for a in low)
    cut_high = tuple(min(float(n), b) for n, b in zip(shape, high, strict=True))
    if any(a >= b for a, b in zip(cut_low, cut_high, strict=True)):
        return None, "outside"
    changed = cut_low != low or cut_high != high
    return (*cut_low, *cut_high), "clipped" if changed else ""


_BOX_FINDINGS: dict[str, tuple[Any, str, str]] = {
    "degenerate": ("warning", "have zero width or height and are not used", "draw them anew"),
    "outside": ("error", "lie outside the picture and are not used", "correct their coordinates"),
    "clipped": ("warning", "reach beyond the picture and are cut to it", "look at them"),
}


def box_findings(faults: Sequence[str], case_id: str, source: str) -> list[Finding]:
    """One finding per kind of fault of a case's boxes."""
    found = []
    for kind, (severity, text, remedy) in _BOX_FINDINGS.items():
        n = sum(fault == kind for fault in faults)
        if n:
            message = f"{n} {'box' if n == 1 else 'boxes'} {_singular(text) if n == 1 else text}"
            found.append(Finding(severity, f"box-{kind}", message, remedy, case_id, source))
    return found


def _singular(text: str) -> str:
    first, rest = text.split(" ", 1)
    verb = {"have": "has", "lie": "lies", "reach": "reaches"}[first]
    return f"{verb} {rest}".replace(" and are ", " and is ")


def fault_note(findings: Iterable[Finding]) -> list[str]:
    """A sentence for the report that counts the cases with findings of each code."""
    counts: dict[str, int] = {}
    for finding in findings:
        counts[finding.code] = counts.get(finding.code, 0) + 1
    if not counts:
        return []
    return ["findings: " + ", ".join(f"{code} {n}" for code, n in sorted(counts.items()))]
