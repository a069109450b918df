"""Masks and probabilities as files that other programs read, on the case's own grid.

Files hold values and geometry, nothing about the patient. They appear whole or not at all: they
are written under a hidden name beside the target and renamed.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data_adapters.case import Geometry
from data_adapters.volumes.names import volume_suffix
from data_adapters.volumes.write import WRITABLE, write_volume
from recipes.engine.checkpoint import check_writable, write_atomic
from recipes.segmentation.inference.errors import InferenceError

Array = npt.NDArray[Any]

PNG = ".png"
TOLERANCE = 1e-3
"""How far beyond 0 and 1 rounding may put a probability."""


def write_mask(mask: Array, path: str | Path, geometry: Geometry | None = None) -> Path:
    """Write labels.

    Args:
        mask: Integers ``(D, H, W)`` or ``(H, W)``, on the grid of the original image.
        path: ``.nii``, ``.nii.gz``, ``.nrrd`` or ``.mha``; for pictures ``.png`` too, 8 bits, or 16
            for labels beyond 255. The folder is made; a file that is there is replaced.
        geometry: The original image's; a picture needs none, and a one-slice volume is what volume
            formats hold of it.

    Returns:
        The path.

    Raises:
        InferenceError: For another suffix, shape or type.
        DataError: A geometry that a volume file cannot hold: an irregular or sheared stack.
        RunFolderError: The disk is full or the folder cannot be written.
    """
    if mask.dtype.kind not in "iub" or mask.ndim not in (2, 3) or mask.size == 0:
        raise InferenceError(
            f"a mask of type {mask.dtype} and shape {mask.shape}; give integers (D, H, W) or (H, W)"
        )
    target = _target(path, picture=mask.ndim == 2)
    if _is_png(target):
        if mask.min() < 0 or mask.max() > 65535:
            raise InferenceError(
                f"labels from {mask.min()} to {mask.max()}; PNG holds 0 to 65535, volume formats "
                "negative ones too"
            )
        write_atomic(target, _png(mask.astype(np.uint8 if mask.max() <= 255 else np.uint16)))
        return target
    return _write_volume(target, mask, geometry, flat=mask.ndim == 2)


def write_probabilities(values: Array, path: str | Path, geometry: Geometry | None = None) -> Path:
    """Write probabilities, one component per class.

    Args:
        values: ``(D, H, W, K)`` or ``(H, W, K)`` in [0, 1], on the grid of the original image.
        path: As for ``write_mask``. PNG holds one class, ``K = 1``, as 16-bit numbers: 65535 is 1.
        geometry: The original image's.

    Returns:
        The path.

    Raises:
        InferenceError: For another suffix or shape, or values that are no probabilities.
        DataError: A geometry that a volume file cannot hold.
        RunFolderError: The disk is full or the folder cannot be written.
    """
    if values.dtype.kind != "f" or values.ndim not in (3, 4) or values.size == 0:
        raise InferenceError(
            f"probabilities of type {values.dtype} and shape {values.shape}; give floats "
            "(D, H, W, K) or (H, W, K)"
        )
    low, high = float(values.min()), float(values.max())
    if not (low >= -TOLERANCE and high <= 1.0 + TOLERANCE):
        raise InferenceError(f"values from {low:g} to {high:g} are no probabilities, 0 to 1")
    target = _target(path, picture=values.ndim == 3)
    if _is_png(target):
        if values.shape[-1] != 1:
            raise InferenceError(
                f"PNG holds the probability of one class, not of {values.shape[-1]}; write one by "
                f"one, or as one of {', '.join(WRITABLE)}"
            )
        grey = np.rint(np.clip(values[..., 0], 0.0, 1.0) * 65535.0)
        write_atomic(target, _png(grey.astype(np.uint16)))
        return target
    return _write_volume(target, values.astype(np.float32), geometry, flat=values.ndim == 3)


def _target(path: str | Path, *, picture: bool) -> Path:
    target = Path(path)
    if volume_suffix(target) in WRITABLE or (picture and _is_png(target)):
        check_writable(target)
        return target
    choices = (*WRITABLE, PNG) if picture else WRITABLE
    kind = "a picture" if picture else "a volume"
    raise InferenceError(f"{kind} is written as one of {', '.join(choices)}, not {target.suffix!r}")


def _is_png(path: Path) -> bool:
    return path.suffix.lower() == PNG


def _write_volume(path: Path, values: Array, geometry: Geometry | None, *, flat: bool) -> Path:
    """Write through SimpleITK; a picture is a volume of one slice."""
    if flat:
        values = values[None]
        if geometry is not None and len(geometry.spacing) == 2:
            geometry = Geometry((1.0, *geometry.spacing))
    return write_volume(path, values, geometry)


def _png(grey: Array) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(grey).save(stream, format="PNG")
    return stream.getvalue()
