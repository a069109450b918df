"""Which cases hang together: the units that no split may cut.

All cases of one patient are one unit. So are cases that share a study or a series although they
name different patients, or none: one person was entered twice, or the id was lost on the way.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from data_adapters.adapter import IndexRow

_KEYS = ("patient", "study", "series")


@dataclass(frozen=True)
class Units:
    """Cases that hang together.

    Attributes:
        members: Name of the unit -> its rows, in order of first appearance. The name is the number
            of its first row: pseudonyms differ from one installation to the next, and the same
            data shall be dealt in the same way everywhere.
        notes: Sentences for the report.
    """

    members: dict[str, list[int]]
    notes: tuple[str, ...] = ()


def group_units(index: Sequence[IndexRow], rows: Iterable[int], *, sites: bool = False) -> Units:
    """Put cases that share a patient, a study or a series, directly or in a chain, into one unit.

    A study or series that all cases share although they name several patients tells nothing (it
    was overwritten) and is left out of account.

    Args:
        index: Rows of an adapter.
        rows: The rows to group.
        sites: Cases of one site hang together too.
    """
    used = list(rows)
    keys = {row: _keys(index[row], sites) for row in used}
    notes = []
    patients = {key for row in used for key in keys[row] if key[0] == "patient"}
    for kind in ("study", "series"):
        found = {key for row in used for key in keys[row] if key[0] == kind}
        everywhere = all(any(key[0] == kind for key in keys[row]) for row in used)
        if len(found) == 1 and everywhere and len(patients) > 1:
            for row, own in keys.items():
                alone = [("case", index[row].case_id)]
                keys[row] = [key for key in own if key[0] != kind] or alone
            notes.append(f"All cases name the same {kind}: it was overwritten and tells nothing.")
    parents: dict[tuple[str, str], tuple[str, str]] = {}

    def root(key: tuple[str, str]) -> tuple[str, str]:
        while parents.setdefault(key, key) != key:
            parents[key] = parents[parents[key]]
            key = parents[key]
        return key

    for first, *others in keys.values():
        for key in others:
            parents[root(key)] = root(first)
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row in used:
        groups[root(keys[row][0])].append(row)
    members = {f"{min(group):09}": group for group in groups.values()}
    several = sum(_patients(index, group) > 1 for group in groups.values()) if not sites else 0
    if several:
        notes.append(
            f"{several} group{'s' if several > 1 else ''} of cases share a study or series under "
            "different patients and count as one patient each: one person may have two ids."
        )
    return Units(members, tuple(notes))


def _keys(entry: IndexRow, sites: bool) -> list[tuple[str, str]]:
    values = (entry.patient_id, entry.study_id, entry.series_id)
    keys = [(kind, value) for kind, value in zip(_KEYS, values, strict=True) if value is not None]
    if sites and entry.site is not None:
        keys.insert(0, ("site", entry.site))
    return keys or [("case", entry.case_id)]


def _patients(index: Sequence[IndexRow], rows: Sequence[int]) -> int:
    return len({index[row].patient_id for row in rows} - {None})
