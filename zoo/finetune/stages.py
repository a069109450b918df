"""Which stage of a backbone each layer belongs to, in flat and in nested models."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import keras

from zoo.errors import ZooError
from zoo.spec import BackboneSpec


@dataclass(frozen=True)
class Staged:
    """A model's layers by stage.

    Attributes:
        layers: Place -> layer. The place is the layer's name, behind the names of the models that
            it is nested in: ``"conv1"``, ``"member_0/conv1"``.
        stages: Place -> stage, see ``layer_stages``.
        count: Stages that the model has of the backbone, from the stem up.
        head: Number of the head's stage.
    """

    layers: dict[str, keras.Layer]
    stages: dict[str, int]
    count: int
    head: int

    def share(self, place: str, decay: float) -> float:
        """Share of the learning rate at a place: 1 in the head, ``decay`` in the top stage, ..."""
        return float(decay ** max(0, self.count - self.stages[place]))


def layer_stages(model: keras.Model, spec: BackboneSpec) -> dict[str, int]:
    """Assign every layer to a stage: that of the first tap which depends on it.

    Args:
        model: A backbone, or a model around one: flat, with the backbone's layers in it, or with
            the backbone (or whole members of an ensemble) nested as a layer.
        spec: The backbone.

    Returns:
        Layer name -> stage; layers of nested models as ``"outer/layer"``. With n taps, 0 is the
        stem (everything up to the first tap and all that comes before it), n - 1 the layers
        between the last two taps, n + 1 the head: whatever no tap depends on, a decoder with it.
        Layers that lie behind the top tap are not part of these models, so n stays unused. A
        classifier on lower levels ends at its highest one and lacks the stages above it.

    Raises:
        ZooError: When the model lacks the taps of ``spec``.
    """
    return assign_stages(model, spec).stages


def assign_stages(model: keras.Model, spec: BackboneSpec) -> Staged:
    """Give the model's layers with their stages; see ``layer_stages``.

    Raises:
        ZooError: When the model lacks the taps of ``spec``.
    """
    found = _assign(model, spec)
    layers = leaf_layers(model)
    if found is None:
        raise ZooError(
            f"model {model.name!r} has no layer {spec.taps[0][1]!r}: not a {spec.name!r}"
        )
    below, count = found
    head = len(spec.taps) + 1
    return Staged(layers, {place: below.get(place, head) for place in layers}, count, head)


def leaf_layers(model: keras.Model) -> dict[str, keras.Layer]:
    """Give every layer that is no model itself, by its place (see ``Staged``)."""
    found: dict[str, keras.Layer] = {}
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            inner = leaf_layers(layer)
            found |= {f"{layer.name}/{place}": leaf for place, leaf in inner.items()}
        else:
            found[layer.name] = layer
    return found


def _assign(model: keras.Model, spec: BackboneSpec) -> tuple[dict[str, int], int] | None:
    """Stages of the layers that a tap depends on, and how many; None without the backbone."""
    taps = _present_taps(model, spec)
    stages: dict[str, int] = {}
    if taps:
        for stage, tap in enumerate(taps):
            for name in _needed(model, [tap]):
                stages.setdefault(name, stage)
        return _spread(model, stages), len(taps)
    inner = {
        layer.name: found
        for layer in model.layers
        if isinstance(layer, keras.Model) and (found := _assign(layer, spec)) is not None
    }
    if not inner:
        return None
    before = {name: 0 for name in _needed(model, inner) if name not in inner}
    stages = _spread(model, before)
    for name, (below, _) in inner.items():
        stages |= {f"{name}/{place}": stage for place, stage in below.items()}
    return stages, max(count for _, count in inner.values())


def _spread(model: keras.Model, stages: dict[str, int]) -> dict[str, int]:
    """Stages of layers, those of a nested model for each layer in it."""
    spread: dict[str, int] = {}
    for layer in model.layers:
        if layer.name not in stages:
            continue
        if isinstance(layer, keras.Model):
            spread |= {f"{layer.name}/{place}": stages[layer.name] for place in leaf_layers(layer)}
        else:
            spread[layer.name] = stages[layer.name]
    return spread


def _present_taps(model: keras.Model, spec: BackboneSpec) -> list[str]:
    """Name the taps that the model has, from the stem up to its highest level."""
    known = {layer.name for layer in model.layers}
    there = [tap in known for _, tap in spec.taps]
    count = there.index(False) if False in there else len(there)
    if any(there[count:]):
        missing = spec.taps[count][1]
        raise ZooError(f"model {model.name!r} has no layer {missing!r}: not a {spec.name!r}")
    return [tap for _, tap in spec.taps[:count]]


def _needed(model: keras.Model, names: Iterable[str]) -> set[str]:
    """Names of the given operations of a functional graph and of all that they depend on."""
    graph: Any = getattr(model, "_functional", None) or model  # Sequential keeps one inside
    parents: dict[str, set[str]] = {}
    depths: dict[int, Any] = getattr(graph, "_nodes_by_depth", {})
    for node in (node for nodes in depths.values() for node in nodes):
        before = {parent.operation.name for parent in node.parent_nodes}
        parents.setdefault(node.operation.name, set()).update(before)
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += parents.get(name, ())
    return found
