"""What is learnt from without labels, as the leakage gate of a labelled run takes it."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from data_adapters.adapter import Adapter, IndexRow
from data_adapters.cache import Decoded
from data_adapters.case import Case
from data_adapters.dicom.display import bright_is_dense
from data_adapters.digest import pixel_sha256
from data_adapters.errors import CaseError
from data_adapters.leakage_others import OtherData
from data_adapters.leakage_result import LeakageResult
from recipes.engine.checkpoint import write_atomic
from recipes.errors import RecipeError, RunFolderError
from recipes.fewlabels.unlabelled import other_data
from zoo.home import from_home

if TYPE_CHECKING:
    from recipes.classification.config import ClassificationConfig

SEEN = "pretraining.csv"
NAME = "pretraining"
"""What these cases are called in messages of the leakage gate."""
_COLUMNS = ("case_id", "patient", "study", "series", "pixel_sha256")


def write_seen(path: Path, cases: Sequence[tuple[IndexRow, str]]) -> None:
    """List cases with their pseudonyms and digests of pixels.

    Args:
        path: The file, beside the weights.
        cases: Index row and digest of each.
    """
    rows = (
        (row.case_id, row.patient_id or "", row.study_id or "", row.series_id or "", digest)
        for row, digest in cases
    )
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([_COLUMNS, *rows])
    write_atomic(path, text.getvalue().encode())


def pretrained_on(weights: str) -> OtherData | None:
    """The cases that a weights file was pretrained on, as the leakage gate takes them.

    Args:
        weights: ``model.weights`` of a recipe.

    Returns:
        None for names, and for files without a list beside them.

    Raises:
        RunFolderError: The list is damaged.
    """
    if weights in ("imagenet", "none"):
        return None
    path = from_home(weights).parent / SEEN
    if not from_home(weights).is_file() or not path.is_file():
        return None
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != _COLUMNS:
            raise RunFolderError(f"{SEEN} beside the weights is damaged; pretrain again")
        rows = list(reader)
    index = [
        IndexRow(
            row["case_id"],
            row["patient"] or None,
            study_id=row["study"] or None,
            series_id=row["series"] or None,
        )
        for row in rows
    ]
    return OtherData(NAME, index, [row["pixel_sha256"] for row in rows])


def check_pretraining(leakage: LeakageResult) -> None:
    """Refuse weights that have seen validation or test cases: they cannot be dropped from there.

    Raises:
        RecipeError: With the number of them; not under the policy ``allow``, which marks.
    """
    found = leakage.left_out.get(NAME, ())
    if found:
        raise RecipeError(
            f"the weights were pretrained on {len(found)} cases of the patients, studies or pixels "
            "of validation or test cases; pretrain without them, test on others, or give "
            "--leakage allow, which marks the report"
        )


def native_digest(case: Case) -> str:
    """Digest of a case's pixels as `data_adapters.cache.decode` takes it."""
    return pixel_sha256(bright_is_dense(case))


def beside_pretraining(
    seen: OtherData,
    adapter: Adapter,
    rows: Sequence[int],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[str] | None:
    """Digests that tell whether cases were pretrained on, where their ids do not.

    Args:
        seen: What `pretrained_on` gave.
        adapter: The labelled cases.
        rows: Those that are tested; each is read.
        progress: Called with (done, total).

    Returns:
        One digest per row of the adapter, empty for other rows and for cases that cannot be read;
        None where the list holds none to compare.
    """
    if not any(seen.sha256s):
        return None
    found = [""] * len(adapter)
    for done, row in enumerate(rows, start=1):
        with suppress(CaseError):  # it is no part of any figure either
            found[row] = native_digest(adapter[row])
        progress(done, len(rows))
    return found


def others(
    config: ClassificationConfig, further: tuple[Adapter, Decoded] | None
) -> list[OtherData]:
    """Everything that a run learns from, or its weights did, besides its labelled cases.

    Args:
        config: The run's configuration.
        further: Cases without labels, and their cache.
    """
    found = []
    if further is not None:
        found.append(other_data(*further, own_ids=config.semi.own_ids))
    seen = pretrained_on(config.model.weights)
    return [*found, seen] if seen is not None else found
