"""What val and test share with further data that are trained on: unlabelled, or for pretraining."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_adapters.adapter import PARTS, IndexRow
from data_adapters.errors import DataError
from data_adapters.hashing import near_duplicates
from data_adapters.leakage_result import OtherLeak

_TESTED = PARTS[1:]


@dataclass(frozen=True, eq=False)
class OtherData:
    """Data that are trained on besides, or were.

    Attributes:
        name: name for the messages; not a path.
        index: its rows.
        sha256s: pixel digests, same rows; empty where only ids are to be compared.
        phashes: uint64 (N, 8), same rows; None where pixels are compared for equality only.
        thumbs: uint8 (N, 32, 32), same rows; None likewise.
        own_ids: its patient ids are another list's than those of the split, so that equal ids mean
            nothing ("patient 1" of two hospitals); studies and series are compared all the same.
    """

    name: str
    index: Sequence[IndexRow]
    sha256s: Sequence[str] = ()
    phashes: NDArray[np.uint64] | None = None
    thumbs: NDArray[np.uint8] | None = None
    own_ids: bool = False


def overlaps(
    index: Sequence[IndexRow],
    parts: Sequence[str],
    sha256s: Sequence[str],
    phashes: NDArray[np.uint64],
    thumbs: NDArray[np.uint8],
    others: Sequence[OtherData],
) -> tuple[OtherLeak, ...]:
    """Cases of other data that val or test hold too, by the first kind of likeness that fits.

    Args:
        index: rows of an adapter.
        parts: part of each.
        sha256s: pixel digests, same rows; "" where there are no pixels.
        phashes: uint64 (N, 8), same rows.
        thumbs: uint8 (N, 32, 32), same rows.
        others: the other data.

    Raises:
        DataError: arrays of other data are not of the same cases.
    """
    tested = [row for row, part in enumerate(parts) if part in _TESTED]
    leaks = []
    for other in others:
        _check(other)
        seen: set[int] = set()
        for kind, pairs in _pairs(index, tested, sha256s, phashes, thumbs, other):
            fresh = [(row, there) for row, there in pairs if there not in seen]
            if not fresh:
                continue
            seen |= {there for _, there in fresh}
            here = sorted({row for row, _ in fresh})
            cases = {
                part: tuple(index[row].case_id for row in here if parts[row] == part)
                for part in _TESTED
            }
            leaks.append(
                OtherLeak(
                    other.name,
                    kind,
                    {part: found for part, found in cases.items() if found},
                    tuple(other.index[there].case_id for there in sorted({t for _, t in fresh})),
                )
            )
    return tuple(leaks)


def _pairs(
    index: Sequence[IndexRow],
    tested: Sequence[int],
    sha256s: Sequence[str],
    phashes: NDArray[np.uint64],
    thumbs: NDArray[np.uint8],
    other: OtherData,
) -> Iterator[tuple[str, list[tuple[int, int]]]]:
    """Kind of likeness -> (row here, row there), the surest kind first."""
    for kind in ("patient", "study", "series"):
        if kind == "patient" and other.own_ids:
            continue
        mine = [getattr(index[row], f"{kind}_id") for row in tested]
        theirs = [getattr(row, f"{kind}_id") for row in other.index]
        yield kind, _equal(tested, mine, theirs)
    yield "pixels", _equal(tested, [sha256s[row] for row in tested], other.sha256s)
    if other.phashes is not None and other.thumbs is not None:
        rows = [row for row in tested if sha256s[row]]
        there = [n for n, digest in enumerate(other.sha256s) if digest]
        found = near_duplicates(
            np.concatenate([phashes[rows], other.phashes[there]]),
            np.concatenate([thumbs[rows], other.thumbs[there]]),
        )
        yield (
            "near",
            [
                (rows[pair.first], there[pair.second - len(rows)])
                for pair in found
                if pair.first < len(rows) <= pair.second
            ],
        )


def _equal(
    tested: Sequence[int], mine: Sequence[str | None], theirs: Sequence[str | None]
) -> list[tuple[int, int]]:
    where: dict[str, list[int]] = defaultdict(list)
    for row, value in zip(tested, mine, strict=True):
        if value:
            where[value].append(row)
    return [(row, n) for n, value in enumerate(theirs) if value for row in where.get(value, ())]


def _check(other: OtherData) -> None:
    counts = {len(other.index)}
    if len(other.sha256s):
        counts.add(len(other.sha256s))
    counts |= {len(array) for array in (other.phashes, other.thumbs) if array is not None}
    if len(counts) > 1 or (other.phashes is None) != (other.thumbs is None):
        raise DataError(
            f"index, digests, hashes and thumbs of {other.name!r} are not of the same cases: give "
            "one row each per case"
        )
