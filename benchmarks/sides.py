"""The sides of a comparison: processes that answer one JSON line with another, in turn."""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

Step = Callable[[], float]
Rounds = list[dict[str, list[float]]]

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


def alternate(sides: Sequence[Side], *, rounds: int, **request: Any) -> Rounds:
    """Ask every side for times, round after round, in an order that turns.

    Returns:
        For each round, side -> its times in ms.
    """
    found = []
    for index in range(rounds):
        turn = index % len(sides)
        found.append({s.side: s.ask(**request)["ms"] for s in [*sides[turn:], *sides[:turn]]})
    return found


def summary(rounds: Rounds, *, base: str) -> dict[str, Any]:
    """Median and quartiles in ms per side, and how many times the base's step each other takes.

    Args:
        rounds: What ``alternate`` returned.
        base: The side the others are compared with: the median over rounds of the ratio of the
            medians.
    """
    result: dict[str, Any] = {}
    for side in rounds[0]:
        times = sorted(t for r in rounds for t in r[side])
        low, middle, high = statistics.quantiles(times, n=4) if len(times) > 1 else [times[0]] * 3
        result[side] = {"median_ms": middle, "q1_ms": low, "q3_ms": high}
        if side != base and base in rounds[0]:
            ratios = [statistics.median(r[side]) / statistics.median(r[base]) for r in rounds]
            result[side]["ratio_to_radzoo"] = statistics.median(ratios)
    return result


def cell(figures: Mapping[str, float] | None) -> str:
    """One side's figures as text."""
    if figures is None:
        return ""
    text = f"{figures['median_ms']:.0f} ({figures['q1_ms']:.0f}-{figures['q3_ms']:.0f})"
    ratio = figures.get("ratio_to_radzoo")
    return text if ratio is None else f"{text}, {ratio:.2f}x"


def time_steps(step: Step, count: int) -> list[float]:
    """Times of ``count`` steps in ms; each ends when its value is known.

    Raises:
        SystemExit: For a value that is not finite.
    """
    times = []
    for _ in range(count):
        start = time.perf_counter()
        value = step()
        times.append(1000.0 * (time.perf_counter() - start))
        if not math.isfinite(value):
            raise SystemExit(f"a step gave {value}")
    return times


def serve(build: Callable[..., tuple[Mapping[str, Step], dict[str, Any]]]) -> None:
    """Be a side: answer requests on stdin, one JSON line each, until it ends.

    Args:
        build: Called with the keywords of ``{"build": {...}}``; returns steps by name and what to
            answer. ``{"steps": n, "what": name}`` then times ``n`` of them.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a library prints must not reach the answers
    steps: Mapping[str, Step] = {}
    for line in sys.stdin:
        request = json.loads(line)
        if "build" in request:
            steps, about = build(**request["build"])
            answers.write(json.dumps(about) + "\n")
        else:
            times = time_steps(steps[request["what"]], request["steps"])
            answers.write(json.dumps({"ms": times}) + "\n")
