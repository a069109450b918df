"""What can be asked of a segmenter: the mean logit of a class over the region it predicts.

Vinogradova et al. (2020, arXiv:2002.11434), "Towards interpretable semantic segmentation via
gradient-weighted class activation mapping".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data_adapters.case import Case
from data_adapters.transforms.base import Undo
from data_adapters.transforms.compose import invert_probabilities
from recipes.errors import RecipeError
from recipes.explaining.network import Explained, Floats
from recipes.explaining.questions import Mask, Question, check_label
from recipes.segmentation.prediction import at_least
from recipes.segmentation.record import join
from recipes.segmentation.report.overlays import middle
from recipes.segmentation.segmenter import Segmenter, record_predictor

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Window:
    """The part of a case that the network sees at once.

    Attributes:
        image: ``(*patch, channels)``.
        places: Where it lies in the padded case, one slice for each axis of the network.
        inner: Where the case lies in the padded one, likewise.
        row: The slice of the volume that it is of, where the network sees slices; else None.
        shape: Grid of the case after the chain.
        undos: The way back from there.
    """

    image: Floats
    places: tuple[slice, ...]
    inner: tuple[slice, ...]
    row: int | None
    shape: tuple[int, ...]
    undos: tuple[Undo, ...]

    def spread(self, heat: Array) -> Array:
        """A map of the window on the grid of the case after the chain; 0 elsewhere."""
        sides = [max(w.stop, i.stop) for w, i in zip(self.places, self.inner, strict=True)]
        whole = np.zeros(sides, np.float32)
        whole[self.places] = heat
        whole = whole[self.inner]
        if self.row is None:
            return whole
        volume = np.zeros(self.shape, np.float32)
        volume[self.row] = whole
        return volume

    def back(self, heat: Array) -> Array:
        """A map of the window on the case's own grid; 0 elsewhere."""
        found = invert_probabilities(self.spread(heat)[..., None], self.undos, background=None)
        return np.asarray(found[..., 0])

    def cut(self, grid: Array) -> Array:
        """The window of an array on the grid after the chain; 0 where there is no case."""
        part = grid if self.row is None else grid[self.row]
        sides = [max(w.stop, i.stop) for w, i in zip(self.places, self.inner, strict=True)]
        whole = np.zeros(sides, part.dtype)
        whole[self.inner] = part
        found: Array = whole[self.places]
        return found


class SegmenterAsker:
    """A finished segmenter.

    Attributes:
        segmenter: The run.
        network: Its network; of an ensemble the mean of the members.
        class_names: Its classes but the background.
        backbone: None: its plan names it.
        sha256: Hash of its weights.
        remarks: Sentences for the page.
    """

    backbone: str | None = None
    remarks: Sequence[str] = (
        "The network was asked about one window around what it found; beyond it maps are 0.",
    )

    def __init__(self, segmenter: Segmenter) -> None:
        """Take an open run."""
        self.segmenter = segmenter
        self.record = segmenter.record
        self.predictor = record_predictor(self.record)
        members = self.predictor.ready(segmenter.members)
        self.network = Explained(join([member.core for member in members]))
        self.class_names: Sequence[str] = self.record.class_names[1:]
        self.sha256 = self.record.model_sha256

    def ask(self, case: Case, *, label: str | None, most: int) -> list[Question]:
        """The mean logit of a class over its predicted region, within one window around it.

        Args:
            case: The case.
            label: A class; None for the largest one that was found.
            most: Has no meaning here: there is one question.

        Returns:
            One question; none where nothing (or nothing of the class) was found.
        """
        check_label(label, self.class_names)
        image, undos = self.segmenter.ready(case)
        found = self.predictor.labels(
            self.predictor.ready(self.segmenter.members), image, mirrors=self.record.mirrors
        )
        counts = np.bincount(found.ravel(), minlength=len(self.class_names) + 1)
        counts[0] = 0
        k = int(counts.argmax()) if label is None else list(self.class_names).index(label) + 1
        if not counts[k]:
            return []
        region = found == k
        centre = middle(region, region, (1.0,) * region.ndim)
        window = self.window(image, undos, centre)
        inside = window.cut(region)
        weights = np.zeros((*inside.shape, len(self.class_names) + 1), np.float32)
        weights[..., k] = inside / inside.sum()
        name = self.class_names[k - 1]
        text = f"the mean logit of {name} over the {int(inside.sum())} voxels where it was found"
        return [self.question(case, window, weights, name=name, label=name, text=text)]

    def inputs(self, case: Case) -> tuple[Floats, Case, bool]:
        """The window around a case's middle."""
        image, undos = self.segmenter.ready(case)
        window = self.window(image, undos, [n // 2 for n in image.shape[:-1]])
        return window.image, Case(window.image[..., :1], case.case_id, meta=case.meta), False

    def window(self, image: Floats, undos: Sequence[Undo], centre: Sequence[int]) -> Window:
        """The window around a place, inside the case where that is large enough.

        Args:
            image: As `Segmenter.ready` gives it.
            undos: Likewise.
            centre: Voxel on its grid.
        """
        record = self.record
        row = None
        part: Array = image
        if image.ndim - 1 > record.axes:
            row, centre = int(centre[0]), centre[1:]
            part = self.predictor.slice_of(image, row)
        padded, inner = at_least(part, record.patch, record.fill)
        places = []
        sizes = zip(centre, record.patch, padded.shape[:-1], inner, strict=True)
        for place, side, whole, within in sizes:
            first = int(np.clip(place + within.indices(whole)[0] - side // 2, 0, whole - side))
            places.append(slice(first, first + side))
        inner = tuple(
            slice(*s.indices(n)[:2]) for s, n in zip(inner, padded.shape[:-1], strict=True)
        )
        return Window(
            image=np.asarray(padded[tuple(places)], np.float32),
            places=tuple(places),
            inner=inner,
            row=row,
            shape=image.shape[:-1],
            undos=tuple(undos),
        )

    def question(
        self,
        case: Case,
        window: Window,
        weights: Floats,
        *,
        name: str,
        label: str,
        text: str,
        facts: dict[str, float] | None = None,
    ) -> Question:
        """A question about a window of a case."""
        axes = tuple(range(window.image.ndim - 1))
        lowest = window.image.min(axis=axes, keepdims=True)
        fill = lowest if self.record.fill is None else np.full_like(lowest, self.record.fill)
        return Question(
            name=name,
            label=label,
            text=text,
            image=window.image,
            weights=weights,
            baseline=np.broadcast_to(fill, window.image.shape),
            picture=case,
            planes=False,
            back=window.back,
            truth=_same,
            facts=facts or {},
            focus=np.abs(weights).sum(axis=-1),
        )


def _same(mask: Mask) -> Mask:
    """Maps are brought to the case's own grid, where the truth is."""
    return mask


def load(folder: Path) -> SegmenterAsker:
    """Open the run of a folder, to ask it.

    Raises:
        recipes.errors.RunFolderError: A file is missing or damaged.
        RecipeError: The run holds no network that can be asked.
    """
    found = Segmenter.load(folder)
    if not found.members:
        raise RecipeError("the run holds no network")
    return SegmenterAsker(found)
