"""Locks between processes that the system releases when their holder dies.

A cache in use is held by shared locks; whoever changes or removes it wants the exclusive one. The
file of a lock stays where it is: removing it would let two processes hold two locks of one name.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import IO, Any

try:
    import fcntl
except ImportError:  # no such locks on this system
    fcntl = None  # type: ignore[assignment]


class Hold:
    """A lock that is held until `release`, the end of a `with` block or of the process.

    Attributes:
        path: File of the lock.
    """

    def __init__(self, path: Path, handle: IO[Any] | None) -> None:
        self.path = path
        self._handle = handle

    def release(self) -> None:
        """Give the lock up; doing so twice does nothing."""
        if self._handle is not None:
            self._handle.close()
            self._handle = None

    def __enter__(self) -> Hold:
        return self

    def __exit__(self, *error: object) -> None:
        self.release()

    def __del__(self) -> None:
        self.release()


def hold(path: Path, *, shared: bool) -> Hold:
    """Wait for a lock and hold it.

    Where the system or the file system knows no such locks, the hold is one in name only; so is a
    shared one in a folder that cannot be written to, from which nothing can be removed either.

    Args:
        path: File of the lock, made if it is absent; its folder must exist. Its time is set to now.
        shared: Together with other shared holders, not alone.

    Raises:
        OSError: The file cannot be made.
    """
    try:
        handle = path.open("a")
    except OSError:
        if shared:
            return Hold(path, None)
        raise
    with contextlib.suppress(OSError):
        os.utime(path)
    if fcntl is not None:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
    return Hold(path, handle)


def try_hold(path: Path) -> Hold | None:
    """The exclusive lock if nobody holds it, in this process or another one; else None.

    The file's time is left as it was: asking is no use.

    Raises:
        OSError: The file cannot be made.
    """
    handle = path.open("a")
    if fcntl is not None:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.close()
            return None
        except OSError:
            pass  # a file system without locks
    return Hold(path, handle)
