"""Adapters made of another one: the same cases, each changed in one way."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from data_adapters.adapter import Adapter
from data_adapters.case import Case
from data_adapters.dicom.model import Instance
from data_adapters.findings import Finding
from data_adapters.indexing import scope_of
from data_adapters.lint.examine import case_headers
from recipes.errors import ConfigError


class Derived:
    """An adapter that changes each case of another one; attributes are those of `Adapter`."""

    def __init__(self, inner: Adapter, what: str) -> None:
        """Take over all that is known of the cases.

        Args:
            inner: Where the cases come from.
            what: Text that tells one change from another: a part of every key.
        """
        self.inner = inner
        self._what = what
        self.kind = inner.kind
        self.index = inner.index
        self.class_names = inner.class_names
        self.task = inner.task
        self.positive = inner.positive
        self.modality = inner.modality
        self.bans = inner.bans
        self.skipped = inner.skipped
        self.notes = inner.notes
        self.findings: tuple[Finding, ...] = getattr(inner, "findings", ())

    def __len__(self) -> int:
        """Number of cases."""
        return len(self.index)

    def __getitem__(self, i: int) -> Case:
        """Read case `i` and change it; raises what reading it raises."""
        return self.changed(i, self.inner[i])

    def changed(self, i: int, case: Case) -> Case:
        """The case after the change."""
        raise NotImplementedError

    def instances(self, i: int) -> Sequence[Instance]:
        """Headers of the DICOM files of case `i`; empty where there are none."""
        return case_headers(self.inner, i)

    def identity(self) -> str:
        """Hash of the inner adapter's and of the change."""
        return hashlib.sha256(f"{self.inner.identity()}|{self._what}".encode()).hexdigest()

    def scope(self) -> str:
        """What file keys are relative to."""
        return f"{scope_of(self.inner)}|{self._what}"

    def file_key(self, i: int) -> str:
        """The inner key and the change."""
        return f"{self.inner.file_key(i)}|{self._what}"

    def source_name(self, i: int) -> str:
        """Name of case `i` as the user knows it."""
        return self.inner.source_name(i)


class Merged(Derived):
    """Cases whose only class, ``organ``, is several classes in one."""

    def __init__(self, inner: Adapter, values: tuple[int, ...]) -> None:
        """Remember the mask values that make up the organ."""
        super().__init__(inner, f"merged {values}")
        self.values = values
        self.class_names = ("background", "organ")

    def changed(self, i: int, case: Case) -> Case:
        """The case with 1 for the organ, 0 for the rest, and -1 where the truth is unknown."""
        if case.mask is None:
            return case
        mask = np.isin(case.mask, self.values).astype(np.int8)
        mask[case.mask < 0] = -1
        return replace(case, mask=mask)


def values_of(names: Sequence[str], chosen: Sequence[str], *, key: str) -> tuple[int, ...]:
    """Mask values of chosen classes, rising.

    Args:
        names: Classes of the data, background first.
        chosen: Some of them.
        key: Where they were chosen, for errors.

    Raises:
        ConfigError: A name is no class of the data, or none is chosen.
    """
    for name in chosen:
        if name not in names[1:]:
            raise ConfigError(f"{key}: {name!r} is no class of the data: {', '.join(names[1:])}")
    if not chosen:
        raise ConfigError(f"{key} is empty; name some of {', '.join(names[1:])}")
    return tuple(sorted({list(names).index(name) for name in chosen}))
