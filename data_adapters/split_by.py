"""Dealing units by site and by date: what is tested comes from elsewhere, or from later."""

from __future__ import annotations

import datetime
import hashlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet

import numpy as np
from numpy.typing import NDArray

from data_adapters.adapter import IndexRow
from data_adapters.errors import SplitError, option_hint
from data_adapters.stratify import apportion

_EVERY = 60_000
"""Ways to deal sites that are all looked at; where there are more, some are drawn."""
_DRAWN = 20_000
_MISSING = 10.0
"""Cost of a label that the first part lacks, against squared differences of shares below 1."""


def dated(index: Sequence[IndexRow], rows: Sequence[int]) -> list[int]:
    """The rows that have a date.

    Raises:
        SplitError: None has, or a date is no day of the form YYYY-MM-DD.
    """
    found = [row for row in rows if index[row].date]
    for row in found:
        try:
            datetime.date.fromisoformat(index[row].date or "")
        except ValueError:
            raise SplitError(
                f"the date of case {index[row].case_id} is no day of the form YYYY-MM-DD"
            ) from None
    if not found:
        raise SplitError(
            "a split by date needs dates, and no case has one: name their column with "
            + option_hint("date", "COLUMN")
        )
    return found


def sited(index: Sequence[IndexRow], rows: Sequence[int]) -> list[int]:
    """The rows that name their site.

    Raises:
        SplitError: None does.
    """
    found = [row for row in rows if index[row].site]
    if not found:
        raise SplitError(
            "a split by site needs sites, and no case names one: name their column with "
            + option_hint("site", "COLUMN")
        )
    return found


def deal_by_date(
    index: Sequence[IndexRow],
    members: Mapping[str, Sequence[int]],
    *,
    shares: Mapping[str, float],
    seed: int,
) -> tuple[dict[str, str], list[str]]:
    """Earlier units to the first part, later ones to the last; nobody is cut in two.

    A unit stands where its latest study does, so no case of a part is later than any unit of the
    next part is; a patient with studies on both sides of a cut is in the later part with all of
    them. Cuts lie between days, as near to the shares as that allows.

    Returns:
        Unit -> part, and sentences for the report.

    Raises:
        SplitError: There are fewer days than parts.
    """
    latest = {unit: max(index[row].date or "" for row in rows) for unit, rows in members.items()}
    order = sorted(members, key=lambda unit: (latest[unit], _hash(seed, unit)))
    quota = apportion(len(order), shares)
    parts = list(quota)
    edges = [0] + [
        place for place in range(1, len(order)) if latest[order[place - 1]] < latest[order[place]]
    ]
    if len(edges) < len(parts):
        raise SplitError(
            f"{len(parts)} parts by date need studies of {len(parts)} days at least, and there "
            f"{'is one' if len(edges) == 1 else f'are {len(edges)}'}; split by patient instead"
        )
    cuts, wanted, first = [], 0, 1
    for number, part in enumerate(parts[:-1]):
        wanted += quota[part]
        still = len(parts) - 2 - number
        usable = edges[first : len(edges) - still]
        cut = min(usable, key=lambda place: (abs(place - wanted), place))
        cuts.append(cut)
        first = edges.index(cut) + 1
    dealt: dict[str, str] = {}
    both = 0
    for part, low, high in zip(parts, [0, *cuts], [*cuts, len(order)], strict=True):
        dealt |= dict.fromkeys(order[low:high], part)
        before = latest[order[low - 1]] if low else ""
        earliest = (min(index[r].date or "" for r in members[unit]) for unit in order[low:high])
        both += sum(day <= before for day in earliest)
    notes = ["Split by date: the latest study of a patient decides, later ones are tested."]
    if both:
        notes.append(
            f"{both} patient{'s have' if both > 1 else ' has'} studies on both sides of a cut and "
            f"{'are' if both > 1 else 'is'} in the later part with all of them."
        )
    return dealt, notes


