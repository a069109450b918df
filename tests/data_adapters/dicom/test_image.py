"""Reading single-frame DICOM: units, padding, polarity, position, and every way to fail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from data_adapters.case import Case, Display, check_case
from data_adapters.dicom import pixels
from data_adapters.dicom.display import apply_display, bright_is_dense
from data_adapters.dicom.image import DicomImage, read_dicom_image
from data_adapters.dicom_write import write_dicom_series
from data_adapters.errors import CaseError
from data_adapters.phantoms import Phantom, Scan, ct_slice, radiograph

Edit = Callable[[FileDataset], None]


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return ct_slice(2, size=32, kind="cyst", scan=Scan(circle=True, organs=False))


@pytest.fixture(scope="module")
def film() -> Phantom:
    return radiograph(1, size=32)


def _edited(phantom: Phantom, folder: Path, edit: Edit | None = None, **options: str) -> Path:
    """A written phantom with its data set changed."""
    path = write_dicom_series(phantom, folder, **options)[0]  # type: ignore[arg-type]
    if edit is not None:
        dataset = pydicom.dcmread(path)
        edit(dataset)
        dataset.save_as(path)
    return path


def _put(data: Dataset, keyword: str, vr: str, value: object) -> None:
    """Set an element whose value representation the standard leaves open."""
    data[keyword] = pydicom.DataElement(pydicom.tag.Tag(keyword), vr, value)


def _read(path: Path) -> DicomImage:
    return read_dicom_image(path, case_id="c0123456789")


def _failure(path: Path) -> CaseError:
    with pytest.raises(CaseError) as caught:
        _read(path)
    assert caught.value.case_id == "c0123456789"
    for secret in (str(path.parent), path.name, "PHANTOM-0001", "Phantom^"):
        assert secret not in str(caught.value)
    return caught.value


def _turned(read: DicomImage) -> np.ndarray:
    """The image as recipes get it."""
    case = Case(image=read.image, case_id="c1", display=read.display, meta=read.meta)
    return bright_is_dense(case)


@pytest.mark.parametrize("stored", ["int16", "uint12"])
def test_ct_comes_in_hu_with_padding_masked(tmp_path: Path, phantom: Phantom, stored: str) -> None:
    read = _read(_edited(phantom, tmp_path, stored=stored))
    assert read.image.shape == (32, 32, 1)
    assert read.image.dtype == np.float32
    assert phantom.padding is not None
    assert read.padding is not None
    np.testing.assert_array_equal(read.padding, phantom.padding)
    inside = ~phantom.padding
    lowest = -1024 if stored == "int16" else -1023
    wanted = np.maximum(np.rint(phantom.image), lowest)
    np.testing.assert_array_equal(read.image[inside], wanted[inside])
    assert (read.image[~inside] == -1024).all()
    assert read.modality == "CT"
    assert read.patient_id == "PHANTOM-0001"
    assert read.display == Display(windows=((40.0, 400.0),))
    assert read.meta["body_part"] == "ABDOMEN"
    assert read.meta["study"].startswith("s")
    assert "Phantom" not in str(read.meta)


def test_geometry_follows_the_image_axes(tmp_path: Path, phantom: Phantom) -> None:
    def edit(data: FileDataset) -> None:
        data.PixelSpacing = [2.0, 0.5]
        data.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
        data.ImagePositionPatient = [1, 2, 3]

    geometry = _read(_edited(phantom, tmp_path / "a", edit)).geometry
    assert geometry is not None
    assert geometry.spacing == (2.0, 0.5)
    assert geometry.origin == (1.0, 2.0, 3.0)
    assert geometry.direction == ((0.0, 0.0, -1.0), (0.0, 1.0, 0.0))
    whole = _read(_edited(phantom, tmp_path / "b")).geometry
    assert whole is not None
    np.testing.assert_allclose(whole.origin, phantom.geometry.origin, atol=1e-4)
    assert whole.direction == phantom.geometry.direction


def test_rescale_with_fractional_slope(tmp_path: Path, phantom: Phantom) -> None:
    def edit(data: FileDataset) -> None:
        data.RescaleSlope, data.RescaleIntercept = "0.25", "-7.5"
        data.Modality = "PT"

    path = _edited(phantom, tmp_path, edit)
    stored = pydicom.dcmread(path).pixel_array
    read = _read(path)
    assert read.padding is not None
    wanted = stored * 0.25 - 7.5
    np.testing.assert_allclose(read.image[..., 0][~read.padding], wanted[~read.padding])
    assert (read.image[..., 0][read.padding] == wanted[~read.padding].min()).all()


@pytest.mark.parametrize("declared", [-2000, 63536])
def test_padding_declared_with_either_sign(tmp_path: Path, phantom: Phantom, declared: int) -> None:
    def edit(data: FileDataset) -> None:
        _put(data, "PixelPaddingValue", "US" if declared > 0 else "SS", declared)

    read = _read(_edited(phantom, tmp_path, edit))
    np.testing.assert_array_equal(read.padding, phantom.padding)


def test_padding_range_and_undeclared_padding(tmp_path: Path, phantom: Phantom) -> None:
    def ranged(data: FileDataset) -> None:
        pixels = data.pixel_array.copy()
        pixels[0, :3] = (-2000, -1900, -1800)
        pixels[5, 5] = -1000
        data.PixelData = pixels.tobytes()
        _put(data, "PixelPaddingRangeLimit", "SS", -1800)

    read = _read(_edited(phantom, tmp_path / "a", ranged))
    assert read.padding is not None
    assert read.padding[0, :3].all()
    assert not read.padding[5, 5]

    def silent(data: FileDataset) -> None:
        del data.PixelPaddingValue
        data.RescaleIntercept = -1024

    read = _read(_edited(phantom, tmp_path / "b", silent))
    assert read.padding is not None
    assert phantom.padding is not None
    assert read.padding[phantom.padding].all()
    assert read.image.min() >= -1500


def test_polarity_is_recorded_and_turned_round_once(tmp_path: Path, film: Phantom) -> None:
    plain = _read(_edited(film, tmp_path / "a"))
    other = _read(_edited(film, tmp_path / "b", polarity="MONOCHROME1"))
    assert not plain.display.inverted
    assert other.display.inverted
    assert other.display.span == (0.0, 4095.0)
    np.testing.assert_array_equal(plain.image, film.image)
    np.testing.assert_array_equal(other.image, 4095 - film.image)
    np.testing.assert_array_equal(_turned(other), film.image)
    np.testing.assert_array_equal(_turned(plain), film.image)
    shown = apply_display(plain.image, plain.display)
    np.testing.assert_allclose(apply_display(other.image, other.display), shown, atol=1e-6)
    assert 0 < shown.mean() < 1
    assert plain.geometry is not None
    np.testing.assert_allclose(plain.geometry.spacing, film.geometry.spacing)
    assert plain.geometry.direction == ()
    assert plain.meta["view"] == "PA"
    assert plain.meta["spacing_at"] == "detector"


@pytest.mark.parametrize("polarity", ["MONOCHROME1", "MONOCHROME2"])
def test_inverse_shape_counts_once(tmp_path: Path, film: Phantom, polarity: str) -> None:
    def inverse(data: FileDataset) -> None:
        data.PresentationLUTShape = "INVERSE"

    read = _read(_edited(film, tmp_path, inverse, polarity=polarity))
    assert read.display.inverted
    np.testing.assert_array_equal(_turned(read), 4095 - read.image)


def test_quantitative_values_are_never_turned_round(tmp_path: Path, phantom: Phantom) -> None:
    def edit(data: FileDataset) -> None:
        data.PhotometricInterpretation = "MONOCHROME1"

    read = _read(_edited(phantom, tmp_path, edit))
    assert read.display.inverted
    assert read.padding is not None
    np.testing.assert_array_equal(read.image[~read.padding], np.rint(phantom.image)[~read.padding])
    np.testing.assert_array_equal(_turned(read), read.image)


def test_padding_of_an_inverted_film_becomes_its_darkest_value(
    tmp_path: Path, film: Phantom
) -> None:
    def edit(data: FileDataset) -> None:
        pixels = data.pixel_array.copy()
        pixels[:, :4] = 4095
        pixels[:, 4:] = np.minimum(pixels[:, 4:], 4000)
        data.PixelData = pixels.tobytes()
        _put(data, "PixelPaddingValue", "US", 4095)

    read = _read(_edited(film, tmp_path, edit, polarity="MONOCHROME1"))
    assert read.padding is not None
    assert read.padding[:, :4].all()
    assert not read.padding[:, 4:].any()
    assert (read.image[:, :4] == read.image[:, 4:].max()).all()
    turned = _turned(read)
    assert (turned[:, :4] == turned[:, 4:].min()).all()


def test_lookup_tables(tmp_path: Path, film: Phantom) -> None:
    def modality(data: FileDataset) -> None:
        item = Dataset()
        item.ModalityLUTType = "US"
        _put(item, "LUTDescriptor", "US", [4096, 0, 12])
        _put(item, "LUTData", "OW", (np.arange(4096, dtype="<u2") // 2).tobytes())
        data.ModalityLUTSequence = pydicom.Sequence([item])
        del data.RescaleSlope, data.RescaleIntercept, data.RescaleType

    read = _read(_edited(film, tmp_path / "a", modality))
    np.testing.assert_array_equal(read.image, film.image // 2)

    def voi(data: FileDataset) -> None:
        item = Dataset()
        _put(item, "LUTDescriptor", "US", [3, 100, 8])
        _put(item, "LUTData", "US", [10, 20, 40])
        data.VOILUTSequence = pydicom.Sequence([item])

    for name, polarity in (("b", "MONOCHROME2"), ("c", "MONOCHROME1")):
        display = _read(_edited(film, tmp_path / name, voi, polarity=polarity)).display
        assert (display.lut, display.lut_bits) == ((100.0, (10.0, 20.0, 40.0)), 8)


def test_colour_and_palette(tmp_path: Path, film: Phantom) -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)

    def colour(data: FileDataset) -> None:
        data.PhotometricInterpretation, data.SamplesPerPixel = "RGB", 3
        data.PlanarConfiguration = 0
        data.BitsAllocated, data.BitsStored, data.HighBit = 8, 8, 7
        data.PixelData = picture.tobytes()
        data["PixelData"].VR = "OB"

    read = _read(_edited(film, tmp_path / "a", colour))
    assert read.image.dtype == np.uint8
    np.testing.assert_array_equal(read.image, picture)

    def palette(data: FileDataset) -> None:
        data.PhotometricInterpretation = "PALETTE COLOR"
        for index, name in enumerate(("Red", "Green", "Blue")):
            table = (np.arange(4096) % 251 + index).astype("<u2") << 8
            _put(data, f"{name}PaletteColorLookupTableDescriptor", "US", [4096, 0, 16])
            _put(data, f"{name}PaletteColorLookupTableData", "OW", table.tobytes())

    read = _read(_edited(film, tmp_path / "b", palette))
    assert read.image.shape == (32, 32, 3)
    assert read.image.dtype == np.uint8
    np.testing.assert_array_equal(read.image[..., 1], film.image[..., 0] % 251 + 1)


def test_compressed_file_reads_the_same(tmp_path: Path, phantom: Phantom) -> None:
    def squeeze(data: FileDataset) -> None:
        data.compress(RLELossless, generate_instance_uid=False)

    plain = _read(_edited(phantom, tmp_path / "a"))
    packed = _read(_edited(phantom, tmp_path / "b", squeeze))
    np.testing.assert_array_equal(plain.image, packed.image)


def test_missing_codec_names_the_package(
    tmp_path: Path, phantom: Phantom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RADZOO_ISOLATION", "off")
    monkeypatch.setattr(pixels, "get_decoder", lambda _: SimpleNamespace(is_available=False))
    for syntax, package in (
        (JPEG2000Lossless, "pylibjpeg-openjpeg"),
        (JPEGLSLossless, "pyjpegls"),
        (pydicom.uid.JPEGLosslessSV1, "python-gdcm"),
        (pydicom.uid.JPEGExtended12Bit, "radzoo[jpeg12]"),
        (pydicom.uid.MPEG2MPML, "uncompressed"),
    ):

        def relabel(data: FileDataset, syntax: pydicom.uid.UID = syntax) -> None:
            data.compress(RLELossless, generate_instance_uid=False)
            data.file_meta.TransferSyntaxUID = syntax

        error = _failure(_edited(phantom, tmp_path / package, relabel))
        assert error.kind == "codec"
        assert package in error.message


def test_broken_compressed_pixels_are_a_case_error(tmp_path: Path, phantom: Phantom) -> None:
    def garble(data: FileDataset) -> None:
        data.compress(RLELossless, generate_instance_uid=False)
        data.PixelData = data.PixelData[:40] + bytes(len(data.PixelData) - 40)

    assert _failure(_edited(phantom, tmp_path, garble)).kind in ("codec", "corrupt")


def test_each_way_to_fail_has_its_kind(tmp_path: Path, phantom: Phantom) -> None:
    assert _failure(tmp_path / "absent.dcm").kind == "missing"
    assert _failure(tmp_path).kind == "unreadable"
    empty, text = tmp_path / "empty.dcm", tmp_path / "text.dcm"
    empty.touch()
    text.write_text("not DICOM" * 50)
    assert _failure(empty).kind == "zero-byte"
    assert _failure(text).kind == "not-dicom"
    whole = _edited(phantom, tmp_path / "x").read_bytes()
    for kept in (140, 400, len(whole) // 2, len(whole) - 2):
        cut = tmp_path / "cut.dcm"
        cut.write_bytes(whole[:kept])
        assert _failure(cut).kind == "truncated"

    def frames(data: FileDataset) -> None:
        data.NumberOfFrames, data.Rows = 2, 16

    def huge(data: FileDataset) -> None:
        data.Rows = data.Columns = 60000

    def report(data: FileDataset) -> None:
        del data.PixelData, data.Rows, data.Columns
        data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.88.11"

    def mask(data: FileDataset) -> None:
        data.Modality = "SEG"

    def flat(data: FileDataset) -> None:
        data.RescaleSlope = 0

    def none(data: FileDataset) -> None:
        data.Rows = 0

    expected: tuple[tuple[Edit, str, str], ...] = (
        (frames, "multi-frame", "2 frames"),
        (huge, "bomb", "60000"),
        (report, "no-pixels", "SR"),
        (mask, "segmentation", "segmentation"),
        (flat, "corrupt", "ValueError"),
        (none, "corrupt", "pixels"),
    )
    for edit, kind, words in expected:
        error = _failure(_edited(phantom, tmp_path / kind, edit))
        assert error.kind == kind
        assert words in error.message


@pytest.mark.filterwarnings("ignore")
def test_damage_never_escapes_as_another_error(tmp_path: Path, phantom: Phantom) -> None:
    whole = np.frombuffer(_edited(phantom, tmp_path).read_bytes(), np.uint8)
    rng = np.random.default_rng(0)
    path, read = tmp_path / "damaged.dcm", 0
    for _ in range(150):
        data = whole.copy()
        places = rng.integers(132, 1700, 4)
        data[places] = rng.integers(0, 256, 4)
        path.write_bytes(data[: int(rng.integers(200, len(data) + 1))].tobytes())
        try:
            image = _read(path).image
        except CaseError:
            continue
        read += 1
        assert np.isfinite(image).all()
    assert read < 150


def test_facts_for_a_case(tmp_path: Path, phantom: Phantom) -> None:
    def edit(data: FileDataset) -> None:
        data.PatientAge, data.PatientSex, data.PatientID = "018M", "F", "  "

    read = _read(_edited(phantom, tmp_path, edit))
    assert read.meta["age"] == 1.5
    assert read.meta["sex"] == "F"
    assert read.patient_id is None
    check_case(
        Case(
            image=read.image,
            case_id="c1",
            padding=read.padding,
            geometry=read.geometry,
            display=read.display,
            meta=read.meta,
        )
    )
