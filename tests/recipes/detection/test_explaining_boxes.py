"""Explanations of detectors of boxes: the very candidate, place and input of the prediction."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from data_adapters.case import Case, Geometry
from recipes.detection.boxes.explaining import BoxAsker
from recipes.detection.boxes.finder import BoxFinder
from recipes.detection.detector import Detector
from recipes.detection.predicting import predict
from recipes.explaining.cam import class_activation, coarse_maps
from recipes.explaining.methods import METHODS
from recipes.explaining.network import Explained
from recipes.explaining.questions import Question
from recipes.explaining.saliency import input_gradients, integrated_gradients
from tests.recipes.detection.box_runs import box_detector, write_run
from tests.recipes.detection.tiny import write_discs
from tests.recipes.explaining.nets import classifier, drawn, images, one_hot
from tests.recipes.explaining.test_commands import check_page, invoked, refused
from tests.recipes.tiny_backbone import NAME
from zoo.boxes import box_places, class_logits

MOST = 4


def asker_of(detector: Detector) -> BoxAsker:
    assert isinstance(detector.first, BoxFinder)
    return BoxAsker(detector, detector.first, backbone=NAME, sha256="0")


def picture(shape: tuple[int, ...], seed: int = 0, **more: Any) -> Case:
    image = np.random.default_rng(seed).uniform(0, 255, (*shape, 1)).astype(np.float32)
    return Case(image, "a", **more)


RESAMPLED = {
    "chain": ({"step": "resample", "spacing": [1.5, 1.0, 1.0], "mask": "onehot"},),
}
GEOMETRY = Geometry((2.0, 1.0, 1.0), (0.0, 0.0, 0.0), ((1, 0, 0), (0, 1, 0), (0, 0, 1)))


@pytest.mark.parametrize(
    ("detector", "case"),
    [
        (lambda: box_detector((32, 32), whole=True, mirrors=(1,)), picture((45, 39))),
        (lambda: box_detector((32, 32), mirrors=(0, 1)), picture((45, 30))),
        (lambda: box_detector((16, 32, 32), **RESAMPLED), picture((14, 40, 32), geometry=GEOMETRY)),
    ],
    ids=["whole", "windows", "volume"],
)
def test_candidates_are_those_of_the_prediction(detector: Any, case: Case) -> None:
    model = detector()
    found = model.find(case)
    questions = asker_of(model).ask(case, label=None, most=MOST)
    assert [q.name for q in questions] == [f"candidate-{k + 1}" for k in range(MOST)]
    if model.first.record.mirrors:
        assert len({int(view) for view in found.origins[:, 0]}) > 1
    for k, question in enumerate(questions):
        name = model.record.class_names[found.labels[k]]
        assert question.label == name
        assert question.facts["candidate_score"] == found.scores[k]
        assert f"candidate {k + 1} (score {found.scores[k]:.3f}" in question.text
        below = name == "ring" or found.scores[k] < 0.9
        assert ("below the operating point" in question.text) == below
        assert question.network is not None
        score = float(question.network.scores(question.image[None], question.weights[None])[0])
        odds = np.log(found.scores[k]) - np.log1p(-found.scores[k])
        assert score == pytest.approx(odds, abs=1e-4)
        # the place that gave the box lies in the box that predict gives, on the case's own grid
        assert question.region is not None
        assert question.focus is not None
        there = question.back(question.focus) > 0.5
        assert there.shape == case.image.shape[:-1]
        assert (there & question.region).any()
        middle = np.argwhere(there).mean(axis=0) + 0.5
        axes = len(middle)
        assert (middle > found.boxes[k, :axes] - 4).all()
        assert (middle < found.boxes[k, axes:] + 4).all()


def test_a_class_keeps_the_numbers_of_its_candidates() -> None:
    model, case = box_detector((32, 32), whole=True), picture((32, 48))
    found = model.find(case)
    for label, name in enumerate(model.record.class_names):
        questions = asker_of(model).ask(case, label=name, most=2)
        rows = np.flatnonzero(found.labels == label)[:2]
        assert [q.name for q in questions] == [f"candidate-{row + 1}" for row in rows]
        assert {q.label for q in questions} == {name}


def test_the_input_is_what_the_network_saw_there() -> None:
    """Of a mirrored view the mirrored picture, and the map comes back the right way round."""
    model, case = box_detector((32, 32), mirrors=(0, 1)), picture((45, 30))
    found = model.find(case)
    windows, record = model.first.windows, model.first.record
    for view in range(4):
        row = int(np.flatnonzero(found.origins[:, 0] == view)[0])
        glimpse = windows.glimpse(case.image, found.origins[row], record.mirrors)
        # both ways: what was cut out of the picture is what the network saw, and comes back
        assert np.array_equal(glimpse.cut(case.image[..., 0])[:, :30], glimpse.image[:, :30, 0])
        seen = glimpse.spread(glimpse.image[..., 0])
        assert np.array_equal(seen[seen > 0], case.image[..., 0][seen > 0])
        assert (seen > 0).sum() == 32 * 30
        beyond = glimpse.image[:, 30:]
        assert (beyond == case.image.min()).all()


def heat_of(question: Question, kind: Any = "gradcam", *, local: bool = True) -> np.ndarray:
    assert question.network is not None
    return class_activation(
        question.network, question.image[None], question.weights[None], kind=kind, local=local
    )[0]


def asked() -> tuple[Detector, Question]:
    model = box_detector((64, 64), whole=True)
    return model, asker_of(model).ask(picture((64, 64)), label=None, most=1)[0]


@pytest.mark.parametrize("kind", ["gradcam", "gradcam++"])
def test_maps_light_up_around_the_place(kind: Any) -> None:
    model, question = asked()
    place, _ = np.argwhere(question.weights)[0]
    middles, strides = box_places(model.first.windows.own.model)
    near = np.ones((64, 64), bool)
    for axis in range(2):
        at = np.abs(np.arange(64) + 0.5 - middles[place, axis]) <= 4 * strides[place, axis]
        near &= np.expand_dims(at, 1 - axis)
    local, plain = heat_of(question, kind), heat_of(question, kind, local=False)
    share = float(local[near].sum() / local.sum())
    # the norms of the head let every place see every other one a little
    assert share > 1.3 * near.mean()
    assert share > 1.1 * plain[near].sum() / plain.sum()
    assert near[np.unravel_index(local.argmax(), local.shape)]


def test_a_local_map_is_the_plain_one_where_all_places_count_alike() -> None:
    model = classifier()
    network, x = Explained(model), images(model)
    for kind, times in (("gradcam", 1), ("gradcam++", 1 / 64)):
        local = coarse_maps(network, x, one_hot(1), kind=kind, local=True)[0]
        plain = coarse_maps(network, x, one_hot(1), kind=kind)[0]
        np.testing.assert_allclose(local, plain * times, rtol=1e-4, atol=1e-6)


def test_a_local_map_of_the_last_layer_adds_up_to_the_score() -> None:
    """HiResCAM's completeness: a linear layer behind it gives the sum of all values' shares."""
    image = keras.Input((16, 16, 2))
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="last")(image)
    y = keras.layers.Conv2D(3, 3, padding="same", name="score")(x)
    network = Explained(drawn(keras.Model(image, y)))
    weights = np.zeros((1, 16, 16, 3), np.float32)
    weights[0, 5, 7, 2] = 1.0
    x = images(network.model, count=1)
    _, values, gradients = network.gradients(x, weights, layers=network.program.find("last"))
    bias = float(network.model.get_layer("score").get_weights()[1][2])
    share = (values[0] * gradients[0]).sum(axis=-1)
    assert share.sum() + bias == pytest.approx(float(network.scores(x, weights)[0]), rel=1e-4)
    found = coarse_maps(network, x, weights, layers=network.program.find("last"), local=True)[0]
    np.testing.assert_allclose(found, np.maximum(share, 0), atol=1e-6)
    assert not found[0, 8:].any()


def test_maps_change_with_the_weights() -> None:
    """Adebayo et al. (2018, arXiv:1810.03292): else a method shows the picture, not the network."""
    _, question = asked()
    network = question.network
    assert network is not None
    before = [heat_of(question), np.abs(network_gradient(question))]
    drawn(network.model, seed=9)
    after = [heat_of(question), np.abs(network_gradient(question))]
    for one, other in zip(before, after, strict=True):
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] < 0.5


def network_gradient(question: Question) -> np.ndarray:
    assert question.network is not None
    return input_gradients(question.network, question.image[None], question.weights[None])[0]


def test_integrated_gradients_add_up() -> None:
    model, question = asked()
    assert question.network is not None
    found = integrated_gradients(
        question.network, question.image, question.weights, baseline=question.baseline, steps=64
    )
    place, label = np.argwhere(question.weights)[0]
    own = model.first.windows.own.model
    rows = np.asarray(own(np.stack([question.image, question.baseline])))
    difference = float(rows[0, place, label] - rows[1, place, label])
    assert found.values.sum() == pytest.approx(difference, rel=0.05)
    assert (question.baseline == question.image.min()).all()


def test_logits_alone_are_those_of_the_whole_network() -> None:
    model = box_detector((32, 32)).first.windows.own.model
    image = picture((32, 32)).image[None]
    np.testing.assert_array_equal(class_logits(model)(image), model(image)[..., :2])
    assert not any("sides" in layer.name for layer in class_logits(model).layers)


def test_the_commands(tmp_path: Path) -> None:
    run = write_run(box_detector((64, 64), channels=3, whole=True, chain=(
        {"step": "channels", "count": 3},)), tmp_path / "run")  # fmt: skip
    data, out = write_discs(tmp_path / "data", parts={"val": 2}), tmp_path / "out"
    words = [word for name in METHODS for word in ("--method", name)]
    result = invoked("detect", "explain", run, data, "--out", out, "--pictures", "yes",
                     "--limit", 1, *words, "--cover", 24)  # fmt: skip
    assert len(result["rows"]) == len(METHODS)
    assert {row["status"] for row in result["rows"]} == {"ok"}
    notes = " ".join(result["notes"])
    assert "boxes_P2_smooth, boxes_P3_smooth" in notes
    predict(run, [data / "images" / "val_0.png"], tmp_path / "found", every=True)
    with (tmp_path / "found" / "candidates.csv").open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    for row in result["rows"]:
        line = lines[int(row["question"].split("-")[1]) - 1]
        assert row["class"] == line["class"]
        assert row["candidate_score"] == pytest.approx(float(line["score"]), abs=1e-6)
        assert row["score"] == pytest.approx(
            np.log(float(line["score"])) - np.log1p(-float(line["score"])), abs=1e-3
        )
        assert 0 <= row["box_energy"] <= 1
    page = check_page(out / "explained.html", 1)
    assert "of the map in it" in page
    learned = invoked("detect", "features", run, data, "--out", tmp_path / "f", "--units", 2,
                      "--pictures", "yes", "--limit", 2)  # fmt: skip
    fields = {layer["name"]: layer["receptive_field"] for layer in learned["layers"]}
    assert fields["act1"] == [3, 3]
    assert fields["act3"] == [15, 15]
    check_page(tmp_path / "f" / "features.html", 1 + sum(
        len({r["unit"] for r in layer["regions"]}) for layer in learned["layers"]))  # fmt: skip
    message = refused("detect", "explain", run, data, "--out", out, "--layer", "boxes_relu3")
    assert "did you mean 'boxes_relu" in message


def test_what_does_not_fit_is_refused_in_a_sentence(tmp_path: Path) -> None:
    run = write_run(box_detector((64, 64)), tmp_path / "run")
    data, out = write_discs(tmp_path / "data", parts={"val": 1}), tmp_path / "out"
    assert "there is no run folder" in refused("detect", "explain", tmp_path / "no", data, "--out",
                                               out)  # fmt: skip
    for pictures in ((), ("--pictures", "yes")):
        message = refused("segment", "explain", run, data, "--out", out, *pictures)
        assert "is of 'detection' and not of 'segmentation'" in message
        assert "radzoo detect" in message
    message = refused("detect", "explain", run, data, "--out", out, "--truth-class", "disk")
    assert "did you mean 'disc'" in message
    (tmp_path / "junk").mkdir()
    (tmp_path / "junk" / "a.png").write_bytes(b"no picture")
    message = refused("detect", "features", run, tmp_path / "junk", "--out", out,
                      "--pictures", "yes")  # fmt: skip
    assert "no case can be looked at, of 1" in message
    result = invoked("detect", "explain", run, tmp_path / "junk", "--out", out)
    assert result["n_skipped"] == 1
    assert "no picture" in result["rows"][0]["message"]
