"""The registry of backbones: what is in it can be built, listed and is put to every test."""

from __future__ import annotations

import difflib
import functools

from zoo.errors import UnknownBackboneError, ZooError
from zoo.spec import BackboneSpec


@functools.cache
def _registry() -> dict[str, BackboneSpec]:
    """Give the one table of the process, filled from ``zoo.catalog`` on first use."""
    from zoo.catalog import catalogued

    table: dict[str, BackboneSpec] = {}
    for spec in catalogued():
        _add(table, spec)
    return table


def _add(table: dict[str, BackboneSpec], spec: BackboneSpec) -> None:
    if spec.name in table:
        raise ZooError(
            f"backbone {spec.name!r} is already registered; choose another name for the new one"
        )
    table[spec.name] = spec


def register(spec: BackboneSpec) -> None:
    """Add a backbone for the life of the process.

    Args:
        spec: The backbone; its name must be new.

    Raises:
        ZooError: When the name is taken.
    """
    _add(_registry(), spec)


def get_spec(name: str) -> BackboneSpec:
    """Look a backbone up by name.

    Raises:
        UnknownBackboneError: Naming the nearest known backbone, or all of them when none is near.
    """
    table = _registry()
    if name in table:
        return table[name]
    near = difflib.get_close_matches(str(name).lower(), table, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(table))}"
    raise UnknownBackboneError(f"unknown backbone {name!r}; {hint}")


def list_backbones(
    *, family: str | None = None, weights: str | None = None, offline: bool | None = None
) -> list[str]:
    """List the registered names in alphabetical order.

    Args:
        family: Keep only this group of architectures.
        weights: Keep only those that offer weights of this name, for example ``"imagenet"``, or
            a name that weights were imported under on this machine.
        offline: True keeps those with weights that load now without a download, False the
            others; with ``weights`` given, those weights count alone.
    """
    from zoo.weights.available import available
    from zoo.weights.sets import imported_weights

    own = imported_weights()
    chosen = []
    for spec in _registry().values():
        everything = (*spec.weights, *own.get(spec.name, ()))
        offered = [item for item in everything if weights is None or item.name == weights]
        if family is not None and spec.family != family:
            continue
        if weights is not None and not offered:
            continue
        here = any(available(spec.name, item) for item in offered)
        if offline is not None and here is not offline:
            continue
        chosen.append(spec.name)
    return sorted(chosen)
