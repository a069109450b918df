"""Progress on the terminal: bars with time left for long work, nothing when quiet."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

Step = Callable[[int, int], None]


class Reporter:
    """Writes to the error stream, so that standard output stays for results.

    Use it as a context manager; one live display serves every bar of a command.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        """Prepare; nothing is shown before the first task.

        Args:
            quiet: Show neither bars nor sentences.
        """
        self.quiet = quiet
        self.console = Console(file=sys.stderr, quiet=quiet, highlight=False)
        self._bars: dict[str, Any] = {}
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
            disable=quiet or not self.console.is_terminal,
        )

    def __enter__(self) -> Reporter:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def say(self, sentence: str) -> None:
        """Print one line above the bars."""
        self.console.print(sentence, markup=False, soft_wrap=True)

    @contextmanager
    def task(self, description: str, total: int | None = None) -> Iterator[Step]:
        """A bar for one piece of work; yields ``step(done, total)``."""
        bar: Any = self._progress.add_task(description, total=total)

        def step(done: int, of: int) -> None:
            self._progress.update(bar, completed=done, total=of)

        try:
            yield step
        finally:
            self._progress.remove_task(bar)

    def show(self, label: str, done: int, total: int) -> None:
        """Move the bar of ``label``, made on first use and taken away when done."""
        if label not in self._bars:
            self._bars[label] = self._progress.add_task(label, total=total)
        self._progress.update(self._bars[label], completed=done, total=total)
        if done >= total:
            self._progress.remove_task(self._bars.pop(label))

    def clear(self) -> None:
        """Take away the bars of work that ended early."""
        for label in list(self._bars):
            self._progress.remove_task(self._bars.pop(label))
