"""TFRecord files, good and odd."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import data_adapters
from data_adapters.errors import CaseError, DataError, FormatError
from data_adapters.layouts.crc32c import crc32c, masked
from data_adapters.layouts.feature_map import parse_map
from data_adapters.layouts.record_file import frame, write_records
from data_adapters.layouts.tfrecord import TFRecords
from data_adapters.layouts.wire import parse_example
from data_adapters.privacy import case_ids, patient_pseudonym
from tests.data_adapters.layouts.records import (
    example,
    pixels,
    png,
    sequence_example,
    tfrecords,
)


def opened(root: Path, records: list[bytes], features: Any, **options: Any) -> TFRecords:
    write_records(root / "a.tfrecord", records)
    return TFRecords(root / "a.tfrecord", features=features, **options)


def test_pictures_labels_ids_patients_and_parts(tmp_path: Path) -> None:
    tfrecords(tmp_path)
    data = data_adapters.open(tmp_path)
    assert (data.kind, data.task, data.class_names) == ("tfrecord", "single", ("0", "1"))
    assert [row.part for row in data.index] == ["train", "train", "val"]
    assert [row.label for row in data.index] == [0, 1, 0]
    assert [row.patient_id for row in data.index] == [patient_pseudonym(p) for p in "aba"]
    assert [row.case_id for row in data.index] == case_ids([f"scan {i}" for i in range(3)])
    for i in range(3):
        np.testing.assert_array_equal(data[i].image[..., 0], pixels(i))
    assert data.source_name(2) == "scan 2"
    assert data_adapters.open(tmp_path, positive="1").positive == "1"


@given(st.binary(max_size=5000))
def test_long_data_give_the_checksum_of_short_steps(data: bytes) -> None:
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = (register >> 1) ^ (0x82F63B78 if register & 1 else 0)
    assert crc32c(data) == register ^ 0xFFFFFFFF


def test_checksums_are_those_of_the_standard() -> None:
    # RFC 3720 B.4 and the check value of CRC-32C/iSCSI.
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(b"123456789" * 999) == crc32c(memoryview(b"123456789" * 999))
    assert masked(0) == 0xA282EAD8


def test_the_parser_reads_every_kind_of_list() -> None:
    parsed = parse_example(example({"b": [b"x", b""], "i": [3, -4, 2**40], "f": [0.5, -1.25]}))
    assert parsed.features["b"].texts() == [b"x", b""]
    assert parsed.features["i"].numbers().tolist() == [3, -4, 2**40]
    assert parsed.features["f"].numbers().tolist() == [0.5, -1.25]
    with pytest.raises(FormatError, match="holds bytes where int64"):
        parsed.features["b"].numbers()
    with pytest.raises(FormatError, match="holds int64 where bytes"):
        parsed.features["i"].texts()


@given(st.binary(max_size=80))
def test_any_bytes_are_parsed_or_refused(data: bytes) -> None:
    try:
        parsed = parse_example(data)
        for one in parsed.features.values():
            if one.kind == "bytes":
                one.texts()
            elif one.kind:
                one.numbers()
    except FormatError:
        pass


VIDEO = {
    "id": "id",
    "labels": {"key": "labels", "names": 9},
    "image": {"vectors": ["mean_rgb", "mean_audio"]},
}


def test_youtube8m_video_level(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rgb, audio = rng.normal(size=(2, 1024)), rng.normal(size=(2, 128))
    records = [
        example({"id": f"v{i}", "labels": [[1, 8], []][i], "mean_rgb": rgb[i].tolist(),
                 "mean_audio": audio[i].tolist()})
        for i in range(2)
    ]  # fmt: skip
    data = opened(tmp_path, records, VIDEO)
    assert (data.task, len(data.class_names)) == ("multilabel", 9)
    assert data.index[0].labels == (0, 1, 0, 0, 0, 0, 0, 0, 1)
    case = data[0]
    assert case.image.shape == (1, 1152, 1)
    wanted = np.concatenate([rgb[0], audio[0]]).astype(np.float32)
    np.testing.assert_array_equal(case.image[0, :, 0], wanted)
    assert len(TFRecords(tmp_path / "a.tfrecord", features="youtube8m-video").class_names) == 3862


def test_youtube8m_frame_level(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    rgb = rng.integers(0, 256, (7, 1024), dtype=np.uint8)
    audio = rng.integers(0, 256, (7, 128), dtype=np.uint8)
    lists = {"rgb": [row.tobytes() for row in rgb], "audio": [row.tobytes() for row in audio]}
    short = {**lists, "audio": lists["audio"][:5]}
    records = [
        sequence_example({"id": "v", "labels": [3]}, lists),
        sequence_example({"id": "w", "labels": [4]}, short),
        sequence_example({"id": "x", "labels": [4]}, {"rgb": []}),
    ]
    data = opened(tmp_path, records, "youtube8m-frame")
    case = data[0]
    assert case.image.shape == (7, 1152, 1)
    both = np.concatenate([rgb, audio], axis=1).astype(np.float64)
    np.testing.assert_allclose(case.image[..., 0], both * (4 / 255) + 4 / 512 - 2, atol=1e-6)
    assert case.labels is not None
    assert np.flatnonzero(case.labels).tolist() == [3]
    for i, kind in ((1, "shape"), (2, "no-image")):
        with pytest.raises(CaseError) as caught:
            data[i]
        assert caught.value.kind == kind


def test_raw_values_with_sizes_from_features(tmp_path: Path) -> None:
    values = np.random.default_rng(2).integers(-900, 900, (4, 5), dtype=np.int16)
    image = {"raw": "px", "shape": ["h", "w"], "dtype": "int16"}
    records = [
        example({"px": values.tobytes(), "h": 4, "w": 5}),
        example({"px": values.tobytes(), "h": 5, "w": 5}),
        example({"px": values.tobytes(), "h": 0, "w": 5}),
        example({"px": values.tobytes(), "h": 4}),
        example({"px": values.ravel().astype(float).tolist(), "h": 4, "w": 5}),
    ]
    data = opened(tmp_path, records, {"image": image})
    assert data.task == "unlabelled"
    for i in (0, 4):
        np.testing.assert_array_equal(data[i].image[..., 0], values.astype(np.float32))
    for i, kind in ((1, "shape"), (2, "shape"), (3, "no-image")):
        with pytest.raises(CaseError) as caught:
            data[i]
        assert caught.value.kind == kind
    byte = {"raw": "px", "shape": [2, 2, 2, 1]}
    cube = opened(tmp_path, [example({"px": bytes(range(8))})], {"image": byte})[0]
    assert (cube.image.shape, cube.image.dtype) == ((2, 2, 2, 1), np.uint8)


def test_labels_by_name_and_vector(tmp_path: Path) -> None:
    records = [example({"pic": png(i), "c": "ab"[i % 2], "v": [1.0, 0.0, float("nan")]})
               for i in range(2)]  # fmt: skip
    assert opened(tmp_path, records, {"image": "pic", "label": "c"}).class_names == ("a", "b")
    named = {"key": "c", "names": ["b", "a"]}
    data = TFRecords(tmp_path / "a.tfrecord", features={"image": "pic", "label": named})
    assert [row.label for row in data.index] == [1, 0]
    vector = {"key": "v", "names": ["x", "y", "z"], "form": "vector"}
    data = TFRecords(tmp_path / "a.tfrecord", features={"image": "pic", "labels": vector})
    assert data.index[0].labels is not None
    assert data.index[0].labels[:2] == (1, 0)
    assert np.isnan(data.index[0].labels[2])
    with pytest.raises(DataError, match="none of the 1 named"):
        TFRecords(
            tmp_path / "a.tfrecord",
            features={"image": "pic", "label": {"key": "c", "names": ["a"]}},
        )
    with pytest.raises(DataError, match="no record has the label 'd'"):
        TFRecords(tmp_path / "a.tfrecord", features={"image": "pic", "label": "d"})


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress], ids=["gzip", "zlib"])
def test_compressed_files(tmp_path: Path, pack: Any) -> None:
    records = [example({"pic": png(i), "class": i}) for i in range(3)]
    packed = pack(b"".join(map(frame, records)))
    path = tmp_path / "train.tfrecord.gz"
    path.write_bytes(packed)
    data = data_adapters.open(path, features={"image": "pic", "label": "class"})
    assert data.index[0].part == "train"
    np.testing.assert_array_equal(data[2].image[..., 0], pixels(2))
    path.write_bytes(packed[: len(packed) - 300])
    cut = TFRecords(path, features={"image": "pic", "label": "class"})
    assert len(cut) == 2
    assert [f.code for f in cut.findings] == ["truncated-records"]


def test_damage_costs_a_record_or_the_rest_of_the_file(tmp_path: Path) -> None:
    records = [example({"pic": png(i), "class": i}) for i in range(4)]
    whole = bytearray(b"".join(map(frame, records)))
    features = {"image": "pic", "label": "class"}
    path = tmp_path / "a.tfrecord"
    at = len(frame(records[0])) + 12 + 60  # inside the second picture
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    data = TFRecords(path, features=features)
    assert len(data) == 4
    with pytest.raises(CaseError) as caught:
        data[1]
    assert caught.value.kind == "corrupt"
    np.testing.assert_array_equal(data[2].image[..., 0], pixels(2))
    at = len(frame(records[0])) + 3  # in the second length
    path.write_bytes(whole[:at] + b"\x09" + whole[at + 1 :])
    data = TFRecords(path, features=features)
    assert len(data) == 1
    (finding,) = data.findings
    assert (finding.code, finding.severity) == ("truncated-records", "error")
    path.write_bytes(whole[:-5])
    assert len(TFRecords(path, features=features)) == 3
    huge = struct.pack("<Q", 2**60)
    path.write_bytes(bytes(whole) + huge + struct.pack("<I", masked(crc32c(huge))))
    assert len(TFRecords(path, features=features)) == 4
    bad = [records[0], b"\xff\xff\xff", example({"pic": png(1), "class": [1, 2]})]
    data = opened(tmp_path, bad, features)
    assert [skip.kind for skip in data.skipped] == ["corrupt", "corrupt"]
    for content in (b"", b"no records here at all", b"\x1f\x8b" + bytes(50)):
        path.write_bytes(content)
        with pytest.raises(DataError):
            TFRecords(path, features=features)


def test_records_that_do_not_fit_are_errors_of_the_case(tmp_path: Path) -> None:
    data = opened(tmp_path, [example({"pic": png(0)}), example({"x": 1})], {"image": "pic"})
    with pytest.raises(CaseError, match="has no feature 'pic'"):
        data[1]
    broken = opened(tmp_path, [example({"pic": png(0)[:200]})], {"image": "pic"})
    with pytest.raises(CaseError) as caught:
        broken[0]
    assert caught.value.kind == "truncated"
    number = opened(tmp_path, [example({"pic": 3})], {"image": "pic"})
    with pytest.raises(CaseError) as caught:
        number[0]
    assert caught.value.kind == "feature"


def test_a_file_that_changes_or_goes_is_an_error_of_the_case(tmp_path: Path) -> None:
    data = opened(tmp_path, [example({"pic": png(0)})], {"image": "pic"})
    (tmp_path / "a.tfrecord").write_bytes(b"short")
    with pytest.raises(CaseError, match="the file changed after it was opened"):
        data[0]
    (tmp_path / "a.tfrecord").unlink()
    with pytest.raises(CaseError, match="cannot be read"):
        data[0]


def test_repeated_ids_do_not_name_the_cases(tmp_path: Path) -> None:
    records = [example({"pic": png(i), "name": "same"}) for i in range(2)]
    data = opened(tmp_path, records, {"image": "pic", "id": "name"})
    assert data.source_name(1) == "a.tfrecord#1"
    assert "ids stand on several records and do not name the cases" in data.notes


def test_without_a_feature_map_the_features_are_named(tmp_path: Path) -> None:
    write_records(tmp_path / "a.tfrecord", [example({"pic": png(0), "class": 1})])
    with pytest.raises(DataError, match=r"class \(int64\), pic \(bytes\)"):
        data_adapters.open(tmp_path / "a.tfrecord")
    with pytest.raises(DataError, match="did you mean 'youtube8m-video'"):
        TFRecords(tmp_path / "a.tfrecord", features="youtube8m-vdeo")
    (tmp_path / "m.yaml").write_text("image: [")
    with pytest.raises(FormatError, match=r"m\.yaml is no valid YAML"):
        TFRecords(tmp_path / "a.tfrecord", features="m.yaml")
    (tmp_path / "m.yaml").write_text("!!python/object/apply:os.system ['true']")
    with pytest.raises(FormatError, match=r"m\.yaml is no valid YAML"):
        TFRecords(tmp_path / "a.tfrecord", features="m.yaml")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "wanted keys and values"),
        ({"label": "a"}, "names no image"),
        ({"image": "a", "lable": "b"}, "did you mean 'label'"),
        ({"image": "a", "label": "b", "labels": {}}, "not both"),
        ({"image": {"raw": "a"}}, "shape: wanted"),
        ({"image": {"raw": "a", "shape": [0, 2]}}, "shape: wanted"),
        ({"image": {"raw": "a", "shape": [2, 2], "dtype": "object"}}, "dtype: wanted"),
        ({"image": {"raw": "a", "encoded": "b"}}, "wanted one of"),
        ({"image": {"encoded": ["a", "b"]}}, "wanted one feature"),
        ({"image": {"frames": "a", "range": [2, -2]}}, "lowest, highest"),
        ({"image": "a", "labels": "b"}, "wanted key, names and form"),
        ({"image": "a", "labels": {"key": "b"}}, "names: wanted"),
        ({"image": "a", "labels": {"key": "b", "names": ["x", "x"]}}, "different names"),
        ({"image": "a", "labels": {"key": "b", "names": 2, "form": "class"}}, "form: wanted"),
        ({"image": "a", "id": 3}, "wanted the name of a feature"),
    ],
)
def test_damaged_feature_maps_are_refused(given: Any, said: str) -> None:
    with pytest.raises(FormatError, match=said):
        parse_map(given, "features")
