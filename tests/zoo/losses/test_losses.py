"""Closed forms, unknown truth, weights, absent classes, half precision, and the way back."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.zoo.losses.cases import CLASSES, inputs
from tests.zoo.losses.gradients import value_and_gradient
from zoo import losses
from zoo.errors import ZooError

ALL = (
    losses.Dice(),
    losses.Dice(activation="sigmoid", pool="batch", class_weights=[1, 2, 0, 3]),
    losses.GeneralizedDice(absent="skip"),
    losses.DiceCrossentropy(include_background=False),
    losses.Tversky(),
    losses.FocalTversky(),
    losses.Focal(),
    losses.Focal(activation="sigmoid", alpha=0.3),
    losses.MaskedCrossentropy(label_smoothing=0.1),
    losses.MaskedCrossentropy(activation="sigmoid", class_weights=[1, 2, 3, 4]),
    losses.TopKCrossentropy(share=0.25),
)
NAMES = [f"{one.name}-{i}" for i, one in enumerate(ALL)]


def with_options(loss: Any, **changes: Any) -> Any:
    """A loss like another, with other options."""
    return type(loss).from_config({**loss.get_config(), **changes})


def softmax(z: np.ndarray) -> np.ndarray:
    """Probabilities, float64."""
    power = np.exp(z.astype("float64") - z.max(-1, keepdims=True))
    return np.asarray(power / power.sum(-1, keepdims=True))


def dice_by_hand(p: np.ndarray, y: np.ndarray) -> np.ndarray:
    """``(batch, classes)`` Dice scores without smoothing."""
    axes = tuple(range(1, p.ndim - 1))
    return np.asarray(2 * (p * y).sum(axes) / (p + y).sum(axes))


@given(seed=st.integers(0, 1 << 30), dims=st.sampled_from([2, 3]))
@settings(max_examples=15, deadline=None)
def test_closed_forms_on_fresh_input(seed: int, dims: int) -> None:
    """Dice, Tversky, focal Tversky, focal, cross-entropy and the boundary loss, in numpy."""
    z, labels = inputs(dims, seed)
    p, y = softmax(z), np.eye(CLASSES)[labels]
    axes = tuple(range(1, dims + 1))
    tp, fp, fn = ((a * b).sum(axes) for a, b in ((p, y), (p, 1 - y), (1 - p, y)))
    tversky = 1 - tp / (tp + 0.3 * fp + 0.7 * fn)
    true = (p * y).sum(-1)
    distance = np.random.default_rng(seed).normal(size=p.shape)
    wanted = [
        (losses.Dice(), labels, (1 - dice_by_hand(p, y)).mean()),
        (losses.Tversky(), labels, tversky.mean()),
        (losses.Tversky(alpha=0.5, beta=0.5), labels, (1 - dice_by_hand(p, y)).mean()),
        (losses.FocalTversky(), labels, (tversky**0.75).mean()),
        (losses.MaskedCrossentropy(), labels, -np.log(true).mean()),
        (losses.Focal(gamma=0.0), labels, -np.log(true).mean()),
        (losses.Focal(gamma=3.0), labels, -((1 - true) ** 3 * np.log(true)).mean()),
        (losses.Boundary(), distance, (p * distance)[..., 1:].mean()),
        (losses.Boundary(include_background=True), distance, (p * distance).mean()),
    ]
    for loss, truth, value in wanted:
        assert float(loss(truth, z)) == pytest.approx(value, rel=1e-4, abs=1e-5), loss.name


def test_generalised_dice_by_hand() -> None:
    z, labels = inputs(2, 4)
    p, y = softmax(z), np.eye(CLASSES)[labels]
    volume = y.sum((1, 2))
    with np.errstate(divide="ignore"):
        weight = np.where(volume > 0, 1.0 / volume**2, 0.0)
    for absent in ("count", "skip"):
        w = weight.copy()
        if absent == "count":
            w[1, 2] = w[1].max()
        score = 2 * (w * (p * y).sum((1, 2))).sum(-1) / (w * (p + y).sum((1, 2))).sum(-1)
        got = losses.GeneralizedDice(absent=absent)(labels, z)
        assert float(got) == pytest.approx((1 - score).mean(), rel=1e-4)


def test_generalised_dice_holds_for_large_volumes() -> None:
    """Smoothing must stay small beside one over a squared volume."""
    labels = np.zeros((1, 256, 256), int)
    labels[:, 128:] = 1
    right = 6.0 * np.eye(2)[labels]
    wrong = 6.0 * np.eye(2)[1 - labels]
    loss = losses.GeneralizedDice()
    assert float(loss(labels, right)) < 0.01
    assert float(loss(labels, wrong)) > 0.99


def test_dice_of_one_class_equals_keras() -> None:
    """Where Keras' Dice is right: one class, one case, no empty truth."""
    z, labels = inputs(2, 6)
    z, y = z[:1, ..., 1:2], (labels[:1, ..., None] == 1).astype("float32")
    want = keras.losses.Dice()(y, 1 / (1 + np.exp(-z)))
    got = losses.Dice(activation="sigmoid")(y, z)
    assert float(got) == pytest.approx(float(want), rel=1e-4)


