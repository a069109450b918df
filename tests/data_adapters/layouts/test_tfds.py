"""TFDS data sets, built here on disk; the one module that loads TensorFlow for data layouts."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import data_adapters
from data_adapters.errors import CaseError, DataError, FormatError
from data_adapters.layouts.tfds import Tfds, sniff
from data_adapters.layouts.tfds_source import parse_address
from data_adapters.layouts.tfrecord import TFRecords
from data_adapters.privacy import patient_pseudonym
from tests.data_adapters.layouts.records import example, png, sequence_example
from tests.data_adapters.layouts.tfds_sets import built, mask, picture


@pytest.fixture(scope="module")
def folder() -> Path:
    return built()


def opened(folder: Path, address: str, **options: Any) -> Tfds:
    return Tfds(address, data_dir=str(folder), **options)


def order(data: Tfds) -> list[int]:
    """Number of each case's record: TFDS shuffles what it writes."""
    known = {picture(i).tobytes(): i for i in range(5)}
    return [known[data[i].image.tobytes()] for i in range(len(data))]


def test_one_class_by_the_supervised_keys(folder: Path) -> None:
    data = data_adapters.open("tfds:cells/classes", data_dir=str(folder), patient="who")
    assert (data.kind, data.task, data.class_names) == ("tfds", "single", ("well", "ill"))
    assert sorted(str(row.part) for row in data.index) == ["test"] * 2 + ["train"] * 3
    for i, k in enumerate(order(data)):  # type: ignore[arg-type]
        assert data.index[i].label == data[i].label == k % 2
        assert data.index[i].patient_id == patient_pseudonym(f"person {k // 2}")
        assert data.index[i].part == ("train" if k < 3 else "test")
    assert data.source_name(0) == "cells/classes:train#0" or data.index[0].part == "test"
    assert "person" not in repr(data.index)


def test_splits_and_versions(folder: Path) -> None:
    assert len(opened(folder, "tfds:cells/classes:test")) == 2
    part = opened(folder, "tfds:cells/classes:1.0.0:train[:2]")
    assert [row.part for row in part.index] == ["train", "train"]
    assert opened(folder, "tfds:cells/classes:train", positive="ill").positive == "ill"


def test_objects_become_boxes_in_pixels(folder: Path) -> None:
    data = opened(folder, "tfds:cells/boxes:train")
    assert (data.task, data.class_names) == ("detection", ("x", "y", "z"))
    for i, k in enumerate(order(data)):
        case = data[i]
        assert [lesion.label for lesion in case.lesions] == [0, 1]
        np.testing.assert_allclose(case.lesions[0].box, (2, 6, 10, 18), atol=1e-5)
        np.testing.assert_allclose(case.lesions[1].box, (10, 15, 20, 30), atol=1e-5)
        found = [f.code for f in data.findings if f.case_id == case.case_id]
        assert found == (["box-degenerate"] if k == 1 else [])
    several = opened(folder, "tfds:cells/boxes:train", task="multilabel")
    assert several.index[0].labels == (1, 0, 0)


def test_masks_and_several_classes(folder: Path) -> None:
    data = opened(folder, "tfds:cells/masks")
    assert (data.task, data.class_names) == ("segmentation", ("background", "core", "edge"))
    for i, k in enumerate(order(data)):
        np.testing.assert_array_equal(data[i].mask, mask(k)[..., 0])
    short = opened(folder, "tfds:cells/masks", classes="core")
    with pytest.raises(CaseError, match="the mask holds 2, the classes end at 1"):
        short[0]
    labels = opened(folder, "tfds:cells/several:train")
    assert labels.task == "multilabel"
    for i, k in enumerate(order(labels)):
        assert labels.index[i].labels == [(1, 0, 1), (0, 0, 0), (0, 1, 0)][k]
    bare = opened(folder, "tfds:cells/several:train", task="unlabelled")
    assert (bare.task, bare.index[0].labels) == ("unlabelled", None)


