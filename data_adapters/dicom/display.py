"""How DICOM values are to be shown: what a file says about it, and doing so as its own step.

The order is PS3.3's (C.11): stored values, rescale or Modality LUT, VOI window or LUT, polarity.
A case's image stops after the second; `apply_display` goes on from there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from data_adapters.case import Case, Display
from data_adapters.errors import DataError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

Array = NDArray[Any]

QUANTITATIVE = frozenset({"CT", "MR", "PT", "NM", "RTDOSE"})
"""Modalities whose values mean something by themselves and are never turned round."""
_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")


def apply_display(
    image: Array,
    display: Display,
    *,
    window: int | None = 0,
    padding: Array | None = None,
) -> NDArray[np.float32]:
    """Grey values as the file asks to be shown (PS3.3 C.11.2.1.2 and C.11.6).

    Args:
        image: Any shape, in modality units; uint8 and uint16 colour (last axis 3) is only scaled.
        display: The file's windows, table and polarity.
        window: Which of the windows; None for the VOI LUT. A file that has only the other kind, or
            no such window, is shown by what it has; without any, from lowest to highest value.
        padding: Boolean, `image`'s shape without the last axis: pixels to show black.

    Returns:
        `image`'s shape, 0 (black) to 1 (white).

    Raises:
        DataError: The window function is none of `LINEAR`, `LINEAR_EXACT`, `SIGMOID`.
    """
    values = np.asarray(image)
    if values.dtype.kind == "u" and values.shape[-1:] == (3,):
        return np.asarray(values / np.iinfo(values.dtype).max, np.float32)
    shown = _voi(values, display, window, padding)
    if display.inverted:
        shown = 1 - shown
    if padding is not None:
        shown = np.where(padding[..., None], 0, shown)
    return np.asarray(shown, np.float32)


def _voi(values: Array, display: Display, window: int | None, padding: Array | None) -> Array:
    if display.lut is not None and (window is None or not display.windows):
        first, outputs = display.lut
        table = np.asarray(outputs, np.float64) / ((1 << display.lut_bits) - 1)
        places = np.clip(np.floor(values.astype(np.float64) - first), 0, len(table) - 1)
        return np.asarray(np.clip(table[places.astype(np.int64)], 0, 1))
    if display.windows:
        choice = window if window is not None and 0 <= window < len(display.windows) else 0
        return apply_window(values, *display.windows[choice], function=display.function)
    measured = values if padding is None else values[~padding]
    low, high = (float(measured.min()), float(measured.max())) if measured.size else (0.0, 0.0)
    return np.asarray(np.clip((values.astype(np.float64) - low) / ((high - low) or 1.0), 0, 1))


def apply_window(
    values: Array, centre: float, width: float, *, function: str = "LINEAR"
) -> NDArray[np.float64]:
    """One VOI window (PS3.3 C.11.2.1.2 and C.11.2.1.3).

    Args:
        values: In modality units.
        centre: Window Center.
        width: Window Width; at least 1 for `LINEAR`, else above 0.
        function: VOI LUT Function.

    Returns:
        0 to 1.

    Raises:
        DataError: The function is not known, or the width too small for it.
    """
    if function not in _FUNCTIONS:
        raise DataError(f"VOI LUT function is none of {', '.join(_FUNCTIONS)}")
    least = 1.0 if function == "LINEAR" else 0.0
    if width < least or (function != "LINEAR" and width <= 0):
        raise DataError(f"window width {width:g} is too small for {function}")
    x = np.asarray(values, np.float64)
    if function == "SIGMOID":
        return np.asarray(1 / (1 + np.exp(np.clip(-4 * (x - centre) / width, -700, 700))))
    if function == "LINEAR_EXACT":
        return np.asarray(np.clip((x - centre) / width + 0.5, 0, 1))
    if width == 1:
        return np.asarray((x > centre - 0.5).astype(np.float64))
    return np.asarray(np.clip((x - (centre - 0.5)) / (width - 1) + 0.5, 0, 1))


def bright_is_dense(case: Case) -> Array:
    """The image of a case as recipes learn from it: projections with bright meaning dense.

    A projection stored with the other polarity (MONOCHROME1, or Presentation LUT Shape INVERSE) is
    turned round over the range that its stored type spans, so that it looks like one stored with
    bright = dense. Values of quantitative modalities (CT, MR, PT, NM, RTDOSE) mean something by
    themselves and stay.

    Args:
        case: Any case.

    Returns:
        `case.image`, or the turned values in its own units and type.
    """
    display = case.display
    if not display.inverted or case.meta.get("modality") in QUANTITATIVE:
        return case.image
    if display.span is None:
        low, high = float(case.image.min()), float(case.image.max())
    else:
        low, high = display.span
    return np.asarray(low + high - case.image.astype(np.float64)).astype(case.image.dtype)


def read_display(dataset: Dataset, *, span: tuple[float, float] | None = None) -> Display:
    """Windows, table and polarity of a monochrome data set, or of a frame's VOI item in it.

    Args:
        dataset: A data set.
        span: Lowest and highest value that the stored type can hold, in modality units.
    """
    from data_adapters.dicom.values import numbers, read_table, word

    function = (word(dataset, "VOILUTFunction") or "LINEAR").upper()
    function = function if function in _FUNCTIONS else "LINEAR"
    least = 1.0 if function == "LINEAR" else 1e-12
    pairs = zip(numbers(dataset, "WindowCenter"), numbers(dataset, "WindowWidth"), strict=False)
    windows = tuple((centre, width) for centre, width in pairs if width >= least)
    lut, bits = None, 16
    if dataset.get("VOILUTSequence"):
        first, outputs, bits = read_table(dataset, dataset.VOILUTSequence[0])
        lut = (float(first), tuple(float(v) for v in outputs))
    inverted = is_inverted(dataset)
    return Display(windows, function, lut, inverted, span if inverted else None, bits)


def is_inverted(dataset: Dataset) -> bool:
    """Whether low values are to be shown bright: MONOCHROME1, or INVERSE, once for both."""
    from data_adapters.dicom.values import word

    return (
        word(dataset, "PhotometricInterpretation") == "MONOCHROME1"
        or word(dataset, "PresentationLUTShape") == "INVERSE"
    )
