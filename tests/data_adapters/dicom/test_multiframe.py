"""Multi-frame objects: frames sorted, parted and placed as their functional groups say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import highdicom.legacy
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import UID, RLELossless, generate_uid

from data_adapters.case import Case, check_case
from data_adapters.dicom.multiframe import list_volumes, read_multiframe
from data_adapters.dicom_tree import DicomTree
from data_adapters.dicom_write import write_dicom_series
from data_adapters.errors import CaseError
from data_adapters.geometry import to_world
from data_adapters.phantoms import ct_volume
from tests.data_adapters.dicom.samples import image, item, save

AXES = [0.0, 0.6, 0.8, 1.0, 0.0, 0.0]
NORMAL = np.cross(AXES[:3], AXES[3:])


def _enhanced(frames: list[dict[str, Any]], seed: int = 0) -> tuple[FileDataset, NDArray[Any]]:
    """An enhanced MR object; each frame: height, and perhaps slope, echo, b, time, index."""
    pixels = np.random.default_rng(seed).integers(0, 4096, (len(frames), 8, 6)).astype(np.uint16)
    data = image(pixels, SOPClassUID="1.2.840.10008.5.1.4.1.1.4.1", Modality="MR")
    shared = Dataset()
    shared.PixelMeasuresSequence = item(PixelSpacing=[0.5, 0.75], SliceThickness=3)
    shared.PlaneOrientationSequence = item(ImageOrientationPatient=AXES)
    data.SharedFunctionalGroupsSequence = [shared]
    groups = []
    for frame in frames:
        group = Dataset()
        position = [float(v) for v in np.round(np.array([5, -4, 3]) + frame["height"] * NORMAL, 6)]
        group.PlanePositionSequence = item(ImagePositionPatient=position)
        content: dict[str, Any] = {"DimensionIndexValues": frame.get("index", [1])}
        if "time" in frame:
            content["TemporalPositionIndex"] = frame["time"]
        group.FrameContentSequence = item(**content)
        slope, intercept = frame.get("slope", 1), frame.get("intercept", 0)
        group.PixelValueTransformationSequence = item(
            RescaleSlope=slope, RescaleIntercept=intercept
        )
        if "echo" in frame:
            group.MREchoSequence = item(EffectiveEchoTime=frame["echo"])
        if "b" in frame:
            group.MRDiffusionSequence = item(DiffusionBValue=frame["b"])
        group.FrameVOILUTSequence = item(WindowCenter=frame["height"], WindowWidth=50)
        groups.append(group)
    data.PerFrameFunctionalGroupsSequence = groups
    return data, pixels


def test_frames_are_sorted_along_the_normal_with_their_own_rescale(tmp_path: Path) -> None:
    heights = [6.0, 0.0, 9.0, 3.0]
    slopes = [0.5, 2.0, 1.25, 3.0]
    data, pixels = _enhanced(
        [{"height": h, "slope": s, "intercept": -h} for h, s in zip(heights, slopes, strict=True)]
    )
    read = read_multiframe(save(data, tmp_path / "a.dcm"), case_id="c1")
    order = [1, 3, 0, 2]
    wanted = [pixels[i] * slopes[i] - heights[i] for i in order]
    np.testing.assert_allclose(read.image[..., 0], wanted, rtol=1e-6)
    assert read.geometry is not None
    assert read.geometry.spacing == pytest.approx((3.0, 0.5, 0.75))
    assert read.geometry.positions == ()
    corner = to_world(read.geometry, [2, 0, 0])
    np.testing.assert_allclose(corner, np.array([5, -4, 3]) + 6 * NORMAL, atol=1e-5)
    step = to_world(read.geometry, [0, 1, 2]) - to_world(read.geometry, [0, 0, 0])
    np.testing.assert_allclose(step, 0.5 * np.array(AXES[3:]) + 1.5 * np.array(AXES[:3]), atol=1e-6)
    assert read.display.windows == ((6.0, 50.0),)
    check_case(Case(read.image, "c1", geometry=read.geometry))


@pytest.mark.parametrize(
    ("name", "values", "parts"),
    [
        ("echo", (10.0, 30.0), ["echo 1", "echo 2"]),
        ("b", (0.0, 1000.0), ["b 0", "b 1000"]),
        ("time", (1, 2), ["time 1", "time 2"]),
    ],
)
def test_dimensions_part_volumes(
    tmp_path: Path, name: str, values: tuple[float, float], parts: list[str]
) -> None:
    frames = [{"height": 2.0 * z, name: value} for z in range(3) for value in values]
    data, pixels = _enhanced(frames)
    path = save(data, tmp_path / "a.dcm")
    found = list_volumes(path, case_id="c1")
    assert [volume.part for volume in found] == parts
    for number in (0, 1):
        read = read_multiframe(path, case_id="c1", volume=number)
        np.testing.assert_array_equal(read.image[..., 0], pixels[number::2])
        assert read.geometry == found[0].geometry
    data = DicomTree(path)
    assert [data[i].meta["part"] for i in range(len(data))] == parts
    assert len({data.file_key(i) for i in range(2)}) == 2
    with pytest.raises(CaseError, match="no number 2"):
        read_multiframe(path, case_id="c1", volume=2)


def test_frames_at_one_place_are_parted_by_their_dimension_index(tmp_path: Path) -> None:
    frames = [{"height": 2.0 * z, "index": [z + 1, k + 1]} for k in (1, 0) for z in range(3)]
    data, _ = _enhanced(frames)
    pointers = [Dataset(), Dataset()]
    pointers[0].DimensionIndexPointer, pointers[1].DimensionIndexPointer = 0x00209057, 0x00189073
    data.DimensionIndexSequence = pointers
    path = save(data, tmp_path / "a.dcm")
    assert [volume.frames for volume in list_volumes(path, case_id="c1")] == [(3, 4, 5), (0, 1, 2)]
    del data.DimensionIndexSequence
    path = save(data, tmp_path / "b.dcm")
    assert [volume.frames for volume in list_volumes(path, case_id="c1")] == [(0, 1, 2), (3, 4, 5)]


def test_gaps_keep_every_position(tmp_path: Path) -> None:
    heights = [0.0, 3.0, 6.0, 12.0]
    data, _ = _enhanced([{"height": h} for h in heights])
    geometry = read_multiframe(save(data, tmp_path / "a.dcm"), case_id="c1").geometry
    assert geometry is not None
    assert len(geometry.positions) == 4
    assert geometry.spacing[0] == pytest.approx(3.0)
    end = to_world(geometry, [3, 0, 0])
    np.testing.assert_allclose(end, np.array([5, -4, 3]) + 12 * NORMAL, atol=1e-5)


def test_a_legacy_converted_series_reads_like_the_series(tmp_path: Path) -> None:
    """highdicom makes the multi-frame object out of the classic one."""
    phantom = ct_volume(5, shape=(5, 24, 24))
    paths = write_dicom_series(phantom, tmp_path / "classic")
    slices = [pydicom.dcmread(path) for path in paths]
    for one in slices:
        one.InstanceNumber = 6 - int(one.InstanceNumber)
        one.RescaleSlope, one.RescaleIntercept = "1", "0"
    converted = highdicom.legacy.LegacyConvertedEnhancedCTImage(
        slices, generate_uid(), 7, generate_uid(), 1
    )
    path = tmp_path / "new" / "a.dcm"
    path.parent.mkdir()
    converted.save_as(path)
    old, new = DicomTree(tmp_path / "classic")[0], DicomTree(path)[0]
    np.testing.assert_array_equal(new.image, old.image)
    assert old.geometry is not None
    assert new.geometry is not None
    for index in ([0, 0, 0], [4, 7, 20]):
        np.testing.assert_allclose(
            to_world(new.geometry, index), to_world(old.geometry, index), atol=1e-4
        )


@pytest.mark.parametrize("packed", [False, True])
def test_a_cine_has_time_for_depth(tmp_path: Path, packed: bool) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 40, 36, 3), dtype=np.uint8)
    data = image(pixels, Modality="US", FrameTime="33.3", SOPClassUID="1.2.840.10008.5.1.4.1.1.3.1")
    region = item(
        RegionSpatialFormat=1,
        RegionDataType=1,
        PhysicalUnitsXDirection=3,
        PhysicalUnitsYDirection=3,
        PhysicalDeltaX=0.02,
        PhysicalDeltaY=0.03,
    )
    data.SequenceOfUltrasoundRegions = region
    if packed:
        data.compress(RLELossless, encoding_plugin="pylibjpeg", generate_instance_uid=False)
    read = read_multiframe(save(data, tmp_path / "a.dcm"), case_id="c1")
    np.testing.assert_array_equal(read.image, pixels)
    assert read.image.dtype == np.uint8
    assert read.geometry is None
    assert read.meta["axis"] == "time"
    assert read.meta["pixel_spacing"] == pytest.approx((0.3, 0.2))
    assert read.meta["frame_time_ms"] == 33.3


def test_a_dose_grid_is_scaled_and_placed(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 1 << 32, (3, 5, 4), dtype=np.uint32)
    data = image(pixels, Modality="RTDOSE", DoseGridScaling="1e-6", PixelSpacing=[2, 2])
    data.ImagePositionPatient, data.ImageOrientationPatient = [1, 2, 3], [1, 0, 0, 0, 1, 0]
    for offsets in ([0, 2.5, 5], [3, 5.5, 8]):
        data.GridFrameOffsetVector = offsets
        read = read_multiframe(save(data, tmp_path / "a.dcm"), case_id="c1")
        np.testing.assert_allclose(read.image[..., 0], pixels * 1e-6, rtol=1e-6)
        assert read.geometry is not None
        np.testing.assert_allclose(to_world(read.geometry, [2, 0, 0]), [1, 2, 8])


def test_nuclear_slices_and_windows(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 99, (6, 5, 4)).astype(np.uint16)
    data = image(pixels, Modality="NM", PixelSpacing=[4, 4], SpacingBetweenSlices="-2")
    detector = item(ImagePositionPatient=[0, 0, 10], ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    data.DetectorInformationSequence = detector
    data.EnergyWindowVector, data.SliceVector = [1, 1, 1, 2, 2, 2], [1, 2, 3, 1, 2, 3]
    path = save(data, tmp_path / "a.dcm")
    parts = [volume.part for volume in list_volumes(path, case_id="c1")]
    assert parts == ["EnergyWindow 1", "EnergyWindow 2"]
    read = read_multiframe(path, case_id="c1", volume=1)
    np.testing.assert_array_equal(read.image[..., 0], pixels[[5, 4, 3]])
    assert read.geometry is not None
    np.testing.assert_allclose(to_world(read.geometry, [0, 0, 0]), [0, 0, 6])
    np.testing.assert_allclose(to_world(read.geometry, [2, 0, 0]), [0, 0, 10])


@pytest.mark.filterwarnings("ignore")
def test_damage_never_escapes_as_another_error(tmp_path: Path) -> None:
    data, _ = _enhanced([{"height": float(h), "b": h % 2 * 100.0} for h in range(6)])
    whole = np.frombuffer(save(data, tmp_path / "a.dcm").read_bytes(), np.uint8)
    rng, path, read = np.random.default_rng(0), tmp_path / "b.dcm", 0
    for _ in range(120):
        bytes_ = whole.copy()
        places = rng.integers(132, len(whole) - 600, 6)
        bytes_[places] = rng.integers(0, 256, 6)
        path.write_bytes(bytes_[: int(rng.integers(400, len(whole) + 1))].tobytes())
        try:
            for number in range(len(list_volumes(path, case_id="c1"))):
                read_multiframe(path, case_id="c1", volume=number)
        except CaseError:
            continue
        read += 1
    assert read < 120


@pytest.mark.parametrize(
    ("sop_class", "modality"),
    [
        ("1.2.840.10008.5.1.4.1.1.2.1", "CT"),
        ("1.2.840.10008.5.1.4.1.1.130", "PT"),
        ("1.2.840.10008.5.1.4.1.1.13.1.3", "MG"),  # breast tomosynthesis
    ],
)
def test_volumes_of_other_modalities(tmp_path: Path, sop_class: str, modality: str) -> None:
    heights = [3.0, 0.0, 1.5]
    data, pixels = _enhanced([{"height": h, "slope": 0.5, "intercept": -8} for h in heights])
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = UID(sop_class)
    data.Modality, data.ImageLaterality = modality, "L"
    tree = DicomTree(save(data, tmp_path / "a.dcm"))
    assert len(tree) == 1
    case = tree[0]
    check_case(case)
    np.testing.assert_array_equal(case.image[..., 0], pixels[[1, 2, 0]] * 0.5 - 8)
    assert case.geometry is not None
    assert case.geometry.spacing == pytest.approx((1.5, 0.5, 0.75))
    np.testing.assert_allclose(to_world(case.geometry, [0, 0, 0]), [5, -4, 3], atol=1e-5)
    assert case.meta["modality"] == modality
    assert case.meta["laterality"] == "L"


def test_an_angiography_run_has_time_for_depth(tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 1024, (5, 9, 7)).astype(np.uint16)
    data = image(
        pixels,
        SOPClassUID="1.2.840.10008.5.1.4.1.1.12.1",
        Modality="XA",
        FrameTime="66.7",
        ImagerPixelSpacing=[0.3, 0.3],
    )
    read = read_multiframe(save(data, tmp_path / "a.dcm"), case_id="c1")
    np.testing.assert_array_equal(read.image[..., 0], pixels)
    assert (read.geometry, read.meta["axis"]) == (None, "time")


def test_axes_keep_all_their_digits(tmp_path: Path) -> None:
    frames: list[dict[str, Any]] = [{"height": 2.5 * z} for z in range(40)]
    data, _ = _enhanced(frames)
    third = 1 / 3
    axes = [third * 2, -third * 2, third, third, third * 2, third * 2]
    normal = np.cross(axes[:3], axes[3:])
    shared = data.SharedFunctionalGroupsSequence[0]
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = [f"{v:.12f}" for v in axes]
    for place, group in enumerate(data.PerFrameFunctionalGroupsSequence):
        position = [f"{v:.8f}" for v in 2.5 * place * normal]
        group.PlanePositionSequence[0].ImagePositionPatient = position
    geometry = read_multiframe(save(data, tmp_path / "a.dcm"), case_id="c1").geometry
    assert geometry is not None
    assert geometry.positions == ()
    corner = to_world(geometry, [39, 0, 1000])
    wanted = 39 * 2.5 * normal + 750 * np.array(axes[:3])
    np.testing.assert_allclose(corner, wanted, atol=1e-4)
