"""Points and boxes in a table beside volumes: LUNA16 and its like.

Setio et al. 2017, Medical Image Analysis 42:1-13 (arXiv:1612.08012).
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from data_adapters.adapter import IndexRow, local_path, register_adapter
from data_adapters.case import Case, Geometry, Lesion
from data_adapters.errors import CaseError, DataError, FormatError
from data_adapters.files import Found, is_picture, scan_folder
from data_adapters.findings import Finding
from data_adapters.indexing import pseudonyms
from data_adapters.layouts.common import (
    LayoutCases,
    box_findings,
    fault_note,
    require_some,
    skips_of,
)
from data_adapters.layouts.mark_place import place_marks
from data_adapters.layouts.mark_table import Frame, MarkTable, is_luna, read_marks
from data_adapters.privacy import case_ids
from data_adapters.table_cells import find_file
from data_adapters.table_text import TABLE_SUFFIXES, read_table
from data_adapters.volumes.names import is_volume_name, volume_stem
from data_adapters.volumes.read import read_volume_header

if TYPE_CHECKING:
    from data_adapters.dicom.series import Series

USUAL = ("annotations.csv", "candidates.csv", "candidates_V2.csv")
# Masks of the lungs that come with LUNA16, named like the volumes.
_MASKS = "seg-lungs"


def sniff(source: str) -> str | None:
    """None when the source is a table like LUNA16's or a folder with one, else why not."""
    path = local_path(source)
    if path.is_dir():
        found = [path / name for name in USUAL if (path / name).is_file()]
        if not found:
            return f"no {' or '.join(USUAL[:2])} in it"
        path = found[0]
    if path.suffix.lower() not in TABLE_SUFFIXES[:2] or not path.is_file():
        return "no CSV table"
    try:
        with path.open("rb") as file:
            line = file.readline(4096).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return "no CSV table in UTF-8"
    header = line.strip().replace('"', "").replace(";", ",").replace("\t", ",").split(",")
    return None if is_luna(header) else "no columns seriesuid,coordX,coordY,coordZ"


