"""Reading a mask from a file of its own, and checking that it lies on its image's grid."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data_adapters.case import Case, Geometry
from data_adapters.errors import CaseError
from data_adapters.geometry import grid_distance
from data_adapters.layouts.voc_masks import read_values
from data_adapters.pictures import read_picture_with_notes
from data_adapters.volumes.names import is_volume_name
from data_adapters.volumes.read import read_volume

# Headers of one grid differ by rounding; a tenth of a voxel is no rounding.
MOST_APART = 0.1


def read_mask(path: Path, case_id: str) -> tuple[np.ndarray, Geometry | None]:
    """Read the whole numbers of a mask.

    Args:
        path: A volume, a palette or grey picture, or a TIFF of one or several pages.
        case_id: Id that errors carry.

    Returns:
        (H, W) or (D, H, W), and where it lies; None for pictures.

    Raises:
        CaseError: It cannot be read, or holds no whole numbers in one channel.
    """
    if is_volume_name(path):
        volume = read_volume(path, case_id=case_id, as_mask=True)
        return volume.image, volume.geometry
    if path.suffix.lower() not in (".tif", ".tiff"):
        return read_values(path, case_id), None
    picture = read_picture_with_notes(path, case_id=case_id)
    if picture.image.shape[-1] != 1 or picture.image.dtype.kind != "u":
        raise CaseError(case_id, "mask-values", "the mask holds no whole numbers in one channel")
    return picture.image[..., 0], picture.geometry


def check_grid(case: Case, shape: Sequence[int], geometry: Geometry | None) -> None:
    """Refuse a file that does not lie on the grid of a case's image.

    Args:
        case: The case with its image.
        shape: Grid of the file, without channels.
        geometry: Where the file lies; None where it does not say.

    Raises:
        CaseError: `grid`: the sizes differ, or a voxel lies more than a tenth of one off.
    """
    grid = case.image.shape[:-1]
    if tuple(shape) != grid:
        text = f"its files have grids of {grid} and {tuple(shape)} voxels: resample them first"
        raise CaseError(case.case_id, "grid", text)
    if case.geometry is None or geometry is None:
        return
    apart = grid_distance(case.geometry, geometry, grid)
    if not apart <= MOST_APART * min(case.geometry.spacing):
        text = f"its files lie up to {apart:.3g} mm apart: resample them to one grid first"
        raise CaseError(case.case_id, "grid", text)
