"""ISBI 2012's scores against scikit-image, closed forms and a plain loop."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import ndimage
from skimage.metrics import adapted_rand_error, contingency_table, variation_of_information

from recipes.errors import RecipeError
from recipes.evaluation.masks import best_membrane_scores, membrane_scores
from recipes.evaluation.masks.membranes import components, pair_scores, thinned


def cells(seed: int, shape: tuple[int, int] = (60, 70), *, noise: float = 0.0) -> Any:
    """Cells of a random pattern of membranes three pixels wide: 255 cell, 0 membrane."""
    rng = np.random.default_rng(5)
    seeds = rng.integers(0, shape, (14, 2))
    grid = np.indices(shape)
    apart = np.stack([(grid[0] - y) ** 2 + (grid[1] - x) ** 2 for y, x in seeds])
    near = np.sort(np.sqrt(apart), axis=0)
    mask = near[1] - near[0] > 2.5
    flips = np.random.default_rng(seed).random(shape) < noise
    return np.where(mask ^ flips, 255, 0).astype(np.uint8)


@pytest.mark.parametrize("seed", range(4))
def test_scores_equal_scikit_images(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(6), 50)
    guess = np.where(rng.random(300) < 0.8, truth, rng.integers(0, 5, 300))
    inside = truth > 0
    # Pixels without a segment are segments of their own, which scikit-image does not know.
    apart = np.where(guess == 0, 1000 + np.arange(300), guess)
    ours = pair_scores(truth[inside], guess[inside])
    table = contingency_table(truth, apart, ignore_labels=[0], normalize=False)
    n = table.sum()
    joint, a, b = (np.asarray(v, float) for v in (table.data, table.sum(1), table.sum(0)))
    assert ours["v_rand"] == pytest.approx(
        (joint**2).sum() / (0.5 * (a**2).sum() + 0.5 * (b**2).sum())
    )
    # Theirs leaves out the pairs of a pixel with itself, and divides by the truth's pairs first.
    error, by_truth, by_guess = adapted_rand_error(truth, apart)
    true, mine = float((a**2).sum()), float((b**2).sum())
    assert ours["v_rand_split"] == pytest.approx((by_truth * (true - n) + n) / true)
    assert ours["v_rand_merge"] == pytest.approx((by_guess * (mine - n) + n) / mine)
    assert ours["v_rand"] == pytest.approx(1 - error, abs=0.02)
    # Entropies in bits, ours in nats: quotients agree.
    splits, mergers = variation_of_information(truth, apart, ignore_labels=[0])
    sizes = np.unique(truth[inside], return_counts=True)[1] / inside.sum()
    entropy = float(-(sizes * np.log2(sizes)).sum())
    shared = entropy - mergers
    assert ours["v_info_merge"] == pytest.approx(shared / entropy)
    assert ours["v_info_split"] == pytest.approx(shared / (shared + splits))
    assert ours["v_info"] == pytest.approx(2 * shared / (entropy + shared + splits))


def test_rand_by_counting_pairs() -> None:
    rng = np.random.default_rng(8)
    truth, guess = rng.integers(1, 4, 40), rng.integers(0, 4, 40)
    alone = np.where(guess == 0, -np.arange(40) - 1, guess)
    same_truth = truth[:, None] == truth[None]
    same_guess = alone[:, None] == alone[None]
    both = (same_truth & same_guess).sum()
    scores = pair_scores(truth, guess)
    assert scores["v_rand"] == pytest.approx(2 * both / (same_truth.sum() + same_guess.sum()))
    assert scores["v_rand_split"] == pytest.approx(both / same_truth.sum())
    assert scores["v_rand_merge"] == pytest.approx(both / same_guess.sum())


def test_a_split_and_a_merger_in_closed_form() -> None:
    truth = np.array([[1] * 8 + [0] + [1] * 8])
    truth = np.repeat(truth, 4, axis=0)
    split = truth.copy()
    split[2:3] = 1
    split[:, 4] = 0  # a membrane through the left cell
    scores = membrane_scores(truth, split, thin=False)
    # 64 pixels: the left cell becomes 16 + 12 and 4 pixels alone, the third row joins both cells.
    assert scores["pixel_accuracy"] == pytest.approx(1 - (4 + 1) / 68)
    merged = membrane_scores(truth, np.ones_like(truth))
    assert merged["v_rand_merge"] == pytest.approx(0.5)
    assert merged["v_rand_split"] == 1.0
    assert merged["v_rand"] == pytest.approx(0.5 / 0.75)
    assert merged["v_info"] == 0.0
    halves = pair_scores(np.ones(10, int), np.repeat([1, 2], 5))
    assert halves["v_rand_split"] == pytest.approx(0.5)
    assert (halves["v_rand_merge"], halves["v_info"]) == (1.0, 0.0)
    same = pair_scores(np.ones(10, int), np.ones(10, int))
    assert set(same.values()) == {1.0}


def test_perfect_and_thick_membranes() -> None:
    truth = cells(0)
    perfect = membrane_scores(truth, truth)
    assert all(value == pytest.approx(1.0) for value in perfect.values())
    thick = ndimage.binary_erosion(truth > 0, iterations=1, border_value=1)
    loose = membrane_scores(truth, thick, thin=False)
    thin = membrane_scores(truth, thick)
    assert loose["v_rand"] < thin["v_rand"]
    assert loose["v_info"] < thin["v_info"]
    assert loose["pixel_accuracy"] == thin["pixel_accuracy"] < 1
    worse = membrane_scores(truth, cells(1, noise=0.03))
    assert worse["v_info"] < perfect["v_info"]


def test_thinning_leaves_borders_of_one_pixel_and_every_segment() -> None:
    before = components(ndimage.binary_erosion(cells(0) > 0, border_value=1))
    after = thinned(before)
    assert set(np.unique(after)) == set(np.unique(before))
    assert (after[before > 0] == before[before > 0]).all()
    assert (after == 0).mean() < 0.5 * (before == 0).mean()
    # No two segments touch by a side, and every border pixel is needed to keep two apart.
    for axis in (0, 1):
        one, two = (np.take(after, range(k, after.shape[axis] - 1 + k), axis) for k in (0, 1))
        assert not ((one > 0) & (two > 0) & (one != two)).any()
    # Some do by a corner: borders turn corners without filling them.
    one, two = after[:-1, :-1], after[1:, 1:]
    assert ((one > 0) & (two > 0) & (one != two)).any()
    for y, x in np.argwhere(after == 0):
        near = after[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
        assert len(set(near.ravel().tolist()) - {0}) >= 2
    nothing = np.zeros((4, 4), int)
    assert (thinned(nothing) == 0).all()
    assert (thinned(nothing + 3) == 3).all()


def test_a_stack_is_the_mean_of_its_slices_without_void() -> None:
    stack = np.stack([cells(0), cells(0)]).astype(np.int16)
    guess = np.stack([cells(1, noise=0.02), cells(2, noise=0.1)])
    both = membrane_scores(stack, guess)
    alone = [membrane_scores(t, g) for t, g in zip(stack, guess, strict=True)]
    for name, value in both.items():
        assert value == pytest.approx((alone[0][name] + alone[1][name]) / 2)
    stack[1] = -1
    assert membrane_scores(stack, guess) == pytest.approx(alone[0])
    nothing = membrane_scores(np.zeros((4, 4)), np.ones((4, 4)))
    assert math.isnan(nothing["v_rand"])
    assert nothing["pixel_accuracy"] == 0.0


def test_the_best_threshold() -> None:
    rng = np.random.default_rng(2)
    truth = cells(0)
    probability = np.clip((truth > 0) * 0.35 + rng.uniform(0, 0.3, truth.shape), 0, 1)
    best = best_membrane_scores(truth, probability)
    assert best["threshold"] == pytest.approx(0.3)
    assert best["v_rand"] == max(row["v_rand"] for row in best["curve"]) == pytest.approx(1.0)
    assert len(best["curve"]) == 10
    one = membrane_scores(truth, probability, threshold=0.5)
    assert one.items() <= best["curve"][5].items()


@pytest.mark.parametrize(
    ("truth", "guess", "more", "words"),
    [
        (np.zeros((3, 3)), np.zeros((3, 4)), {}, "wanted one"),
        (np.zeros(3), np.zeros(3), {}, "wanted one"),
        (np.full((3, 3), -2), np.zeros((3, 3)), {}, "truth: wanted 0"),
        (np.full((3, 3), 0.5), np.zeros((3, 3)), {}, "truth: wanted 0"),
        (np.zeros((3, 3)), np.full((3, 3), np.nan), {}, "prediction holds"),
        (np.zeros((3, 3)), np.zeros((3, 3)), {"threshold": math.nan}, "threshold"),
    ],
)
def test_what_does_not_fit_is_refused(truth: Any, guess: Any, more: Any, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        membrane_scores(truth, guess, **more)
    if not more:
        with pytest.raises(RecipeError, match="thresholds is empty"):
            best_membrane_scores(np.ones((2, 2)), np.ones((2, 2)), thresholds=[])
