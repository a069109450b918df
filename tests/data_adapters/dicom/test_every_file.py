"""Every DICOM file at hand is decoded right or refused with a reason.

Right means: equal to another decoder than the one that read it. SimpleITK (GDCM) is the first
choice; where radzoo itself decodes with GDCM, or SimpleITK shows another quantity, pydicom with
another plugin is asked.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK
from numpy.typing import NDArray
from pydicom.data import get_testdata_files
from pydicom.pixels import pixel_array

from data_adapters.case import Case, check_case
from data_adapters.dicom_tree import DicomTree
from data_adapters.errors import CaseError, FormatError
from data_adapters.geometry import to_world

SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
FILES = sorted({Path(f) for f in get_testdata_files() if Path(f).is_file()})
J2K, RLE = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5"

NO_IMAGE = {
    *("ExplVR_BigEndNoMeta.dcm", "ExplVR_LitEndNoMeta.dcm"),
    *("empty_charset_LEI.dcm", "meta_missing_tsyntax.dcm", "nested_priv_SQ.dcm"),
    *("reportsi.dcm", "reportsi_with_empty_number_tags.dcm", "rtplan.dcm", "waveform_ecg.dcm"),
}
# Annotation objects without their images.
ALONE = {
    *("liver.dcm", "liver_expb.dcm", "liver_1frame.dcm", "liver_expb_1frame.dcm", "rtstruct.dcm"),
    *("label.seg", "partial_overlaps.dcm", "sparse-labelmap-noppv.dcm", "seg.dcm", "sr.dcm"),
    *("sparse-labelmap-ppv5.dcm", "sr_document.dcm", "sr_document_with_multiple_groups.dcm"),
    *("dummy_rt.dcm", "rt.dcm", "invalid_reference_rt.dcm", "non_existent_reference_rt.dcm"),
    *("seg_image_cr_binary.dcm", "seg_image_ct_binary.dcm", "seg_image_ct_binary_overlap.dcm"),
    *("seg_image_ct_binary_fractional.dcm", "seg_image_ct_binary_single_frame.dcm"),
    "seg_image_ct_true_fractional.dcm",
}
OTHER_REFUSALS = {
    "test-SR.dcm": "unsupported",
    **dict.fromkeys(("UN_sequence.dcm", "no_meta_group_length.dcm", "priv_SQ.dcm"), "truncated"),
    "emri_small_jpeg_2k_lossless_too_short.dcm": "truncated",
    "MR_truncated.dcm": "truncated",
    "rtplan_truncated.dcm": "truncated",
    "JPEG-lossy.dcm": "codec",
    "JPGExtended.dcm": "codec",
    "JPEG2000-embedded-sequence-delimiter.dcm": "codec",
    "badVR.dcm": "corrupt",
    "6293": "localizer",
    "6924": "localizer",
    **dict.fromkeys(("README.txt", "README", "crayons.icc", "no_meta.dcm"), "not-dicom"),
    **dict.fromkeys(("rtplan.dump", "rtstruct.dump", "zipMR.gz"), "not-dicom"),
    **dict.fromkeys(("test1.json", "test_PN.json"), "not-dicom"),
}


def _expected(path: Path) -> str:
    """`read`, or the kind of refusal."""
    if path.name in NO_IMAGE:
        return "no-image"
    if path.name in ALONE:
        return "absent-images"
    if re.fullmatch(r"IM0000\w\w", path.name):
        return "truncated"  # the headers of a directory's example, published without pixels
    return OTHER_REFUSALS.get(path.name, "read")


def _read(path: Path) -> list[Case] | str:
    try:
        data = DicomTree(path)
        cases = [data[i] for i in range(len(data))]
    except CaseError as error:
        return error.kind
    except FormatError as error:
        found = re.search(r"left out: ([a-z0-9-]+)", str(error))
        return found[1] if found else "not-dicom"
    return cases


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_it_is_read_or_refused_with_a_reason(path: Path) -> None:
    if path.name.startswith("DICOMDIR"):
        pytest.skip("stands for its folder: see the tests of DICOMDIR")
    result, wanted = _read(path), _expected(path)
    if isinstance(result, str):
        assert result == wanted
        return
    assert wanted == "read"
    assert result
    for case in result:
        check_case(case)
    if len(result) == 1:
        _check_values(path, result[0])
        _check_place(path, result[0])


def _check_values(path: Path, case: Case) -> None:
    other = _other_decoder(path)
    image = case.image[..., 0] if case.image.shape[-1] == 1 else case.image
    if image.ndim == 4:  # colour cines are large: a few frames tell
        image, other = image[::17], other[::17]
    assert image.shape == other.shape
    measured = slice(None) if case.padding is None else ~case.padding
    # One rounding from double to single; colour transforms may round either way.
    tolerance = (
        2.0**-23 * max(1.0, float(np.abs(other.astype(float)).max()))
        if image.dtype.kind == "f"
        else 2
    )
    difference = np.abs(image[measured].astype(np.float64) - other[measured].astype(np.float64))
    assert difference.max(initial=0) <= tolerance


def _other_decoder(path: Path) -> NDArray[Any]:
    """The values of a file by a decoder that radzoo does not use for it."""
    data = pydicom.dcmread(path, force=True)
    syntax = str(data.file_meta.get("TransferSyntaxUID", ""))
    photometric = str(data.PhotometricInterpretation)
    plain = photometric != "MONOCHROME1" and not data.get("ModalityLUTSequence")
    plain = plain and data.get("Modality") != "RTDOSE" and "eCT" not in path.name
    deep_rle = syntax == RLE and int(data.BitsAllocated) > 8
    if plain and not deep_rle:
        try:
            image = SimpleITK.ReadImage(str(path), imageIO="GDCMImageIO")
        except RuntimeError:
            pass
        else:
            return _reduced(SimpleITK.GetArrayFromImage(image), data)
    return _by_pydicom(path, data, syntax)


def _by_pydicom(path: Path, data: pydicom.FileDataset, syntax: str) -> NDArray[Any]:
    plugin = {J2K: "gdcm", RLE: "pydicom"}.get(syntax, "")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        values: NDArray[Any] = pixel_array(path, decoding_plugin=plugin)
    if int(data.get("SamplesPerPixel", 1)) == 3:
        return _reduced(values, data)
    if data.get("ModalityLUTSequence"):
        return np.asarray(pydicom.pixels.apply_modality_lut(values, data), np.float64)
    if "eCT" in path.name:  # two slices, written from the highest to the lowest along the normal
        return values[::-1] - 1024.0
    scale = float(data.get("DoseGridScaling") or data.get("RescaleSlope") or 1)
    return values * scale + float(data.get("RescaleIntercept") or 0)


def _reduced(values: NDArray[Any], data: pydicom.FileDataset) -> NDArray[Any]:
    """Without the axis of a single slice; 32-bit colour and 16-bit palettes by their upper bits."""
    colour = values.shape[-1] == 3
    if values.shape[0] == 1 and values.ndim > (3 if colour else 2):
        values = values[0]
    if colour and values.dtype == np.uint32:
        values = values >> 16
    elif colour and str(data.PhotometricInterpretation) == "PALETTE COLOR":
        values = values >> 8 if values.dtype == np.uint16 else values
    return values


def _check_place(path: Path, case: Case) -> None:
    """World coordinates of voxels equal SimpleITK's."""
    geometry = case.geometry
    if geometry is None or not geometry.direction or "eCT" in path.name:
        return
    try:
        image = SimpleITK.ReadImage(str(path), imageIO="GDCMImageIO")
    except RuntimeError:
        return
    rng = np.random.default_rng(0)
    for _ in range(5):
        index = [int(rng.integers(0, side)) for side in image.GetSize()[::-1]]
        wanted = image.TransformIndexToPhysicalPoint(index[::-1])
        ours = to_world(geometry, index[-len(geometry.spacing) :])
        np.testing.assert_allclose(ours, wanted, atol=2e-3)


