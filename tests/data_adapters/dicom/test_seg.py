"""Segmentations written by highdicom come back as built, on their own grid and on the images'."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from data_adapters.case import Geometry
from data_adapters.dicom.placing import Region, as_volume, on_grid
from data_adapters.dicom.seg import Segmentation, read_seg
from data_adapters.errors import CaseError
from data_adapters.geometry import to_index, to_world, triple
from tests.data_adapters.dicom.annotations import (
    ct_series,
    random_geometry,
    rtstruct,
    save,
    seg,
    sources,
)

CASE = "c0123456789"
SHAPE = (6, 9, 13)
LARGER = (5, 40, 48)


def _painted(regions: list[Region], name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    full = np.zeros(shape, np.float32)
    for region in regions:
        if region.label.name == name:
            high, wide = region.values.shape
            view = full[
                region.slice,
                region.row : region.row + high,
                region.column : region.column + wide,
            ]
            np.maximum(view, region.values, out=view)
    return full


def _masks(rng: np.random.Generator, count: int = 2) -> NDArray[np.uint8]:
    masks = (rng.random((*SHAPE, count)) < 0.3).astype(np.uint8)
    masks[2] = 0
    masks[..., -1][4] = 0
    return masks


def _read(dataset: pydicom.Dataset, folder: Path) -> Segmentation:
    return read_seg(save(dataset, folder / "seg.dcm"), case_id=CASE)


@pytest.mark.parametrize("seed", [0, 1])
def test_overlapping_binary_segments_of_an_oblique_shuffled_stack(
    seed: int, tmp_path: Path
) -> None:
    rng = np.random.default_rng(seed)
    geometry, masks = random_geometry(rng), _masks(rng)
    images = ct_series(geometry, SHAPE)
    order = rng.permutation(SHAPE[0])
    made = seg([images[k] for k in order], masks[order], "BINARY")
    frames = list(made.PerFrameFunctionalGroupsSequence)
    shuffle = rng.permutation(len(frames))
    bits = np.unpackbits(np.frombuffer(made.PixelData, np.uint8), bitorder="little")
    bits = bits[: len(frames) * SHAPE[1] * SHAPE[2]].reshape(len(frames), -1)
    made.PerFrameFunctionalGroupsSequence = [frames[k] for k in shuffle]
    packed = np.packbits(bits[shuffle].ravel(), bitorder="little").tobytes()
    made.PixelData = packed + b"\0" * (len(packed) % 2)
    read = _read(made, tmp_path)
    assert (read.kind, read.overlapping) == ("binary", True)
    assert [s.label.name for s in read.segments] == ["part 1", "part 2"]
    assert read.geometry is not None
    assert {finding.code for finding in read.findings} == {"sparse-frames"}
    for k in range(2):
        np.testing.assert_array_equal(read.array(k), masks[..., k])
    corner = to_world(geometry, [3, 4, 5])
    np.testing.assert_allclose(to_world(read.geometry, [3, 4, 5]), corner, atol=1e-3)
    regions, findings = on_grid(read, geometry, SHAPE, sources=sources(images), case_id=CASE)
    assert {finding.code for finding in findings} == {"sparse-frames"}
    for k in range(2):
        np.testing.assert_array_equal(_painted(regions, f"part {k + 1}", SHAPE), masks[..., k])


def test_fractions_are_scaled_to_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    geometry = random_geometry(rng)
    stored = rng.integers(0, 201, (*SHAPE, 1))
    images = ct_series(geometry, SHAPE)
    made = seg(images, stored / 200, "FRACTIONAL", max_fractional_value=200)
    read = _read(made, tmp_path)
    assert (read.kind, read.fractional) == ("fractional", "PROBABILITY")
    assert read.array(0).dtype == np.float32
    np.testing.assert_allclose(read.array(0), stored[..., 0] / 200, atol=1e-6)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless, JPEG2000Lossless])
def test_label_maps_leave_absent_frames_and_padding_as_background(
    syntax: str, tmp_path: Path
) -> None:
    rng = np.random.default_rng(3)
    geometry = random_geometry(rng)
    labels = rng.integers(0, 4, LARGER).astype(np.uint8)
    labels[[1, 3]] = 0
    made = seg(ct_series(geometry, LARGER), labels, "LABELMAP", syntax=syntax)
    made.PixelPaddingValue = 3
    read = _read(made, tmp_path)
    assert (read.kind, read.overlapping, read.shape) == ("labelmap", False, LARGER)
    found = [s.number for s in read.segments]
    for k in range(2):
        np.testing.assert_array_equal(read.array(found.index(k + 1)), labels == k + 1)
    assert not read.array(found.index(3)).any()


def test_a_palette_does_not_change_labels(tmp_path: Path) -> None:
    rng = np.random.default_rng(19)
    labels = rng.integers(0, 4, SHAPE).astype(np.uint8)
    made = seg(ct_series(random_geometry(rng), SHAPE), labels, "LABELMAP")
    made.PhotometricInterpretation = "PALETTE COLOR"
    for colour in ("Red", "Green", "Blue"):
        setattr(made, f"{colour}PaletteColorLookupTableDescriptor", [4, 0, 16])
        table = rng.integers(0, 1 << 16, 4).astype(np.uint16).tobytes()
        setattr(made, f"{colour}PaletteColorLookupTableData", table)
    read = _read(made, tmp_path)
    assert [s.number for s in read.segments] == [1, 2, 3]
    for k in range(3):
        np.testing.assert_array_equal(read.array(k), labels == k + 1)


def test_compressed_fractions_are_decoded(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    stored = rng.integers(0, 256, (*LARGER, 1))
    images = ct_series(random_geometry(rng), LARGER)
    for syntax in (RLELossless, JPEGLSLossless):
        read = _read(seg(images, stored / 255, "FRACTIONAL", syntax=syntax), tmp_path)
        np.testing.assert_allclose(read.array(0), stored[..., 0] / 255, atol=1e-6)


def test_compressed_bits_and_big_endian_words(tmp_path: Path) -> None:
    rng = np.random.default_rng(17)
    masks = (rng.random((*LARGER, 1)) < 0.3).astype(np.uint8)
    images = ct_series(random_geometry(rng), LARGER)
    read = _read(seg(images, masks, "BINARY", syntax=JPEG2000Lossless), tmp_path)
    np.testing.assert_array_equal(read.array(0), masks[..., 0])
    words = seg(images, masks, "BINARY")
    words["PixelData"].VR = "OW"
    words.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    path = tmp_path / "words.dcm"
    options = {"little_endian": False, "implicit_vr": False, "enforce_file_format": True}
    plain = pydicom.Dataset(words)
    plain.file_meta = words.file_meta
    pydicom.dcmwrite(path, plain, **options)
    with pytest.raises(CaseError) as caught:
        read_seg(path, case_id=CASE)
    assert caught.value.kind == "unsupported"


def test_an_unknown_compression_is_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(18)
    masks = np.ones((*LARGER, 1), np.uint8)
    made = seg(ct_series(random_geometry(rng), LARGER), masks, "BINARY", syntax=JPEG2000Lossless)
    path = save(made, tmp_path / "seg.dcm")
    known, unknown = JPEG2000Lossless.encode(), JPEG2000Lossless.replace(".90", ".99").encode()
    path.write_bytes(path.read_bytes().replace(known, unknown, 1))
    with pytest.raises(CaseError) as caught:
        read_seg(path, case_id=CASE)
    assert caught.value.kind == "codec"


def test_values_without_a_segment_are_reported(tmp_path: Path) -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[2, 3, 4], labels[2, 3, 5] = 1, 2
    made = seg(ct_series(random_geometry(np.random.default_rng(5)), SHAPE), labels, "LABELMAP")
    made.SegmentSequence = [item for item in made.SegmentSequence if item.SegmentNumber != 2]
    read = _read(made, tmp_path)
    assert [finding.code for finding in read.findings] == ["unknown-values"]
    assert "describes: 2" in read.findings[0].message
    assert [s.number for s in read.segments] == [1]


def test_flipped_transposed_and_reversed_images_get_the_same_voxels(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    geometry, masks = random_geometry(rng), _masks(rng, 1)
    read = _read(seg(ct_series(geometry, SHAPE), masks, "BINARY"), tmp_path)
    (normal, down, right), (dz, dy, dx) = geometry.direction, geometry.spacing
    minus = {axis: triple(-np.asarray(axis)) for axis in geometry.direction}
    last = triple(to_world(geometry, [SHAPE[0] - 1, 0, SHAPE[2] - 1]))
    turned = Geometry((dz, dx, dy), last, (minus[normal], minus[right], down))
    regions, findings = on_grid(read, turned, (6, 13, 9), case_id=CASE)
    want = masks[::-1, :, ::-1, 0].transpose(0, 2, 1)
    np.testing.assert_array_equal(_painted(regions, "part 1", (6, 13, 9)), want)
    assert "mask-resampled" not in {finding.code for finding in findings}


def test_what_lies_outside_the_image_is_reported(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    geometry, masks = random_geometry(rng), _masks(rng, 1)
    read = _read(seg(ct_series(geometry, SHAPE), masks, "BINARY"), tmp_path)
    inner = replace(geometry, origin=triple(to_world(geometry, [1, 2, 3])))
    regions, findings = on_grid(read, inner, (4, 5, 6), case_id=CASE)
    want = masks[1:5, 2:7, 3:9, 0]
    np.testing.assert_array_equal(_painted(regions, "part 1", (4, 5, 6)), want)
    lost = int(masks.sum() - want.sum())
    said = [finding.message for finding in findings if finding.code == "mask-off-grid"]
    assert len(said) == 1
    assert said[0].startswith(f"{lost} voxels")


def test_another_grid_takes_the_nearest_voxel_and_says_so(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    geometry, masks = random_geometry(rng), np.zeros((*SHAPE, 1), np.uint8)
    masks[1:5, 2:8, 3:11, 0] = rng.integers(0, 2, (4, 6, 8))
    read = _read(seg(ct_series(geometry, SHAPE), masks, "BINARY"), tmp_path)
    finer = replace(
        geometry,
        spacing=(geometry.spacing[0] * 0.6, geometry.spacing[1] * 0.7, geometry.spacing[2] * 1.3),
        origin=triple(to_world(geometry, [0.217, 0.331, -0.143])),
    )
    shape = (9, 12, 10)
    regions, findings = on_grid(read, finer, shape, case_id=CASE)
    assert "mask-resampled" in {finding.code for finding in findings}
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    near = np.rint(to_index(geometry, to_world(finer, index))).astype(int)
    inside = ((near >= 0) & (near < SHAPE)).all(-1)
    want = np.where(inside, masks[..., 0][tuple(np.clip(near, 0, np.array(SHAPE) - 1).T)].T, 0)
    np.testing.assert_array_equal(_painted(regions, "part 1", shape), want)
    assert want.any()


def test_positions_win_over_references(tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    geometry, masks = random_geometry(rng), _masks(rng, 1)
    images = ct_series(geometry, SHAPE)
    read = _read(seg(images, masks, "BINARY"), tmp_path)
    crossed = sources(images[::-1])
    regions, findings = on_grid(read, geometry, SHAPE, sources=crossed, case_id=CASE)
    np.testing.assert_array_equal(_painted(regions, "part 1", SHAPE), masks[..., 0])
    assert "reference-mismatch" in {finding.code for finding in findings}


def test_irregular_stacks_keep_each_slice(tmp_path: Path) -> None:
    rng = np.random.default_rng(10)
    geometry, masks = random_geometry(rng), _masks(rng, 1)
    heights = np.cumsum([0, 2.0, 2.9, 2.0, 4.13, 2.0])
    starts = np.asarray(geometry.origin) + heights[:, None] * geometry.direction[0]
    uneven = replace(geometry, positions=tuple(triple(start) for start in starts))
    masks[[2, 4]] = 1
    read = _read(seg(ct_series(uneven, SHAPE), masks, "BINARY"), tmp_path)
    assert read.geometry is not None
    assert len(read.geometry.positions) == 6
    regions, _ = on_grid(read, uneven, SHAPE, case_id=CASE)
    np.testing.assert_array_equal(_painted(regions, "part 1", SHAPE), masks[..., 0])


def test_a_tilted_stack_keeps_its_shear(tmp_path: Path) -> None:
    rng = np.random.default_rng(16)
    geometry, masks = random_geometry(rng), _masks(rng, 1)
    step, down = geometry.spacing[0], np.asarray(geometry.direction[1])
    slant = step * (np.asarray(geometry.direction[0]) + 0.36 * down)
    starts = [triple(np.asarray(geometry.origin) + k * slant) for k in range(SHAPE[0])]
    tilted = replace(geometry, positions=tuple(starts))
    read = _read(seg(ct_series(tilted, SHAPE), masks, "BINARY"), tmp_path)
    assert read.geometry is not None
    assert read.geometry.spacing[0] == pytest.approx(step, abs=1e-4)
    np.testing.assert_allclose(read.geometry.positions, starts, atol=1e-3)
    np.testing.assert_array_equal(read.array(0), masks[..., 0])
    regions, findings = on_grid(read, tilted, SHAPE, case_id=CASE)
    np.testing.assert_array_equal(_painted(regions, "part 1", SHAPE), masks[..., 0])
    assert {finding.code for finding in findings} == {"sparse-frames"}


def test_nearest_voxels_do_not_fill_gaps(tmp_path: Path) -> None:
    rng = np.random.default_rng(15)
    geometry = random_geometry(rng)
    heights = np.array([0, 2.0, 4.0, 21.7, 23.9, 26.2])
    starts = np.asarray(geometry.origin) + heights[:, None] * geometry.direction[0]
    gap = replace(geometry, positions=tuple(triple(start) for start in starts))
    masks = np.ones((*SHAPE, 1), np.uint8)
    read = _read(seg(ct_series(gap, SHAPE), masks, "BINARY"), tmp_path)
    finer = replace(geometry, spacing=(1.0, *geometry.spacing[1:]))
    regions, findings = on_grid(read, finer, (28, *SHAPE[1:]), case_id=CASE)
    assert "mask-resampled" in {finding.code for finding in findings}
    filled = _painted(regions, "part 1", (28, *SHAPE[1:])).any((1, 2))
    assert np.flatnonzero(filled).tolist() == [*range(6), *range(21, 28)]


def test_a_picture_without_position_goes_by_reference(tmp_path: Path) -> None:
    rng = np.random.default_rng(11)
    geometry, masks = random_geometry(rng), np.ones((1, 9, 13, 1), np.uint8)
    image = ct_series(geometry, (1, 9, 13))
    made = seg(image, masks, "BINARY")
    frame = made.PerFrameFunctionalGroupsSequence[0]
    del frame.PlanePositionSequence
    read = _read(made, tmp_path)
    assert read.geometry is None
    regions, _ = on_grid(read, None, (9, 13), sources=sources(image), case_id=CASE)
    assert _painted(regions, "part 1", (1, 9, 13)).all()
    for shape, known in (((9, 13), {}), ((8, 13), sources(image))):
        with pytest.raises(CaseError) as caught:
            on_grid(read, None, shape, sources=known, case_id=CASE)
        assert caught.value.kind == "mask-grid"


def test_a_picture_with_position_is_a_volume_of_one_slice(tmp_path: Path) -> None:
    rng = np.random.default_rng(12)
    geometry, masks = random_geometry(rng), _masks(rng, 1)
    read = _read(seg(ct_series(geometry, SHAPE), masks, "BINARY"), tmp_path)
    place = triple(to_world(geometry, [3, 0, 0]))
    picture = Geometry(geometry.spacing[1:], place, geometry.direction[1:])
    volume = as_volume(picture, thickness=geometry.spacing[0])
    assert volume is not None
    np.testing.assert_allclose(volume.direction[0], geometry.direction[0], atol=1e-9)
    regions, _ = on_grid(read, volume, SHAPE[1:], case_id=CASE)
    np.testing.assert_array_equal(_painted(regions, "part 1", (1, 9, 13))[0], masks[3, ..., 0])


def test_names_that_repeat_the_patient_are_not_used(tmp_path: Path) -> None:
    rng = np.random.default_rng(13)
    images = ct_series(random_geometry(rng), SHAPE)
    names = ["liver of PHANTOM-7", "Seven's cyst"]
    read = _read(seg(images, _masks(rng), "BINARY", names=names), tmp_path)
    assert [s.label.name for s in read.segments] == ["Connective tissue"] * 2


def test_damaged_and_foreign_files_are_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(14)
    images = ct_series(random_geometry(rng), SHAPE)
    made = seg(images, _masks(rng), "BINARY")
    path = save(made, tmp_path / "seg.dcm")
    whole = path.read_bytes()

    def kind(target: Path) -> str:
        with pytest.raises(CaseError) as caught:
            read_seg(target, case_id=CASE)
        assert str(tmp_path) not in str(caught.value)
        assert "PHANTOM" not in str(caught.value)
        return caught.value.kind

    assert kind(tmp_path / "absent.dcm") == "missing"
    (tmp_path / "cut.dcm").write_bytes(whole[:-40])
    assert kind(tmp_path / "cut.dcm") in ("truncated", "corrupt")
    (tmp_path / "empty.dcm").write_bytes(b"")
    assert kind(tmp_path / "empty.dcm") == "zero-byte"
    (tmp_path / "text.dcm").write_bytes(b"liver" * 100)
    assert kind(tmp_path / "text.dcm") == "not-dicom"
    assert kind(save(images[0], tmp_path / "image.dcm")) == "other-object"
    assert kind(save(rtstruct(images, {}), tmp_path / "rt.dcm")) == "other-object"
    twin = pydicom.dcmread(path)
    second = twin.PerFrameFunctionalGroupsSequence
    second[1].PlanePositionSequence = second[0].PlanePositionSequence
    assert kind(save(twin, tmp_path / "twin.dcm")) == "duplicate-frames"
    mixed = pydicom.dcmread(path)
    plane = mixed.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0]
    other = pydicom.Dataset()
    other.ImageOrientationPatient = [-v for v in plane.ImageOrientationPatient]
    mixed.PerFrameFunctionalGroupsSequence[0].PlaneOrientationSequence = [other]
    assert kind(save(mixed, tmp_path / "mixed.dcm")) == "mixed-orientation"
    fewer = pydicom.dcmread(path)
    fewer.NumberOfFrames = 3
    assert kind(save(fewer, tmp_path / "fewer.dcm")) == "corrupt"
    tiled = pydicom.dcmread(path)
    tiled.DimensionOrganizationType = "TILED_FULL"
    assert kind(save(tiled, tmp_path / "tiled.dcm")) == "whole-slide"
    huge = pydicom.dcmread(path)
    huge.NumberOfFrames = 2**30
    assert kind(save(huge, tmp_path / "huge.dcm")) == "bomb"
