"""Batches of self-supervised pretraining: two views of each case, or a case and what is hidden."""

from __future__ import annotations

from typing import Any

import cv2
import keras
import numpy as np
import numpy.typing as npt

from data_adapters.augment import Augmenter
from recipes.fewlabels.config import PretrainConfig
from recipes.fewlabels.learners import hidden_patches

_CROP, _HIDE = 3, 5
"""Keep the draws of crops and of hidden patches apart from the augmenter's."""


def random_crop(
    picture: npt.NDArray[Any], rng: np.random.Generator, *, least: float
) -> npt.NDArray[Any]:
    """A part of a picture, of its proportions, enlarged to its size.

    The aspect is kept: stretched anatomy is another finding.

    Args:
        picture: ``(H, W, C)``.
        rng: Source of size and place.
        least: Smallest share of the area.
    """
    height, width = picture.shape[:2]
    side = np.sqrt(rng.uniform(least, 1.0))
    tall, wide = max(1, round(side * height)), max(1, round(side * width))
    y = int(rng.integers(0, height - tall + 1))
    x = int(rng.integers(0, width - wide + 1))
    part = np.ascontiguousarray(picture[y : y + tall, x : x + wide])
    grown = cv2.resize(part, (width, height), interpolation=cv2.INTER_LINEAR)
    return grown.reshape(picture.shape)


class ViewBatches(keras.utils.PyDataset):
    """One epoch; every draw is a function of (seed, epoch, case). A last, smaller batch is left."""

    def __init__(
        self,
        images: npt.NDArray[Any],
        rows: npt.NDArray[np.int64],
        config: PretrainConfig,
        augmenter: Augmenter,
        *,
        epoch: int,
        batch: int,
        patches: int,
    ) -> None:
        """Draw the order of the epoch; copy nothing.

        Args:
            images: ``(N, H, W, C)``.
            rows: Cases that are learnt from, at least a batch of them.
            config: Method, views and seed.
            augmenter: Applied to every view.
            epoch: From 1.
            batch: Cases in a step.
            patches: Patches along each side, some of which ``masked`` hides.
        """
        super().__init__(workers=1)
        self.images = images
        self.config = config
        self.augmenter = augmenter
        self.epoch = epoch
        self.batch = batch
        self.patches = patches
        rng = np.random.default_rng([config.seed, epoch])
        self.order = rng.permutation(rows)

    def __len__(self) -> int:
        """Batches in the epoch."""
        return len(self.order) // self.batch

    def __getitem__(self, index: int) -> tuple[tuple[Any, Any], Any]:
        """Batch ``index``: two inputs, and zeros where Keras wants targets."""
        size = self.batch
        chosen = self.order[index * size : (index + 1) * size]
        make = self._masked if self.config.method == "masked" else self._views
        pairs = [make(int(row)) for row in chosen]
        first, second = (np.stack(column).astype("float32") for column in zip(*pairs, strict=True))
        return (first, second), np.zeros((size, 1), "float32")

    def _views(self, row: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        picture = np.asarray(self.images[row])
        one, other = (self._view(picture, row, view) for view in (0, 1))
        return one, other

    def _view(self, picture: npt.NDArray[Any], row: int, view: int) -> npt.NDArray[Any]:
        key = (2 * self.config.seed + view, self.epoch, row)
        rng = np.random.default_rng([*key, _CROP])
        part = random_crop(picture, rng, least=self.config.views.crop)
        return np.asarray(self.augmenter(part, key))

    def _masked(self, row: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        key = (self.config.seed, self.epoch, row)
        picture = self.augmenter(np.asarray(self.images[row]), key)
        views = self.config.views
        hidden = hidden_patches(
            np.random.default_rng([*key, _HIDE]),
            (picture.shape[0], picture.shape[1]),
            patches=self.patches,
            share=views.hidden,
        )
        return np.asarray(picture), hidden
