"""Which file of one folder belongs to which of another, and whose they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from recipes.errors import RecipeError

if TYPE_CHECKING:
    from data_adapters.files import Found

_SHOWN = 5


@dataclass(frozen=True)
class Pair:
    """Two masks of one case.

    Attributes:
        name: Relative name without its ending.
        truth: File of the truth.
        prediction: File of the prediction.
    """

    name: str
    truth: Path
    prediction: Path


@dataclass(frozen=True)
class Skipped:
    """A file that could not be scored.

    Attributes:
        name: Relative name without its ending.
        kind: Slug to count by: `no-prediction`, `no-truth`, `grid`, `unknown-label`, or a kind of
            `CaseError`.
        message: What is wrong and the way out.
    """

    name: str
    kind: str
    message: str


def stem(name: str) -> str:
    """A relative name without the ending of a mask, `.nii.gz` in one piece; others stay."""
    from data_adapters.pictures import PICTURE_SUFFIXES
    from data_adapters.volumes.names import is_volume_name, volume_stem

    path = PurePosixPath(name)
    if is_volume_name(path.name):
        return (path.parent / volume_stem(path.name)).as_posix()
    known = path.suffix.lower() in PICTURE_SUFFIXES
    return (path.with_suffix("") if known else path).as_posix()


def pair_files(truth: Path, prediction: Path) -> tuple[list[Pair], list[Skipped]]:
    """Match the masks of two folders by relative name without ending, or two single files.

    Args:
        truth: Folder, searched through, or one file.
        prediction: Likewise.

    Returns:
        The pairs in the order of their names, and what has no partner.

    Raises:
        RecipeError: A folder is missing or holds no masks, a name is there twice, or nothing
            matches.
    """
    if truth.is_file() and prediction.is_file():
        return [Pair(stem(truth.name), truth, prediction)], []
    masks = _masks(truth, "truth"), _masks(prediction, "prediction")
    both = sorted(masks[0].keys() & masks[1].keys())
    if not both:
        raise RecipeError(
            "no file of the truth and of the prediction have the same name without ending: truth "
            f"has {_some(masks[0])}, prediction {_some(masks[1])}"
        )
    skipped = [
        Skipped(name, "no-prediction", "the truth has no prediction of its name")
        for name in sorted(masks[0].keys() - masks[1].keys())
    ]
    skipped += [
        Skipped(name, "no-truth", "the prediction has no truth of its name")
        for name in sorted(masks[1].keys() - masks[0].keys())
    ]
    return [Pair(name, masks[0][name].path, masks[1][name].path) for name in both], skipped


def _masks(folder: Path, role: str) -> dict[str, Found]:
    from data_adapters.files import scan_folder

    if not folder.is_dir():
        what = "is a file: give a folder" if folder.exists() else "does not exist"
        raise RecipeError(f"the folder of the {role} {what}, or a file for both")
    files = scan_folder(folder).files
    if not files:
        raise RecipeError(
            f"the folder of the {role} holds no masks (NIfTI, NRRD, MetaImage, PNG, TIFF)"
        )
    counts = Counter(stem(found.name) for found in files)
    twice = {name: n for name, n in counts.items() if n > 1}
    if twice:
        raise RecipeError(
            f"the folder of the {role} has several files named {_some(twice)} with different "
            "endings: leave one of each"
        )
    return {stem(found.name): found for found in files}


def _some(names: Mapping[str, object]) -> str:
    shown = ", ".join(repr(name) for name in sorted(names)[:_SHOWN])
    return shown + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def read_patients(source: str | Path | Mapping[str, str]) -> dict[str, str]:
    """Patient of each case.

    Args:
        source: Case -> patient; or a CSV, TSV or Parquet table with a column `case` (or `file`,
            `name`, `id`) and a column `patient` (or `patient_id`, `subject`, `group`).

    Returns:
        Name without ending -> patient; blank patients are left out.

    Raises:
        RecipeError: A column is missing or a case has two patients.
        DataError: The table cannot be read.
    """
    if isinstance(source, Mapping):
        rows = [(str(case), str(patient)) for case, patient in source.items()]
    else:
        from data_adapters.table_text import read_table

        table = read_table(Path(source))
        at = [table.find(None, names) for names in (_CASE_COLUMNS, _PATIENT_COLUMNS)]
        if None in at:
            raise RecipeError(
                f"patients: {table.name} has the columns {list(table.header)}; wanted one of "
                f"{', '.join(_CASE_COLUMNS)} and one of {', '.join(_PATIENT_COLUMNS)}"
            )
        rows = [(row[at[0] or 0], row[at[1] or 0]) for row in table.rows]
    patients: dict[str, str] = {}
    for case, patient in rows:
        name = stem(case.replace("\\", "/"))
        if not case.strip() or not patient.strip():
            continue
        if patients.setdefault(name, patient) != patient:
            raise RecipeError(f"patients: case {name!r} has two patients")
    return patients


_CASE_COLUMNS = ("case", "case_id", "file", "name", "id")
_PATIENT_COLUMNS = ("patient", "patient_id", "subject", "group")


def patient_of(name: str, patients: Mapping[str, str]) -> str | None:
    """Patient of a case, by its whole relative name or the last part; None where unknown."""
    return patients.get(name) or patients.get(PurePosixPath(name).name)
