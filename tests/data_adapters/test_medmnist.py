"""MedMNIST archives, published and made here, good and odd."""

from __future__ import annotations

import math
import shutil
import struct
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_adapters import npz
from data_adapters.case import check_case
from data_adapters.errors import CaseError, DataError, FormatError
from data_adapters.medmnist import MedMnist
from data_adapters.medmnist_sets import SETS, set_of_file

RNG = np.random.default_rng(0)


def grey(count: int, *shape: int) -> np.ndarray:
    return RNG.integers(0, 256, (count, *(shape or (6, 5))), dtype=np.uint8)


def saved(tmp_path: Path, name: str = "set.npz", **arrays: Any) -> Path:
    np.savez_compressed(tmp_path / name, **arrays)
    return tmp_path / name


def refused(path: Path, said: str, **options: Any) -> None:
    with pytest.raises(DataError, match=said):
        MedMnist(path, **options)


def test_parts_labels_and_pixels(tmp_path: Path) -> None:
    train, test = grey(3), grey(2)
    path = saved(
        tmp_path,
        test_images=test,
        test_labels=np.array([[7], [2]]),
        train_images=train,
        train_labels=np.array([[2], [7], [9]]),
    )
    data = MedMnist(path)
    assert len(data) == 5
    assert [row.case_id for row in data.index][2:4] == ["train-00002", "test-00000"]
    assert [row.part for row in data.index] == ["train"] * 3 + ["test"] * 2
    assert data.class_names == ("2", "7", "9")
    assert [row.label for row in data.index] == [0, 1, 2, 1, 0]
    assert (data.positive, data.modality, data.task) == (None, None, "single")
    for i, pixels in enumerate([*train, *test]):
        np.testing.assert_array_equal(data[i].image[..., 0], pixels)
        check_case(data[i])
    assert data[-1].case_id == "test-00001"
    with pytest.raises(IndexError):
        data[5]


@pytest.mark.parametrize(
    ("shape", "image"),
    [
        ((28, 28), (28, 28, 1)),
        ((28, 28, 3), (28, 28, 3)),
        ((28, 28, 1), (28, 28, 1)),
        ((8, 9, 10), (8, 9, 10, 1)),
        ((8, 9, 10, 3), (8, 9, 10, 3)),
    ],
)
def test_the_last_axis_tells_channels_from_slices(
    tmp_path: Path, shape: tuple[int, ...], image: tuple[int, ...]
) -> None:
    data = MedMnist(saved(tmp_path, train_images=grey(2, *shape), train_labels=[[0], [1]]))
    assert data[0].image.shape == image


@pytest.mark.parametrize(
    ("stored", "read"),
    [
        ("uint8", "uint8"),
        ("uint16", "uint16"),
        (">u2", "uint16"),
        ("float32", "float32"),
        ("int16", "float32"),
        ("float64", "float32"),
        ("bool", "uint8"),
    ],
)
def test_values_keep_their_type_or_become_float(tmp_path: Path, stored: str, read: str) -> None:
    values = (np.arange(60) % (2 if stored == "bool" else 60)).reshape(2, 6, 5).astype(stored)
    data = MedMnist(saved(tmp_path, train_images=values))
    image = data[1].image
    assert image.dtype == np.dtype(read)
    np.testing.assert_array_equal(image[..., 0], values[1])


def test_an_image_handed_out_is_a_copy(tmp_path: Path) -> None:
    data = MedMnist(saved(tmp_path, train_images=grey(2)))
    before = data[0].image.copy()
    data[0].image[:] = 0
    np.testing.assert_array_equal(data[0].image, before)


def test_multi_label_vectors_may_hold_unknowns(tmp_path: Path) -> None:
    labels = np.array([[1, 0, math.nan], [0, 0, 1]])
    data = MedMnist(saved(tmp_path, train_images=grey(2), train_labels=labels))
    assert (data.task, data.class_names) == ("multilabel", ("0", "1", "2"))
    np.testing.assert_array_equal(np.array([row.labels for row in data.index]), labels)
    case_labels = data[0].labels
    assert case_labels is not None
    np.testing.assert_array_equal(case_labels, labels[0])


