"""Class activation maps for the report: why a case got its answer, over its picture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from recipes.classification.thumbnails import Thumbnails
from recipes.explaining.cam import class_activation
from recipes.explaining.drawing import tinted
from recipes.explaining.errors import ExplainError
from recipes.explaining.network import Explained


class Maps:
    """Grad-CAM of a class over the pictures that may be shown."""

    def __init__(
        self, thumbnails: Thumbnails, model: Callable[[], keras.Model], classes: int
    ) -> None:
        """Keep the arguments; the network is opened with the first picture.

        Args:
            thumbnails: Pictures of cases, where they may be shown.
            model: Gives the network, which takes decoded cases.
            classes: Its logits.
        """
        self.thumbnails = thumbnails
        self.model = model
        self.classes = classes
        self._network: Explained | None = None
        self._refused = False

    def __call__(self, case_id: str, k: int) -> npt.NDArray[np.uint8] | None:
        """A case under the map of a class, uint8 ``(H, W, 3)``.

        Args:
            case_id: The case.
            k: Number of the class.

        Returns:
            None where the case is not to be shown, or the network has no map.
        """
        picture = self.thumbnails(case_id)
        if picture is None or self._refused:
            return None
        image: Any = self.thumbnails.stored(case_id)
        weights = np.zeros((1, self.classes), np.float32)
        weights[0, k] = 1.0
        try:
            if self._network is None:
                self._network = Explained(self.model())
            heat = class_activation(self._network, image[None], weights)[0]
        except ExplainError:
            self._refused = True
            return None
        return tinted(picture, heat)
