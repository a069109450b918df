"""The self-test of isolation: functions that misbehave on purpose, and one that does not."""

from __future__ import annotations

import ctypes
import os
import sys
import time
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from data_adapters.errors import CaseError, FormatError


@dataclass(frozen=True)
class Echo:
    """What a worker says of itself.

    Attributes:
        process: Its process id.
        value: What was sent.
    """

    process: int
    value: Any


def echo(value: Any = None) -> Echo:
    """Give back what was sent."""
    return Echo(os.getpid(), value)


def environment(name: str) -> str | None:
    """An environment variable as the worker has it."""
    return os.environ.get(name)


def volume(shape: tuple[int, ...], dtype: str = "int16") -> np.ndarray:
    """A large array, zeros but for its last value, 7."""
    array = np.zeros(shape, dtype)
    array.reshape(-1)[-1] = 7
    return array


def crash(case_id: str = "") -> NoReturn:
    """Read where there is no memory: what a broken native decoder does."""
    ctypes.string_at(8)
    raise AssertionError("still alive")


def abort() -> NoReturn:
    """End as a C++ decoder does on an exception that nobody catches."""
    os.abort()


def hang(seconds: float) -> None:
    """Sleep."""
    time.sleep(seconds)


def hang_native(seconds: int) -> None:
    """Sleep inside native code, holding the interpreter's lock."""
    ctypes.PyDLL(None).sleep(seconds)


def allocate(gigabytes: float) -> int:
    """Take memory, and touch it."""
    return int(np.ones(int(gigabytes * 2**30), np.uint8)[-1])


def chatter(text: str) -> None:
    """Print, as some decoders do about the file they read."""
    print(text)
    print(text, file=sys.stderr)
    os.write(1, text.encode())
    os.write(2, text.encode())


def refuse(case_id: str) -> NoReturn:
    """Raise an error that is meant for the caller."""
    raise CaseError(case_id, "probe", "refused on purpose")


def refuse_format(text: str) -> NoReturn:
    """Raise another of them."""
    raise FormatError(text)


def surprise(text: str) -> NoReturn:
    """Raise what nobody expected, with text that must not get out."""
    raise KeyError(text)


def unsendable() -> Any:
    """Return what cannot cross."""
    return iter(())