def test_missing_parts_and_labels_are_no_error(tmp_path: Path) -> None:
    data = MedMnist(
        saved(
            tmp_path,
            val_images=grey(2),
            val_labels=[0, 1],
            test_images=grey(3),
            train_images=np.zeros((0, 6, 5), np.uint8),
            train_labels=np.zeros((0, 1)),
            extra=np.zeros(3),
        )
    )
    assert [row.part for row in data.index] == ["val"] * 2 + ["test"] * 3
    assert [row.label for row in data.index] == [0, 1, None, None, None]
    assert data.notes == (
        "3 of 5 cases have no label",
        "train holds no images",
        "arrays that were ignored: extra",
    )
    bare = MedMnist(saved(tmp_path, "breastmnist.npz", test_images=grey(1)))
    assert (bare.task, bare.class_names, bare.positive) == ("unlabelled", (), None)
    unknown = MedMnist(saved(tmp_path, train_images=grey(2), train_labels=[1.0, math.nan]))
    assert [row.label for row in unknown.index] == [0, None]


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"images": grey(2)}, "holds no train_images.*found: images"),
        ({"train_images": grey(0)}, "every part is empty"),
        ({"train_images": grey(2), "train_labels": [0, 1, 2]}, "3 rows for 2 images"),
        ({"train_images": grey(2), "train_labels": [0, -1]}, "holds -1"),
        ({"train_images": grey(2), "train_labels": [0, 0.5]}, "holds 0.5"),
        ({"train_images": grey(2), "train_labels": [0, math.inf]}, "holds inf"),
        ({"train_images": grey(2), "train_labels": [[0, 2], [1, 1]]}, r"holds 2 at \[0, 1\]"),
        ({"train_images": grey(2), "train_labels": ["a", "b"]}, "wanted numbers"),
        ({"train_images": grey(2), "train_labels": np.zeros((2, 1, 1))}, "has shape"),
        ({"train_images": grey(2).astype(complex)}, "complex"),
        ({"train_images": np.zeros(5)}, "has shape"),
        ({"train_images": np.float64(3)}, "has shape"),
        ({"train_images": grey(2, 0, 5)}, "has shape"),
        ({"train_images": grey(2), "val_images": grey(2, 6, 5, 3)}, "different kinds"),
        (
            {
                "train_images": grey(2),
                "train_labels": [[0], [1]],
                "val_images": grey(1),
                "val_labels": [[0, 1]],
            },
            "columns in its parts",
        ),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    tmp_path: Path, arrays: dict[str, Any], said: str
) -> None:
    refused(saved(tmp_path, **arrays), said)


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return (Path.touch, (tmp_path / "exploded",))  # type: ignore[return-value]

    objects = np.array([Bomb(), Bomb()], dtype=object)
    refused(saved(tmp_path, train_images=objects), "Python objects")
    refused(saved(tmp_path, train_images=grey(2), train_labels=objects), "Python objects")
    assert not (tmp_path / "exploded").exists()


