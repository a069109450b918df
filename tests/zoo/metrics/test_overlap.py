"""Dice and intersection over union against numpy, Keras and MONAI's definitions."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from tests.zoo.losses.cases import CLASSES, inputs
from zoo.errors import ZooError
from zoo.metrics import DiceScore, IoUScore, overlap_scores

EYE = np.eye(CLASSES)


def by_hand(p: np.ndarray, y: np.ndarray, kind: str) -> np.ndarray:
    """``(batch, classes)`` scores; NaN where both are empty."""
    axes = tuple(range(1, p.ndim - 1))
    both, sizes = (p * y).sum(axes), (p + y).sum(axes)
    with np.errstate(invalid="ignore"):
        return np.asarray(2 * both / sizes if kind == "dice" else both / (sizes - both))


def softmax(z: np.ndarray) -> np.ndarray:
    """Probabilities, float64."""
    power = np.exp(z.astype("float64"))
    return np.asarray(power / power.sum(-1, keepdims=True))


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kind", ["dice", "iou"])
def test_scores_of_every_case_and_class(kind: Any, dims: int) -> None:
    z, labels = inputs(dims, int(np.random.default_rng().integers(1 << 30)))
    z[1, ..., 2] = -1e3  # class 2 is neither true nor predicted in case 1
    for hard, p in ((True, EYE[z.argmax(-1)]), (False, softmax(z))):
        got = np.asarray(overlap_scores(labels, z, kind=kind, hard=hard))
        np.testing.assert_allclose(got, by_hand(p, EYE[labels], kind), rtol=1e-4)
        assert np.isnan(got[1, 2])
    score = IoUScore(CLASSES, average="voxels")
    score.update_state(labels, z)
    reference = keras.metrics.MeanIoU(CLASSES, sparse_y_pred=False)
    reference.update_state(labels, z)
    assert float(score.result()) == pytest.approx(float(reference.result()), rel=1e-5)


def test_equals_monai_metrics() -> None:
    pytest.importorskip("monai")
    import torch
    from monai.metrics import compute_dice, compute_iou

    z, labels = inputs(3, int(np.random.default_rng().integers(1 << 30)))
    z[1, ..., 2] = -1e3
    first = (torch.tensor(np.moveaxis(EYE[x], -1, 1)) for x in (z.argmax(-1), labels))
    pair = tuple(first)
    for kind, peer in (("dice", compute_dice), ("iou", compute_iou)):
        got = np.asarray(overlap_scores(labels, z, kind=kind))  # type: ignore[arg-type]
        # MONAI leaves a class out where the truth lacks it, though it be predicted.
        want = peer(*pair, ignore_empty=True).numpy()
        known = np.isfinite(want)
        np.testing.assert_allclose(got[known], want[known], rtol=1e-5)


@pytest.mark.parametrize("metric", [DiceScore, IoUScore])
def test_streaming_equals_all_at_once(metric: Any) -> None:
    kind = "dice" if metric is DiceScore else "iou"
    batches = [inputs(2, seed) for seed in range(4)]
    z = np.concatenate([one for one, _ in batches])
    labels = np.concatenate([one for _, one in batches])
    z[:3, ..., 2] = -1e3
    cases, voxels = (metric(CLASSES, average=average) for average in ("cases", "voxels"))
    for i in range(0, 8, 2):
        cases.update_state(labels[i : i + 2], z[i : i + 2])
        voxels.update_state(labels[i : i + 2], z[i : i + 2])
    each = by_hand(EYE[z.argmax(-1)], EYE[labels], kind)
    np.testing.assert_allclose(cases.per_class(), np.nanmean(each, axis=0), rtol=1e-5)
    assert float(cases.result()) == pytest.approx(np.nanmean(each, axis=0).mean(), rel=1e-5)
    pooled = by_hand(EYE[z.argmax(-1)].reshape(1, -1, 4), EYE[labels].reshape(1, -1, 4), kind)
    np.testing.assert_allclose(voxels.per_class(), pooled[0], rtol=1e-5)
    front = metric(CLASSES, include_background=False)
    front.update_state(labels, z)
    assert float(front.result()) == pytest.approx(np.nanmean(each, axis=0)[1:].mean(), rel=1e-5)
    cases.reset_state()
    assert np.isnan(float(cases.result()))
    assert np.isnan(cases.per_class()).all()


def test_classes_that_no_case_has_do_not_count() -> None:
    labels = np.array([[0, 0, 1, 1]])
    z = 9.0 * np.eye(3)[[[0, 0, 1, 0]]]
    metric = DiceScore(3)
    metric.update_state(labels, z)
    np.testing.assert_allclose(metric.per_class(), [4 / 5, 2 / 3, np.nan], rtol=1e-6)
    assert float(metric.result()) == pytest.approx((4 / 5 + 2 / 3) / 2)
    # Predicted though absent is an error, not undefined.
    metric.update_state(np.zeros((1, 4)), 9.0 * np.eye(3)[[[0, 0, 0, 2]]])
    assert metric.per_class()[2] == 0


def test_unknown_weights_and_labels_that_are_no_class() -> None:
    z, labels = inputs(2, 3)
    want = np.asarray(overlap_scores(labels[:, 2:], z[:, 2:]))
    unknown = labels.astype("float32")
    unknown[:, :2] = np.nan
    np.testing.assert_allclose(overlap_scores(unknown, z), want, rtol=1e-6)
    marked = np.nan_to_num(unknown, nan=255)
    np.testing.assert_allclose(overlap_scores(marked, z, ignore_index=255), want, rtol=1e-6)
    assert np.isnan(np.asarray(overlap_scores(marked, z))).all()
    metric, voxelwise = DiceScore(CLASSES), DiceScore(CLASSES)
    metric.update_state(labels, z, sample_weight=np.array([1.0, 0.0]))
    alone = DiceScore(CLASSES)
    alone.update_state(labels[:1], z[:1])
    np.testing.assert_allclose(metric.per_class(), alone.per_class(), rtol=1e-6)
    voxelwise.update_state(labels, z, sample_weight=np.isfinite(unknown))
    np.testing.assert_allclose(voxelwise.per_class(), np.nanmean(want, axis=0), rtol=1e-6)


def test_independent_labels() -> None:
    rng = np.random.default_rng(5)
    z, y = rng.normal(size=(3, 6, 6, 2)), rng.integers(0, 2, (3, 6, 6, 2))
    got = overlap_scores(y, z.astype("float16"), activation="sigmoid")
    np.testing.assert_allclose(got, by_hand((z > 0).astype(float), y, "dice"), rtol=1e-5)


@pytest.mark.parametrize("metric", [DiceScore, IoUScore])
def test_in_a_model_and_back_from_its_configuration(metric: Any, tmp_path: Any) -> None:
    x = keras.Input((None, None, 1))
    model = keras.Model(x, keras.layers.Conv2D(CLASSES, 1)(x))
    model.compile(
        "sgd",
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[metric(CLASSES, include_background=False, hard=False, name="overlap")],
    )
    rng = np.random.default_rng(6)
    image = rng.normal(size=(4, 5, 5, 1)).astype("float32")
    labels = rng.integers(0, CLASSES, (4, 5, 5))
    figures = model.evaluate(image, labels, batch_size=3, return_dict=True, verbose=0)
    kind = "dice" if metric is DiceScore else "iou"
    z = keras.ops.convert_to_numpy(model(image))
    want = by_hand(softmax(z), EYE[labels], kind).mean(0)[1:].mean()
    assert figures["overlap"] == pytest.approx(want, rel=1e-4)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.evaluate(image, labels, return_dict=True, verbose=0) == pytest.approx(figures)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": 0}, "classes is 0"),
        ({"classes": 1, "include_background": False}, "at least one must remain"),
        ({"classes": 2, "average": "all"}, "unknown average 'all'"),
        ({"classes": 2, "activation": "relu"}, "unknown activation 'relu'"),
    ],
)
def test_refused_options(options: Any, message: str) -> None:
    with pytest.raises(ZooError, match=message):
        DiceScore(**options)


def test_refused_shapes() -> None:
    with pytest.raises(ZooError, match="is for 3 classes, not 4"):
        DiceScore(3).update_state(*inputs(2, 0)[::-1])
