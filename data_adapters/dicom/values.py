"""From stored values to modality units: rescale or Modality LUT, and padding left out of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

Array = NDArray[Any]

AIR_HU = -1024.0
"""What padding pixels of a CT become."""
NO_TISSUE_HU = -1500.0
"""At or below this a CT value is padding even where the file does not say so."""


@dataclass(frozen=True, slots=True)
class Units:
    """How the stored values of one frame become values in modality units.

    Attributes:
        slope: Rescale Slope (or Dose Grid Scaling).
        intercept: Rescale Intercept.
        table: Modality LUT as (first stored value mapped, outputs) instead of the two.
        padding: Lowest and highest stored value that is padding; two NaN where NaN is.
        ct: Values are HU, and those no tissue can have are padding too.
        bits: Bits Stored; 0 for floating-point pixels.
        signed: Stored values have a sign.
        top: Highest output that the table's bits allow.
    """

    slope: float = 1.0
    intercept: float = 0.0
    table: tuple[int, Array] | None = None
    padding: tuple[float, float] | None = None
    ct: bool = False
    bits: int = 16
    signed: bool = False
    top: float = 0.0

    def span(self) -> tuple[float, float] | None:
        """Lowest and highest value that the stored type can hold; None for floating point."""
        if self.table is not None:
            return 0.0, self.top
        if not self.bits:
            return None
        low = -(1 << (self.bits - 1)) if self.signed else 0
        high = low + (1 << self.bits) - 1
        ends = sorted((low * self.slope + self.intercept, high * self.slope + self.intercept))
        return ends[0], ends[1]


def units_of(dataset: Dataset, *, rescale: Dataset | None = None) -> Units:
    """What a data set says about its values.

    Args:
        dataset: Pixel description and padding; the rescale too, where there is none apart.
        rescale: Item of the frame's Pixel Value Transformation Sequence.

    Raises:
        ValueError: A slope of 0, or an empty table.
    """
    source = dataset if rescale is None else rescale
    modality = word(dataset, "Modality")
    floating = "PixelData" not in dataset and (
        "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset
    )
    bits = 0 if floating else int(dataset.get("BitsStored") or dataset.BitsAllocated)
    shared: dict[str, Any] = {
        "ct": modality == "CT",
        "bits": bits,
        "signed": int(dataset.get("PixelRepresentation") or 0) == 1,
        "padding": _padding_range(dataset) if bits else _float_padding(dataset),
    }
    if dataset.get("ModalityLUTSequence"):
        first, outputs, depth = read_table(dataset, dataset.ModalityLUTSequence[0])
        return Units(table=(first, outputs), top=float((1 << depth) - 1), **shared)
    slope = source.get("RescaleSlope")
    if modality == "RTDOSE":
        slope = dataset.get("DoseGridScaling")
    slope = 1.0 if slope is None or slope == "" else float(slope)
    intercept = source.get("RescaleIntercept")
    intercept = 0.0 if intercept is None or intercept == "" else float(intercept)
    if slope == 0.0 or not np.isfinite([slope, intercept]).all():
        raise ValueError("rescale slope of 0")
    return Units(slope, intercept, **shared)


def fill(stored: Array, units: Units, out: NDArray[np.float32]) -> NDArray[np.bool_] | None:
    """Write values in modality units.

    Args:
        stored: (H, W) stored values of one frame.
        units: How they are to be read.
        out: (H, W) float32, filled with the values rounded once from their exact (double) ones;
            those of padding pixels are of no meaning.

    Returns:
        (H, W) boolean, the padding pixels; None where there are none.
    """
    mask = _padded(stored, units)
    if units.table is not None:
        first, outputs = units.table
        out[...] = outputs[np.clip(stored.astype(np.int64) - first, 0, len(outputs) - 1)]
    elif _exact_in_single(stored, units):
        if units.slope == 1.0:
            np.add(stored, np.float32(units.intercept), out=out, dtype=np.float32)
        else:
            np.multiply(stored, np.float32(units.slope), out=out, dtype=np.float32)
            np.add(out, np.float32(units.intercept), out=out)
    elif stored.dtype.kind == "f" and (units.slope, units.intercept) == (1.0, 0.0):
        out[...] = stored
    else:
        out[...] = stored * np.float64(units.slope) + units.intercept
    if units.ct and (units.table is not None or stored.dtype.kind == "f"):
        low = out <= NO_TISSUE_HU
        mask = low if mask is None else mask | low
    return mask if mask is not None and mask.any() else None


def _exact_in_single(stored: Array, units: Units) -> bool:
    """Whether float32 arithmetic gives every value exactly."""
    if stored.dtype.kind not in "iu" or stored.dtype.itemsize > 2:
        return False
    whole = units.slope.is_integer() and units.intercept.is_integer()
    return whole and 65536 * abs(units.slope) + abs(units.intercept) < 1 << 24


def _padded(stored: Array, units: Units) -> NDArray[np.bool_] | None:
    """Padding by stored value: declared, or in CT what lies below any tissue."""
    if stored.size == 0:
        return None
    if stored.dtype.kind == "f":
        if units.padding is None:
            return None
        first, last = units.padding
        return np.isnan(stored) if math.isnan(first) else (stored >= first) & (stored <= last)
    mask: NDArray[np.bool_] | None = None
    info = np.iinfo(stored.dtype)
    if units.padding is not None:
        first, last = units.padding
        if first <= info.max and last >= info.min:
            mask = stored == first if first == last else (stored >= first) & (stored <= last)
    if units.ct and units.table is None:
        limit = (NO_TISSUE_HU - units.intercept) / units.slope
        if units.slope > 0 and stored.min() <= limit:
            low = stored <= min(math.floor(limit), int(info.max))
            mask = low if mask is None else mask | low
        elif units.slope < 0 and stored.max() >= limit:
            low = stored >= max(math.ceil(limit), int(info.min))
            mask = low if mask is None else mask | low
    return mask


def replace_padding(
    image: NDArray[np.float32], padding: NDArray[np.bool_], *, ct: bool, inverted: bool
) -> None:
    """Put air (CT) or the measured value that is shown darkest in place of padding.

    Args:
        image: (..., H, W), changed in place.
        padding: The same shape.
        ct: Fill with -1024 HU.
        inverted: Dark is high, so the highest value measured, else the lowest.
    """
    if ct:
        image[padding] = AIR_HU
        return
    pick = np.max if inverted else np.min
    measured = ~padding
    start = -np.inf if inverted else np.inf
    value = float(pick(image, where=measured, initial=start)) if measured.any() else 0.0
    image[padding] = value


def _padding_range(dataset: Dataset) -> tuple[int, int] | None:
    """Stored values declared as padding (PS3.3 C.7.5.1.1.2)."""
    first = dataset.get("PixelPaddingValue")
    if first is None or first == "":
        return None
    last = dataset.get("PixelPaddingRangeLimit")
    last = first if last is None or last == "" else last
    ends = [as_stored(dataset, value) for value in (first, last)]
    return min(ends), max(ends)


def _float_padding(dataset: Dataset) -> tuple[float, float] | None:
    """Floating-point values declared as padding (PS3.3 C.7.6.24, C.7.6.25)."""
    for kind in ("Float", "DoubleFloat"):
        first = numbers(dataset, f"{kind}PixelPaddingValue")
        if first:
            last = numbers(dataset, f"{kind}PixelPaddingRangeLimit") or first
            return min(first[0], last[0]), max(first[0], last[0])
    return None


def as_stored(dataset: Dataset, value: int | bytes) -> int:
    """A stored value that may have been written with the other signedness.

    Args:
        dataset: Says how wide the values are and whether they have a sign.
        value: As the element gives it.
    """
    if isinstance(value, bytes):
        value = int.from_bytes(value[:2], "little")
    signed = int(dataset.get("PixelRepresentation") or 0) == 1
    bits = int((dataset.get("BitsStored") if signed else None) or dataset.BitsAllocated)
    return with_sign(int(value), bits, signed=signed)


def with_sign(value: int, bits: int, *, signed: bool) -> int:
    """A number of `bits` bits read with or without a sign."""
    number = value % (1 << bits)
    return number - (1 << bits) if signed and number >= 1 << (bits - 1) else number


def read_table(dataset: Dataset, item: Dataset) -> tuple[int, Array, int]:
    """A lookup table (PS3.3 C.11.1.1): first value mapped, outputs (float64), bits of an output.

    Raises:
        ValueError: The table is empty.
    """
    count, first, bits = (int(v) for v in item.LUTDescriptor)
    count = count or 1 << 16
    data = item.LUTData
    if isinstance(data, bytes):
        order = ">u2" if dataset.original_encoding[1] is False else "<u2"
        data = np.frombuffer(data, np.uint8 if len(data) <= count + 1 and bits <= 8 else order)
    outputs = np.asarray(data, dtype=np.float64).ravel()[:count]
    if outputs.size == 0 or not 0 < bits <= 16:
        raise ValueError("empty lookup table")
    if int(dataset.get("PixelRepresentation") or 0):
        first = with_sign(first, 16, signed=True)
    return first, outputs, bits


def numbers(dataset: Dataset, keyword: str) -> list[float]:
    """Values of a numeric element; empty where absent or blank."""
    value = dataset.get(keyword)
    if value is None or value == "":
        return []
    values = value if hasattr(value, "__len__") and not isinstance(value, str) else [value]
    return [float(v) for v in values if v is not None and v != ""]


def word(dataset: Dataset, keyword: str) -> str:
    """A text element without spaces around it; empty where absent."""
    value = dataset.get(keyword)
    return "" if value is None else str(value).strip()
