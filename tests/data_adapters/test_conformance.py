"""What every adapter keeps; a new one is enrolled here by one entry in SAMPLES."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import tifffile
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

import data_adapters
from data_adapters import Adapter
from data_adapters.adapter import Task
from data_adapters.case import check_case
from data_adapters.pictures import PICTURE_SUFFIXES
from data_adapters.privacy import patient_pseudonym
from data_adapters.volumes.names import is_volume_name
from data_adapters.volumes.write import write_volume
from tests.data_adapters.layouts.samples import LAYOUT_SAMPLES

Opener = Callable[[Path], Adapter]


def _pictures(root: Path, *names: str) -> None:
    for name in names:
        rng = np.random.default_rng(list(name.encode()))
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 30), dtype=np.uint8)).save(root / name)


def _folder(root: Path) -> None:
    _pictures(
        root, *(f"{part}/{c}/{i}.png" for part in ("train", "test") for c in "xy" for i in "12")
    )


def _table(root: Path) -> None:
    _pictures(root, "a.png", "b.png", "c.png")
    rows = "path,label,patient,split\na.png,1,p,train\nb.png,0,q,val\nc.png,,r,\n"
    (root / "cases.csv").write_text(rows)


def _multilabel_table(root: Path) -> None:
    _pictures(root, "a.png", "b.png")
    (root / "cases.csv").write_text("path,mass,edema\na.png,1,\nb.png,,\n")


def write_dicom(
    path: Path, *, patient: str, seed: int, series: str = "", z: float | None = None
) -> None:
    """A small CT slice as a DICOM file, in a series and at a height where given."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = CTImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid()
    data.PatientID, data.Modality, data.PixelSpacing = patient, "CT", [0.5, 0.5]
    if series:
        data.StudyInstanceUID, data.SeriesInstanceUID = f"{series}.1", series
    if z is not None:
        data.ImagePositionPatient, data.ImageOrientationPatient = [0, 0, z], [1, 0, 0, 0, 1, 0]
    data.Rows, data.Columns, data.SamplesPerPixel = 40, 30, 1
    data.PhotometricInterpretation, data.PixelRepresentation = "MONOCHROME2", 0
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 12, 11
    data.RescaleSlope, data.RescaleIntercept = 1, -1024
    pixels = np.random.default_rng(seed).integers(900, 1200, (40, 30), dtype=np.uint16)
    data.PixelData = pixels.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)


