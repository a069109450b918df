"""A name planted in every text of the data is found in nothing that is written or said.

What is searched: the run folder, the folder of caches, splits, what commands print, the log,
warnings, cases and their facts, skips, notes, findings and every error's text. Exceptions, all by
purpose: the column `file` of predictions and `--names` of lint, which the user asks for, and
`dicom-index/` and `unpacked/` of the folder of caches, which only their owner may read.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import logging
import os
import shutil
import stat
import tarfile
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import data_adapters
from data_adapters.errors import CaseError, DataError
from data_adapters.store import build_store
from recipes import cli
from tests.planted_sets import DELIVERIES, dicom_set, tree
from tests.planting import (
    MARK,
    planted_dicom,
    search,
    search_tree,
)
from tests.recipes.tiny_backbone import NAME, write_weights

# Patient data by purpose, and their owner's alone.
EXEMPT = ("dicom-index", "unpacked")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of caches of this test alone."""
    monkeypatch.setenv("RADZOO_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def told(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> Iterator[list[str]]:
    """Texts to be searched at the end, with all that was printed and logged meanwhile."""
    caplog.set_level(logging.DEBUG)
    texts: list[str] = []
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for package in ("pydicom", "highdicom", "PIL"):  # as data_adapters has it
            warnings.filterwarnings("ignore", module=rf"{package}\.")
        yield texts
    texts += [str(warning.message) for warning in warned]
    printed = capfd.readouterr()
    texts += [printed.out, printed.err, *(record.getMessage() for record in caplog.records)]
    found = [(place, text[:300]) for text in texts if (place := search(text.encode()))]
    assert found == []


def radzoo(*words: object, code: int = 0) -> None:
    """Run a command in this process."""
    with pytest.raises(SystemExit) as ended:
        cli.main([str(word) for word in words])
    assert ended.value.code in (None, code)


def facts(adapter: data_adapters.Adapter) -> list[str]:
    """All that an adapter says beside pixels and `source_name`."""
    said = [repr(adapter.index), repr(adapter.notes), repr(adapter.class_names), adapter.identity()]
    said += [repr(dataclasses.replace(skip, source=None)) for skip in adapter.skipped]
    for finding in getattr(adapter, "findings", ()):
        said.append(repr(dataclasses.replace(finding, source=None)))
    for i in range(len(adapter)):
        try:
            case = adapter[i]
        except CaseError as error:
            said += [str(error), repr(error)]
            continue
        said += [repr(dict(case.meta)), repr(case.lesions), repr(case.geometry), repr(case.display)]
        said += [str(case.case_id), str(case.patient_id)]
    return said


def errors_of_broken(root: Path, copies: Path) -> list[str]:
    """The texts of errors of files cut and damaged in several places, each opened alone."""
    said = []
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        data = path.read_bytes()
        for k, cut in enumerate((0.02, 0.3, 0.6, 0.97)):
            at = int(len(data) * cut)
            for j, broken in enumerate((data[:at], data[:at] + b"\xff\0\xfe" + data[at + 3 :])):
                copy = copies / f"{k}{j}" / f"{MARK}{path.suffix}"
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(broken)
                for opener in (data_adapters.open, data_adapters.open_files):
                    try:
                        said += facts(opener(copy))
                    except DataError as error:
                        # It goes to the user who named the path: that much may be quoted.
                        said.append(str(error).replace(str(copy), "").replace(copy.name, ""))
    return said


@pytest.mark.slow
def test_nothing_planted_in_dicom_comes_out_of_a_run(
    tmp_path: Path, home: Path, told: list[str]
) -> None:
    table = dicom_set(tmp_path / "delivery")
    weights = write_weights(tmp_path / "start.weights.h5")
    out = tmp_path / "written"
    out.mkdir()
    tiny = {
        "data.image_size": 32, "model.members": 1, "model.backbone": NAME, "model.weights": weights,
        "train.batch_size": 8, "train.head.epochs": 1, "train.finetune.epochs": 1,
        "evaluate.n_boot": 100,
    }  # fmt: skip
    changes = [word for key, value in tiny.items() for word in ("--set", f"{key}={value}")]
    run = out / "run"
    radzoo("data", "split", table, "--out", out / "splits.csv")
    radzoo("data", "lint", table, "--json", code=1)
    radzoo("data", "lint", table, "--html", out / "lint.html", code=1)
    radzoo("classify", "fit", table, "--out", run, "--positive", "lesion", *changes)
    radzoo("classify", "evaluate", run, table, "--include-seen", "--n-boot", 100, "--json")
    radzoo("classify", "predict", run, tmp_path / "delivery", "--out", out / "predictions.csv")
    assert json.loads((run / "metrics.json").read_text())["skipped"] == {
        "truncated": 1,
        "unlabelled": 1,
    }
    assert "data:image" in (run / "report.html").read_text()
    with (out / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert all(MARK in row.pop("file") for row in rows)
    told += [repr(rows)]
    (out / "predictions.csv").unlink()
    told += facts(data_adapters.open(table))
    assert search_tree(out) == {}
    assert search_tree(home, besides=EXEMPT) == {}
    assert any(home.rglob("*.npy")) or any((home / "decoded").iterdir())


def test_the_index_of_a_delivery_is_its_owners_alone(tmp_path: Path, home: Path) -> None:
    data_adapters.open(tree(tmp_path / "delivery"))
    kept = [path for path in home.rglob("*") if path.is_file() and path.name != "salt"]
    assert kept
    for path in kept:
        name = path.relative_to(home).as_posix()
        assert name.startswith(EXEMPT)
        assert search(name.encode()) == []
    if os.name != "nt":
        assert stat.S_IMODE((home / "dicom-index").stat().st_mode) == 0o700
        for path in home.rglob("*.sqlite*"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("kind", DELIVERIES)
def test_nothing_planted_comes_out_of_opening_and_linting(
    kind: str, tmp_path: Path, home: Path, told: list[str]
) -> None:
    source = DELIVERIES[kind](tmp_path / MARK)
    assert search_tree(tmp_path / MARK)
    adapter = data_adapters.open(source)
    assert len(adapter) > 3
    assert any(MARK in adapter.source_name(i) for i in range(len(adapter)))
    told += facts(adapter)
    out: dict[str, Any] = {}
    for words in (("--json",), ("--html", tmp_path / "lint.html")):
        with pytest.raises(SystemExit) as ended:
            cli.main(["data", "lint", str(source), *(str(word) for word in words)])
        out[words[0]] = ended.value.code
    assert out["--json"] == out["--html"]
    assert search((tmp_path / "lint.html").read_bytes()) == []
    assert search_tree(home, besides=EXEMPT) == {}


@pytest.mark.parametrize("kind", ["pictures", "volumes", "dicom"])
def test_errors_of_broken_files_quote_nothing(
    kind: str, tmp_path: Path, home: Path, told: list[str]
) -> None:
    whole = tmp_path / "whole"
    if kind == "dicom":
        whole.mkdir()
        data = planted_dicom(1, every=False)
        (whole / "a.dcm").write_bytes(data)
        (whole / "cases.csv").write_text(f"path,label\n{MARK}.dcm,{MARK}\n")
    else:
        DELIVERIES[kind](whole)
        for path in sorted(path for path in whole.rglob("*") if path.is_file())[6:]:
            path.unlink()
    said = errors_of_broken(whole, tmp_path / "copies")
    assert len(said) > 10
    told += said
    assert search_tree(home, besides=EXEMPT) == {}


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
def test_members_of_bad_archives_are_not_named(
    suffix: str, tmp_path: Path, home: Path, told: list[str]
) -> None:
    tree(tmp_path / "delivery")
    archive = tmp_path / f"all{suffix}"
    files = sorted(path for path in (tmp_path / "delivery").rglob("*") if path.is_file())
    if suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as packed:
            packed.comment = MARK.encode()
            for path in files:
                packed.write(path, path.relative_to(tmp_path / "delivery"))
            packed.writestr(f"../{MARK}.dcm", b"outside")
    else:
        with tarfile.open(archive, "w:gz") as rolled:
            for path in files:
                rolled.add(path, path.relative_to(tmp_path / "delivery"))
            entry = tarfile.TarInfo(f"/{MARK}.dcm")
            rolled.addfile(entry, io.BytesIO(b""))
    with pytest.raises(DataError) as refused:  # for the member outside
        data_adapters.open(archive)
    told.append(str(refused.value))
    assert search_tree(home, besides=EXEMPT) == {}


def test_an_archive_is_unpacked_for_its_owner_alone(
    tmp_path: Path, home: Path, told: list[str]
) -> None:
    tree(tmp_path / "delivery")
    archive = Path(shutil.make_archive(str(tmp_path / MARK), "zip", tmp_path / "delivery"))
    adapter = data_adapters.open(archive)
    assert len(adapter) > 2
    told += facts(adapter)
    assert search_tree(home, besides=EXEMPT) == {}
    if os.name != "nt":
        assert stat.S_IMODE((home / "unpacked").stat().st_mode) == 0o700


def test_an_archive_of_nothing_is_named_as_the_user_named_it(tmp_path: Path, home: Path) -> None:
    archive = tmp_path / "all.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for name in "ab":
            packed.writestr(f"{MARK} {name}.dcm", planted_dicom(1, every=False)[:300])
    with pytest.raises(DataError) as caught:
        data_adapters.open(archive, format="dicom")
    assert str(archive) in str(caught.value)
    assert str(home) not in str(caught.value)
    assert MARK not in str(caught.value)


def test_the_store_of_preprocessed_cases_names_nobody(
    tmp_path: Path, home: Path, told: list[str]
) -> None:
    adapter = data_adapters.open(tree(tmp_path / "delivery"))
    store = build_store(adapter, home=home)
    assert len(store.skipped) == 1
    told += facts(store)
    assert (home / "store").is_dir()
    assert search_tree(home, besides=EXEMPT) == {}


def test_the_search_finds_what_it_looks_for(tmp_path: Path) -> None:
    import base64
    import gzip

    texts = [MARK, MARK.lower(), MARK.title()]
    for text in texts:
        for data in (text.encode(), text.encode("utf-16"), text.encode("utf-16-be")):
            assert search(b"\1x" + data)
    for k in range(3):
        assert search(base64.b64encode(b"abc"[:k] + MARK.encode() + b"xyz"))
    assert search(MARK.encode().hex().encode())
    assert search(gzip.compress(MARK.encode()))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x", gzip.compress(MARK.encode()))
    assert search_tree(tmp_path) == {"a.zip": ["packed packed utf-8"]}
    assert search(b"nothing planted here, ZZ planted ZZ") == []
