"""Labelled sets of phantoms for demonstrations and tests, in the forms that adapters read.

Each patient has an anatomy and at most one lesion, through which all its slices pass. Patients
without a lesion are cut at the heights where one could have been, so that the height tells nothing.
Gallbladder and liver vessels look much like small lesions, and the smallest lesions are few pixels
wide: a good classifier makes some mistakes.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from data_adapters.dicom_write import write_dicom_series
from data_adapters.errors import DataError
from data_adapters.phantoms import (
    LESION_CLASSES,
    Phantom,
    Scan,
    ct_slice,
    make_anatomy,
    place_lesion,
)

CLASSES = ("none", "cyst", "metastasis")
FOV_MM = 240.0
"""Side of the field of view, which is centred on the liver."""
SCAN = Scan(noise_hu=16.0, organs=False)
PARTS = (("train", 0.7), ("val", 0.15), ("test", 0.15))


@dataclass(frozen=True, eq=False)
class PhantomPatient:
    """One patient of a set.

    Attributes:
        number: From 1.
        name: Class name as labelled.
        slices: Axial slices from the feet to the head.
    """

    number: int
    name: str
    slices: tuple[Phantom, ...]


def phantom_patients(
    *,
    n_patients: int,
    slices_per_patient: tuple[int, int] = (1, 3),
    classes: Sequence[str] = CLASSES,
    binary: bool = False,
    seed: int = 0,
    size: int = 112,
    phase: str = "portal",
    scan: Scan = SCAN,
) -> Iterator[PhantomPatient]:
    """Draw patients one by one; classes are as even as they can be and come in random order.

    Args:
        n_patients: How many.
        slices_per_patient: Fewest and most slices of one patient.
        classes: Class names, out of `LESION_CLASSES`.
        binary: Whether every lesion is labelled `lesion`.
        seed: The same seed gives the same patients, whatever `n_patients` is beyond them.
        size: Rows and columns.
        phase: Contrast phase.
        scan: How slices are imaged.

    Yields:
        Patients.

    Raises:
        DataError: A class is not known, or a number is out of range.
    """
    few, many = slices_per_patient
    if n_patients < 1 or not 1 <= few <= many:
        raise DataError(
            f"{n_patients} patients of {few} to {many} slices; wanted at least 1 of each"
        )
    if not classes or not set(classes) <= set(LESION_CLASSES):
        raise DataError(f"classes are {tuple(classes)}; wanted some of {LESION_CLASSES}")
    for index in range(n_patients):
        rng = np.random.default_rng((seed, index))
        round_, place = divmod(index, len(classes))
        order = np.random.default_rng((seed, round_, 1 << 20)).permutation(len(classes))
        kind = classes[int(order[place])]
        count = int(rng.integers(few, many + 1))
        slices = _slices(rng, kind, tuple(classes), count, size, phase, scan)
        name = kind if not binary or kind == "none" else "lesion"
        yield PhantomPatient(index + 1, name, slices)


def _slices(
    rng: np.random.Generator,
    kind: str,
    classes: tuple[str, ...],
    count: int,
    size: int,
    phase: str,
    scan: Scan,
) -> tuple[Phantom, ...]:
    """Slices of one patient, all through the place of its lesion."""
    anatomy = make_anatomy(rng, phase=phase)
    middle_xy = (-0.38 * anatomy.body.wide, -0.1 * anatomy.body.deep)
    kinds = [name for name in classes if name != "none"] or ["cyst"]
    shown = kind if kind != "none" else kinds[int(rng.integers(len(kinds)))]
    lesion = place_lesion(rng, anatomy, shown)
    middle, reach = lesion.shape.centre[2], lesion.shape.radii[2]
    offsets = np.linspace(-0.5, 0.5, count) if count > 1 else np.zeros(1)
    lesions = (lesion,) if kind != "none" else ()
    return tuple(
        ct_slice(
            rng,
            size=size,
            z_mm=middle + float(offset) * reach,
            fov_mm=FOV_MM,
            centre_xy=middle_xy,
            scan=scan,
            anatomy=anatomy,
            lesions=lesions,
        )
        for offset in offsets
    )


def phantom_classification_set(
    folder: str | Path,
    *,
    n_patients: int = 120,
    slices_per_patient: tuple[int, int] = (1, 3),
    classes: Sequence[str] = CLASSES,
    binary: bool = False,
    seed: int = 0,
    size: int = 112,
    phase: str = "portal",
    scan: Scan = SCAN,
) -> Path:
    """Write a set of single-frame DICOM CT files with a table of labels.

    Args:
        folder: Made when absent; gets `cases.csv` and `dicom/PHANTOM-0001/IM0001.dcm` and so on.
        n_patients: How many patients.
        slices_per_patient: Fewest and most slices of one patient.
        classes: Class names, out of `LESION_CLASSES`.
        binary: Whether every lesion is labelled `lesion`.
        seed: Seed of patients and UIDs.
        size: Rows and columns.
        phase: Contrast phase.
        scan: How slices are imaged.

    Returns:
        The table: columns path (relative to the table), label, patient.

    Raises:
        DataError: A class is not known, or a number is out of range.
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    rows: list[tuple[str, str, str]] = []
    for patient in phantom_patients(
        n_patients=n_patients,
        slices_per_patient=slices_per_patient,
        classes=classes,
        binary=binary,
        seed=seed,
        size=size,
        phase=phase,
        scan=scan,
    ):
        name = f"PHANTOM-{patient.number:04d}"
        files = write_dicom_series(
            patient.slices, target / "dicom" / name, patient=patient.number, seed=seed
        )
        rows += [(file.relative_to(target).as_posix(), patient.name, name) for file in files]
    table = target / "cases.csv"
    with table.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(("path", "label", "patient"))
        writer.writerows(rows)
    return table


