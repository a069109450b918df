"""Write a labelled set of phantom CT files and one phantom series, and show what came out.

Run it as `python examples/make_phantoms.py FOLDER`. Everything it writes is computed, says so in
its headers, and comes from no person.
"""

from __future__ import annotations

import argparse
import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from data_adapters.dicom_write import write_dicom_series
from data_adapters.phantom_sets import phantom_classification_set
from data_adapters.phantoms import ct_volume, radiograph


def main(argv: Sequence[str] | None = None) -> int:
    """Write the files that the command line asks for; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where to write; made when absent")
    parser.add_argument("--patients", type=int, default=6, help="patients of the set (6)")
    parser.add_argument("--size", type=int, default=112, help="rows and columns (112)")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same files (0)")
    given = parser.parse_args(argv)

    table = phantom_classification_set(
        given.folder, n_patients=given.patients, size=given.size, seed=given.seed
    )
    with table.open(newline="", encoding="utf-8") as stream:
        labels = Counter(row["label"] for row in csv.DictReader(stream))
    print(f"{table.name}: {sum(labels.values())} slices of {given.patients} phantom patients")
    for label, count in sorted(labels.items()):
        print(f"  {label}: {count}")

    volume = ct_volume(given.seed, shape=(8, given.size, given.size), kinds=("cyst", "metastasis"))
    files = write_dicom_series(volume, given.folder / "series", patient=9001, seed=given.seed)
    print(f"series: {len(files)} slices, spacing {volume.geometry.spacing} mm")
    for finding in volume.findings:
        place = ", ".join(f"{index:.1f}" for index in finding.centre)
        print(f"  {finding.kind} of {finding.radius_mm:.1f} mm at slice, row, column {place}")
    film = radiograph(given.seed, size=given.size, kind="nodule")
    write_dicom_series(film, given.folder / "film", patient=9002, seed=given.seed)

    for path in sorted(given.folder.rglob("*")):
        if path.is_file():
            print(f"{path.stat().st_size:9d}  {path.relative_to(given.folder).as_posix()}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
