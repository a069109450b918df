"""Pseudonyms: the only names of patients, studies and cases that leave an adapter."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


def case_ids(names: Sequence[str]) -> list[str]:
    """Pseudonymous ids of named cases: `c` and the first hex digits of the name's sha256.

    Ten digits, or as many more for all of them as it takes to keep different names apart.

    Args:
        names: Names such as relative POSIX paths.

    Returns:
        One id per name; equal names get equal ids.
    """
    digests = [_digest(name) for name in names]
    different, length = len(set(digests)), 10
    while len({digest[:length] for digest in digests}) < different:
        length += 4
    return ["c" + digest[:length] for digest in digests]


def patient_pseudonym(original: str) -> str:
    """Pseudonym of a patient: `p` and ten hex digits of the id's sha256.

    It hides the id from a reader; it is no protection against somebody who tries every id.
    """
    return "p" + _digest(original)[:10]


def uid_pseudonym(uid: str, kind: str) -> str:
    """Pseudonym of a DICOM unique identifier.

    Args:
        uid: The identifier.
        kind: `study`, `series` or another word; its first letter begins the pseudonym.

    Returns:
        The letter and ten hex digits.
    """
    return kind[0] + _digest(uid)[:10]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
