"""Reading a stack of DICOM files into one array in modality units."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset

from data_adapters.case import Display
from data_adapters.dicom.colour import from_palette
from data_adapters.dicom.decoding import Put, decode_apart, decode_frames, in_threads
from data_adapters.dicom.display import QUANTITATIVE, is_inverted, read_display
from data_adapters.dicom.facts import meta_of, plane_geometry, reading_notes
from data_adapters.dicom.model import Stack
from data_adapters.dicom.multiframe import read_multiframe
from data_adapters.dicom.pixels import (
    DAMAGE,
    MAX_PIXELS,
    MAX_VALUES,
    check_pixels,
    damaged,
    is_compressed,
    mask_bits,
    open_dataset,
    refuse_kind,
)
from data_adapters.dicom.slice_bytes import Plane, UnusualError, read_plane
from data_adapters.dicom.stack_image import StackImage
from data_adapters.dicom.suv import suv_facts
from data_adapters.dicom.values import Units, fill, replace_padding, units_of, word
from data_adapters.errors import CaseError
from data_adapters.isolation import workers

Array = NDArray[Any]


def read_stack(
    stack: Stack, *, case_id: str, volume: int = 0, max_pixels: int = MAX_PIXELS
) -> StackImage:
    """Read the files of a stack, in its order.

    Args:
        stack: Files that make one image.
        case_id: Pseudonymous id that errors carry.
        volume: Which of the volumes of a multi-frame object.
        max_pixels: Most pixels of a frame that a header may declare.

    Returns:
        The image with its facts.

    Raises:
        CaseError: As `read_dicom_image`, `mixed-sizes` where slices do not fit each other, and
            `duplicate-position` where several images lie at one place.
    """
    for finding in stack.findings:
        if finding.code == "duplicate-position":  # no order of these slices would be right
            raise CaseError(case_id, finding.code, f"{finding.message}; {finding.remedy}")
    paths = [one.path for one in stack.instances]
    try:
        if stack.kind == "multiframe":
            result = read_multiframe(paths[0], case_id=case_id, volume=volume)
        else:
            result = _read_files(stack, paths, case_id, max_pixels)
    except CaseError:
        raise
    except DAMAGE as error:
        raise damaged(error, case_id) from None
    if result.image.dtype.kind == "f" and not _all_finite(result.image):
        raise CaseError(case_id, "not-finite", "the image holds values that are not finite")
    return result


def _all_finite(image: Array) -> bool:
    """Without a boolean array of the image's size: a sum is finite only if every value is."""
    with np.errstate(over="ignore", invalid="ignore"):
        total = float(image.sum(dtype=np.float32))
    return bool(np.isfinite(total)) or bool(np.isfinite(image).all())


