"""The mask column of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from data_adapters.adapter import Skip
from data_adapters.case import Case
from data_adapters.errors import DataError, option_hint
from data_adapters.files import Found
from data_adapters.privacy import case_ids
from data_adapters.table_cells import find_file, looks_like_paths
from data_adapters.table_text import TextTable
from data_adapters.volumes.classes import MaskClasses, classes_option

MASK_NAMES = ("mask", "mask_path")


@dataclass(frozen=True)
class TableMasks:
    """The masks of a table's cases.

    Attributes:
        files: File of each case's mask.
        classes: Names of the masks' values.
    """

    files: tuple[Found, ...]
    classes: MaskClasses

    def key(self, i: int) -> str:
        """Text that changes when the mask of case `i` or its classes do."""
        found = self.files[i]
        return f"{found.name}|{found.size}|{found.mtime_ns}|{dict(self.classes.name_of)}"

    def put_on(self, case: Case, i: int) -> Case:
        """Case `i` with its mask.

        Raises:
            CaseError: The mask cannot be read, lies on another grid, or holds unnamed values.
        """
        from data_adapters.layouts.mask_file import check_grid, read_mask

        values, geometry = read_mask(self.files[i].path, case.case_id)
        check_grid(case, values.shape, geometry)
        return replace(case, mask=self.classes.numbered(values, case.case_id))


def mask_column(table: TextTable, wanted: str | None, labels: bool) -> int | None:
    """Position of the column of masks.

    Args:
        table: The table.
        wanted: Name the user gave.
        labels: There are labels, so that only a named column is one of masks.

    Raises:
        DataError: The named column is not there.
    """
    if wanted is not None:
        return table.find(wanted, option="mask")
    at = None if labels else table.find(None, MASK_NAMES)
    return at if looks_like_paths(table, at) else None


def read_masks(
    table: TextTable,
    at: int,
    kept: Sequence[int],
    folder: Path,
    classes: str | Sequence[str] | Mapping[int, str] | None,
) -> tuple[TableMasks, list[int], list[Skip]]:
    """The masks of the rows that have one, those rows, and records of the others.

    Raises:
        DataError: The masks' values have no names, or no row has a mask.
    """
    named = classes_option(classes)
    if named is None:
        hint = option_hint("classes", "background,NAME")
        raise DataError(f"the values of the masks have no names: give {hint}, or {_EXAMPLE}")
    files: list[Found] = []
    rows: list[int] = []
    without: list[tuple[str, str]] = []
    for i in kept:
        found, _ = find_file(table.rows[i][at], folder)
        if found is None or found.path.is_dir():
            without.append((table.rows[i][at] or table.places[i], table.places[i]))
        else:
            files.append(found)
            rows.append(i)
    if not files:
        raise DataError(f"no file of column {table.header[at]!r} of {table.name} can be read")
    ids = case_ids([name for name, _ in without])
    message = "the mask is blank, missing or empty"
    skips = [
        Skip(i, "unlabelled", f"{place}: {message}")
        for i, (_, place) in zip(ids, without, strict=True)
    ]
    return TableMasks(tuple(files), named), rows, skips


_EXAMPLE = "classes='0=background,255=NAME' where the values have gaps"
