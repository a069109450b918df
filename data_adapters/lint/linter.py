"""`lint`: look at a whole delivery once, and say what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from data_adapters.adapter import Adapter, Skip
from data_adapters.adapter import open as open_adapter
from data_adapters.errors import DataError, nearest
from data_adapters.findings import Finding
from data_adapters.lint.classes import class_findings, count_classes
from data_adapters.lint.codes import CODES, REMEDIES, SKIPS, UNREADABLE, finding
from data_adapters.lint.copies import MOST_COMPARED, copies, near_copies
from data_adapters.lint.examine import Facts, examine
from data_adapters.lint.outliers import outliers
from data_adapters.lint.people import people
from data_adapters.lint.repair import planned
from data_adapters.lint.report import POLICIES, LintReport, in_order
from data_adapters.lint.statistics import statistics

IRREGULAR = frozenset({"gantry-tilt", "missing-slices", "uneven-spacing"})
"""What readers call it when the slices of a stack lie irregularly."""

Progress = Callable[[int, int], None]


def lint(
    source: str | Path | Adapter,
    *,
    policy: str = "report",
    progress: Progress | None = None,
    workers: int = 2,
    options: Mapping[str, Any] | None = None,
) -> LintReport:
    """Look at every case once and at all of them together.

    Args:
        source: Anything `data_adapters.open` takes, or an adapter.
        policy: `report` says what is wrong; `strict` counts warnings as errors; `repair` says for
            each case what `data_adapters.lint.repaired` puts right.
        progress: Called as `progress(done, total)` after each case, from this thread.
        workers: Cases read at the same time; each holds one case in memory.
        options: Options of the adapter, where `source` is not one.

    Returns:
        What was found.

    Raises:
        DataError: The data cannot be opened, or the policy is unknown.
    """
    chosen = next((known for known in POLICIES if known == policy), None)
    if chosen is None:
        raise DataError(f"unknown policy {policy!r}{nearest(policy, POLICIES)}")
    if isinstance(source, str | Path):
        adapter = open_adapter(source, **dict(options or {}))
    else:
        adapter = source
    facts = _read_all(adapter, progress, workers)
    counts = count_classes(adapter, facts)
    found = list(_of_adapter(adapter))
    recorded = {(one.code, one.case_id) for one in found}
    for one in facts:
        found += [f for f in one.findings if (f.code, f.case_id) not in recorded]
    found += _irregular(facts, found)
    found += people(adapter.index, [one.files for one in facts])
    found += class_findings(adapter, counts)
    found += copies(facts, adapter.index)
    notes = list(adapter.notes)
    if len(facts) <= MOST_COMPARED:
        found += near_copies(facts, adapter.index)
    else:
        notes.append(f"near duplicates were not looked for among more than {MOST_COMPARED} cases")
    found += outliers(facts)
    order = {row.case_id: place for place, row in enumerate(adapter.index)}
    found = [_with_source(adapter, order, one) for one in _once(found)]
    left_out: tuple[str, ...] = ()
    if chosen == "repair":
        found, left_out = planned(found, facts)
    return LintReport(
        kind=adapter.kind,
        task=adapter.task,
        policy=chosen,
        n_cases=len(adapter),
        n_read=sum(one.read for one in facts),
        findings=in_order(found, order),
        classes=counts,
        statistics=statistics(facts),
        left_out=left_out,
        notes=tuple(notes),
        identity=adapter.identity(),
    )


def _read_all(adapter: Adapter, progress: Progress | None, workers: int) -> list[Facts]:
    """Facts of every case in order; what was begun is finished when this is interrupted."""
    facts: list[Facts] = []
    pool = ThreadPoolExecutor(max_workers=max(1, workers))
    try:
        for one in pool.map(lambda row: examine(adapter, row), range(len(adapter))):
            facts.append(one)
            if progress is not None:
                progress(len(facts), len(adapter))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return facts


def _of_adapter(adapter: Adapter) -> Iterator[Finding]:
    """What the adapter noticed while indexing."""
    yield from getattr(adapter, "findings", ())
    for skip in adapter.skipped:
        yield _of_skip(skip)


def _irregular(facts: Sequence[Facts], found: Sequence[Finding]) -> Iterator[Finding]:
    """Stacks that reading found to be irregular, where indexing could not know it."""
    known = {one.case_id for one in found if one.code in IRREGULAR}
    for one in facts:
        if not one.regular and one.case_id not in known:
            text = "the slices are tilted, shifted or unevenly spaced"
            yield finding("irregular-stack", text, case_id=one.case_id)


def _of_skip(skip: Skip) -> Finding:
    if skip.kind in CODES:
        return finding(skip.kind, skip.message, case_id=skip.case_id, source=skip.source)
    severity, remedy = SKIPS.get(skip.kind, ("error", REMEDIES.get(skip.kind, UNREADABLE)))
    return Finding(severity, skip.kind, skip.message, remedy, skip.case_id, skip.source)


def _once(findings: Sequence[Finding]) -> list[Finding]:
    """Without repetitions: what an adapter recorded is kept, the same found again is not."""
    first: dict[tuple[str, str | None, str], Finding] = {}
    for one in findings:
        first.setdefault((one.code, one.case_id, one.message), one)
    return list(first.values())


def _with_source(adapter: Adapter, order: Mapping[str, int], one: Finding) -> Finding:
    """The finding with the user's own name of its case."""
    if one.source is not None or one.case_id not in order:
        return one
    return replace(one, source=adapter.source_name(order[cast("str", one.case_id)]))
