"""Errors that reading and preparing data raise on purpose."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DataError(ValueError):
    """The data cannot be used as they are; the message says what, where, and the way out."""


def option_hint(name: str, value: str) -> str:
    """How to give an adapter's option, in Python and on the command line."""
    return f"{name}={value!r} (command line: --set data.columns.{name}={value})"


class FormatError(DataError):
    """A file or folder is not in the form its adapter reads."""


class CaseError(DataError):
    """One case cannot be read; the run may go on without it.

    Attributes:
        case_id: Pseudonymous case id; the only name of the case in the message.
        kind: Short slug to count by, such as `truncated`, `zero-byte` or `bomb`.
        message: What is wrong and the way out, without the case id.
    """

    def __init__(self, case_id: str, kind: str, message: str) -> None:
        super().__init__(f"case {case_id}: {message}")
        self.case_id = case_id
        self.kind = kind
        self.message = message

    def __reduce__(self) -> tuple[type[CaseError], tuple[str, str, str]]:
        """Rebuild from the three parts, so that the error survives a process boundary."""
        return type(self), (self.case_id, self.kind, self.message)


class LeakageError(DataError):
    """The same patient or picture lies on two sides of a split."""


class SplitError(DataError):
    """The cases cannot be divided as asked."""


def nearest(value: str, known: Iterable[str]) -> str:
    """A closing phrase for an error: the known name most like `value`, else every known name.

    Args:
        value: The name that is not known.
        known: The names that are.

    Returns:
        `; did you mean 'x'?`, or `; known: 'a', 'b'`, or an empty string when nothing is known.
    """
    names = list(dict.fromkeys(str(name) for name in known))
    folded = {name.casefold(): name for name in reversed(names)}
    close = difflib.get_close_matches(value.casefold(), list(folded), n=1, cutoff=0.6)
    if close:
        return f"; did you mean {folded[close[0]]!r}?"
    if not names:
        return ""
    shown = ", ".join(repr(name) for name in names[:12])
    return f"; known: {shown}" + (", ..." if len(names) > 12 else "")
