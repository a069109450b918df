"""One digest for the same pixels, whatever the file format, type or channels they came in."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_adapters.errors import DataError

_INTEGER_CODES = ("u1", "i2", "u2", "i4", "u4", "i8", "u8")
_SLAB = 1 << 20  # values hashed at a time


def pixel_sha256(image: NDArray[Any]) -> str:
    """Hex SHA-256 over shape and values, whatever the file format or dtype they came in.

    Canonical form: a depth axis of 1 is dropped, channels that all agree become one, whole numbers
    are written in the narrowest little-endian integer type that holds the smallest and largest of
    them, anything else as float64 with one zero and one NaN. So a grey PNG, the same picture as RGB
    and the same values as float32 in an npz share one digest.

    Args:
        image: (H, W, C) or (D, H, W, C), any real dtype.

    Raises:
        DataError: the array is empty, complex or not numeric, or has another number of axes.
    """
    plain = _without_copies(checked_picture(image))
    code = narrowest_code(plain)
    shape = "x".join(map(str, plain.shape))
    digest = hashlib.sha256(f"radzoo-pixels-1|{plain.ndim - 1}d|{shape}|{code}|".encode())
    for slab in _slabs(plain):
        if code == "f8":
            values = slab.astype("<f8") + 0.0  # adding zero turns -0.0 into 0.0
            values[np.isnan(values)] = np.nan
            digest.update(values.tobytes())
        else:
            digest.update(slab.astype(np.dtype(code).newbyteorder("<")).tobytes())
    return digest.hexdigest()


def checked_picture(image: NDArray[Any]) -> NDArray[Any]:
    """The array itself (booleans as 0 and 1) when it is a picture or volume of real numbers.

    Raises:
        DataError: the array is empty, complex or not numeric, or has another number of axes.
    """
    array = np.asarray(image)
    if array.ndim not in (3, 4) or array.size == 0 or array.dtype.kind not in "buif":
        raise DataError(
            f"cannot fingerprint an array of shape {array.shape} and type {array.dtype}: give real "
            "numbers as (height, width, channels) or (depth, height, width, channels)"
        )
    return array.view(np.uint8) if array.dtype.kind == "b" else array


def _without_copies(image: NDArray[Any]) -> NDArray[Any]:
    """Drop a depth of one and channels that repeat the first."""
    plain = image[0] if image.ndim == 4 and image.shape[0] == 1 else image
    head = plain[..., :1]
    real = plain.dtype.kind == "f"
    repeated = all(
        np.array_equal(slab[..., channel], slab[..., 0], equal_nan=real)
        for channel in range(1, plain.shape[-1])
        for slab in _slabs(plain)
    )
    return head if repeated else plain


def _slabs(image: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Pieces along the first axis, of about a million values."""
    step = max(1, _SLAB // max(1, image[0].size))
    for low in range(0, len(image), step):
        yield image[low : low + step]


def narrowest_code(image: NDArray[Any]) -> str:
    """The integer type that holds all values exactly, or "f8"."""
    low, high = 0, 0
    for slab in _slabs(image):
        least, most = slab.min(), slab.max()
        if slab.dtype.kind == "f":
            whole = abs(least) < 2**53 and abs(most) < 2**53 and bool((slab == np.rint(slab)).all())
            if not whole:  # also where a NaN is: no comparison with it holds
                return "f8"
        low, high = min(low, int(least)), max(high, int(most))
    for code in _INTEGER_CODES:
        limits = np.iinfo(code)
        if limits.min <= low and high <= limits.max:
            return code
    return "f8"