def deal_by_site(
    sizes: Mapping[str, int],
    labels: Mapping[str, Mapping[int, int]],
    *,
    shares: Mapping[str, float],
    seed: int,
) -> dict[str, str]:
    """Whole sites to parts, so that cases and labels come as near to the shares as they can.

    All ways are looked at where they are few, else some drawn ones, improved by single moves.

    Args:
        sizes: Site -> cases.
        labels: Site -> label -> cases or patients that show it.
        shares: Part -> fraction of the cases; they sum to 1.
        seed: Decides between ways that are equally good.

    Raises:
        SplitError: There are fewer sites than parts.
    """
    sites = sorted(sizes, key=lambda site: _hash(seed, site))
    parts = [part for part, share in shares.items() if share > 0]
    if len(sites) < len(parts):
        raise SplitError(
            f"{len(parts)} parts by site need {len(parts)} sites at least, and there "
            f"{'is one' if len(sites) == 1 else f'are {len(sites)}'}; split by patient, or leave "
            "one site out with folds by site"
        )
    names = sorted({label for found in labels.values() for label in found})
    table = np.array(
        [[sizes[site], *(labels[site].get(name, 0) for name in names)] for site in sites], float
    )
    wanted = np.array([shares[part] for part in parts])

    def cost(ways: NDArray[np.intp]) -> NDArray[np.float64]:
        return _cost(ways, table, wanted)

    if len(parts) ** len(sites) <= _EVERY:
        ways = np.array(list(itertools.product(range(len(parts)), repeat=len(sites))), np.intp)
        best = ways[int(np.argmin(cost(ways)))]
    else:
        rng = np.random.default_rng([int(seed) % 2**63, len(sites)])
        ways = rng.choice(len(parts), (_DRAWN, len(sites)), p=wanted / wanted.sum())
        best = _improved(ways[int(np.argmin(cost(ways)))], len(parts), cost)
    return {site: parts[int(at)] for site, at in zip(sites, best, strict=True)}


def _cost(
    ways: NDArray[np.intp], table: NDArray[np.float64], wanted: NDArray[np.float64]
) -> NDArray[np.float64]:
    """How far each way of dealing, a row of part numbers, is from the shares."""
    total = np.maximum(table.sum(axis=0), 1e-9)
    result = np.zeros(len(ways))
    for part, share in enumerate(wanted):
        inside = (ways == part).astype(float)
        got = inside @ table / total
        off = (got - share) ** 2
        result += off[:, 0] + (off[:, 1:].mean(axis=1) if off.shape[1] > 1 else 0)
        result += np.where(inside.any(axis=1), 0.0, 1e6)
        if part == 0:
            result += _MISSING * (got[:, 1:] == 0).sum(axis=1)
    return result


def _improved(
    way: NDArray[np.intp],
    parts: int,
    cost: Callable[[NDArray[np.intp]], NDArray[np.float64]],
) -> NDArray[np.intp]:
    """Move one site, or change two with each other, while that makes it better."""
    best, least = way, float(cost(way[None])[0])
    while True:
        near = []
        for site in range(len(best)):
            for part in range(parts):
                moved = best.copy()
                moved[site] = part
                near.append(moved)
            for other in range(site):
                moved = best.copy()
                moved[[site, other]] = moved[[other, site]]
                near.append(moved)
        costs = cost(np.array(near))
        found = int(np.argmin(costs))
        if costs[found] >= least - 1e-12:
            return best
        best, least = near[found], float(costs[found])


def count_labels(shown: Sequence[AbstractSet[int]]) -> dict[int, int]:
    """How many of these sets hold each label."""
    counts: dict[int, int] = {}
    for labels in shown:
        for label in labels:
            counts[label] = counts.get(label, 0) + 1
    return counts


def _hash(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"radzoo-split-by|{int(seed)}|{name}".encode()).digest()
