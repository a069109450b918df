"""How many cases each class has, and whether that is enough to learn and to measure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from data_adapters.adapter import Adapter
from data_adapters.findings import Finding
from data_adapters.lint.codes import finding
from data_adapters.lint.examine import Facts

TINY = 10
"""Cases below which a class is reported: a test part of a sixth would hold one or none."""
IMBALANCE = 10.0
"""How many times as many cases as the smallest the largest class may have, unreported."""

Unit = Literal["case", "voxel", "box"]


@dataclass(frozen=True, slots=True)
class ClassCount:
    """One class.

    Attributes:
        name: As the data give it.
        cases: Cases with it (multilabel: those where it is present).
        amount: Voxels of its masks, or boxes; None where the task has neither.
        unknown: Cases where it is not known (multilabel).
    """

    name: str
    cases: int
    amount: int | None = None
    unknown: int = 0


def count_classes(adapter: Adapter, facts: Sequence[Facts]) -> tuple[ClassCount, ...]:
    """Cases, voxels and boxes of each class; background is left out.

    Args:
        adapter: Any adapter.
        facts: Of every case.
    """
    names, index = adapter.class_names, adapter.index
    if adapter.task == "single":
        labels = [row.label for row in index]
        return tuple(ClassCount(name, labels.count(k)) for k, name in enumerate(names))
    if adapter.task == "multilabel":
        vectors = [row.labels for row in index if row.labels is not None]
        return tuple(
            ClassCount(
                name,
                sum(v[k] == 1.0 for v in vectors),
                unknown=len(index) - sum(v[k] == v[k] for v in vectors),
            )
            for k, name in enumerate(names)
        )
    if adapter.task == "unlabelled":
        return ()
    first = 1 if adapter.task == "segmentation" else 0
    counts = [one.voxels if first else one.boxes for one in facts]
    return tuple(
        ClassCount(names[k], sum(k in c for c in counts), sum(c.get(k, 0) for c in counts))
        for k in range(first, len(names))
    )


def class_findings(adapter: Adapter, counts: Sequence[ClassCount]) -> Iterator[Finding]:
    """Absent, tiny, single and unbalanced classes, and cases without a label.

    Args:
        adapter: Any adapter.
        counts: Its classes.
    """
    single = adapter.task == "single"
    for count in counts:
        if count.cases == 0:
            yield finding("absent-class", f"no case of class {count.name!r}")
        elif count.cases < TINY:
            cases = "1 case" if count.cases == 1 else f"{count.cases} cases"
            yield finding("tiny-class", f"{cases} of class {count.name!r}")
    present = [count for count in counts if count.cases]
    if single and len(present) == 1 and len(adapter):
        yield finding("single-class", f"every labelled case is of class {present[0].name!r}")
    if len(present) > 1:
        large = max(present, key=lambda count: count.cases)
        small = min(present, key=lambda count: count.cases)
        if large.cases > IMBALANCE * small.cases:
            text = (
                f"{large.cases} cases of class {large.name!r} and {small.cases} of {small.name!r}"
            )
            yield finding("class-imbalance", text)
    blank = sum(
        row.label is None and not any(v == v for v in row.labels or ()) for row in adapter.index
    )
    if blank and adapter.task in ("single", "multilabel"):
        yield finding("unlabelled", f"{blank} of {len(adapter)} cases have no label")
