"""A finished segmentation run as its pages see it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recipes.segmentation.config import SegmentationConfig
from recipes.segmentation.data import Prepared

if TYPE_CHECKING:
    from recipes.segmentation.scoring import Scored


@dataclass(frozen=True)
class Finished:
    """Everything that the report and the model card tell.

    Attributes:
        config: The run's configuration.
        prepared: Parts, plan, what was skipped and leaked.
        scored: The evaluated part first, validation last.
        history: One record per member and round.
        facts: What training and evaluation leave behind (``training`` of metrics.json).
        seconds: Wall time by phase.
    """

    config: SegmentationConfig
    prepared: Prepared
    scored: Sequence[Scored]
    history: Sequence[Mapping[str, Any]]
    facts: Mapping[str, Any]
    seconds: Mapping[str, float]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes without the background."""
        return self.prepared.plan.classes[1:]

    @property
    def shown(self) -> Scored:
        """The evaluated part."""
        return self.scored[0]

    @property
    def metrics(self) -> Mapping[str, Any]:
        """Figures of the evaluated part."""
        return self.scored[0].metrics

    @property
    def solid(self) -> bool:
        """Whether cases are volumes."""
        return self.prepared.fingerprint.axes == 3

    @property
    def unit(self) -> str:
        """What Split and intervals count: patients or cases."""
        return "patient" if self.metrics.get("unit") == "patient" else "case"

    @property
    def distance(self) -> str:
        """Unit of distances."""
        if self.prepared.fingerprint.spacings:
            return "mm"
        return "voxels" if self.solid else "pixels"

    @property
    def size(self) -> str:
        """Unit of volumes, or of areas of pictures."""
        if self.prepared.fingerprint.spacings:
            return "mL" if self.solid else "mm²"
        return "thousand voxels" if self.solid else "pixels"
