"""DICOM trees as cases: volumes in order, labels by folder, what is left out, and precedence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset
from pydicom.uid import RLELossless

import data_adapters
from data_adapters.case import check_case
from data_adapters.dicom_tree import DicomTree
from data_adapters.dicom_write import write_dicom_series
from data_adapters.errors import DataError, FormatError
from data_adapters.geometry import to_world
from data_adapters.phantoms import Phantom, ct_volume
from tests.data_adapters.dicom.samples import image, save


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return ct_volume(3, shape=(6, 24, 24))


def _change(path: Path, **values: object) -> None:
    data = pydicom.dcmread(path)
    for keyword, value in values.items():
        setattr(data, keyword, value)
    data.save_as(path)


def _series(phantom: Phantom, folder: Path, *, patient: int = 1, series: int = 1) -> list[Path]:
    """A written volume whose file names say nothing about its order."""
    paths = write_dicom_series(phantom, folder, patient=patient, series=series)
    names = np.random.default_rng(series).permutation(len(paths))
    moved = [p.rename(p.with_name(f"f{n}")) for p, n in zip(paths, names, strict=True)]
    for path in moved:
        _change(path, InstanceNumber=1)
    return moved


def test_volumes_come_back_as_written(tmp_path: Path, phantom: Phantom) -> None:
    _series(phantom, tmp_path / "a" / "s", patient=1)
    _series(phantom, tmp_path / "b" / "s", patient=2, series=2)
    data = data_adapters.open(tmp_path)
    assert (data.kind, len(data), data.task, data.modality) == ("dicom", 2, "unlabelled", "CT")
    case = data[0]
    check_case(case)
    assert case.padding is None or phantom.padding is not None
    inside = np.ones(case.image.shape[:-1], bool) if case.padding is None else ~case.padding
    np.testing.assert_array_equal(case.image[inside], np.rint(phantom.image)[inside])
    assert case.geometry is not None
    for index in ([0, 0, 0], [5, 3, 9]):
        wanted = to_world(phantom.geometry, index)
        np.testing.assert_allclose(to_world(case.geometry, index), wanted, atol=1e-3)
    rows = data.index
    assert len({row.patient_id for row in rows}) == 2
    assert rows[0].date == "2000-01-01"
    assert rows[0].study_id is not None
    assert (rows[0].study_id, rows[0].series_id) == (case.meta["study"], case.meta["series"])


def test_labels_and_parts_by_folder(tmp_path: Path, phantom: Phantom) -> None:
    for i, (part, name) in enumerate([("train", "sick"), ("train", "well"), ("test", "sick")]):
        _series(phantom, tmp_path / part / name / str(i), patient=i, series=i)
    data = data_adapters.open(tmp_path, label="folder", positive="sick")
    assert (data.class_names, data.task, data.positive) == (("sick", "well"), "single", "sick")
    assert [(row.part, row.label) for row in data.index] == [
        ("test", 0),
        ("train", 0),
        ("train", 1),
    ]
    assert data[2].label == 1


def test_choosing_and_leaving_out(tmp_path: Path, phantom: Phantom) -> None:
    _series(phantom, tmp_path / "a", patient=1)
    short = _series(phantom, tmp_path / "b", patient=2, series=2)
    for path in short[2:]:
        path.unlink()
    scout = write_dicom_series(phantom, tmp_path / "c", series=3)[0]
    for path in (tmp_path / "c").iterdir():
        if path != scout:
            path.unlink()
    _change(scout, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    data = DicomTree(tmp_path, minimum_slices=3)
    assert len(data) == 1
    assert sorted(skip.kind for skip in data.skipped) == ["few-slices", "localizer"]
    assert len(DicomTree(tmp_path, modality="CT")) == 2
    assert len(DicomTree(tmp_path, modality="CT-liver")) == 2
    with pytest.raises(DataError, match="known: 'CT'"):
        DicomTree(tmp_path, modality="MR")
    with pytest.raises(DataError, match="minimum_slices=0"):
        DicomTree(tmp_path, minimum_slices=0)
    with pytest.raises(DataError, match="label='folder'"):
        DicomTree(tmp_path, label="name")


def test_a_missing_slice_is_a_finding_of_its_case(tmp_path: Path, phantom: Phantom) -> None:
    paths = write_dicom_series(phantom, tmp_path / "s")
    paths[2].unlink()
    data = DicomTree(tmp_path)
    found = {finding.code: finding for finding in data.findings}
    assert found["missing-slices"].case_id == data.index[0].case_id
    geometry = data[0].geometry
    assert geometry is not None
    assert len(geometry.positions) == 5


def test_single_files_and_directories(tmp_path: Path, phantom: Phantom) -> None:
    path = write_dicom_series(phantom, tmp_path / "s")[3]
    one = data_adapters.open(path)
    assert (one.kind, len(one), one[0].image.shape) == ("dicom", 1, (24, 24, 1))
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "a.txt").write_text("x")
    with pytest.raises(FormatError, match="no DICOM"):
        DicomTree(tmp_path / "empty")


def test_series_are_opened_for_prediction(tmp_path: Path, phantom: Phantom) -> None:
    _series(phantom, tmp_path / "new" / "a")
    (tmp_path / "new" / "a" / "broken.dcm").write_bytes(b"x" * 200)
    data = data_adapters.open_files(tmp_path / "new")
    assert (data.kind, len(data), data.task) == ("dicom", 1, "unlabelled")
    assert data[0].image.shape == (6, 24, 24, 1)
    assert [skip.source for skip in data.skipped] == ["a/broken.dcm"]
    films = tmp_path / "films"
    for i in range(2):
        for path in write_dicom_series(phantom, films, patient=i, series=i, prefix=f"p{i}")[1:]:
            path.unlink()
    assert data_adapters.open_files(films).kind == "files"


def test_class_folders_of_single_films_stay_pictures(tmp_path: Path, phantom: Phantom) -> None:
    for i in range(4):
        folder = tmp_path / "xy"[i % 2]
        paths = write_dicom_series(phantom, folder, patient=i, series=i, prefix=f"p{i}")
        for path in paths[1:]:
            path.unlink()
    assert data_adapters.open(tmp_path).kind == "image_folder"
    assert data_adapters.open(tmp_path, format="dicom").kind == "dicom"


def test_no_name_of_a_patient_gets_out(tmp_path: Path, phantom: Phantom) -> None:
    def edit(data: FileDataset) -> None:
        data.PatientName = data.PatientID = data.InstitutionName = "Mustermann"
        data.SeriesDescription = data.StudyID = "Mustermann"

    for path in _series(phantom, tmp_path / "Mustermann"):
        dataset = pydicom.dcmread(path)
        edit(dataset)
        dataset.save_as(path)
    data = DicomTree(tmp_path)
    case = data[0]
    told = repr((data.index, data.notes, data.skipped, case.meta, case.case_id))
    assert "Mustermann" not in told
    assert data.index[0].site is not None


@pytest.mark.data
def test_real_mr_series(radzoo_data: Path) -> None:
    data = data_adapters.open(radzoo_data / "dicom" / "mr")
    shapes = [data[i].image.shape for i in range(len(data))]
    assert shapes == [(22, 512, 512, 1), (32, 51, 35, 1), (22, 512, 512, 1)]
    assert data.modality == "MR"


@pytest.mark.parametrize("seed", range(6))
def test_made_up_stacks_come_back_voxel_by_voxel(tmp_path: Path, seed: int) -> None:
    """Oblique, flipped, tilted and gapped stacks under shuffled names: values and places."""
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.normal(size=(3, 3)))[0] * rng.choice([-1, 1], size=(3, 1))
    along, down, normal = axes[0], axes[1], np.cross(axes[0], axes[1])
    tilt = rng.normal(0, 0.2) * down if seed % 2 else 0.0
    steps = np.where(rng.random(7) < 0.3 * (seed % 3 == 2), 2.0, 1.0) * 2.5
    heights = np.cumsum(steps)
    origins = rng.uniform(-99, 99, 3) + heights[:, None] * (normal + tilt)
    spacing = rng.uniform(0.5, 2, 2).round(4)
    values = rng.integers(-900, 900, (7, 33, 40)).astype(np.int16)
    for name, z in enumerate(rng.permutation(7)):
        data = image(values[z], Modality="MR", InstanceNumber=int(rng.integers(99)))
        data.ImagePositionPatient = [f"{v:.9g}" for v in origins[z]]
        data.ImageOrientationPatient = [f"{v:.12g}" for v in (*along, *down)]
        data.PixelSpacing = [f"{v:g}" for v in spacing]
        if seed > 3:
            data.compress(RLELossless, encoding_plugin="pylibjpeg", generate_instance_uid=False)
        save(data, tmp_path / f"{name}.dcm")
    case = DicomTree(tmp_path)[0]
    np.testing.assert_array_equal(case.image[..., 0], values)
    assert case.geometry is not None
    for z in range(7):
        row, column = rng.integers(0, 33), rng.integers(0, 40)
        wanted = origins[z] + row * spacing[0] * down + column * spacing[1] * along
        np.testing.assert_allclose(to_world(case.geometry, [z, row, column]), wanted, atol=2e-3)
