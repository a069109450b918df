"""Average precision equals a count by hand and a slow reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from recipes.evaluation.froc import Candidates, Findings, average_precision, detections


def boxes(rows: list[tuple[int, list[float]]]) -> Findings:
    box = np.asarray([one for _, one in rows], float).reshape(-1, 4)
    scan = np.asarray([scan for scan, _ in rows], np.int64)
    return Findings(scan=scan, centre=(box[:, :2] + box[:, 2:]) / 2, box=box)


def marks(rows: list[tuple[int, list[float], float]]) -> Candidates:
    found = boxes([(scan, box) for scan, box, _ in rows])
    score = np.asarray([score for *_, score in rows], float)
    return Candidates(scan=found.scan, centre=found.centre, box=found.box, score=score)


def test_what_is_counted_by_hand() -> None:
    truth = boxes([(0, [0, 0, 10, 10]), (0, [20, 20, 30, 30]), (1, [0, 0, 10, 10])])
    found = marks([
        (0, [0, 0, 10, 10], 0.9),      # true
        (0, [0, 0, 10, 9], 0.8),       # the same lesion again: false
        (1, [0, 0, 10, 6], 0.7),       # IoU 0.6: true at 0.5
        (1, [50, 50, 60, 60], 0.6),    # false
        (0, [20, 20, 30, 22], 0.5),    # IoU 0.2: true at 0.1
    ])  # fmt: skip
    strict = average_precision(detections(2, truth, found, iou=0.5), n_boot=0)
    assert strict["value"] == pytest.approx((1 + 2 / 3) / 3)
    loose = average_precision(detections(2, truth, found, iou=0.1), n_boot=0)
    assert loose["value"] == pytest.approx((1 + 2 / 3 + 3 / 5) / 3)


def test_a_candidate_takes_the_free_lesion_that_it_overlaps() -> None:
    truth = boxes([(0, [0, 0, 10, 10]), (0, [4, 0, 14, 10])])
    found = marks([(0, [0, 0, 10, 10], 0.9), (0, [1, 0, 11, 10], 0.8)])
    assert detections(1, truth, found, iou=0.5).true.tolist() == [True, True]


def slow(n_scans: int, truth: Findings, found: Candidates, iou: float) -> float:
    """Precision at every recall, written plainly."""
    taken: set[int] = set()
    hits = []
    assert truth.box is not None
    assert found.box is not None
    for k in np.argsort(-found.score, kind="stable"):
        best, which = iou, -1
        for m in range(len(truth.scan)):
            if truth.scan[m] != found.scan[k] or m in taken:
                continue
            a, b = truth.box[m], found.box[k]
            side = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
            both = max(side[0], 0) * max(side[1], 0)
            union = (a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - both
            if both / union >= best:
                best, which = both / union, m
        hits.append(which >= 0)
        if which >= 0:
            taken.add(which)
    true = np.cumsum(hits)
    precision = true / np.arange(1, len(hits) + 1)
    return float(sum(precision[k:].max() for k in range(len(hits)) if hits[k]) / len(truth.scan))


@pytest.mark.parametrize("seed", range(4))
def test_random_boxes_equal_the_slow_reference(seed: int) -> None:
    rng = np.random.default_rng(seed)

    def some(count: int) -> list[tuple[int, Any]]:
        low = rng.uniform(0, 30, (count, 2))
        box = np.concatenate([low, low + rng.uniform(5, 20, (count, 2))], axis=1)
        return list(zip(rng.integers(0, 8, count).tolist(), box.tolist(), strict=True))

    truth = boxes(some(25))
    found = marks([(s, b, float(rng.uniform())) for s, b in some(120)])
    for iou in (0.1, 0.5):
        value = average_precision(detections(8, truth, found, iou=iou), n_boot=200)
        assert value["value"] == pytest.approx(slow(8, truth, found, iou))
        assert value["low"] <= value["value"] <= value["high"]


def test_nothing_found_and_nothing_to_find() -> None:
    truth = boxes([(0, [0, 0, 1, 1])])
    assert average_precision(detections(2, truth, marks([]), iou=0.5))["value"] == 0
    found = marks([(0, [0, 0, 1, 1], 0.5)])
    assert average_precision(detections(2, boxes([]), found, iou=0.5))["value"] is None
