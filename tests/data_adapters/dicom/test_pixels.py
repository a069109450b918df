"""Stored values, whatever the encoding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from data_adapters.dicom.decoding import decode_apart, decode_frames
from data_adapters.dicom.pixels import (
    CODECS,
    check_pixels,
    mask_bits,
    open_dataset,
    stored_frames,
)
from data_adapters.errors import CaseError
from tests.data_adapters.dicom.samples import image, put, save

KINDS: dict[str, Any] = {
    "uint8": (np.uint8, 0, 256, 8),
    "int8": (np.int8, -128, 128, 8),
    "uint12": (np.uint16, 0, 4096, 12),
    "int12": (np.int16, -2048, 2048, 12),
    "uint16": (np.uint16, 0, 65536, 16),
    "int16": (np.int16, -32768, 32768, 16),
    "uint32": (np.uint32, 0, 1 << 32, 32),
    "int32": (np.int32, -(1 << 31), 1 << 31, 32),
}


def _pixels(kind: str, shape: tuple[int, ...] = (9, 7), seed: int = 0) -> Any:
    dtype, low, high, _ = KINDS[kind]
    return np.random.default_rng(seed).integers(low, high, shape, dtype=dtype)


def _image(kind: str, pixels: Any) -> pydicom.FileDataset:
    data = image(pixels)
    data.BitsStored, data.HighBit = KINDS[kind][3], KINDS[kind][3] - 1
    return data


def _compress(data: pydicom.FileDataset, syntax: UID) -> None:
    """GDCM's encoders are left out: they abort the process on several frames."""
    plugin = "pyjpegls" if syntax == JPEGLSLossless else "pylibjpeg"
    data.compress(syntax, encoding_plugin=plugin, generate_instance_uid=False)


def _stored(path: Path) -> Any:
    data = open_dataset(path, case_id="c1")
    check_pixels(data, case_id="c1")
    return stored_frames(data, case_id="c1")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("frames", [1, 3])
def test_uncompressed_values_come_back(tmp_path: Path, kind: str, frames: int) -> None:
    pixels = _pixels(kind, (9, 7) if frames == 1 else (frames, 9, 7))
    for syntax in (None, ImplicitVRLittleEndian, ExplicitVRBigEndian):
        order = ">" if syntax == ExplicitVRBigEndian else "<"
        data = _image(kind, pixels.astype(pixels.dtype.newbyteorder(order)))
        if syntax is not None:
            data.file_meta.TransferSyntaxUID = syntax
        found = _stored(save(data, tmp_path / "a.dcm"))
        assert found.dtype == pixels.dtype
        np.testing.assert_array_equal(found, pixels.reshape(frames, 9, 7))


@pytest.mark.parametrize("kind", ["uint8", "uint12", "int12", "uint16", "int16"])
@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_lossless_values_come_back(tmp_path: Path, kind: str, syntax: UID) -> None:
    pixels = _pixels(kind, (3, 48, 40))
    data = _image(kind, pixels)
    _compress(data, syntax)
    np.testing.assert_array_equal(_stored(save(data, tmp_path / "a.dcm")), pixels)


def test_deflated_and_bare_files(tmp_path: Path) -> None:
    pixels = _pixels("int16")
    data = _image("int16", pixels)
    data.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    path = save(data, tmp_path / "a.dcm")
    np.testing.assert_array_equal(_stored(path)[0], pixels)
    data.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    whole = save(data, path).read_bytes()
    bare = whole[whole.index(b"\x08\x00\x16\x00") :]
    path.write_bytes(bare)
    np.testing.assert_array_equal(_stored(path)[0], pixels)


def test_single_bits_and_floats(tmp_path: Path) -> None:
    bits = np.random.default_rng(0).integers(0, 2, (2, 4, 12), dtype=np.uint8)
    data = image(bits)
    data.BitsAllocated = data.BitsStored = 1
    data.HighBit = 0
    data.PixelData = np.packbits(bits.ravel(), bitorder="little").tobytes()
    np.testing.assert_array_equal(_stored(save(data, tmp_path / "a.dcm")), bits)
    for keyword, kind in (("FloatPixelData", "<f4"), ("DoubleFloatPixelData", "<f8")):
        values = np.random.default_rng(1).normal(size=(5, 6)).astype(kind)
        data = image(values)
        del data.PixelData
        setattr(data, keyword, values.tobytes())
        np.testing.assert_array_equal(_stored(save(data, tmp_path / "b.dcm"))[0], values)


