"""Neighbours, overlap, labels and clusters against scikit-learn and plain loops."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import silhouette_score
from sklearn.neighbors import NearestNeighbors

from recipes.errors import RecipeError
from recipes.similarity.clusters import agreement, clusterings
from recipes.similarity.labels import confident_joint, crossed_probabilities, suspected_labels
from recipes.similarity.neighbours import nearest
from recipes.similarity.overlap import class_overlap, neighbour_errors
from recipes.similarity.projection import project


def blobs(
    n: int, *, apart: float, classes: int = 2, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    return rng.normal(size=(n, 6)) + apart * np.eye(6)[labels], labels


def test_neighbours_are_those_of_scikit_learn() -> None:
    x, _ = blobs(120, apart=1.0)
    found, far = nearest(x + 1000.0, np.arange(120), k=4)
    distances, rows = NearestNeighbors(n_neighbors=5).fit(x).kneighbors(x)
    np.testing.assert_array_equal(found, rows[:, 1:])
    np.testing.assert_allclose(far, distances[:, 1:], rtol=1e-6)


def test_a_patient_s_own_images_are_no_neighbours() -> None:
    x = np.asarray([[0.0], [0.1], [0.2], [5.0]])
    found, far = nearest(x, np.asarray([7, 7, 7, 8]), k=3)
    assert found.tolist() == [[3, -1, -1], [3, -1, -1], [3, -1, -1], [2, 1, 0]]
    assert np.isinf(far[0, 1:]).all()
    among = np.asarray([True, False, False, True])
    assert nearest(x, np.arange(4), k=1, among=among)[0][:, 0].tolist() == [3, 0, 0, 0]
    with pytest.raises(RecipeError, match="not finite"):
        nearest(np.asarray([[np.nan]]), np.zeros(1, int), k=1)
    with pytest.raises(RecipeError, match="do not fit"):
        nearest(x, np.arange(4), k=0)


def test_overlap_is_what_loops_find() -> None:
    x, labels = blobs(90, apart=1.2, classes=3, seed=1)
    groups = np.arange(90) // 2
    found = class_overlap(x, labels, groups, ("a", "b", "c"), k=5, n_boot=100)
    assert found["silhouette"]["value"] == pytest.approx(silhouette_score(x, labels))

    def error(i: int, rows: list[int]) -> float:
        others = sorted(
            (j for j in rows if groups[j] != groups[i]), key=lambda j: np.linalg.norm(x[i] - x[j])
        )[:5]
        votes = [sum(labels[j] == c for j in others) for c in range(3)]
        tied = [c for c in range(3) if votes[c] == max(votes)]
        return 1 - (labels[i] in tied) / len(tied)

    everything = list(range(90))
    expected = np.mean([error(i, everything) for i in everything])
    assert found["neighbour_error"]["value"] == pytest.approx(expected)
    assert found["neighbour_error"]["low"] < expected < found["neighbour_error"]["high"]
    pair = next(p for p in found["pairs"] if (p["first"], p["second"]) == ("a", "c"))
    rows = [i for i in everything if labels[i] != 1]
    own = [np.mean([error(i, rows) for i in rows if labels[i] == c]) for c in (0, 2)]
    assert pair["overlap"] == pytest.approx(np.mean(own))


def test_classes_far_apart_do_not_overlap_and_equal_ones_do() -> None:
    x, labels = blobs(200, apart=9.0, seed=2)
    assert neighbour_errors(x, labels, np.arange(200)).sum() == 0
    same, labels = blobs(600, apart=0.0, seed=3)
    found = class_overlap(same, labels, np.arange(600), ("a", "b"), n_boot=0)
    assert found["pairs"][0]["overlap"] == pytest.approx(0.5, abs=0.1)
    one = class_overlap(x, np.zeros(200, int), np.arange(200), ("a", "b"))
    assert one["pairs"] == []
    assert one["silhouette"]["value"] is None


def test_the_confident_joint_of_a_small_example() -> None:
    prob = np.asarray([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.1, 0.9], [0.6, 0.4], [0.55, 0.45]])
    labels = np.asarray([0, 0, 0, 1, 1, 1])
    # Thresholds: class 0 mean(.9, .7, .2) = 0.6; class 1 mean(.9, .4, .45) = 0.583.
    joint, confident = confident_joint(labels, prob)
    assert confident.tolist() == [0, 0, 1, 1, 0, -1]
    assert joint.tolist() == [[2, 1], [1, 1]]
    found = suspected_labels(labels, prob)
    assert [(s.row, s.given, s.suggested) for s in found] == [(2, 0, 1), (4, 1, 0)]
    assert [s.margin for s in found] == pytest.approx([-0.6, -0.2])


def test_planted_label_errors_are_found() -> None:
    x, truth = blobs(600, apart=3.5, classes=3, seed=4)
    rng = np.random.default_rng(5)
    planted = rng.choice(600, 30, replace=False)
    given = truth.copy()
    given[planted] = (truth[planted] + rng.integers(1, 3, 30)) % 3
    prob = crossed_probabilities(x, given, np.arange(600), seed=0)
    assert prob is not None
    np.testing.assert_allclose(prob.sum(axis=1), 1.0)
    found = suspected_labels(given, prob)
    rows = {s.row for s in found}
    # A class's threshold is the mean over its cases, so the less certain of the wrong ones are
    # passed over: two thirds are found (20 to 25 of 30 by seed), and next to nothing else.
    assert len(rows & set(planted)) >= 18
    assert len(rows & set(planted)) / len(rows) > 0.9
    right = [s for s in found if s.row in set(planted)]
    assert np.mean([s.suggested == truth[s.row] for s in right]) > 0.95
    assert {s.row for s in found[:15]} <= set(planted)


def test_probabilities_are_out_of_sample() -> None:
    """On labels without any signal they cannot beat chance, which in-sample ones would."""
    rng = np.random.default_rng(6)
    x, labels = rng.normal(size=(200, 80)), rng.integers(0, 2, 200)
    prob = crossed_probabilities(x, labels, np.arange(200), seed=0)
    assert prob is not None
    assert np.mean(prob.argmax(axis=1) == labels) < 0.62
    few = np.asarray([0] * 196 + [1] * 4)
    assert crossed_probabilities(x, few, np.arange(200)) is None


def test_clusters_find_groups_and_say_how_far_they_are_the_classes() -> None:
    x, labels = blobs(120, apart=9.0, classes=3, seed=7)
    found, numbers = clusterings(x, labels, np.arange(120), n_boot=40)
    assert found["k"] == 3
    assert sorted(found["sizes"]) == [40, 40, 40]
    assert found["ari"]["value"] == pytest.approx(1.0)
    assert found["nmi"]["low"] == pytest.approx(1.0)
    assert found["ari"]["chance"] < 0.05
    best = next(row for row in found["tried"] if row["k"] == 3)
    assert best["silhouette"] == pytest.approx(silhouette_score(x, numbers))
    shuffled = np.random.default_rng(8).permutation(labels)
    by_chance = agreement(shuffled, numbers, np.arange(120), n_boot=100, seed=0)
    assert by_chance["ari"]["value"] < by_chance["ari"]["chance"] + 0.05
    assert clusterings(x, None, np.arange(120), ks=(2,), n_boot=0)[0].keys() == {
        "tried",
        "k",
        "sizes",
    }
    with pytest.raises(RecipeError, match="nothing to cluster"):
        clusterings(np.ones((5, 2)), None, np.arange(5))


def test_chance_keeps_the_cases_of_a_patient_together() -> None:
    """Two patients of many images agree or disagree as wholes: chance is anything, not zero."""
    groups = np.repeat([0, 1], 40)
    found = agreement(groups.copy(), groups.copy(), groups, n_boot=40, seed=0)
    assert found["ari"]["chance"] == pytest.approx(1.0)


def test_a_map_keeps_groups_apart_and_repeats() -> None:
    x, labels = blobs(60, apart=12.0, seed=9)
    flat = project(x, seed=1)
    assert flat.shape == (60, 2)
    assert flat.min() >= 0
    assert flat.max() <= 1
    assert neighbour_errors(flat, labels, np.arange(60), k=3).mean() < 0.05
    np.testing.assert_array_equal(flat, project(x, seed=1))
    with pytest.raises(RecipeError, match="too few for a map"):
        project(x[:3])
    with pytest.raises(RecipeError, match="known: tsne, umap"):
        project(x, way="pca")  # type: ignore[arg-type]


def test_umap_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(RecipeError, match="pip install 'radzoo\\[umap\\]'"):
        project(np.random.default_rng(0).normal(size=(9, 3)), way="umap")


def test_umap_is_asked_for_a_seeded_map_that_is_brought_to_the_unit_square(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[dict[str, int]] = []

    class Fake:
        def __init__(self, **options: int) -> None:
            asked.append(options)

        def fit_transform(self, x: np.ndarray) -> np.ndarray:
            return x[:, :2] * [10, 5] - 3

    x = np.random.default_rng(0).normal(size=(40, 60))
    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=Fake, __spec__=object()))
    flat = project(x, way="umap", seed=4)
    assert asked == [{"n_neighbors": 13, "random_state": 4, "n_jobs": 1}]
    assert np.ptp(flat, axis=0).max() == pytest.approx(1.0)
    assert flat.min() >= 0
    project(x[:5], way="umap")
    assert asked[1]["n_neighbors"] == 2
