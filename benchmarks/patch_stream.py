"""Training patches: processor time per patch at each strength, and the rate of the whole stream.

Patches are cut from a data set with masks, or from made-up volumes of 36 x 50 x 36 voxels, and
augmented in one thread; then a stream is read to its end. With `--peer-python`, MONAI changes
patches of the same size in a process of its own (one thread): its transforms that come nearest to
`medium`, at the same shares, on patches that are cut already. Sides take turns in each round.

    python benchmarks/patch_stream.py [--data DIR] [--size 40 56 40] [--rounds 5]
        [--peer-python .venv-bench/bin/python] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from data_adapters.patches import PatchStream
    from data_adapters.store import Store

STRENGTHS = ("none", "light", "medium", "strong")
BATCH = 8


def timed(sample: Callable[[int], Any], count: int) -> dict[str, float]:
    """Milliseconds per call: of the process on all its threads, and by the clock."""
    for n in range(4):
        sample(n)
    began, cpu = time.perf_counter(), time.process_time()
    for n in range(count):
        sample(n)
    return {
        "cpu_ms": (time.process_time() - cpu) / count * 1e3,
        "wall_ms": (time.perf_counter() - began) / count * 1e3,
    }


def made_up(home: Path) -> Store:
    """A store of twelve volumes of smooth regions."""
    from scipy import ndimage

    from data_adapters.adapter import IndexRow, Skip, Task
    from data_adapters.case import Case, Geometry
    from data_adapters.store import build_store

    class Regions:
        kind = "regions"
        class_names = ("background", "front", "back")
        task: Task = "segmentation"
        positive: str | None = None
        modality: str | None = "MR"
        bans: tuple[str, ...] = ()
        skipped: tuple[Skip, ...] = ()
        notes: tuple[str, ...] = ()
        index = tuple(IndexRow(f"c{n:04d}") for n in range(12))

        def __len__(self) -> int:
            return len(self.index)

        def __getitem__(self, i: int) -> Case:
            rng = np.random.default_rng(i)
            field = ndimage.gaussian_filter(rng.standard_normal((36, 50, 36)), 4.0)
            mask = np.digitize(field / field.std(), (1.2, 2.0)).astype(np.int16)
            image = rng.standard_normal((36, 50, 36, 1)).astype(np.float32) + mask[..., None]
            return Case(image, self.index[i].case_id, mask=mask, geometry=Geometry((1, 1, 1)))

        def identity(self) -> str:
            return "regions"

        def file_key(self, i: int) -> str:
            return f"regions {i}"

        def source_name(self, i: int) -> str:
            return f"volume {i}"

    return build_store(Regions(), home=home)


def opened(args: argparse.Namespace, home: Path) -> Store:
    """The store that patches are cut from."""
    import data_adapters

    if args.data is None:
        return made_up(home)
    steps = [{"step": "normalize"}]
    return data_adapters.build_store(data_adapters.open(args.data), steps, home=home)


def stream_of(store: Store, args: argparse.Namespace, strength: str) -> PatchStream:
    from data_adapters.patches import PatchStream, patch_policy

    return PatchStream(
        store,
        store.usable(),
        patch_size=args.size,
        batch_size=BATCH,
        steps=-(-args.patches // BATCH),
        seed=0,
        policy=patch_policy(strength),
    )


def rate(stream: PatchStream, epoch: int) -> float:
    """Patches a second of an epoch that nobody trains on."""
    began = time.perf_counter()
    count = sum(int(images.shape[0]) for images, _ in stream.epoch(epoch))
    return count / (time.perf_counter() - began)


def monai_side(size: tuple[int, ...], count: int) -> dict[str, float]:
    """MONAI's transforms nearest to `medium` on patches in memory."""
    import torch
    from monai import transforms as t

    torch.set_num_threads(1)
    both = ["image", "mask"]
    modes, edge = ["bilinear", "nearest"], "border"
    change = t.Compose(
        [
            *[t.RandFlipd(both, prob=0.5, spatial_axis=axis) for axis in range(3)],
            t.RandAffined(
                both, prob=0.36, rotate_range=[0.52] * 3, scale_range=[0.35] * 3, mode=modes,
                padding_mode=edge,
            ),
            t.Rand3DElasticd(
                both, sigma_range=(5, 7), magnitude_range=(50, 100), prob=0.1, mode=modes,
                padding_mode=edge,
            ),
            t.RandGaussianNoised("image", prob=0.15, std=0.3),
            t.RandGaussianSmoothd(
                "image", prob=0.15, sigma_x=(0.5, 1), sigma_y=(0.5, 1), sigma_z=(0.5, 1)
            ),
            t.RandShiftIntensityd("image", offsets=0.3, prob=0.15),
            t.RandScaleIntensityFixedMeand("image", factors=0.4, prob=0.2),
            t.RandAdjustContrastd("image", prob=0.2, gamma=(0.67, 1.5), retain_stats=True),
            t.RandAdjustContrastd(
                "image", prob=0.1, gamma=(0.67, 1.5), invert_image=True, retain_stats=True
            ),
            t.RandSimulateLowResolutiond("image", prob=0.15, zoom_range=(0.5, 1.0)),
        ]
    ).set_random_state(0)  # fmt: skip
    rng = np.random.default_rng(0)
    image = torch.from_numpy(rng.standard_normal((1, *size)).astype(np.float32))
    mask = torch.from_numpy(rng.integers(0, 3, (1, *size)).astype(np.float32))
    return timed(lambda n: change({"image": image.clone(), "mask": mask.clone()}), count)


