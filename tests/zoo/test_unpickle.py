"""The restricted reader: right on what PyTorch writes, and no way to run code with it."""

from __future__ import annotations

import io
import os
import pickle
import re
import struct
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zoo.errors import ZooError
from zoo.weights.unpickle import read_torch_pickle

GOLDEN = Path(__file__).parent / "golden"

# Opcodes, to write pickles that Python's own pickler would not.
PROTO2, STOP, MARK = b"\x80\x02", b".", b"("
REDUCE, BUILD, TUPLE, PERSID = b"R", b"b", b"t", b"Q"
EMPTY_TUPLE, EMPTY_DICT, NONE, FALSE = b")", b"}", b"N", b"\x89"


def name(text: str) -> bytes:
    return b"X" + struct.pack("<I", len(text.encode())) + text.encode()


def number(value: int) -> bytes:
    raw = value.to_bytes(16, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def glob(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def numbers(values: tuple[int, ...]) -> bytes:
    return MARK + b"".join(number(value) for value in values) + TUPLE


def storage(count: int, *, kind: str = "FloatStorage", key: str = "0") -> bytes:
    body = name("storage") + glob("torch", kind) + name(key) + name("cpu") + number(count)
    return MARK + body + TUPLE + PERSID


def tensor(
    shape: tuple[int, ...], strides: tuple[int, ...], *, offset: int = 0, count: int = 4
) -> bytes:
    hooks = glob("collections", "OrderedDict") + EMPTY_TUPLE + REDUCE
    arguments = storage(count) + number(offset) + numbers(shape) + numbers(strides) + FALSE + hooks
    return glob("torch._utils", "_rebuild_tensor_v2") + MARK + arguments + TUPLE + REDUCE


def state(value: bytes) -> bytes:
    """Pickle ``{"x": value}``."""
    return PROTO2 + EMPTY_DICT + name("x") + value + b"s" + STOP


def archive(program: bytes, *, data: bytes = b"\0" * 16, compress: bool = False) -> bytes:
    """Wrap a pickle and storage "0" in the zip container."""
    stream = io.BytesIO()
    kind = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    with zipfile.ZipFile(stream, "w", kind) as file:
        file.writestr("m/data.pkl", program)
        file.writestr("m/data/0", data)
    return stream.getvalue()


def legacy(program: bytes, *, keys: tuple[str, ...] = (), data: bytes = b"") -> bytes:
    """Wrap a pickle in the legacy container."""
    header = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    head = b"".join(pickle.dumps(item, protocol=2) for item in header)
    return head + program + pickle.dumps(list(keys), protocol=2) + data


@pytest.fixture
def read(tmp_path: Path) -> Callable[[bytes], dict[str, Any]]:
    def _read(data: bytes) -> dict[str, Any]:
        path = tmp_path / "file.pth"
        path.write_bytes(data)
        return read_torch_pickle(path)

    return _read


# ---------------------------------------------------------------- what PyTorch writes


@pytest.mark.parametrize("container", ["legacy", "zip"])
def test_reads_what_torch_saved(container: str) -> None:
    expected = np.load(GOLDEN / "torch_values.npz")
    found = read_torch_pickle(GOLDEN / f"torch_{container}.pth")
    assert list(found) == expected.files
    for key, array in found.items():
        assert array.dtype == expected[key].dtype, key
        assert array.shape == expected[key].shape, key
        np.testing.assert_array_equal(array, expected[key], err_msg=key)


def test_hand_written_pickle_reads(read: Callable[[bytes], dict[str, Any]]) -> None:
    """The tools of this file write valid checkpoints, so refusals below have other reasons."""
    data = np.arange(4, dtype="<f4").tobytes()
    program = state(tensor((2, 2), (1, 2)))
    for file in (archive(program, data=data), legacy(program, keys=("0",), data=number8(4) + data)):
        np.testing.assert_array_equal(read(file)["x"], [[0, 2], [1, 3]])


def number8(value: int) -> bytes:
    return struct.pack("<q", value)


def test_arrays_are_read_only() -> None:
    array = read_torch_pickle(GOLDEN / "torch_legacy.pth")["0.weight"]
    with pytest.raises(ValueError, match="read-only"):
        array[0, 0] = 1.0


def test_a_whole_network_reads_without_its_classes() -> None:
    """The classes are not imported, only their names are read."""
    found = read_torch_pickle(GOLDEN / "torch_module.pth")
    assert {key: (array.dtype, array.shape) for key, array in found.items()} == {
        "weight": ("float32", (1, 2)),
        "bias": ("float32", (1,)),
    }
    assert np.isfinite(found["weight"]).all()


def test_bfloat16_becomes_float32() -> None:
    found = read_torch_pickle(GOLDEN / "torch_bfloat16.pth")
    assert {array.dtype.name for array in found.values()} == {"float32"}


# ---------------------------------------------------------------- malice


class _Calls:
    """Pickles as a call of ``function`` with ``arguments``."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self._call = (function, arguments)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self._call


def _attacks(canary: Path) -> list[tuple[str, _Calls]]:
    code = f"open({str(canary)!r}, 'w').close()"
    return [
        ("system", _Calls(os.system, f"touch {canary}")),
        ("eval", _Calls(eval, code)),
        ("exec", _Calls(exec, code)),
        ("getattr", _Calls(getattr, code, "upper")),
        ("Popen", _Calls(subprocess.Popen, ["touch", str(canary)])),
        ("open", _Calls(open, str(canary), "w")),
    ]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("attack", range(6))
def test_code_is_refused_and_not_run(
    tmp_path: Path, read: Callable[[bytes], dict[str, Any]], attack: int, protocol: int
) -> None:
    canary = tmp_path / "canary"
    target, payload = _attacks(canary)[attack]
    program = pickle.dumps({"x": payload}, protocol=protocol)
    for file in (archive(program), legacy(program)):
        with pytest.raises(ZooError) as caught:
            read(file)
        if protocol == 2:
            assert f".{target}'" in str(caught.value)
    assert not canary.exists()


ORDERED = glob("collections", "OrderedDict")
REBUILD = glob("torch._utils", "_rebuild_tensor_v2")
FLOATS = glob("torch", "FloatStorage")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (glob("posix", "system") + name("true") + b"\x85" + REDUCE, "posix.system"),
        (glob("builtins", "eval"), "builtins.eval"),
        (glob("__builtin__", "getattr"), "__builtin__.getattr"),
        (glob("torch", "FloatStorage.__init__"), "FloatStorage.__init__"),
        (glob("torch.serialization", "load"), "torch.serialization.load"),
        (glob("collections", "OrderedDict.fromkeys"), "OrderedDict.fromkeys"),
        (name("posix") + name("system") + b"\x93", "STACK_GLOBAL"),
        (MARK + b"iposix\nsystem\n", "INST"),
        (MARK + ORDERED + b"o", "OBJ"),
        (ORDERED + EMPTY_TUPLE + b"\x81", "makes collections.OrderedDict"),
        (glob("torch", "X") + numbers((1,)) + b"\x81", "makes torch.X"),
        (glob("torch.hub", "load") + EMPTY_TUPLE + REDUCE, "calls torch.hub.load"),
        (glob("collections", "defaultdict") + numbers((1,)) + REDUCE, "calls collections.def"),
        (b"\x82\x01", "EXT1"),
        (b"P0\n", "PERSID"),
        (FLOATS + EMPTY_TUPLE + REDUCE, "calls torch.FloatStorage"),
        (ORDERED + MARK + number(5) + TUPLE + REDUCE, "calls collections.OrderedDict"),
        (REBUILD + EMPTY_TUPLE + REDUCE, "tensor in a way"),
        (name("x") + EMPTY_TUPLE + REDUCE, "calls a value"),
        (REBUILD + EMPTY_DICT + BUILD, "as a dict"),
        (ORDERED + EMPTY_DICT + BUILD, "as a dict"),
        (tensor((1,), (1,)) + EMPTY_DICT + BUILD, "as a dict"),
        (name("storage") + PERSID, "storage in a way"),
        (EMPTY_DICT + EMPTY_TUPLE + number(1) + b"s", "neither names nor numbers"),
        (number(1), "not hold a mapping of names to tensors"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_trick_is_refused(
    read: Callable[[bytes], dict[str, Any]], value: bytes, message: str
) -> None:
    with pytest.raises(ZooError, match=re.escape(message)):
        read(archive(state(value)))


# ---------------------------------------------------------------- malformed files


@pytest.mark.parametrize(
    "value",
    [
        tensor((5,), (1,)),
        tensor((4,), (1,), offset=1),
        tensor((4,), (1,), offset=-1),
        tensor((2, 2), (-1, 1), offset=3),
        tensor((2, 2), (2,)),
        tensor((2, 3), (3, 1)),
        tensor((1 << 40,), (0,)),
        tensor((1 << 100, 1), (1, 1)),
        tensor((0, 1 << 62, 1 << 62), (1, 1, 1)),
        tensor((1,) * 40, (1,) * 40),
        tensor((1,), (1,), count=5),
        tensor((1,), (1,), count=1 << 70),
        tensor((1,), (1,), count=-1),
        REBUILD + MARK + storage(4) + number(0) + NONE + numbers((1,)) + TUPLE + REDUCE,
        MARK + name("storage") + ORDERED + name("0") + name("cpu") + number(4) + TUPLE + PERSID,
    ],
    ids=lambda value: "case",
)
@pytest.mark.parametrize("container", [archive, legacy])
def test_bounds_are_checked(
    read: Callable[[bytes], dict[str, Any]], value: bytes, container: Callable[..., bytes]
) -> None:
    options = {"keys": ("0",), "data": number8(4) + b"\0" * 16} if container is legacy else {}
    with pytest.raises(ZooError):
        read(container(state(value), **options))


def test_stride_of_a_single_element_is_ignored(read: Callable[[bytes], dict[str, Any]]) -> None:
    assert read(archive(state(tensor((1, 4), (1 << 70, 1)))))["x"].shape == (1, 4)


def test_memory_is_bounded_by_the_file(read: Callable[[bytes], dict[str, Any]]) -> None:
    """A memo index of four thousand million costs nothing, nor does deep nesting crash."""
    memo = b"r" + struct.pack("<I", 0xFFFFFFFF)
    assert read(archive(state(tensor((1,), (1,)) + memo)))["x"].shape == (1,)
    nested = EMPTY_TUPLE + b"\x85" * 100_000
    with pytest.raises(ZooError, match="neither names nor numbers"):
        read(archive(state(EMPTY_DICT + nested + NONE + b"s")))


def test_compressed_archives_are_refused(read: Callable[[bytes], dict[str, Any]]) -> None:
    bomb = archive(state(tensor((1,), (1,))), data=b"\0" * 10_000_000, compress=True)
    assert len(bomb) < 100_000
    with pytest.raises(ZooError, match="more bytes than it has"):
        read(bomb)
    with pytest.raises(ZooError, match="compressed"):
        read(archive(state(tensor((1,), (1,))), compress=True))


@pytest.mark.parametrize("container", ["legacy", "zip"])
def test_every_truncation_is_refused(
    read: Callable[[bytes], dict[str, Any]], container: str
) -> None:
    whole = (GOLDEN / f"torch_{container}.pth").read_bytes()
    for length in range(0, len(whole), 23):
        with pytest.raises(ZooError):
            read(whole[:length])


@pytest.mark.parametrize("container", ["legacy", "zip"])
def test_mutations_read_or_are_refused(
    read: Callable[[bytes], dict[str, Any]], container: str
) -> None:
    """Bytes flipped, cut out or put in at random: an array or a ZooError, nothing else."""
    rewrite = _repickled if container == "zip" else _mutate
    whole = (GOLDEN / f"torch_{container}.pth").read_bytes()
    rng = np.random.default_rng(0)
    outcomes = {"read": 0, "refused": 0}
    for _ in range(300):
        try:
            for array in read(rewrite(whole, rng)).values():
                array.sum()
            outcomes["read"] += 1
        except ZooError:
            outcomes["refused"] += 1
    assert outcomes["read"] > 2
    assert outcomes["refused"] > 100


def _repickled(data: bytes, rng: np.random.Generator) -> bytes:
    """Mutate the pickle of an archive and make its checksum right again."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(stream, "w") as new:
        for member in old.namelist():
            content = old.read(member)
            new.writestr(member, _mutate(content, rng) if "data.pkl" in member else content)
    return stream.getvalue()


def _mutate(data: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        place, count = int(rng.integers(len(changed))), int(rng.integers(1, 6))
        match int(rng.integers(3)):
            case 0:
                changed[place] ^= 1 << int(rng.integers(8))
            case 1:
                del changed[place : place + count]
            case _:
                changed[place:place] = rng.bytes(count)
    return bytes(changed)
