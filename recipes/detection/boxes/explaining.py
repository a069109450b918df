"""What can be asked of a detector of boxes: the logit of the place that gave a candidate."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from data_adapters.case import Case
from data_adapters.transforms.base import Undo
from data_adapters.transforms.compose import invert_probabilities
from recipes.detection.asking import Candidate, candidates, remarks
from recipes.detection.boxes.finder import BoxFinder
from recipes.detection.boxes.windows import SIZES, Glimpse, Sized
from recipes.detection.detector import Detector
from recipes.explaining.network import Array, Explained, Floats
from recipes.explaining.questions import Question
from zoo.boxes import box_levels, box_places, class_logits


class BoxAsker:
    """A finished detector whose first stage gives boxes directly.

    A candidate is the highest of the boxes that overlap, and that box is of one place of one level
    of the pyramid, in one window or the whole picture. What is explained is the logit of its class
    there, before the sigmoid, on the very input from which the box came.

    Attributes:
        detector: The run.
        network: Its network, without the distances to the faces, for its own size of window.
        class_names: Its classes of lesions.
        backbone: Name of its backbone.
        sha256: Hash of all that it says of itself.
        remarks: Sentences for the page.
    """

    def __init__(self, detector: Detector, first: BoxFinder, *, backbone: str, sha256: str) -> None:
        """Take an open run and its first stage."""
        self.detector, self.first = detector, first
        self.network = _explained(first.windows.own)
        self._networks = {first.windows.own.sides: self.network}
        self.class_names: Sequence[str] = detector.record.class_names
        self.backbone: str | None = backbone
        self.sha256 = sha256
        self.remarks: Sequence[str] = (
            "A candidate is explained by the logit of its class at the one place of the pyramid "
            "that gave its box, on the input that the network saw then; beyond it maps are 0.",
            "Class activation maps weigh every value of a map by its own gradient (as ODAM does, "
            "Zhao and Chan, 2023), for the score is of one place.",
            *remarks(detector),
        )

    def ask(self, case: Case, *, label: str | None, most: int) -> list[Question]:
        """The logit of a candidate's class at the place that gave its box.

        Args:
            case: The case.
            label: Candidates of this class alone; None for all.
            most: Candidates, those of the highest scores.

        Returns:
            A question for each candidate.
        """
        found = self.detector.find(case)
        assert found.origins is not None, "a detector of boxes says where they come from"
        image, _, undos = self.first.ready(case)
        mirrors = self.first.record.mirrors
        questions = []
        for one in candidates(self.detector, case, found, label=label, most=most):
            glimpse = self.first.windows.glimpse(image, found.origins[one.row], mirrors)
            questions.append(self._question(case, image, undos, glimpse, one))
        return questions

    def inputs(self, case: Case) -> tuple[Floats, Case, bool]:
        """The window around a case's middle."""
        image, _, _ = self.first.ready(case)
        window = self.first.windows.middle(image)
        shown = window if window.ndim == 3 and window.shape[-1] == 3 else window[..., :1]
        return window, Case(shown, case.case_id, meta=case.meta), False

    def _question(
        self, case: Case, image: Floats, undos: Sequence[Undo], glimpse: Glimpse, one: Candidate
    ) -> Question:
        network = self._network(glimpse.network)
        shape = tuple(int(n or 0) for n in network.output_shape)
        weights = np.zeros(shape, np.float32)
        weights[glimpse.place, one.label] = 1.0
        lowest = image.min(axis=tuple(range(image.ndim - 1)))
        return Question(
            name=one.question,
            label=one.name,
            text=f"the logit of {one.name} at the place that gave {one.described}",
            image=glimpse.image,
            weights=weights,
            baseline=np.broadcast_to(lowest, glimpse.image.shape),
            picture=case,
            planes=False,
            back=partial(_back, glimpse, undos),
            truth=np.asarray,
            facts={"candidate_score": one.score},
            focus=_cell(glimpse),
            network=network,
            local=True,
            region=one.box,
        )

    def _network(self, sized: Sized) -> Explained:
        """The network of a size; as many are kept as the windows keep."""
        if sized.sides not in self._networks:
            if len(self._networks) > SIZES:
                del self._networks[list(self._networks)[1]]  # the first is that of windows
            self._networks[sized.sides] = _explained(sized)
        return self._networks[sized.sides]


def _explained(sized: Sized) -> Explained:
    """The logits alone: activations of the distances concern no class."""
    maps = [f"boxes_{level}_smooth" for level in box_levels(sized.model)]
    return Explained(class_logits(sized.model), maps=maps)


def _cell(glimpse: Glimpse) -> Floats:
    """The voxels for which the place stands."""
    middles, strides = box_places(glimpse.network.model)
    middle, half = middles[glimpse.place], strides[glimpse.place] / 2
    found = np.zeros(glimpse.network.sides, np.float32)
    ends = zip(middle - half, middle + half, strict=True)
    found[tuple(slice(max(0, int(low)), int(high)) for low, high in ends)] = 1.0
    return found


def _back(glimpse: Glimpse, undos: Sequence[Undo], heat: Array) -> Array:
    """A map of the window on the case's own grid; 0 elsewhere."""
    found = invert_probabilities(glimpse.spread(heat)[..., None], undos, background=None)
    return np.asarray(found[..., 0])
