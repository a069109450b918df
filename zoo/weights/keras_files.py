"""Match the layers of a Keras file to those of a network, whatever top or wrapper it was saved in.

Pure functions on names and arrays: which of a file's layers belong to the network, by name where
the names are the network's, else by order, as Keras itself reads files of Keras 2; and which are a
classification top, that is left out and named.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from zoo.errors import WeightsMismatchError
from zoo.weights.files import Array, LayerArrays

Shapes = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, kw_only=True)
class PlannedLayer:
    """A layer that wants arrays.

    Attributes:
        name: Its name, numbered as in a fresh process.
        shapes: Of its arrays, in the order of ``layer.weights``.
    """

    name: str
    shapes: Shapes


@dataclass(frozen=True, kw_only=True)
class Matched:
    """What a file holds for a network.

    Attributes:
        layers: Planned name -> arrays.
        top: Names, in the file, of the layers that were left out.
    """

    layers: LayerArrays
    top: tuple[str, ...]


def match_layers(
    stored: Mapping[str, Sequence[Array]],
    plan: Sequence[PlannedLayer],
    *,
    automatic: Iterable[str] = (),
    ordered: bool,
    source: str,
    network: str,
) -> Matched:
    """Give each planned layer its arrays.

    Args:
        stored: Layer name in the file -> arrays, in the order of the file.
        plan: The network's layers, in the order in which Keras saves them.
        automatic: Bases of automatic names (``"conv2d"``): a file's ``conv2d_97`` counts from
            whatever had been built before it, so those are numbered anew by rank.
        ordered: Whether the file keeps the order of the layers, as one of Keras 2 does.
        source: What to call the file in a message.
        network: What to call the network in a message.

    Raises:
        WeightsMismatchError: Naming layers that are missing, of another shape, or left over and no
            classification top (anything with an array of more than two axes).
    """
    named = _renumbered(stored, set(automatic))
    if all(layer.name in named for layer in plan):
        pairs = {layer.name: named[layer.name] for layer in plan}
    elif ordered and _fits(list(stored.values()), plan):
        pairs = dict(zip((layer.name for layer in plan), stored, strict=False))
    else:
        pairs = {layer.name: named[layer.name] for layer in plan if layer.name in named}
    top = [name for name in stored if name not in set(pairs.values())]
    faults = {
        "missing": [layer.name for layer in plan if layer.name not in pairs],
        "of another shape": [
            f"{layer.name} {shapes_of(stored[pairs[layer.name]])} for {layer.shapes}"
            for layer in plan
            if layer.name in pairs and shapes_of(stored[pairs[layer.name]]) != layer.shapes
        ],
        "left over": [name for name in top if not is_top(stored[name])],
    }
    text = "; ".join(
        f"{len(names)} layers {kind} ({some(names)})" for kind, names in faults.items() if names
    )
    if text:
        raise WeightsMismatchError(f"{source} does not fit {network!r}: {text}")
    layers = {name: list(stored[found]) for name, found in pairs.items()}
    return Matched(layers=layers, top=tuple(top))


def is_top(arrays: Sequence[Array]) -> bool:
    """Tell whether a layer may belong to a classification top: a dense layer, or a norm."""
    return all(array.ndim <= 2 for array in arrays)


def is_dense(arrays: Sequence[Array]) -> bool:
    """Tell whether arrays look like those of a fully connected layer."""
    return is_top(arrays) and any(array.ndim == 2 for array in arrays)


def shapes_of(arrays: Iterable[Array]) -> Shapes:
    """List the shapes of arrays."""
    return tuple(tuple(array.shape) for array in arrays)


def some(names: Sequence[str], most: int = 5) -> str:
    """Name a few and count the rest."""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def _fits(stored: Sequence[Sequence[Array]], plan: Sequence[PlannedLayer]) -> bool:
    """Tell whether the file's first layers have the planned shapes, one by one."""
    if len(stored) < len(plan):
        return False
    pairs = zip(plan, stored, strict=False)
    return all(shapes_of(arrays) == layer.shapes for layer, arrays in pairs)


def _renumbered(names: Iterable[str], automatic: set[str]) -> dict[str, str]:
    """Map names as the plan spells them (no slashes, automatic numbers by rank) to the file's."""
    numbers: dict[str, list[tuple[int, str]]] = {}
    spelt = {}
    for name in names:
        match = re.fullmatch(r"(.*?)(?:_(\d{1,9}))?", name, re.DOTALL)
        if match is not None and match[1] in automatic:
            numbers.setdefault(match[1], []).append((int(match[2] or 0), name))
        else:
            spelt[name.replace("/", "_")] = name
    for base, found in numbers.items():
        for rank, (_, name) in enumerate(sorted(found)):
            spelt[f"{base}_{rank}" if rank else base] = name
    return spelt
