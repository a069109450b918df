"""Cases without a label: decoded as the others are, and held to the same leakage gate."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from data_adapters.adapter import PARTS, Adapter, IndexRow
from data_adapters.cache import Decoded
from data_adapters.leakage_others import OtherData, overlaps
from data_adapters.leakage_result import LeakageResult
from recipes.errors import RecipeError
from recipes.fewlabels.config import SemiConfig

NAME = "unlabelled"
"""What the further data are called in messages of the leakage gate."""
TESTED = PARTS[1:]


@dataclass(frozen=True, eq=False)
class Source:
    """Rows of one cache of decoded cases.

    Attributes:
        index: The adapter's rows.
        decoded: Its cache.
        rows: Places of the cases that are used.
    """

    index: Sequence[IndexRow]
    decoded: Decoded
    rows: npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Unlabelled:
    """What is learnt from without labels.

    Attributes:
        sources: Where the cases lie.
        left_out: Why cases were left out -> how many.
        copies: Cases whose pixels are those of a training case.
        digest: Hash of their ids and pixels.
    """

    sources: tuple[Source, ...]
    left_out: dict[str, int]
    copies: int
    digest: str

    @property
    def places(self) -> list[tuple[npt.NDArray[Any], int]]:
        """The cases: an array of pictures and a row of it, for each."""
        return [(source.decoded.images, int(r)) for source in self.sources for r in source.rows]

    def __len__(self) -> int:
        """Number of cases."""
        return sum(len(source.rows) for source in self.sources)

    def to_dict(self) -> dict[str, Any]:
        """Counts for the report; they are part of no figure's n."""
        return {"n": len(self), "left_out": dict(self.left_out), "copies_of_training": self.copies}

    def lines(self) -> list[tuple[str, str]]:
        """Case id and digest of the pixels of every case."""
        return [
            (source.index[row].case_id, source.decoded.sha256[row])
            for source in self.sources
            for row in source.rows
        ]


def other_data(adapter: Adapter, decoded: Decoded, *, own_ids: bool) -> OtherData:
    """The unlabelled cases as the leakage gate takes them."""
    return OtherData(
        NAME, adapter.index, decoded.sha256, decoded.phash, decoded.thumbs, own_ids=own_ids
    )


def from_source(adapter: Adapter, decoded: Decoded, *, left_out: Sequence[str]) -> Source:
    """The cases of a source of their own that may be used; their labels are not looked at.

    Cases of a part that their own data call val or test are left for that.

    Args:
        adapter: Where they come from.
        decoded: Its cache.
        left_out: Case ids that the leakage gate leaves out.
    """
    banned = set(left_out)
    rows = [
        i
        for i, row in enumerate(adapter.index)
        if decoded.ok[i] and row.case_id not in banned and row.part not in TESTED
    ]
    return Source(adapter.index, decoded, np.asarray(rows, "int64"))


def from_blanks(
    index: Sequence[IndexRow],
    decoded: Decoded,
    blanks: Sequence[int],
    used: Sequence[int],
    parts: Sequence[str],
) -> Source:
    """The cases of the labelled data whose own label is blank.

    Those that share a patient, study, series or pixels with a validation or test case, or are
    nearly the same, are left out under every leakage policy: parts are drawn here, so that a
    patient with a blank and a labelled picture is nobody's mistake.

    Args:
        index: Rows of the adapter.
        decoded: Its cache.
        blanks: Rows without a label.
        used: Rows with one.
        parts: Their parts.
    """
    rows = [i for i in blanks if decoded.ok[i] and index[i].part not in TESTED]
    blank = OtherData(
        NAME,
        [index[i] for i in rows],
        [decoded.sha256[i] for i in rows],
        decoded.phash[rows],
        decoded.thumbs[rows],
    )
    shared = overlaps(
        [index[i] for i in used],
        parts,
        [decoded.sha256[i] for i in used],
        decoded.phash[list(used)],
        decoded.thumbs[list(used)],
        [blank],
    )
    banned = {case for leak in shared for case in leak.others}
    kept = [i for i in rows if index[i].case_id not in banned]
    return Source(index, decoded, np.asarray(kept, "int64"))


def gather(
    sources: Sequence[Source], offered: Sequence[Sequence[int]], *, trained: AbstractSet[str]
) -> Unlabelled:
    """Put the sources together.

    Args:
        sources: Those that may be used.
        offered: Rows of each that were offered.
        trained: Digests of the training pixels.

    Raises:
        RecipeError: No case is left.
    """
    left_out = {"unreadable": 0, "of their own data's val or test part": 0, "leakage": 0}
    total = hashlib.sha256()
    copies = 0
    for source, rows in zip(sources, offered, strict=True):
        kept = set(source.rows.tolist())
        for row in rows:
            digest = source.decoded.sha256[row]
            if row in kept:
                copies += digest in trained
                total.update(f"{source.index[row].case_id}|{digest}\n".encode())
            elif not source.decoded.ok[row]:
                left_out["unreadable"] += 1
            elif source.index[row].part in TESTED:
                left_out["of their own data's val or test part"] += 1
            else:
                left_out["leakage"] += 1
    counts = {why: n for why, n in left_out.items() if n}
    if not any(len(source.rows) for source in sources):
        why = ", ".join(f"{reason} {n}" for reason, n in counts.items()) or "there are none"
        raise RecipeError(
            f"no unlabelled case can be used ({why}); give others, or leave them out of the run"
        )
    return Unlabelled(
        tuple(source for source in sources if len(source.rows)), counts, copies, total.hexdigest()
    )


def check_values(labelled: Decoded, unlabelled: Decoded) -> None:
    """Refuse unlabelled pictures whose values are on another scale.

    Raises:
        RecipeError: One side holds 8-bit pictures and the other does not.
    """
    mine, theirs = labelled.images.dtype, unlabelled.images.dtype
    if mine != theirs:
        raise RecipeError(
            f"the labelled pictures are {mine} and the unlabelled ones {theirs}: their values "
            "cannot be compared; give both in the same form"
        )


def as_pool(
    config: SemiConfig,
    labelled: tuple[Adapter, Decoded],
    blanks: Sequence[int],
    used: Sequence[int],
    leakage: LeakageResult,
    further: tuple[Adapter, Decoded] | None,
) -> Unlabelled | None:
    """The unlabelled cases of a run; None where it has none to use.

    Args:
        config: How they are used.
        labelled: The labelled data and their cache.
        blanks: Their rows without a label.
        used: Their rows with one.
        leakage: What the gate found; its parts are the run's.
        further: Further data without labels, and their cache.

    Raises:
        RecipeError: None of the cases can be used, or their values are on another scale.
    """
    adapter, decoded = labelled
    parts = leakage.splits.parts
    sources, offered = [], []
    if further is not None:
        check_values(decoded, further[1])
        sources.append(from_source(*further, left_out=leakage.left_out.get(NAME, ())))
        offered.append(list(range(len(further[0]))))
    if config.blank:
        sources.append(from_blanks(adapter.index, decoded, blanks, used, parts))
        offered.append(list(blanks))
    if not sources:
        return None
    trained = {decoded.sha256[i] for i, part in zip(used, parts, strict=True) if part == "train"}
    return gather(sources, offered, trained=trained)
