"""Pseudonyms: the only names of patients, studies and cases that leave an adapter.

A pseudonym is the beginning of an HMAC-SHA256 of the original under a secret salt, so that nobody
without the salt can find an original by trying them all. The salt is made once per installation
and lies in `RADZOO_HOME`, outside every run folder; `RADZOO_SALT` names another file, for machines
that must agree on pseudonyms (and, with the same seed, on splits). Keep it as secret as the data.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import hmac
import os
import re
import secrets
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from data_adapters.errors import DataError
from data_adapters.home import from_home, home

SALT_BYTES = 32
# Where messages place the salt: the user's own paths count as patient data.
_PLACES = {True: "the file that RADZOO_SALT names", False: "the file 'salt' in RADZOO_HOME"}


def case_ids(names: Sequence[str]) -> list[str]:
    """Pseudonymous ids of named cases: `c` and the first hex digits of a keyed hash of the name.

    Ten digits, or as many more for all of them as it takes to keep different names apart.

    Args:
        names: Names such as relative POSIX paths.

    Returns:
        One id per name; equal names get equal ids.

    Raises:
        DataError: The salt can be neither read nor made.
    """
    digests = _digests("case", names)
    different, length = len(set(digests)), 10
    while len({digest[:length] for digest in digests}) < different:
        length += 4
    return ["c" + digest[:length] for digest in digests]


def patient_pseudonym(original: str) -> str:
    """Pseudonym of a patient: `p` and twelve hex digits of a keyed hash of the id.

    Raises:
        DataError: The salt can be neither read nor made.
    """
    return "p" + _digests("patient", [original])[0][:12]


def uid_pseudonym(uid: str, kind: str) -> str:
    """Pseudonym of a DICOM unique identifier.

    Args:
        uid: The identifier.
        kind: `study`, `series` or another word; its first letter begins the pseudonym.

    Returns:
        The letter and twelve hex digits.

    Raises:
        DataError: The salt can be neither read nor made.
    """
    return kind[0] + _digests(kind, [uid])[0][:12]


def salt_check() -> str:
    """Eight hex digits that tell whether two sets of pseudonyms were made with one salt.

    Raises:
        DataError: The salt can be neither read nor made.
    """
    return _digests("check", [""])[0][:8]


def _digests(kind: str, texts: Iterable[str]) -> list[str]:
    """Hex HMAC-SHA256 of texts under the salt; the kind keeps equal texts of two kinds apart."""
    salted = _keyed(*_salt_version())
    digests = []
    for text in texts:
        keyed = salted.copy()
        keyed.update(f"{kind}\0{text}".encode("utf-8", "surrogatepass"))
        digests.append(keyed.hexdigest())
    return digests


def _salt_path() -> Path:
    given = os.environ.get("RADZOO_SALT")
    return from_home(given) if given else home() / "salt"


def _salt_version() -> tuple[Path, bool, tuple[int, int]]:
    """Where the salt lies, whether the user named it, and when it was written; made if absent."""
    path, named = _salt_path(), bool(os.environ.get("RADZOO_SALT"))
    try:
        status = path.stat()
        return path, named, (status.st_mtime_ns, status.st_ino)
    except FileNotFoundError:
        if named:
            raise DataError(
                "RADZOO_SALT names a file that is not there: copy the file 'salt' from the "
                "RADZOO_HOME of the machine to agree with, or leave RADZOO_SALT unset"
            ) from None
    except OSError as error:
        raise _unreadable(error, named) from None
    _make_salt(path)
    status = path.stat()
    return path, named, (status.st_mtime_ns, status.st_ino)


@functools.lru_cache(maxsize=8)
def _keyed(path: Path, named: bool, version: tuple[int, int]) -> hmac.HMAC:
    """An HMAC under the salt in `path`; `version` makes a rewritten file count as another."""
    del version
    end = time.monotonic() + 2.0
    while True:
        try:
            text = path.read_text(encoding="ascii").strip()
        except UnicodeDecodeError:
            text = ""
        except OSError as error:
            raise _unreadable(error, named) from None
        if re.fullmatch(rf"[0-9a-f]{{{2 * SALT_BYTES}}}", text):
            return hmac.new(bytes.fromhex(text), digestmod=hashlib.sha256)
        if time.monotonic() > end:
            raise DataError(
                f"{_PLACES[named]} is damaged: a salt is {2 * SALT_BYTES} hex digits. Restore it, "
                "or remove it to have another made: all pseudonyms change then"
            )
        time.sleep(0.05)  # another process may be writing it


def _make_salt(path: Path) -> None:
    """Write a new salt that only its owner may read, unless another process was faster."""
    text = (secrets.token_hex(SALT_BYTES) + "\n").encode("ascii")
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_new(temporary, text)
        with contextlib.suppress(FileExistsError):
            try:
                os.link(temporary, path)  # fails where there is one, unlike a rename
            except FileExistsError:
                raise
            except OSError:  # a file system without hard links
                _write_new(path, text)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise DataError(
            f"the salt of pseudonyms cannot be written into RADZOO_HOME: {reason}. Set RADZOO_HOME "
            "to a folder that can be written, or RADZOO_SALT to a salt file"
        ) from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _write_new(path: Path, data: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _unreadable(error: OSError, named: bool) -> DataError:
    reason = error.strerror or type(error).__name__
    return DataError(f"{_PLACES[named]} (the salt of pseudonyms) cannot be read: {reason}")
