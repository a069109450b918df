"""Kernels of volumes as one array, or as 2D ones for each slice under the window: the same."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection

import numpy as np

from zoo.weights.files import Array, LayerArrays

_TAP = re.compile(r"(.+)_tap(\d+)")


def tap_of(name: str) -> tuple[str, int] | None:
    """The layer that a tap belongs to and its number: ``("conv1", 2)`` of ``conv1_tap2``."""
    found = _TAP.fullmatch(name)
    return None if found is None else (found[1], int(found[2]))


def cut_taps(name: str, arrays: list[Array]) -> LayerArrays:
    """One kernel of a volume as a 2D one for each slice under the window.

    Args:
        name: The layer.
        arrays: Kernel ``(depth, height, width, channels, filters)``, and what else it has.

    Returns:
        ``<name>_tap0`` on; the middle one has the rest, a bias. The name alone where the depth
        is 1.
    """
    kernel, *rest = arrays
    count = len(kernel)
    if count == 1:
        return {name: [kernel[0], *rest]}
    return {
        f"{name}_tap{tap}": [kernel[tap], *(rest if tap == count // 2 else ())]
        for tap in range(count)
    }


def join_taps(layers: LayerArrays, bases: Collection[str], own: Collection[str]) -> LayerArrays:
    """Taps of a file as one kernel, where the network has one.

    Args:
        layers: Layer name -> arrays.
        bases: Layers that may lie there in taps.
        own: Layers of the network that hold weights: taps among them stay.
    """
    groups: dict[str, dict[int, str]] = defaultdict(dict)
    for name in layers:
        found = tap_of(name)
        if found is not None and name not in own and found[0] in bases and found[0] in own:
            groups[found[0]][found[1]] = name
    joined = dict(layers)
    for base, taps in groups.items():
        parts = [layers[taps[tap]] for tap in sorted(taps)]
        whole = sorted(taps) == list(range(len(taps)))
        if not whole or len({part[0].shape for part in parts if part}) != 1 or not all(parts):
            continue  # a damaged set stays, to be refused by its names
        for name in taps.values():
            del joined[name]
        joined[base] = [np.stack([part[0] for part in parts]), *parts[len(parts) // 2][1:]]
    return joined
