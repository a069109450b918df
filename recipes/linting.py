"""``radzoo data lint``: run the linter with a bar, and show what it found."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from typing import Any

import yaml
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from data_adapters.adapter import Adapter
from data_adapters.findings import Finding
from data_adapters.lint.linter import lint
from data_adapters.lint.repair import repaired
from data_adapters.lint.report import LintReport
from data_adapters.lint.statistics import GroupStatistics, Range
from recipes.errors import ConfigError, RecipeError
from recipes.progress import Reporter

SHOWN = 3
"""Cases named for each code."""
_STYLES = {"error": "bold red", "warning": "yellow", "info": "cyan"}


def run_lint(
    source: str,
    *,
    policy: str = "report",
    format_: str | None = None,
    changes: Sequence[str] = (),
    reporter: Reporter,
) -> LintReport:
    """Open a data set and lint it.

    Args:
        source: Anything ``data_adapters.open`` takes.
        policy: ``strict``, ``repair`` or ``report``.
        format_: Name of the adapter, when it shall not be found by looking.
        changes: ``key=value`` options of the adapter; a leading ``data.`` or ``data.columns.`` is
            allowed, so that what works for ``fit`` works here.
        reporter: Where the bar is shown.

    Raises:
        ConfigError: An option is no ``key=value``.
        data_adapters.errors.DataError: The data cannot be opened, or an option is not known.
    """
    options = adapter_options(changes)
    with reporter, reporter.task("looking at cases") as step:
        return lint(
            source,
            policy=policy,
            progress=step,
            workers=workers(),
            options={"format": format_, **options},
        )


def workers() -> int:
    """Cases to read at the same time: one a core, at most four, as each is in memory whole."""
    return max(1, min(4, os.cpu_count() or 1))


def adapter_options(changes: Sequence[str]) -> dict[str, Any]:
    """Options of an adapter from ``key=value`` words, values as in YAML.

    Raises:
        ConfigError: A word is no ``key=value``, or its value is no YAML.
    """
    options = {}
    for change in changes:
        key, sign, value = change.partition("=")
        name = key.strip().removeprefix("data.").removeprefix("columns.")
        if not sign or not name:
            raise ConfigError(f"--set {change!r}: wanted KEY=VALUE, such as patient=folder")
        try:
            options[name] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise ConfigError(f"--set {change!r}: the value is no YAML; put it in quotes") from None
    return options


def checked(adapter: Adapter, policy: str, reporter: Reporter) -> tuple[Adapter, LintReport | None]:
    """Lint data before a run, and hand on what the policy makes of them.

    Args:
        adapter: The opened data.
        policy: ``off``, or a policy of ``data_adapters.lint.lint``.
        reporter: Where the bar and the closing line are shown.

    Returns:
        The adapter (``repair``: one that mends its cases), and what was found; None when off.

    Raises:
        RecipeError: Errors are left under ``repair``, or errors or warnings under ``strict``.
    """
    if policy == "off":
        return adapter, None
    with reporter.task("looking at cases") as step:
        report = lint(adapter, policy=policy, progress=step, workers=workers())
    reporter.say(summary(report))
    if policy != "report" and not report.ok:
        bad = ("error", "warning") if policy == "strict" else ("error",)
        left = Counter(f.code for f in report.findings if f.severity in bad and not f.repaired)
        counted = ", ".join(f"{code} {n}" for code, n in left.most_common())
        raise RecipeError(
            f"data.lint={policy}: these are left: {counted}; `radzoo data lint` names the cases. "
            "Mend the data, or set data.lint to report"
        )
    return (repaired(adapter, report) if policy == "repair" else adapter), report


def show(report: LintReport, console: Console, *, names: bool = False) -> None:
    """Print findings by code, classes and statistics.

    Args:
        report: What was found.
        console: Where to.
        names: Show the files' own names, which may identify patients.
    """
    if report.findings:
        console.print(_findings_table(report, names))
        console.print()
    if report.classes:
        console.print(_class_table(report))
        console.print()
    if report.statistics:
        console.print(_statistics_table(report.statistics))
        console.print()
    for note in report.notes:
        console.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)
    console.print(summary(report), markup=False, highlight=False, soft_wrap=True)


def summary(report: LintReport) -> str:
    """The closing line: how many of what, and whether the data may be trained on."""
    counts = report.counts
    words = [
        _number(counts[severity], noun)
        for severity, noun in (("error", "error"), ("warning", "warning"), ("info", "remark"))
    ]
    repaired = f"; {counts['repaired']} of them repaired" if report.policy == "repair" else ""
    verdict = "ok" if report.ok else "NOT ok"
    return (
        f"{verdict}: {', '.join(words)}{repaired}; "
        f"{report.n_read} of {report.n_cases} cases read ({report.kind}, {report.task})"
    )


def _number(n: int, noun: str) -> str:
    return f"{n or 'no'} {noun}{'' if n == 1 else 's'}"


def _findings_table(report: LintReport, names: bool) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 1, 0))
    table.add_column("code", no_wrap=True)
    table.add_column("n", justify="right")
    table.add_column("found, and what to do", overflow="fold")
    for code, found in report.codes.items():
        first = found[0]
        lines = [_example(one, names) for one in found[:SHOWN]]
        if len(found) > SHOWN:
            lines.append(Text(f"and {len(found) - SHOWN} more", style="dim"))
        repaired = [one for one in found if one.repaired]
        if repaired:
            lines.append(Text(f"{len(repaired)} repaired: {repaired[0].repaired}", style="green"))
        if first.remedy and len(repaired) < len(found):
            lines.append(Text(first.remedy, style="dim"))
        style = _STYLES[first.severity]
        table.add_row(
            Text.assemble((code, style), "\n", (first.severity, "dim")),
            str(len(found)),
            Group(*lines),
        )
    return table


def _example(one: Finding, names: bool) -> Text:
    who = one.source if names and one.source else one.case_id
    return Text(f"{who}: {one.message}" if who else one.message)


def _class_table(report: LintReport) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("class")
    table.add_column("cases", justify="right")
    amount = {"segmentation": "voxels", "detection": "boxes"}.get(report.task, "")
    if amount:
        table.add_column(amount, justify="right")
    if report.task == "multilabel":
        table.add_column("unknown", justify="right")
    for count in report.classes:
        cells: list[Text | str] = [Text(count.name), str(count.cases)]
        if amount:
            cells.append(str(count.amount or 0))
        if report.task == "multilabel":
            cells.append(str(count.unknown))
        table.add_row(*cells)
    return table


def _statistics_table(groups: Sequence[GroupStatistics]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("modality", "cases", "size", "spacing, mm", "median value", "range", "type"):
        table.add_column(
            heading, justify="right" if heading == "cases" else "left", overflow="fold"
        )
    for group in groups:
        name = Text(f"{group.modality or 'unknown'} {group.axes}")
        table.add_row(name, str(group.cases), *group_cells(group))
    return table


def group_cells(group: GroupStatistics) -> list[str]:
    """Size, spacing, median value, range and type of a group of cases, as text."""
    limits = "" if group.limits is None else f"{group.limits[0]:.4g} to {group.limits[1]:.4g}"
    spacing = " × ".join(map(_range, group.spacing)) or "unknown"
    return [
        " × ".join(map(_range, group.size)),
        spacing + (f" ({group.irregular} irregular)" if group.irregular else ""),
        "" if group.intensity is None else _range(group.intensity),
        limits,
        ", ".join(group.types),
    ]


def _range(values: Range) -> str:
    low, _, high = values
    return f"{low:.4g}" if low == high else f"{low:.4g}-{high:.4g}"
