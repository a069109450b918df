"""Workers that crash, hang or eat memory: the caller gets a typed error and goes on."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from data_adapters import isolation
from data_adapters.case import Display, Geometry
from data_adapters.errors import CaseError, DataError, FormatError
from data_adapters.isolation import isolated, isolated_map

PROBE = "data_adapters.isolation_probe:"
posix = pytest.mark.skipif(os.name == "nt", reason="signals and address-space limits are POSIX's")


def alive(process: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def wait_until_gone(process: int, seconds: float = 10.0) -> bool:
    """Whether a process ends in time."""
    end = time.monotonic() + seconds
    while alive(process) and time.monotonic() < end:
        time.sleep(0.02)
    return not alive(process)


@pytest.fixture
def one_worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A pool with a single worker."""
    isolation._POOL.close()
    monkeypatch.setenv("RADZOO_WORKERS", "1")
    yield
    isolation._POOL.close()


VALUES = (
    None,
    True,
    2**70,
    -0.0,
    float("inf"),
    "täg\udcff\n",
    b"\0\xff",
    [1, (2, [3])],
    {"a": 1, 2: (3,), None: b""},
    {1, 2},
    frozenset({"x"}),
    Path("a") / "b",
    Geometry((1.0, 2.0), direction=((1.0, 0.0, 0.0),)),
    Display(windows=((40.0, 400.0),), inverted=True),
)


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_values_come_back_as_they_went(value: object) -> None:
    back = isolated(PROBE + "echo", value).value
    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize("dtype", ["?", "i1", "<u2", ">u2", ">f4", "f8", "c8", "S3", "U2"])
