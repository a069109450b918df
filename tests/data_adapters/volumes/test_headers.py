"""Text headers: NRRD and MetaImage, attached and detached."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from data_adapters.case import Geometry
from data_adapters.errors import CaseError
from data_adapters.geometry import to_world
from data_adapters.volumes.read import read_volume

VALUES = np.arange(24, dtype="<i2").reshape(2, 3, 4)
NRRD = {
    "type": "short",
    "dimension": "3",
    "space": "left-posterior-superior",
    "sizes": "4 3 2",
    "space directions": "(0.5,0,0) (0,0,-2) (0,3,0)",
    "kinds": "domain domain domain",
    "endian": "little",
    "encoding": "raw",
    "space origin": "(10,20,30)",
}
META = {
    "ObjectType": "Image",
    "NDims": "3",
    "BinaryData": "True",
    "BinaryDataByteOrderMSB": "False",
    "CompressedData": "False",
    "TransformMatrix": "1 0 0 0 0 -1 0 1 0",
    "Offset": "10 20 30",
    "ElementSpacing": "0.5 2 3",
    "DimSize": "4 3 2",
    "ElementType": "MET_SHORT",
}


def nrrd(path: Path, data: bytes = VALUES.tobytes(), **changes: str | None) -> Path:
    """An NRRD file; `_` in a changed field's name stands for a blank, None drops the field."""
    fields = NRRD | {name.replace("_", " "): value for name, value in changes.items()}
    lines = [f"{name}: {value}\n" for name, value in fields.items() if value is not None]
    path.write_bytes(("NRRD0004\n" + "".join(lines) + "\n").encode() + data)
    return path


def meta(path: Path, data: bytes = VALUES.tobytes(), **changes: str | None) -> Path:
    """A MetaImage file; None drops a field."""
    fields = META | changes
    place = fields.pop("ElementDataFile", "LOCAL")
    lines = [f"{name} = {value}\n" for name, value in fields.items() if value is not None]
    path.write_bytes("".join([*lines, f"ElementDataFile = {place}\n"]).encode() + data)
    return path


def kind_of(path: Path) -> str:
    """The kind of the error that reading raises."""
    with pytest.raises(CaseError) as caught:
        read_volume(path, case_id="c0")
    assert "DOE" not in str(caught.value), "a header may hold names where they do not belong"
    return caught.value.kind


def same_as_sitk(path: Path) -> None:
    """Values and places equal SimpleITK's."""
    image = SimpleITK.ReadImage(str(path))
    volume = read_volume(path, case_id="c0")
    np.testing.assert_array_equal(volume.image[..., 0], SimpleITK.GetArrayFromImage(image))
    index = np.random.default_rng(1).uniform(0, 3, (9, 3))
    theirs = [image.TransformContinuousIndexToPhysicalPoint(i[::-1].tolist()) for i in index]
    np.testing.assert_allclose(to_world(volume.geometry, index), theirs, atol=1e-9)


@pytest.mark.parametrize("space", ["left-posterior-superior", "right-anterior-superior", "LAS"])
def test_nrrd_spaces(tmp_path: Path, space: str) -> None:
    same_as_sitk(nrrd(tmp_path / "v.nrrd", space=space))


def test_metaimage(tmp_path: Path) -> None:
    same_as_sitk(meta(tmp_path / "v.mha"))
    same_as_sitk(meta(tmp_path / "v.mha", VALUES.astype(">i2").tobytes(),
                      BinaryDataByteOrderMSB="True"))  # fmt: skip


@pytest.mark.parametrize("suffix", [".nhdr", ".mhd"])
def test_detached_headers_stay_in_their_folder(tmp_path: Path, suffix: str) -> None:
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    for place in (tmp_path / "out.raw", folder / "v.raw", folder / "deep" / "v.raw"):
        place.write_bytes(VALUES.tobytes())
    (folder / "link.raw").symlink_to(tmp_path / "out.raw")

    def detached(name: str) -> Path:
        path = folder / f"v{suffix}"
        if suffix == ".nhdr":
            return nrrd(path, b"", data_file=name)
        return meta(path, b"", ElementDataFile=name)

    for name in ("v.raw", "deep/v.raw", "./v.raw"):
        same_as_sitk(detached(name))
    for name in ("../out.raw", "link.raw", str(tmp_path / "out.raw"), "deep/../../out.raw", "."):
        assert kind_of(detached(name)) == "outside"
    for name in ("LIST", "v%03d.raw 1 2 1"):
        assert kind_of(detached(name)) == "encoding"
    assert kind_of(detached("gone.raw")) == "missing"
    (folder / "v.raw").write_bytes(VALUES.tobytes()[:-1])
    assert kind_of(detached("v.raw")) == "truncated"


