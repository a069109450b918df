"""How heavy is the page that maps 5,000 cases, and how soon does a browser show it?

Embeds 4,476 training and the 524 validation cases of PneumoniaMNIST with a finished run, writes the
page with thumbnails, and opens it in headless Chromium: milliseconds from the navigation's start to
the first drawing and to the load event, by the page's own clock (attributes that it writes into
itself). The bars are 8 MB and 2 s.

    python benchmarks/tsne_page.py RUN pneumoniamnist.npz --out FOLDER --json figures.json
"""

from __future__ import annotations

import argparse
import re
import shutil
import statistics
import subprocess
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from environment import describe, load, write_json

from recipes.similarity.embedding import embed

CASES = 5000
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--window-size=1100,1400",
)


def main() -> None:
    """Make the page, open it several times, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="finished classification run")
    parser.add_argument("data", type=Path, help="pneumoniamnist.npz")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--browser", default="chromium")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    data = cut(args.data, args.out)
    start = time.perf_counter()
    result = embed(args.run, data, args.out / "page", pictures="yes")
    seconds = time.perf_counter() - start
    page = args.out / "page" / "alike.html"
    loads = [opened(page, args.browser) for _ in range(args.repeats)]
    figures: dict[str, Any] = {
        "cases": result["n"],
        "megabytes": page.stat().st_size / 1e6,
        "made_in_s": seconds,
        "repeats": args.repeats,
        "load_average": load(),
    }
    for name in loads[0]:
        values = [row[name] for row in loads]
        figures[name] = {"median": statistics.median(values), "worst": max(values)}
    print(figures)
    write_json(args.json, figures | describe({"scikit-learn": version("scikit-learn")}))


def cut(data: Path, out: Path) -> Path:
    """The same file with as many training cases as make 5,000 with those of validation."""
    target = out / data.name
    if not target.exists():
        with np.load(data) as whole:
            arrays = {name: whole[name] for name in whole.files}
        n = CASES - len(arrays["val_images"])
        for name in ("train_images", "train_labels"):
            arrays[name] = arrays[name][:n]
        np.savez(target, allow_pickle=False, **arrays)
    return target


def opened(page: Path, browser: str) -> dict[str, float]:
    """Milliseconds of one load in a fresh profile, and the whole process's seconds."""
    program = shutil.which(browser)
    if program is None:
        raise SystemExit(f"no {browser} here; name one with --browser")
    with tempfile.TemporaryDirectory() as profile:
        words = [
            program,
            *FLAGS,
            f"--user-data-dir={profile}",
            "--dump-dom",
            page.resolve().as_uri(),
        ]
        start = time.perf_counter()
        shown = subprocess.run(words, capture_output=True, text=True, check=True, timeout=120)
        seconds = time.perf_counter() - start
    marks = {}
    for name in ("drawn", "loaded"):
        found = re.search(rf'<html[^>]* data-{name}-ms="(\d+)"', shown.stdout)
        if found is None:
            raise SystemExit(f"the page did not say when it was {name}: its script did not run")
        marks[f"{name}_ms"] = float(found[1])
    return marks | {"process_s": seconds}


if __name__ == "__main__":
    main()
