"""Readers beside the network: against DeLong's formula, scikit-learn's curve and plain loops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score, roc_curve

from data_adapters.errors import DataError
from recipes.evaluation.readers import ReadersError, compare_readers, read_scores

N = 160


@pytest.fixture
def truth() -> np.ndarray:
    return np.arange(N) % 4 == 0


def scored(y: np.ndarray, strength: float, seed: int) -> np.ndarray:
    """Probabilities that tell the classes apart so well."""
    rng = np.random.default_rng(seed)
    z = strength * (y - 0.5) + rng.normal(size=len(y))
    return np.asarray(1 / (1 + np.exp(-z)))


def delong(y: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Difference of two AUCs and its standard error (DeLong, DeLong & Clarke-Pearson 1988)."""
    pos, neg = [s[y] for s in (a, b)], [s[~y] for s in (a, b)]
    psi = [
        (p[:, None] > n[None]).astype(float) + 0.5 * (p[:, None] == n[None])
        for p, n in zip(pos, neg, strict=True)
    ]
    v10, v01 = np.array([m.mean(1) for m in psi]), np.array([m.mean(0) for m in psi])
    cover = np.cov(v10) / v10.shape[1] + np.cov(v01) / v01.shape[1]
    gap = psi[0].mean() - psi[1].mean()
    return float(gap), float(np.sqrt(cover[0, 0] + cover[1, 1] - 2 * cover[0, 1]))


def test_the_difference_of_areas_is_delongs(truth: np.ndarray) -> None:
    p = scored(truth, 2.5, 1)
    ratings = np.round(4 * scored(truth, 1.2, 2)) + 1  # 1 to 5, with ties
    (row,) = compare_readers(truth, p, {"A": ratings}, None, threshold=None, n_boot=2000, seed=0)
    gap, error = delong(truth, p, ratings)
    assert row["kind"] == "scores"
    assert row["reader_figures"]["auc"]["value"] == pytest.approx(roc_auc_score(truth, ratings))
    assert row["network_figures"]["auc"]["value"] == pytest.approx(roc_auc_score(truth, p))
    found = row["difference"]["auc"]
    assert found["value"] == pytest.approx(gap, abs=1e-12)
    z = stats.norm.ppf(0.975)
    assert (found["low"], found["high"]) == pytest.approx(
        (gap - z * error, gap + z * error), abs=0.02
    )


def test_calls_beside_the_networks_curve_at_the_same_specificity(truth: np.ndarray) -> None:
    p = np.round(scored(truth, 2.0, 3), 1)  # ties: sloping lines in the curve
    calls = (scored(truth, 1.5, 4) > 0.6).astype(float)
    (row,) = compare_readers(truth, p, {"B": calls}, None, threshold=0.5, n_boot=200, seed=0)
    sensitivity = calls[truth].mean()
    specificity = 1 - calls[~truth].mean()
    fpr, tpr, _ = roc_curve(truth, p, drop_intermediate=False)
    network = row["network_figures"]
    at = network["sensitivity_at_their_specificity"]["value"]
    assert at == pytest.approx(np.interp(1 - specificity, fpr, tpr))
    back = network["specificity_at_their_sensitivity"]["value"]
    assert back == pytest.approx(1 - np.interp(sensitivity, tpr, fpr))
    assert network["sensitivity_op"]["value"] == pytest.approx((p[truth] >= 0.5).mean())
    reader = row["reader_figures"]
    assert (reader["sensitivity"]["value"], reader["specificity"]["value"]) == pytest.approx(
        (sensitivity, specificity)
    )
    assert row["difference"]["sensitivity"]["value"] == pytest.approx(at - sensitivity)
    for figure in (*reader.values(), *network.values(), *row["difference"].values()):
        assert figure["low"] < figure["value"] + 1e-9
        assert figure["value"] < figure["high"] + 1e-9


def test_a_network_that_repeats_a_reader_does_not_differ(truth: np.ndarray) -> None:
    calls = (scored(truth, 1.5, 4) > 0.6).astype(float)
    (row,) = compare_readers(truth, calls, {"B": calls}, None, threshold=0.5, n_boot=200, seed=0)
    for figure in row["difference"].values():
        assert list(figure.values()) == pytest.approx([0, 0, 0])


def test_whole_patients_are_drawn(truth: np.ndarray) -> None:
    p, ratings = scored(truth, 2.5, 1), scored(truth, 1.2, 2)
    twice = [np.repeat(v, 4) for v in (truth, p, ratings)]
    people = [f"p{i // 4}" for i in range(4 * N)]

    def width(groups: list[str] | None) -> float:
        (row,) = compare_readers(
            twice[0], twice[1], {"A": twice[2]}, groups, threshold=None, n_boot=400, seed=0
        )
        return float(row["difference"]["auc"]["high"] - row["difference"]["auc"]["low"])

    assert width(people) == pytest.approx(2 * width(None), rel=0.25)


def test_one_class_is_refused() -> None:
    with pytest.raises(ReadersError, match="of one class"):
        compare_readers([1, 1], [0.2, 0.3], {}, None, threshold=None, n_boot=100, seed=0)


NAMES = [["c0", "a/1.png", "1.png"], ["c1", "b/1.png", "1.png"], ["c2", "b/2.png", "2.png"]]


def test_a_table_names_cases_by_id_or_file_and_calls_by_class(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text(
        "file,Dr X,machine\nb/2.png,Malignant,0.9\nc0,benign,0.125\nelse.png,benign,1\n"
    )
    found, scores = read_scores(path, NAMES, classes=("benign", "malignant"), positive="malignant")
    assert found.tolist() == [0, 2]
    assert {name: values.tolist() for name, values in scores.items()} == {
        "Dr X": [0.0, 1.0], "machine": [0.125, 0.9],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("case,A\n1.png,1\n", "none of its 1 cases"),  # two cases have that file name
        ("case,A\nc0,1\na/1.png,0\n", "repeats a case"),
        ("case,A\nc0,yes\n", "column 'A' holds no score in line 2"),
        ("case,A\nc0,\n", "the cell is blank"),
        ("reader,A\nc0,1\n", "no column of cases"),
        ("case\nc0\n", "no column of scores"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text(text)
    with pytest.raises((ReadersError, DataError), match=words):
        read_scores(path, NAMES, classes=("no", "maybe"), positive="maybe")
