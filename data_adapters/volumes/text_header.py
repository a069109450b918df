"""What the text headers of NRRD and MetaImage have in common."""

from __future__ import annotations

import math
from pathlib import Path

from data_adapters.errors import CaseError
from data_adapters.volumes.header import MAX_HEADER


def read_head(path: Path) -> bytes:
    """The bytes that hold the header, at most `MAX_HEADER`."""
    with path.open("rb") as file:
        return file.read(MAX_HEADER)


def numbers(text: str, case_id: str, *, field: str) -> list[float]:
    """Numbers apart by blanks.

    Raises:
        CaseError: `header`: not numbers, or not finite.
    """
    try:
        found = [float(word) for word in text.split()]
    except ValueError:
        found = [math.nan]
    if not all(math.isfinite(v) for v in found):
        raise CaseError(case_id, "header", f"field {field!r} of the header holds no finite numbers")
    return found


def wholes(text: str, case_id: str, *, field: str) -> list[int]:
    """Whole numbers apart by blanks.

    Raises:
        CaseError: `header`: not whole numbers.
    """
    found = numbers(text, case_id, field=field)
    if any(v != int(v) for v in found):
        raise CaseError(case_id, "header", f"field {field!r} of the header holds no whole numbers")
    return [int(v) for v in found]
