"""Tables of points and boxes, good and odd."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from PIL import Image
from scipy.spatial.transform import Rotation

import data_adapters
from data_adapters.errors import CaseError, DataError
from data_adapters.layouts.luna import Luna
from data_adapters.privacy import patient_pseudonym

HEADER = "seriesuid,coordX,coordY,coordZ,diameter_mm\n"
UIDS = ("1.2.840.1.100", "1.2.840.1.200", "1.2.840.1.300")


def scan(path: Path, seed: int, *, oblique: bool = True) -> SimpleITK.Image:
    """A volume of 9 x 10 x 11 voxels of 2.5 x 0.7 x 0.8 mm (slice, row, column)."""
    rng = np.random.default_rng(seed)
    image = SimpleITK.GetImageFromArray(rng.integers(-1000, 400, (9, 10, 11)).astype(np.int16))
    image.SetSpacing((0.8, 0.7, 2.5))
    image.SetOrigin([float(v) for v in rng.uniform(-100, 100, 3)])
    if oblique:
        image.SetDirection(Rotation.random(random_state=seed).as_matrix().ravel().tolist())
    path.parent.mkdir(parents=True, exist_ok=True)
    SimpleITK.WriteImage(image, str(path))
    return image


@pytest.fixture
def luna(tmp_path: Path) -> tuple[Path, list[SimpleITK.Image]]:
    """Three scans in subsets, the masks of their lungs, and nodules in two of them."""
    images = [
        scan(tmp_path / f"subset{i}" / f"{uid}.mhd", i, oblique=i > 0) for i, uid in enumerate(UIDS)
    ]
    scan(tmp_path / "seg-lungs-LUNA16" / f"{UIDS[0]}.mhd", 9)
    rows = HEADER
    for k, spot in ((0, (5, 4, 3)), (0, (2, 2, 7)), (1, (6, 5, 4))):
        x, y, z = images[k].TransformContinuousIndexToPhysicalPoint([v + 0.25 for v in spot])
        rows += f"{UIDS[k]},{x},{y},{z},4.2\n"
    (tmp_path / "annotations.csv").write_text(rows)
    return tmp_path, images


def test_world_points_become_voxels(luna: tuple[Path, list[SimpleITK.Image]]) -> None:
    root, images = luna
    data = data_adapters.open(root)
    assert (data.kind, data.task, data.class_names) == ("luna", "detection", ("nodule",))
    assert len(data) == 3
    assert data.findings == ()
    spots = [[(3.25, 4.25, 5.25), (7.25, 2.25, 2.25)], [(4.25, 5.25, 6.25)], []]
    for i in range(3):
        case = data[i]
        np.testing.assert_array_equal(case.image[..., 0], SimpleITK.GetArrayFromImage(images[i]))
        assert len(case.lesions) == len(spots[i])
        for lesion, wanted in zip(case.lesions, spots[i], strict=True):
            np.testing.assert_allclose(lesion.centre, wanted, atol=1e-4)
            assert lesion.radius == pytest.approx((2.1 / 0.7 + 2.1 / 0.8) / 2)
    box = np.array(data[1].lesions[0].box)
    np.testing.assert_allclose(
        box, [4.75 - 0.84, 5.75 - 3, 6.75 - 2.625, 4.75 + 0.84, 5.75 + 3, 6.75 + 2.625], atol=1e-4
    )
    assert "1 of 3 images have no mark" in data.notes


def test_the_box_encloses_the_sphere_on_an_oblique_anisotropic_grid(
    luna: tuple[Path, list[SimpleITK.Image]],
) -> None:
    root, images = luna
    lesion = data_adapters.open(root)[1].lesions[0]
    assert lesion.centre is not None
    assert lesion.box is not None
    middle = np.array(images[1].TransformContinuousIndexToPhysicalPoint(lesion.centre[::-1]))
    way = np.random.default_rng(0).normal(size=(4000, 3))
    surface = middle + 2.1 * way / np.linalg.norm(way, axis=1, keepdims=True)
    spots = np.array(
        [images[1].TransformPhysicalPointToContinuousIndex(list(p))[::-1] for p in surface]
    )
    np.testing.assert_allclose(spots.min(axis=0) + 0.5, lesion.box[:3], atol=0.02)
    np.testing.assert_allclose(spots.max(axis=0) + 0.5, lesion.box[3:], atol=0.02)


def test_candidates_have_classes_and_may_be_chosen(
    luna: tuple[Path, list[SimpleITK.Image]],
) -> None:
    root, images = luna
    x, y, z = images[2].TransformContinuousIndexToPhysicalPoint((1, 2, 3))
    text = (
        f"seriesuid,coordX,coordY,coordZ,class\n{UIDS[2]},{x},{y},{z},1\n{UIDS[2]},{x},{y},{z},0\n"
    )
    (root / "candidates.csv").write_text(text)
    data = Luna(root, table="candidates.csv")
    assert data.class_names == ("0", "1")
    case = data[2]
    assert [lesion.label for lesion in case.lesions] == [1, 0]
    assert case.lesions[0].radius is None
    np.testing.assert_allclose(case.lesions[0].centre, (3, 2, 1), atol=1e-4)
    alone = data_adapters.open(root / "candidates.csv")
    assert alone[2].lesions == case.lesions


def test_points_outside_and_absent_series_are_reported(
    luna: tuple[Path, list[SimpleITK.Image]],
) -> None:
    root, images = luna
    far = images[0].TransformContinuousIndexToPhysicalPoint((20, 2, 2))
    near = images[0].TransformContinuousIndexToPhysicalPoint((10.4, 2, 2))
    rows = [f"{UIDS[0]},{x},{y},{z},5" for x, y, z in (far, near)]
    rows += [f"{UIDS[1]},{near[0]},{near[1]},{near[2]},0", "1.2.3,1,1,1,1"]
    (root / "annotations.csv").write_text(HEADER + "\n".join(rows) + "\n")
    data = Luna(root)
    assert [s.kind for s in data.skipped] == ["missing"]
    codes = [(f.code, f.severity, f.case_id) for f in data.findings]
    assert codes[0] == ("box-outside", "error", data.index[0].case_id)
    (only,) = data[0].lesions
    np.testing.assert_allclose(only.centre, (2, 2, 10.4), atol=1e-4)
    assert only.box[5] == 11
    assert data[0].meta["reading"] == ("box-outside",)
    assert "1.2.3" not in repr(data.skipped) + repr(data.notes)


def test_voxel_coordinates_and_boxes(tmp_path: Path) -> None:
    scan(tmp_path / "a.nii.gz", 4)
    rows = "path,x,y,z,diameter,label\na.nii.gz,5,4,3,4,cyst\na.nii.gz,2,2,2,2,mass\n"
    (tmp_path / "t.csv").write_text(rows)
    data = data_adapters.open(tmp_path / "t.csv", format="luna", frame="voxel")
    assert data.class_names == ("cyst", "mass")
    first = data[0].lesions[0]
    assert (first.label, first.centre, first.radius) == (0, (3, 4, 5), 2)
    assert first.box == (1.5, 2.5, 3.5, 5.5, 6.5, 7.5)
    (tmp_path / "t.csv").write_text(rows.replace("diameter", "diameter_mm"))
    mm = Luna(tmp_path / "t.csv", frame="voxel")[0].lesions[0]
    np.testing.assert_allclose(mm.box[3], 3.5 + 2 / 2.5)
    (tmp_path / "t.csv").write_text(
        "path,xmin,ymin,zmin,xmax,ymax,zmax\na.nii.gz,1,2,3,4,6,8\na.nii.gz,1,2,3,1,6,8\n"
    )
    boxes = Luna(tmp_path / "t.csv", frame="voxel")
    assert [lesion.box for lesion in boxes[0].lesions] == [(3, 2, 1, 8, 6, 4)]
    assert [f.code for f in boxes.findings] == ["box-degenerate"]


def test_world_boxes_cover_their_corners(tmp_path: Path) -> None:
    image = scan(tmp_path / "a.nrrd", 5, oblique=False)
    low = image.TransformContinuousIndexToPhysicalPoint((1.5, 2.5, 3.5))
    high = image.TransformContinuousIndexToPhysicalPoint((4.5, 6.5, 7.5))
    numbers = ",".join(map(str, (*low, *high)))
    text = f"path,x1,y1,z1,x2,y2,z2,patient\na.nrrd,{numbers},Doe\na.nrrd,,,,,,,Doe\n"
    (tmp_path / "t.csv").write_text(text)
    data = Luna(tmp_path / "t.csv", frame="world")
    np.testing.assert_allclose(data[0].lesions[0].box, (4, 3, 2, 8, 7, 5), atol=1e-4)
    assert data.index[0].patient_id == patient_pseudonym("Doe")


def test_boxes_on_pictures_and_images_without_marks(tmp_path: Path) -> None:
    for name in "ab":
        Image.fromarray(np.zeros((20, 30), np.uint8)).save(tmp_path / f"{name}.png")
    text = "path,x1,y1,x2,y2,class\na.png,4,2,14,7,mass\na.png,50,2,60,7,mass\nb.png,,,,,\n"
    (tmp_path / "t.csv").write_text(text + "gone.png,1,1,2,2,mass\n")
    data = Luna(tmp_path / "t.csv", frame="voxel")
    assert [lesion.box for lesion in data[0].lesions] == [(2, 4, 7, 14)]
    assert data[0].meta["reading"] == ("box-outside",)
    assert data[1].lesions == ()
    assert [s.kind for s in data.skipped] == ["missing"]
    (tmp_path / "t.csv").write_text("path,x,y,z\na.png,1,1,1\n")
    with pytest.raises(CaseError, match="marks of 3 axes on an image of 2"):
        Luna(tmp_path / "t.csv", frame="voxel")[0]
    (tmp_path / "t.csv").write_text("path,x,y,diameter\na.png,1,1,3\n")
    with pytest.raises(CaseError, match="does not say where it lies"):
        Luna(tmp_path / "t.csv", frame="world")[0]


@pytest.mark.parametrize(
    ("text", "said", "options"),
    [
        ("a,b\n1,2\n", "no column 'seriesuid' or 'path'", {}),
        ("path,b\na,2\n", "no columns of coordinates", {}),
        ("path,x,y\na.png,1,2\n", "give frame='world'", {}),
        ("path,x,y\na.png,1,2\n", "frame='mm': wanted", {"frame": "mm"}),
        ("path,x,y\na.png,1,two\n", "'y' of t.csv holds no number in line 2", {"frame": "voxel"}),
        ("path,x,y\na.png,1,inf\n", "holds no number", {"frame": "voxel"}),
        ("path,x,y\n,1,2\n", "is blank in line 2", {"frame": "voxel"}),
        ("path,x,y,class\na,1,2,m\na,1,2,\n", "line 3 of t.csv has coordinates and no class",
         {"frame": "voxel"}),
        ("path,x,y,patient\na,1,2,P\na,1,2,Q\n", "two patients", {"frame": "voxel"}),
        ("path,x,y\na.png,1,2\n", "no such folder", {"frame": "voxel", "images": "none"}),
        ("path,x,y\na.png,1,2\n", "is for a folder", {"table": "x"}),
        ("path,x,y\ngone.png,1,2\n", "none of the 1 files", {"frame": "voxel"}),
    ],
)  # fmt: skip
def test_damaged_tables_are_refused(
    tmp_path: Path, text: str, said: str, options: dict[str, Any]
) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError, match=said.replace(".", r"\.")):
        Luna(tmp_path / "t.csv", **options)


def test_a_spoilt_volume_keeps_its_row(luna: tuple[Path, list[SimpleITK.Image]]) -> None:
    root, _ = luna
    before = Luna(root).index
    (root / "subset0" / f"{UIDS[0]}.mhd").write_bytes(b"\0" * 100)
    after = Luna(root)
    assert after.index == before
    with pytest.raises(CaseError):
        after[0]


@pytest.mark.data
def test_dicom_series_are_found_by_their_uid(radzoo_data: Path, tmp_path: Path) -> None:
    source = next(p.parent for p in (radzoo_data / "dicom").rglob("ct-3slice/*.dcm"))
    folder = tmp_path / "scans"
    folder.symlink_to(source)
    image = data_adapters.open(source, format="dicom")[0]
    from pydicom import dcmread

    uid = dcmread(next(source.glob("*.dcm")), stop_before_pixels=True).SeriesInstanceUID
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(source), uid))
    wanted = reader.Execute()
    x, y, z = wanted.TransformContinuousIndexToPhysicalPoint((100.5, 200.25, 1))
    (tmp_path / "annotations.csv").write_text(f"{HEADER}{uid},{x},{y},{z},10\n")
    data = data_adapters.open(tmp_path)
    (case,) = [data[i] for i in range(len(data)) if data[i].lesions]
    assert data.kind == "luna"
    assert data.modality == "CT"
    np.testing.assert_array_equal(case.image, image.image)
    (lesion,) = case.lesions
    np.testing.assert_allclose(lesion.centre, (1, 200.25, 100.5), atol=1e-3)
    assert math.isclose(lesion.radius or 0, 5 / case.geometry.spacing[1], rel_tol=1e-6)
    assert uid not in repr(data.index) + repr(data.notes)
