"""A finished run ready for use: its first stage, and how candidates are read from its maps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from data_adapters.case import Case
from recipes.detection.boxes.finder import BoxFinder
from recipes.detection.candidates import Found, PeakRules, find_candidates
from recipes.detection.record import DetectionRecord
from recipes.detection.second.stage import SECOND, Second
from recipes.detection.truth import spacing_of
from recipes.engine.modelfile import RECORD_FILE, read_record
from recipes.errors import RunFolderError
from recipes.segmentation.record import SegmentationRecord
from recipes.segmentation.segmenter import FIRST, Segmenter, record_sha256


@dataclass(frozen=True)
class Detector:
    """Everything from a case to its candidates.

    Attributes:
        first: The network that finds candidates.
        record: What ``model.json`` says.
        second: The network that looks again at each candidate; None without one.
    """

    first: First
    record: DetectionRecord
    second: Second | None = None

    @classmethod
    def load(cls, folder: str | Path) -> Detector:
        """Open the run of a folder.

        Raises:
            RunFolderError: A file is missing or damaged, or the files do not belong together.
        """
        folder = Path(folder)
        record = read_record(folder, DetectionRecord)
        stages = {FIRST: record.first_sha256, SECOND: record.second_sha256}
        for name, wanted in stages.items():
            if wanted is not None and record_sha256(folder / name) != wanted:
                raise RunFolderError(
                    f"{name}/{RECORD_FILE} is not the {name} stage of this detector; copy the run "
                    "folder whole, or fit again"
                )
        second = None if record.second_sha256 is None else Second.load(folder / SECOND)
        return cls(load_first(folder / FIRST, record.way), record, second)

    def find(self, case: Case) -> Found:
        """Candidates of a case on its own grid, the highest score first."""
        found = self.first.find(case, self.record.peaks())
        return found if self.second is None else self.second.rescored(case, found)


class MapFinder:
    """A first stage that marks lesions voxel by voxel; candidates are peaks or pieces of its map.

    Attributes:
        record: What ``first/model.json`` says of it.
    """

    def __init__(self, segmenter: Segmenter) -> None:
        """Take the network."""
        self.segmenter = segmenter
        self.record: SegmentationRecord = segmenter.record

    def find(self, case: Case, rules: PeakRules) -> Found:
        """Candidates of a case on its own grid, the highest score first.

        Args:
            case: Any case; its truth is not looked at.
            rules: How candidates are read from the map.
        """
        maps = self.segmenter.probabilities(*self.segmenter.ready(case))
        return find_candidates(maps, spacing_of(case), rules)


First: TypeAlias = MapFinder | BoxFinder


def load_first(folder: Path, way: Literal["map", "boxes"]) -> First:
    """Open the first stage of a run folder.

    Raises:
        RunFolderError: A file is missing or damaged.
    """
    return BoxFinder.load(folder) if way == "boxes" else MapFinder(Segmenter.load(folder))