@pytest.mark.parametrize("signed", [False, True])
def test_overlay_bits_are_cleared_and_signs_extended(signed: bool) -> None:
    rng = np.random.default_rng(5)
    for stored, high in ((12, 11), (12, 13), (5, 7), (15, 14)):
        low = -(1 << (stored - 1)) if signed else 0
        values = rng.integers(low, low + (1 << stored), 500)
        field = (values & ((1 << stored) - 1)) << (high + 1 - stored)
        outside = ~(((1 << stored) - 1) << (high + 1 - stored)) & 0xFFFF
        noisy = field | (rng.integers(0, 1 << 16, 500) & outside)
        found = mask_bits(noisy.astype(np.uint16), stored, high, signed=signed)
        np.testing.assert_array_equal(found, values)


def test_codecs_come_with_the_package() -> None:
    for uid, codec in CODECS.items():
        here = get_decoder(UID(uid)).available_plugins
        if uid.endswith(".4.51"):
            continue
        assert codec.plugins[0] in here, uid


def test_many_files_in_one_call(tmp_path: Path) -> None:
    pixels = [_pixels("int16", (16, 12), seed) for seed in range(5)]
    paths = []
    for i, one in enumerate(pixels):
        data = _image("int16", one)
        _compress(data, RLELossless)
        paths.append(str(save(data, tmp_path / f"{i}.dcm")))
    np.testing.assert_array_equal(decode_frames(paths, case_id="c1"), pixels)
    apart = np.zeros((5, 16, 12), np.int16)

    def put_there(places: Any, stored: Any) -> None:
        apart[list(places)] = stored

    decode_apart(paths, None, put_there, shape=(16, 12), case_id="c1")
    np.testing.assert_array_equal(apart, pixels)
    other = _image("int16", _pixels("int16", (12, 16)))
    paths.append(str(save(other, tmp_path / "other.dcm")))
    with pytest.raises(CaseError) as caught:
        decode_frames(paths, case_id="c1")
    assert caught.value.kind == "mixed-sizes"


def test_chosen_frames_of_one_file(tmp_path: Path) -> None:
    pixels = _pixels("uint16", (7, 8, 8))
    for syntax in (None, RLELossless):
        data = _image("uint16", pixels)
        if syntax is not None:
            _compress(data, syntax)
        path = str(save(data, tmp_path / "a.dcm"))
        found = decode_frames([path], [5, 0, 2], case_id="c1")
        np.testing.assert_array_equal(found, pixels[[5, 0, 2]])


def test_what_cannot_be_read_says_so(tmp_path: Path) -> None:
    colour = image(np.zeros((4, 4, 3), np.uint8), PhotometricInterpretation="HSV")
    odd = image(_pixels("int16"), PhotometricInterpretation="MONOCHROME3")
    report = image(_pixels("int16"), SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11")
    del report.PixelData, report.Rows, report.Columns
    many = image(_pixels("int16"), NumberOfFrames=1 << 30)
    short = image(_pixels("int16"), NumberOfFrames=2)
    slide = image(_pixels("int16"), Modality="SM")
    negative = image(_pixels("int16"), NumberOfFrames=-1)
    wanted = [
        (odd, "photometric"),
        (colour, "photometric"),
        (report, "no-pixels"),
        (many, "bomb"),
        (short, "truncated"),
    ]
    for data, kind in [*wanted, (slide, "whole-slide"), (negative, "corrupt")]:
        put(data, "PatientID", "LO", "Mustermann")
        path = save(data, tmp_path / "Mustermann.dcm")
        with pytest.raises(CaseError) as caught:
            _stored(path)
        assert caught.value.kind == kind
        assert "Mustermann" not in str(caught.value)
