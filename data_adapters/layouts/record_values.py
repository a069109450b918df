"""Images and labels out of the features of a record."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_adapters.errors import CaseError, FormatError
from data_adapters.layouts.feature_map import ImageFeature, LabelFeature
from data_adapters.layouts.wire import Example, Feature
from data_adapters.pictures import picture_of

_KEPT = ("uint8", "uint16", "float32")


def read_image(
    example: Example, image: ImageFeature, case_id: str
) -> tuple[NDArray[Any], tuple[str, ...]]:
    """The image of a record, and slugs of what reading had to put right.

    Returns:
        (H, W, C) or (D, H, W, C). Vectors become one row, (1, n, 1); frames become rows, (T, n, 1):
        time downwards, features across.

    Raises:
        CaseError: `no-image`: a feature is absent; `shape`: sizes do not fit; or what decoding a
            picture gives.
        FormatError: A feature is of another kind, or damaged.
    """
    if image.form == "encoded":
        data = _one(example, image.keys[0], case_id).texts()
        if len(data) != 1:
            raise CaseError(case_id, "no-image", f"the feature holds {len(data)} pictures, not one")
        picture = picture_of(data[0], case_id=case_id)
        return picture.image, picture.notes
    if image.form == "raw":
        return _raw(example, image, case_id), ()
    if image.form == "vectors":
        parts = [_one(example, key, case_id).numbers() for key in image.keys]
        row = np.concatenate([part.astype(np.float32) for part in parts])
        return _finite(row[None, :, None], case_id), ()
    columns = [_frames(example, key, image, case_id) for key in image.keys]
    lengths = {len(column) for column in columns}
    if len(lengths) > 1 or 0 in lengths:
        text = f"its sequences have {' and '.join(map(str, sorted(lengths)))} frames"
        raise CaseError(case_id, "shape", text)
    return _finite(np.concatenate(columns, axis=1)[..., None], case_id), ()


def _one(example: Example, key: str, case_id: str) -> Feature:
    found = example.features.get(key)
    if found is None or not found.kind:
        raise CaseError(case_id, "no-image", f"the record has no feature {key!r}")
    return found


def _raw(example: Example, image: ImageFeature, case_id: str) -> NDArray[Any]:
    sizes = [_size(example, n, case_id) for n in image.shape]
    feature = _one(example, image.keys[0], case_id)
    if feature.kind == "bytes":
        data = b"".join(feature.texts())
        dtype = np.dtype(image.dtype).newbyteorder("<")
        if len(data) != math.prod(sizes) * dtype.itemsize:
            text = f"the record holds {len(data)} bytes for an image of {sizes} {image.dtype}"
            raise CaseError(case_id, "shape", text)
        values = np.frombuffer(data, dtype)
    else:
        values = feature.numbers()
        if values.size != math.prod(sizes):
            text = f"the record holds {values.size} values for an image of {sizes}"
            raise CaseError(case_id, "shape", text)
    kept = (
        values.dtype.name if feature.kind == "bytes" and values.dtype.name in _KEPT else "float32"
    )
    array = values.astype(kept).reshape(sizes)
    return _finite(array if array.ndim > 2 else array[..., None], case_id)


def _size(example: Example, wanted: int | str, case_id: str) -> int:
    if isinstance(wanted, int):
        return wanted
    found = _one(example, wanted, case_id).numbers()
    if found.size != 1 or found.dtype.kind != "i" or not 0 < found[0] < 2**31:
        raise CaseError(case_id, "shape", f"the feature {wanted!r} holds no size")
    return int(found[0])


def _frames(example: Example, key: str, image: ImageFeature, case_id: str) -> NDArray[np.float32]:
    """(T, n) of one sequence, quantised bytes turned back."""
    steps = example.lists.get(key)
    if not steps:
        raise CaseError(case_id, "no-image", f"the record has no sequence {key!r}")
    rows = [_frame(step) for step in steps]
    if len({row.size for row in rows}) > 1:
        raise CaseError(case_id, "shape", f"the frames of {key!r} differ in length")
    values = np.stack(rows)
    if values.dtype == np.uint8 and image.range is not None:
        return dequantised(values, image.range)
    return values.astype(np.float32)


def _frame(step: Feature) -> NDArray[Any]:
    if step.kind == "bytes":
        return np.frombuffer(b"".join(step.texts()), np.uint8)
    return step.numbers().astype(np.float32)


def dequantised(values: NDArray[np.uint8], limits: tuple[float, float]) -> NDArray[np.float32]:
    """Values of YouTube-8M's frame-level features (`utils.Dequantize` of its starter code).

    Args:
        values: Quantised bytes.
        limits: Lowest and highest value before they were quantised.
    """
    span = limits[1] - limits[0]
    return np.asarray(values * np.float32(span / 255) + np.float32(span / 512 + limits[0]))


def _finite(array: NDArray[Any], case_id: str) -> NDArray[Any]:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise CaseError(case_id, "not-finite", "the record holds values that are not finite")
    if not array.size:
        raise CaseError(case_id, "shape", "the record holds an image without pixels")
    return np.ascontiguousarray(array)


def read_label(example: Example, label: LabelFeature) -> str | int | tuple[float, ...] | None:
    """The label of a record; None where it has none.

    Returns:
        A name or index (`class`), or 0.0, 1.0 or NaN per label.

    Raises:
        FormatError: It is no such thing.
    """
    feature = example.features.get(label.key)
    if feature is None or not feature.kind:
        return None
    if label.form == "class":
        if feature.kind == "bytes":
            values = feature.texts()
            return _only([_utf8(value) for value in values]) or None
        found = _only(feature.numbers().tolist())
        if found is None or found != int(found):
            raise FormatError("the label is no whole number")
        return int(found)
    numbers = feature.numbers()
    count = len(label.names)
    if label.form == "indices":
        if numbers.dtype.kind != "i" or (
            numbers.size and not 0 <= numbers.min() <= numbers.max() < count
        ):
            raise FormatError(f"the labels are no indices below {count}")
        vector = np.zeros(count)
        vector[numbers.astype(int)] = 1.0
        return tuple(vector.tolist())
    if numbers.size != count or not np.isin(numbers[~np.isnan(numbers)], (0, 1)).all():
        raise FormatError(f"the labels are no vector of {count} zeros and ones")
    return tuple(float(v) for v in numbers)


def _only(values: list[Any]) -> Any:
    if len(values) != 1:
        raise FormatError(f"the label has {len(values)} values, not one")
    return values[0]


def _utf8(value: bytes) -> str:
    try:
        return value.decode().strip()
    except UnicodeDecodeError:
        raise FormatError("a text is no UTF-8") from None


def read_text(example: Example, key: str | None) -> str | None:
    """The text (or number as text) of a feature; None where there is none."""
    feature = None if key is None else example.features.get(key)
    if feature is None or not feature.kind:
        return None
    values = feature.texts() if feature.kind == "bytes" else feature.numbers().tolist()
    if len(values) != 1:
        return None
    return _utf8(values[0]) if isinstance(values[0], bytes) else str(values[0])


def names_of(example: Example) -> Mapping[str, str]:
    """Names and kinds of a record's features, for messages."""
    known = {name: feature.kind or "empty" for name, feature in example.features.items()}
    return {**known, **dict.fromkeys(example.lists, "sequence")}
