"""Curves and scores agree with MONAI's recorded ones (`record.froc_peer`)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from recipes.evaluation.froc import Marks, froc_curve, sensitivity_at

RECORDED = json.loads((Path(__file__).parent / "data" / "monai_froc.json").read_text())


@pytest.mark.parametrize("case", RECORDED["cases"])
def test_curves_and_scores_equal_monais(case: dict[str, object]) -> None:
    """MONAI leaves out the lowest threshold, so its curve ends a point earlier."""
    lesions, false = np.asarray(case["lesions"]), np.asarray(case["false"])
    rng = np.random.default_rng(0)
    images = int(str(case["images"]))
    marks = Marks(
        n_scans=images,
        lesion_scan=rng.integers(0, images, len(lesions)),
        lesion_score=np.where(lesions > 0, lesions, -np.inf),
        false_scan=rng.integers(0, images, len(false)),
        false_score=false,
        hits=int((lesions > 0).sum()),
        ignored=0,
    )
    curve = froc_curve(marks)
    np.testing.assert_allclose(curve.rate[:-1], np.asarray(case["rate"])[::-1], atol=1e-12)
    np.testing.assert_allclose(
        curve.sensitivity[:-1], np.asarray(case["sensitivity"])[::-1], atol=1e-12
    )
    found = sensitivity_at(curve, np.asarray(case["rates"], np.float64)).mean()
    assert found == pytest.approx(case["score"], abs=1e-12)
