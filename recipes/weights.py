"""What the commands under ``radzoo weights`` do with more than one weight set."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zoo.errors import ZooError
from zoo.registry import get_spec, list_backbones
from zoo.spec import BackboneSpec, WeightSpec
from zoo.weights.archive import INDEX, pack, unpack
from zoo.weights.available import available
from zoo.weights.download import Progress
from zoo.weights.finding import find_weights
from zoo.weights.importing import convert_packaged, convert_published
from zoo.weights.inventory import default_name, offered_names, split_target
from zoo.weights.sets import WeightSet, find_set, imported_weights, read_manifest
from zoo.weights.verifying import Verdict, verify_path, verify_weights


def verify_all(progress: Progress) -> list[dict[str, Any]]:
    """Check every weight set that is here, damaged ones included.

    Args:
        progress: Called with sets checked and sets in all.
    """
    chosen = [
        (spec, weight, own)
        for spec in map(get_spec, list_backbones())
        for weight, own in _weights(spec)
        if available(spec.name, weight)
    ]
    return _verify(chosen, progress)


def verify_target(target: str, progress: Progress) -> list[dict[str, Any]]:
    """Check the weights that ``BACKBONE`` or ``BACKBONE:NAME`` names.

    Raises:
        ZooError: When none of them is here.
    """
    spec, name = split_target(target)
    chosen = [
        (spec, weight, own)
        for weight, own in _weights(spec)
        if name in (None, weight.name) and available(spec.name, weight)
    ]
    if not chosen:
        names = [name] if name else offered_names(spec)
        raise ZooError(
            f"none of the weights of {spec.name!r} ({', '.join(names) or 'it has none'}) is here; "
            f"bring them with `radzoo weights fetch` or `radzoo weights import FILE`"
        )
    return _verify(chosen, progress)


def verify_file(path: Path, progress: Progress) -> list[dict[str, Any]]:
    """Check an archive, all of its sets, or one set by one of its files.

    Raises:
        ZooError: When the file is neither.
    """
    if path.suffix in (".safetensors", ".json"):
        return [_guarded(path).to_dict()]
    if not _is_archive(path):
        raise ZooError(
            f"{path.name!r} is neither an archive of `radzoo weights pack` nor a converted set; "
            "bring a published file in with `radzoo weights import FILE`"
        )
    with tempfile.TemporaryDirectory() as folder:
        try:
            unpack(path, into=Path(folder), progress=progress)
        except ZooError as error:
            return [Verdict(backbone=path.name, name="archive", error=str(error)).to_dict()]
        files = sorted(Path(folder).glob("*.safetensors"))
        return [_guarded(file).to_dict() for file in files]


def pack_targets(targets: Sequence[str], out: Path, progress: Progress) -> dict[str, Any]:
    """Write weight sets into an archive, converting those that are no sets yet.

    Args:
        targets: ``BACKBONE`` or ``BACKBONE:NAME``, each.
        out: The archive.
        progress: Called with bytes written and bytes in all.

    Returns:
        ``sets``, ``sha256`` and ``size`` of the archive.

    Raises:
        ZooError: When weights are not obtainable, damaged, or named twice.
    """
    named = [split_target(target) for target in targets]
    sets = [_set(spec, name or default_name(spec), progress) for spec, name in named]
    digest = pack(sets, out, progress=progress)
    shown = sorted(one.shown for one in sets)
    return {"sets": shown, "sha256": digest, "size": out.stat().st_size}


def _set(spec: BackboneSpec, name: str, progress: Progress) -> WeightSet:
    """Give the converted set of weights, made and kept first where there is none."""
    found = find_weights(spec, name, progress=progress)
    there = find_set(spec.name, name)
    if there is not None:
        return there
    weight = next(item for item in spec.weights if item.name == name)
    if found is None or found.path is None:
        return convert_packaged(spec, weight).keep()
    if found.path.suffix == ".safetensors" and found.path.with_suffix(".json").is_file():
        return WeightSet(path=found.path, manifest=read_manifest(found.path))
    return convert_published(spec, weight, found.path).keep()


def _weights(spec: BackboneSpec) -> list[tuple[WeightSpec, bool]]:
    own = imported_weights().get(spec.name, [])
    return [*((weight, False) for weight in spec.weights), *((weight, True) for weight in own)]


def _verify(
    chosen: Sequence[tuple[BackboneSpec, WeightSpec, bool]], progress: Progress
) -> list[dict[str, Any]]:
    verdicts = []
    for done, (spec, weight, own) in enumerate(chosen):
        progress(done, len(chosen))
        verdicts.append(verify_weights(spec, weight, own=own).to_dict())
    return verdicts


def _guarded(path: Path) -> Verdict:
    try:
        return verify_path(path)
    except ZooError as error:
        backbone, _, name = path.name.partition(".")
        return Verdict(backbone=backbone, name=name, error=str(error))


def _is_archive(path: Path) -> bool:
    """Tell an archive of ``pack``, damaged or not, from other files."""
    if path.suffix in (".radzoo", ".zip"):
        return True
    try:
        with zipfile.ZipFile(path) as archive:
            return INDEX in archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError):
        return False
