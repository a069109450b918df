"""How fast a delivery is indexed: pydicom in a plain loop, our first scan, our second scan.

Phantom CT series of small matrices are written to a temporary folder. Each round takes all three,
one after the other, in an order that turns from round to round; the figures are medians over the
rounds, the ratios medians of the rounds' own ratios. The files are in the system's cache for all
three, as they have just been written.

    python benchmarks/dicom_index.py [--files 20000] [--rounds 3] [--json figures.json]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pydicom
from environment import describe, warn_when_busy, write_json
from rich.console import Console
from rich.table import Table

from data_adapters.dicom.grouping import group
from data_adapters.dicom.scan import scan_tree
from data_adapters.dicom_write import write_dicom_series
from data_adapters.phantoms import ct_volume

SLICES, SIDE, STUDIES_PER_PATIENT = 100, 24, 2


def make_tree(root: Path, files: int) -> None:
    """Series of `SLICES` phantom slices each, two studies per patient."""
    phantom = ct_volume(0, shape=(SLICES, SIDE, SIDE), step_mm=2.5)
    for number in range(-(-files // SLICES)):
        patient, study = divmod(number, STUDIES_PER_PATIENT)
        folder = root / f"patient{patient:04d}" / f"study{study}"
        write_dicom_series(phantom, folder, patient=patient + 1, study=study + 1)
        if number == files // SLICES:
            for path in sorted(folder.iterdir())[files % SLICES :]:
                path.unlink()


def plain_loop(root: Path) -> int:
    """What one would write with pydicom alone."""
    found = 0
    for path in sorted(root.rglob("*")):
        if path.is_file():
            dataset = pydicom.dcmread(path, stop_before_pixels=True)
            found += "SOPInstanceUID" in dataset
    return found


def timed(job: Callable[[], int], expected: int) -> float:
    """Seconds of a job that must find every file."""
    start = time.perf_counter()
    found = job()
    seconds = time.perf_counter() - start
    if found != expected:
        raise SystemExit(f"{found} files found, {expected} expected")
    return seconds


def measure(root: Path, files: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of each way, round by round."""
    seconds: dict[str, list[float]] = {"pydicom loop": [], "first scan": [], "second scan": []}
    for number in range(rounds):
        with tempfile.TemporaryDirectory() as cache:
            home = Path(cache)

            def scan(home: Path = home) -> int:
                return len(scan_tree(root, home=home).instances)

            jobs: list[tuple[str, Callable[[], int]]] = [
                ("first scan", scan),
                ("second scan", scan),
            ]
            jobs.insert((0, 2, 1)[number % 3], ("pydicom loop", lambda: plain_loop(root)))
            for name, job in jobs:
                seconds[name].append(timed(job, files))
    return seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=20000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="where the figures go")
    options = parser.parse_args()
    warn_when_busy()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_tree(root, options.files)
        seconds = measure(root, options.files, options.rounds)
        start = time.perf_counter()
        stacks = group(scan_tree(root).instances)
        both = time.perf_counter() - start
    baseline = seconds["pydicom loop"]
    table = Table("way", "seconds", "files/s", "times pydicom")
    figures = {}
    for name, values in seconds.items():
        ratio = statistics.median(b / v for b, v in zip(baseline, values, strict=True))
        middle = statistics.median(values)
        table.add_row(name, f"{middle:.2f}", f"{options.files / middle:.0f}", f"{ratio:.1f}")
        figures[name] = {"seconds": values, "median": middle, "times_pydicom": ratio}
    Console().print(table)
    print(f"scan without index and grouping to {len(stacks)} stacks: {both:.2f} s")
    versions = {"pydicom": pydicom.__version__}
    write_json(options.json, {**describe(versions), "files": options.files, "ways": figures})


if __name__ == "__main__":
    main()
