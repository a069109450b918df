"""Calibrated chances are those that hits have."""

from __future__ import annotations

import numpy as np
import pytest

from recipes.detection.calibrating import chances, fit_lines
from recipes.detection.candidates import Found
from recipes.detection.scoring import Scan
from recipes.detection.truth import Marks
from recipes.evaluation.froc import HitRule


def test_chances_are_the_share_of_hits() -> None:
    """Scores that claim too much: a score of log odds z hits with log odds z / 2 - 1."""
    rng = np.random.default_rng(0)
    scans = []
    for row in range(400):
        odds = rng.normal(0, 2, 10)
        hits = rng.uniform(size=10) < 1 / (1 + np.exp(-(odds / 2 - 1)))
        places = np.stack([np.arange(10) * 20.0, np.zeros(10)], axis=1)
        boxes = np.concatenate([places, places + 4], axis=1)
        found = Found(np.zeros(10, np.int64), 1 / (1 + np.exp(-odds)), places + 1.5, boxes)
        lesions = Marks(np.zeros(hits.sum(), np.int64), boxes[hits], np.full(hits.sum(), 2.0))
        scans.append(Scan(row, f"c{row}", None, lesions, found, np.ones(2), (200, 4)))
    lines = fit_lines(scans, HitRule(), 2)
    assert lines[0] is not None
    assert lines[0] == (pytest.approx(0.5, abs=0.06), pytest.approx(-1, abs=0.12))
    assert lines[1] is None, "the second class has no candidate"
    labels = np.array([0, 0, 1])
    found_chances = chances(np.array([0.5, 1.0, 0.5]), labels, lines)
    assert found_chances[0] == pytest.approx(1 / (1 + np.e), abs=0.03)
    assert found_chances[1] > 0.99
    assert np.isnan(found_chances[2])
