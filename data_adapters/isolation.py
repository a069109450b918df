"""Calling code that may crash, hang or eat all memory on a stranger's file.

Native decoders can take a process down. `isolated` runs a function of this package in a worker
process that is killed when it takes too long, has a limit on its memory, and can write nothing
to the terminal. Workers start when first needed, stay warm, and end by themselves: when idle
for some minutes, and when this process ends, however it ends.

Environment:
    RADZOO_WORKERS: Most workers at a time; the number of usable cores by default.
    RADZOO_WORKER_MEMORY_GB: Address space of one worker; by default 8, or less where the
        machine's memory divided by the workers is less (but never under 2). 0 is no limit.
    RADZOO_ISOLATION: `off` calls functions in this process instead, for a debugger.

What can cross: None, bool, int, float, str, bytes, lists, tuples, sets, mappings, paths, numpy
arrays of numbers, and dataclasses of `data_adapters`. Large arrays are not copied on receipt.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from data_adapters.errors import CaseError, DataError

START_SECONDS = 120.0
_START = (
    "import sys; sys.path[:] = sys.argv[1:]; "
    "from data_adapters.isolation_worker import main; main()"
)
_UNKNOWN = "unknown"


def isolated(
    function: str,
    /,
    *args: Any,
    seconds: float = 120.0,
    case_id: str | None = None,
    **options: Any,
) -> Any:
    """Call a function of this package on a file that is not trusted, in a worker process.

    May be called from several threads; each call has a worker of its own, or waits for one.

    Args:
        function: `module:name`, a function of `data_adapters` whose arguments and result are
            plain values, arrays, or frozen dataclasses of them.
        *args: Its arguments.
        seconds: Time after which the call is given up.
        case_id: Pseudonymous id that errors carry; goes on to the function where it takes one.
        **options: Its keyword arguments.

    Returns:
        What the function returns.

    Raises:
        CaseError: What the function raises; `decoder-crash`, `decoder-memory` or
            `decoder-timeout` when the worker did not survive the call; `corrupt` for any other
            exception, of which only the type's name is told, since its text may quote the file.
        DataError: What the function raises; or no worker can be started.
        TypeError: An argument or the result is of a type that cannot cross.
    """
    from data_adapters import isolation_worker

    if _in_process():
        return isolation_worker.call(function, list(args), options, case_id)
    request = {
        "function": function,
        "args": list(args),
        "options": options,
        "case_id": case_id,
        "seconds": seconds,
        "folder": _folder(),
        "settings": {key: value for key, value in os.environ.items() if key[:7] == "RADZOO_"},
    }
    kind, body = _POOL.run(request, seconds, case_id or _UNKNOWN)
    return _result(kind, body, case_id or _UNKNOWN, function)


def isolated_map(
    function: str,
    arguments: Iterable[Sequence[Any]],
    /,
    *,
    seconds: float = 120.0,
    case_ids: Iterable[str] | None = None,
    **options: Any,
) -> Iterator[Any]:
    """Call a function once per item, on every core.

    Args:
        function: See `isolated`.
        arguments: The positional arguments of each call; taken as they are needed.
        seconds: Time after which one call is given up.
        case_ids: Pseudonymous id of each call.
        **options: Keyword arguments of every call.

    Yields:
        The results in order; where a call raised a `CaseError`, that error in place of a result.
    """
    ids = iter(case_ids) if case_ids is not None else None

    def one(args: Sequence[Any], case_id: str | None) -> Any:
        try:
            return isolated(function, *args, seconds=seconds, case_id=case_id, **options)
        except CaseError as error:
            return error

    count = workers()
    waiting: list[Future[Any]] = []
    with ThreadPoolExecutor(count, thread_name_prefix="isolated") as threads:
        try:
            for args in arguments:
                case_id = next(ids) if ids is not None else None
                waiting.append(threads.submit(one, args, case_id))
                if len(waiting) >= 2 * count:
                    yield waiting.pop(0).result()
            while waiting:
                yield waiting.pop(0).result()
        finally:
            for future in waiting:
                future.cancel()


def _result(kind: str, body: Any, case_id: str, function: str) -> Any:
    """Turn a worker's answer into a result or an error."""
    from data_adapters.isolation_wire import rebuild_error

    if kind == "value":
        return body
    if kind == "error":
        raise rebuild_error(*body)
    if kind == "unsendable":
        raise TypeError(f"{function}: {body}")
    if kind == "memory":
        message = (
            "decoding the file takes more memory than a worker may use: is the file sound? "
            "If so, raise RADZOO_WORKER_MEMORY_GB"
        )
        raise CaseError(case_id, "decoder-memory", message)
    message = f"the file is damaged and cannot be decoded ({body})"
    raise CaseError(case_id, "corrupt", message)


