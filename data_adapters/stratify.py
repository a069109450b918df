"""Deal units into parts so that every label is spread as asked: pure Python, no state.

Iterative stratification after Sechidis, Tsoumakas and Vlahavas 2011, "On the stratification of
multi-label data": the label with the fewest units left is dealt first, each of its units to the
part that lacks most of it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

_ATTEMPTS = 25


def stratify(
    labels: Mapping[str, AbstractSet[int]], *, shares: Mapping[str, float], seed: int
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

    Returns:
        unit -> part, for every unit.
    """
    parts = [part for part, share in shares.items() if share > 0]
    best: dict[str, str] = {}
    fewest: tuple[int, ...] | None = None
    for attempt in range(_ATTEMPTS):
        order = sorted(labels, key=lambda unit: _shuffle_key(seed, attempt, unit))
        dealt = _deal(order, labels, shares)
        missing = _missing(dealt, labels, parts)
        if fewest is None or missing < fewest:
            best, fewest = dealt, missing
        if not any(missing):
            break
    return best


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
    order: Sequence[str], labels: Mapping[str, AbstractSet[int]], shares: Mapping[str, float]
) -> dict[str, str]:
    """One pass of the method; `order` decides between units that are equal otherwise."""
    left: dict[int, list[str]] = {}
    for unit in order:
        for label in labels[unit]:
            left.setdefault(label, []).append(unit)
    lack = {label: apportion(len(units), shares) for label, units in left.items()}
    overall = apportion(len(order), shares)
    parts = list(overall)
    dealt: dict[str, str] = {}
    while left:
        rarest = min(left, key=lambda label: (len(left[label]), label))
        for unit in left.pop(rarest):
            wants = lack[rarest]
            part = max(parts, key=lambda p: (wants[p], overall[p], -parts.index(p)))
            dealt[unit] = part
            for quota in (overall, *(lack[label] for label in labels[unit])):
                quota[part] -= 1
        left = {label: [u for u in units if u not in dealt] for label, units in left.items()}
    for unit in order:
        if unit not in dealt:
            part = max(parts, key=lambda p: (overall[p], -parts.index(p)))
            dealt[unit] = part
            overall[part] -= 1
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
