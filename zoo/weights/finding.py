"""Find weights by name or path: here, in a mirror, or at their publisher's."""

from __future__ import annotations

import difflib
import os
import urllib.parse
import uuid
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.errors import WeightsMismatchError, WeightsNotFoundError, ZooError
from zoo.home import from_home
from zoo.registry import list_backbones
from zoo.spec import BackboneSpec, WeightSpec
from zoo.weights.available import packaged, places
from zoo.weights.download import Progress, check_digest, fetch, reachable
from zoo.weights.manifest import NAME
from zoo.weights.mirror import SHOWN, Mirror, open_mirror
from zoo.weights.sets import (
    check_set,
    find_set,
    folder,
    imported_weights,
    not_writable,
    remove_tree,
    stem_of,
)

if TYPE_CHECKING:
    from zoo.weights.files import LayerArrays

SUFFIXES = (".weights.h5", ".h5", ".keras", ".safetensors")
PYTORCH_SUFFIXES = (".pth", ".pt", ".bin", ".ckpt", ".tar")


@dataclass(frozen=True, kw_only=True)
class FoundWeights:
    """Weights that are at hand.

    Attributes:
        path: The file; None for weights that come inside a pip package.
        weight: What is known of them; None for a file that the caller named.
        layers: The arrays, where they have been read already.
    """

    path: Path | None
    weight: WeightSpec | None
    layers: LayerArrays | None = field(default=None, repr=False, compare=False)


def find_weights(
    spec: BackboneSpec, weights: str | Path | None, *, progress: Progress | None = None
) -> FoundWeights | None:
    """Locate weights, downloading and converting them where that is needed and possible.

    A name is looked for, in this order: as a converted set in ``RADZOO_HOME/weights``; in an
    installed package; as the published file in that folder or where Keras caches; in the mirror
    that ``RADZOO_WEIGHTS`` names; at the publisher's. Published files of another layout are
    converted once and kept.

    Args:
        spec: The backbone.
        weights: As for ``create_backbone``.
        progress: Called with bytes read and bytes in all while something is downloaded.

    Returns:
        None for ``weights=None``.

    Raises:
        WeightsNotFoundError: When the weights are neither here nor obtainable now; at once, in
            one sentence that names the file, the folder it belongs in, and the commands.
        WeightsMismatchError: When a file does not have its recorded digest or layout.
        ZooError: For an unknown name, or a file of an unknown kind.
    """
    if weights is None:
        return None
    named = {item.name: item for item in spec.weights}
    if isinstance(weights, str):
        if weights in named:
            return _find_named(spec, named[weights], progress)
        own = _find_own(spec, weights)
        if own is not None:
            return own
    path = from_home(weights)
    if not path.name.endswith(SUFFIXES):
        raise _unknown(spec, str(weights), list(named))
    if not path.is_file():
        raise WeightsNotFoundError(f"weight file {path.name!r} does not exist where it was given")
    return FoundWeights(path=path, weight=None)


def _find_own(spec: BackboneSpec, name: str) -> FoundWeights | None:
    """Find weights imported under a name of the user's own, here or in the mirror."""
    if NAME.fullmatch(name) is None:
        return None
    found = find_set(spec.name, name)
    if found is None:
        mirror = open_mirror()
        return None if mirror is None else _mirrored_set(mirror, spec.name, name, None, None)
    check_set(found, None)
    return FoundWeights(path=found.path, weight=found.manifest.weight())


def _find_named(spec: BackboneSpec, weight: WeightSpec, progress: Progress | None) -> FoundWeights:
    found = _here(spec, weight)
    if found is not None:
        return found
    mirror = open_mirror()
    if mirror is not None:
        found = _mirrored_set(mirror, spec.name, weight.name, weight, progress)
        if found is not None:
            return found
        path = None
        if weight.source != "package":
            path = mirror.get(weight.file, target=folder() / weight.file, progress=progress)
        if path is not None:
            check_digest(weight, path, place=SHOWN)
            return _readable(spec, weight, path)
    if weight.source == "package":
        from zoo.weights.store import packaged_file

        packaged_file(weight)  # raises, and says what to install
    if weight.url is not None and reachable(weight.url):
        target = next(iter(places(weight).values()))
        return _readable(spec, weight, fetch(weight, target, progress))
    raise WeightsNotFoundError(_refusal(spec, weight))


