"""Archives are unpacked whole or refused; nothing is ever written outside their folder."""

from __future__ import annotations

import io
import random
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

import data_adapters
from data_adapters.archives import is_archive, unpacked
from data_adapters.errors import DataError, FormatError
from tests.data_adapters.dicom.stacks import write_slice

FILES = {"a/one.txt": b"1" * 700, "a/b/two.bin": bytes(range(256)) * 40, "top": b"x" * 1024}
WRITERS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


def write_archive(path: Path, files: dict[str, bytes]) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
            for name, data in files.items():
                target.writestr(
                    zipfile.ZipInfo(name, (2001, 2, 3, 4, 5, 6)), data, zipfile.ZIP_DEFLATED
                )
        return path
    mode = {"gz": "w:gz", "tgz": "w:gz", "bz2": "w:bz2", "xz": "w:xz"}
    with tarfile.open(path, mode.get(path.suffix[1:], "w")) as tar:  # type: ignore[call-overload]
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(data), 981173106
            tar.addfile(member, io.BytesIO(data))
    return path


def read_back(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def everything(home: Path) -> list[str]:
    return sorted(p.relative_to(home).as_posix() for p in home.rglob("*") if "files" in p.parts)


@pytest.mark.parametrize("suffix", WRITERS)
def test_files_come_back_private_and_with_their_times(tmp_path: Path, suffix: str) -> None:
    archive = write_archive(tmp_path / f"x{suffix}", FILES)
    assert is_archive(archive)
    folder = unpacked(archive, home=tmp_path / "home")
    assert read_back(folder) == FILES
    for path in folder.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0
    assert (folder / "top").stat().st_mtime == 981173106


def test_the_same_content_is_unpacked_once(tmp_path: Path) -> None:
    first = write_archive(tmp_path / "one.zip", FILES)
    second = tmp_path / "two.ZIP"
    second.write_bytes(first.read_bytes())
    folder = unpacked(first, home=tmp_path)
    (folder / "top").write_text("looked at")
    assert unpacked(second, home=tmp_path) == folder
    assert unpacked(first, home=tmp_path) == folder
    assert (folder / "top").read_text() == "looked at"
    write_archive(first, {**FILES, "new": b"2"})
    assert unpacked(first, home=tmp_path) != folder


def test_a_single_folder_at_the_top_is_stepped_into(tmp_path: Path) -> None:
    files = {f"delivery/set/{name}": data for name, data in FILES.items()}
    archive = write_archive(tmp_path / "x.zip", {**files, "__MACOSX/._x": b"0"})
    folder = unpacked(archive, home=tmp_path)
    assert (folder.name, read_back(folder)) == ("set", FILES)


@pytest.mark.parametrize(
    "name",
    [
        "../SMITH",
        "a/../../SMITH",
        "/SMITH",
        "\\SMITH",
        "..\\SMITH",
        "C:/SMITH",
        "C:SMITH",
        "a/.. /SMITH",
        "a/.../SMITH",
        "SMITH\n",
        "SMITH" * 60,
        "a/" * 300 + "SMITH",
    ],
)
@pytest.mark.parametrize("suffix", [".zip", ".tar"])
def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str, suffix: str) -> None:
    archive = write_archive(tmp_path / f"x{suffix}", {"good": b"1", name: b"2"})
    home = tmp_path / "deep" / "home"
    with pytest.raises(FormatError, match="member 2 of the archive") as caught:
        unpacked(archive, home=home)
    assert "SMITH" not in str(caught.value)
    assert everything(home) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep", f"x{suffix}"]


