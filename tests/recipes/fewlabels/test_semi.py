"""The loss of unlabelled cases against NumPy, its batches, and the gate."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from recipes.engine.losses import make_loss
from recipes.fewlabels.config import SemiConfig
from recipes.fewlabels.semi import (
    SemiBatches,
    SemiSupervised,
    align,
    cutout,
    passes,
    pseudo_labels,
)
from zoo.finetune.optimizer import LayerwiseAdamW

K = 3


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def learner(config: SemiConfig, *, ema: bool = False, **options: Any) -> SemiSupervised:
    """Logits are the pixels times a kernel, so that NumPy can follow."""
    keras.utils.set_random_seed(0)
    image = keras.Input((1, 1, 4))
    x = keras.layers.Reshape((4,))(image)
    network = keras.Model(image, keras.layers.Dense(K, name="logits")(x))
    known: dict[str, Any] = {
        "cost": make_loss(np.ones(K, "float32"), task="single"),
        "task": "single",
        "offsets": np.zeros(K, "float32"),
        "prior": np.full(K, 1 / K, "float32"),
        "steps": 10,
    }
    semi = SemiSupervised(network, config=config, **(known | options))
    optimizer = LayerwiseAdamW({}, learning_rate=0.05, use_ema=ema, ema_momentum=0.9)
    semi.compile(optimizer=optimizer, auto_scale_loss=False)
    optimizer.build(semi.trainable_variables)
    return semi


def batch(seed: int) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    rng = np.random.default_rng(seed)
    pictures = [rng.normal(size=(n, 1, 1, 4)).astype("float32") * 2 for n in (5, 8, 8)]
    return tuple(pictures), np.eye(K, dtype="float32")[rng.integers(0, K, 5)]


def logits(semi: SemiSupervised, pictures: np.ndarray) -> np.ndarray:
    kernel, bias = semi.network.get_layer("logits").get_weights()
    return pictures.reshape(-1, 4).astype("float64") @ kernel + bias


def loss_of(semi: SemiSupervised, x: Any, y: Any) -> float:
    return float(semi.compute_loss(x=x, y=y, y_pred=semi(x, training=True)))


@pytest.mark.parametrize("method", ["fixmatch", "pseudo"])
def test_the_loss_is_the_papers(method: str) -> None:
    semi = learner(SemiConfig(method=method, align=False, threshold=0.6, weight=2.0, ramp=0.0))
    (x, weak, changed), y = batch(1)
    p = softmax(logits(semi, weak))
    sure = p.max(axis=1) >= 0.6
    assert 0 < sure.sum() < 8  # the gate lets some through
    costs = -np.log(softmax(logits(semi, changed))[np.arange(8), p.argmax(axis=1)])
    supervised = -np.log((softmax(logits(semi, x)) * y).sum(axis=1)).mean()
    wanted = supervised + 2.0 * (costs * sure).sum() / 8
    assert loss_of(semi, (x, weak, changed), y) == pytest.approx(wanted, rel=1e-5)
    counted = [float(metric.result()) for metric in semi.passed]
    assert counted == [float((sure & (p.argmax(axis=1) == c)).sum()) for c in range(K)]
    assert float(semi.seen.result()) == 8


def test_pseudo_labels_get_no_gradient() -> None:
    import tensorflow as tf

    semi = learner(SemiConfig(method="mean_teacher", weight=1.0, ramp=0.0), ema=True)
    (x, weak, changed), y = batch(2)
    pictures = tf.Variable(weak)
    with tf.GradientTape() as tape:
        loss = semi.compute_loss(x=(x, pictures, changed), y=y, y_pred=semi((x, weak, changed)))
    assert tape.gradient(loss, pictures) is None


def test_the_teacher_is_the_moving_average() -> None:
    semi = learner(SemiConfig(method="mean_teacher", weight=3.0, ramp=0.0), ema=True)
    for seed in range(4):
        semi.train_on_batch(*batch(seed))
    (x, weak, changed), y = batch(9)
    student = softmax(logits(semi, changed))
    supervised = -np.log((softmax(logits(semi, x)) * y).sum(axis=1)).mean()
    found = loss_of(semi, (x, weak, changed), y)
    own = softmax(logits(semi, weak))
    before = semi.optimizer.overwrite_with_average()
    teacher = softmax(logits(semi, weak))
    semi.optimizer.restore(before)
    assert np.abs(teacher - own).max() > 0.01  # else the test could not tell them apart
    wanted = supervised + 3.0 * np.square(student - teacher).mean(axis=1).mean()
    assert found == pytest.approx(wanted, rel=1e-5)


def test_the_weight_rises() -> None:
    semi = learner(SemiConfig(method="pseudo", weight=2.0, ramp=0.5), steps=20)
    weights = []
    for step in (0, 5, 10, 15):
        semi.optimizer.iterations.assign(step)
        weights.append(float(semi._weight()))
    wanted = [2 * np.exp(-5.0), 2 * np.exp(-5 * 0.25), 2.0, 2.0]
    np.testing.assert_allclose(weights, wanted, rtol=1e-5)


def test_class_weights_are_undone_before_the_gate() -> None:
    offsets = np.array([2.0, 0.0, -2.0], "float32")
    semi = learner(SemiConfig(align=False, threshold=0.6), offsets=offsets)
    (x, weak, changed), y = batch(3)
    loss_of(semi, (x, weak, changed), y)
    p = softmax(logits(semi, weak) - offsets)
    sure = p.max(axis=1) >= 0.6
    plain = softmax(logits(semi, weak))
    wanted = [int((sure & (p.argmax(axis=1) == c)).sum()) for c in range(K)]
    assert [int(metric.result()) for metric in semi.passed] == wanted
    naive = (plain.max(axis=1) >= 0.6) & (plain.argmax(axis=1) == 0)
    assert wanted[0] != int(naive.sum())  # else the offsets would make no difference here


def test_alignment_gives_the_prior_where_all_predictions_are_the_belief() -> None:
    prior, belief = np.array([0.2, 0.3, 0.5]), np.array([0.6, 0.3, 0.1])
    p = np.tile(belief, (4, 1))
    np.testing.assert_allclose(align(p, prior=prior, belief=belief, task="single"), [prior] * 4)
    both = align(p, prior=prior, belief=belief, task="multilabel")
    np.testing.assert_allclose(both, [prior] * 4)
    same = align(p, prior=prior, belief=prior, task="single")
    np.testing.assert_allclose(same, p)


def test_alignment_keeps_pseudo_labels_from_one_class() -> None:
    rng = np.random.default_rng(4)
    p = softmax(rng.normal(loc=[1.5, 0.0], size=(400, 2)))
    shares = np.array([0.5, 0.5])
    aligned = align(p, prior=shares, belief=p.mean(axis=0), task="single")
    before, after = ((q.argmax(axis=1) == 0).mean() for q in (p, np.asarray(aligned)))
    assert before > 0.8
    assert abs(after - 0.5) < abs(before - 0.5) / 2


def test_labels_of_a_vector_pass_on_their_own() -> None:
    found = pseudo_labels(np.array([[0.97, 0.5, 0.02]]), threshold=0.95, task="multilabel")
    np.testing.assert_array_equal(found.passed, [[1, 0, 1]])
    np.testing.assert_array_equal(found.values, [[1, np.nan, 0]])


def test_the_unlabelled_loss_of_vectors_is_a_mean_over_all_labels() -> None:
    cost = make_loss(np.ones(K, "float32"), task="multilabel")
    semi = learner(SemiConfig(align=False, threshold=0.8, weight=1.0), task="multilabel", cost=cost)
    (x, weak, changed), y = batch(5)
    p = 1 / (1 + np.exp(-logits(semi, weak)))
    q = 1 / (1 + np.exp(-logits(semi, changed)))
    sure = np.maximum(p, 1 - p) >= 0.8
    assert 0 < sure.sum() < sure.size
    each = -np.where(p >= 0.5, np.log(q), np.log(1 - q))
    own = 1 / (1 + np.exp(-logits(semi, x)))
    supervised = -np.where(y > 0.5, np.log(own), np.log(1 - own)).mean()
    wanted = supervised + (each * sure).mean()
    assert loss_of(semi, (x, weak, changed), y) == pytest.approx(wanted, rel=1e-4)


def test_every_case_comes_equally_often_and_repeatably() -> None:
    drawn = passes(np.random.default_rng(0), 7, 21, epoch=2)
    assert (np.bincount(drawn[:, 1]) == 3).all()
    assert set(drawn[:, 0]) == {3, 4, 5}
    again = passes(np.random.default_rng(0), 7, 21, epoch=2)
    np.testing.assert_array_equal(drawn, again)


def test_batches_repeat_and_views_differ() -> None:
    images = np.random.default_rng(1).integers(0, 255, (6, 4, 4, 1)).astype("uint8")

    def noisy(image: np.ndarray, key: tuple[int, int, int]) -> np.ndarray:
        return image + np.random.default_rng(key).normal(size=image.shape)

    def known(turn: int, number: int, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return images[chosen].astype("float32"), np.full((len(chosen), 1), turn, "float32")

    def epoch() -> SemiBatches:
        return SemiBatches(
            labelled=known, n=2, unlabelled=[(images, i) for i in range(2, 6)],
            weak=noisy, changed=noisy, sizes=(3, 4), steps=2, seed=5, epoch=1,
        )  # fmt: skip

    one, other = epoch(), epoch()
    assert len(one) == 2
    for i in range(2):
        (x, weak, changed), y = one[i]
        assert (len(x), len(weak), len(changed), len(y)) == (3, 4, 4, 3)
        assert np.abs(weak - changed).max() > 0.1
        assert np.abs(weak - changed).max() < 20  # two views of the same picture
        (again, *_), _ = other[i]
        np.testing.assert_array_equal(x, again)
        np.testing.assert_array_equal(weak, other[i][0][1])


def test_cutout_paints_a_square_and_leaves_the_picture() -> None:
    picture = np.arange(400, dtype="float32").reshape(20, 20, 1)
    before = picture.copy()
    changed = cutout(picture, np.random.default_rng(0), most=0.5)
    np.testing.assert_array_equal(picture, before)
    painted = changed != picture
    assert 0 < painted.sum() <= 121
    assert (changed[painted] == picture.mean()).all()
