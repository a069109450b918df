"""Values of label maps and their names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_adapters.errors import CaseError, DataError
from data_adapters.volumes.read import read_volume

MOST_VALUES = 256
BACKGROUND = "background"


@dataclass(frozen=True)
class MaskClasses:
    """Which stored value is which class.

    Attributes:
        name_of: Stored value -> name, 0 first where there is anything; class k is the k-th entry.
    """

    name_of: Mapping[int, str]

    @property
    def names(self) -> tuple[str, ...]:
        """Names in the order of the class numbers; `background` first."""
        return tuple(self.name_of.values())

    @classmethod
    def of(cls, values: Iterable[int]) -> MaskClasses:
        """Classes named by their stored values.

        Raises:
            DataError: There are more values than a label map has.
        """
        others = sorted({int(v) for v in values} - {0})
        if len(others) >= MOST_VALUES:
            raise DataError(f"the masks hold {len(others)} different values: name the classes")
        return cls({0: BACKGROUND} | {value: str(value) for value in others})

    @classmethod
    def found_in(cls, masks: Iterable[tuple[Path, str]]) -> MaskClasses:
        """Classes of the values that masks hold; those that cannot be read tell nothing.

        Args:
            masks: (file, case id) of each mask.

        Raises:
            DataError: There are more values than a label map has.
        """
        seen: set[int] = set()
        for path, case_id in masks:
            try:
                mask = read_volume(path, case_id=case_id, as_mask=True).image
            except CaseError:
                continue
            seen |= {int(v) for v in distinct(mask)}
            if len(seen) > MOST_VALUES:
                break
        return cls.of(seen)

    def numbered(self, mask: NDArray[Any], case_id: str) -> NDArray[Any]:
        """The mask with class numbers instead of stored values.

        Raises:
            CaseError: `mask-values`: it holds a value that is no class, or several channels.
        """
        if mask.ndim > 3:
            message = "the mask has several channels: give one label map"
            raise CaseError(case_id, "mask-values", message)
        values = distinct(mask)
        unknown = [int(v) for v in values if int(v) not in self.name_of]
        if unknown:
            raise CaseError(
                case_id,
                "mask-values",
                f"the mask holds values {unknown[:5]}; the classes are {list(self.name_of)}",
            )
        known = list(self.name_of)
        if known == list(range(len(known))):
            return mask
        table = np.zeros(int(values.max()) + 1, np.uint16 if len(known) > 256 else np.uint8)
        for number, value in enumerate(known):
            if 0 <= value < len(table):
                table[value] = number
        return np.asarray(table[mask])


def distinct(mask: NDArray[Any]) -> NDArray[Any]:
    """The values of an integer array, ascending."""
    if mask.dtype.itemsize <= 2 and mask.dtype.kind == "u":
        return np.flatnonzero(np.bincount(mask.ravel()))
    return np.unique(mask)


def classes_option(given: str | Sequence[str] | Mapping[int, str] | None) -> MaskClasses | None:
    """Read the option `classes`.

    Args:
        given: Names in the order of the values; or value -> name; or either as a text with commas,
            `background,liver` or `0=background,4=enhancing`.

    Raises:
        DataError: It is no such thing, or a name or value stands twice.
    """
    if given is None:
        return None
    entries = given.split(",") if isinstance(given, str) else given
    if isinstance(entries, Mapping):
        pairs = [(str(value), str(name)) for value, name in entries.items()]
    elif all("=" in str(entry) for entry in entries):
        pairs = [(str(e).partition("=")[0], str(e).partition("=")[2]) for e in entries]
    else:
        pairs = [(str(value), str(name)) for value, name in enumerate(entries)]
    try:
        numbered = sorted((int(value), name.strip()) for value, name in pairs)
    except ValueError:
        raise DataError(f"classes={given!r}: a mask's value is a whole number") from None
    if numbered and numbered[0][0] > 0:
        numbered.insert(0, (0, BACKGROUND))
    values, names = zip(*numbered, strict=True) if numbered else ((), ())
    if len(set(names)) < len(names) or len(set(values)) < len(values) or "" in names:
        raise DataError(f"classes={given!r}: wanted different values with different names")
    if len(names) < 2 or values[0] != 0:
        raise DataError(f"classes={given!r}: wanted value 0 for the background, and one more")
    return MaskClasses(dict(numbered))
