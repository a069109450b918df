"""3D Slicer's segmentations: names, layers, crops and spaces, against SimpleITK's reading."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from numpy.typing import NDArray

import data_adapters
from data_adapters.case import Geometry, check_case
from data_adapters.dicom.placing import on_grid
from data_adapters.errors import CaseError
from data_adapters.geometry import from_sitk, same_grid, to_sitk, to_world, triple
from data_adapters.volumes.seg_nrrd import read_seg_nrrd, read_seg_nrrd_labels
from tests.data_adapters.dicom.annotations import random_geometry

CASE = "c0123456789"
LIVER = "Segmentation category and type~SCT^123037004^A~SCT^10200004^Liver~^^~Anatomic~^^~^^|"


def write(
    path: Path,
    layers: NDArray[Any],
    geometry: Geometry,
    segments: Sequence[dict[str, Any]],
    *,
    space: str = "left-posterior-superior",
    extra: Sequence[str] = (),
) -> Path:
    """A `.seg.nrrd` of (D, H, W, L) layers; one layer is written as a plain label map."""
    signs = np.array([-1, -1, 1] if space.startswith("right") else [1, 1, 1])

    def vector(values: Any) -> str:
        return "(" + ",".join(f"{v:.12g}" for v in np.asarray(values) * signs) + ")"

    steps = [
        vector(np.asarray(axis) * step)
        for axis, step in zip(geometry.direction[::-1], geometry.spacing[::-1], strict=True)
    ]
    several = layers.shape[-1] > 1
    sizes = list(layers.shape[2::-1])
    lines = [
        "NRRD0004",
        "type: unsigned char",
        f"dimension: {4 if several else 3}",
        f"space: {space}",
        "sizes: " + " ".join(map(str, ([layers.shape[-1]] if several else []) + sizes)),
        "space directions: " + " ".join((["none"] if several else []) + steps),
        "kinds: " + " ".join((["list"] if several else []) + ["domain"] * 3),
        "encoding: gzip",
        f"space origin: {vector(geometry.origin)}",
        "Segmentation_ReferenceImageExtentOffset:=0 0 0",
        *extra,
    ]
    for n, segment in enumerate(segments):
        lines += [f"Segment{n}_{key}:={value}" for key, value in segment.items()]
    values = layers if several else layers[..., 0]
    head = "\n".join(lines).encode() + b"\n\n"
    path.write_bytes(head + gzip.compress(np.ascontiguousarray(values, np.uint8).tobytes()))
    return path


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("space", ["left-posterior-superior", "right-anterior-superior"])
def test_one_layer_lies_where_its_header_says(
    space: str, rng: np.random.Generator, tmp_path: Path
) -> None:
    geometry, labels = random_geometry(rng), rng.integers(0, 3, (4, 5, 6, 1))
    segments = [
        {"Name": "cyst", "LabelValue": 2, "Layer": 0},
        {
            "Name": " liver \t left ",
            "LabelValue": 1,
            "Layer": 0,
            "Tags": "TerminologyEntry:" + LIVER,
        },
    ]
    path = write(tmp_path / "a.seg.nrrd", labels, geometry, segments, space=space)
    read = read_seg_nrrd(path, case_id=CASE)
    assert [s.label.name for s in read.segments] == ["cyst", "liver left"]
    assert [s.label.concept for s in read.segments] == ["", "SCT:10200004"]
    assert not read.overlapping
    image = SimpleITK.ReadImage(str(path))
    stored = SimpleITK.GetArrayFromImage(image)
    np.testing.assert_array_equal(read.array(0), stored == 2)
    np.testing.assert_array_equal(read.array(1), stored == 1)
    assert read.geometry is not None
    assert same_grid(read.geometry, from_sitk(image), tolerance=1e-6)
    assert same_grid(read.geometry, geometry, tolerance=1e-6)
    assert read_seg_nrrd_labels(path, case_id=CASE) == tuple(s.label for s in read.segments)


def test_layers_keep_overlapping_segments_apart(rng: np.random.Generator, tmp_path: Path) -> None:
    geometry, layers = random_geometry(rng), rng.integers(0, 3, (4, 5, 6, 2))
    layers[..., 1] = np.minimum(layers[..., 1], 1)
    segments = [
        {"Name": "a", "LabelValue": 1, "Layer": 0},
        {"Name": "b", "LabelValue": 2, "Layer": 0},
        {"Name": "c", "LabelValue": 1, "Layer": 1},
    ]
    path = write(tmp_path / "a.seg.nrrd", layers, geometry, segments)
    read = read_seg_nrrd(path, case_id=CASE)
    stored = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
    assert stored.shape == (4, 5, 6, 2)
    for k, (value, layer) in enumerate([(1, 0), (2, 0), (1, 1)]):
        np.testing.assert_array_equal(read.array(k), stored[..., layer] == value)
    assert read.overlapping
    assert read.findings == ()


def test_older_files_have_a_layer_per_segment(rng: np.random.Generator, tmp_path: Path) -> None:
    geometry, layers = random_geometry(rng), rng.integers(0, 2, (4, 5, 6, 2))
    path = write(tmp_path / "a.seg.nrrd", layers, geometry, [{"Name": "a"}, {"ID": "Segment_2"}])
    read = read_seg_nrrd(path, case_id=CASE)
    assert [s.label.name for s in read.segments] == ["a", "segment 2"]
    for k in range(2):
        np.testing.assert_array_equal(read.array(k), layers[..., k])


def test_a_crop_is_put_onto_the_image(rng: np.random.Generator, tmp_path: Path) -> None:
    geometry, labels = random_geometry(rng), np.zeros((6, 9, 8), np.uint8)
    labels[2:4, 3:7, 1:6] = rng.integers(0, 2, (2, 4, 5))
    inner = Geometry(geometry.spacing, triple(to_world(geometry, [2, 3, 1])), geometry.direction)
    crop = labels[2:4, 3:7, 1:6, None]
    path = write(tmp_path / "a.seg.nrrd", crop, inner, [{"Name": "a", "LabelValue": 1, "Layer": 0}])
    regions, findings = on_grid(
        read_seg_nrrd(path, case_id=CASE), geometry, labels.shape, case_id=CASE
    )
    full = np.zeros_like(labels)
    for region in regions:
        high, wide = region.values.shape
        rows, columns = region.row + high, region.column + wide
        full[region.slice, region.row : rows, region.column : columns] = region.values
    np.testing.assert_array_equal(full, labels)
    assert findings == []


def test_values_without_a_segment_are_reported(rng: np.random.Generator, tmp_path: Path) -> None:
    labels = rng.integers(0, 4, (4, 5, 6, 1))
    segments = [{"Name": "a", "LabelValue": 1, "Layer": 0}]
    path = write(tmp_path / "a.seg.nrrd", labels, random_geometry(rng), segments)
    (finding,) = read_seg_nrrd(path, case_id=CASE).findings
    assert (finding.severity, finding.code) == ("error", "unknown-values")
    assert finding.message.endswith("2, 3")


def test_what_is_no_segmentation_is_refused(rng: np.random.Generator, tmp_path: Path) -> None:
    geometry, labels = random_geometry(rng), rng.integers(0, 2, (4, 5, 6, 1))
    path = tmp_path / "a.seg.nrrd"

    def kind(segments: Sequence[dict[str, Any]], *extra: str) -> str:
        write(path, labels, geometry, segments, extra=extra)
        with pytest.raises(CaseError) as caught:
            read_seg_nrrd(path, case_id=CASE)
        assert caught.value.case_id == CASE
        return caught.value.kind

    one = {"Name": "a", "LabelValue": 1, "Layer": 0}
    assert kind([]) == "no-segments"
    assert kind([one | {"Layer": 3}]) == "header"
    assert kind([one | {"LabelValue": "x"}]) == "header"
    fractional = "Segmentation_SourceRepresentation:=Fractional labelmap"
    assert kind([one], fractional) == "unsupported"
    path.write_bytes(path.read_bytes()[:-9])
    assert kind_of(path) in ("truncated", "corrupt", "unsupported")
    image = to_sitk(labels[..., 0].astype(np.uint8), geometry)
    SimpleITK.WriteImage(image, str(tmp_path / "a.mha"))
    assert kind_of(tmp_path / "a.mha") == "no-segments"


def test_without_directions_it_lies_nowhere(rng: np.random.Generator, tmp_path: Path) -> None:
    geometry, labels = random_geometry(rng), rng.integers(0, 2, (4, 5, 6, 1))
    segments = [{"Name": "a", "LabelValue": 1, "Layer": 0}]
    path = write(tmp_path / "a.seg.nrrd", labels, geometry, segments)
    path.write_bytes(path.read_bytes().replace(b"space: left", b"#pace: left"))
    read = read_seg_nrrd(path, case_id=CASE)
    with pytest.raises(CaseError) as caught:
        on_grid(read, geometry, labels.shape[:3], case_id=CASE)
    assert caught.value.kind == "mask-grid"


def kind_of(path: Path) -> str:
    with pytest.raises(CaseError) as caught:
        read_seg_nrrd(path, case_id=CASE)
    return caught.value.kind


def test_a_folder_of_volumes_with_segmentations(rng: np.random.Generator, tmp_path: Path) -> None:
    shape = (6, 9, 8)
    made = {}
    for n, names in enumerate((["liver", "cyst"], ["cyst", "Liver"])):
        geometry, layers = random_geometry(rng), np.zeros((*shape, 2), np.uint8)
        layers[1:4, 2:6, 1:6, 0] = 1
        layers[3:5, 4:8, 3:7, 1] = 1
        made[n] = dict(
            zip([name.lower() for name in names], np.moveaxis(layers, -1, 0), strict=True)
        )
        image = to_sitk(rng.normal(size=shape).astype(np.float32), geometry)
        SimpleITK.WriteImage(image, str(tmp_path / f"case{n}.nrrd"))
        segments = [{"Name": name, "LabelValue": 1, "Layer": k} for k, name in enumerate(names)]
        if n:
            layers[3:5, 4:8, 3:7, 0] = 0
        write(tmp_path / f"case{n}.seg.nrrd", layers, geometry, segments)
    data = data_adapters.open(tmp_path)
    assert (data.kind, data.task, len(data)) == ("volumes", "segmentation", 2)
    assert tuple(name.lower() for name in data.class_names) == ("background", "cyst", "liver")
    first, second = data[0], data[1]
    check_case(first)
    check_case(second)
    assert first.masks is not None
    for k, name in enumerate(("cyst", "liver")):
        np.testing.assert_array_equal(first.masks[..., k], made[0][name])
    assert second.mask is not None
    np.testing.assert_array_equal(second.mask == 2, made[1]["liver"] == 1)
    np.testing.assert_array_equal(
        second.mask == 1, made[1]["cyst"] & ~made[1]["liver"].astype(bool)
    )