def _dicom_folder(root: Path) -> None:
    for i, patient in enumerate(["Doe", "Doe", "Roe"]):
        write_dicom(root / "xy"[i // 2] / f"{i}.dcm", patient=patient, seed=i)


def _volumes(root: Path) -> None:
    for i, name in enumerate(("a_t1", "a_t2", "a_seg", "b_t1", "b_t2", "b_seg")):
        values = np.random.default_rng(i).integers(0, 3, (40, 30, 20)).astype(np.uint8)
        write_volume(root / f"{name}.nii.gz", values, None)


def _dicom_series(root: Path) -> None:
    for i in range(6):
        series, patient = f"1.2.3.{i // 3}", ("Doe", "Roe")[i // 3]
        path = root / f"s{i // 3}" / f"{7 * i % 6}.dcm"
        write_dicom(path, patient=patient, seed=i, series=series, z=2.0 * (i % 3))


def _tiff_stacks(root: Path) -> None:
    for i, name in enumerate(("a-volume", "a-labels", "b-volume", "b-labels")):
        values = np.random.default_rng(i).integers(0, 3, (4, 30, 20)).astype(np.uint8)
        tifffile.imwrite(root / f"{name}.tif", values, photometric="minisblack")


def _medmnist(root: Path) -> None:
    images = np.random.default_rng(3).integers(0, 256, (3, 64, 64), dtype=np.uint8)
    np.savez(root / "set.npz", train_images=images, train_labels=[[0], [1], [1]])


SAMPLES: dict[str, tuple[str, Callable[[Path], None], Opener]] = {
    "image_folder": ("image_folder", _folder, lambda root: data_adapters.open(root)),
    "table": ("table", _table, lambda root: data_adapters.open(root / "cases.csv")),
    "table, multi-label": (
        "table",
        _multilabel_table,
        lambda root: data_adapters.open(root / "cases.csv"),
    ),
    "medmnist": ("medmnist", _medmnist, lambda root: data_adapters.open(root / "set.npz")),
    "image_folder of DICOM": (
        "image_folder",
        _dicom_folder,
        lambda root: data_adapters.open(root),
    ),
    "volumes": ("volumes", _volumes, lambda root: data_adapters.open(root)),
    "dicom": ("dicom", _dicom_series, lambda root: data_adapters.open(root)),
    **LAYOUT_SAMPLES,
    "tiff_stack": (
        "tiff_stack",
        _tiff_stacks,
        lambda root: data_adapters.open(root, format="tiff_stack"),
    ),
    "files": ("files", _folder, lambda root: data_adapters.open_files(root)),
}


@pytest.fixture(params=SAMPLES)
def sample(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path, Opener]:
    kind, make, opener = SAMPLES[request.param]
    make(tmp_path)
    return kind, tmp_path, opener


def test_every_registered_adapter_has_a_sample() -> None:
    assert set(data_adapters.adapters()) <= {kind for kind, _, _ in SAMPLES.values()}


def test_it_keeps_the_protocol(sample: tuple[str, Path, Opener]) -> None:
    kind, root, opener = sample
    data = opener(root)
    assert isinstance(data, Adapter)
    assert data.kind == kind
    assert len(data) == len(data.index) > 1
    assert len({row.case_id for row in data.index}) == len(data)
    assert data.task in get_args(Task)
    assert bool(data.class_names) == (data.task != "unlabelled")
    assert data.positive is None or data.positive in data.class_names
    for texts in (data.class_names, data.notes, data.bans):
        assert isinstance(texts, tuple)
        assert all(isinstance(text, str) for text in texts)
    assert isinstance(data.skipped, tuple)


def test_index_rows_fit_the_task(sample: tuple[str, Path, Opener]) -> None:
    _, root, opener = sample
    data = opener(root)
    for row in data.index:
        assert row.part in (None, "train", "val", "test")
        if data.task == "single":
            assert row.labels is None
            assert row.label is None or 0 <= row.label < len(data.class_names)
        elif data.task == "multilabel":
            assert row.label is None
            assert row.labels is not None
            assert len(row.labels) == len(data.class_names)
        else:
            assert (row.label, row.labels) == (None, None)


def test_cases_agree_with_the_index_and_repeat(sample: tuple[str, Path, Opener]) -> None:
    _, root, opener = sample
    data = opener(root)
    for i in reversed(range(len(data))):
        case, again, row = data[i], data[i], data.index[i]
        check_case(case)
        assert (case.case_id, case.patient_id, case.label) == (
            row.case_id,
            row.patient_id,
            row.label,
        )
        np.testing.assert_array_equal(case.image, again.image)
        if row.labels is not None:
            assert case.labels is not None
            np.testing.assert_array_equal(case.labels, np.array(row.labels, np.float32))
    np.testing.assert_array_equal(data[np.int64(1)].image, data[1].image)  # type: ignore[call-overload, index]
    with pytest.raises(IndexError):
        data[len(data)]


def test_cases_differ_and_threads_may_read_them(sample: tuple[str, Path, Opener]) -> None:
    _, root, opener = sample
    alone = [
        case.image.tobytes() for case in map(opener(root).__getitem__, range(len(opener(root))))
    ]
    assert len(set(alone)) == len(alone)
    shared = opener(root)
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda i: shared[i].image.tobytes(), list(range(len(shared))) * 5))
    assert together == alone * 5


def test_names_keys_and_identity_are_stable(sample: tuple[str, Path, Opener]) -> None:
    _, root, opener = sample
    first, second = opener(root), opener(root)
    count = range(len(first))
    assert repr(first.index) == repr(second.index)
    assert first.identity() == second.identity()
    assert len(first.identity()) == 64
    for name in ("file_key", "source_name"):
        values = [getattr(first, name)(i) for i in count]
        assert values == [getattr(second, name)(i) for i in count]
        assert len(set(values)) == len(values)


def test_links_in_circles_lead_nowhere(sample: tuple[str, Path, Opener]) -> None:
    kind, root, opener = sample
    ids = [row.case_id for row in opener(root).index]
    for folder in {root, *(path.parent for path in root.rglob("*"))}:
        (folder / "up").symlink_to(root)
        (folder / "self").symlink_to(folder / "self")
    data = opener(root)
    assert data.kind == kind or kind == "files"
    assert [row.case_id for row in data.index] == ids


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_no_pipe_is_waited_for(sample: tuple[str, Path, Opener]) -> None:
    _, root, opener = sample
    ids = [row.case_id for row in opener(root).index]
    for folder in {root, *(path.parent for path in root.rglob("*"))}:
        for suffix in ("", ".dcm", ".json", ".xml"):
            os.mkfifo(folder / f"a-pipe{suffix}")
    assert [row.case_id for row in opener(root).index] == ids


def test_opening_touches_no_pixels(sample: tuple[str, Path, Opener]) -> None:
    """With every pixel spoilt the index is the same, and only reading a case fails."""
    _, root, opener = sample
    before = repr(opener(root).index)
    for path in root.rglob("*"):
        if path.suffix in PICTURE_SUFFIXES or is_volume_name(path):
            data = path.read_bytes()
            # The headers of DICOM files may be looked at: there only the pixels go.
            spoilt = data[:-2400] if path.suffix == ".dcm" else bytes(len(data))
            path.write_bytes(spoilt)
        elif path.suffix == ".npz":
            archive = bytearray(path.read_bytes())
            archive[6000:9000] = bytes(3000)  # beyond the header, within the images
            path.write_bytes(archive)
        elif ".array_record" in path.name:
            path.write_bytes(bytes(60000) + path.read_bytes()[60000:])
        elif path.suffix == ".tfrecord":
            records = bytearray(path.read_bytes())
            at = records.index(b"IDAT") + 20  # within the first picture
            records[at : at + 50] = bytes(50)
            path.write_bytes(records)
    after = opener(root)
    assert repr(after.index) == before
    with pytest.raises(data_adapters.DataError):
        after[0]


def test_dicom_headers_give_patients_and_modality(tmp_path: Path) -> None:
    _dicom_folder(tmp_path)
    data = data_adapters.open(tmp_path)
    assert data.modality == "CT"
    people = [row.patient_id for row in data.index]
    assert people == [*[patient_pseudonym("Doe")] * 2, patient_pseudonym("Roe")]
    case = data[0]
    assert case.image.dtype == np.float32
    assert -124 <= case.image.min() <= case.image.max() < 176
    assert case.geometry is not None
    assert case.geometry.spacing == (0.5, 0.5)
    assert "Doe" not in repr(case.meta) + repr(data.index) + repr(data.notes)
    (tmp_path / "t.csv").write_text("path,label\nx/0.dcm,a\ny/2.dcm,b\n")
    table = data_adapters.open(tmp_path / "t.csv")
    assert [row.patient_id for row in table.index] == people[1:]
    _pictures(tmp_path, "y/p.png")
    assert data_adapters.open(tmp_path).modality is None


def test_a_dicom_file_named_like_a_picture_is_read_by_its_content(tmp_path: Path) -> None:
    write_dicom(tmp_path / "q.jpg", patient="Roe", seed=9)
    case = data_adapters.open_files(tmp_path / "q.jpg")[0]
    assert case.image.dtype == np.float32
    assert case.meta["reading"] == ("mislabelled",)
