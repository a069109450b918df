"""Writing masks and probabilities back, for other tools."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_adapters.case import Geometry
from data_adapters.errors import DataError
from data_adapters.volumes.header import is_sheared
from data_adapters.volumes.names import volume_suffix

WRITABLE = (".nii", ".nii.gz", ".nrrd", ".mha")
_INTEGERS = (np.uint8, np.uint16, np.int16, np.int32)


def write_volume(path: str | Path, array: NDArray[Any], geometry: Geometry | None) -> Path:
    """Write a volume through SimpleITK; the file appears whole or not at all.

    Args:
        path: `.nii`, `.nii.gz`, `.nrrd` or `.mha`; a file that is there is replaced.
        array: (D, H, W), or (D, H, W, C) whose channels become the voxels' components. Booleans
            are written as uint8, 64-bit integers in the smallest type that holds them, float64 as
            it is.
        geometry: Where the voxels lie; None or one without directions writes the axes of the
            patient.

    Returns:
        The path.

    Raises:
        DataError: Another suffix, shape or type, values that are not finite, or a stack that is
            irregular or sheared (ITK would straighten it silently).
    """
    target = Path(path)
    if volume_suffix(target) not in WRITABLE:
        raise DataError(f"a volume is written as one of {', '.join(WRITABLE)}")
    if geometry is not None and is_sheared(geometry, tolerance=1e-4):
        raise DataError("axes that are not at right angles are not written; resample first")
    image = _image(np.asarray(array), geometry)
    import SimpleITK

    if not target.parent.is_dir():
        raise DataError("the folder to write the volume into does not exist")
    handle, name = tempfile.mkstemp(prefix=".", suffix=volume_suffix(target), dir=target.parent)
    os.close(handle)
    try:
        SimpleITK.WriteImage(image, name, True)
        Path(name).chmod(0o644)
        Path(name).replace(target)
    except RuntimeError:
        raise DataError("the volume cannot be written: is the disk full?") from None
    finally:
        Path(name).unlink(missing_ok=True)
    return target


def _image(array: NDArray[Any], geometry: Geometry | None) -> Any:
    import SimpleITK

    from data_adapters.geometry import to_sitk

    if array.ndim not in (3, 4) or 0 in array.shape:
        raise DataError(f"a volume of shape {array.shape} is neither (D, H, W) nor (D, H, W, C)")
    values = _writable(array)
    if values.ndim == 3:
        return to_sitk(values, geometry)
    channels = [to_sitk(values[..., c], geometry) for c in range(values.shape[-1])]
    return SimpleITK.Compose(channels)


def _writable(array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype == bool:
        return array.astype(np.uint8)
    if array.dtype.kind in "ui":
        if array.dtype.name in ("uint8", "uint16", "int16", "int32"):
            return array
        for dtype in _INTEGERS:
            if np.iinfo(dtype).min <= array.min() and array.max() <= np.iinfo(dtype).max:
                return array.astype(dtype)
        raise DataError("whole numbers beyond 32 bits are not written")
    if array.dtype.kind != "f":
        raise DataError(f"values of type {array.dtype} are not written")
    if not np.isfinite(array).all():
        raise DataError("values that are not finite are not written")
    return array if array.dtype.itemsize == 8 else array.astype(np.float32)
