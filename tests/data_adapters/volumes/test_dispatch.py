"""Volumes wherever pictures are taken: single files, class folders, tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import data_adapters
from data_adapters.case import Geometry, check_case
from data_adapters.volumes.write import write_volume

GEOMETRY = Geometry((2.0, 1.0, 1.5), (3.0, 4.0, 5.0), ((0, 0, 1), (0, 1, 0), (1, 0, 0)))


def volume(path: Path, seed: int) -> np.ndarray:
    """A small volume on disk, and its values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).normal(size=(4, 5, 6)).astype(np.float32)
    write_volume(path, values, GEOMETRY)
    return values


def test_class_folders_and_tables_of_volumes(tmp_path: Path) -> None:
    names = ("ill/a.nii.gz", "ill/b.nrrd", "well/c.mha", "well/d.nii")
    values = [volume(tmp_path / "set" / name, i) for i, name in enumerate(names)]
    (tmp_path / "cases.csv").write_text(
        "path,label\n" + "".join(f"set/{n},{n.split('/')[0]}\n" for n in names)
    )
    for data in (data_adapters.open(tmp_path / "set"), data_adapters.open(tmp_path / "cases.csv")):
        assert data.class_names == ("ill", "well")
        assert [row.label for row in data.index] == [0, 0, 1, 1]
        for i, case in enumerate(data):
            check_case(case)
            np.testing.assert_array_equal(case.image[..., 0], values[i])
            assert case.geometry == GEOMETRY
    chain = [{"step": "planes"}, {"step": "resize", "height": 8, "width": 8}]
    assert data_adapters.apply_chain(data[0].image, chain).shape == (8, 8, 3)


def test_a_volume_with_a_foreign_name_is_read_by_its_content(tmp_path: Path) -> None:
    values = volume(tmp_path / "v.nrrd", 7)
    (tmp_path / "v.nrrd").rename(tmp_path / "v.png")
    case = data_adapters.open_files([tmp_path / "v.png"])[0]
    np.testing.assert_array_equal(case.image[..., 0], values)
    assert case.meta["reading"] == ("mislabelled",)


def test_an_empty_volume_is_a_recorded_skip(tmp_path: Path) -> None:
    volume(tmp_path / "x" / "v.nii.gz", 7)
    (tmp_path / "x" / "w.nii.gz").touch()
    data = data_adapters.open_files(tmp_path / "x")
    assert len(data) == 1
    assert [(skip.kind, skip.source) for skip in data.skipped] == [("zero-byte", "w.nii.gz")]
    (tmp_path / "x" / "v.nii.gz").write_bytes(b"\x1f\x8b nothing")
    with pytest.raises(data_adapters.CaseError, match="no NIfTI"):
        data[0]
