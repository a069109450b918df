"""From the values of a mask file to classes, as `labels` of a `dataset.json` names them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_adapters.errors import CaseError, FormatError
from data_adapters.layouts.common import IGNORE, expect
from data_adapters.volumes.classes import distinct

Values = tuple[int, ...]
MOST_CLASSES = 1000


@dataclass(frozen=True)
class MaskLabels:
    """What the values of a mask mean.

    Attributes:
        names: `background`, then the classes.
        values: Values of each class after the background, in the order of the names; one value per
            class, or regions that share values.
        background: Values of the background.
        ignore: Value of voxels whose truth is unknown; None when there is none.
    """

    names: tuple[str, ...]
    values: tuple[Values, ...]
    background: Values = (0,)
    ignore: int | None = None

    @property
    def overlap(self) -> bool:
        """Whether the classes are regions that share voxels."""
        every = [value for values in self.values for value in values]
        return len(set(every)) < len(every)

    def key(self) -> str:
        """Text that changes when the meaning of a mask does."""
        return repr((self.names, self.values, self.ignore))

    def apply(
        self, mask: NDArray[Any], case_id: str
    ) -> tuple[NDArray[Any] | None, NDArray[Any] | None]:
        """Give the classes of a mask.

        Args:
            mask: Whole numbers.
            case_id: Id that errors carry.

        Returns:
            The mask with class numbers, -1 where unknown, and None; or None and one channel per
            region, where they share voxels (float32 with NaN where the truth is unknown, else
            uint8).

        Raises:
            CaseError: `mask-values`: a value has no meaning.
        """
        known = {*self.background, *(v for values in self.values for v in values)}
        known |= set() if self.ignore is None else {self.ignore}
        strange = [int(v) for v in distinct(mask) if int(v) not in known]
        if strange:
            message = f"the mask holds values {strange[:5]}; dataset.json names {sorted(known)}"
            raise CaseError(case_id, "mask-values", message)
        if not self.overlap:
            small = self.ignore is None and len(self.names) <= 256
            table = np.zeros(max(known) + 1, np.uint8 if small else np.int16)
            for k, values in enumerate(self.values, start=1):
                table[list(values)] = k
            if self.ignore is not None:
                table[self.ignore] = IGNORE
            return table[mask], None
        regions = np.zeros((max(known) + 1, len(self.values)), np.uint8)
        for k, values in enumerate(self.values):
            regions[list(values), k] = 1
        if self.ignore is None:
            return None, regions[mask]
        parts = regions.astype(np.float32)
        parts[self.ignore] = np.nan
        return None, parts[mask]


def parse_labels(labels: Any, where: str) -> MaskLabels:
    """Read `labels`, either way round: value -> name (Decathlon) or name -> value (nnU-Net).

    Args:
        labels: `{"0": "background", "1": "liver"}`, or `{"background": 0, "liver": 1}`, where a
            value may be a list (a region) and `ignore` names the value of unknown truth.
        where: Place for messages.

    Raises:
        FormatError: It is neither, a value or name stands twice, or no value is the background's.
    """
    labels = expect(labels, dict, where)
    pairs: list[tuple[str, Values]]
    if all(isinstance(value, str) for value in labels.values()):
        pairs = [(name.strip(), (_whole(value, where),)) for value, name in labels.items()]
    else:
        pairs = [(str(name).strip(), _values(v, f"{where}.{name}")) for name, v in labels.items()]
    names = [name for name, _ in pairs]
    if not all(names) or len(set(names)) < len(names) or len(names) > MOST_CLASSES:
        raise FormatError(f"{where}: wanted at most {MOST_CLASSES} different names")
    if len({values for _, values in pairs}) < len(pairs):
        raise FormatError(f"{where}: two names have the same value")
    return _ordered(pairs, where)


def _ordered(pairs: list[tuple[str, Values]], where: str) -> MaskLabels:
    background = next((values for _, values in pairs if 0 in values), None)
    if background != (0,):
        raise FormatError(f"{where}: wanted value 0 for the background alone")
    ignored = [values for name, values in pairs if name.lower() == "ignore"]
    if any(len(values) != 1 for values in ignored):
        raise FormatError(f"{where}: ignore has one value")
    kept = [(n, values) for n, values in pairs if n.lower() != "ignore" and values != background]
    if not kept:
        raise FormatError(f"{where} names no class beside the background")
    regions = any(len(values) > 1 for _, values in kept)
    kept = kept if regions else sorted(kept, key=lambda pair: pair[1])
    name = next(n for n, values in pairs if values == background)
    return MaskLabels(
        (name, *(n for n, _ in kept)),
        tuple(values for _, values in kept),
        background,
        ignored[0][0] if ignored else None,
    )


def _values(value: Any, where: str) -> Values:
    several = value if isinstance(value, list) else [value]
    found = tuple(_whole(v, where) for v in several)
    if not found or len(set(found)) < len(found):
        raise FormatError(f"{where}: wanted different values")
    return found


def _whole(value: Any, where: str) -> int:
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit():
        value = int(value) if len(value) < 7 else -1
    number = int(expect(value, int, where))
    if not 0 <= number < 2**16:
        raise FormatError(f"{where}: wanted a value from 0 to 65535")
    return number


def channel_names(entries: Any, where: str) -> tuple[str, ...]:
    """Names of the channels from `{"0": "FLAIR", "1": "T1w"}`, in the order of the numbers.

    Raises:
        FormatError: The numbers do not run from 0, or a name is no text.
    """
    entries = expect(entries, dict, where)
    numbered: Mapping[int, str] = {
        _whole(number, where): expect(name, str, where) for number, name in entries.items()
    }
    if sorted(numbered) != list(range(len(numbered))) or not numbered:
        raise FormatError(f"{where}: wanted the channels numbered from 0")
    return tuple(numbered[k] for k in range(len(numbered)))
