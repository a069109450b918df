"""Framed messages between a process and a worker: sockets that pass memory, or plain pipes."""

from __future__ import annotations

import contextlib
import mmap
import os
import socket
import struct
import tempfile
import time
from typing import Any, BinaryIO, Protocol

from data_adapters.isolation_wire import Packer, decode, encode

_HEAD = struct.Struct("<4sQQ?")
_MARK = b"RZW1"
# Data up to this size go through the pipe; beyond it, in memory that both processes map.
INLINE = 1 << 16
LONGEST_TEXT = 1 << 30
HAS_SOCKETS = hasattr(socket, "AF_UNIX") and hasattr(socket, "send_fds")


class ChannelClosed(ConnectionError):
    """The other side is gone, or does not keep to the protocol."""


class Channel(Protocol):
    """One side of a conversation."""

    def send(self, value: Any, *, seconds: float | None = None) -> None:
        """Send a value; raises `TimeoutError` or `ChannelClosed`."""

    def receive(self, *, seconds: float | None = None) -> Any:
        """Wait for a value; raises `TimeoutError` or `ChannelClosed`."""

    def close(self) -> None:
        """Give up the connection."""


class SocketChannel:
    """A connected Unix socket; large arrays lie in an unlinked file whose handle is passed."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    def send(self, value: Any, *, seconds: float | None = None) -> None:
        """Send a value.

        Args:
            value: See `isolation_wire.KINDS`.
            seconds: Time after which to give up.

        Raises:
            TimeoutError: The time is over.
            ChannelClosed: The other side is gone.
            OSError: There is no room for the arrays.
        """
        packer = Packer()
        text = encode(value, packer)
        shared = packer.size > INLINE
        head = _HEAD.pack(_MARK, len(text), packer.size, shared)
        handle = _shared_file(packer) if shared else -1
        self._socket.settimeout(seconds)
        try:
            if shared:
                socket.send_fds(self._socket, [head], [handle])
                self._socket.sendall(text)
            else:
                self._socket.sendall(b"".join((head, text, laid_out(packer))))
        except TimeoutError:
            raise
        except OSError as error:
            raise ChannelClosed("the other process is gone") from error
        finally:
            if shared:
                os.close(handle)

    def receive(self, *, seconds: float | None = None) -> Any:
        """Wait for a value.

        Args:
            seconds: Time after which to give up.

        Returns:
            The value; its large arrays lie in the memory that the other side filled.

        Raises:
            TimeoutError: The time is over.
            ChannelClosed: The other side is gone or sent what is no message.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        handles: list[int] = []
        try:
            head = self._read(_HEAD.size, deadline, handles)
            text_size, size, shared = _check_head(head)
            text = self._read(text_size, deadline)
            if not shared:
                return _decoded(text, memoryview(self._read(size, deadline)))
            return _decoded(text, memoryview(_mapped(handles, size)))
        finally:
            for handle in handles:
                os.close(handle)

    def _read(
        self, count: int, deadline: float | None, handles: list[int] | None = None
    ) -> bytearray:
        data = bytearray(count)
        view, got = memoryview(data), 0
        while got < count:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise TimeoutError
            self._socket.settimeout(left)
            try:
                if handles is not None:
                    part, fds, _, _ = socket.recv_fds(self._socket, count - got, 1)
                    handles.extend(fds)
                    view[got : got + len(part)] = part
                    step = len(part)
                else:
                    step = self._socket.recv_into(view[got:])
            except TimeoutError:
                raise
            except OSError as error:
                raise ChannelClosed("the other process is gone") from error
            if not step:
                raise ChannelClosed("the other process is gone")
            got += step
        return data

    def close(self) -> None:
        """Give up the connection."""
        self._socket.close()


class PipeChannel:
    """A pair of pipes, for systems without Unix sockets; time limits are the caller's to keep."""

    def __init__(self, source: BinaryIO, sink: BinaryIO) -> None:
        self._source, self._sink = source, sink

    def send(self, value: Any, *, seconds: float | None = None) -> None:
        """Send a value; raises `ChannelClosed`."""
        del seconds
        packer = Packer()
        text = encode(value, packer)
        try:
            self._sink.write(_HEAD.pack(_MARK, len(text), packer.size, False))
            self._sink.write(text)
            self._sink.write(laid_out(packer))
            self._sink.flush()
        except (OSError, ValueError) as error:
            raise ChannelClosed("the other process is gone") from error

    def receive(self, *, seconds: float | None = None) -> Any:
        """Wait for a value; raises `ChannelClosed`."""
        del seconds
        text_size, size, _ = _check_head(self._read(_HEAD.size))
        text = self._read(text_size)
        return _decoded(text, memoryview(bytearray(self._read(size))))

    def _read(self, count: int) -> bytes:
        try:
            data = self._source.read(count)
        except (OSError, ValueError) as error:
            raise ChannelClosed("the other process is gone") from error
        if len(data) < count:
            raise ChannelClosed("the other process is gone")
        return data

    def close(self) -> None:
        """Give up the connection."""
        for stream in (self._sink, self._source):
            with contextlib.suppress(OSError):
                stream.close()


def laid_out(packer: Packer) -> bytearray:
    """The arrays of a packer one after another, with the gaps that alignment leaves."""
    data = bytearray(packer.size)
    for start, buffer in packer.buffers:
        data[start : start + buffer.nbytes] = buffer
    return data


def _check_head(head: bytes | bytearray) -> tuple[int, int, bool]:
    mark, text_size, size, shared = _HEAD.unpack(head)
    if mark != _MARK or text_size > LONGEST_TEXT:
        raise ChannelClosed("the other process sent what is no message")
    return text_size, size, shared


def _decoded(text: bytes | bytearray, data: memoryview) -> Any:
    try:
        return decode(bytes(text), data)
    except (ValueError, TypeError, LookupError, AttributeError, ImportError) as error:
        raise ChannelClosed("the other process sent what is no message") from error


def _shared_file(packer: Packer) -> int:
    """A file without a name that holds the arrays, sealed against shrinking where possible."""
    if hasattr(os, "memfd_create"):
        handle = os.memfd_create("arrays", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    else:
        with tempfile.TemporaryFile() as file:
            handle = os.dup(file.fileno())
    try:
        os.truncate(handle, packer.size)
        for start, buffer in packer.buffers:
            done = 0
            while done < buffer.nbytes:
                done += os.pwrite(handle, buffer[done : done + (1 << 30)], start + done)
        if hasattr(os, "memfd_create"):
            import fcntl

            fcntl.fcntl(handle, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
    except OSError:
        os.close(handle)
        raise
    return handle


def _mapped(handles: list[int], size: int) -> mmap.mmap:
    """Map what the other side passed; memory that could shrink under our feet is refused."""
    if len(handles) != 1 or os.fstat(handles[0]).st_size < size:
        raise ChannelClosed("the other process sent what is no message")
    if hasattr(os, "memfd_create"):
        import fcntl

        if not fcntl.fcntl(handles[0], fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK:
            raise ChannelClosed("the other process sent what is no message")
    flags = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)
    return mmap.mmap(handles[0], size, flags=flags)
