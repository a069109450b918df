"""What can be asked of a classifier: the logit of a class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data_adapters.case import Case, Display
from data_adapters.chain import apply_chain
from recipes.classification.inference import network_image
from recipes.engine.joining import without_views
from recipes.engine.modelfile import load_model
from recipes.explaining.network import Explained, Floats
from recipes.explaining.questions import Mask, Question, check_label

_GEOMETRIC = ("planes", "channels", "resize")
"""Steps through which a mask can be sent as a picture."""


class ClassifierAsker:
    """A finished classifier.

    Attributes:
        record: What ``model.json`` says.
        network: Its network.
        class_names: Its classes.
        backbone: Name of its backbone.
        sha256: Hash of its weights.
        remarks: Sentences for the page.
    """

    def __init__(self, folder: Path) -> None:
        """Open the run of a folder.

        Raises:
            recipes.errors.RunFolderError: A file is missing or damaged.
        """
        model, self.record = load_model(folder)
        runs = self.record.runs
        if runs:  # views are part of the model, and a map of a mirrored case is none of the case
            model = without_views(model, [run.members for run in runs], kind=self.record.kind)
        self.network = Explained(model)
        self.class_names: Sequence[str] = self.record.class_names
        names = {run.backbone for run in runs} or {self.record.backbone}
        self.backbone: str | None = names.pop() if len(names) == 1 else None
        self.sha256 = self.record.model_sha256
        views = max(len(self.record.views), *(len(run.views) for run in runs), 1)
        self.remarks: Sequence[str] = (
            (f"The run averages {views} views of a case; the maps are of the case as it is.",)
            if views > 1
            else ()
        )

    def ask(self, case: Case, *, label: str | None, most: int) -> list[Question]:
        """The logit of a class: the given one, else that of the highest logit.

        The network sees the case as it is; where the run averages mirrored views, only the first
        is explained.

        Args:
            case: The case.
            label: A class; None for the predicted one.
            most: Has no meaning here: there is one question.
        """
        check_label(label, self.class_names)
        image, picture, planes = self.inputs(case)
        logits = self.network.outputs(image[None])[0]
        k = int(logits.argmax()) if label is None else list(self.class_names).index(label)
        weights = np.zeros(len(self.class_names), np.float32)
        weights[k] = 1.0
        name = self.class_names[k]
        plain = all(step["step"] in _GEOMETRIC for step in self.record.chain)
        return [
            Question(
                name=name,
                label=name,
                text=f"the logit of {name}",
                image=image,
                weights=weights,
                baseline=np.full_like(image, self.record.input_range[0]),
                picture=picture,
                planes=planes,
                back=np.asarray,
                truth=self._truth if plain and not planes else None,
                facts={"logit": float(logits[k])},
            )
        ]

    def inputs(self, case: Case) -> tuple[Floats, Case, bool]:
        """A case as the network sees it, as numbers and as a picture of 0 to 255."""
        image = network_image(case, self.record)
        chain = self.record.chain
        found = np.asarray(apply_chain(replace(case, image=image), chain), np.float32)
        low, high = self.record.input_range
        grey = np.clip((found - low) / (high - low), 0, 1) * 255 + 0.5
        picture = Case(grey.astype(np.uint8), case.case_id, display=Display(), meta=case.meta)
        return found, picture, any(step["step"] == "planes" for step in chain)

    def _truth(self, mask: Mask) -> Mask:
        """A mask on the network's grid: it goes the way of the picture."""
        as_picture: npt.NDArray[Any] = mask[..., None].astype(np.uint8) * 255
        return np.asarray(apply_chain(as_picture, self.record.chain)[..., 0] > 127)


def load(folder: Path) -> ClassifierAsker:
    """Open the run of a folder, to ask it.

    Raises:
        recipes.errors.RunFolderError: A file is missing or damaged.
    """
    return ClassifierAsker(folder)