def peer(args: argparse.Namespace) -> dict[str, float]:
    """One round of the peer in its own environment."""
    words = [args.peer_python, __file__, "--side", "monai", "--patches", str(args.patches)]
    words += ["--size", *map(str, args.size)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Medians over the rounds, by side."""
    found: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        store = opened(args, Path(folder))
        streams = {name: stream_of(store, args, name) for name in STRENGTHS}
        for round_ in range(args.rounds):
            for name, stream in streams.items():

                def sample(n: int, stream: PatchStream = stream, epoch: int = round_) -> Any:
                    return stream.sample(epoch, n)

                entry = timed(sample, args.patches)
                entry["patches_per_second"] = rate(stream, round_)
                found.setdefault(name, []).append(entry)
            if args.peer_python:
                found.setdefault("MONAI, as medium", []).append(peer(args))
        store.close()
    return {
        name: {key: statistics.median(entry[key] for entry in entries) for key in entries[0]}
        for name, entries in found.items()
    }


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="a folder with masks; made-up volumes by default")
    parser.add_argument("--size", type=int, nargs="+", default=[40, 56, 40])
    parser.add_argument("--patches", type=int, default=200, help="per round and side")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peer-python", help="a Python with MONAI")
    parser.add_argument("--side", choices=["monai"], help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if args.side:
        sys.stdout.write(json.dumps(monai_side(tuple(args.size), args.patches)) + "\n")
        return
    from importlib import metadata

    from environment import describe, warn_when_busy, write_json
    from rich.console import Console
    from rich.table import Table

    console = Console()
    warn_when_busy()
    found = measure(args)
    table = Table(title=f"patches of {args.size}, one thread, ms per patch")
    for head in ("side", "processor", "clock", "stream, patches/s"):
        table.add_column(head)
    for name, entry in found.items():
        per_second = entry.get("patches_per_second")
        shown = "" if per_second is None else f"{per_second:.0f}"
        table.add_row(name, f"{entry['cpu_ms']:.2f}", f"{entry['wall_ms']:.2f}", shown)
    console.print(table)
    versions = {name: metadata.version(name) for name in ("numpy", "scipy", "tensorflow")}
    figures = describe(versions) | {"size": args.size, "sides": found}
    write_json(args.json, figures)


if __name__ == "__main__":
    main()