def _here(spec: BackboneSpec, weight: WeightSpec) -> FoundWeights | None:
    """Find a weight set of the catalogue on this machine."""
    try:
        found = find_set(spec.name, weight.name)
    except WeightsMismatchError:
        if weight.source != "package" or not packaged(weight):
            raise
        found = None  # its cache is rebuilt out of the package
    if weight.source == "package":
        if found is None and not packaged(weight) and not _cached(spec, weight):
            return None
        return FoundWeights(path=None, weight=weight)
    if found is not None:
        check_set(found, weight)
        return FoundWeights(path=found.path, weight=weight)
    for place, path in places(weight).items():
        if path.is_file():
            check_digest(weight, path, place=place)
            return _readable(spec, weight, path)
    return None


def _cached(spec: BackboneSpec, weight: WeightSpec) -> bool:
    """Tell whether the weights of a package were converted once and kept."""
    base = folder() / stem_of(spec.name, weight)
    return all(base.with_name(f"{base.name}{kind}").is_file() for kind in (".safetensors", ".json"))


def _readable(spec: BackboneSpec, weight: WeightSpec, path: Path) -> FoundWeights:
    """Give a published file, converted once and kept where its layout is another."""
    if weight.source == "keras":
        return FoundWeights(path=path, weight=weight)
    from zoo.weights.importing import convert_published
    from zoo.weights.store import WeightCacheWarning

    converted = convert_published(spec, weight, path)
    try:
        kept = converted.keep()
    except ZooError as error:
        warnings.warn(f"{error}; going on without", WeightCacheWarning, stacklevel=2)
        return FoundWeights(path=path, weight=weight, layers=converted.layers)
    return FoundWeights(path=kept.path, weight=weight)


def _mirrored_set(
    mirror: Mirror,
    backbone: str,
    name: str,
    weight: WeightSpec | None,
    progress: Progress | None,
) -> FoundWeights | None:
    """Find a converted set in the mirror; one from a web server is kept here.

    The set of a pip package is kept here as well, for its reader looks nowhere else.
    """
    from zoo.weights.archive import place_files

    staging = folder() / f".mirror-{uuid.uuid4().hex}"
    stem = f"{backbone}.{name}" if weight is None else stem_of(backbone, weight)
    try:
        manifest = mirror.get(f"{stem}.json", target=staging / f"{stem}.json")
        data = manifest and mirror.get(
            f"{stem}.safetensors", target=staging / f"{stem}.safetensors", progress=progress
        )
        if manifest is None or data is None:
            return None
        found = find_set(backbone, name, place=manifest.parent)
        if found is None:
            return None
        check_set(found, weight)
        if mirror.folder is None or (weight is not None and weight.source == "package"):
            place_files([data, manifest], folder(), move=mirror.folder is None)
        known = weight or found.manifest.weight()
        if known.source == "package":
            return FoundWeights(path=None, weight=known)
        here = found.path if mirror.folder is not None else folder() / found.path.name
        return FoundWeights(path=here, weight=known)
    except OSError as error:
        raise not_writable(error) from error
    finally:
        remove_tree(staging)


def _unknown(spec: BackboneSpec, weights: str, catalogued: list[str]) -> ZooError:
    known = [*catalogued, *(item.name for item in imported_weights().get(spec.name, ()))]
    if weights.endswith(PYTORCH_SUFFIXES):
        file = Path(weights).name
        return ZooError(
            f"{file!r} is a file of PyTorch: convert it once with "
            f"`radzoo weights import {file} --backbone {spec.name}`, then pass its name as weights"
        )
    near = difflib.get_close_matches(weights, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return ZooError(
        f"unknown weights {weights!r} for {spec.name!r}; {hint}choose from "
        f"{sorted(known)}, None, or a file that ends in {', '.join(SUFFIXES)}"
    )


def _refusal(spec: BackboneSpec, weight: WeightSpec) -> str:
    """Say in one sentence what is missing, where it belongs and how it gets there."""
    host = urllib.parse.urlsplit(weight.url or "").hostname
    mirrored = f", nor in {SHOWN}" if os.environ.get("RADZOO_WEIGHTS") else ""
    away = f" and {host} is out of reach" if weight.url else ""
    there = f"{spec.name}:{weight.name}"
    fetch_it = f", or run `radzoo weights fetch {there}` where there is a network"
    return (
        f"the weights {weight.name!r} of {spec.name!r} are not cached{mirrored}{away}: "
        f"put {weight.file} (from {weight.url or weight.page}) into {' or '.join(places(weight))}, "
        f"or give it to `radzoo weights import FILE`{fetch_it if weight.url else ''}, or take a "
        "backbone that works without a download: "
        f"{', '.join(list_backbones(offline=True)) or 'none here'}"
    )
