"""Fetch a published weight file: at once, whole and verified, or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import threading
import urllib.error
import urllib.parse
import urllib.request
import uuid
from pathlib import Path

from zoo.errors import WeightsMismatchError, WeightsNotFoundError
from zoo.spec import WeightSpec

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


def fetch(weight: WeightSpec, target: Path) -> Path:
    """Download a weight file.

    Args:
        weight: Weights with a URL.
        target: Where to put the file; it appears there only when whole and verified.

    Returns:
        ``target``.

    Raises:
        WeightsNotFoundError: When the download fails or the folder cannot be written.
        WeightsMismatchError: When the file has another digest than the catalogue states.
    """
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with (
            urllib.request.urlopen(str(weight.url), timeout=_READ_SECONDS) as response,
            temporary.open("wb") as file,
        ):
            while chunk := response.read(_CHUNK):
                file.write(chunk)
            announced = response.headers.get("Content-Length")
        if announced is not None and int(announced) != temporary.stat().st_size:
            raise OSError(errno.ECONNABORTED, "the connection broke off")
        check_digest(weight, temporary, place="the download")
        temporary.replace(target)
    except (urllib.error.URLError, OSError) as error:
        reason = getattr(error, "reason", None) or error.strerror or type(error).__name__
        raise WeightsNotFoundError(
            f"could not download {weight.file} from {weight.url}: {reason}; "
            "is RADZOO_HOME a folder that can be written, and the network up?"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return target


def check_digest(weight: WeightSpec, path: Path, *, place: str) -> None:
    """Compare a file with the digest that the catalogue states, where it states one.

    Raises:
        WeightsMismatchError: Naming the file, the place and both digests.
    """
    for kind, wanted in (("sha256", weight.sha256), ("md5", weight.md5)):
        if wanted is None:
            continue
        with path.open("rb") as file:
            found = hashlib.file_digest(file, kind).hexdigest()
        if found != wanted:
            raise WeightsMismatchError(
                f"weight file {weight.file} in {place} has the {kind.upper()} {found}, "
                f"not {wanted}: it is damaged or another file; remove it and fetch it anew"
            )