@pytest.mark.parametrize(
    ("names", "same"),
    [
        (("OBXXXX1A_expb", "OBXXXX1A_rle"), "OBXXXX1A"),
        (("emri_small_big_endian", "emri_small_RLE", "emri_small_jpeg_ls_lossless"), "emri_small"),
        (("emri_small_jpeg_2k_lossless",), "emri_small"),
        (("SC_rgb_rle_16bit", "SC_rgb_expb_16bit"), "SC_rgb_16bit"),
        (("SC_rgb_rle_32bit", "SC_rgb_expb_32bit"), "SC_rgb_32bit"),
        (("SC_rgb_jpeg_gdcm", "SC_rgb_rle", "SC_rgb_expb"), "SC_rgb"),
        (("MR_small_RLE", "MR_small_bigendian", "MR_small_jp2klossless"), "MR_small"),
        (("MR_small_jpeg_ls_lossless", "MR_small_implicit"), "MR_small"),
        (("693_J2KR",), "693_UNCR"),
        (("RG1_J2KR",), "RG1_UNCR"),
        (("gdcm-US-ALOKA-16_big",), "gdcm-US-ALOKA-16"),
        (("rtdose_expb", "rtdose_rle"), "rtdose"),
    ],
)
def test_encodings_of_one_image_read_the_same(names: tuple[str, ...], same: str) -> None:
    places = {path.name: path for path in FILES}
    wanted = _read(places[f"{same}.dcm"])
    assert isinstance(wanted, list)
    for name in names:
        found = _read(places[f"{name}.dcm"])
        assert isinstance(found, list)
        np.testing.assert_array_equal(found[0].image, wanted[0].image)
        assert found[0].geometry == wanted[0].geometry


@pytest.mark.data
def test_every_shared_file(radzoo_data: Path) -> None:
    """Images equal the other decoder's; everything else is refused for what it is."""
    read = 0
    for path in sorted((radzoo_data / "dicom").rglob("*")):
        if not path.is_file() or path.suffix == ".nrrd":
            continue
        result = _read(path)
        if isinstance(result, str):
            slides = path.name.startswith(("sm_image", "seg_image_sm"))
            other = "absent-images" if path.name in ALONE else "no-image"
            assert result == ("whole-slide" if slides else other), path.name
            continue
        read += 1
        for case in result:
            check_case(case)
            _check_values(path, case)
            _check_place(path, case)
    assert read > 90


@pytest.mark.data
def test_real_series_lie_where_simpleitk_puts_them(radzoo_data: Path) -> None:
    data = DicomTree(radzoo_data / "dicom" / "mr")
    rng = np.random.default_rng(1)
    for i in range(len(data)):
        case, names = data[i], [one.path for one in data.stack(i).instances]
        reader = SimpleITK.ImageSeriesReader()
        reader.SetFileNames(names)
        image = reader.Execute()
        measured = slice(None) if case.padding is None else ~case.padding
        other = SimpleITK.GetArrayFromImage(image)
        np.testing.assert_allclose(case.image[..., 0][measured], other[measured], rtol=1e-6)
        assert case.geometry is not None
        assert case.geometry.positions == ()
        for _ in range(20):
            index = [int(rng.integers(0, side)) for side in other.shape]
            wanted = image.TransformIndexToPhysicalPoint(index[::-1])
            np.testing.assert_allclose(to_world(case.geometry, index), wanted, atol=1e-2)
