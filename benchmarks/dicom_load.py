"""Time to load one DICOM series into a volume: radzoo beside SimpleITK and MONAI.

Every side is a process of its own that has everything imported and has read the series once before
anything is timed; repeats of the sides alternate in an order that turns. All read the same slices,
a phantom of noise over shapes, and must give the same values. The files lie in the page cache. The
series of radzoo has been indexed, as that of MONAI and SimpleITK has been listed and sorted.

    python benchmarks/dicom_load.py --peer-python .venv-bench/bin/python
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sides import EndedError, Side

HERE = Path(__file__).resolve().parent
SIDES = ("radzoo", "simpleitk", "monai_itk", "monai_pydicom")
ENCODINGS = ("uncompressed", "jpeg2000")
Loader = Callable[[], Any]


def write_series(folder: Path, slices: int, side: int, encoding: str) -> None:
    """Write a CT series of int16 slices with an intercept of -1024 HU."""
    sys.path.insert(0, str(HERE.parent))
    import numpy as np
    import pydicom
    from pydicom.uid import JPEG2000Lossless

    from data_adapters.dicom_write import write_dicom_series
    from data_adapters.phantoms import ct_slice

    rng = np.random.default_rng(0)
    phantom = ct_slice(0, size=side)
    template = pydicom.dcmread(write_dicom_series(phantom, folder, prefix="T")[0])
    (folder / "T0001.dcm").unlink()
    base = np.rint(phantom.image[..., 0]).astype(np.int16) + 1024
    for z in range(slices):
        noisy = np.roll(base, z, axis=0) + rng.normal(0, 8, base.shape).astype(np.int16)
        data = pydicom.FileDataset("", template, file_meta=template.file_meta, preamble=bytes(128))
        uid = pydicom.uid.UID(f"2.25.{10**9 + z}")
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = uid
        data.InstanceNumber, data.RescaleIntercept = z + 1, -1024
        data.ImagePositionPatient = [-100, -100, f"{1.25 * z:g}"]
        data.PixelData = noisy.astype("<i2").tobytes()
        data.pop("PixelPaddingValue", None)
        if encoding == "jpeg2000":
            data = pydicom.FileDataset(
                "", dict(data), file_meta=data.file_meta, preamble=bytes(128)
            )
            data.compress(
                JPEG2000Lossless, encoding_plugin="pylibjpeg", generate_instance_uid=False
            )
        data.save_as(folder / f"{z:04d}.dcm", enforce_file_format=True)
        template.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian


def loader(side: str, folder: str) -> Loader:
    """A function that loads the series of a folder into a (slice, row, column) array."""
    if side == "radzoo":
        return _radzoo(folder)
    if side == "simpleitk":
        return _simpleitk(folder)
    return _monai(folder, side)


def _radzoo(folder: str) -> Loader:
    sys.path.insert(0, str(HERE.parent))
    from data_adapters.dicom_tree import DicomTree

    data = DicomTree(folder)
    return lambda: data[0].image[..., 0]


def _simpleitk(folder: str) -> Loader:
    import SimpleITK

    names = SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(folder)

    def load() -> Any:
        reader = SimpleITK.ImageSeriesReader()
        reader.SetFileNames(names)
        return SimpleITK.GetArrayFromImage(reader.Execute())

    return load


def _monai(folder: str, side: str) -> Loader:
    from monai.transforms import LoadImage

    reader = "ITKReader" if side == "monai_itk" else "PydicomReader"
    transform = LoadImage(reader=reader, image_only=True)
    # MONAI gives (column, row, slice); the transposed view costs nothing.
    return lambda: transform(folder).numpy().T


def serve(side: str) -> None:
    """Answer requests line by line: load a folder and say how long it took."""
    loaders: dict[str, Loader] = {}
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        folder = json.loads(line)["folder"]
        if folder not in loaders:
            loaders[folder] = loader(side, folder)
        start = time.perf_counter()
        volume = loaders[folder]()
        seconds = time.perf_counter() - start
        # Slices may come in either order along the normal.
        marks = sorted(round(float(volume[k].mean()), 2) for k in (0, len(volume) - 1))
        print(
            json.dumps({"seconds": seconds, "shape": list(volume.shape), "marks": marks}), file=out
        )
        out.flush()


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Medians, quartiles and ratios of all sides over one series."""
    pythons = {s: sys.executable if s == "radzoo" else args.peer_python for s in args.sides}
    script = Path(__file__).resolve()
    sides = [
        Side(s, [python, script, "--serve", s], verbose=args.verbose)
        for s, python in pythons.items()
    ]
    try:
        first = {}
        for side in list(sides):
            try:
                first[side.side] = side.ask(folder=str(folder))
            except EndedError as error:
                print(error, file=sys.stderr)
                sides.remove(side)
        seen = {(tuple(f["shape"]), tuple(f["marks"])) for f in first.values()}
        if len(seen) != 1:
            raise SystemExit(f"the sides read different volumes: {first}")
        rounds = []
        for index in range(args.repeats):
            turn = index % len(sides)
            order = sides[turn:] + sides[:turn]
            rounds.append({side.side: side.ask(folder=str(folder))["seconds"] for side in order})
    finally:
        for side in sides:
            side.close()
    return summary(rounds)


def summary(rounds: list[dict[str, float]]) -> dict[str, Any]:
    """Median and quartiles in ms per side, and how many times radzoo's time each peer takes."""
    result: dict[str, Any] = {}
    for side in rounds[0]:
        times = [r[side] * 1000 for r in rounds]
        low, _, high = statistics.quantiles(times, n=4) if len(times) > 1 else times * 3
        result[side] = {"median_ms": statistics.median(times), "q1_ms": low, "q3_ms": high}
        if side != "radzoo" and "radzoo" in rounds[0]:
            result[side]["ratio_to_radzoo"] = statistics.median(
                r[side] / r["radzoo"] for r in rounds
            )
    return result


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, default=200)
    parser.add_argument("--side", type=int, default=512, help="rows and columns")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--encodings", nargs="+", choices=ENCODINGS, default=list(ENCODINGS))
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter with MONAI")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    parser.add_argument("--verbose", action="store_true", help="show what the sides print")
    parser.add_argument("--serve", choices=SIDES, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def show(rows: dict[str, dict[str, Any]]) -> None:
    """Print the table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title="loading a series: median ms (quartiles), ratio to radzoo's")
    for column in ("encoding", *SIDES):
        table.add_column(column)
    for encoding, row in rows.items():
        cells = []
        for side in SIDES:
            if side not in row:
                cells.append("")
                continue
            cell = row[side]
            text = f"{cell['median_ms']:.0f} ({cell['q1_ms']:.0f}-{cell['q3_ms']:.0f})"
            ratio = cell.get("ratio_to_radzoo")
            cells.append(text + (f", {ratio:.2f}x" if ratio else ""))
        table.add_row(encoding, *cells)
    Console().print(table)


def main(argv: list[str] | None = None) -> None:
    """Write the series, measure every encoding, print the table, write the JSON."""
    args = arguments(argv)
    if args.serve:
        serve(args.serve)
        return
    from environment import describe, warn_when_busy, write_json

    warn_when_busy()
    rows: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as work:
        os.environ["RADZOO_HOME"] = str(Path(work) / "home")
        for encoding in args.encodings:
            folder = Path(work) / encoding
            write_series(folder, args.slices, args.side, encoding)
            rows[encoding] = measure(args, folder)
    show(rows)
    settings = {key: getattr(args, key) for key in ("slices", "side", "repeats")}
    write_json(args.json, {"settings": settings, "rows": rows} | describe({}))


if __name__ == "__main__":
    main()
