"""Labels that exclude no other: calibrated and covered one by one, unknown values left out."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import log_loss

from recipes.classification.config import UncertaintyConfig
from recipes.classification.outputs import write_csv
from recipes.classification.sureness import Sample, fit_uncertainty, judge_part
from recipes.engine.losses import probabilities
from recipes.errors import RunFolderError
from recipes.evaluation.assess import evaluate
from recipes.report.card import render as render_card
from recipes.report.page import render
from recipes.uncertainty.calibration import (
    Calibration,
    LabelCalibration,
    Rules,
    apply,
    cross_apply,
    fit_calibration,
    two_sided,
)
from recipes.uncertainty.record import RECORD_FILE, Uncertainty, load_uncertainty, save_uncertainty
from recipes.uncertainty.selective import aurc
from tests.recipes.report_inputs import multilabel

NAMES = ("effusion", "nodule")
SHARP = np.asarray([3.0, 0.5])


def vectors(n: int, seed: int, *, unknown: float = 0.25) -> tuple[np.ndarray, np.ndarray]:
    """Logits too sharp by 3 and too soft by 2; labels of 40% and 20%, a share of them unknown."""
    rng = np.random.default_rng(seed)
    exact = rng.normal([-0.6, -1.9], [1.6, 1.5], size=(n, 2))
    truth = (rng.random((n, 2)) < 1 / (1 + np.exp(-exact))).astype(float)
    truth[rng.random((n, 2)) < unknown] = np.nan
    return SHARP * exact, truth


def fitted(logits: np.ndarray, truth: np.ndarray, **rules: object) -> LabelCalibration:
    found = fit_calibration(
        logits,
        truth,
        np.arange(len(truth)),
        Rules("multilabel", **rules),
        NAMES,  # type: ignore[arg-type]
    )
    assert isinstance(found, LabelCalibration)
    return found


@pytest.mark.parametrize("method", ["lac", "aps"])
def test_each_answer_of_each_label_is_covered_over_200_draws(method: str) -> None:
    covered: dict[tuple[int, int], list[float]] = {(k, a): [] for k in (0, 1) for a in (0, 1)}
    temperatures = []
    for seed in range(200):
        logits, truth = vectors(900, seed)
        found = fitted(logits[:450], truth[:450], seed=seed, method=method)
        sets = apply(found, logits[450:]).sets
        temperatures.append([one.temperature for one in found.labels])
        for k, answer in covered:
            mine = truth[450:, k] == answer
            covered[k, answer].append(sets[mine, k, answer].mean())
    # The scores of LAC are continuous, so its coverage is exact up to 1 / (cases + 1).
    for rates in covered.values():
        if method == "lac":
            assert np.mean(rates) == pytest.approx(0.9, abs=0.01)
        else:
            assert np.mean(rates) >= 0.89
    np.testing.assert_allclose(np.median(temperatures, axis=0), SHARP, rtol=0.1)


def test_a_label_alone_is_a_question_with_two_classes() -> None:
    """The same temperature, quantiles and sets as the two-class path on its known cases."""
    logits, truth = vectors(300, seed=1)
    found = fitted(logits, truth, seed=5)
    for k in (0, 1):
        known = np.isfinite(truth[:, k])
        own = fit_calibration(
            two_sided(logits[known, k]),
            np.eye(2)[truth[known, k].astype(int)],
            np.flatnonzero(known),
            Rules(per_class=True, seed=5),
        )
        assert isinstance(own, Calibration)
        assert found.labels[k].temperature == own.temperature
        np.testing.assert_array_equal(found.labels[k].quantiles, own.quantiles)
        np.testing.assert_array_equal(found.sets(logits)[:, k], own.sets(two_sided(logits[:, k])))
        before = log_loss(truth[known, k], 1 / (1 + np.exp(-logits[known, k])))
        after = log_loss(truth[known, k], found.probabilities(logits)[known, k])
        assert after < before
    plain = 1 / (1 + np.exp(-logits / [one.temperature for one in found.labels]))
    np.testing.assert_allclose(found.probabilities(logits), plain, rtol=1e-9)


def test_unknown_values_have_no_say_and_are_answered() -> None:
    logits, truth = vectors(200, seed=2)
    moved = logits.copy()
    moved[np.isnan(truth)] = 77.0
    one, other = fitted(logits, truth), fitted(moved, truth)
    for a, b in zip(one.labels, other.labels, strict=True):
        assert a.temperature == b.temperature
        np.testing.assert_array_equal(a.quantiles, b.quantiles)
    judged = cross_apply(logits, truth, np.arange(200), Rules("multilabel"))
    assert judged is not None
    assert judged.sets.shape == (200, 2, 2)
    assert np.isfinite(judged.prob).all()


def test_a_case_has_no_say_in_its_own_judgement() -> None:
    logits, truth = vectors(120, seed=3, unknown=0.0)
    groups = np.arange(120) // 2
    before = cross_apply(logits, truth, groups, Rules("multilabel", seed=1))
    mine = groups == 9
    other = np.where(mine[:, None], 1 - truth, truth)
    after = cross_apply(logits, other, groups, Rules("multilabel", seed=1))
    assert before is not None
    assert after is not None
    np.testing.assert_array_equal(after.prob[mine], before.prob[mine])
    np.testing.assert_array_equal(after.sets[mine], before.sets[mine])
    assert not np.array_equal(after.prob, before.prob)


@pytest.mark.parametrize(("present", "both"), [(8, True), (9, False)])
def test_too_few_patients_of_an_answer_give_both_answers(present: int, both: bool) -> None:
    rng = np.random.default_rng(4)
    logits = np.concatenate([rng.normal(3, 1, (present, 1)), rng.normal(-3, 1, (150, 1))])
    truth = (np.arange(len(logits)) < present)[:, None].astype(float)
    found = fitted(np.repeat(logits, 2, axis=1), np.repeat(truth, 2, axis=1))
    sets = found.sets(np.repeat(logits, 2, axis=1))
    assert bool(sets.all()) == both
    said = [note for note in found.notes if "always hold both answers" in note]
    assert len(said) == both
    if both:
        assert "Fewer than 9 validation patients with or without effusion, nodule" in said[0]


def test_a_label_that_nobody_knows_is_left_alone() -> None:
    logits, truth = vectors(60, seed=5)
    truth[:, 1] = np.nan
    found = fitted(logits, truth)
    assert found.labels[1].temperature == 1.0
    assert found.sets(logits)[:, 1].all()
    assert any(note.startswith("No temperature was fitted for nodule") for note in found.notes)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Uncertainty, Sample]:
    """A calibration of made-up outputs in a folder, and cases of another part."""
    rng = np.random.default_rng(6)
    logits, truth = vectors(400, seed=6)

    def sample(rows: slice) -> Sample:
        n = len(truth[rows])
        return Sample(logits[rows], rng.normal(size=(n, 5)), truth[rows], [None] * n)

    found, arrays = fit_uncertainty(
        rng.normal(size=(50, 5)),
        truth[:50],
        sample(slice(200)),
        UncertaintyConfig(),
        class_names=NAMES,
        kind="multilabel",
        model_sha256="m",
        seed=0,
    )
    folder = tmp_path_factory.mktemp("labels")
    save_uncertainty(found, folder, arrays)
    return folder, found, sample(slice(200, 400))


def test_stored_and_read_it_says_the_same_in_columns(
    stored: tuple[Path, Uncertainty, Sample], tmp_path: Path
) -> None:
    folder, found, part = stored
    again = load_uncertainty(folder, model_sha256="m")
    assert again is not None
    rows = again.columns(part.logits, part.embeddings)
    assert rows == found.columns(part.logits, part.embeddings)
    from recipes.uncertainty.record import header

    columns = header(again.record)
    assert columns[2:4] == ["prediction_set_effusion", "prediction_set_nodule"]
    write_csv(tmp_path / "p.csv", columns, [[row[key] for key in columns] for row in rows])
    read = list(csv.DictReader(io.StringIO((tmp_path / "p.csv").read_text())))
    sets = again.judge(part.logits).sets
    text = {(1, 0): "absent", (0, 1): "present", (1, 1): "absent;present", (0, 0): ""}
    for row, held in zip(read, sets, strict=True):
        assert row["prediction_set_nodule"] == text[int(held[1, 0]), int(held[1, 1])]
    assert {row["prediction_set_nodule"] for row in read} >= {"absent", "present"}


def test_figures_of_each_label(stored: tuple[Path, Uncertainty, Sample]) -> None:
    _, found, part = stored
    prob = probabilities(part.logits, task="multilabel")
    plain = evaluate(
        part.targets, prob, None, class_names=NAMES, positive=None, task="multilabel", n_boot=100
    )
    sure = judge_part(found, part, plain, positive=None, calibrated_on=False, n_boot=100, seed=0)
    assert sure is not None
    judged = found.judge(part.logits)
    json.dumps(sure.figures, allow_nan=False)
    for k, name in enumerate(NAMES):
        row, known = sure.figures["labels"][name], np.isfinite(part.targets[:, k])
        answer = part.targets[known, k].astype(int)
        held = judged.sets[known, k][np.arange(known.sum()), answer]
        assert (row["n"], row["n_present"]) == (known.sum(), answer.sum())
        assert row["coverage"]["value"] == pytest.approx(held.mean())
        assert row["coverage_present"]["value"] == pytest.approx(held[answer == 1].mean())
        assert row["coverage_absent"]["low"] <= held[answer == 0].mean()
        p = judged.prob[known, k]
        wrong = (p >= 0.5) != answer
        assert row["selective"]["aurc"]["value"] == pytest.approx(aurc(wrong, np.abs(p - 0.5)))
        loss = row["calibration"]["log_loss"]
        assert loss["after"]["value"] == pytest.approx(log_loss(answer, p))
    whole = sure.figures["calibration"]["log_loss"]
    assert whole["after"]["value"] < whole["before"]["value"]
    inputs = multilabel(uncertainty=sure.figures)
    page = render(inputs)
    assert "absent and present, is built to hold the true one in at least <b>90%</b>" in page
    assert page.count('<span class="soft small" style="white-space: nowrap">') > 20
    assert "- nodule: covered" in render_card(inputs)


def test_a_run_calibrated_before_has_its_temperature_and_open_sets(
    stored: tuple[Path, Uncertainty, Sample], tmp_path: Path
) -> None:
    folder, _, part = stored
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    content = json.loads((folder / RECORD_FILE).read_text())
    del content["labels"]
    (tmp_path / RECORD_FILE).write_text(json.dumps(content | {"temperature": 2.0}))
    old = load_uncertainty(tmp_path, model_sha256="m")
    assert old is not None
    judged = old.judge(part.logits)
    assert judged.sets.all()
    np.testing.assert_allclose(judged.prob, 1 / (1 + np.exp(-part.logits / 2)), rtol=1e-9)
    assert "before labels had prediction sets" in old.record.notes[-1]
    (tmp_path / RECORD_FILE).write_text(json.dumps(content))
    with pytest.raises(RunFolderError, match="neither labels nor a temperature"):
        load_uncertainty(tmp_path, model_sha256="m")
