"""Pictures of cases for the report: only where no text is burned into them, or the user says so."""

from __future__ import annotations

from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from data_adapters.adapter import Adapter
from data_adapters.cache import Decoded
from data_adapters.case import Case
from data_adapters.errors import CaseError

Pictures = Literal["auto", "yes", "no"]

NOTES: dict[str, str] = {
    "auto": (
        "Pictures of cases are shown only where the DICOM header says that nothing is burned in "
        "(BurnedInAnnotation NO). Names may be written into the others: look at them, and if "
        "there is no text, give the same command with --pictures yes to have them shown here."
    ),
    "yes": "Pictures of cases are shown because the user confirmed that they hold no text.",
    "no": "Pictures of cases are left out, as asked.",
}


def may_show(case: Case, pictures: Pictures) -> bool:
    """Whether a case may be shown: all, none, or what its header says is free of text."""
    return pictures == "yes" or (pictures == "auto" and case.meta.get("burned_in") == "NO")


class Pictured(Protocol):
    """Decoded cases of an adapter, and the values that black and white stand for."""

    @property
    def adapter(self) -> Adapter:
        """Where the cases come from."""

    @property
    def decoded(self) -> Decoded:
        """Their pictures."""

    @property
    def input_range(self) -> tuple[float, float]:
        """Modality units."""


class Thumbnails:
    """Pictures drawn from the decoded inputs."""

    def __init__(self, prepared: Pictured, pictures: Pictures) -> None:
        """Index the cases by id.

        Args:
            prepared: The run's data, or other decoded cases.
            pictures: ``auto``: where the header says that nothing is burned in; ``yes``: all;
                ``no``: none.
        """
        self.prepared = prepared
        self.pictures = pictures
        self.places = {row.case_id: i for i, row in enumerate(prepared.adapter.index)}
        self._clean: dict[int, bool] = {}

    def __call__(self, case_id: str) -> npt.NDArray[np.uint8] | None:
        """A case as uint8 ``(H, W)`` or ``(H, W, 3)``; None where it is not to be shown."""
        place = self.places.get(case_id)
        if place is None or not self._may_show(place):
            return None
        low, high = self.prepared.input_range
        image = (self.stored(case_id) - low) / (high - low)
        pixels = np.asarray(np.clip(image, 0, 1) * 255 + 0.5, "uint8")
        return pixels[..., 0] if pixels.shape[-1] == 1 else pixels

    def stored(self, case_id: str) -> npt.NDArray[np.float32]:
        """A case as the network is given it, ``(H, W, C)`` in modality units."""
        found: Any = self.prepared.decoded.images[self.places[case_id]]
        return np.asarray(found, np.float32)

    def _may_show(self, place: int) -> bool:
        if self.pictures != "auto":
            return self.pictures == "yes"
        if place not in self._clean:
            try:
                self._clean[place] = may_show(self.prepared.adapter[place], self.pictures)
            except CaseError:
                self._clean[place] = False
        return self._clean[place]
