"""What weights there are, and which of them are here: a table, out of names and sizes alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from zoo.errors import WeightsMismatchError, ZooError
from zoo.registry import get_spec, list_backbones
from zoo.spec import BackboneSpec, WeightSpec
from zoo.weights.available import available, cached_file, packaged_path
from zoo.weights.mirror import mirror_folder
from zoo.weights.sets import WeightSet, find_set, folder, imported_weights, stem_of


def weight_table(backbone: str | None = None) -> list[dict[str, Any]]:
    """Describe every weight set, those imported under names of the user's own included.

    Args:
        backbone: Only those of this backbone.

    Returns:
        One JSON-able row each: ``backbone``, ``name``, ``source`` (``"keras"``, ``"package"``,
        ``"file"``, ``"imported"``), ``file``, ``size`` (bytes of the file that is here, else
        None), ``licence``, ``digest`` (``"sha256"``, ``"sha256 prefix"``, ``"md5"`` or ``"not
        stated"`` by the publisher), ``here`` (loads without a download), ``place``, ``reference``
        (``"recorded"``: of the publisher's own implementation; ``"measured"``: when the set was
        made here; or ``"not recorded"``), ``preprocessing``, ``channels``, ``from`` (URL, page or
        package), and ``damaged`` (why, or None).

    Raises:
        UnknownBackboneError: For a name that is not registered.
    """
    names = list_backbones() if backbone is None else [get_spec(backbone).name]
    own = imported_weights()
    return [
        _row(get_spec(name), weight, imported=index >= len(get_spec(name).weights))
        for name in names
        for index, weight in enumerate((*get_spec(name).weights, *own.get(name, ())))
    ]


def split_target(target: str) -> tuple[BackboneSpec, str | None]:
    """Take ``BACKBONE`` or ``BACKBONE:NAME`` apart.

    Raises:
        UnknownBackboneError: For a backbone that is not registered.
        ZooError: For weights that the backbone does not have.
    """
    backbone, _, name = target.rpartition(":")
    if not backbone or target in list_backbones():
        return get_spec(target), None
    spec = get_spec(backbone)
    known = offered_names(spec)
    if name not in known:
        raise ZooError(
            f"{spec.name!r} has no weights {name!r}; choose from {', '.join(known) or 'none'}"
        )
    return spec, name


def offered_names(spec: BackboneSpec) -> list[str]:
    """Name the weights of a backbone, those imported here last."""
    own = imported_weights().get(spec.name, ())
    return [weight.name for weight in (*spec.weights, *own)]


def default_name(spec: BackboneSpec) -> str:
    """Name the weights that a bare backbone means: ``"imagenet"``, or else the first.

    Raises:
        ZooError: When it has none.
    """
    names = offered_names(spec)
    if not names:
        raise ZooError(f"{spec.name!r} has no weights: import a file with `radzoo weights import`")
    return "imagenet" if "imagenet" in names else names[0]


def _row(spec: BackboneSpec, weight: WeightSpec, *, imported: bool) -> dict[str, Any]:
    found, damaged = None, None
    try:
        found = find_set(spec.name, weight.name)
    except WeightsMismatchError as error:
        damaged = str(error)
    place, path = _where(spec, weight, found)
    return {
        "backbone": spec.name,
        "name": weight.name,
        "source": "imported" if imported else weight.source,
        "file": weight.file,
        "size": path.stat().st_size if path is not None else None,
        "licence": weight.licence,
        "digest": digest_kind(weight),
        "here": available(spec.name, weight) and damaged is None,
        "place": place,
        "reference": _reference(weight, found, imported=imported),
        "preprocessing": weight.preprocessing or spec.preprocessing,
        "channels": weight.channels,
        "from": weight.url or weight.page or weight.package,
        "damaged": damaged,
    }


def digest_kind(weight: WeightSpec) -> str:
    """Say which digest of the file its publisher states."""
    kinds = {"sha256": weight.sha256, "sha256 prefix": weight.sha256_prefix, "md5": weight.md5}
    return next((kind for kind, value in kinds.items() if value), "not stated")


def _reference(weight: WeightSpec, found: WeightSet | None, *, imported: bool) -> str:
    if weight.reference is not None and not imported:
        return "recorded"
    return "measured" if found is not None else "not recorded"


def _where(
    spec: BackboneSpec, weight: WeightSpec, found: WeightSet | None
) -> tuple[str | None, Path | None]:
    """Say where weights lie: the kind of place, and the file."""
    if found is not None:
        return "converted", found.path
    if weight.source == "package":
        cached = folder() / f"{stem_of(spec.name, weight)}.safetensors"
        path = packaged_path(weight) or (cached if cached.is_file() else None)
        return ("package" if path is not None else None), path
    path = cached_file(weight)
    if path is not None:
        return "file", path
    mirror = mirror_folder()
    for name in (f"{stem_of(spec.name, weight)}.safetensors", weight.file):
        if mirror is not None and (mirror / name).is_file():
            return "mirror", mirror / name
    return None, None
