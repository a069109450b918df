"""What can be asked of a detector: why a candidate has its score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from data_adapters.case import Case
from data_adapters.chain import run_chain
from recipes.detection.detector import Detector, MapFinder
from recipes.explaining.errors import ExplainError
from recipes.explaining.network import Array, Floats
from recipes.explaining.questions import Question, check_label, inside
from recipes.segmentation.explaining import SegmenterAsker


class DetectorAsker:
    """A finished detector whose first stage marks lesions voxel by voxel.

    Attributes:
        detector: The run.
        network: The network of its first stage.
        class_names: Its classes of lesions.
        backbone: None: its plan names it.
        sha256: Hash of the first stage's weights.
        remarks: Sentences for the page.
    """

    backbone: str | None = None

    def __init__(self, detector: Detector, first: MapFinder) -> None:
        """Take an open run and its first stage."""
        self.detector = detector
        self.asker = SegmenterAsker(first.segmenter)
        self.network = self.asker.network
        self.class_names: Sequence[str] = detector.record.class_names
        self.sha256 = self.asker.sha256
        second = detector.second is not None
        self.remarks: Sequence[str] = (
            *self.asker.remarks,
            *(["Scores are of both stages, and the maps of the first."] if second else []),
        )

    def ask(self, case: Case, *, label: str | None, most: int) -> list[Question]:
        """The log odds of a candidate's class against the background, at the peak of its map.

        Args:
            case: The case.
            label: Candidates of this class alone; None for all.
            most: Candidates, those of the highest scores.

        Returns:
            A question for each candidate that the first stage has a peak for.
        """
        check_label(label, self.class_names)
        found = self.detector.find(case)
        names = [self.class_names[int(k)] for k in found.labels]
        rows = [row for row, name in enumerate(names) if label in (None, name)][:most]
        if not rows:
            return []
        image, undos = self.asker.segmenter.ready(case)
        questions = []
        for rank, row in enumerate(rows, start=1):
            k, score = int(found.labels[row]), float(found.scores[row])
            places = np.argwhere(self._box(case, found.boxes[row]))
            if not len(places):
                continue
            window = self.asker.window(image, undos, places[len(places) // 2])
            mask = np.zeros(image.shape[:-1], bool)
            mask[tuple(places.T)] = True
            logits = self.network.outputs(window.image[None])[0]
            odds = np.where(window.cut(mask), logits[..., k + 1] - logits[..., 0], -np.inf)
            peak = tuple(int(n) for n in np.unravel_index(int(odds.argmax()), odds.shape))
            weights = np.zeros(logits.shape, np.float32)
            weights[(*peak, k + 1)], weights[(*peak, 0)] = 1.0, -1.0
            name = self.class_names[k]
            questions.append(
                self.asker.question(
                    case,
                    window,
                    weights,
                    name=f"candidate-{rank}",
                    label=name,
                    text=f"the log odds of {name} at the peak of candidate {rank} "
                    f"(score {score:.3f})",
                    facts={"candidate_score": score},
                )
            )
        return questions

    def inputs(self, case: Case) -> tuple[Floats, Case, bool]:
        """The window around a case's middle."""
        return self.asker.inputs(case)

    def _box(self, case: Case, box: Array) -> Array:
        """Voxels of a box on the grid after the chain; in a slice network those of its middle."""
        mask = np.zeros(case.image.shape[:-1], np.int16)
        mask[inside(box, mask.shape)] = 1
        marked = replace(case, mask=mask, masks=None, lesions=())
        done = run_chain(marked, self.asker.record.chain)[0].mask
        found = np.zeros(case.image.shape[:-1], bool) if done is None else np.asarray(done > 0)
        if found.ndim > self.asker.record.axes and found.any():
            rows = np.flatnonzero(found.any(axis=(1, 2)))
            keep = np.zeros_like(found)
            keep[rows[len(rows) // 2]] = found[rows[len(rows) // 2]]
            found = keep
        return found


def load(folder: Path) -> DetectorAsker:
    """Open the run of a folder, to ask it.

    Raises:
        recipes.errors.RunFolderError: A file is missing or damaged.
        ExplainError: The detector gives boxes without a map.
    """
    detector = Detector.load(folder)
    if not isinstance(detector.first, MapFinder):
        raise ExplainError(
            "this detector gives boxes directly (way: boxes), and there is no map whose peak could "
            "be explained; fit one with --set way=map"
        )
    return DetectorAsker(detector, detector.first)
