"""A finished run ready for use: its first stage, and how candidates are read from its maps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from data_adapters.case import Case
from recipes.detection.candidates import Found, PeakRules, find_candidates
from recipes.detection.record import DetectionRecord
from recipes.detection.second.stage import SECOND, Second
from recipes.detection.truth import spacing_of
from recipes.engine.modelfile import RECORD_FILE, read_record
from recipes.errors import RunFolderError
from recipes.segmentation.segmenter import FIRST, Segmenter, record_sha256


@dataclass(frozen=True)
class Detector:
    """Everything from a case to its candidates.

    Attributes:
        first: The network that gives a map of probabilities.
        record: What ``model.json`` says.
        second: The network that looks again at each candidate; None without one.
    """

    first: Segmenter
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
        return cls(Segmenter.load(folder / FIRST), record, second)

    def find(self, case: Case) -> Found:
        """Candidates of a case on its own grid, the highest score first."""
        found = find(self.first, case, self.record.peaks())
        return found if self.second is None else self.second.rescored(case, found)


def find(first: Segmenter, case: Case, rules: PeakRules) -> Found:
    """Candidates of a case on its own grid.

    Args:
        first: The network that gives a map.
        case: Any case; its truth is not looked at.
        rules: How candidates are read from the map.
    """
    spacing = spacing_of(case)
    maps = first.probabilities(*first.ready(case))
    return find_candidates(maps, spacing, rules)
