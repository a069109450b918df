"""Metrics against scikit-learn, and what happens where they are undefined."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn import metrics as sk

from recipes.errors import RecipeError
from recipes.evaluation import evaluate
from recipes.evaluation import metrics as m

CASES = {
    "plain": {"n": 400, "share": 0.5, "digits": None},
    "ties": {"n": 300, "share": 0.4, "digits": 1},
    "rare": {"n": 500, "share": 0.02, "digits": 2},
    "all_but_equal": {"n": 60, "share": 0.5, "digits": 0},
}


def sample(n: int, share: float, digits: int | None, seed: int = 0):
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < share).astype(float)
    y[:2] = [0, 1]
    p = 1 / (1 + np.exp(-(rng.normal(size=n) + 1.5 * y - 1)))
    weights = rng.integers(0, 4, size=(5, n)).astype(float)
    weights[:, :2] += 1
    return y, p if digits is None else np.round(p, digits), weights


@pytest.mark.parametrize("case", CASES)
def test_ranking_equals_sklearn_with_ties_and_weights(case) -> None:
    y, p, weights = sample(**CASES[case])
    auc, ap = m.ranking(y, p, weights)
    for row, w in enumerate(weights):
        assert auc[row] == pytest.approx(sk.roc_auc_score(y, p, sample_weight=w), abs=1e-12)
        assert ap[row] == pytest.approx(sk.average_precision_score(y, p, sample_weight=w))


def test_integer_weights_are_repetitions() -> None:
    y, p, weights = sample(**CASES["ties"])
    auc, ap = m.ranking(y, p, weights[:1])
    again = np.repeat(np.arange(len(y)), weights[0].astype(int))
    one = np.ones((1, len(again)))
    auc2, ap2 = m.ranking(y[again], p[again], one)
    assert (auc[0], ap[0]) == pytest.approx((auc2[0], ap2[0]))


def test_rates_equal_sklearn() -> None:
    y, p, weights = sample(**CASES["plain"])
    called = p >= 0.5
    got = m.rates(m.counts(y, called, weights))
    for row, w in enumerate(weights):
        want = {
            "sensitivity": sk.recall_score(y, called, sample_weight=w),
            "specificity": sk.recall_score(y, called, pos_label=0, sample_weight=w),
            "ppv": sk.precision_score(y, called, sample_weight=w),
            "npv": sk.precision_score(y, called, pos_label=0, sample_weight=w),
            "f1": sk.f1_score(y, called, sample_weight=w),
            "accuracy": sk.accuracy_score(y, called, sample_weight=w),
            "balanced_accuracy": sk.balanced_accuracy_score(y, called, sample_weight=w),
        }
        assert {name: got[name][row] for name in want} == pytest.approx(want)


def test_undefined_rates_are_nan_not_zero() -> None:
    nothing = np.array([[0.0], [0.0], [0.0], [5.0]])
    got = m.rates(m.counts(np.zeros(5), np.zeros(5, bool), np.ones((1, 5))))
    for name in ("sensitivity", "ppv", "f1", "balanced_accuracy"):
        assert np.isnan(got[name][0]), name
        assert np.isnan(m.rates(nothing)[name][0]), name
    assert got["specificity"][0] == got["npv"][0] == 1.0
    alarms = m.rates(m.counts(np.zeros(5), np.ones(5, bool), np.ones((1, 5))))
    assert np.isnan(alarms["f1"][0])
    assert alarms["ppv"][0] == 0.0


def test_curves_equal_sklearn() -> None:
    y, p, _ = sample(**CASES["ties"])
    fpr, tpr, thresholds = m.roc_points(y, p)
    want = sk.roc_curve(y, p, drop_intermediate=False)
    np.testing.assert_allclose(fpr, want[0])
    np.testing.assert_allclose(tpr, want[1])
    np.testing.assert_allclose(thresholds, want[2])
    recall, precision, _ = m.pr_points(y, p)
    area = np.sum(np.diff(np.concatenate([[0], recall])) * precision)
    assert area == pytest.approx(sk.average_precision_score(y, p))


def test_predictive_values_at_a_prevalence_by_hand() -> None:
    # 1000 people, 2% ill, sensitivity 0.9, specificity 0.8: 18 hits, 196 alarms, 784 clear, 2 miss
    ppv, npv = m.at_prevalence(np.array([0.9]), np.array([0.8]), 0.02)
    assert ppv[0] == pytest.approx(18 / (18 + 196))
    assert npv[0] == pytest.approx(784 / (784 + 2))


def test_binary_evaluation_equals_sklearn() -> None:
    y, p, _ = sample(**CASES["plain"])
    got = evaluate(
        y.astype(int),
        np.c_[1 - p, p],
        None,
        class_names=["no", "yes"],
        positive="yes",
        task="single",
        threshold=0.3,
        prevalence=0.1,
        n_boot=50,
    )
    want = {
        "auc": sk.roc_auc_score(y, p),
        "average_precision": sk.average_precision_score(y, p),
        "accuracy": sk.accuracy_score(y, p >= 0.5),
        "accuracy_op": sk.accuracy_score(y, p >= 0.3),
        "f1_op": sk.f1_score(y, p >= 0.3),
        "brier": sk.brier_score_loss(y, p),
        "log_loss": sk.log_loss(y, p),
        "ppv": sk.precision_score(y, p >= 0.5),
    }
    assert {name: got[name]["value"] for name in want} == pytest.approx(want)
    assert got["n"] == got["n_groups"] == 400
    assert got["unit"] == "image"
    assert got["confusion"] == sk.confusion_matrix(y, p >= 0.5).tolist()
    assert all(got[k]["low"] <= got[k]["value"] <= got[k]["high"] for k in want)


def test_the_named_positive_class_decides() -> None:
    y, p, _ = sample(**CASES["plain"])
    prob = np.c_[1 - p, p]
    keys = {"class_names": ["no", "yes"], "task": "single", "n_boot": 0}
    yes = evaluate(y.astype(int), prob, None, positive="yes", **keys)
    no = evaluate(y.astype(int), prob, None, positive="no", **keys)
    assert yes["sensitivity"]["value"] == pytest.approx(no["specificity"]["value"])
    assert yes["auc"]["value"] == pytest.approx(no["auc"]["value"])
    assert yes["average_precision"]["value"] != no["average_precision"]["value"]
    none = evaluate(y.astype(int), prob, None, positive=None, **keys)
    assert none["sensitivity"]["value"] == pytest.approx(none["balanced_accuracy"]["value"])
    assert none["auc"]["value"] == pytest.approx(yes["auc"]["value"])
    assert none["brier"]["value"] == pytest.approx(yes["brier"]["value"])
    assert any("positive class" in note for note in none["notes"])


def test_multiclass_evaluation_equals_sklearn() -> None:
    rng = np.random.default_rng(3)
    y = rng.integers(0, 7, 500)
    z = rng.normal(size=(500, 7))
    z[np.arange(500), y] += 1.5
    prob = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    names = list("abcdefg")
    got = evaluate(y, prob, None, class_names=names, positive=None, task="single", n_boot=30)
    answer = prob.argmax(1)
    onehot = np.eye(7)[y]
    want = {
        "auc": sk.roc_auc_score(y, prob, multi_class="ovr", average="macro"),
        "average_precision": sk.average_precision_score(onehot, prob, average="macro"),
        "accuracy": sk.accuracy_score(y, answer),
        "balanced_accuracy": sk.balanced_accuracy_score(y, answer),
        "top5_accuracy": sk.top_k_accuracy_score(y, prob, k=5),
        "sensitivity": sk.recall_score(y, answer, average="macro"),
        "ppv": sk.precision_score(y, answer, average="macro"),
        "f1": sk.f1_score(y, answer, average="macro"),
        "log_loss": sk.log_loss(y, prob),
        "brier": np.mean(np.sum((prob - onehot) ** 2, axis=1)),
    }
    assert {name: got[name]["value"] for name in want} == pytest.approx(want)
    assert got["per_class"]["c"]["auc"]["value"] == pytest.approx(
        sk.roc_auc_score(y == 2, prob[:, 2])
    )
    assert got["calibration_intercept"]["value"] is None
    assert got["per_class"]["c"]["calibration_intercept"]["value"] is not None


def test_a_class_absent_from_the_sample_is_left_out_and_said() -> None:
    rng = np.random.default_rng(4)
    y = rng.integers(0, 3, 90)
    prob = rng.dirichlet(np.ones(4), 90)
    got = evaluate(y, prob, None, class_names=list("abcd"), positive=None, task="single", n_boot=20)
    want = np.mean([sk.roc_auc_score(y == k, prob[:, k]) for k in range(3)])
    assert got["auc"]["value"] == pytest.approx(want)
    assert got["per_class"]["d"]["auc"]["value"] is None
    assert any("d" in note and "Left out" in note for note in got["notes"])


def test_multilabel_ignores_unknown_values() -> None:
    rng = np.random.default_rng(5)
    y = (rng.random((300, 3)) < 0.3).astype(float)
    y[rng.random((300, 3)) < 0.3] = np.nan
    prob = np.clip(rng.random((300, 3)) * 0.7 + 0.3 * np.nan_to_num(y), 0, 1)
    names = ["a", "b", "c"]
    got = evaluate(y, prob, None, class_names=names, positive=None, task="multilabel", n_boot=20)
    known = [np.isfinite(y[:, k]) for k in range(3)]
    want = np.mean([sk.roc_auc_score(y[q, k], prob[q, k]) for k, q in enumerate(known)])
    assert got["auc"]["value"] == pytest.approx(want)
    right = [np.mean((prob[q, k] >= 0.5) == (y[q, k] > 0.5)) for k, q in enumerate(known)]
    assert got["accuracy"]["value"] == pytest.approx(np.mean(right))
    assert got["per_class"]["b"]["n_known"] == known[1].sum()
    # what stands at unknown places must not matter
    prob2 = np.where(np.isfinite(y), prob, 0.123)
    again = evaluate(y, prob2, None, class_names=names, positive=None, task="multilabel", n_boot=20)
    assert again["per_class"] == got["per_class"]


def test_one_class_only_gives_null_and_a_note() -> None:
    p = np.linspace(0.1, 0.9, 30)
    got = evaluate(
        np.ones(30, int),
        np.c_[1 - p, p],
        None,
        class_names=["no", "yes"],
        positive="yes",
        task="single",
        n_boot=100,
    )
    for name in ("auc", "specificity", "balanced_accuracy", "calibration_slope"):
        assert got[name] == {"value": None, "low": None, "high": None}, name
    assert got["sensitivity"]["value"] is not None
    assert any("Only one class" in note for note in got["notes"])
    json.dumps(got, allow_nan=False)


def test_nothing_called_positive_gives_null_ppv_and_a_note() -> None:
    y = np.array([0, 1] * 20)
    p = np.linspace(0.1, 0.4, 40)
    got = evaluate(
        y, np.c_[1 - p, p], None, class_names=["no", "yes"], positive="yes", task="single",
        n_boot=50,
    )  # fmt: skip
    assert got["ppv"]["value"] is None
    assert got["sensitivity"]["value"] == 0.0
    assert any("ppv" in note for note in got["notes"])
    json.dumps(got, allow_nan=False)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"prob": np.full((4, 2), 0.9)}, "add up to 1"),
        ({"prob": np.array([[3.0, -2.0]] * 4)}, "not logits"),
        ({"prob": np.full((4, 3), 1 / 3)}, r"\(N, 2\)"),
        ({"y": np.array([0, 1, 2, 0])}, "0..1"),
        ({"positive": "maybe"}, "maybe"),
        ({"prevalence": 5}, "prevalence"),
        ({"groups": ["a"]}, "1 groups given for 4 cases"),
        ({"task": "ranking"}, "ranking"),
    ],
)
def test_what_does_not_fit_is_refused(change, words) -> None:
    keys = {
        "y": np.array([0, 1, 1, 0]),
        "prob": np.full((4, 2), 0.5),
        "groups": None,
        "class_names": ["no", "yes"],
        "positive": "yes",
        "task": "single",
    } | change
    with pytest.raises(RecipeError, match=words):
        evaluate(keys.pop("y"), keys.pop("prob"), keys.pop("groups"), **keys)
