"""Turn a published weight file into a converted set, tried on the reference image before it counts.

No code of a file is ever run: PyTorch pickles are interpreted, of Keras files only the arrays are
read.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import importlib.metadata
import importlib.util
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import numpy as np
import safetensors.numpy

from zoo.errors import WeightsMismatchError, WeightsNotFoundError, ZooError
from zoo.preprocessing import constants
from zoo.registry import get_spec
from zoo.spec import BackboneSpec, Preprocessing, WeightSpec
from zoo.weights.download import Progress
from zoo.weights.files import LayerArrays
from zoo.weights.finding import PYTORCH_SUFFIXES, SUFFIXES, FoundWeights
from zoo.weights.manifest import MODES, NAME, Manifest, is_plain_name
from zoo.weights.recognising import Recognised, published, read_file, recognise
from zoo.weights.reference import check_values, measure
from zoo.weights.sets import WeightSet, find_set, sha256_of, write_set
from zoo.weights.store import pack_arrays

_RESERVED = ("none", "hub")
_STEPS = 4


@dataclass(frozen=True, kw_only=True)
class Converted:
    """A set that is not on disk yet.

    Attributes:
        layers: Layer name -> arrays.
        data: The ``.safetensors`` file to be.
        manifest: Its manifest.
    """

    layers: LayerArrays
    data: bytes
    manifest: Manifest

    def keep(self, place: Path | None = None) -> WeightSet:
        """Write it into a folder; None: ``RADZOO_HOME/weights``.

        Raises:
            ZooError: When the folder cannot be written.
        """
        return write_set(self.data, self.manifest, place=place)


def convert_published(spec: BackboneSpec, weight: WeightSpec, path: Path) -> Converted:
    """Convert a file of the catalogue.

    Args:
        spec: The backbone.
        weight: The weight set.
        path: Its file, of which the digest was checked.

    Raises:
        WeightsMismatchError: When the file holds something else, or the network does not give the
            recorded reference values with it.
        ZooError: When the file cannot be read.
    """
    return _convert(spec, weight, read_file(spec, weight, path), path)


def convert_packaged(spec: BackboneSpec, weight: WeightSpec) -> Converted:
    """Convert the weights that a pip package carries, its classification layer included.

    Raises:
        WeightsNotFoundError: When the package is neither installed nor its cache here.
    """
    from zoo.weights.lite import lite_weights

    layers = lite_weights(spec.name, include_top=True)
    found = Recognised(
        spec=spec,
        layers=layers,
        top=(),
        publisher=str(weight.package),
        converter="zoo.weights.lite",
    )
    return _finish(spec, weight, found, digest=str(weight.sha256))


def import_weights(
    path: Path,
    *,
    backbone: str | None = None,
    name: str | None = None,
    licence: str | None = None,
    citation: str | None = None,
    channels: int | None = None,
    preprocessing: str | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> WeightSet:
    """Convert a weight file and keep it, under its published name or one of the user's own.

    Args:
        path: A file of PyTorch, safetensors or Keras.
        backbone: Registered name; None: told from names, shapes and number of parameters.
        name: What ``create_backbone(weights=)`` will call it; None: its name in the catalogue, or
            else its file's stem.
        licence: Of the weights; None: the catalogue's, or ``"not stated"``.
        citation: Whom to cite.
        channels: Input channels of the file's first kernel, where the file does not tell.
        preprocessing: What the network was fed, as ``zoo.preprocessing`` has it; None: what is
            usual for the publisher's layout.
        force: Replace another set of that name.
        progress: Called with steps done and steps in all.

    Raises:
        WeightsNotFoundError: When there is no such file.
        WeightsMismatchError: When the layout is not known, or does not fit the backbone; the
            message names the nearest candidates.
        ZooError: For a damaged file, an option that cannot be, or a name that is taken.
    """
    if not path.is_file():
        raise WeightsNotFoundError(f"there is no file {path.name!r} where it was given")
    if not path.name.lower().endswith((*SUFFIXES, *PYTORCH_SUFFIXES)):
        known = ", ".join((*SUFFIXES, *PYTORCH_SUFFIXES))
        raise ZooError(f"{path.name!r} is of no kind that is read: {known}")
    if not is_plain_name(path.name):
        raise ZooError(f"rename {path.name!r} first: its name holds characters that do not travel")
    if preprocessing is not None and preprocessing not in MODES:
        raise ZooError(
            f"preprocessing {preprocessing!r} is unknown; choose from {', '.join(MODES)}"
        )
    spec = get_spec(backbone) if backbone is not None else None
    step = progress or (lambda done, total: None)
    entry = published(path, spec, name)
    step(1, _STEPS)
    if entry is not None and (channels, preprocessing) != (None, None):
        raise ZooError(
            f"{path.name!r} is the published set {entry[0].name}:{entry[1].name}: give --name to "
            "import it as your own with other channels or preprocessing"
        )
    if entry is not None:
        found, weight = read_file(*entry, path), entry[1]
        stated = (weight.licence, weight.citation)
    else:
        found = recognise(path, spec, channels=channels)
        weight = _own_weight(path, found, name, preprocessing)
        stated = ("not stated", "not stated")
    step(2, _STEPS)
    weight = dataclasses.replace(
        weight, licence=licence or stated[0], citation=citation or stated[1]
    )
    converted = _convert(found.spec, weight, found, path)
    step(3, _STEPS)
    _refuse_other(converted.manifest, force=force)
    kept = converted.keep()
    step(_STEPS, _STEPS)
    return kept


def _own_weight(
    path: Path, found: Recognised, name: str | None, preprocessing: str | None
) -> WeightSpec:
    """Describe weights that the catalogue does not know."""
    slug = re.sub(r"[^a-z0-9_-]+", "-", path.name.partition(".")[0].lower()).strip("-_")
    chosen = name if name is not None else slug[:64]
    if NAME.fullmatch(chosen) is None or chosen in _RESERVED:
        raise ZooError(
            f"{chosen!r} cannot name weights: give --name with small letters, digits, - and _"
        )
    if chosen in {weight.name for weight in found.spec.weights}:
        raise ZooError(
            f"{chosen!r} is the name of published weights of {found.spec.name!r}, and "
            f"{path.name!r} is not their file: give another --name"
        )
    mode = cast(Preprocessing, preprocessing or found.preprocessing or found.spec.preprocessing)
    scale, offset = constants(mode)
    range_ = (min(offset), round(max(255 * s + o for s, o in zip(scale, offset, strict=False)), 4))
    return WeightSpec(
        name=chosen,
        source="file",
        file=path.name,
        licence="not stated",
        citation="not stated",
        input_convention=f"0-255, preprocessing {mode!r}",
        input_range=None if mode == "none" else range_,
        preprocessing=mode,
        channels=found.channels or 3,
        converter=None if found.converter == "keras" else found.converter,
    )


def _convert(spec: BackboneSpec, weight: WeightSpec, found: Recognised, path: Path) -> Converted:
    return _finish(spec, weight, found, digest=sha256_of(path))


def _finish(spec: BackboneSpec, weight: WeightSpec, found: Recognised, *, digest: str) -> Converted:
    """Try the arrays in the network and write down what they are."""
    for layer, arrays in found.layers.items():
        if not all(np.isfinite(array).all() for array in arrays):
            raise WeightsMismatchError(
                f"weight file {weight.file!r} holds numbers in layer {layer!r} that are not finite"
            )
    layers = {
        layer: [np.asarray(array, "float32") for array in arrays]
        for layer, arrays in found.layers.items()
    }
    headless = {layer: arrays for layer, arrays in layers.items() if layer != "predictions"}
    values = measure(spec, FoundWeights(path=None, weight=weight, layers=headless))
    if weight.reference is not None:
        check_values(values, weight.reference, what=f"the weights of {weight.file!r}")
    data = safetensors.numpy.save(pack_arrays(layers))
    manifest = Manifest(
        backbone=spec.name,
        name=weight.name,
        publisher=found.publisher,
        source=weight.file,
        source_sha256=digest,
        licence=weight.licence,
        citation=weight.citation,
        input_convention=weight.input_convention,
        input_range=weight.input_range,
        preprocessing=weight.preprocessing or spec.preprocessing,
        channels=weight.channels,
        converter=found.converter,
        converter_sha256=converter_digest(found.converter),
        stripped=found.top,
        reference=values,
        made_with=_libraries(),
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        sha256=hashlib.sha256(data).hexdigest(),
        size=len(data),
    )
    return Converted(layers=headless, data=data, manifest=manifest)


def converter_digest(converter: str) -> str | None:
    """Digest the source code of a converter, so that a set tells which one made it.

    Args:
        converter: ``"module:function"``, a module, or ``"keras"``.

    Returns:
        SHA-256; None for a converter whose source is not here.
    """
    modules = [converter.partition(":")[0]]
    if converter == "keras":
        modules = ["zoo.architectures.keras_applications", "zoo.weights.keras_files"]
    digest = hashlib.sha256()
    for module in modules:
        try:
            found = importlib.util.find_spec(module)
        except (ImportError, ValueError):
            return None
        if found is None or found.origin is None or not Path(found.origin).is_file():
            return None
        digest.update(Path(found.origin).read_bytes())
    return digest.hexdigest()


def _refuse_other(manifest: Manifest, *, force: bool) -> None:
    """Keep what lies under a name, unless it is the same or the user says otherwise."""
    if force:
        return
    try:
        there = find_set(manifest.backbone, manifest.name)
    except WeightsMismatchError:
        return  # damaged: to be replaced
    if there is not None and there.manifest.source_sha256 != manifest.source_sha256:
        raise ZooError(
            f"{manifest.backbone}:{manifest.name} is there already, made from "
            f"{there.manifest.source!r}: give another --name, or --force to replace it"
        )


def _libraries() -> dict[str, str]:
    import keras

    try:
        own = importlib.metadata.version("radzoo")
    except importlib.metadata.PackageNotFoundError:
        own = "unknown"
    module: Any = importlib.import_module(keras.backend.backend())
    return {
        "radzoo": own,
        "keras": keras.__version__,
        keras.backend.backend(): str(module.__version__),
    }
