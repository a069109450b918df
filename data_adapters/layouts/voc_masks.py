"""The class masks of Pascal VOC: palette pictures whose index is the class."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from data_adapters.errors import CaseError, DataError, FormatError
from data_adapters.layouts.common import IGNORE

VOID = 255
_FORMATS = ("PNG", "BMP", "GIF", "PPM")  # without loss, and no fragile decoders
_VOC = (
    "aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike "
    "person pottedplant sheep sofa train tvmonitor"
)
VOC_CLASSES = tuple(_VOC.split())


def mask_classes(
    root: Path, classes: str | Sequence[str] | None, box_names: Callable[[], set[str]]
) -> tuple[str, ...]:
    """Names of the mask values from 1 on.

    Args:
        root: Folder of the data set.
        classes: What the user said.
        box_names: Names of all boxes, asked for only where nothing else says.

    Raises:
        DataError: Nothing says what the values mean.
    """
    if classes is not None:
        given = classes.split(",") if isinstance(classes, str) else list(classes)
        names = tuple(name.strip() for name in given)
        if not all(names) or len(set(names)) < len(names):
            raise DataError(f"classes={classes!r}: wanted different names")
        return names
    listed = _label_map(root / "labelmap.txt")
    if listed:
        return listed
    names_of_boxes = box_names()
    if names_of_boxes and names_of_boxes <= set(VOC_CLASSES):
        return VOC_CLASSES
    raise DataError(
        "nothing says what the values of the masks mean: name the classes from 1 on with "
        "classes='first,second', or put a labelmap.txt beside the pictures"
    )


def _label_map(path: Path) -> tuple[str, ...]:
    """Names of CVAT's `label:color_rgb:parts:actions` lines, the background's left out."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return ()
    except (OSError, ValueError):
        raise FormatError(f"{path.name} cannot be read") from None
    names = [line.split(":")[0].strip() for line in lines if line.strip() and line[0] != "#"]
    if names[:1] != ["background"] or len(set(names)) < len(names):
        raise FormatError(f"{path.name}: wanted different names, `background` first")
    return tuple(names[1:])


def read_class_mask(path: Path, case_id: str, shape: tuple[int, int], classes: int) -> np.ndarray:
    """Read a mask of VOC's.

    Args:
        path: A palette or grey picture.
        case_id: Id that errors carry.
        shape: (H, W) of the picture it belongs to.
        classes: Number of classes with the background.

    Returns:
        (H, W) int16; -1 where the file says 255.

    Raises:
        CaseError: As `read_values`, and `size` where it is of another size than the picture, and
            `mask-values` where it holds a value that is no class.
    """
    values = read_values(path, case_id)
    if values.shape != shape:
        (height, width), (h, w) = values.shape, shape
        text = f"the mask has {height} x {width} pixels, the picture {h} x {w}"
        raise CaseError(case_id, "size", text)
    odd = values[(values >= classes) & (values != VOID)]
    if odd.size:
        text = f"the mask holds {int(odd[0])}, the classes end at {classes - 1}: name them all"
        raise CaseError(case_id, "mask-values", text)
    mask = values.astype(np.int16)
    mask[values == VOID] = IGNORE
    return mask


def read_values(path: Path, case_id: str) -> np.ndarray:
    """Stored values of a palette or grey picture, without looking at the palette's colours.

    Args:
        path: The picture.
        case_id: Id that errors carry.

    Returns:
        (H, W) int32.

    Raises:
        CaseError: `corrupt`, or `mask-colour`.
    """
    try:
        with Image.open(path, formats=_FORMATS) as image:
            grey = image.mode in ("P", "L", "1", "I", "I;16", "I;16B")
            values = np.asarray(image).astype(np.int32) if grey else None
    except (
        OSError,
        UnidentifiedImageError,
        Image.DecompressionBombError,
        SyntaxError,
        ValueError,
        EOFError,
        LookupError,
        TypeError,
        struct.error,
        zlib.error,
    ):
        raise CaseError(case_id, "corrupt", "the mask is damaged or no picture") from None
    if values is None:
        text = "the mask is in colour: save it with a palette whose index is the class"
        raise CaseError(case_id, "mask-colour", text)
    return values
