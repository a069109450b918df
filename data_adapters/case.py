"""The case: what every adapter yields, whatever the files looked like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from data_adapters.errors import DataError

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Geometry:
    """Where the voxels lie in the patient.

    Attributes:
        spacing: Distance between voxel centres in mm, in the order of the image axes
            (row, column) or (slice, row, column).
        origin: Centre of the first voxel, (x, y, z) in mm, LPS (to the patient's left,
            posterior, superior).
        direction: One unit vector (x, y, z) in LPS per image axis, in the order of `spacing`;
            empty when unknown. For a volume the first is the stack's normal.
        positions: Centre of the first voxel of each slice, (x, y, z) in mm, LPS, where the slices
            are no regular stack (tilted gantry, gaps, uneven steps); empty where `origin`,
            `spacing` and `direction` say all. Where given, they are the truth, and `spacing[0]`
            is the median step along the normal.

    See `data_adapters.geometry` for the conversions.
    """

    spacing: tuple[float, ...]
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    direction: tuple[tuple[float, float, float], ...] = ()
    positions: tuple[tuple[float, float, float], ...] = ()


@dataclass(frozen=True)
class Display:
    """How the file asks to be shown: recorded, and applied only as an explicit step.

    Attributes:
        windows: (centre, width) pairs in modality units, the file's order.
        function: How a window acts: `LINEAR`, `LINEAR_EXACT` or `SIGMOID`.
        lut: A value-of-interest table as (first mapped value, output values), if there is one.
        inverted: Low values are to be shown bright (MONOCHROME1, or Presentation LUT Shape
            INVERSE): to be turned round once, after the window.
        span: Lowest and highest value that the stored type can hold, in modality units; where
            `inverted`.
        lut_bits: Bits of the table's outputs.

    `data_adapters.dicom.display` applies it.
    """

    windows: tuple[tuple[float, float], ...] = ()
    function: str = "LINEAR"
    lut: tuple[float, tuple[float, ...]] | None = None
    inverted: bool = False
    span: tuple[float, float] | None = None
    lut_bits: int = 16


@dataclass(frozen=True)
class Lesion:
    """One marked finding in voxel units, by its box or by centre and radius.

    Attributes:
        label: Index of the finding's class.
        box: Lowest corner then highest corner (exclusive), in the order of the image axes.
        centre: Centre, in the order of the image axes.
        radius: Radius in voxels along the in-plane axes.
    """

    label: int
    box: tuple[float, ...] | None = None
    centre: tuple[float, ...] | None = None
    radius: float | None = None


@dataclass(frozen=True, eq=False)
class Case:
    """One study, picture or volume with whatever is known about it.

    Attributes:
        image: Channels-last (H, W, C) or (D, H, W, C) in modality units: HU for CT, raw values
            for the rest; the stored type is kept (uint8, uint16 or float32); never windowed.
        case_id: Pseudonymous id, unique within its adapter.
        patient_id: Pseudonym of the patient; None when unknown.
        label: Class index; None when unknown or not a single-label task.
        labels: Float vector (K,), 0 or 1 per label, NaN where unknown.
        mask: Integer classes on the image's grid, without the channel axis; 0 is background and
            value k is `class_names[k]` of the adapter; -1 where the truth is unknown (void).
        masks: Instead of `mask` where classes overlap (uint8, 0 or 1) or are fractional (float32,
            0 to 1; NaN where unknown): one channel per class on the image's grid, channel k - 1
            for class k.
        lesions: Findings in voxel units.
        padding: Boolean, on the image's grid without the channel axis: pixels that the scanner
            did not measure and whose values were replaced; None when there are none.
        geometry: Position in the patient; None for plain pictures.
        display: How the file asks to be shown.
        meta: Further facts where known: study, series (pseudonyms), modality, laterality, view,
            site, scanner, age, sex, burned_in (`YES` or `NO`), and `reading`: slugs of what reading
            the file had to put right, `truth`: (severity, code, message, remedy) of what reading
            its masks and lesions noticed.
    """

    image: np.ndarray
    case_id: str
    patient_id: str | None = None
    label: int | None = None
    labels: np.ndarray | None = None
    mask: np.ndarray | None = None
    masks: np.ndarray | None = None
    lesions: tuple[Lesion, ...] = ()
    padding: np.ndarray | None = None
    geometry: Geometry | None = None
    display: Display = field(default_factory=Display)
    meta: Mapping[str, Any] = field(default_factory=dict)


def check_case(case: Case) -> None:
    """Check a case against its contract; for the authors and tests of adapters.

    Args:
        case: Any case.

    Raises:
        DataError: The image has the wrong axes or type, holds no pixels or values that are not
            finite, or a mask lies on another grid.
    """
    image = case.image
    where = f"case {case.case_id}"
    if image.ndim not in (3, 4):
        raise DataError(f"{where}: image has shape {image.shape}; wanted (H,W,C) or (D,H,W,C)")
    if image.size == 0:
        raise DataError(f"{where}: image of shape {image.shape} holds no pixels")
    if image.dtype.name not in ("uint8", "uint16", "float32"):
        raise DataError(f"{where}: image is {image.dtype}; wanted uint8, uint16 or float32")
    if image.dtype.kind == "f":
        import numpy as np

        if not bool(np.isfinite(image).all()):
            raise DataError(f"{where}: image holds values that are not finite")
    grid = image.shape[:-1]
    for name in ("mask", "padding"):
        part = getattr(case, name)
        if part is not None and part.shape != grid:
            raise DataError(f"{where}: {name} has shape {part.shape} on an image grid of {grid}")
    if case.masks is not None and case.masks.shape[:-1] != grid:
        raise DataError(f"{where}: masks have shape {case.masks.shape} on a grid of {grid}")
    if case.label is not None and case.labels is not None:
        raise DataError(f"{where}: has both a single label and a label vector")
