"""Units against brute force: connected components of patients, studies, series."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from data_adapters.adapter import IndexRow
from data_adapters.units import group_units

FAST = settings(max_examples=80, deadline=None, derandomize=True)
IDS = st.none() | st.sampled_from("abcdef")


@st.composite
def rows(draw: st.DrawFn, *, sites: bool = False) -> list[IndexRow]:
    count = draw(st.integers(1, 16))
    return [
        IndexRow(
            f"c{n}",
            patient_id=draw(IDS),
            study_id=draw(IDS),
            series_id=draw(IDS),
            site=draw(IDS) if sites else None,
            label=n % 2,
            date=f"20{draw(st.integers(10, 20))}-01-0{draw(st.integers(1, 9))}",
        )
        for n in range(count)
    ]


def components(
    index: list[IndexRow], used: list[int], names: tuple[str, ...]
) -> set[frozenset[int]]:
    """By repeated merging: the slow way that cannot be wrong."""
    groups = [{row} for row in used]
    again = True
    while again:
        again = False
        for one in groups:
            for other in groups:
                if one is other:
                    continue
                if any(
                    getattr(index[a], name) is not None
                    and getattr(index[a], name) == getattr(index[b], name)
                    for a in one
                    for b in other
                    for name in names
                ):
                    one |= other
                    groups.remove(other)
                    again = True
                    break
            if again:
                break
    return {frozenset(group) for group in groups}


@FAST
@given(rows(), st.data())
def test_units_are_the_connected_components(index: list[IndexRow], data: st.DataObject) -> None:
    used = [row for row in range(len(index)) if data.draw(st.booleans()) or row == 0]
    names = ["patient_id"]
    patients = {index[row].patient_id for row in used} - {None}
    for name in ("study_id", "series_id"):
        values = {getattr(index[row], name) for row in used}
        if not (len(values) == 1 and None not in values and len(patients) > 1):
            names.append(name)
    units = group_units(index, used)
    assert {frozenset(m) for m in units.members.values()} == components(index, used, tuple(names))


@FAST
@given(rows(sites=True))
def test_sites_tie_too(index: list[IndexRow]) -> None:
    used = [row for row in range(len(index)) if index[row].site]
    found = {frozenset(m) for m in group_units(index, used, sites=True).members.values()}
    for group in found:
        sites = {index[row].site for row in group}
        outside = [row for row in used if row not in group]
        assert sites.isdisjoint(index[row].site for row in outside)


def test_names_do_not_depend_on_pseudonyms() -> None:
    index = [
        IndexRow("c1", patient_id="pz", study_id="s1"),
        IndexRow("c2", patient_id="pa", study_id="s1"),
        IndexRow("c3", study_id="s2"),
        IndexRow("c4", series_id="e1"),
        IndexRow("c5"),
    ]
    units = group_units(index, range(5)).members
    assert units == {"000000000": [0, 1], "000000002": [2], "000000003": [3], "000000004": [4]}


def test_two_patients_in_one_study_are_said() -> None:
    index = [
        IndexRow(f"c{n}", patient_id=f"p{n}", study_id="s1" if n < 2 else f"s{n}") for n in range(5)
    ]
    units = group_units(index, range(5))
    assert len(units.members) == 4
    assert units.notes == (
        "1 group of cases share a study or series under different patients and count as one "
        "patient each: one person may have two ids.",
    )


def test_an_overwritten_study_ties_nothing() -> None:
    index = [IndexRow(f"c{n}", patient_id=f"p{n}" if n else None, study_id="s") for n in range(5)]
    units = group_units(index, range(5))
    assert len(units.members) == 5
    assert "All cases name the same study" in units.notes[0]
    alone = group_units([IndexRow(f"c{n}", study_id="s") for n in range(3)], range(3))
    assert len(alone.members) == 1
