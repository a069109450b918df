"""Configuration of semi-supervised learning."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from recipes.config import Section


class SemiConfig(Section):
    """How cases without a label are used in phase 2; of no effect where there are none.

    Attributes:
        method: ``pseudo`` (pseudo-labels: Lee 2013, ICML workshop on challenges in representation
            learning), ``mean_teacher`` (Tarvainen and Valpola 2017, arXiv:1703.01780; the teacher's
            momentum is ``train.finetune.ema``, 0.99 where that is null) or ``fixmatch`` (Sohn et
            al. 2020, arXiv:2001.07685).
        blank: Use the cases of DATA whose label is blank as well.
        ratio: Unlabelled cases in a step for each labelled one.
        weight: Weight of the unlabelled loss; ``"auto"``: 1, for ``mean_teacher`` 10.
        ramp: Share of the steps in which that weight rises; ``"auto"``: 0 for ``fixmatch``, 0.4
            for the others, whose targets are worth little at first.
        threshold: Probability from which a pseudo-label counts (``pseudo`` and ``fixmatch``).
        align: Move the predictions on unlabelled cases to the class frequencies of the training
            part before they are compared with the threshold (distribution alignment, Berthelot et
            al. 2020, arXiv:1911.09785), so that pseudo-labels cannot drift to one class. Off where
            the unlabelled cases are of another mix.
        cutout: Largest side of the square that is painted over in the strong view, as a share of
            the picture's side (DeVries and Taylor 2017, arXiv:1708.04552); 0 has none.
        steps: Steps of an epoch; ``"auto"`` looks at each unlabelled case once.
        own_ids: The patient ids of the unlabelled cases are another list's than those of DATA, so
            that equal ids mean nothing.
    """

    method: Literal["pseudo", "mean_teacher", "fixmatch"] = "fixmatch"
    blank: bool = False
    ratio: Annotated[int, Field(ge=1, le=64)] = 2
    weight: Literal["auto"] | Annotated[float, Field(gt=0)] = "auto"
    ramp: Literal["auto"] | Annotated[float, Field(ge=0, le=1)] = "auto"
    threshold: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    align: bool = True
    cutout: Annotated[float, Field(ge=0, le=0.9)] = 0.3
    steps: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    own_ids: bool = False

    @property
    def loss_weight(self) -> float:
        """The weight, ``auto`` resolved."""
        if self.weight != "auto":
            return self.weight
        return 10.0 if self.method == "mean_teacher" else 1.0

    @property
    def rise(self) -> float:
        """The ramp, ``auto`` resolved."""
        if self.ramp != "auto":
            return self.ramp
        return 0.0 if self.method == "fixmatch" else 0.4
