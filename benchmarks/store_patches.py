"""Random patches out of the store: how many a second, in how much memory, beside plain files.

A set of CT-like volumes (whole numbers, 512 x 512 x 300 voxels) is written once as a store and, the
first few of them, as `.npy`, uncompressed NIfTI and MetaImage files. Each side then reads random
64 x 64 x 64 boxes of random volumes in a process of its own, as float32; the peak of its resident
memory is the kernel's (VmHWM), mapped file pages included. Sides take turns in each round. `cold`:
the system is asked to forget the files' pages before the round.

    python benchmarks/store_patches.py [--volumes 100] [--rounds 3] [--folder DIR] [--json FILE]

The hundred volumes take 16 GB of disk, plus 0.5 GB per volume of the peers; they are removed at the
end.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from environment import describe, warn_when_busy, write_json
from rich.console import Console
from rich.table import Table

from data_adapters.adapter import IndexRow, Skip, Task
from data_adapters.case import Case, Geometry
from data_adapters.store import build_store, open_store
from data_adapters.store_patches import random_patches

SIDE = 64
PEERS = ("npy mapped", "MetaImage by SimpleITK", "NIfTI by SimpleITK")
GEOMETRY = Geometry((1.0, 0.7, 0.7), (0.0, 0.0, 0.0), ((0, 0, 1), (0, 1, 0), (1, 0, 0)))
Reader = Callable[[int, tuple[int, ...]], np.ndarray]


class Scans:
    """Volumes of noise in HU, as an adapter."""

    kind = "scans"
    class_names: tuple[str, ...] = ()
    task: Task = "unlabelled"
    positive: str | None = None
    modality: str | None = "CT"
    bans: tuple[str, ...] = ()
    skipped: tuple[Skip, ...] = ()
    notes: tuple[str, ...] = ()

    def __init__(self, count: int, shape: tuple[int, int, int]) -> None:
        self.shape = shape
        self.index = tuple(IndexRow(f"c{n:04d}") for n in range(count))

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, i: int) -> Case:
        values = volume(i, self.shape).astype(np.float32)
        return Case(values[..., None], self.index[i].case_id, geometry=GEOMETRY)

    def identity(self) -> str:
        return f"{self.shape}"

    def file_key(self, i: int) -> str:
        return f"{i}"

    def source_name(self, i: int) -> str:
        return f"scan {i}"


def volume(i: int, shape: tuple[int, int, int]) -> np.ndarray:
    """Volume `i`, int16 (D, H, W)."""
    return np.random.default_rng(i).integers(-1024, 3072, shape, np.int16)


def write_all(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Write the store and the peers' files; returns the store's key and what that took."""
    import SimpleITK

    shape = tuple(args.shape)
    scans = Scans(args.volumes, shape)
    began = time.perf_counter()
    store = build_store(scans, home=folder, workers=2)
    seconds = time.perf_counter() - began
    for i in range(args.peer_volumes):
        values = volume(i, shape)
        np.save(folder / f"{i}.npy", values)
        image = SimpleITK.GetImageFromArray(values)
        for suffix in ("mha", "nii"):
            SimpleITK.WriteImage(image, str(folder / f"{i}.{suffix}"))
    size = sum(path.stat().st_size for path in folder.glob("store/cases/*/*.case"))
    return {"key": store.key, "write_seconds_per_volume": seconds / args.volumes, "bytes": size}


def reader_of(side: str, folder: Path) -> Reader:
    """How a peer reads a box."""
    if side == "npy mapped":
        maps: dict[int, np.ndarray] = {}

        def mapped(i: int, start: tuple[int, ...]) -> np.ndarray:
            if i not in maps:
                maps[i] = np.load(folder / f"{i}.npy", mmap_mode="r")
            box = tuple(slice(at, at + SIDE) for at in start)
            return np.asarray(maps[i][box], np.float32)

        return mapped
    import SimpleITK

    suffix = "mha" if side.startswith("Meta") else "nii"

    def extracted(i: int, start: tuple[int, ...]) -> np.ndarray:
        reader = SimpleITK.ImageFileReader()
        reader.SetFileName(str(folder / f"{i}.{suffix}"))
        reader.SetExtractIndex([int(at) for at in reversed(start)])
        reader.SetExtractSize([SIDE] * 3)
        return SimpleITK.GetArrayFromImage(reader.Execute()).astype(np.float32)

    return extracted


