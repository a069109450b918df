"""Facts of cases by name: columns of the table that lists them, or what their files say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_adapters.adapter import Adapter, local_path
from data_adapters.errors import CaseError, nearest
from data_adapters.table import PATH_NAMES
from data_adapters.table_cells import find_file
from data_adapters.table_text import TABLE_SUFFIXES, read_table
from recipes.classification.config import DataConfig
from recipes.errors import ConfigError

FROM_FILES = ("sex", "age", "scanner", "view", "laterality")
"""Facts that reading a case may give (`data_adapters.case.Case.meta`)."""
FROM_INDEX = ("site", "date")


def attribute(
    adapter: Adapter, source: str, config: DataConfig, rows: Sequence[int], name: str
) -> list[str | None]:
    """A fact of cases; None where it is unknown.

    Args:
        adapter: The opened data.
        source: Where they come from.
        config: How they were opened.
        rows: Cases.
        name: A column of the table, ``site`` or ``date``, or a fact of the files' headers.

    Returns:
        One text a case. A site is a pseudonym.

    Raises:
        ConfigError: There is no such fact; what there is is named.
    """
    if name in FROM_INDEX:
        found = [getattr(adapter.index[i], name) for i in rows]
        if any(found):
            return found
    columns, table = _table_columns(adapter, source, config)
    if name in columns:
        cells = table[name]
        return [cells.get(adapter.source_name(i)) for i in rows]
    if name in FROM_FILES and adapter.kind != "medmnist":
        values = [_fact(adapter, i, name) for i in rows]
        if any(values):
            return values
    known = [*columns, *FROM_INDEX, *FROM_FILES]
    raise ConfigError(
        f"--by {name}: no such column in the data, and their files do not say it"
        f"{nearest(name, known)}"
    )


def _fact(adapter: Adapter, i: int, name: str) -> str | None:
    try:
        value: Any = adapter[i].meta.get(name)
    except CaseError:
        return None
    return None if value is None else str(value)


def _table_columns(
    adapter: Adapter, source: str, config: DataConfig
) -> tuple[list[str], dict[str, dict[str, str]]]:
    """Names of a table's columns, and for each: name of a case to its cell."""
    path: Path = local_path(source)
    if adapter.kind != "table" or path.suffix.lower() not in TABLE_SUFFIXES:
        return [], {}
    text = read_table(path, encoding=config.columns.encoding)
    at = text.find(config.columns.path, PATH_NAMES, option="path")
    names = [name for name in text.header if name]
    cells: dict[str, dict[str, str]] = {name: {} for name in names}
    for row in text.rows:
        file, _ = find_file(row[at or 0], path.parent)
        if file is not None:
            for name in names:
                cells[name].setdefault(file.name, row[text.header.index(name)])
    return names, cells
