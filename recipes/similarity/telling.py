"""What an embedding tells: figures as JSON, and a page with a map of the cases."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from recipes.engine.checkpoint import write_json
from recipes.similarity.cases import ARRAYS_FILE, TABLE_FILE, UNKNOWN, Embedded
from recipes.similarity.clusters import clusterings
from recipes.similarity.labels import confident_joint, suspected_labels
from recipes.similarity.neighbours import nearest
from recipes.similarity.overlap import DEFINITIONS, class_overlap
from recipes.similarity.page import write_page

FIGURES_FILE = "alike.json"
PAGE_FILE = "alike.html"
NEIGHBOURS = 6
MOST_SUSPECTS = 200

Picture = Callable[[str], npt.NDArray[np.uint8] | None]


def tell(
    found: Embedded,
    flat: npt.NDArray[np.float64],
    folder: Path,
    picture: Picture,
    *,
    way: str,
    seed: int,
    n_boot: int,
) -> dict[str, Any]:
    """Compute the figures and write ``alike.json`` and ``alike.html``.

    Args:
        found: Embedded cases.
        flat: ``(n, 2)`` their places on the map.
        folder: Where to write.
        picture: Case id -> picture, None where it is not to be shown.
        way: ``tsne`` or ``umap``.
        seed: Seed of clusters and bootstrap.
        n_boot: Bootstrap replicates.

    Returns:
        The content of ``alike.json``.

    Raises:
        RunFolderError: A file cannot be written.
    """
    known = np.flatnonzero(found.labels != UNKNOWN)
    labels = found.labels[known]
    near, far = nearest(found.embeddings, found.group_of, k=NEIGHBOURS)
    result: dict[str, Any] = {
        "n": len(found.case_ids),
        "n_labelled": len(known),
        "n_groups": int(found.group_of.max()) + 1,
        "width": int(found.embeddings.shape[1]),
        "class_names": list(found.class_names),
        "map": way,
        "seed": seed,
        "unseen": _overlap(found, known[found.unseen[known]], n_boot, seed),
        "all": _overlap(found, known, n_boot, seed),
    }
    several = len(np.unique(labels)) > 1
    groups, numbers = clusterings(
        found.embeddings,
        found.labels if several and len(known) == len(found.labels) else None,
        found.group_of,
        n_boot=min(n_boot, 200),
        seed=seed,
    )
    result["clusters"] = groups
    suspects, result["label_errors"] = _suspects(found)
    result["notes"] = list(found.notes)
    result["definitions"] = DEFINITIONS
    result["files"] = [ARRAYS_FILE, TABLE_FILE, FIGURES_FILE, PAGE_FILE]
    write_json(folder / FIGURES_FILE, result)
    write_page(folder / PAGE_FILE, found, flat, result, picture, near, far, numbers, suspects)
    return result


def _overlap(
    found: Embedded, rows: npt.NDArray[np.int64], n_boot: int, seed: int
) -> dict[str, Any]:
    """Class overlap of some cases, with their number."""
    if len(rows) == 0:
        return {"n": 0}
    return {"n": len(rows)} | class_overlap(
        found.embeddings[rows],
        found.labels[rows],
        found.group_of[rows],
        found.class_names,
        n_boot=n_boot,
        seed=seed,
    )


def _suspects(found: Embedded) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Suspected labels among the cases with out-of-sample probabilities, and their table."""
    given = (found.labels != UNKNOWN) & np.isfinite(found.prob).all(axis=1)
    given &= found.prob.shape[1] > 0
    rows = np.flatnonzero(given & found.unseen)
    left_out = int((given & ~found.unseen).sum())
    table: dict[str, Any] = {
        "n_out_of_sample": len(rows),
        "n_in_sample_left_out": left_out,
        "source": "arXiv:1911.00068",
    }
    if len(rows) == 0 or len(np.unique(found.labels[rows])) < 2:
        table["note"] = (
            "No out-of-sample probabilities of two classes or more: a network is confident of "
            "wrong labels too once it was fitted to them, so none is named."
        )
        return [], table
    if left_out:
        table["note"] = (
            f"Only the {len(rows)} cases that the network was not fitted to can be judged; the "
            f"other {left_out} are left out. To judge them too, give a backbone's name in place of "
            "the run."
        )
    labels, prob = found.labels[rows], found.prob[rows]
    joint, _ = confident_joint(labels, prob)
    suspects = [
        {
            "row": int(rows[one.row]),
            "case_id": found.case_ids[int(rows[one.row])],
            "part": found.parts[int(rows[one.row])],
            "given": found.class_names[one.given],
            "suggested": found.class_names[one.suggested],
            "margin": one.margin,
        }
        for one in suspected_labels(labels, prob)
    ]
    table |= {
        "confident_joint": joint.tolist(),
        "n_suspects": len(suspects),
        "suspects": suspects[:MOST_SUSPECTS],
    }
    return suspects, table
