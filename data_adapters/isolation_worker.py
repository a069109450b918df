"""The worker process of `isolation`: waits for calls, runs them under limits, answers.

Run as `python -m data_adapters.isolation_worker` with a channel as standard input. Whatever the
code it calls prints goes nowhere.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import signal
import socket
import sys
from collections.abc import Iterator
from typing import Any

from data_adapters.errors import DataError
from data_adapters.isolation_channel import Channel, ChannelClosed, PipeChannel, SocketChannel
from data_adapters.isolation_wire import WireError, error_parts, resolve

IDLE_SECONDS = 300.0
# A worker whose parent died in the middle of a call ends by itself, this long after the limit.
GRACE_SECONDS = 1
# What code that meets a broken file raises; whatever else is raised ends the worker.
UNEXPECTED = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BufferError,
    EOFError,
    ImportError,
    LookupError,
    NameError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    Warning,
)


def call(name: str, arguments: list[Any], options: dict[str, Any], case_id: str | None) -> Any:
    """Call a function of this package; the case id goes on to it where it takes one."""
    function = resolve(name)
    if case_id is not None and "case_id" in inspect.signature(function).parameters:
        options = {"case_id": case_id, **options}
    return function(*arguments, **options)


def answer(request: dict[str, Any]) -> tuple[str, Any]:
    """Run one request.

    Returns:
        `value` and the result, `error` and an error's parts, `memory`, or `unexpected` and the
        name of an exception's type.
    """
    try:
        with _limits(request["seconds"]):
            value = call(
                request["function"], request["args"], request["options"], request["case_id"]
            )
        return "value", value
    except DataError as error:
        return "error", error_parts(error)
    except MemoryError:
        return "memory", None
    except UNEXPECTED as error:
        return "unexpected", type(error).__name__


@contextlib.contextmanager
def _limits(seconds: float) -> Iterator[None]:
    """Let the system end this process some time after the limit, even inside native code."""
    if not hasattr(signal, "setitimer"):
        yield
        return
    signal.setitimer(signal.ITIMER_REAL, seconds + GRACE_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def restrict(memory: int) -> None:
    """Limit the address space to `memory` bytes, and write no core file: it would hold pixels."""
    if sys.platform == "win32":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory:
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        soft = memory if hard == resource.RLIM_INFINITY else min(memory, hard)
        with contextlib.suppress(ValueError, OSError):  # macOS knows the limit and refuses it
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def serve(channel: Channel) -> None:
    """Answer requests until the other side closes, is silent for long, or memory ran out."""
    while True:
        try:
            request = channel.receive(seconds=IDLE_SECONDS)
        except (TimeoutError, ChannelClosed):
            return
        _take_over(request)
        kind, body = answer(request)
        try:
            channel.send((kind, body))
        except WireError as error:
            channel.send(("unsendable", str(error)))
        except (MemoryError, OSError) as error:
            if isinstance(error, ChannelClosed):
                return
            kind = "memory"
            channel.send((kind, None))
        if kind == "memory":
            return
        del request, body


def _take_over(request: dict[str, Any]) -> None:
    """Work in the caller's folder and under its settings."""
    if request["folder"] is not None:
        with contextlib.suppress(OSError):
            os.chdir(request["folder"])
    for name in [name for name in os.environ if name.startswith("RADZOO_")]:
        if name not in request["settings"]:
            del os.environ[name]
    os.environ.update(request["settings"])
    os.environ["RADZOO_ISOLATION"] = "off"  # what is called here and isolates, is isolated


def _channel() -> Channel:
    """Take standard input (and output, for pipes) away from the code that will be called."""
    source = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    if os.environ.get("RADZOO_WORKER_CHANNEL") != "pipe":
        return SocketChannel(socket.socket(fileno=source))
    sink = os.dup(1)
    os.dup2(nothing, 1)
    return PipeChannel(os.fdopen(source, "rb"), os.fdopen(sink, "wb"))


def main() -> None:
    """Serve on standard input; the first message holds the limits."""
    channel = _channel()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "SIGALRM"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
    with contextlib.suppress(ChannelClosed):
        restrict(channel.receive()["memory"])
        channel.send(("ready", None))
        serve(channel)


if __name__ == "__main__":
    main()
