"""What adapters share in making an index: class names, positive class, patients."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from data_adapters.adapter import Adapter, Task
from data_adapters.errors import DataError, nearest, option_hint
from data_adapters.privacy import patient_pseudonym, uid_pseudonym

# What people write into a patient column when they know no patient.
_NOBODY = frozenset(
    {"", "-", "?", "na", "n/a", "nan", "none", "null", "nil", "unknown", "anonymous", "anon"}
)

_ASK = "if a column (or, for folders, the path) tells who is who, name it: " + option_hint(
    "patient", "COLUMN"
)


def class_order(names: Iterable[str]) -> tuple[str, ...]:
    """Class names in their order: whole numbers by value, anything else by the alphabet."""
    different = set(names)
    try:
        return tuple(sorted(different, key=lambda name: (int(name), name)))
    except ValueError:
        return tuple(sorted(different))


def class_name_notes(names: Iterable[str]) -> list[str]:
    """A sentence for each pair of class names that differ in nothing but case or spaces."""
    seen: dict[str, str] = {}
    notes = []
    for name in names:
        folded = "".join(name.split()).casefold()
        if folded in seen:
            notes.append(f"classes {seen[folded]!r} and {name!r} differ only in case or spaces")
        seen.setdefault(folded, name)
    return notes


def check_positive(positive: str | None, class_names: Sequence[str], task: Task) -> str | None:
    """The positive class, checked against the class names.

    Raises:
        DataError: There is no such class, or the task has no single positive class.
    """
    if positive is None:
        return None
    if task != "single":
        raise DataError(f"positive={positive!r}: only a single-label task has a positive class")
    if str(positive) not in class_names:
        raise DataError(f"no class is named {str(positive)!r}{nearest(str(positive), class_names)}")
    return str(positive)


def scope_of(adapter: Adapter) -> str:
    """What an adapter's file keys are relative to: the place of the data and reading options.

    An adapter may say it itself (`scope()`); otherwise it is its identity, which changes with every
    file.
    """
    own = getattr(adapter, "scope", None)
    return str(own()) if callable(own) else adapter.identity()


def data_pseudonym(adapter: Adapter) -> str:
    """Pseudonym of a data set, for lists of caches: the same wherever `scope_of` is."""
    return uid_pseudonym(f"{adapter.kind}|{scope_of(adapter)}", "data")


def pseudonyms(originals: Sequence[str | None]) -> tuple[list[str | None], list[str]]:
    """Pseudonyms of patients, where the ids say who is who.

    A blank id, or a word such as `unknown` or `anonymous`, is no patient; an id that is the same
    for every case tells nothing and counts as unknown too.

    Args:
        originals: One id per case as the data give it.

    Returns:
        One pseudonym or None per case, and sentences for the report about the unknown ones.
    """
    if all(original is None for original in originals):
        return list(originals), []
    known = [_known(original) for original in originals]
    unknown = sum(person is None for person in known)
    if known and unknown == len(known):
        return known, [f"the patient is blank for every case and counts as unknown; {_ASK}"]
    if len(known) > 1 and unknown == 0 and len(set(known)) == 1:
        note = f"the patient is the same for every case and counts as unknown; {_ASK}"
        return [None] * len(known), [note]
    notes = []
    if unknown:
        notes.append(
            f"{unknown} of {len(known)} cases have no patient and count as one each; {_ASK}"
        )
    return [None if person is None else patient_pseudonym(person) for person in known], notes


def _known(original: str | None) -> str | None:
    text = "" if original is None else original.strip()
    return None if text.casefold() in _NOBODY else text
