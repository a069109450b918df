"""The sides of a comparison: processes that answer one JSON line with another, in turn."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


class EndedError(SystemExit):
    """A side's process ended before it answered; uncaught, it ends the script with its message."""


class Side:
    """One side's process and the line-by-line talk with it.

    Args:
        side: Its name.
        command: What starts it; the checkout's packages come first on its path.
        verbose: Show what it writes to the terminal.
    """

    def __init__(self, side: str, command: Sequence[str | Path], *, verbose: bool) -> None:
        env = dict(os.environ)
        env["PYTHONPATH"] = os.pathsep.join([str(ROOT), env.get("PYTHONPATH", "")])
        self.side = side
        self.process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if verbose else subprocess.DEVNULL,
            text=True,
            env=env,
        )

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send one request and wait for its answer.

        Raises:
            EndedError: The process ended instead of answering.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise EndedError(f"the {self.side} side ended early; --verbose shows what it said")
        return dict(json.loads(line))

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()