def _read_files(stack: Stack, paths: list[str], case_id: str, max_pixels: int) -> StackImage:
    """One file per slice."""
    sample = open_dataset(paths[len(paths) // 2], case_id=case_id, pixels=False)
    refuse_kind(word(sample, "Modality"), case_id=case_id)
    _check_size(sample, len(paths), case_id, max_pixels)
    notes = reading_notes(sample)
    geometry = stack.geometry or plane_geometry(sample)
    samples = int(sample.get("SamplesPerPixel") or 1)
    if samples == 1 and "PALETTE" not in word(sample, "PhotometricInterpretation"):
        image, padding, units = _read_grey(sample, paths, case_id)
        display = read_display(sample, span=units.span())
    else:
        image, padding, display = _read_colour(sample, paths, case_id), None, Display()
    if stack.kind == "picture":
        image, padding = image[0], None if padding is None else padding[0]
    meta = {k: v for k, v in meta_of(sample).items() if k != "burned_in"} | _burned_in(stack)
    if meta.get("modality") == "PT":
        meta |= suv_facts(sample, [one.acquired for one in stack.instances])
    return StackImage(image, padding, display, geometry, meta, tuple(notes))


def _burned_in(stack: Stack) -> dict[str, str]:
    """`YES` where one file says so, `NO` where all do, nothing otherwise."""
    said = {one.burned_in.strip().upper() for one in stack.instances}
    if "YES" in said:
        return {"burned_in": "YES"}
    return {"burned_in": "NO"} if said == {"NO"} else {}


def _check_size(sample: FileDataset, slices: int, case_id: str, max_pixels: int) -> None:
    if "Rows" not in sample or "Columns" not in sample:
        check_pixels(sample, case_id=case_id)
        raise CaseError(case_id, "no-pixels", "the DICOM object holds no pixels")
    pixels = int(sample.Rows) * int(sample.Columns)
    if pixels < 1:
        raise CaseError(case_id, "corrupt", "the header declares no pixels")
    if pixels > max_pixels or pixels * slices > MAX_VALUES:
        size = f"{slices} slices of {int(sample.Columns)} x {int(sample.Rows)} pixels"
        message = f"the headers declare {size}; the limit is {max_pixels} a slice"
        raise CaseError(case_id, "bomb", message)


def _read_grey(
    sample: FileDataset, paths: list[str], case_id: str
) -> tuple[Array, NDArray[np.bool_] | None, Units]:
    """(D, H, W, 1) float32 in modality units, padding, and one slice's units."""
    modality = word(sample, "Modality")
    shape = (int(sample.Rows), int(sample.Columns))
    image = np.empty((len(paths), *shape), np.float32)
    masks: list[NDArray[np.bool_] | None] = [None] * len(paths)
    planes: list[Plane | None] = [None] * len(paths)
    done = np.zeros(len(paths), bool)

    def read(places: Sequence[int]) -> None:
        buffer = bytearray()
        for i in places:
            planes[i], stored, buffer = _read_plain(paths[i], modality == "CT", buffer, case_id)
            plane = planes[i]
            if plane is not None and stored is not None:
                _same_size(plane.shape, shape, case_id)
                masks[i] = fill(stored, plane.units, image[i])
                done[i] = True

    threads = min(workers(), 8)
    shares = [range(k, len(paths), threads) for k in range(threads)]
    in_threads([partial(read, share) for share in shares], threads)
    left = [i for i in range(len(paths)) if not done[i]]
    if left:
        _decode_grey(left, paths, planes, image, masks, case_id)
    ct = modality == "CT"
    padding = _joined(masks, image.shape)
    middle = planes[len(paths) // 2]
    units = middle.units if middle is not None else units_of(sample)
    if padding is not None:
        turned = is_inverted(sample) and modality not in QUANTITATIVE
        replace_padding(image, padding, ct=ct, inverted=turned)
    return image[..., None], padding, units


def _joined(
    masks: list[NDArray[np.bool_] | None], shape: tuple[int, ...]
) -> NDArray[np.bool_] | None:
    if all(mask is None for mask in masks):
        return None
    padding = np.zeros(shape, bool)
    for i, mask in enumerate(masks):
        if mask is not None:
            padding[i] = mask
    return padding


def _same_size(found: tuple[int, ...], wanted: tuple[int, ...], case_id: str) -> None:
    if found != wanted:
        message = "the slices differ in size, so they make no single volume"
        raise CaseError(case_id, "mixed-sizes", message)


def _read_plain(
    path: str, ct: bool, buffer: bytearray, case_id: str
) -> tuple[Plane | None, Array | None, bytearray]:
    """Read one file: its description, and its stored values if they are uncompressed.

    The values lie in `buffer`, which is used again (or replaced by a larger one) for the next file.
    """
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        raise CaseError(case_id, "missing", "a slice's file does not exist") from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise CaseError(case_id, "unreadable", f"a slice cannot be read: {reason}") from None
    try:
        size = os.fstat(handle).st_size
        if len(buffer) < size:
            buffer = bytearray(size)
        view = memoryview(buffer)[:size]
        found = os.readv(handle, [view]) if hasattr(os, "readv") else _read_into(handle, view)
        plane = read_plane(view[:found], ct=ct)
    except UnusualError:
        return None, None, buffer
    finally:
        os.close(handle)
    count = plane.shape[0] * plane.shape[1]
    if not plane.plain or plane.start + count * plane.bits // 8 > found:
        return plane if not plane.plain else None, None, buffer
    kind = f"<{'i' if plane.units.signed else 'u'}{plane.bits // 8}"
    stored = np.frombuffer(buffer, kind, count, plane.start).reshape(plane.shape)
    return plane, mask_bits(stored, plane.stored, plane.high, signed=plane.units.signed), buffer


def _read_into(handle: int, view: memoryview) -> int:
    data = os.read(handle, len(view))
    view[: len(data)] = data
    return len(data)


def _decode_grey(
    left: list[int],
    paths: list[str],
    planes: list[Plane | None],
    image: Array,
    masks: list[NDArray[np.bool_] | None],
    case_id: str,
) -> None:
    """Slices that need a decoder, or anything else that only pydicom knows."""
    shape = image.shape[1:]
    units = {i: plane.units for i in left if (plane := planes[i]) is not None}
    for i in left:
        if i not in units:
            dataset = open_dataset(paths[i], case_id=case_id)
            check_pixels(dataset, case_id=case_id)
            units[i] = units_of(dataset)

    def put(places: Sequence[int], stored: Array) -> None:
        _same_size(stored.shape[1:], shape, case_id)
        for place, one in zip(places, stored, strict=True):
            i = left[place]
            masks[i] = fill(one, units[i], image[i])

    _decode([paths[i] for i in left], shape, case_id, put)


def _decode(paths: list[str], shape: tuple[int, ...], case_id: str, put: Put) -> None:
    """Decode files in workers where they are compressed, else here."""
    sample = open_dataset(paths[0], case_id=case_id, pixels=False)
    if is_compressed(sample.file_meta.TransferSyntaxUID):
        decode_apart(paths, None, put, shape=shape, case_id=case_id)
        return
    for place, path in enumerate(paths):
        put([place], decode_frames([path], case_id=case_id))


def _read_colour(sample: FileDataset, paths: list[str], case_id: str) -> Array:
    """(D, H, W, 3) uint8 or uint16."""
    parts: dict[int, Array] = {}
    shape = (int(sample.Rows), int(sample.Columns))
    palette = "PALETTE" in word(sample, "PhotometricInterpretation")

    def put(places: Sequence[int], stored: Array) -> None:
        _same_size(stored.shape[1:3], shape, case_id)
        for i, one in zip(places, stored, strict=True):
            if palette:
                one = from_palette(one, open_dataset(paths[i], case_id=case_id, pixels=False))
            parts[i] = one

    _decode(paths, (*shape, 3), case_id, put)
    _same_kind(parts, case_id)
    return np.stack([parts[i] for i in range(len(paths))])


def _same_kind(parts: dict[int, Array], case_id: str) -> None:
    if len({(part.shape, part.dtype) for part in parts.values()}) > 1:
        raise CaseError(case_id, "mixed-sizes", "the slices differ in size or pixel type")