def test_metaimage_values_at_the_end_of_another_file(tmp_path: Path) -> None:
    (tmp_path / "v.raw").write_bytes(b"any header" + VALUES.tobytes())
    for size in ("-1", "10"):
        same_as_sitk(meta(tmp_path / "v.mhd", b"", ElementDataFile="v.raw", HeaderSize=size))


def test_directions_that_the_header_does_not_give(tmp_path: Path) -> None:
    bare = nrrd(tmp_path / "v.nrrd", space=None, space_directions=None, space_origin=None,
                spacings="0.5 2 3")  # fmt: skip
    volume = read_volume(bare, case_id="c0")
    assert volume.geometry == Geometry((3.0, 2.0, 0.5))
    assert volume.notes == ("orientation-unknown",)
    scanner = read_volume(nrrd(tmp_path / "v.nrrd", space="scanner-xyz"), case_id="c0")
    assert scanner.geometry == Geometry((3.0, 2.0, 0.5))
    assert scanner.notes == ("orientation-unknown",)
    flat = read_volume(meta(tmp_path / "v.mha", TransformMatrix=None), case_id="c0")
    assert flat.geometry == Geometry((3.0, 2.0, 0.5))


@pytest.mark.parametrize("place", [0, 1, 3])
def test_an_nrrd_axis_outside_space_holds_the_channels(tmp_path: Path, place: int) -> None:
    steps = NRRD["space directions"].split()
    sizes = NRRD["sizes"].split()
    kinds = ["domain"] * 3
    for words, word in ((steps, "none"), (sizes, "5"), (kinds, "list")):
        words.insert(place, word)
    stored = np.arange(120, dtype="<i2").reshape([int(n) for n in reversed(sizes)])
    path = nrrd(tmp_path / "v.nrrd", stored.tobytes(), dimension="4", sizes=" ".join(sizes),
                kinds=" ".join(kinds), space_directions=" ".join(steps))  # fmt: skip
    volume = read_volume(path, case_id="c0")
    np.testing.assert_array_equal(volume.image, np.moveaxis(stored, 3 - place, -1))
    assert volume.geometry.spacing == (3.0, 2.0, 0.5)


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"sizes": "4 3"}, "header"),
        ({"sizes": "4 3 x"}, "header"),
        ({"sizes": "4 3 0"}, "header"),
        ({"sizes": "4000 3000 2000"}, "bomb"),
        ({"sizes": "4 3 200"}, "truncated"),
        ({"sizes": "4 3 1e300"}, "bomb"),
        ({"type": "DOE^JOHN"}, "pixel-type"),
        ({"encoding": "DOE^JOHN"}, "encoding"),
        ({"sizes": "DOE 3 2"}, "header"),
        ({"space_origin": "(DOE,1,2)"}, "header"),
        ({"endian": None}, "header"),
        ({"encoding": "hex"}, "encoding"),
        ({"byte_skip": "4"}, "encoding"),
        ({"space_directions": "(0.5,0,0) (0,0,0) (0,3,0)"}, "geometry"),
        ({"space_directions": "(0.5,0,0) (1,0,0) (0,3,0)"}, "geometry"),
        ({"space_directions": "(0.5,0,0) (0,inf,0) (0,3,0)"}, "header"),
        ({"space_directions": "(0.5,0,0)"}, "geometry"),
        ({"space_origin": "(1,2)"}, "geometry"),
    ],
)
def test_forged_nrrd_headers(tmp_path: Path, changes: dict[str, str | None], kind: str) -> None:
    assert kind_of(nrrd(tmp_path / "v.nrrd", **changes)) == kind


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"NDims": "2"}, "header"),
        ({"NDims": "3 3"}, "header"),
        ({"DimSize": "4 3 0"}, "header"),
        ({"DimSize": "4 3 -2"}, "header"),
        ({"DimSize": "4000 3000 2000"}, "bomb"),
        ({"DimSize": "4 3 3"}, "truncated"),
        ({"ElementType": "MET_DOE"}, "pixel-type"),
        ({"Offset": "DOE 1 2"}, "header"),
        ({"BinaryData": "False"}, "encoding"),
        ({"ElementSpacing": "0.5 0 3"}, "geometry"),
        ({"ElementSpacing": "0.5 nan 3"}, "header"),
        ({"TransformMatrix": "1 0 0 0 1 0 1 0 0"}, "geometry"),
        ({"TransformMatrix": "1 0 0 1"}, "geometry"),
        ({"Offset": "1 2"}, "geometry"),
        ({"ElementNumberOfChannels": "0"}, "header"),
    ],
)
def test_forged_metaimage_headers(
    tmp_path: Path, changes: dict[str, str | None], kind: str
) -> None:
    assert kind_of(meta(tmp_path / "v.mha", **changes)) == kind
