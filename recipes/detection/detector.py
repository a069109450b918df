"""A finished run ready for use: its first stage, and how candidates are read from its maps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from data_adapters.case import Case
from recipes.detection.candidates import Found, PeakRules, find_candidates
from recipes.detection.record import DetectionRecord
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
    """

    first: Segmenter
    record: DetectionRecord

    @classmethod
    def load(cls, folder: str | Path) -> Detector:
        """Open the run of a folder.

        Raises:
            RunFolderError: A file is missing or damaged, or the files do not belong together.
        """
        folder = Path(folder)
        record = read_record(folder, DetectionRecord)
        if record_sha256(folder / FIRST) != record.first_sha256:
            raise RunFolderError(
                f"{FIRST}/{RECORD_FILE} is not the first stage of this detector; copy the run "
                "folder whole, or fit again"
            )
        return cls(Segmenter.load(folder / FIRST), record)

    def find(self, case: Case) -> Found:
        """Candidates of a case on its own grid, the highest score first."""
        return find(self.first, case, self.record.peaks())


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
