"""Pictures of every kind, good and bad."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from data_adapters import pictures
from data_adapters.errors import CaseError
from data_adapters.pictures import read_picture, read_picture_with_notes

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (9, 7), dtype=np.uint8)
RGB = RNG.integers(0, 256, (9, 7, 3), dtype=np.uint8)
DEEP = RNG.integers(0, 65536, (9, 7, 3), dtype=np.uint16)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def read(tmp_path: Path, data: bytes, name: str = "a.png") -> pictures.Picture:
    path = tmp_path / name
    path.write_bytes(data)
    return read_picture_with_notes(path, case_id="c1")


def refused(tmp_path: Path, data: bytes, name: str = "a.png") -> CaseError:
    with pytest.raises(CaseError) as caught:
        read(tmp_path, data, name)
    assert caught.value.case_id == "c1"
    assert str(tmp_path) not in str(caught.value)
    return caught.value


def raw_png(samples: np.ndarray, colour_type: int) -> bytes:
    """A 16-bit PNG written by hand."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + check

    height, width = samples.shape[:2]
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in samples)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "GIF", "PPM"])
def test_grey_pictures_come_back_exactly(tmp_path: Path, kind: str) -> None:
    picture = read(tmp_path, encoded(Image.fromarray(GREY), kind), "a." + kind.lower())
    np.testing.assert_array_equal(picture.image, GREY[..., None])
    assert picture.image.dtype == np.uint8
    assert picture.image.flags["C_CONTIGUOUS"]


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_colour_pictures_come_back_exactly(tmp_path: Path, kind: str) -> None:
    picture = read(tmp_path, encoded(Image.fromarray(RGB), kind), "a." + kind.lower())
    np.testing.assert_array_equal(picture.image, RGB)
    assert picture.notes == ()


def test_lossy_pictures_come_back_nearly(tmp_path: Path) -> None:
    smooth = np.linspace(0, 255, 64 * 64).reshape(64, 64).astype(np.uint8)
    for kind, name in (("JPEG", "a.jpg"), ("WEBP", "a.webp")):
        image = read(tmp_path, encoded(Image.fromarray(smooth), kind, quality=95), name).image
        assert np.abs(image[..., 0].astype(int) - smooth).mean() < 3


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bit_grey_stays_sixteen_bit(tmp_path: Path, kind: str) -> None:
    image = read(tmp_path, encoded(Image.fromarray(DEEP[..., 0]), kind), "a." + kind.lower()).image
    assert image.dtype == np.uint16
    np.testing.assert_array_equal(image, DEEP[..., :1])


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".ppm"])
def test_sixteen_bit_colour_stays_sixteen_bit(tmp_path: Path, suffix: str) -> None:
    data = cv2.imencode(suffix, DEEP[..., ::-1])[1].tobytes()
    image = read(tmp_path, data, "a" + suffix).image
    assert image.dtype == np.uint16
    np.testing.assert_array_equal(image, DEEP)


def test_sixteen_bit_alpha_is_composited_over_black(tmp_path: Path) -> None:
    alpha = np.full((9, 7, 1), 32768, np.uint16)
    expected = np.rint(DEEP.astype(float) * 32768 / 65535)
    colour = read(tmp_path, raw_png(np.concatenate([DEEP, alpha], -1), 6))
    assert np.abs(colour.image - expected).max() <= 1
    grey = read(tmp_path, raw_png(np.concatenate([DEEP[..., :1], alpha], -1), 4))
    assert grey.image.shape == (9, 7, 1)
    assert np.abs(grey.image - expected[..., :1]).max() <= 1
    assert colour.notes == grey.notes == ("alpha",)


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (np.array([[0.5, -1.5], [1e6, 3]], np.float32), np.float32),
        (np.array([[-1024, 0], [3071, 7]], np.int16), np.float32),
        (np.array([[0, 65535], [3, 4]], np.uint32), np.uint16),
        (np.array([[0, 70000], [3, 4]], np.int32), np.float32),
    ],
)
def test_wide_tiff_values_are_kept(tmp_path: Path, values: np.ndarray, dtype: type) -> None:
    tifffile.imwrite(tmp_path / "w.tif", values)
    image = read_picture(tmp_path / "w.tif", case_id="c1")
    assert image.dtype == dtype
    np.testing.assert_array_equal(image[..., 0], values)