def test_top_k_by_sorting() -> None:
    z, labels = inputs(3, 7)
    each = -np.log((softmax(z) * np.eye(CLASSES)[labels]).sum(-1)).reshape(2, -1)
    for share in (0.1, 0.5, 1.0):
        count = int(np.ceil(share * each.shape[1]))
        want = np.sort(each, axis=1)[:, ::-1][:, :count].mean()
        got = losses.TopKCrossentropy(share=share)(labels, z)
        assert float(got) == pytest.approx(want, rel=1e-5)
    _, gradient = value_and_gradient(losses.TopKCrossentropy(share=0.1), labels, z)
    touched = (np.abs(gradient).sum(-1) > 0).reshape(2, -1)
    assert touched.sum(axis=1).tolist() == [6, 6]
    assert each[touched].min() >= np.sort(each, axis=1)[:, -6].min()


@pytest.mark.parametrize("loss", ALL, ids=NAMES)
def test_unknown_voxels_leave_no_trace(loss: Any) -> None:
    """Marked by NaN, by an index, or cut out: one value, one finite gradient."""
    z, labels = inputs(2, 8)
    unknown = np.zeros(labels.shape, bool)
    unknown[:, :2] = True
    nan = np.where(unknown, np.nan, labels)
    index = np.where(unknown, 255, labels)
    channels = np.where(unknown[..., None], np.nan, np.eye(CLASSES)[labels])
    want, slope = value_and_gradient(loss, labels[:, 2:], z[:, 2:].copy())
    z[:, :2] = 1e4  # what stands there must not matter
    marked = with_options(loss, ignore_index=255)
    for one, truth in ((loss, nan), (marked, index), (loss, channels)):
        value, gradient = value_and_gradient(one, truth, z)
        assert value == pytest.approx(want, rel=1e-5)
        np.testing.assert_allclose(gradient[:, 2:], slope, atol=1e-6)
        assert np.all(gradient[:, :2] == 0)


@pytest.mark.parametrize("loss", ALL, ids=NAMES)
def test_nothing_known_is_no_loss(loss: Any) -> None:
    z, labels = inputs(2, 9)
    value, gradient = value_and_gradient(loss, np.full(labels.shape, np.nan), z)
    assert value == pytest.approx(0.0, abs=1e-3)
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() < 1e-6


@pytest.mark.parametrize("loss", ALL, ids=NAMES)
def test_a_label_that_is_no_class_makes_the_loss_nan(loss: Any) -> None:
    z, labels = inputs(2, 9)
    for bad in (4, -1, 255, 1.5):
        wrong = labels.astype("float32")
        wrong[0, 0, 0] = bad
        assert np.isnan(float(loss(wrong, z)))


@pytest.mark.parametrize("loss", ALL, ids=NAMES)
def test_voxel_weights_act_inside_and_case_weights_behind(loss: Any) -> None:
    z, labels = inputs(2, 10)
    weight = np.ones(labels.shape, "float32")
    weight[:, 3:] = 0
    want = float(loss(labels[:, :3], z[:, :3]))
    assert float(loss(labels, z, sample_weight=weight)) == pytest.approx(want, rel=1e-5)
    if getattr(loss, "pool", "case") == "case" and isinstance(loss, losses.VoxelLoss):
        each = np.asarray(with_options(loss, reduction=None)(labels, z))
        got = float(loss(labels, z, sample_weight=np.array([1.0, 3.0], "float32")))
        assert got == pytest.approx((each * [1, 3]).sum() / 2, rel=1e-5)