@pytest.mark.parametrize(
    ("address", "options", "said"),
    [
        ("tfds:cells/none", {}, r"not prepared in data_dir.*tfds\.builder\('cells/none'"),
        ("tfds:mnist:train", {}, r"nothing is downloaded here.*file_format='array_record'"),
        ("tfds:cells", {}, "several configurations; wanted one of tfds:cells/boxes"),
        ("tfds:cells/classes:2.0.0", {}, "no version '2.0.0'; did you mean '1.0.0'"),
        ("tfds:cells/classes:tran", {}, "split 'tran'.*did you mean 'train'"),
        ("tfds:../cells/classes", {}, "wanted tfds:NAME"),
        ("tfds:cells/..", {}, "wanted tfds:NAME|not prepared"),
        ("tfds:", {}, "wanted tfds:NAME"),
        ("tfds:cells/classes", {"task": "boxes"}, "task='boxes': wanted one of"),
        ("tfds:cells/classes", {"task": "detection"}, "no feature is a truth for task"),
        ("tfds:cells/classes", {"truth": "labl"}, "did you mean 'label'"),
        ("tfds:cells/classes", {"patient": "name"}, "no such feature"),
        ("tfds:cells/classes", {"classes": "a"}, "the truth is no mask"),
    ],
)
def test_what_cannot_be_opened_says_the_way_out(
    folder: Path, address: str, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(DataError, match=said):
        opened(folder, address, **options)


def test_files_without_random_access_name_the_command(folder: Path) -> None:
    with pytest.raises(DataError, match=r"without random access.*file_format='array_record'"):
        opened(folder / "old", "tfds:cells/classes")


def test_damaged_metadata_are_refused(folder: Path, tmp_path: Path) -> None:
    for name in ("dataset_info.json", "features.json"):
        shutil.rmtree(tmp_path / "cells", ignore_errors=True)
        shutil.copytree(folder / "cells" / "several", tmp_path / "cells" / "several")
        (tmp_path / "cells" / "several" / "1.0.0" / name).write_text("{")
        with pytest.raises(FormatError, match="is damaged"):
            opened(tmp_path, "tfds:cells/several")


def test_without_the_package_the_extra_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(DataError, match=r"pip install 'radzoo\[tfds\]'"):
        opened(folder, "tfds:cells/classes")


def test_addresses() -> None:
    one = parse_address("tfds:voc/2012:train+validation")
    assert (one.name, one.config, one.version, one.split) == (
        "voc",
        "2012",
        None,
        "train+validation",
    )
    assert sniff("tfds:mnist") is None
    assert sniff("cells/classes") is not None


def test_records_are_those_that_tensorflow_writes(tmp_path: Path) -> None:
    """Our reader against TensorFlow's writer, and the other way round, compressed too."""
    import tensorflow as tf

    rng = np.random.default_rng(4)
    vector = rng.normal(size=40).astype(np.float32)
    ours = example({"pic": png(3), "n": [-5, 7], "v": [float(v) for v in vector]})
    theirs = tf.train.Example.FromString(ours)
    assert theirs.features.feature["n"].int64_list.value == [-5, 7]
    np.testing.assert_array_equal(theirs.features.feature["v"].float_list.value, vector)
    frames = sequence_example({"id": "a"}, {"rgb": [b"\x01\x02", b"\x03\x04"]})
    steps = tf.train.SequenceExample.FromString(frames).feature_lists.feature_list["rgb"].feature
    assert [step.bytes_list.value[0] for step in steps] == [b"\x01\x02", b"\x03\x04"]
    for kind, name in ((None, "a.tfrecord"), ("GZIP", "b.tfrecord"), ("ZLIB", "c.tfrecord")):
        with tf.io.TFRecordWriter(str(tmp_path / name), kind or "") as writer:
            for _ in range(3):
                writer.write(theirs.SerializeToString())
            writer.write(tf.train.SequenceExample.FromString(frames).SerializeToString())
        data = TFRecords(tmp_path / name, features={"image": {"vectors": ["v"]}})
        assert len(data) == 4
        np.testing.assert_array_equal(data[2].image[0, :, 0], vector)
        read = TFRecords(tmp_path / name, features={"image": {"frames": ["rgb"]}})
        np.testing.assert_array_equal(read[3].image[..., 0], [[1, 2], [3, 4]])
