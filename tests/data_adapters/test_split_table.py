"""splits.csv: written whole or not at all, read back as it was written."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from data_adapters.adapter import IndexRow
from data_adapters.errors import SplitError
from data_adapters.split_table import SplitRow, read_splits, split_rows, write_splits
from data_adapters.splits import Splits

NAN = math.nan


def test_splits_csv_round_trip(tmp_path: Path) -> None:
    index = [
        IndexRow(case_id="c1", patient_id="p1", label=1, part="train"),
        IndexRow(case_id="c2", labels=(1.0, NAN, 0.0)),
        IndexRow(case_id="c3"),
    ]
    splits = Splits(("train", "val", ""), "image", official=True)
    rows = split_rows(
        index,
        splits,
        sha256s=["aa", "bb", ""],
        notes={"c3": 'left out, "blank"\nsecond line'},
        class_names=("normal, benign", "ängstlich"),
    )
    assert [row.label for row in rows] == ["ängstlich", "1;;0", ""]
    path = tmp_path / "splits.csv"
    write_splits(path, rows)
    header = path.read_text(encoding="utf-8").splitlines()[0]
    assert header == "case_id,patient,study,series,label,part,fold,pixel_sha256,note"
    assert read_splits(path) == rows
    assert [item.name for item in tmp_path.iterdir()] == ["splits.csv"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "splits.csv"
    write_splits(path, [SplitRow("c1", part="train")])
    with pytest.raises(UnicodeEncodeError):
        write_splits(path, [SplitRow("c2", note="\udc80")])
    assert read_splits(path) == [SplitRow("c1", part="train")]
    assert [item.name for item in tmp_path.iterdir()] == ["splits.csv"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"case_id,part\nc1,train\n", "lacks the columns patient, label"),
        (b"", "lacks the columns"),
        (b"case_id,patient,label,part,pixel_sha256,note\nc1,,,tset,,\n", "row 2: unknown part"),
        (b"case_id,patient,label,part,pixel_sha256,note\nc1,,,,,\nc1,,,,,\n", "row 3.*twice"),
        (b"case_id,patient\xff\xfe", "no UTF-8"),
    ],
)
def test_a_damaged_splits_csv_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "splits.csv"
    path.write_bytes(content)
    with pytest.raises(SplitError, match=message):
        read_splits(path)


def test_an_absent_splits_csv_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SplitError, match="not there"):
        read_splits(tmp_path / "splits.csv")