@pytest.mark.parametrize("loss", ALL, ids=NAMES)
def test_a_large_float16_map_does_not_overflow(loss: Any) -> None:
    """262144 voxels: their count alone is beyond float16."""
    rng = np.random.default_rng(11)
    labels = np.zeros((1, 512, 512), "int32")
    labels[:, :200, :300] = rng.integers(0, CLASSES, (1, 200, 300))
    z = rng.normal(0, 3, (1, 512, 512, CLASSES)).astype("float16")
    want = float(loss(labels, z.astype("float32")))
    value, gradient = value_and_gradient(loss, labels, z)
    assert value == pytest.approx(want, rel=1e-4)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("loss", ALL, ids=NAMES)
def test_extreme_logits_stay_finite(loss: Any) -> None:
    labels = np.array([[0, 1, 2, 3]])
    for z in (1e4 * np.eye(4)[labels], 1e4 * np.eye(4)[3 - labels], np.zeros((1, 4, 4))):
        value, gradient = value_and_gradient(loss, labels, z.astype("float32"))
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize(
    "loss", [*ALL, losses.Boundary(), losses.OrdinalCrossentropy(threshold_weights=[1, 2, 1])]
)
def test_comes_back_from_its_configuration(loss: Any) -> None:
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert type(again) is type(loss)
    assert again.get_config() == loss.get_config()


def test_absent_classes() -> None:
    """In neither: 0. Predicted alone: 1, or left out. Nothing at all: 0."""
    labels = np.zeros((1, 40), int)
    right = np.where(np.eye(3)[labels] > 0, 30.0, -30.0)
    assert float(losses.Dice()(labels, right)) == pytest.approx(0, abs=1e-6)
    wrong = right.copy()
    wrong[0, :8, 0], wrong[0, :8, 1] = -30, 30
    zero = 1 - 2 * 32 / 72
    assert float(losses.Dice()(labels, wrong)) == pytest.approx((zero + 1 + 0) / 3, abs=1e-5)
    assert float(losses.Dice(absent="skip")(labels, wrong)) == pytest.approx(zero, abs=1e-5)
    nothing = losses.Dice(absent="skip", include_background=False)
    assert float(nothing(labels, wrong)) == 0
    weighted = losses.Dice(class_weights=[1, 3, 0])
    assert float(weighted(labels, wrong)) == pytest.approx((zero + 3) / 4, abs=1e-5)


def test_classification_takes_the_same_losses() -> None:
    """``(batch, classes)`` logits: labels, columns of labels, one-hot, multi-label with NaN."""
    rng = np.random.default_rng(12)
    z, labels = rng.normal(size=(5, 3)).astype("float32"), np.array([0, 2, 1, 1, 0])
    want = -np.log(softmax(z)[np.arange(5), labels]).mean()
    for truth in (labels, labels[:, None], np.eye(3)[labels]):
        assert float(losses.MaskedCrossentropy()(truth, z)) == pytest.approx(want, rel=1e-5)
    truth = rng.integers(0, 2, (5, 3)).astype("float32")
    truth[0, 0] = truth[2] = np.nan
    each = np.logaddexp(0, z.astype("float64")) - np.nan_to_num(truth) * z
    want = each[np.isfinite(truth)].mean()
    got = losses.MaskedCrossentropy(activation="sigmoid")(truth, z)
    assert float(got) == pytest.approx(want, rel=1e-5)


def test_ordinal_by_hand() -> None:
    rng = np.random.default_rng(13)
    z = rng.normal(size=(6, 3)).astype("float32")
    grades = np.array([0, 1, 2, 3, 2, np.nan])
    above = grades[:5, None] > np.arange(3)
    each = np.where(above, np.logaddexp(0, -z[:5]), np.logaddexp(0, z[:5]))
    loss = losses.OrdinalCrossentropy()
    for truth in (grades, grades[:, None]):
        value, gradient = value_and_gradient(loss, truth, z)
        assert value == pytest.approx(each.sum(1).mean(), rel=1e-5)
        assert np.isfinite(gradient).all()
        assert np.all(gradient[5] == 0)
    weighted = losses.OrdinalCrossentropy(threshold_weights=[1, 0, 2])
    want = (each * [1, 0, 2]).sum(1).mean()
    assert float(weighted(grades, z)) == pytest.approx(want, rel=1e-5)
    assert np.isnan(float(loss(np.array([0, 1, 2, 3, 4, 0]), z)))
    with pytest.raises(ZooError, match="2 threshold_weights, not 3"):
        losses.OrdinalCrossentropy(threshold_weights=[1, 2])(grades, z)


