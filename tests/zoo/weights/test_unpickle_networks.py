"""Checkpoints beyond flat state dicts: nested ones, whole networks, bfloat16, safetensors."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.zoo.test_unpickle import (
    BUILD,
    EMPTY_DICT,
    EMPTY_TUPLE,
    GOLDEN,
    NONE,
    PERSID,
    PROTO2,
    REDUCE,
    STOP,
    _mutate,
    _repickled,
    archive,
    glob,
    name,
    number,
    state,
    tensor,
)
from zoo.errors import ZooError
from zoo.weights.unpickle import read_checkpoint

NEWOBJ, SET_ITEM, PUT, GET = b"\x81", b"s", b"q", b"h"
FILES = ("torch_network_zip.pt", "torch_network_legacy.pt", "torch_nested.pth")


@pytest.fixture
def read(tmp_path: Path) -> Callable[[bytes], dict[str, Any]]:
    def _read(data: bytes, file: str = "file.pth") -> dict[str, Any]:
        path = tmp_path / file
        path.write_bytes(data)
        return read_checkpoint(path)

    return _read


@pytest.mark.parametrize("file", FILES)
def test_networks_and_nested_state_dicts_read_as_pytorch_names_them(file: str) -> None:
    """Shared layers under both names, buffers that are not saved left out, wrappers stripped."""
    expected = np.load(GOLDEN / "torch_network.npz")
    found = read_checkpoint(GOLDEN / file)
    assert list(found) == expected.files
    for key, array in found.items():
        assert array.dtype == expected[key].dtype, key
        np.testing.assert_array_equal(array, expected[key], err_msg=key)


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_bfloat16_is_the_upper_half_of_float32(ending: str) -> None:
    expected = np.load(GOLDEN / "torch_network.npz")
    found = read_checkpoint(GOLDEN / f"torch_bfloat16.{ending}")
    assert set(found) == set(expected.files)
    for key, array in found.items():
        assert array.dtype == "float32"
        np.testing.assert_allclose(array, expected[key], rtol=2**-8, err_msg=key)
        assert not np.any(array.view("u4") & 0xFFFF)


# ---------------------------------------------------------------- refusals


def module(parts: dict[str, bytes], *, kind: tuple[str, str] = ("some.module", "Net")) -> bytes:
    """Pickle a network with the given attributes."""
    items = b"".join(name(key) + value + SET_ITEM for key, value in parts.items())
    return glob(*kind) + EMPTY_TUPLE + NEWOBJ + EMPTY_DICT + items + BUILD


def mapping(parts: dict[str, bytes]) -> bytes:
    return EMPTY_DICT + b"".join(name(key) + value + SET_ITEM for key, value in parts.items())


X = tensor((2, 2), (2, 1))


def test_hand_written_network_reads(read: Callable[[bytes], dict[str, Any]]) -> None:
    inner = module({"_parameters": mapping({"w": X, "none": NONE})})
    program = PROTO2 + module({"_modules": mapping({"a": inner, "b": NONE})}) + STOP
    assert list(read(archive(program))) == ["a.w"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            module({"_modules": mapping({"a": module({}, kind=("posix", "system"))})}),
            "posix.system",
        ),
        (module({}), "not hold a mapping of names to tensors; it names some.module.Net"),
        (mapping({"a": mapping({"w": X}), "b": mapping({"v": X})}), "several mappings .*'a', 'b'"),
        (mapping({"optimizer": mapping({"state": mapping({"w": X})})}), "not hold a mapping"),
        (glob("torch", "load") + name("f") + b"\x85" + REDUCE, "calls torch.load"),
        (glob("some.module", "Net") + number(3) + b"\x85" + NEWOBJ, "makes some.module.Net"),
        (name("module") + name("posix") + NONE + b"\x87" + PERSID, "storage in a way"),
        (
            glob("torch._utils", "_rebuild_parameter") + NONE + b"\x85" + REDUCE,
            "calls torch._utils._rebuild_parameter",
        ),
    ],
    ids=["stdlib", "empty", "several", "optimizer", "call", "arguments", "source", "parameter"],
)
def test_what_is_no_network_is_refused(
    read: Callable[[bytes], dict[str, Any]], value: bytes, message: str
) -> None:
    with pytest.raises(ZooError, match=message):
        read(archive(PROTO2 + value + STOP))


def test_networks_within_themselves_end(read: Callable[[bytes], dict[str, Any]]) -> None:
    """A module that contains itself, and one whose modules double at each of forty levels."""
    build = EMPTY_DICT + name("_modules") + EMPTY_DICT
    own = glob("m", "N") + EMPTY_TUPLE + NEWOBJ + PUT + b"\0" + build
    own += name("a") + GET + b"\0" + SET_ITEM + SET_ITEM + BUILD
    with pytest.raises(ZooError, match="nested without end"):
        read(archive(PROTO2 + own + STOP))
    wide = module({"_parameters": mapping({"w": X})}) + PUT + b"\0"
    for level in range(40):
        last = GET + bytes([level])
        wide += module({"_modules": mapping({"a": last, "b": last})}) + PUT + bytes([level + 1])
        wide += b"\x86"  # keeps the stack short
        wide += GET + bytes([level + 1])
    with pytest.raises(ZooError, match="nested without end"):
        read(archive(PROTO2 + wide + STOP))


def test_one_storage_is_not_declared_twice(read: Callable[[bytes], dict[str, Any]]) -> None:
    both = mapping({"a": tensor((1,), (1,)), "b": tensor((1,), (1,), count=5)})
    with pytest.raises(ZooError, match="storage '0' in two ways"):
        read(archive(PROTO2 + both + STOP))


def test_entries_that_are_no_tensors_are_left_out(read: Callable[[bytes], dict[str, Any]]) -> None:
    assert list(read(archive(PROTO2 + mapping({"epoch": number(3), "w": X}) + STOP))) == ["w"]


@pytest.mark.parametrize("wrapped", ["module.", "module.model.", "_orig_mod.module."])
def test_prefixes_of_wrappers_go_where_all_names_have_them(
    read: Callable[[bytes], dict[str, Any]], wrapped: str
) -> None:
    whole = mapping({f"{wrapped}a.w": X, f"{wrapped}b.w": X})
    assert list(read(archive(PROTO2 + whole + STOP))) == ["a.w", "b.w"]
    partly = mapping({"module.a.w": X, "b.w": X})
    assert list(read(archive(PROTO2 + partly + STOP))) == ["module.a.w", "b.w"]


@pytest.mark.parametrize("file", [*FILES, "torch_bfloat16.safetensors"])
def test_mutations_read_or_are_refused(read: Callable[..., dict[str, Any]], file: str) -> None:
    """Bytes flipped, cut out or put in at random: arrays or a ZooError, nothing else."""
    whole = (GOLDEN / file).read_bytes()
    rewrite = _repickled if whole.startswith(b"PK") else _mutate
    rng = np.random.default_rng(1)
    outcomes = {"read": 0, "refused": 0}
    for _ in range(200):
        try:
            for array in read(rewrite(whole, rng), file).values():
                np.nan_to_num(array.astype("float64")).sum()
            outcomes["read"] += 1
        except ZooError:
            outcomes["refused"] += 1
    assert min(outcomes.values()) >= 5


def test_truncated_networks_are_refused(read: Callable[..., dict[str, Any]]) -> None:
    for file in (*FILES, "torch_bfloat16.safetensors"):
        whole = (GOLDEN / file).read_bytes()
        for length in range(0, len(whole), 61):
            with pytest.raises(ZooError):
                read(whole[:length], file)


def test_a_type_that_numpy_lacks_is_named(read: Callable[..., dict[str, Any]]) -> None:
    header = json.dumps({"w": {"dtype": "F8_E4M3", "shape": [2], "data_offsets": [0, 2]}})
    data = struct.pack("<Q", len(header)) + header.encode() + b"\0\0"
    with pytest.raises(ZooError, match=r"'w' as F8_E4M3.*F32"):
        read(data, "x.safetensors")


def test_flat_files_still_read(read: Callable[[bytes], dict[str, Any]]) -> None:
    assert read(archive(state(X)))["x"].shape == (2, 2)