def phantom_image_folder(
    folder: str | Path,
    *,
    n_patients: int = 30,
    classes: Sequence[str] = CLASSES,
    binary: bool = False,
    seed: int = 0,
    size: int = 96,
    parts: bool = False,
    scan: Scan = SCAN,
) -> Path:
    """Write one windowed 8-bit PNG a patient into a folder a class.

    Args:
        folder: Made when absent; gets `<class>/0001.png`, or `train/<class>/0001.png` and so on.
        n_patients: How many patients.
        classes: Class names, out of `LESION_CLASSES`.
        binary: Whether every lesion is labelled `lesion`.
        seed: Seed of the patients.
        size: Rows and columns.
        parts: Whether to divide patients into `train`, `val` and `test`.
        scan: How slices are imaged.

    Returns:
        The folder.

    Raises:
        DataError: A class is not known, or a number is out of range.
    """
    target = Path(folder)
    for patient in phantom_patients(
        n_patients=n_patients,
        slices_per_patient=(1, 1),
        classes=classes,
        binary=binary,
        seed=seed,
        size=size,
        scan=scan,
    ):
        part = _part(patient.number - 1, n_patients) if parts else ""
        place = target / part / patient.name
        place.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(windowed(patient.slices[0])[..., 0])
        picture.save(place / f"{patient.number:04d}.png")
    return target


def phantom_npz(
    path: str | Path,
    *,
    n_patients: int = 60,
    classes: Sequence[str] = CLASSES,
    binary: bool = False,
    seed: int = 0,
    size: int = 28,
    test: bool = True,
    scan: Scan = SCAN,
) -> Path:
    """Write windowed 8-bit slices, one a patient, as a file in the layout of MedMNIST.

    Args:
        path: The `.npz` file; its folder is made when absent.
        n_patients: How many patients.
        classes: Class names, out of `LESION_CLASSES`; labels are their positions (0 and 1 when
            `binary`).
        binary: Whether lesions of all classes have label 1.
        seed: Seed of the patients.
        size: Rows and columns.
        test: Whether to put in the test part.
        scan: How slices are imaged.

    Returns:
        The file: `{train,val,test}_images` (N, size, size) uint8, `{...}_labels` (N, 1) uint8.

    Raises:
        DataError: A class is not known, or a number is out of range.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    names = ["none", "lesion"] if binary else list(classes)
    images: dict[str, list[np.ndarray]] = {name: [] for name, _ in PARTS}
    labels: dict[str, list[int]] = {name: [] for name, _ in PARTS}
    for patient in phantom_patients(
        n_patients=n_patients,
        slices_per_patient=(1, 1),
        classes=classes,
        binary=binary,
        seed=seed,
        size=size,
        scan=scan,
    ):
        part = _part(patient.number - 1, n_patients)
        images[part].append(windowed(patient.slices[0])[..., 0])
        labels[part].append(names.index(patient.name))
    arrays: dict[str, np.ndarray] = {}
    for part in images:
        if part == "test" and not test:
            continue
        arrays[f"{part}_images"] = np.array(images[part], np.uint8).reshape(-1, size, size)
        arrays[f"{part}_labels"] = np.array(labels[part], np.uint8).reshape(-1, 1)
    with target.open("wb") as stream:
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]
    return target


def windowed(phantom: Phantom, *, window: tuple[float, float] | None = None) -> np.ndarray:
    """A phantom's image as 8 bits under a window.

    Args:
        phantom: Any phantom.
        window: (centre, width); None takes the phantom's own.

    Returns:
        The image's shape, uint8.
    """
    centre, width = window or phantom.window
    share = (phantom.image - (centre - width / 2)) / width
    return np.asarray(np.rint(np.clip(share, 0, 1) * 255), dtype=np.uint8)


def _part(index: int, count: int) -> str:
    """The part of the `index`-th of `count` patients: 70, 15 and 15 %, in this order."""
    edge = 0.0
    for name, share in PARTS:
        edge += share
        if index < round(edge * count):
            return name
    return PARTS[-1][0]
