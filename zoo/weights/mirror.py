"""A mirror of weights: a folder or a web server of one's own, named by ``RADZOO_WEIGHTS``.

It holds files under their published names, or converted sets (``<backbone>.<name>.safetensors``
with ``.json``), and may hold ``index.json``: file name -> SHA-256, or -> an object with
``"sha256"``. A file that the index lists is compared with it.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from zoo.errors import WeightsMismatchError, WeightsNotFoundError, ZooError
from zoo.home import from_home
from zoo.weights.download import Progress, download, reachable

SHOWN: Final = "$RADZOO_WEIGHTS"
INDEX: Final = "index.json"
_LARGEST_INDEX: Final = 16 << 20
_SECONDS: Final = 10.0


@dataclass(frozen=True, kw_only=True)
class Mirror:
    """Where to look.

    Attributes:
        folder: A folder, or None.
        url: A web address that ends in a slash, or None.
        index: File name -> SHA-256 in lower case.
    """

    folder: Path | None
    url: str | None
    index: dict[str, str]

    def get(self, name: str, *, target: Path, progress: Progress | None = None) -> Path | None:
        """Give a file: out of the folder as it lies there, or downloaded.

        Args:
            name: File name.
            target: Where a download goes.
            progress: Called with bytes read and bytes in all.

        Returns:
            None where the mirror has no such file.

        Raises:
            WeightsNotFoundError: When it has one that cannot be fetched.
            WeightsMismatchError: When the file is not the one of the index.
        """

        def check(path: Path) -> None:
            self._check(name, path)

        if self.folder is not None:
            path = self.folder / name
            if not path.is_file():
                return None
            check(path)
            return path
        address = f"{self.url}{urllib.parse.quote(name)}"
        if not _exists(address):
            return None
        return download(address, target, check=check, progress=progress, shown=SHOWN)

    def _check(self, name: str, path: Path) -> None:
        wanted = self.index.get(name)
        if wanted is None:
            return
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != wanted:
            raise WeightsMismatchError(
                f"{name} in {SHOWN} has the SHA-256 {found[:12]}..., its index says "
                f"{wanted[:12]}...: the mirror is damaged or out of step"
            )


def mirror_folder() -> Path | None:
    """Give the mirror's folder, without a look into it; None where it is none."""
    given = os.environ.get("RADZOO_WEIGHTS", "")
    if not given or _is_web(given):
        return None
    if given.lower().startswith("file:"):
        return Path(urllib.request.url2pathname(urllib.parse.urlsplit(given).path))
    return from_home(given)


def open_mirror() -> Mirror | None:
    """Open the mirror that ``RADZOO_WEIGHTS`` names.

    Returns:
        None where none is named, or where it is a web server while ``RADZOO_OFFLINE`` is set.

    Raises:
        ZooError: When it is neither a folder nor a web address.
        WeightsNotFoundError: When the server does not answer.
        WeightsMismatchError: When its index is damaged.
    """
    given = os.environ.get("RADZOO_WEIGHTS", "")
    if not given:
        return None
    if _is_web(given):
        return _open_web(given if given.endswith("/") else f"{given}/")
    folder = mirror_folder()
    scheme = given.partition("://")[0] if "://" in given else ""
    if scheme.lower() not in ("", "file") or folder is None or not folder.is_dir():
        raise ZooError(
            "RADZOO_WEIGHTS names no folder that is there, nor an address that starts with "
            "http://, https:// or file://: correct it, or unset it"
        )
    path = folder / INDEX
    text = path.read_bytes()[: _LARGEST_INDEX + 1] if path.is_file() else b"{}"
    return Mirror(folder=folder, url=None, index=_index(text))


def _open_web(url: str) -> Mirror | None:
    if os.environ.get("RADZOO_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        return None
    if not reachable(url):
        raise WeightsNotFoundError(f"the mirror that {SHOWN} names does not answer")
    text = b"{}"
    if _exists(url + INDEX):
        text = _try(lambda: _read(url + INDEX))
    return Mirror(folder=None, url=url, index=_index(text))


def _index(text: bytes) -> dict[str, str]:
    try:
        content: Any = json.loads(text) if len(text) <= _LARGEST_INDEX else None
        return {
            name: str(entry["sha256"] if isinstance(entry, dict) else entry).lower()
            for name, entry in content.items()
        }
    except (ValueError, KeyError, AttributeError, RecursionError) as error:
        raise WeightsMismatchError(
            f"{INDEX} in {SHOWN} is damaged: it must map file names to SHA-256 digests"
        ) from error


def _exists(url: str) -> bool:
    """Ask a server for a file without reading it."""

    def ask() -> bool:
        request = urllib.request.Request(url, method="HEAD")
        try:
            urllib.request.urlopen(request, timeout=_SECONDS).close()
        except urllib.error.HTTPError as error:
            if error.code in (404, 410):
                return False
            raise
        return True

    return bool(_try(ask))


def _read(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=_SECONDS) as response:
        return bytes(response.read(_LARGEST_INDEX + 1))


def _try(action: Callable[[], Any]) -> Any:
    try:
        return action()
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or type(error).__name__
        raise WeightsNotFoundError(
            f"the mirror that {SHOWN} names does not deliver: {reason}"
        ) from error


def _is_web(given: str) -> bool:
    return given.lower().startswith(("http://", "https://"))