def test_signed_bytes_are_refused_rather_than_misread(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "s.tif", np.array([[-1, 2], [3, 4]], np.int8))
    with pytest.raises(CaseError) as caught:
        read_picture(tmp_path / "s.tif", case_id="c1")
    assert caught.value.kind == "pixel-type"


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "n.tif", np.array([[np.nan, 1], [2, 3]], np.float32))
    with pytest.raises(CaseError) as caught:
        read_picture(tmp_path / "n.tif", case_id="c1")
    assert caught.value.kind == "not-finite"


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    red = Image.new("RGB", (16, 16), (200, 10, 20)).convert("CMYK")
    for kind, name in (("JPEG", "a.jpg"), ("TIFF", "a.tif")):
        picture = read(tmp_path, encoded(red, kind), name)
        assert picture.notes == ("cmyk",)
        assert picture.image.shape == (16, 16, 3)
        assert np.abs(picture.image.astype(int).mean((0, 1)) - (200, 10, 20)).max() < 6


def test_alpha_is_composited_over_black_or_dropped_when_opaque(tmp_path: Path) -> None:
    alpha = RNG.integers(0, 256, (9, 7), dtype=np.uint8)
    cases = {"RGBA": np.dstack([RGB, alpha]), "LA": np.dstack([GREY, alpha])}
    for mode, pixels in cases.items():
        picture = read(tmp_path, encoded(Image.fromarray(pixels, mode)))
        expected = np.rint(pixels[..., :-1].astype(float) * alpha[..., None] / 255)
        np.testing.assert_array_equal(picture.image, expected)
        assert picture.notes == ("alpha",)
        pixels[..., -1] = 255
        opaque = read(tmp_path, encoded(Image.fromarray(pixels, mode)))
        np.testing.assert_array_equal(opaque.image, pixels[..., :-1])
        assert opaque.notes == ()


def test_a_transparent_colour_key_counts_as_alpha(tmp_path: Path) -> None:
    pixels = GREY.copy()
    pixels[0, 0], pixels[pixels == 77] = 77, 78
    pixels[0, 0] = 77
    picture = read(tmp_path, encoded(Image.fromarray(pixels), transparency=77))
    assert picture.image.shape == (9, 7, 1)
    assert picture.image[0, 0, 0] == 0
    np.testing.assert_array_equal(picture.image[1:, :, 0], pixels[1:])


def test_palettes_give_their_colours_or_one_grey_channel(tmp_path: Path) -> None:
    colour = Image.fromarray(RGB).quantize(16)
    picture = read(tmp_path, encoded(colour))
    np.testing.assert_array_equal(picture.image, np.asarray(colour.convert("RGB")))
    assert picture.notes == ("palette",)
    grey = Image.fromarray(GREY)
    grey.putpalette(bytes(v for i in range(256) for v in (255 - i,) * 3))
    picture = read(tmp_path, encoded(grey))
    np.testing.assert_array_equal(picture.image, 255 - GREY[..., None])


def test_one_bit_pictures_become_0_and_255(tmp_path: Path) -> None:
    picture = read(tmp_path, encoded(Image.fromarray(GREY > 127)))
    np.testing.assert_array_equal(picture.image[..., 0], np.where(GREY > 127, 255, 0))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("deep", [False, True])
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int, deep: bool) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    if deep:
        body = raw_png(DEEP, 2)
        block = exif.tobytes().removeprefix(b"Exif\0\0")
        chunk = struct.pack(">I", len(block)) + b"eXIf" + block
        chunk += struct.pack(">I", zlib.crc32(b"eXIf" + block))
        data = body[:33] + chunk + body[33:]
    else:
        data = encoded(Image.fromarray(RGB), exif=exif)
    picture = read(tmp_path, data)
    upright = [
        ImageOps.exif_transpose(_with_orientation(Image.fromarray(plane), orientation))
        for plane in (DEEP if deep else RGB).transpose(2, 0, 1)
    ]
    np.testing.assert_array_equal(picture.image, np.dstack([np.asarray(p) for p in upright]))
    assert ("orientation" in picture.notes) == (orientation != 1)


def _with_orientation(image: Image.Image, orientation: int) -> Image.Image:
    image.getexif()[274] = orientation
    return image


def test_the_content_wins_over_the_extension(tmp_path: Path) -> None:
    picture = read(tmp_path, encoded(Image.fromarray(RGB)), "a.jpg")
    np.testing.assert_array_equal(picture.image, RGB)
    assert picture.notes == ("mislabelled",)
    assert read(tmp_path, encoded(Image.fromarray(RGB)), "a.dcm").notes == ("mislabelled",)
    assert read(tmp_path, encoded(Image.fromarray(RGB)), "noextension").notes == ()


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_animated_pictures_are_refused(tmp_path: Path, kind: str) -> None:
    frames = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    error = refused(tmp_path, data, "a." + kind.lower())
    assert error.kind == "animated"
    assert "2 frames" in error.message


