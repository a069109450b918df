"""The fingerprint says what the cases hold, and refuses what no plan could be made for."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

import data_adapters
from recipes.errors import RecipeError
from recipes.segmentation.fingerprint import orientation_of, take_fingerprint
from tests.recipes.segmentation.sets import write_volumes


def test_it_holds_sizes_spacings_intensities_and_volumes(tmp_path: Path) -> None:
    folder = write_volumes(tmp_path / "set", count=5, spacing=(3.0, 1.0, 0.5))
    adapter = data_adapters.open(str(folder))
    found, skipped = take_fingerprint(adapter, range(5))
    assert not skipped
    assert (found.n, found.axes, found.channels) == (5, 3, 1)
    assert found.spacing == (3.0, 1.0, 0.5)
    assert found.anisotropy == pytest.approx(6.0)
    shapes = sorted(found.shapes)
    assert found.shape == tuple(np.median(shapes, axis=0))
    masks = [adapter[k].mask for k in range(5)]
    volumes = [float((mask == 2).sum()) * 1.5 / 1000 for mask in masks]
    assert found.volumes["dark"] == pytest.approx(volumes)
    inside = np.concatenate([adapter[k].image[masks[k] > 0] for k in range(5)])
    assert found.intensity[0].median == pytest.approx(np.median(inside))
    assert found.intensity[0].low == pytest.approx(np.percentile(inside, 0.5))
    json.dumps(found.to_dict(), allow_nan=False)


def test_unreadable_cases_are_skipped_and_counted(tmp_path: Path) -> None:
    folder = write_volumes(tmp_path / "set", count=4)
    (folder / "imagesTr" / "case_001.nii.gz").write_bytes(b"no volume")
    found, skipped = take_fingerprint(data_adapters.open(str(folder)), range(4))
    assert found.n == 3
    assert len(skipped) == 1
    assert found.skipped == {skipped[0].kind: 1}


def test_a_value_that_no_class_has_leaves_the_case_out(tmp_path: Path) -> None:
    folder = write_volumes(tmp_path / "set", count=3)
    path = folder / "labelsTr" / "case_002.nii.gz"
    image = sitk.ReadImage(str(path))
    array = sitk.GetArrayFromImage(image)
    array[0, 0, 0] = 9
    changed = sitk.GetImageFromArray(array)
    changed.CopyInformation(image)
    sitk.WriteImage(changed, str(path))
    found, skipped = take_fingerprint(data_adapters.open(str(folder)), range(3))
    assert found.n == 2
    assert [skip.kind for skip in skipped] == ["mask-values"]
    assert "holds values [9]" in skipped[0].message


def test_nothing_readable_is_an_error(tmp_path: Path) -> None:
    folder = write_volumes(tmp_path / "set", count=2)
    for path in (folder / "labelsTr").iterdir():
        path.write_bytes(b"no volume")
    with pytest.raises(RecipeError, match="none of 2 cases"):
        take_fingerprint(data_adapters.open(str(folder)), range(2))


def test_cases_that_lie_otherwise_are_measured_as_the_others(tmp_path: Path) -> None:
    folder = write_volumes(tmp_path / "set", count=4, spacing=(3.0, 1.0, 0.5))
    straight, _ = take_fingerprint(data_adapters.open(str(folder)), range(4))
    for part in ("imagesTr", "labelsTr"):
        path = folder / part / "case_002.nii.gz"
        image = sitk.ReadImage(str(path))
        sitk.WriteImage(sitk.DICOMOrient(image, "PIR"), str(path))
    adapter = data_adapters.open(str(folder))
    codes = [orientation_of(adapter[k].geometry) for k in range(4)]
    assert codes == ["LPS", "LPS", "PIR", "LPS"]
    turned, _ = take_fingerprint(adapter, range(4))
    assert turned.orientation == "LPS"
    assert turned.shapes == straight.shapes
    assert turned.spacings == straight.spacings
