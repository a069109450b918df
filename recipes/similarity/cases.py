"""Embedded cases: what is known of each, and the files that hold it."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from recipes.classification.outputs import write_csv
from recipes.engine.checkpoint import write_atomic
from recipes.errors import RunFolderError

ARRAYS_FILE = "embeddings.npz"
TABLE_FILE = "cases.csv"
UNKNOWN = -1
"""Label or prediction of a case that has none."""


@dataclass(frozen=True, eq=False)
class Embedded:
    """Embeddings of the readable cases of a data set.

    Attributes:
        embeddings: ``(n, d)`` float32.
        prob: ``(n, k)`` probabilities; NaN where the source gives none.
        labels: ``(n,)`` class numbers, -1 unknown.
        group_of: ``(n,)`` number of each case's patient.
        case_ids: n pseudonymous ids.
        parts: ``train``, ``val``, ``test``, or ``new`` (no case of the run).
        sites: Where each case comes from, "" unknown.
        unseen: ``(n,)`` whether the network was fitted neither to the case nor to another of its
            patient.
        class_names: k names.
        key: Names network and data; the same key means the same embeddings.
        notes: What the reader must know.
        untrained: Whether the network has never been fitted to such labels.
    """

    embeddings: npt.NDArray[np.float32]
    prob: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]
    group_of: npt.NDArray[np.int64]
    case_ids: tuple[str, ...]
    parts: tuple[str, ...]
    sites: tuple[str, ...]
    unseen: npt.NDArray[np.bool_]
    class_names: tuple[str, ...]
    key: str
    notes: tuple[str, ...]
    untrained: bool

    @property
    def predicted(self) -> npt.NDArray[np.int64]:
        """Most probable class, -1 where there are no probabilities."""
        known = np.isfinite(self.prob).all(axis=1) & (self.prob.shape[1] > 0)
        best = np.nan_to_num(self.prob, nan=0.0).argmax(axis=1) if known.any() else 0
        return np.asarray(np.where(known, best, UNKNOWN), "int64")


def save_cases(found: Embedded, folder: Path) -> None:
    """Write ``embeddings.npz`` (no pickles) and ``cases.csv``, row by row the same cases.

    The npz holds `embeddings`, `prob`, `labels`, `group_of`, `unseen` and, as JSON text, `key`.

    Raises:
        RunFolderError: The disk is full or the folder cannot be written.
    """
    buffer = io.BytesIO()
    np.savez(
        buffer,
        embeddings=found.embeddings,
        prob=found.prob,
        labels=found.labels,
        group_of=found.group_of,
        unseen=found.unseen,
        key=np.asarray(json.dumps(found.key)),
        allow_pickle=False,
    )
    write_atomic(folder / ARRAYS_FILE, buffer.getvalue())
    names = (*found.class_names, "")
    write_csv(
        folder / TABLE_FILE,
        ["row", "case_id", "part", "label", "predicted", "site", "unseen"],
        (
            [
                i,
                found.case_ids[i],
                found.parts[i],
                names[found.labels[i]],
                names[found.predicted[i]],
                found.sites[i],
                "yes" if found.unseen[i] else "no",
            ]
            for i in range(len(found.case_ids))
        ),
    )


def stored_embeddings(folder: Path, key: str) -> dict[str, npt.NDArray[Any]] | None:
    """Arrays of ``embeddings.npz`` in a folder, where they are those of this key.

    Raises:
        RunFolderError: The folder holds embeddings of another network or other data.
    """
    try:
        with np.load(folder / ARRAYS_FILE, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        if json.loads(str(arrays["key"])) == key:
            return arrays
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None  # damaged: made again
    raise RunFolderError(
        f"the folder holds {ARRAYS_FILE} of another network or other data; choose another --out"
    )
