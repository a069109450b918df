"""Stacks and their labels, as whole volumes and slice by slice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

import data_adapters
from data_adapters.case import check_case
from data_adapters.errors import CaseError
from data_adapters.volumes.tiff_pairs import sniff

RNG = np.random.default_rng(1)
STACK = RNG.integers(0, 256, (5, 6, 7)).astype(np.uint8)
LABELS = (STACK > 128).astype(np.uint8) * 255


def put(path: Path, stack: np.ndarray) -> None:
    """A grey stack on disk."""
    tifffile.imwrite(path, stack, photometric="minisblack")


def test_a_stack_and_its_labels(tmp_path: Path) -> None:
    put(tmp_path / "train-volume.tif", STACK)
    put(tmp_path / "train-labels.tif", LABELS)
    data = data_adapters.open(tmp_path)
    assert (data.kind, data.task, len(data)) == ("tiff_stack", "segmentation", 1)
    assert data.class_names == ("background", "255")
    case = data[0]
    check_case(case)
    np.testing.assert_array_equal(case.image[..., 0], STACK)
    np.testing.assert_array_equal(case.mask, LABELS // 255)
    named = data_adapters.open(tmp_path, classes="0=membrane,255=cell")
    assert named.class_names == ("membrane", "cell")


def test_slices_are_cases(tmp_path: Path) -> None:
    for name in ("a", "b"):
        put(tmp_path / f"{name}_images.tif", STACK if name == "a" else STACK[:3])
        put(tmp_path / f"{name}_mask.tif", LABELS if name == "a" else LABELS[:3])
    data = data_adapters.open(tmp_path, slices=True)
    assert len(data) == 8
    assert len({row.case_id for row in data.index}) == 8
    assert len({row.patient_id for row in data.index}) == 2
    for i in (7, 0, 4, 5):
        case = data[i]
        check_case(case)
        np.testing.assert_array_equal(case.image[..., 0], STACK[i % 5])
        np.testing.assert_array_equal(case.mask, LABELS[i % 5] // 255)
        assert case.case_id == data.index[i].case_id
        assert data.source_name(i) == f"{'ab'[i // 5]}_images.tif:{i % 5}"
    alone = data_adapters.open_files(tmp_path / "a_images.tif")
    assert alone[0].image.shape == (5, 6, 7, 1)


def test_labels_that_do_not_fit(tmp_path: Path) -> None:
    put(tmp_path / "x-volume.tif", STACK)
    put(tmp_path / "x-labels.tif", LABELS[:4])
    with pytest.raises(CaseError) as caught:
        data_adapters.open(tmp_path)[0]
    assert caught.value.kind == "grid"
    put(tmp_path / "x-labels.tif", LABELS / np.float32(3))
    with pytest.raises(CaseError) as caught:
        data_adapters.open(tmp_path)[0]
    assert caught.value.kind == "mask-values"
    put(tmp_path / "x-labels.tif", LABELS)
    with pytest.raises(CaseError, match="holds values"):
        data_adapters.open(tmp_path, classes=["membrane", "cell"])[0]
    (tmp_path / "x-labels.tif").unlink()
    assert "no TIFF stack with labels" in str(sniff(str(tmp_path)))
    assert data_adapters.open(tmp_path).kind == "files"
    assert data_adapters.open(tmp_path, format="tiff_stack").task == "unlabelled"


def test_single_pages_are_no_stacks(tmp_path: Path) -> None:
    put(tmp_path / "x-volume.tif", STACK[0])
    put(tmp_path / "x-labels.tif", LABELS[0])
    assert "one page each" in str(sniff(str(tmp_path)))


@pytest.mark.data
def test_isbi_2012(radzoo_data: Path) -> None:
    data = data_adapters.open(radzoo_data / "isbi2012_em")
    assert (data.kind, data.class_names) == ("tiff_stack", ("background", "255"))
    stack = data[0]
    assert stack.image.shape == (24, 512, 512, 1)
    raw = tifffile.imread(radzoo_data / "isbi2012_em" / "train-volume.tif")
    np.testing.assert_array_equal(stack.image[..., 0], raw)
    slices = data_adapters.open(radzoo_data / "isbi2012_em", slices=True)
    assert len(slices) == 24
    np.testing.assert_array_equal(slices[7].mask, stack.mask[7])