@register_adapter("luna", sniff)
class Luna(LayoutCases):
    """Volumes, DICOM series or pictures with the points or boxes that a table lists.

    With a column of series, every volume below the folder whose name is a series UID, and every
    DICOM series, is a case; one that the table does not name has no findings. With a column of
    paths, the cases are the paths of the table. A row without coordinates lists an image without
    findings.

    World coordinates are millimetres, LPS, as in DICOM and ITK; voxel coordinates are x (column),
    y (row), z (slice). Spheres become centre, radius and box, see `mark_place.place_marks`. Marks
    outside the image are not used and stand in `findings` (of pictures, whose size is known only
    when they are read, in `Case.meta["reading"]`).

    Args:
        source: The folder with `annotations.csv` (or `candidates.csv`), or any such table.
        table: Another table of the folder.
        images: Folder of the volumes, by default the table's.
        path: Column of series or paths; by default `seriesuid`, `path`, `file`, ...
        label: Column of classes, by default `class` or `label`; without it there is one class.
        patient: Column of patients; DICOM headers say without it.
        frame: `world` or `voxel`; must be given unless the columns are coordX, coordY, coordZ.
        modality: `CT`, ... where known.

    Raises:
        DataError: A column is missing, a cell is no number, or an option does not fit.
        FormatError: There is no image.
    """

    def __init__(
        self,
        source: str | Path,
        *,
        table: str | None = None,
        images: str | None = None,
        path: str | None = None,
        label: str | None = None,
        patient: str | None = None,
        frame: Frame | None = None,
        modality: str | None = None,
    ) -> None:
        place = _table(local_path(source), table)
        root = place.parent if images is None else place.parent / images
        if not root.is_dir():
            raise DataError(f"images={images!r}: there is no such folder")
        marks = read_marks(read_table(place), path=path, label=label, patient=patient, frame=frame)
        self._series: dict[int, Series] = {}
        if marks.by_path:
            keys, files, absent = self._listed(marks, root)
        else:
            keys, files, absent = self._found(marks, root)
        require_some(files, absent, place.name)
        ids = case_ids([file.name for file in files])
        people, notes = pseudonyms(self._people(marks, keys))
        self._marks = tuple(tuple(marks.marks.get(key, ())) for key in keys)
        self._frame, self._in_mm = marks.frame, marks.radius_in_mm
        findings: list[Finding] = []
        for i, (file, case_id) in enumerate(zip(files, ids, strict=True)):
            findings += self._faults(i, file, case_id)
        rows = [IndexRow(case_id, who) for case_id, who in zip(ids, people, strict=True)]
        empty = sum(not some for some in self._marks)
        notes += [f"{empty} of {len(files)} images have no mark"] if empty else []
        super().__init__(
            files,
            rows,
            kind="luna",
            root=str(root.resolve()),
            class_names=marks.class_names,
            task="detection",
            truth_keys=[""] * len(files),
            modality=modality or self._modality(),
            skipped=skips_of(absent),
            notes=[*notes, *fault_note(findings)],
            findings=findings,
        )

    def __getitem__(self, i: int) -> Case:
        """Read case `i` with its lesions.

        Raises:
            CaseError: It cannot be read; `marks` where its marks cannot be placed on it.
        """
        place = range(len(self))[operator.index(i)]
        if place in self._series:
            from data_adapters.dicom.series import read_series

            case = read_series(self._series[place], self.index[place], self.modality)
        else:
            case = super().__getitem__(place)
        try:
            lesions, faults = self._placed(place, case.image.shape[:-1], case.geometry)
        except DataError as error:
            raise CaseError(case.case_id, "marks", str(error)) from None
        slugs = sorted({f"box-{fault}" for fault in faults})
        reading = (*case.meta["reading"], *slugs)
        return replace(case, lesions=lesions, meta={**case.meta, "reading": reading})

    def _placed(
        self, i: int, grid: tuple[int, ...], geometry: Geometry | None
    ) -> tuple[tuple[Lesion, ...], tuple[str, ...]]:
        return place_marks(
            self._marks[i], grid, geometry, frame=self._frame, radius_in_mm=self._in_mm
        )

    def _faults(self, i: int, file: Found, case_id: str) -> list[Finding]:
        """Findings about the marks of a case, by its header; none where that cannot be read."""
        if not self._marks[i]:
            return []
        try:
            if i in self._series:
                stack = self._series[i].stack
                if stack.kind != "volume":
                    return []
                first = stack.instances[0]
                grid: tuple[int, ...] = (len(stack.instances), first.rows, first.columns)
                geometry = stack.geometry
            elif is_volume_name(file.path):
                header = read_volume_header(file.path, case_id=case_id)
                grid, geometry = header.grid, header.geometry
            else:
                return []
            _, faults = self._placed(i, grid, geometry)
        except CaseError:  # reading the case says why
            return []
        except DataError as error:
            return [Finding("error", "marks", str(error), "", case_id, file.name)]
        return box_findings(faults, case_id, file.name)

    def _listed(
        self, marks: MarkTable, root: Path
    ) -> tuple[list[str], list[Found], list[tuple[str, str]]]:
        """The files that a table of paths lists."""
        keys: list[str] = []
        files: list[Found] = []
        absent: list[tuple[str, str]] = []
        for key in marks.marks:
            found, kind = find_file(key, root)
            if found is not None and found.path.is_dir():
                found, kind = self._folder(found, len(files))
            elif found is not None and not is_picture(found.path):
                found, kind = None, "not-a-picture"
            if found is None:
                absent.append((key, kind))
            else:
                keys.append(key)
                files.append(found)
        return keys, files, absent

    def _folder(self, folder: Found, place: int) -> tuple[Found | None, str]:
        from data_adapters.dicom.series import find_series

        series, kind = find_series(folder.path, folder.name)
        if series is None:
            return None, kind
        self._series[place] = series
        return series.found, ""

    def _found(
        self, marks: MarkTable, root: Path
    ) -> tuple[list[str], list[Found], list[tuple[str, str]]]:
        """The volumes below a folder whose names are series, and DICOM series."""
        volumes: dict[str, Found] = {}
        absent: list[tuple[str, str]] = []
        for file in scan_folder(root).files:
            if is_volume_name(file.path) and not file.name.startswith(_MASKS):
                key = volume_stem(file.name)
                if volumes.setdefault(key, file) is not file:
                    absent.append((file.name, "repeated"))
        keys, files = list(volumes), list(volumes.values())
        if set(marks.marks) - set(keys):
            for key, series in _dicom(root):
                if key not in volumes:
                    self._series[len(files)] = series
                    keys.append(key)
                    files.append(series.found)
        known = set(keys)
        absent += [(key, "missing") for key in marks.marks if key not in known]
        return keys, files, absent

    def _people(self, marks: MarkTable, keys: Sequence[str]) -> list[str | None]:
        if marks.patients:
            return [marks.patients.get(key, "") for key in keys]
        firsts = {i: series.first.patient_id or None for i, series in self._series.items()}
        return [firsts.get(i) for i in range(len(keys))]

    def _modality(self) -> str | None:
        seen = {series.first.modality for series in self._series.values()}
        return seen.pop() if len(seen) == 1 else None


def _table(source: Path, wanted: str | None) -> Path:
    if source.is_file():
        if wanted is not None:
            raise DataError(f"table={wanted!r} is for a folder, and the source is a file")
        return source
    names = USUAL if wanted is None else (wanted,)
    found = next((source / name for name in names if (source / name).is_file()), None)
    if found is None:
        raise FormatError(f"no {' or '.join(names)} in {str(source)!r}")
    return found


def _dicom(root: Path) -> list[tuple[str, Series]]:
    """Series UID and series of every DICOM image below a folder."""
    from data_adapters.dicom.series import as_series, image_stacks

    found = []
    for stack in image_stacks(root):
        first = min(stack.instances, key=lambda one: one.name)
        name = f"{first.name}#{stack.part}" if stack.part else first.name
        found.append((first.series_uid, as_series(stack, Path(first.path).parent, name)))
    return found
