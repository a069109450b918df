"""Time to import the packages and to start the command line, each in a fresh interpreter.

Reported: the median over repeats of the wall time, and what is left after the median of an empty
interpreter (``python -c pass``) is taken off. Every round runs all commands, so a slow moment of
the machine falls on all of them.

    python benchmarks/import_time.py
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

from environment import describe, warn_when_busy, write_json
from rich.console import Console
from rich.table import Table


def commands() -> dict[str, list[str]]:
    """What is timed."""
    program = shutil.which("radzoo", path=sysconfig.get_path("scripts"))
    start = [program] if program else [sys.executable, "-m", "recipes.cli"]
    return {
        "python -c pass": [sys.executable, "-c", "pass"],
        "import zoo": [sys.executable, "-c", "import zoo"],
        "import data_adapters": [sys.executable, "-c", "import data_adapters"],
        "import recipes": [sys.executable, "-c", "import recipes"],
        "radzoo --help": [*start, "--help"],
        "radzoo models": [*start, "models"],
    }


def main(argv: list[str] | None = None) -> None:
    """Time every command, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    args = parser.parse_args(argv)
    warn_when_busy()
    checkout = Path(__file__).resolve().parents[1]
    times: dict[str, list[float]] = {name: [] for name in commands()}
    for turn in range(args.repeats + 1):
        for name, command in commands().items():
            start = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True, cwd=checkout)
            if turn:  # the first turn fills the byte-code and file caches
                times[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values) for name, values in times.items()}
    empty = medians["python -c pass"]
    table = Table("command", "median s", "above an empty interpreter, s")
    for name, median in medians.items():
        table.add_row(name, f"{median:.3f}", f"{median - empty:.3f}")
    Console().print(table)
    rows = [
        {"command": name, "median_s": median, "above_empty_s": median - empty, "s": times[name]}
        for name, median in medians.items()
    ]
    write_json(args.json, {"repeats": args.repeats, "rows": rows} | describe({}))


if __name__ == "__main__":
    main()