def test_damaged_archives_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, train_images=grey(50, 20, 20), train_labels=np.zeros(50))
    whole = path.read_bytes()
    for data in (b"", b"no archive at all", whole[: len(whole) // 2]):
        path.write_bytes(data)
        refused(path, "no npz archive, or is cut short")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("train_images.npy", b"\x93NUMPY\x01\x00\xff\xffrubbish")
    refused(path, "cut short or damaged")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("train_images.npy", b"\x93NUMPY\x09\x00 of another age")
    refused(path, r"array format \(9, 0\)")
    with zipfile.ZipFile(path, "w") as archive:
        header = "{'descr': '|u1', 'fortran_order': False, 'shape': (9, 9, 9), }".ljust(117) + "\n"
        body = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode()
        archive.writestr("train_images.npy", body + bytes(100))
    refused(path, "contradict each other")


def test_a_flipped_byte_is_noticed_when_the_pixels_are_read(tmp_path: Path) -> None:
    images = grey(50, 20, 20)
    np.savez(tmp_path / "s.npz", train_images=images)
    data = bytearray((tmp_path / "s.npz").read_bytes())
    at = bytes(data).index(images[25].tobytes())
    data[at] ^= 1
    (tmp_path / "s.npz").write_bytes(data)
    opened = MedMnist(tmp_path / "s.npz")
    with pytest.raises(FormatError, match="cut short or damaged"):
        opened[0]


def test_bombs_are_refused_by_what_they_declare(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path, train_images=np.zeros((100, 100, 100), np.uint8))
    with pytest.raises(FormatError, match=r"1000128 bytes; the limit is 1000000.*bomb"):
        npz.member(path, "train_images", max_bytes=1_000_000)
    assert npz.member(path, "train_images").shape == (100, 100, 100)


def test_values_that_are_not_finite_are_a_case_error(tmp_path: Path) -> None:
    images = np.zeros((2, 6, 5), np.float32)
    images[1, 0, 0] = np.nan
    data = MedMnist(saved(tmp_path, train_images=images))
    check_case(data[0])
    with pytest.raises(CaseError) as caught:
        data[1]
    assert caught.value.kind == "not-finite"


def test_large_arrays_are_mapped_from_a_checked_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RADZOO_HOME", str(tmp_path / "home"))
    images = grey(20, 16, 16, 16)
    path = saved(tmp_path, train_images=images)
    entry = npz.member(path, "train_images")
    mapped = npz.load(path, entry, memory_bytes=1000)
    assert isinstance(mapped, np.memmap)
    np.testing.assert_array_equal(mapped, images)
    (unpacked,) = (tmp_path / "home").rglob("*.npy")
    first = unpacked.stat().st_mtime_ns
    npz.load(path, entry, memory_bytes=1000)
    assert unpacked.stat().st_mtime_ns == first
    data = bytearray(unpacked.read_bytes())
    data[-1] ^= 1
    unpacked.write_bytes(data)
    np.testing.assert_array_equal(npz.load(path, entry, memory_bytes=1000), images)
    assert [p.name for p in unpacked.parent.iterdir()] == ["train_images.npy"]


def test_without_a_cache_large_arrays_come_into_memory_or_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("RADZOO_HOME", str(tmp_path / "file"))
    images = grey(20, 16, 16)
    path = saved(tmp_path, train_images=images)
    entry = npz.member(path, "train_images")
    np.testing.assert_array_equal(npz.load(path, entry, memory_bytes=1000), images)
    monkeypatch.setattr(npz, "FALLBACK_BYTES", 1000)
    with pytest.raises(DataError, match="RADZOO_HOME"):
        npz.load(path, entry, memory_bytes=1000)


def test_identity_follows_the_pixels_and_not_the_place(tmp_path: Path) -> None:
    images = grey(2)
    path = saved(tmp_path, train_images=images, train_labels=[0, 1])
    first = MedMnist(path)
    copy = Path(shutil.copy(path, tmp_path / "copy.npz"))
    assert MedMnist(copy).identity() == first.identity()
    relabelled = saved(tmp_path, "r.npz", train_images=images, train_labels=[1, 0])
    assert MedMnist(relabelled).identity() == first.identity()
    changed = MedMnist(saved(tmp_path, "c.npz", train_images=images ^ 1, train_labels=[0, 1]))
    assert changed.identity() != first.identity()
    assert changed.file_key(0) != first.file_key(0)
    assert first.file_key(0) != first.file_key(1)
    assert first.source_name(1) == "set.npz#train-00001"


def test_published_names_go_with_the_file_name(tmp_path: Path) -> None:
    arrays = {"test_images": grey(2), "test_labels": [[0], [1]]}
    for name in ("breastmnist.npz", "breastmnist_224.npz", "BreastMNIST-test.npz"):
        data = MedMnist(saved(tmp_path, name, **arrays))
        assert data.class_names == ("malignant", "normal, benign")
        assert (data.positive, data.modality) == ("malignant", "US")
    plain = MedMnist(saved(tmp_path, "breastmnistic.npz", **arrays))
    assert plain.class_names == ("0", "1")
    given = MedMnist(saved(tmp_path, "x.npz", **arrays), dataset="PneumoniaMNIST", modality="XR")
    assert (given.class_names, given.modality) == (("normal", "pneumonia"), "XR")
    turned = MedMnist(saved(tmp_path, "breastmnist.npz", **arrays), positive="normal, benign")
    assert turned.positive == "normal, benign"
    refused(tmp_path / "x.npz", "did you mean 'breastmnist'", dataset="brestmnist")
    refused(tmp_path / "x.npz", "no class is named 'malignant'", positive="malignant")


def test_labels_that_are_not_the_published_ones_stay_plain(tmp_path: Path) -> None:
    path = saved(tmp_path, "breastmnist.npz", train_images=grey(3), train_labels=[0, 1, 2])
    data = MedMnist(path)
    assert (data.class_names, data.positive, data.modality) == (("0", "1", "2"), None, None)
    assert "not those published for breastmnist" in data.notes[0]
    chest = MedMnist(
        saved(tmp_path, "chestmnist.npz", train_images=grey(2), train_labels=np.eye(2, 14))
    )
    assert chest.class_names[:2] == ("atelectasis", "cardiomegaly")
    assert (chest.task, chest.positive) == ("multilabel", None)


def test_published_facts_are_consistent() -> None:
    names = [known.name for known in SETS]
    assert len(names) == len(set(names)) == 18
    counts = {"pathmnist": 9, "chestmnist": 14, "dermamnist": 7, "octmnist": 4, "bloodmnist": 8}
    counts |= {"tissuemnist": 8, "organamnist": 11, "organmnist3d": 11, "fracturemnist3d": 3}
    for known in SETS:
        assert (
            len(set(known.classes))
            == len(known.classes)
            == counts.get(known.name, len(known.classes))
        )
        assert known.positive is None or (
            known.positive in known.classes and len(known.classes) == 2
        )
        found = set_of_file(known.name + "_64")
        assert found is known
    by_name = {known.name: known for known in SETS}
    assert set(by_name["organmnist3d"].classes) == set(by_name["organamnist"].classes)
    assert "flip_lr" in by_name["organamnist"].bans
    assert by_name["adrenalmnist3d"].bans == ("shape",)


@pytest.mark.parametrize(
    ("name", "counts", "positive", "share"),
    [
        ("pneumoniamnist", (4708, 524), "pneumonia", 0.742),
        ("breastmnist", (546, 78), "malignant", 0.269),
        ("adrenalmnist3d_64", (1188, 98), "hyperplasia", 0.219),
    ],
)
def test_the_shared_sets_open(
    radzoo_data: Path, name: str, counts: tuple[int, int], positive: str, share: float
) -> None:
    begun = time.perf_counter()
    data = MedMnist(radzoo_data / "medmnist" / f"{name}.npz")
    assert time.perf_counter() - begun < 2.0
    parts = [row.part for row in data.index]
    assert (parts.count("train"), parts.count("val"), parts.count("test")) == (*counts, 0)
    assert data.positive == positive
    wanted = data.class_names.index(positive)
    hits = [row.label == wanted for row in data.index if row.part == "train"]
    assert np.mean(hits) == pytest.approx(share, abs=0.02)
    if "3d" not in name:
        with np.load(radzoo_data / "medmnist" / f"{name}.npz", allow_pickle=False) as archive:
            np.testing.assert_array_equal(data[-1].image[..., 0], archive["val_images"][-1])
