"""Check weights that are here: digests, conversion, and the reference values computed anew."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from zoo.errors import WeightsMismatchError, ZooError
from zoo.registry import get_spec
from zoo.spec import BackboneSpec, WeightSpec
from zoo.weights.available import cached_file, packaged, places
from zoo.weights.download import check_digest
from zoo.weights.files import read_layers
from zoo.weights.finding import FoundWeights
from zoo.weights.importing import converter_digest
from zoo.weights.inventory import digest_kind
from zoo.weights.recognising import read_file
from zoo.weights.reference import check_values, measure
from zoo.weights.sets import WeightSet, check_set, find_set, read_manifest, sha256_of, stem_name
from zoo.weights.store import packaged_file


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What was found out about a weight set.

    Attributes:
        backbone: Its backbone.
        name: Its name.
        digest: ``"ok"``, or ``"not stated"`` where there is nothing to compare with.
        reference: ``"ok"`` (as recorded with the publisher's own implementation), ``"as
            measured"`` (as when the set was made), or ``"not recorded"``.
        converter: ``"as recorded"``, ``"changed, same arrays"``, ``"changed, not compared"``, or
            None.
        error: What is wrong, or None.
    """

    backbone: str
    name: str
    digest: str | None = None
    reference: str | None = None
    converter: str | None = None
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**self.__dict__, "ok": self.error is None}


def verify_weights(spec: BackboneSpec, weight: WeightSpec, *, own: bool = False) -> Verdict:
    """Check one weight set of a backbone that is here.

    Args:
        spec: The backbone.
        weight: The weights, of the catalogue or as ``imported_weights`` gives them.
        own: Whether they were imported under a name of the user's own.
    """
    try:
        found = find_set(spec.name, weight.name)
        if found is not None:
            return verify_set(found, spec, None if own else weight)
        return _verify_published(spec, weight)
    except ZooError as error:
        return Verdict(backbone=spec.name, name=weight.name, error=str(error))


def verify_set(found: WeightSet, spec: BackboneSpec, weight: WeightSpec | None) -> Verdict:
    """Check a converted set: its digest, its conversion, its reference values.

    Args:
        found: The set.
        spec: Its backbone.
        weight: Its entry in the catalogue, where it has one.

    Raises:
        ZooError: Naming what is wrong.
    """
    check_set(found, weight)
    manifest = found.manifest
    known = weight or manifest.weight()
    layers = read_layers(found.path)
    converter = _check_converter(found, spec, known)
    headless = {name: arrays for name, arrays in layers.items() if name != "predictions"}
    values = measure(spec, FoundWeights(path=found.path, weight=known, layers=headless))
    check_values(values, manifest.reference, what=f"the weights {found.shown}")
    recorded = weight is not None and weight.reference is not None
    if weight is not None and weight.reference is not None:
        check_values(values, weight.reference, what=f"the weights {found.shown}")
    return Verdict(
        backbone=spec.name,
        name=manifest.name,
        digest="ok",
        reference="ok" if recorded else "as measured",
        converter=converter,
    )


def verify_path(path: Path) -> Verdict:
    """Check a set by one of its two files, wherever it lies.

    Raises:
        ZooError: Naming what is wrong.
    """
    try:
        manifest = read_manifest(path)
    except OSError as error:
        raise ZooError(f"there is no manifest beside {path.name!r}") from error
    spec = get_spec(manifest.backbone)
    weight = {item.name: item for item in spec.weights}.get(manifest.name)
    data = path.with_name(f"{stem_name(path)}.safetensors")
    return verify_set(WeightSet(path=data, manifest=manifest), spec, weight)


def _verify_published(spec: BackboneSpec, weight: WeightSpec) -> Verdict:
    """Check a file as its publisher has it, or the weights of a pip package."""
    digest, path = "ok", None
    if weight.source == "package":
        if packaged(weight):
            check_digest(weight, packaged_file(weight), place=f"the package {weight.package}")
        else:
            digest = "not compared: the package is not here"
        found = FoundWeights(path=None, weight=weight)
    else:
        place, path = next(((p, f) for p, f in places(weight).items() if f.is_file()), ("", None))
        if path is None:
            raise ZooError(f"the weights {spec.name}:{weight.name} are not here")
        check_digest(weight, path, place=place)
        digest = "ok" if digest_kind(weight) != "not stated" else "not stated"
        layers = read_file(spec, weight, path).layers if weight.source == "file" else None
        found = FoundWeights(path=path, weight=weight, layers=layers)
    values = measure(spec, found)
    if weight.reference is not None:
        check_values(values, weight.reference, what=f"the weights {spec.name}:{weight.name}")
    return Verdict(
        backbone=spec.name,
        name=weight.name,
        digest=digest,
        reference="ok" if weight.reference is not None else "not recorded",
    )


def _check_converter(found: WeightSet, spec: BackboneSpec, weight: WeightSpec) -> str:
    """Convert anew where the converter has changed and the source is here.

    Raises:
        WeightsMismatchError: When the arrays are others now.
    """
    manifest = found.manifest
    if converter_digest(manifest.converter) == manifest.converter_sha256:
        return "as recorded"
    source = cached_file(weight)
    if source is None or sha256_of(source) != manifest.source_sha256:
        return "changed, not compared"
    now, then = read_file(spec, weight, source).layers, read_layers(found.path)
    for layer, arrays in now.items():
        before = then.get(layer, [])
        same = len(arrays) == len(before) and all(map(np.array_equal, arrays, before))
        if not same:
            raise WeightsMismatchError(
                f"the converter of {found.shown} gives other arrays now, in layer {layer!r}: "
                f"import {manifest.source!r} anew"
            )
    return "changed, same arrays"
