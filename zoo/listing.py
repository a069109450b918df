"""The registry as a table, for people and for ``--json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from zoo.registry import get_spec, list_backbones
from zoo.spec import WeightSpec
from zoo.weights.available import available
from zoo.weights.sets import imported_weights


def backbone_table() -> list[dict[str, Any]]:
    """Describe every registered backbone, in alphabetical order.

    Returns:
        One JSON-able row each: ``name``, ``family``, ``params`` (without top, three channels),
        ``input_size`` and ``min_size`` (pixels a side), ``levels`` (pyramid levels it has),
        ``weights`` (names on offer, those imported here last), ``offline`` (whether any of them
        loads now without a download), ``licence`` (of the code), ``weights_licence`` and ``paper``.
    """
    own = imported_weights()
    return [_row(name, own) for name in list_backbones()]


def _row(name: str, own: Mapping[str, Sequence[WeightSpec]]) -> dict[str, Any]:
    spec = get_spec(name)
    weights = (*spec.weights, *own.get(name, ()))
    return {
        "name": spec.name,
        "family": spec.family,
        "params": spec.params,
        "input_size": spec.input_size,
        "min_size": spec.min_size,
        "levels": [f"P{stride.bit_length() - 1}" for stride, _ in spec.taps],
        "weights": [weight.name for weight in weights],
        "offline": any(available(spec.name, weight) for weight in weights),
        "licence": spec.licence,
        "weights_licence": sorted({weight.licence for weight in weights}),
        "paper": spec.paper,
    }