@pytest.mark.parametrize(("kind", "name"), [("PNG", "a.png"), ("JPEG", "a.jpg"), ("BMP", "a.bmp")])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_truncated_pictures_are_refused(tmp_path: Path, kind: str, name: str, share: float) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (96, 96), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    assert refused(tmp_path, data[: int(len(data) * share)], name).kind == "truncated"


def test_a_jpeg_whose_second_half_is_zeros_is_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (96, 96), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), "JPEG")
    half = len(data) // 2
    assert refused(tmp_path, data[:half] + bytes(len(data) - half), "a.jpg").kind == "truncated"


def test_a_png_without_its_end_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path, encoded(Image.fromarray(RGB))[:-12]).kind == "truncated"


def test_a_flipped_byte_in_a_png_is_noticed(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (96, 96), dtype=np.uint8)
    data = bytearray(encoded(Image.fromarray(noise)))
    data[len(data) // 2] ^= 0x10
    assert refused(tmp_path, bytes(data)).kind == "corrupt"


@pytest.mark.filterwarnings("ignore:Tag data larger than file")
@pytest.mark.parametrize("seed", range(40))
def test_no_damage_escapes_as_another_error(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    kinds = ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000"]
    kind = kinds[seed % len(kinds)]
    data = bytearray(encoded(Image.fromarray(RGB), kind))
    for at in rng.integers(0, len(data), 12):
        data[at] = rng.integers(0, 256)
    with contextlib.suppress(CaseError):
        image = read(tmp_path, bytes(data), "a.png").image
        assert image.ndim == 3
        assert image.shape[-1] in (1, 3)


def test_empty_missing_and_foreign_files_are_told_apart(tmp_path: Path) -> None:
    assert refused(tmp_path, b"").kind == "zero-byte"
    assert refused(tmp_path, b"hello, this is text, no picture").kind == "not-a-picture"
    for path, kind in ((tmp_path / "none.png", "missing"), (tmp_path, "not-a-file")):
        with pytest.raises(CaseError) as caught:
            read_picture(path, case_id="c1")
        assert caught.value.kind == kind


def test_a_pipe_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p.png")
    with pytest.raises(CaseError) as caught:
        read_picture(tmp_path / "p.png", case_id="c1")
    assert caught.value.kind == "not-a-file"


def test_postscript_is_never_run(tmp_path: Path) -> None:
    data = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"
    assert refused(tmp_path, data, "a.png").kind == "not-a-picture"


def test_decompression_bombs_are_refused_by_their_header(tmp_path: Path) -> None:
    small = raw_png(DEEP[..., :1], 0)

    def declaring(side: int) -> bytes:
        header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
        check = struct.pack(">I", zlib.crc32(b"IHDR" + header))
        return small[:16] + header + check + small[33:]

    for side in (9000, 60000):
        error = refused(tmp_path, declaring(side))
        assert error.kind == "bomb"
    path = tmp_path / "a.png"
    path.write_bytes(encoded(Image.fromarray(RGB)))
    with pytest.raises(CaseError) as caught:
        read_picture(path, case_id="c1", max_pixels=62)
    assert caught.value.kind == "bomb"
    assert "7 x 9" in caught.value.message
    assert read_picture(path, case_id="c1", max_pixels=63).shape == (9, 7, 3)


def test_a_file_beyond_the_byte_limit_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "MAX_FILE_BYTES", 10)
    assert refused(tmp_path, encoded(Image.fromarray(RGB))).kind == "too-large"


@pytest.mark.parametrize(
    ("kind", "photometric"),
    [
        *((kind, "minisblack") for kind in ("u1", "<u2", ">u2", "<u4")),
        *((kind, "miniswhite") for kind in ("u1", "<u2")),
    ],
)
def test_tiff_values_of_every_width_and_polarity(
    tmp_path: Path, kind: str, photometric: str
) -> None:
    top = np.iinfo(kind).max
    values = np.array([[0, 5, top // 2 + 6], [top, 7, 9]], kind)
    order = ">" if kind.startswith(">") else "<"
    tifffile.imwrite(tmp_path / "a.tif", values, photometric=photometric, byteorder=order)
    read = read_picture(tmp_path / "a.tif", case_id="c")
    wanted = values.astype(np.float64)
    wanted = top - wanted if photometric == "miniswhite" else wanted
    np.testing.assert_array_equal(read[..., 0], wanted.astype(np.float32))
