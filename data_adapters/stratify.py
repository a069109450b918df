"""Deal units into parts so that every label is spread as asked: no state.

Iterative stratification after Sechidis, Tsoumakas and Vlahavas 2011, "On the stratification of
multi-label data": the label with the fewest units left is dealt first, each of its units to the
part that lacks most of it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

import numpy as np

_ATTEMPTS = 25
_PASSES = 10
_PARTNERS = 500
"""How many units each one is compared with when places are changed."""


def stratify(
    labels: Mapping[str, AbstractSet[int]],
    *,
    shares: Mapping[str, float],
    seed: int,
    sizes: Mapping[str, int] | None = None,
) -> dict[str, str]:
    """Deal units into parts.

    What a part should get of a label is apportioned by largest remainders, one unit per part as
    long as there are enough: the first part comes first, then the second, and so on. Units that
    carry one label each always meet that; where units carry several, other orders of dealing are
    tried until it is met, and the best one is kept when it cannot be.

    The order of dealing is that of a hash of seed and unit: neither the order of the mapping nor
    the process nor the version of a library changes the result.

    Args:
        labels: unit -> the labels it carries, possibly none.
        shares: part -> fraction of the units, in order of importance; they sum to 1.
        seed: any integer.
        sizes: unit -> number of its cases; larger units are then dealt first, and of parts that
            lack as much of a label the one with the fewest cases takes the unit.

    Returns:
        unit -> part, for every unit.
    """
    parts = [part for part, share in shares.items() if share > 0]
    best: dict[str, str] = {}
    fewest: tuple[int, ...] | None = None
    for attempt in range(_ATTEMPTS):
        order = sorted(labels, key=lambda unit: _shuffle_key(seed, attempt, unit))
        if sizes is not None:
            order.sort(key=lambda unit: -sizes[unit])
        dealt = _deal(order, labels, shares, sizes)
        missing = _missing(dealt, labels, parts)
        if fewest is None or missing < fewest:
            best, fewest = dealt, missing
        if not any(missing):
            break
    return best


def even_out(
    dealt: Mapping[str, str],
    labels: Mapping[str, AbstractSet[int]],
    sizes: Mapping[str, int],
    shown: Mapping[str, Mapping[int, int]],
) -> dict[str, str]:
    """Let units of equal labels change places between parts of equal shares, to even out cases.

    How many units of which labels a part has stays as it was dealt.

    Args:
        dealt: unit -> part, by `stratify`.
        labels: unit -> the labels it carries.
        sizes: unit -> number of its cases.
        shown: unit -> label -> number of its cases that show it.

    Returns:
        unit -> part.
    """
    units, parts = sorted(dealt), sorted(set(dealt.values()))
    names = sorted({label for counts in shown.values() for label in counts})
    weights = np.array([[sizes[u], *(shown[u].get(n, 0) for n in names)] for u in units], float)
    weights /= np.maximum(weights.sum(axis=0), 1) / len(parts)
    at = np.array([parts.index(dealt[unit]) for unit in units])
    load = np.array([weights[at == part].sum(axis=0) for part in range(len(parts))])
    alike: dict[frozenset[int], list[int]] = {}
    for place, unit in enumerate(units):
        alike.setdefault(frozenset(labels[unit]), []).append(place)
    for _ in range(_PASSES):
        changed = False
        for group in alike.values():
            for place in group:
                others = np.array(group[:: max(1, len(group) // _PARTNERS)])
                step = weights[others] - weights[place]
                gap = load[at[place]] - load[at[others]]
                gain = 2 * (step * (step + gap)).sum(axis=1)
                gain[at[others] == at[place]] = 0.0
                best = int(np.argmin(gain))
                if gain[best] < -1e-9:
                    other = others[best]
                    load[at[place]] += step[best]
                    load[at[other]] -= step[best]
                    at[place], at[other] = at[other], at[place]
                    changed = True
        if not changed:
            break
    return {unit: parts[int(part)] for unit, part in zip(units, at, strict=True)}


def apportion(count: int, shares: Mapping[str, float]) -> dict[str, int]:
    """Whole numbers that sum to `count` and follow `shares`, by largest remainders.

    Every part gets at least one while `count` allows, the first parts first.
    """
    parts = [part for part, share in shares.items() if share > 0]
    exact = {part: count * shares[part] for part in parts}
    quota = {part: math.floor(exact[part] + 1e-9) for part in parts}
    by_remainder = sorted(parts, key=lambda part: (quota[part] - exact[part], parts.index(part)))
    for part in by_remainder[: count - sum(quota.values())]:
        quota[part] += 1
    for part in parts[:count]:
        if quota[part] == 0:
            quota[max(parts, key=lambda other: quota[other])] -= 1
            quota[part] = 1
    return quota


def _deal(
    order: Sequence[str],
    labels: Mapping[str, AbstractSet[int]],
    shares: Mapping[str, float],
    sizes: Mapping[str, int] | None,
) -> dict[str, str]:
    """One pass of the method; `order` decides between units that are equal otherwise."""
    left: dict[int, list[str]] = {}
    for unit in order:
        for label in labels[unit]:
            left.setdefault(label, []).append(unit)
    lack = {label: apportion(len(units), shares) for label, units in left.items()}
    overall = apportion(len(order), shares)
    parts = list(overall)
    load = dict.fromkeys(parts, 0.0)
    dealt: dict[str, str] = {}

    def deal(unit: str, wants: Mapping[str, int]) -> None:
        part = max(parts, key=lambda p: (wants[p], -load[p], overall[p], -parts.index(p)))
        dealt[unit] = part
        load[part] += 0 if sizes is None else sizes[unit] / shares[part]
        for quota in (overall, *(lack[label] for label in labels[unit])):
            quota[part] -= 1

    while left:
        rarest = min(left, key=lambda label: (len(left[label]), label))
        for unit in left.pop(rarest):
            deal(unit, lack[rarest])
        left = {label: [u for u in units if u not in dealt] for label, units in left.items()}
    for unit in order:
        if unit not in dealt:
            deal(unit, overall)
    return dealt


def _missing(
    dealt: Mapping[str, str], labels: Mapping[str, AbstractSet[int]], parts: Sequence[str]
) -> tuple[int, ...]:
    """Per part, the number of labels that should be there and are not."""
    where: dict[int, list[str]] = {}
    for unit, part in dealt.items():
        for label in labels[unit]:
            where.setdefault(label, []).append(part)
    return tuple(
        sum(part not in found and len(found) > rank for found in where.values())
        for rank, part in enumerate(parts)
    )


def _shuffle_key(seed: int, attempt: int, unit: str) -> bytes:
    return hashlib.sha256(f"radzoo-split|{int(seed)}|{attempt}|{unit}".encode()).digest()
