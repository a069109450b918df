"""Tables as rows of text: CSV and TSV with the standard library, parquet with pyarrow."""

from __future__ import annotations

import codecs
import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_adapters.errors import DataError, FormatError, nearest, option_hint

TABLE_SUFFIXES = (".csv", ".tsv", ".parquet", ".pq")
_NEVER_IN_TEXT = frozenset(range(9)) | frozenset(range(14, 27))
_BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True)
class TextTable:
    """A table whose cells are all text; a missing value is an empty text.

    Attributes:
        name: File name, for messages.
        header: Column names; an unnamed column has an empty name.
        rows: Cells of each row, stripped, as many as the header.
        places: Where each row stands, such as `line 7`.
    """

    name: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    places: tuple[str, ...]

    def only(self, kept: Sequence[int]) -> TextTable:
        """The same table with the rows at these positions."""
        rows = tuple(self.rows[i] for i in kept)
        return TextTable(self.name, self.header, rows, tuple(self.places[i] for i in kept))

    def column(self, at: int | None) -> list[str | None]:
        """Cells of the column at a position; None for every row when there is no column."""
        return [None if at is None else row[at] for row in self.rows]

    def find(
        self, wanted: str | None, usual: Sequence[str] = (), *, option: str = ""
    ) -> int | None:
        """Position of a column by its name; letter case counts only where names differ in it.

        Args:
            wanted: Name the user gave; None to look for the usual names.
            usual: Names to look for, the first found wins.
            option: Name of the option that names this column, for the message.

        Returns:
            The position; None when no usual name is there.

        Raises:
            DataError: The wanted column is not there.
        """
        for name in usual if wanted is None else (wanted,):
            if name in self.header:
                return self.header.index(name)
            folded = [column.casefold() for column in self.header]
            if name.casefold() in folded:
                return folded.index(name.casefold())
        if wanted is None:
            return None
        columns = [column for column in self.header if column]
        said = f"{option}={wanted!r}: " if option else ""
        raise DataError(f"{said}no column {wanted!r} in {self.name}{nearest(wanted, columns)}")


def read_table(path: Path, *, encoding: str | None = None, empty: bool = False) -> TextTable:
    """Read a whole table as text.

    Args:
        path: A .csv (comma, semicolon or tab), .tsv or .parquet file.
        encoding: Encoding of a text table; UTF-8, with or without its mark, by default.
        empty: Whether a table may have a header alone, such as one of candidates.

    Returns:
        The table.

    Raises:
        DataError: The file cannot be read or decoded; the message names the way out.
        FormatError: The file is no such table, or its rows do not fit its header.
    """
    if path.suffix.lower() in (".parquet", ".pq"):
        return _checked(_read_parquet(path), empty)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"table {path.name} cannot be read: {error.strerror}") from None
    text = _decode(data, path.name, encoding)
    return _checked(_parse(text, path), empty)


def _decode(data: bytes, name: str, encoding: str | None) -> str:
    if data.startswith(b"PK\x03\x04"):
        raise FormatError(f"{name} is a workbook or archive, no text table: save it as CSV")
    if data.startswith(b"PAR1"):
        raise FormatError(f"{name} is a parquet table: name it .parquet")
    try:
        text = data.decode(encoding or "utf-8-sig")
    except LookupError:
        known = ("utf-8", "utf-16", "cp1252", "latin-1", "cp1250", "shift_jis", "gb18030")
        raise DataError(f"unknown encoding {encoding!r}{nearest(str(encoding), known)}") from None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        found = f"byte 0x{data[error.start]:02x} in line {line}"
        if encoding:
            raise DataError(f"table {name} is not {encoding} ({found})") from None
        raise DataError(_not_utf8(data, name, found)) from None
    if "\0" in text:
        raise DataError(_not_utf8(data, name, "zero bytes between the letters"))
    return text.removeprefix("\ufeff")


def _not_utf8(data: bytes, name: str, found: str) -> str:
    guess = _guess_encoding(data)
    if not guess.startswith("utf") and any(byte in _NEVER_IN_TEXT for byte in data):
        return f"table {name} is no text ({found}): save it as CSV in UTF-8"
    return (
        f"table {name} is not UTF-8 ({found}); it looks like {guess}: "
        f"pass {option_hint('encoding', guess)}, or save it as UTF-8"
    )


def _guess_encoding(data: bytes) -> str:
    for mark, name in _BOMS:
        if data.startswith(mark):
            return name
    sample = data[:4096]
    if sample[1::2].count(0) > len(sample) // 4:
        return "utf-16-le"
    if sample[0::2].count(0) > len(sample) // 4:
        return "utf-16-be"
    try:
        data.decode("cp1252")
    except UnicodeDecodeError:
        return "latin-1"
    return "cp1252"


def _parse(text: str, path: Path) -> TextTable:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else _delimiter(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[tuple[str, ...]] = []
    places: list[str] = []
    header: tuple[str, ...] | None = None
    try:
        for cells in reader:
            row = tuple(cell.strip() for cell in cells)
            if not any(row):
                continue
            if header is None:
                header = row
            elif len(row) != len(header):
                raise FormatError(
                    f"line {reader.line_num} of {path.name} has {len(row)} fields, "
                    f"the header {len(header)}"
                )
            else:
                rows.append(row)
                places.append(f"line {reader.line_num}")
    except csv.Error as error:
        raise FormatError(f"line {reader.line_num} of {path.name}: {error}") from None
    return TextTable(path.name, header or (), tuple(rows), tuple(places))


def _delimiter(text: str) -> str:
    """The separator that cuts the header into most fields; the comma when they tie."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    return max(",;\t", key=first.count)


def _checked(table: TextTable, empty: bool) -> TextTable:
    if not table.header:
        raise FormatError(f"table {table.name} is empty")
    if not table.rows and not empty:
        raise FormatError(f"table {table.name} has a header but no rows")
    named = [column for column in table.header if column]
    twice = sorted({column for column in named if named.count(column) > 1})
    if twice:
        raise FormatError(f"table {table.name} has two columns {twice[0]!r}: rename one")
    return table


def _read_parquet(path: Path) -> TextTable:
    try:
        from pyarrow import parquet
    except ImportError:
        message = f"{path.name}: parquet needs pyarrow: pip install 'radzoo[parquet]'"
        raise DataError(message) from None
    try:
        columns: dict[str, list[Any]] = parquet.read_table(path).to_pydict()
    except (OSError, ValueError) as error:
        raise FormatError(
            f"{path.name} is no readable parquet file ({type(error).__name__})"
        ) from None
    rows = tuple(zip(*([_text(v) for v in values] for values in columns.values()), strict=True))
    places = tuple(f"row {i + 1}" for i in range(len(rows)))
    header = tuple(str(name).strip() for name in columns)
    return TextTable(path.name, header, rows, places)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        if math.isnan(value):
            return ""
        return str(int(value)) if value.is_integer() else str(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").strip()
    return str(value).strip()
