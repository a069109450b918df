"""Sites, days, DICOM series, volumes and masks of tables."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from PIL import Image

import data_adapters
from data_adapters.errors import CaseError, DataError
from data_adapters.privacy import patient_pseudonym, uid_pseudonym
from data_adapters.table import Table
from tests.data_adapters.layouts.volumes import label_map, picture, save_volume


def table(root: Path, text: str, **options: Any) -> Table:
    (root / "t.csv").write_text(text)
    return Table(root / "t.csv", **options)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for i, name in enumerate("abc"):
        save_volume(tmp_path / f"{name}.nii.gz", picture(i))
        save_volume(tmp_path / f"{name}_mask.mha", label_map(i, (0, 1, 4)))
    return tmp_path


def test_sites_are_pseudonyms_and_days_are_plain(place: Path) -> None:
    data = table(
        place,
        "path,label,Hospital,study_date\na.nii.gz,x,St Mary,2019-03-04\nb.nii.gz,y,,20200131\n"
        "c.nii.gz,y,St Mary,2020-02-29 11:05:00\n",
    )
    site = uid_pseudonym("St Mary", "hospital")
    assert [row.site for row in data.index] == [site, None, site]
    assert [row.date for row in data.index] == ["2019-03-04", "2020-01-31", "2020-02-29"]
    assert "Mary" not in repr(data.index) + repr(data.notes)
    named = table(place, "path,label,where,on\na.nii.gz,x,A,20200101\n", site="where", date="on")
    assert (named.index[0].site, named.index[0].date) == (
        uid_pseudonym("A", "hospital"),
        "2020-01-01",
    )


@pytest.mark.parametrize("text", ["01/02/2020", "2020-02-30", "Doe", "20201301"])
def test_what_is_no_day_is_refused_where_it_was_named(place: Path, text: str) -> None:
    rows = f"path,label,date\na.nii.gz,x,2020-01-01\nb.nii.gz,y,{text}\n"
    data = table(place, rows)
    assert [row.date for row in data.index] == [None, None]
    assert "column 'date' holds no days and is ignored" in data.notes
    with pytest.raises(DataError, match="holds no day in line 3") as caught:
        table(place, rows, date="date")
    assert text not in str(caught.value)


def test_volumes_with_masks(place: Path) -> None:
    rows = "path,mask,patient\na.nii.gz,a_mask.mha,P\nb.nii.gz,b_mask.mha,Q\nc.nii.gz,,Q\n"
    data = table(place, rows, classes="0=background,1=edema,4=core")
    assert (data.task, data.class_names) == ("segmentation", ("background", "edema", "core"))
    assert len(data) == 2
    assert [skip.kind for skip in data.skipped] == ["unlabelled"]
    case = data[1]
    np.testing.assert_array_equal(case.image[..., 0], picture(1))
    stored = label_map(1, (0, 1, 4))
    np.testing.assert_array_equal(case.mask, np.where(stored == 4, 2, stored))
    assert case.geometry.spacing == (3, 2, 1)
    assert case.patient_id == patient_pseudonym("Q")
    assert "b_mask.mha" in data.file_key(1)
    other = table(place, rows, classes="0=background,1=core,4=edema")
    assert other.file_key(1) != data.file_key(1)
    bare = data_adapters.open_files(place / "t.csv")
    assert (len(bare), bare.task) == (3, "unlabelled")


def test_masks_that_do_not_fit_are_errors_of_the_case(place: Path) -> None:
    save_volume(place / "b_mask.mha", label_map(1, (0, 1), (4, 6, 5)))
    rows = "path,mask\na.nii.gz,a_mask.mha\nb.nii.gz,b_mask.mha\n"
    data = table(place, rows, classes="background,mass")
    for i, kind in ((0, "mask-values"), (1, "grid")):
        with pytest.raises(CaseError) as caught:
            data[i]
        assert caught.value.kind == kind


def test_pictures_with_masks(tmp_path: Path) -> None:
    Image.fromarray(np.full((6, 7, 3), 9, np.uint8)).save(tmp_path / "a.png")
    mask = np.zeros((6, 7), np.uint8)
    mask[2:4, 3] = 255
    Image.fromarray(mask).save(tmp_path / "m.png")
    data = table(tmp_path, "path,mask\na.png,m.png\n", classes={0: "background", 255: "mass"})
    np.testing.assert_array_equal(data[0].mask, mask // 255)
    Image.fromarray(np.zeros((6, 7, 3), np.uint8)).save(tmp_path / "m.png")
    with pytest.raises(CaseError, match="in colour"):
        data[0]


def test_a_mask_column_counts_only_where_it_is_one(place: Path) -> None:
    rows = "path,label,mask\na.nii.gz,x,a_mask.mha\nb.nii.gz,y,b_mask.mha\n"
    assert table(place, rows).task == "single"
    assert table(place, rows, mask="mask", classes="0=bg,1=a,4=b").task == "segmentation"
    labels = table(place, "path,mask,lump\na.nii.gz,0,1\nb.nii.gz,1,\n")
    assert labels.class_names == ("mask", "lump")
    with pytest.raises(DataError, match="have no names: give classes="):
        table(place, rows, mask="mask")
    with pytest.raises(DataError, match="name their column with mask="):
        table(place, "path,label\na.nii.gz,x\n", classes="a,b")
    with pytest.raises(DataError, match=r"no column 'msk'.*did you mean 'mask'"):
        table(place, rows, mask="msk")
    with pytest.raises(DataError, match="no file of column 'mask'"):
        table(place, "path,mask\na.nii.gz,gone.mha\n", classes="a,b")


@pytest.mark.data
def test_folders_of_dicom_series(radzoo_data: Path, tmp_path: Path) -> None:
    series = sorted(p.parent for p in (radzoo_data / "dicom" / "dcmqi").rglob("ct-3slice/*.dcm"))
    series += sorted(p.parent for p in (radzoo_data / "dicom" / "mr").rglob("*"))
    folders = list(dict.fromkeys(p for p in series if any(f.is_file() for f in p.iterdir())))
    assert len(folders) > 1
    (tmp_path / "two").mkdir()
    for i, folder in enumerate(folders[-2:]):
        for file in [f for f in folder.iterdir() if f.is_file()]:
            shutil.copy(file, tmp_path / "two" / f"{i}-{file.name}")
    rows = "".join(f"{folder},x\n" for folder in folders)
    data = table(tmp_path, f"path,label\n{rows}two,x\n")
    assert len(data) == len(folders)
    assert [skip.kind for skip in data.skipped] == ["several-series"]
    for i, folder in enumerate(folders):
        alone = data_adapters.open(folder, format="dicom")
        np.testing.assert_array_equal(data[i].image, alone[0].image)
        assert data[i].geometry == alone[0].geometry
        assert data.index[i].series_id == alone.index[0].series_id


@pytest.mark.data
def test_a_dicom_series_with_a_mask_of_another_format(radzoo_data: Path, tmp_path: Path) -> None:
    folder = radzoo_data / "dicom" / "dcmqi" / "segmentations"
    rows = f"path,mask\n{folder / 'ct-3slice'},{folder / 'liver_seg.nrrd'}\n"
    case = table(tmp_path, rows, classes="background,liver")[0]
    wanted = SimpleITK.ReadImage(str(folder / "liver_seg.nrrd"))
    np.testing.assert_array_equal(case.mask, SimpleITK.GetArrayFromImage(wanted))
    assert 20 < np.median(case.image[case.mask == 1]) < 200  # HU of liver
    other = sorted((folder / "24x38x3").rglob("*.nrrd"))[0]
    rows = f"path,mask\n{folder / 'ct-3slice'},{other}\n"
    with pytest.raises(CaseError, match="resample them first"):
        table(tmp_path, rows, classes="background,liver")[0]
