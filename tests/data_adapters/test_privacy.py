"""Pseudonyms: salted, stable on an installation, different elsewhere."""

from __future__ import annotations

import hashlib
import hmac
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from data_adapters import privacy
from data_adapters.errors import DataError
from data_adapters.privacy import case_ids, patient_pseudonym, salt_check, uid_pseudonym

posix = pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")


@pytest.fixture
def fresh_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without a salt."""
    home = tmp_path / "home" / "radzoo"
    monkeypatch.setenv("RADZOO_HOME", str(home))
    monkeypatch.delenv("RADZOO_SALT", raising=False)
    return home


def test_a_pseudonym_is_the_beginning_of_a_keyed_hash(fresh_home: Path) -> None:
    patient = patient_pseudonym("Doe")
    key = bytes.fromhex((fresh_home / "salt").read_text())
    assert len(key) == 32
    assert patient == "p" + hmac.new(key, b"patient\0Doe", hashlib.sha256).hexdigest()[:12]
    assert case_ids(["a/b.png"]) == [
        "c" + hmac.new(key, b"case\0a/b.png", hashlib.sha256).hexdigest()[:10]
    ]
    assert uid_pseudonym("1.2", "study")[1:] != uid_pseudonym("1.2", "series")[1:]
    assert hashlib.sha256(b"Doe").hexdigest()[:12] not in patient


def test_the_salt_is_made_once_and_only_its_owner_reads_it(fresh_home: Path) -> None:
    first = (patient_pseudonym("x"), case_ids(["x"]), salt_check())
    text = (fresh_home / "salt").read_text()
    assert (patient_pseudonym("x"), case_ids(["x"]), salt_check()) == first
    assert (fresh_home / "salt").read_text() == text
    assert [path.name for path in fresh_home.iterdir()] == ["salt"]
    if os.name != "nt":
        assert stat.S_IMODE((fresh_home / "salt").stat().st_mode) == 0o600


def test_another_salt_gives_other_pseudonyms_and_a_shared_one_the_same(
    fresh_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = (patient_pseudonym("x"), salt_check())
    shared = tmp_path / "shared-salt"
    shared.write_text((fresh_home / "salt").read_text())
    monkeypatch.setenv("RADZOO_HOME", str(tmp_path / "elsewhere"))
    assert patient_pseudonym("x") != here[0]
    assert salt_check() != here[1]
    monkeypatch.setenv("RADZOO_SALT", str(shared))
    assert (patient_pseudonym("x"), salt_check()) == here


def test_processes_that_start_together_agree(fresh_home: Path) -> None:
    code = "from data_adapters.privacy import salt_check; print(salt_check())"
    root = str(Path(privacy.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": root}
    running = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment)
        for _ in range(6)
    ]
    found = {process.communicate()[0].strip() for process in running}
    assert found == {salt_check().encode()}


def test_a_file_system_without_links_still_gets_a_salt(
    fresh_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object) -> None:
        raise PermissionError(1, "not permitted")

    monkeypatch.setattr(os, "link", no_links)
    check = salt_check()
    assert [path.name for path in fresh_home.iterdir()] == ["salt"]
    assert salt_check() == check


@pytest.mark.parametrize("content", [b"", b"abc\n", b"g" * 64, b"\xff" * 64, b"0" * 63])
def test_a_damaged_salt_is_an_error(fresh_home: Path, content: bytes) -> None:
    fresh_home.mkdir(parents=True)
    (fresh_home / "salt").write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(privacy.time, "sleep", lambda _: None)
        times = iter(range(100))
        patch.setattr(privacy.time, "monotonic", lambda: next(times))
        with pytest.raises(DataError, match=r"'salt' in RADZOO_HOME is damaged") as caught:
            case_ids(["x"])
    assert str(fresh_home) not in str(caught.value)


def test_a_named_salt_must_exist(fresh_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RADZOO_SALT", str(fresh_home / "none"))
    with pytest.raises(DataError, match="RADZOO_SALT names a file that is not there"):
        patient_pseudonym("x")
    assert not fresh_home.exists()


@posix
def test_a_home_that_cannot_be_written_is_an_error_with_a_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RADZOO_SALT")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RADZOO_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(DataError, match="RADZOO_HOME") as caught:
        patient_pseudonym("x")
    assert str(tmp_path) not in str(caught.value)


def test_a_replaced_salt_counts_at_once(fresh_home: Path) -> None:
    before = salt_check()
    (fresh_home / "salt").unlink()
    assert salt_check() != before
