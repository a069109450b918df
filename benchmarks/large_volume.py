"""How much memory does segmenting a CT of 512 x 512 x 600 voxels take, from file to file?

    python benchmarks/large_volume.py --out runs/large

Writes a synthetic volume and a run folder with a U-Net of random weights for patches of 64 x 64 x
96 (what the plan gives a CPU; a chain that resamples and windows), then `radzoo segment predict` in
a process of its own, and prints its wall time and the kernel's peak of its resident memory. Blended
windows overlap by a tenth: their number decides the time and not the memory.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import SimpleITK as sitk

SHAPE, SPACING = (600, 512, 512), (1.0, 0.8, 0.8)


def main() -> None:
    """Make what is missing, predict, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--slices", type=int, default=SHAPE[0])
    parser.add_argument("--overlap", type=float, default=0.1)
    parser.add_argument("--width", type=int, default=16)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    volume = args.out / f"ct-{args.slices}.nii.gz"
    if not volume.exists():
        write_volume(volume, args.slices)
    run = args.out / f"run-{args.width}-{args.overlap:g}"
    if not (run / "model.json").exists():
        code = f"import large_volume as v; v.write_run({str(run)!r}, {args.width}, {args.overlap})"
        here = str(Path(__file__).parent)
        subprocess.run(
            [sys.executable, "-c", f"import sys; sys.path.insert(0, {here!r}); {code}"], check=True
        )
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "recipes.cli", "segment", "predict", str(run), str(volume), "--out",
         str(args.out / "masks"), "--quiet"], check=True,
    )  # fmt: skip
    wall = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e9
    print(f"{args.slices} slices of 512 x 512: {wall / 60:.1f} min, peak {peak:.2f} GB", flush=True)


def write_volume(path: Path, slices: int) -> None:
    """A body of 60 HU below water with a bright block and a CT's noise, slice by slice."""
    rng = np.random.default_rng(0)
    array = np.empty((slices, *SHAPE[1:]), np.int16)
    for k in range(slices):
        array[k] = rng.normal(-60, 15, SHAPE[1:])
        array[k, 200:300, 150:350] += 250
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(SPACING[::-1])
    sitk.WriteImage(image, str(path), True)


def write_run(run: str, width: int, overlap: float) -> None:
    """A run folder with random weights."""
    import keras

    from recipes.engine.modelfile import save_model, save_record
    from recipes.segmentation.networks import build_network
    from recipes.segmentation.plan import Network, Plan
    from recipes.segmentation.record import SegmentationRecord

    keras.utils.set_random_seed(0)
    chain = (
        {"step": "resample", "spacing": [1.2, 0.96, 0.96], "mask": "onehot"},
        {"step": "windows", "windows": [[40.0, 400.0]]},
    )
    levels = 5
    plan = Plan(
        dims=3, chain=chain, patch=(64, 64, 96), batch=2, channels=1,
        classes=("background", "organ", "lesion"),
        network=Network(
            kind="unet", widths=tuple(width * 2**k for k in range(levels)),
            strides=((1, 1, 1), *((2, 2, 2),) * (levels - 1)), kernels=((3, 3, 3),) * levels,
            deep_supervision=False,
        ),
    )  # fmt: skip
    folder = Path(run)
    folder.mkdir(parents=True, exist_ok=True)
    sha256 = save_model(build_network(plan), folder)
    save_record(
        SegmentationRecord(
            class_names=plan.classes, axes=3, volume=True, channels=1, patch=plan.patch,
            chain=chain, spacing=(1.2, 0.96, 0.96), mirrors=(), mode="blend", overlap=overlap,
            postprocess=({"step": "largest_component", "label": 1},), tolerance=1.0,
            modality="CT", members=1, data_hash="none", train_ids=(), model_sha256=sha256,
            radzoo="0",
        ),
        folder,
    )  # fmt: skip


if __name__ == "__main__":
    main()