@pytest.mark.parametrize("shape", [(), (0, 3), (5,), (3, 4, 5), (40, 50, 60)])
def test_arrays_come_back_as_they_went(dtype: str, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(3)
    array = rng.integers(0, 100, shape).astype(dtype)
    back = isolated(PROBE + "echo", array).value
    assert back.dtype == array.dtype
    assert back.shape == shape
    np.testing.assert_array_equal(back, array)


def test_views_scalars_and_several_arrays_cross() -> None:
    big = np.arange(10**6, dtype=np.int32).reshape(100, 100, 100)
    sent = [big[::-1, ::2].transpose(2, 0, 1), np.float32(1.5), big[:3, :3, :3], big]
    back = isolated(PROBE + "echo", sent).value
    for one, other in zip(sent, back, strict=True):
        np.testing.assert_array_equal(one, other)
        assert type(one) is type(other)
    back[3][0] = 5  # what comes back belongs to the caller
    assert isolated(PROBE + "volume", (300, 512), "int16")[-1, -1] == 7


@posix
@pytest.mark.parametrize(
    ("function", "arguments", "kind", "seconds"),
    [
        ("crash", (), "decoder-crash", 60),
        ("abort", (), "decoder-crash", 60),
        ("hang", (60,), "decoder-timeout", 0.2),
        ("hang_native", (60,), "decoder-timeout", 0.2),
        ("allocate", (4.0,), "decoder-memory", 60),
    ],
)
def test_a_worker_that_is_lost_is_a_typed_error_and_is_replaced(
    function: str,
    arguments: tuple[object, ...],
    kind: str,
    seconds: float,
    one_worker: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RADZOO_WORKER_MEMORY_GB", "2")
    first = isolated(PROBE + "echo").process
    began = time.monotonic()
    with pytest.raises(CaseError) as caught:
        isolated(PROBE + function, *arguments, seconds=seconds, case_id="c0123")
    assert (caught.value.kind, caught.value.case_id) == (kind, "c0123")
    assert time.monotonic() - began < 10
    assert not alive(first)
    assert isolated(PROBE + "echo", 5).value == 5


def test_errors_meant_for_the_caller_come_back_as_they_are() -> None:
    with pytest.raises(CaseError, match="refused on purpose") as caught:
        isolated(PROBE + "refuse", case_id="c77")
    assert (caught.value.case_id, caught.value.kind) == ("c77", "probe")
    with pytest.raises(FormatError) as format_error:
        isolated(PROBE + "refuse_format", "no such layout")
    assert type(format_error.value) is FormatError
    assert str(format_error.value) == "no such layout"


def test_other_errors_tell_their_type_and_never_their_text() -> None:
    with pytest.raises(CaseError) as caught:
        isolated(PROBE + "surprise", "ZZPLANTED", case_id="c1")
    assert caught.value.kind == "corrupt"
    assert "KeyError" in str(caught.value)
    assert "ZZPLANTED" not in str(caught.value)
    with pytest.raises(TypeError, match="tuple_iterator"):
        isolated(PROBE + "unsendable")
    with pytest.raises(TypeError, match="function"):
        isolated(PROBE + "echo", print)


@pytest.mark.parametrize("name", ["os:getpid", "data_adapters.isolation_probe:os.getpid"])
def test_only_functions_of_the_package_can_be_called(name: str) -> None:
    with pytest.raises(CaseError, match="ValueError"):
        isolated(name)


def test_what_a_decoder_prints_goes_nowhere(capfd: pytest.CaptureFixture[str]) -> None:
    isolated(PROBE + "chatter", "ZZPLANTED")
    assert capfd.readouterr() == ("", "")


def test_threads_get_a_worker_each_and_wait_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RADZOO_WORKERS", "2")
    with ThreadPoolExecutor(8) as threads:
        echoes = list(threads.map(lambda i: isolated(PROBE + "echo", i), range(100)))
    assert [echo.value for echo in echoes] == list(range(100))
    assert len({echo.process for echo in echoes}) <= 2
    assert os.getpid() not in {echo.process for echo in echoes}


def test_a_map_keeps_the_order_and_puts_errors_in_their_place() -> None:
    items = [("a",), ("b",), ("c",)]
    got = list(isolated_map(PROBE + "refuse", [() for _ in items], case_ids=["a", "b", "c"]))
    assert [error.case_id for error in got] == ["a", "b", "c"]
    numbers = isolated_map(PROBE + "echo", ((i,) for i in range(50)))
    assert [echo.value for echo in numbers] == list(range(50))


def test_workers_follow_the_folder_and_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RADZOO_PROBE", "one")
    assert isolated(PROBE + "environment", "RADZOO_PROBE") == "one"
    monkeypatch.delenv("RADZOO_PROBE")
    assert isolated(PROBE + "environment", "RADZOO_PROBE") is None


def test_a_module_in_the_current_folder_is_never_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_worker: None
) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    assert isolated(PROBE + "echo", 1).value == 1


def test_isolation_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RADZOO_ISOLATION", "off")
    assert isolated(PROBE + "echo").process == os.getpid()
    with pytest.raises(CaseError) as caught:
        isolated(PROBE + "refuse", case_id="c5")
    assert caught.value.case_id == "c5"
    monkeypatch.setenv("RADZOO_ISOLATION", "of")
    with pytest.raises(DataError, match="'of'"):
        isolated(PROBE + "echo")


@pytest.mark.parametrize("name", ["RADZOO_WORKERS", "RADZOO_WORKER_MEMORY_GB"])
@pytest.mark.parametrize("value", ["x", "-1", "nan", "inf"])
def test_a_setting_that_is_no_number_is_refused(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(DataError, match=name):
        isolated(PROBE + "echo")


def test_plain_pipes_serve_where_there_are_no_unix_sockets(
    one_worker: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RADZOO_WORKER_CHANNEL", "pipe")
    array = np.arange(10**6)
    np.testing.assert_array_equal(isolated(PROBE + "echo", array).value, array)
    isolated(PROBE + "chatter", "text between the messages")
    with pytest.raises(CaseError) as caught:
        isolated(PROBE + "hang", 60, seconds=0.2)
    assert caught.value.kind == "decoder-timeout"
    with pytest.raises(CaseError) as caught:
        isolated(PROBE + "abort")
    assert caught.value.kind == "decoder-crash"
    assert isolated(PROBE + "echo", 1).value == 1


def test_an_idle_worker_that_ended_is_replaced(one_worker: None) -> None:
    worker = isolation._Worker(0)
    worker.channel.send({"function": PROBE + "echo"})  # no whole request: it ends
    worker.process.wait(10)
    isolation._POOL._idle.append(worker)
    assert isolated(PROBE + "echo", 3).value == 3


_CHILD = """
import sys, time
from data_adapters.isolation import isolated
if __name__ == "__main__":
    print(isolated("data_adapters.isolation_probe:echo").process, flush=True)
    if sys.argv[1] == "busy":
        isolated("data_adapters.isolation_probe:hang_native", 600, seconds=0.5)
    if sys.argv[1] != "leave":
        time.sleep(60)
"""


@posix
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at /proc")
@pytest.mark.parametrize("how", ["leave", "kill", "busy"])
def test_workers_end_with_their_parent(how: str, tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(_CHILD)
    root = str(Path(isolation.__file__).parents[1])
    parent = subprocess.Popen(
        [sys.executable, str(script), how],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": root},
    )
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    if how == "leave":
        assert parent.wait(20) == 0
    else:
        time.sleep(0.2)
        parent.kill()
        parent.wait()
    parent.stdout.close()
    assert wait_until_gone(worker, 20)
