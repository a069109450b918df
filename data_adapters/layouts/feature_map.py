"""Which features of a record are what: the feature map of a TFRecord data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from data_adapters.errors import DataError, FormatError, nearest

MOST_BYTES = 1024 * 1024
MOST_CLASSES = 100_000
_RAW_TYPES = ("uint8", "int8", "uint16", "int16", "int32", "float16", "float32", "float64")
Form = Literal["encoded", "raw", "vectors", "frames"]

YOUTUBE8M = {"key": "labels", "names": 3862, "form": "indices"}
KNOWN: dict[str, dict[str, Any]] = {
    "youtube8m-video": {
        "id": "id",
        "labels": YOUTUBE8M,
        "image": {"vectors": ["mean_rgb", "mean_audio"]},
    },
    "youtube8m-frame": {
        "id": "id",
        "labels": YOUTUBE8M,
        "image": {"frames": ["rgb", "audio"], "range": [-2.0, 2.0]},
    },
}
"""Feature maps known by name (research.google.com/youtube8m, data sets of 2018 and later)."""


@dataclass(frozen=True)
class ImageFeature:
    """Where a record's image is.

    Attributes:
        form: `encoded` (PNG, JPEG, ...), `raw` (values in a row), `vectors` (lists of numbers, put
            behind each other), or `frames` (a sequence of such vectors).
        keys: Names of the features.
        shape: Of raw values: sizes, or names of features that hold them.
        dtype: Of raw values in bytes, little endian.
        range: Values that quantised bytes 0 and 255 stand for (frames only); None leaves them.
    """

    form: Form
    keys: tuple[str, ...]
    shape: tuple[int | str, ...] = ()
    dtype: str = "uint8"
    range: tuple[float, float] | None = None


@dataclass(frozen=True)
class LabelFeature:
    """Where labels are.

    Attributes:
        key: Name of the feature.
        names: Class names; empty where those found in the records are meant.
        form: `class` (one index or name), `indices` (of the labels that are present) or `vector`
            (0 or 1 per label).
    """

    key: str
    names: tuple[str, ...] = ()
    form: Literal["class", "indices", "vector"] = "class"


@dataclass(frozen=True)
class FeatureMap:
    """The feature map.

    Attributes:
        image: The image.
        label: Labels; None where there are none.
        id: Feature with the case's name.
        patient: Feature with the patient.
    """

    image: ImageFeature
    label: LabelFeature | None = None
    id: str | None = None
    patient: str | None = None


def load_map(given: Mapping[str, Any] | str, root: Path) -> FeatureMap:
    """The feature map of an option: a mapping, a known name, or a YAML file.

    Args:
        given: The option.
        root: Folder to which a file's path is relative.

    Raises:
        DataError: There is no such map.
        FormatError: It is damaged.
    """
    if isinstance(given, Mapping):
        return parse_map(given, "features")
    if given in KNOWN:
        return parse_map(KNOWN[given], given)
    path = root / given
    if not path.is_file():
        raise DataError(f"features={given!r} is no file and no known map{nearest(given, KNOWN)}")
    return parse_map(_read_yaml(path), path.name)


def _read_yaml(path: Path) -> Any:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise FormatError(f"{path.name} has more than {MOST_BYTES} bytes")
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path.name} cannot be read: {error.strerror}") from None
    except FormatError:
        raise
    except (yaml.YAMLError, ValueError, RecursionError):
        raise FormatError(f"{path.name} is no valid YAML") from None


def parse_map(given: Any, where: str) -> FeatureMap:
    """Check a feature map.

    Raises:
        FormatError: A key is unknown, or a value is of the wrong kind; the message names it.
    """
    keys = _mapping(given, where, ("image", "label", "labels", "id", "patient"))
    if "image" not in keys:
        raise FormatError(f"{where}: the feature map names no image")
    if keys.get("label") is not None and keys.get("labels") is not None:
        raise FormatError(f"{where}: give label (one class) or labels (several), not both")
    label = None
    if keys.get("label") is not None:
        label = _label(keys["label"], f"{where}: label", "class")
    elif keys.get("labels") is not None:
        label = _label(keys["labels"], f"{where}: labels", "indices")
    return FeatureMap(
        _image(keys["image"], f"{where}: image"),
        label,
        _name(keys.get("id"), f"{where}: id"),
        _name(keys.get("patient"), f"{where}: patient"),
    )


def _mapping(given: Any, where: str, known: Sequence[str]) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise FormatError(f"{where}: wanted keys and values")
    for key in given:
        if key not in known:
            raise FormatError(f"{where}: unknown key {str(key)[:40]!r}{nearest(str(key), known)}")
    return given


def _name(value: Any, where: str) -> str | None:
    if value is None or (isinstance(value, str) and value):
        return value
    raise FormatError(f"{where}: wanted the name of a feature")


def _names(value: Any, where: str) -> tuple[str, ...]:
    several = [value] if isinstance(value, str) else value
    if not isinstance(several, list | tuple) or not several:
        raise FormatError(f"{where}: wanted one or several names of features")
    return tuple(str(_name(one, where)) for one in several)


def _image(value: Any, where: str) -> ImageFeature:
    if isinstance(value, str):
        return ImageFeature("encoded", (str(_name(value, where)),))
    forms: tuple[Form, ...] = ("encoded", "raw", "vectors", "frames")
    keys = _mapping(value, where, (*forms, "shape", "dtype", "range"))
    given = [form for form in forms if keys.get(form) is not None]
    if len(given) != 1:
        raise FormatError(f"{where}: wanted one of {', '.join(forms)}")
    form = given[0]
    names = _names(keys[form], f"{where}.{form}")
    if form in ("encoded", "raw") and len(names) > 1:
        raise FormatError(f"{where}.{form}: wanted one feature")
    shape = _shape(keys.get("shape"), where) if form == "raw" else ()
    dtype = keys.get("dtype", "uint8")
    if dtype not in _RAW_TYPES:
        raise FormatError(f"{where}.dtype: wanted one of {', '.join(_RAW_TYPES)}")
    return ImageFeature(form, names, shape, dtype, _range(keys.get("range"), where))


def _shape(value: Any, where: str) -> tuple[int | str, ...]:
    good = isinstance(value, list | tuple) and 2 <= len(value) <= 4
    if not good or not all(
        (isinstance(n, int) and not isinstance(n, bool) and 0 < n < 2**31)
        or (isinstance(n, str) and n)
        for n in value
    ):
        raise FormatError(
            f"{where}.shape: wanted [H, W], [H, W, C] or [D, H, W, C], each a number or the name "
            "of a feature"
        )
    return tuple(value)


def _range(value: Any, where: str) -> tuple[float, float] | None:
    if value is None:
        return None
    good = isinstance(value, list | tuple) and len(value) == 2
    if not good or not all(isinstance(v, int | float) and abs(v) < 1e30 for v in value):
        raise FormatError(f"{where}.range: wanted [lowest, highest]")
    low, high = float(value[0]), float(value[1])
    if not low < high:
        raise FormatError(f"{where}.range: wanted [lowest, highest]")
    return low, high


def _label(value: Any, where: str, form: Literal["class", "indices"]) -> LabelFeature:
    if isinstance(value, str):
        if form == "indices":
            raise FormatError(f"{where}: wanted key, names and form")
        return LabelFeature(str(_name(value, where)))
    keys = _mapping(value, where, ("key", "names", "form"))
    key = _name(keys.get("key"), f"{where}.key")
    if key is None:
        raise FormatError(f"{where}: wanted key")
    names = _class_names(keys.get("names"), where)
    wanted = keys.get("form", form)
    allowed = ("class",) if form == "class" else ("indices", "vector")
    if wanted not in allowed:
        raise FormatError(f"{where}.form: wanted {' or '.join(allowed)}")
    if form == "indices" and not names:
        raise FormatError(f"{where}.names: wanted the labels' names, or their number")
    return LabelFeature(key, names, wanted)


def _class_names(value: Any, where: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MOST_CLASSES:
        return tuple(str(k) for k in range(value))
    if not isinstance(value, list | tuple) or not value or len(value) > MOST_CLASSES:
        raise FormatError(f"{where}.names: wanted names, or their number")
    names = tuple(str(name).strip() for name in value)
    if not all(names) or len(set(names)) < len(names):
        raise FormatError(f"{where}.names: wanted different names")
    return names