def workers() -> int:
    """How many workers there may be at a time."""
    given = os.environ.get("RADZOO_WORKERS")
    if given:
        return int(_number("RADZOO_WORKERS", given, least=1))
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def worker_memory() -> int:
    """Bytes of address space that a worker may use; 0 for no limit."""
    given = os.environ.get("RADZOO_WORKER_MEMORY_GB")
    if given:
        return int(_number("RADZOO_WORKER_MEMORY_GB", given, least=0) * 2**30)
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        total = 8 * 2**30
    return min(8 * 2**30, max(2 * 2**30, total // workers()))


def _number(name: str, given: str, *, least: float) -> float:
    try:
        value = float(given)
    except ValueError:
        value = least - 1
    if not least <= value < 2**20:
        raise DataError(f"{name}={given!r} is not a number of at least {least}")
    return value


def _in_process() -> bool:
    given = os.environ.get("RADZOO_ISOLATION", "on")
    if given not in ("on", "off"):
        raise DataError(f"RADZOO_ISOLATION={given!r} is neither 'on' nor 'off'")
    return given == "off"


def _folder() -> str | None:
    try:
        return str(Path.cwd())
    except OSError:
        return None


class _Worker:
    """A worker process and the channel to it."""

    def __init__(self, memory: int) -> None:
        from data_adapters.isolation_channel import HAS_SOCKETS, PipeChannel, SocketChannel

        command = [sys.executable, "-c", _START, *_search_path()]
        threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        environment = {**os.environ, **dict.fromkeys(threads, "1")}
        quiet = subprocess.DEVNULL
        sockets = HAS_SOCKETS and os.environ.get("RADZOO_WORKER_CHANNEL") != "pipe"
        try:
            if sockets:
                ours, theirs = socket.socketpair()
                with theirs:
                    self.process = subprocess.Popen(
                        command, stdin=theirs.fileno(), stdout=quiet, stderr=quiet, env=environment
                    )
                self.channel: Any = SocketChannel(ours)
            else:
                environment["RADZOO_WORKER_CHANNEL"] = "pipe"
                pipe = subprocess.PIPE
                self.process = subprocess.Popen(
                    command, stdin=pipe, stdout=pipe, stderr=quiet, env=environment
                )
                self.channel = PipeChannel(self.process.stdout, self.process.stdin)  # type: ignore[arg-type]
        except OSError as error:
            raise _cannot_start(error.strerror or type(error).__name__) from None
        self.memory = memory
        answer = self.ask({"memory": memory}, START_SECONDS)
        if answer[0] != "ready":
            raise _cannot_start(f"it ended with code {self.process.returncode}")

    def ask(self, request: dict[str, Any], seconds: float) -> tuple[str, Any]:
        """Send a request and wait; kills the worker unless it answers in time.

        Returns:
            The answer, or `gone`, `timeout` or `memory`.
        """
        from data_adapters.isolation_channel import ChannelClosed, PipeChannel

        answered, late = False, threading.Event()

        def give_up() -> None:
            late.set()
            self.process.kill()

        timer = threading.Timer(seconds, give_up)
        if isinstance(self.channel, PipeChannel):
            timer.start()
        try:
            end = time.monotonic() + seconds
            self.channel.send(request, seconds=seconds)
            kind, body = self.channel.receive(seconds=max(end - time.monotonic(), 0.001))
            answered = kind != "memory"
            return kind, body
        except TimeoutError:
            return "timeout", None
        except ChannelClosed:
            self.end(patience=5.0)
            return ("timeout" if late.is_set() else "gone"), None
        finally:
            timer.cancel()
            if not answered:
                self.end()

    def end(self, *, patience: float = 0.0) -> None:
        """Give up the channel, kill the process unless it ends within `patience`, and wait."""
        if patience:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(patience)  # its own exit code says more than our signal
        self.channel.close()
        self.process.kill()
        self.process.wait()


def _cannot_start(reason: str) -> DataError:
    return DataError(
        f"the decoding worker cannot be started: {reason}. RADZOO_ISOLATION=off decodes in this "
        "process instead, where a broken file can crash it"
    )


def _search_path() -> list[str]:
    """Where modules are looked for: this package's folder first, never the current folder."""
    root = str(Path(__file__).resolve().parents[1])
    return [root, *(entry for entry in sys.path if entry and entry != root)]


class _Pool:
    """Workers, each lent to one call at a time."""

    def __init__(self) -> None:
        self._free = threading.Condition()
        self._idle: list[_Worker] = []
        self._busy = 0

    def run(self, request: dict[str, Any], seconds: float, case_id: str) -> tuple[str, Any]:
        """Run a request on a worker.

        Raises:
            CaseError: The worker did not survive.
            DataError: No worker can be started.
        """
        while True:
            worker, used = self._take()
            keep = False
            try:
                kind, body = worker.ask(request, seconds)
                keep = kind not in ("gone", "timeout", "memory")
            finally:
                self._give(worker if keep else None)
            if used and kind == "gone" and worker.process.returncode == 0:
                continue  # it was idle for too long and ended just before it was asked
            if kind in ("gone", "timeout"):
                raise _lost(worker.process.returncode, kind, seconds, case_id)
            return kind, body

    def _take(self) -> tuple[_Worker, bool]:
        """A worker, and whether it has served before."""
        memory = worker_memory()
        with self._free:
            while True:
                while self._idle:
                    worker = self._idle.pop()
                    if worker.process.poll() is None and worker.memory == memory:
                        self._busy += 1
                        return worker, True
                    worker.end()
                if self._busy < workers():
                    self._busy += 1
                    break
                self._free.wait()
        try:
            return _Worker(memory), False
        except BaseException:
            self._give(None)
            raise

    def _give(self, worker: _Worker | None) -> None:
        with self._free:
            self._busy -= 1
            if worker is not None:
                self._idle.append(worker)
            self._free.notify()

    def close(self) -> None:
        """End the idle workers."""
        with self._free:
            idle, self._idle = self._idle, []
        for worker in idle:
            worker.end()

    def forget(self) -> None:
        """In a forked child: the workers belong to the parent."""
        idle = self._idle
        self.__init__()  # type: ignore[misc]
        for worker in idle:
            worker.process.returncode = 0  # nothing to wait for here
            worker.channel.close()


def _lost(code: int | None, kind: str, seconds: float, case_id: str) -> CaseError:
    """What to say of a worker that did not survive a call."""
    if kind == "timeout" or code == -getattr(signal, "SIGALRM", 0):
        message = f"decoding the file took longer than {seconds:g} s and was given up"
        return CaseError(case_id, "decoder-timeout", message)
    if code == -getattr(signal, "SIGKILL", 9):
        message = "the system ended the worker that decoded the file, most likely for its memory"
        return CaseError(case_id, "decoder-memory", message)
    try:
        how = signal.Signals(-(code or 0)).name
    except ValueError:
        how = f"exit code {code}"
    message = f"the file crashed the decoder ({how}): it is damaged, or not what it says it is"
    return CaseError(case_id, "decoder-crash", message)


_POOL = _Pool()
atexit.register(_POOL.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_POOL.forget)