def memory() -> dict[str, float]:
    """Peak and present resident memory of this process, MB."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    values = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith("Vm")}
    return {"peak": int(values["VmHWM"]) / 1e3, "now": int(values["VmRSS"]) / 1e3}


def forget(folder: Path) -> None:
    """Ask the system to drop the pages of all files."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as handle:
                os.posix_fadvise(handle.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def run_side(args: argparse.Namespace) -> None:
    """One side of one round, in this process: prints its figures as JSON."""
    folder, rng = Path(args.folder), np.random.default_rng(args.seed)
    shape = tuple(args.shape)
    before = memory()["now"]
    checked, cpu = 0.0, time.process_time()
    if args.side == "store":
        store = open_store(args.key, home=folder)
        patches = random_patches(store, (SIDE,) * 3, rng=rng, count=args.patches)
        began = time.perf_counter()
        for patch in patches:
            checked += float(patch.arrays["image"][0, 0, 0, 0])
        seconds = time.perf_counter() - began
    else:
        read = reader_of(args.side, folder)
        began = time.perf_counter()
        for _ in range(args.patches):
            start = tuple(int(rng.integers(n - SIDE + 1)) for n in shape)
            checked += float(read(int(rng.integers(args.volumes)), start)[0, 0, 0])
        seconds = time.perf_counter() - began
    peak = memory()["peak"]
    figures = {"rate": args.patches / seconds, "peak_mb": peak, "start_mb": before}
    figures["cpu_ms"] = 1e3 * (time.process_time() - cpu) / args.patches
    print(json.dumps(figures | {"checked": checked}))


def call(side: str, folder: Path, key: str, args: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Run one side in a fresh process."""
    volumes = args.volumes if side == "store" else args.peer_volumes
    patches = args.patches if side in ("store", PEERS[0]) else max(10, args.patches // 20)
    command = [sys.executable, __file__, "--side", side, "--folder", str(folder), "--key", key]
    command += ["--volumes", str(volumes), "--patches", str(patches), "--seed", str(seed)]
    command += ["--shape", *map(str, args.shape)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def verify(folder: Path, key: str, shape: tuple[int, int, int]) -> None:
    """Stop unless the store gives the very voxels that slicing gives."""
    store, rng = open_store(key, home=folder), np.random.default_rng(1)
    values = volume(0, shape)
    for _ in range(20):
        start = tuple(int(rng.integers(-20, n - SIDE + 20)) for n in shape)
        wide = np.pad(values, 100, constant_values=values.min())
        box = tuple(slice(100 + at, 100 + at + SIDE) for at in start)
        if not np.array_equal(store.patch(0, start, (SIDE,) * 3)[..., 0], wide[box]):
            raise SystemExit("the store gives other voxels than slicing")


def main() -> None:
    """Write, read in turns, report."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--volumes", type=int, default=100)
    parser.add_argument("--peer-volumes", type=int, default=10)
    parser.add_argument("--shape", type=int, nargs=3, default=(300, 512, 512))
    parser.add_argument("--patches", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", help="where to write; the default is the temporary folder")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--key", default="", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        run_side(args)
        return
    warn_when_busy()
    with tempfile.TemporaryDirectory(dir=args.folder) as scratch:
        figures = measure(Path(scratch), args)
    show(figures, args)
    write_json(args.json, figures)


def measure(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """All rounds of all sides."""
    written = write_all(folder, args)
    verify(folder, written["key"], tuple(args.shape))
    rounds: dict[str, list[dict[str, Any]]] = {}
    for number in range(args.rounds):
        for state in ("cold", "warm"):
            sides = ["store", *PEERS]
            for side in sides[number % len(sides) :] + sides[: number % len(sides)]:
                if state == "cold":
                    forget(folder)
                    os.sync()
                figure = call(side, folder, written["key"], args, seed=number)
                rounds.setdefault(f"{side}, {state}", []).append(figure)
    import SimpleITK

    versions = {"numpy": np.__version__, "SimpleITK": SimpleITK.__version__}
    return describe(versions) | {"written": written, "rounds": rounds, "shape": list(args.shape)}


def show(figures: dict[str, Any], args: argparse.Namespace) -> None:
    """Medians as a table."""
    table = Table(
        "side", "volumes", "patches/s", "lowest", "CPU ms/patch", "peak MB", "MB at start"
    )
    for name, found in figures["rounds"].items():
        rates = [one["rate"] for one in found]
        table.add_row(
            name,
            str(args.volumes if name.startswith("store") else args.peer_volumes),
            f"{statistics.median(rates):.0f}",
            f"{min(rates):.0f}",
            f"{statistics.median(one['cpu_ms'] for one in found):.2f}",
            f"{max(one['peak_mb'] for one in found):.0f}",
            f"{max(one['start_mb'] for one in found):.0f}",
        )
    console = Console()
    console.print(table)
    written = figures["written"]
    console.print(
        f"store: {written['bytes'] / 1e9:.1f} GB, {written['write_seconds_per_volume']:.2f} s to "
        "write a volume"
    )


if __name__ == "__main__":
    main()