def test_a_model_of_open_sides_trains_on_volumes() -> None:
    """Inside ``fit``, with mixed precision, the batch and all sides unknown to the graph."""
    keras.utils.set_random_seed(0)
    for loss in (losses.DiceCrossentropy(ignore_index=9), losses.TopKCrossentropy(share=0.2)):
        x = keras.Input((None, None, None, 1))
        y = keras.layers.Conv3D(3, 1, dtype="mixed_float16")(x)
        model = keras.Model(x, y)
        model.compile(keras.optimizers.Adam(0.3), loss)
        image = np.random.default_rng(1).normal(size=(4, 4, 4, 4, 1)).astype("float32")
        labels = np.digitize(image[..., 0], [-0.4, 0.4])
        labels[0, 0] = 9 if isinstance(loss, losses.DiceCrossentropy) else 0
        losses_seen = model.fit(image, labels, epochs=8, batch_size=2, verbose=0).history["loss"]
        assert losses_seen[-1] < 0.85 * losses_seen[0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: losses.Dice(activation="softmex"), "unknown activation 'softmex'"),
        (lambda: losses.Dice(pool="volume"), "unknown pool 'volume'"),
        (lambda: losses.Dice(absent="drop"), "unknown absent 'drop'"),
        (lambda: losses.Dice(smooth=0), "smooth is 0"),
        (lambda: losses.Dice(class_weights=[-1, 2]), "class_weights .* must be 0 or more"),
        (lambda: losses.Dice(class_weights=[0, 0]), "not all 0"),
        (lambda: losses.Tversky(alpha=-1), "alpha -1"),
        (lambda: losses.FocalTversky(gamma=0), "gamma is 0"),
        (lambda: losses.Focal(gamma=-1), "gamma is -1"),
        (lambda: losses.Focal(alpha=0.5), "use class_weights for exclusive"),
        (lambda: losses.TopKCrossentropy(share=0), "share is 0"),
        (lambda: losses.MaskedCrossentropy(label_smoothing=1), "label_smoothing is 1"),
        (lambda: losses.DiceCrossentropy(dice_weight=-1), "must not be below 0"),
        (lambda: losses.Boundary(ignore_index=2), "scale the map"),
    ],
)
def test_refused_options(make: Any, message: str) -> None:
    with pytest.raises(ZooError, match=message):
        make()


@pytest.mark.parametrize(
    ("loss", "truth", "logits", "message"),
    [
        (losses.Dice(), (2, 5, 6), (2, 5, 5, 5, 3), "does not fit logits of shape"),
        (losses.Dice(), (2, 5, 5, 2), (2, 5, 5, 3), "does not fit logits of shape"),
        (losses.Dice(), (2, 5, 5), (2, 5, 5, 1), "use activation='sigmoid'"),
        (losses.Dice(class_weights=[1, 2]), (2, 5), (2, 5, 3), "2 class_weights, not 3"),
        (
            losses.Dice(activation="sigmoid", include_background=False),
            (2, 5),
            (2, 5, 1),
            "leaves nothing",
        ),
        (losses.Boundary(), (2, 5, 5), (2, 5, 5, 3), "give one for every class"),
        (losses.OrdinalCrossentropy(), (2, 4), (2, 3), "do not fit logits"),
    ],
)
def test_refused_shapes(loss: Any, truth: Any, logits: Any, message: str) -> None:
    with pytest.raises(ZooError, match=message):
        loss(np.zeros(truth), np.zeros(logits, "float32"))


def test_refused_weights() -> None:
    with pytest.raises(ZooError, match="weights of shape"):
        losses.Dice()(np.zeros((2, 5)), np.zeros((2, 5, 3)), sample_weight=np.ones((2, 5, 2)))
