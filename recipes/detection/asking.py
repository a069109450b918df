"""What is common to questions about candidates, whatever gave them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from data_adapters.case import Case
from recipes.detection.candidates import Found
from recipes.detection.detector import Detector
from recipes.explaining.questions import Mask, check_label, inside


@dataclass(frozen=True, eq=False)
class Candidate:
    """A candidate that is asked about.

    Attributes:
        row: Its row in what the detector found.
        label: Number of its class.
        name: Name of its class.
        score: As ``radzoo detect predict`` gives it.
        described: As part of a sentence: its number, the first being 1, and its score.
        box: The voxels of its box on the case's own grid.
    """

    row: int
    label: int
    name: str
    score: float
    described: str
    box: Mask

    @property
    def question(self) -> str:
        """Name of the question about it."""
        return f"candidate-{self.row + 1}"


def candidates(
    detector: Detector, case: Case, found: Found, *, label: str | None, most: int
) -> Iterator[Candidate]:
    """The candidates to ask about, the highest first, numbered as all of the case are.

    Args:
        detector: The run.
        case: The case.
        found: What the detector found in it.
        label: Those of this class alone; None for all.
        most: So many at most.

    Raises:
        ExplainError: The run has no such class.
    """
    record = detector.record
    check_label(label, record.class_names)
    names = [record.class_names[int(k)] for k in found.labels]
    for row in [row for row, name in enumerate(names) if label in (None, name)][:most]:
        k, score = int(found.labels[row]), float(found.scores[row])
        threshold = record.thresholds[k]
        above = threshold is not None and score >= threshold
        below = "" if above else ", below the operating point"
        box = np.zeros(case.image.shape[:-1], bool)
        box[inside(found.boxes[row], box.shape)] = True
        described = f"candidate {row + 1} (score {score:.3f}{below})"
        yield Candidate(row, k, names[row], score, described, box)


def remarks(detector: Detector) -> list[str]:
    """Sentences for the page about the stages of a detector."""
    if detector.second is None:
        return []
    return ["Scores of candidates are of both stages; what is explained is the first."]
