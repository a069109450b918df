"""What can be asked of a detector: why a candidate has its score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from data_adapters.case import Case
from data_adapters.chain import run_chain
from recipes.config import load_config
from recipes.detection.asking import candidates, remarks
from recipes.detection.boxes.explaining import BoxAsker
from recipes.detection.config import DetectionConfig
from recipes.detection.detector import Detector, MapFinder
from recipes.explaining.network import Array, Floats
from recipes.explaining.questions import Question, inside
from recipes.runs import CONFIG_FILE
from recipes.segmentation.explaining import SegmenterAsker
from recipes.segmentation.segmenter import record_sha256


class MapAsker:
    """A finished detector whose first stage marks lesions voxel by voxel.

    Attributes:
        detector: The run.
        network: The network of its first stage.
        class_names: Its classes of lesions.
        backbone: None: its plan names it.
        sha256: Hash of all that it says of itself.
        remarks: Sentences for the page.
    """

    backbone: str | None = None

    def __init__(self, detector: Detector, first: MapFinder, *, sha256: str) -> None:
        """Take an open run and its first stage."""
        self.detector = detector
        self.asker = SegmenterAsker(first.segmenter)
        self.network = self.asker.network
        self.class_names: Sequence[str] = detector.record.class_names
        self.sha256 = sha256
        self.remarks: Sequence[str] = (*self.asker.remarks, *remarks(detector))

    def ask(self, case: Case, *, label: str | None, most: int) -> list[Question]:
        """The log odds of a candidate's class against the background, at the peak of its map.

        Args:
            case: The case.
            label: Candidates of this class alone; None for all.
            most: Candidates, those of the highest scores.

        Returns:
            A question for each candidate that the first stage has a peak for.
        """
        found = self.detector.find(case)
        wanted = list(candidates(self.detector, case, found, label=label, most=most))
        if not wanted:
            return []
        image, undos = self.asker.segmenter.ready(case)
        questions = []
        for one in wanted:
            k = one.label
            places = np.argwhere(self._box(case, found.boxes[one.row]))
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
            question = self.asker.question(
                case,
                window,
                weights,
                name=one.question,
                label=one.name,
                text=f"the log odds of {one.name} at the peak of {one.described}",
                facts={"candidate_score": one.score},
            )
            questions.append(replace(question, region=one.box))
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


def load(folder: Path) -> MapAsker | BoxAsker:
    """Open the run of a folder, to ask it.

    Raises:
        recipes.errors.RunFolderError: A file is missing or damaged.
        recipes.errors.ConfigError: Its configuration cannot be read.
    """
    detector, sha256 = Detector.load(folder), record_sha256(folder)
    if isinstance(detector.first, MapFinder):
        return MapAsker(detector, detector.first, sha256=sha256)
    backbone = load_config(DetectionConfig, file=folder / CONFIG_FILE).model.backbone
    return BoxAsker(detector, detector.first, backbone=backbone, sha256=sha256)