@pytest.mark.parametrize(
    "names",
    [["a", "A"], ["x/a", "X/b"], ["a", "a"], ["a", "a/b"], ["a/b", "a"], ["\u00e9", "e\u0301"]],
)
@pytest.mark.parametrize("suffix", [".zip", ".tar"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_clash_are_refused(tmp_path: Path, names: list[str], suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    if suffix == ".zip":
        with zipfile.ZipFile(path, "w") as target:
            for name in names:
                target.writestr(name, name)
    else:
        with tarfile.open(path, "w") as tar:
            for name in names:
                tar.addfile(tarfile.TarInfo(name))
    with pytest.raises(FormatError, match="member 2 of the archive has the name of another"):
        unpacked(path, home=tmp_path)


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices_in_a_tar_are_refused(tmp_path: Path, kind: bytes) -> None:
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as tar:
        tar.addfile(tarfile.TarInfo("good"))
        member = tarfile.TarInfo("bad")
        member.type, member.linkname = kind, "good"
        tar.addfile(member)
    with pytest.raises(FormatError, match="member 2 of the archive is a link"):
        unpacked(path, home=tmp_path)
    assert everything(tmp_path) == []


def test_links_and_secrets_in_a_zip_are_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as target:
        target.writestr(link, "/etc/passwd")
    with pytest.raises(FormatError, match="member 1 of the archive is a link"):
        unpacked(tmp_path / "link.zip", home=tmp_path)
    data = bytearray(write_archive(tmp_path / "x.zip", {"a": b"1"}).read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "x.zip").write_bytes(data)
    with pytest.raises(FormatError, match="member 1 of the archive is encrypted"):
        unpacked(tmp_path / "x.zip", home=tmp_path)


@pytest.mark.parametrize("suffix", WRITERS)
def test_bombs_are_stopped(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data_adapters.archives.FREE_BYTES", 1 << 16)
    archive = write_archive(tmp_path / f"x{suffix}", {"zeros": bytes(8 << 20)})
    if suffix == ".tar":
        assert read_back(unpacked(archive, home=tmp_path)) == {"zeros": bytes(8 << 20)}
    else:
        with pytest.raises(DataError, match="unpacks to more than"):
            unpacked(archive, home=tmp_path)
        assert everything(tmp_path) == []
    many = write_archive(tmp_path / f"many{suffix}", {str(i): b"" for i in range(30)})
    with pytest.raises(DataError, match="more than 29 members"):
        unpacked(many, home=tmp_path, max_members=29)
    with pytest.raises(DataError, match="more than 1000 bytes"):
        unpacked(write_archive(tmp_path / f"y{suffix}", FILES), home=tmp_path, max_bytes=1000)


@pytest.mark.parametrize("suffix", WRITERS)
def test_damaged_archives_are_refused_or_unharmed(tmp_path: Path, suffix: str) -> None:
    whole = write_archive(tmp_path / f"x{suffix}", FILES).read_bytes()
    draw = random.Random(7)
    refused: list[str] = []
    for number in range(40):
        data = bytearray(whole)
        if number % 2:
            del data[draw.randrange(len(data)) :]
        for _ in range(draw.randrange(4)):
            if data:
                data[draw.randrange(len(data))] = draw.randrange(256)
        path = tmp_path / f"{number}{suffix}"
        path.write_bytes(data)
        home = tmp_path / f"home{number}"
        try:
            folder = unpacked(path, home=home)
        except DataError as error:
            refused.append(str(error))
            assert everything(home) == []
        else:
            assert folder.is_relative_to(home)
    assert len(refused) > 10
    assert not any("two.bin" in text for text in refused)


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
def test_a_tar_that_stops_making_sense_is_not_taken_for_its_beginning(
    tmp_path: Path, suffix: str
) -> None:
    plain = write_archive(tmp_path / "x.tar", FILES).read_bytes()
    broken = bytearray(plain)
    second = plain.index(b"a/b/two.bin")
    broken[second + 148 : second + 156] = b"777777\0 "
    path = tmp_path / "broken.tar"
    path.write_bytes(broken)
    if suffix == ".tar.gz":
        import gzip

        path = tmp_path / "broken.tar.gz"
        path.write_bytes(gzip.compress(bytes(broken)))
    with pytest.raises(FormatError, match="damaged"):
        unpacked(path, home=tmp_path)


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    for name in ("x.zip", "x.tar", "x.tar.gz", "x.tar.xz"):
        (tmp_path / name).write_bytes(b"no archive" * 100)
        with pytest.raises(FormatError, match="damaged, or no archive"):
            unpacked(tmp_path / name, home=tmp_path)
    with pytest.raises(FormatError, match="empty"):
        unpacked(write_archive(tmp_path / "e.zip", {}), home=tmp_path)
    with pytest.raises(DataError, match="not there"):
        unpacked(tmp_path / "absent.zip", home=tmp_path)
    assert not is_archive(tmp_path / "absent.zip")
    assert not is_archive(write_archive(tmp_path / "e.zip", {}).rename(tmp_path / "model.keras"))


def test_an_interrupted_unpacking_is_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = write_archive(tmp_path / "x.zip", FILES)
    times = iter([1.0])

    def killed(member: zipfile.ZipInfo) -> float:
        try:
            return next(times)
        except StopIteration:
            raise KeyboardInterrupt from None

    with monkeypatch.context() as patched:
        patched.setattr("data_adapters.archives._time", killed)
        with pytest.raises(KeyboardInterrupt):
            unpacked(archive, home=tmp_path / "home")
    assert read_back(unpacked(archive, home=tmp_path / "home")) == FILES


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
def test_an_archive_opens_as_the_folder_in_it(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RADZOO_HOME", str(tmp_path / "home"))
    files = {}
    for i in range(3):
        path = write_slice(tmp_path / "in" / f"{i}.dcm", ImagePositionPatient=[0, 0, i])
        files[f"study/{i}"] = path.read_bytes()
    archive = write_archive(tmp_path / f"x{suffix}", files)
    data = data_adapters.open(archive)
    assert (data.kind, len(data), data[0].image.shape) == ("dicom", 1, (3, 6, 5, 1))
