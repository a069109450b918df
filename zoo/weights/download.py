"""Fetch a published weight file: at once, whole and verified, or not at all."""

from __future__ import annotations

import errno
import hashlib
import http.client
import os
import socket
import threading
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path

from zoo.errors import WeightsMismatchError, WeightsNotFoundError
from zoo.spec import WeightSpec

Progress = Callable[[int, int], None]

_CONNECT_SECONDS = 3.0
_READ_SECONDS = 30.0
_CHUNK = 1 << 20


def reachable(url: str) -> bool:
    """Tell within three seconds whether the host of a URL, or its proxy, accepts a connection.

    ``RADZOO_OFFLINE=1`` answers no without a try.
    """
    if os.environ.get("RADZOO_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        return False
    parts = urllib.parse.urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy and not urllib.request.proxy_bypass(parts.hostname or ""):
        parts = urllib.parse.urlsplit(proxy if "//" in proxy else f"//{proxy}")
    address = (parts.hostname or "", parts.port or (80 if parts.scheme == "http" else 443))
    answers: list[bool] = []

    def connect() -> None:
        try:
            socket.create_connection(address, timeout=_CONNECT_SECONDS).close()
        except OSError:
            return
        answers.append(True)

    # Looking a name up has no timeout of its own, hence the thread.
    attempt = threading.Thread(target=connect, daemon=True)
    attempt.start()
    attempt.join(_CONNECT_SECONDS)
    return bool(answers)


def fetch(weight: WeightSpec, target: Path, progress: Progress | None = None) -> Path:
    """Download a published weight file.

    Args:
        weight: Weights with a URL.
        target: Where to put the file; it appears there only when whole and verified.
        progress: Called with bytes read and bytes in all.

    Returns:
        ``target``.

    Raises:
        WeightsNotFoundError: When the download fails or the folder cannot be written.
        WeightsMismatchError: When the file has another digest than the catalogue states.
    """

    def check(path: Path) -> None:
        check_digest(weight, path, place="the download")

    return download(str(weight.url), target, check=check, progress=progress)


def download(
    url: str,
    target: Path,
    *,
    check: Callable[[Path], None],
    progress: Progress | None = None,
    shown: str | None = None,
) -> Path:
    """Download a file.

    Args:
        url: With the scheme http, https or file.
        target: Where to put the file; it appears there only when whole and ``check`` agrees.
        check: Raises when the file is not the one that is wanted.
        progress: Called with bytes read and bytes in all.
        shown: What to call the address in a message; None: the URL itself.

    Returns:
        ``target``.

    Raises:
        WeightsNotFoundError: When the download fails or the folder cannot be written.
    """
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with (
            urllib.request.urlopen(url, timeout=_READ_SECONDS) as response,
            temporary.open("wb") as file,
        ):
            announced = response.headers.get("Content-Length")
            total, done = int(announced or 0), 0
            while chunk := response.read(_CHUNK):
                done += file.write(chunk)
                if progress is not None:
                    progress(done, max(total, done))
        if announced is not None and total != done:
            raise OSError(errno.ECONNABORTED, "the connection broke off")
        check(temporary)
        temporary.replace(target)
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        raise WeightsNotFoundError(
            f"could not download {target.name} from {shown or url}: {_reason(error)}; "
            "is RADZOO_HOME a folder that can be written, and the network up?"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return target


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None)
    return str(reason or type(error).__name__)


def check_digest(weight: WeightSpec, path: Path, *, place: str) -> None:
    """Compare a file with the digest that the catalogue states, where it states one.

    Raises:
        WeightsMismatchError: Naming the file, the place and both digests.
    """
    stated = (
        ("sha256", weight.sha256),
        ("md5", weight.md5),
        ("sha256", weight.sha256_prefix),
    )
    for kind, wanted in stated:
        if wanted is None:
            continue
        with path.open("rb") as file:
            found = hashlib.file_digest(file, kind).hexdigest()
        if not found.startswith(wanted):
            raise WeightsMismatchError(
                f"weight file {weight.file} in {place} has the {kind.upper()} {found}, "
                f"not {wanted}: it is damaged or another file; remove it and fetch it anew"
            )
