"""A classifier of centre voxels: slid, dense, trained, saved and applied."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import SimpleITK

from data_adapters import adapter as adapters
from recipes.config import load_config
from recipes.errors import ConfigError
from recipes.progress import Reporter
from recipes.segmentation.config import SegmentationConfig
from recipes.segmentation.fitting import fit
from recipes.segmentation.inference import Network
from recipes.segmentation.patchwise import (
    build_classifier,
    centre_labels,
    log_priors,
    refresh,
    slide,
    whole_case,
)
from recipes.segmentation.plan import Network as PlanNetwork
from recipes.segmentation.plan import Plan, write_plan
from recipes.segmentation.planning import planned
from recipes.segmentation.predicting import predict
from recipes.segmentation.segmenter import Segmenter, record_predictor
from tests.recipes.segmentation.inference.networks import apart, random_image, shaken
from tests.recipes.segmentation.sets import write_volumes
from tests.recipes.tiny_backbone import NAME, register
from zoo.patch import patch_classifier

SMALL = (
    "model.network=patch",
    "plan.width=6",
    "plan.patch=[9,9,9]",
    "plan.batch=16",
    "train.steps=240",
    "train.rounds=2",
    "train.learning_rate=0.01",
    "train.ema=null",
    "augment.strength=none",
    "evaluate.n_boot=100",
    "data.fold=0",
)


@pytest.mark.parametrize("patch", [(13, 9), (9, 11, 10), (10, 8)])
@pytest.mark.parametrize("reduction", ["max", "stride"])
def test_the_dense_network_equals_the_sliding_window_at_every_voxel(
    patch: tuple[int, ...], reduction: str
) -> None:
    classifier = shaken(
        patch_classifier(
            patch_shape=(*patch, 2),
            classes=3,
            widths=(3, 4),
            convolutions=1,
            reduction=reduction,
            hidden=5,
        )
    )
    image = random_image(*(side + 4 for side in patch), 2)
    shift = np.array([0.5, -1.0, 0.25], np.float32)
    wanted = slide(classifier, image) + shift
    dense = whole_case(classifier, shift)
    network = Network(dense, patch)
    assert network.reach.halo is not None
    assert apart(network.run(image[None])[0], wanted) < 1e-5
    kernel = dense.layers[-1].kernel
    kernel.assign(kernel + 0.1)
    assert apart(Network(dense, patch).run(image[None])[0], wanted) > 1e-3


@pytest.mark.parametrize("channels", [1, 3])
def test_a_backbone_without_padding_is_a_classifier_like_any_other(channels: int) -> None:
    register()
    network = PlanNetwork(kind="patch", backbone=NAME, level="P2", weights="none")
    plan = Plan(dims=2, chain=(), patch=(17, 19), batch=2, channels=channels,
                classes=("background", "a", "b"), network=network)  # fmt: skip
    classifier = shaken(build_classifier(plan))
    image = 255 * random_image(21, 22, channels)
    shift = np.array([0.5, -1.0, 0.25], np.float32)
    dense = Network(whole_case(classifier, shift), plan.patch)
    assert dense.reach.halo is not None
    assert apart(dense.run(image[None])[0], slide(classifier, image) + shift) < 1e-4
    deep = network.model_copy(update={"level": "P4"})
    small = plan.model_copy(update={"network": deep})
    with pytest.raises(ConfigError, match=r"model\.centre=backbone: .* too small"):
        build_classifier(small)


def test_a_pretrained_body_is_planned_for(tmp_path: Path) -> None:
    pictures = [f"{k}.png" for k in range(4)]
    for name in pictures:
        for part in ("images", "masks"):
            (tmp_path / part).mkdir(exist_ok=True)
            array = np.zeros((120, 130), np.uint8)
            array[40:60, 50:70] = 1
            image = SimpleITK.GetImageFromArray(array * (200 if part == "images" else 1))
            SimpleITK.WriteImage(image, str(tmp_path / part / name))
    rows = "".join(f"images/{n},masks/{n}\n" for n in pictures)
    (tmp_path / "cases.csv").write_text("path,mask\n" + rows)
    changes = ["model.network=patch", "model.centre=backbone"]
    named = "data.columns.classes=background,lesion"
    config = load_config(SegmentationConfig, changes=[*changes, named])
    plan, _ = planned(str(tmp_path / "cases.csv"), config, Reporter(quiet=True))
    assert plan.patch == (97, 97)
    assert (plan.network.backbone, plan.network.level) == ("efficientnet_lite0", "P3")
    assert plan.network.input_range == (0.0, 255.0)
    assert not [step for step in plan.chain if step["step"] == "normalize"]
    flat = load_config(SegmentationConfig, changes=[*changes, "plan.dims=3", "data.fold=0"])
    with pytest.raises(ConfigError, match=r"model\.centre=backbone is 2D"):
        planned(str(write_volumes(tmp_path / "volumes", splits=True)), flat, Reporter(quiet=True))


def test_the_centre_is_labelled_and_the_unknown_weighs_nothing() -> None:
    mask = np.full((2, 5, 4), -1)
    mask[0, 2, 2] = 3
    label, weight = centre_labels(keras.ops.convert_to_tensor(mask), (5, 4))
    assert np.array(label).tolist() == [3, 0]
    assert np.array(weight).tolist() == [1.0, 0.0]


def test_logits_move_by_how_much_more_often_patches_show_a_class() -> None:
    counts = np.array([950, 40, 10, 0])
    drawn = np.random.default_rng(0).integers(0, 3, 400_000)  # the three that are there, in turn
    shares = np.bincount(drawn) / len(drawn)
    found = log_priors(counts)
    np.testing.assert_allclose(found[:3], np.log([0.95, 0.04, 0.01] / shares), atol=0.02)
    assert found[3] == 0
    assert log_priors(np.zeros(2)).tolist() == [0, 0]


def test_the_dense_form_follows_the_classifier() -> None:
    classifier = shaken(
        patch_classifier(patch_shape=(9, 9, 1), classes=2, widths=(3, 4), convolutions=1, hidden=5)
    )
    shift = np.array([0.5, -1.0], np.float32)
    dense = whole_case(classifier, shift)
    image = random_image(12, 11, 1)
    before = slide(classifier, image) + shift
    for weight in classifier.trainable_weights:
        weight.assign(weight * 0.7 + 0.05)
    wanted = slide(classifier, image) + shift
    assert apart(before, wanted) > 1e-2
    refresh(dense, classifier, shift)
    assert apart(Network(dense, (9, 9)).run(image[None])[0], wanted) < 1e-5


@pytest.mark.slow
def test_a_run_learns_and_a_fresh_prediction_is_that_of_the_training_pipeline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RADZOO_HOME", str(tmp_path / "home"))
    data = write_volumes(tmp_path / "data", splits=True)
    result = fit(data, tmp_path / "run", load_config(SegmentationConfig, changes=SMALL))
    assert result["metrics"]["mean"]["dice"]["value"] > 0.5
    plan = (tmp_path / "run" / "plan.yaml").read_text()
    assert "kind: patch" in plan
    page = (tmp_path / "run" / "report.html").read_text()
    assert "trained on the loss cross-entropy for 240 steps" in page
    model = Segmenter.load(tmp_path / "run")
    assert record_predictor(model.record).fill == 0.0
    assert model.members[0].model.output_shape[1:-1] == tuple(model.record.patch)
    adapter = adapters.open(str(data))
    kept = np.load(tmp_path / "run" / "checkpoints" / "predicted" / "000000.npy")
    found = model.probabilities(*model.ready(adapter[0]))
    np.testing.assert_array_equal(kept, found.argmax(axis=-1))
    source = data / "imagesTr" / "case_000.nii.gz"
    rows = predict(tmp_path / "run", [source], tmp_path / "masks", probabilities=True)
    assert rows[0]["status"] == "ok"
    written = SimpleITK.ReadImage(str(tmp_path / "masks" / rows[0]["probabilities"]))
    np.testing.assert_allclose(SimpleITK.GetArrayFromImage(written), found, atol=1e-4)


@pytest.mark.slow
def test_slices_with_neighbours_by_two_classifiers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RADZOO_HOME", str(tmp_path / "home"))
    data = write_volumes(tmp_path / "data", splits=True)
    changes = [*SMALL, "plan.dims=2.5", "plan.patch=[9,9]", "model.members=2", "train.steps=6"]
    fit(data, tmp_path / "run", load_config(SegmentationConfig, changes=changes))
    model = Segmenter.load(tmp_path / "run")
    assert (model.record.axes, model.record.neighbours, len(model.members)) == (2, 1, 2)
    kept = np.load(tmp_path / "run" / "checkpoints" / "predicted" / "000000.npy")
    image, undos = model.ready(adapters.open(str(data))[0])
    np.testing.assert_array_equal(kept, model.labels(image, undos))


def test_what_does_not_fit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RADZOO_HOME", str(tmp_path / "home"))
    data = write_volumes(tmp_path / "data", count=4)
    for change, message in (
        ("plan.patch=[8,9,9]", "odd sides"),
        ("train.loss=dice", "cross-entropy"),
        ("model.norm=instance", "wants BatchNorm"),
        ("evaluate.mode=blend", "exact in tiles"),
    ):
        config = load_config(SegmentationConfig, changes=["model.network=patch", change])
        with pytest.raises(ConfigError, match=message):
            fit(data, tmp_path / change[:9], config)
    wish = load_config(SegmentationConfig, changes=["model.network=patch", "plan.patch=[9,9,9]"])
    plan, _ = planned(str(data), wish, Reporter(quiet=True))
    file = tmp_path / "plan.yaml"
    write_plan(plan, file)
    given = f"plan.file={file}"
    with pytest.raises(ConfigError, match="cross-entropy"):
        planned(
            str(data),
            load_config(SegmentationConfig, changes=[given, "train.loss=dice"]),
            Reporter(quiet=True),
        )
    file.write_text(file.read_text().replace("patch:\n- 9", "patch:\n- 8"))
    with pytest.raises(ConfigError, match="odd sides"):
        planned(str(data), load_config(SegmentationConfig, changes=[given]), Reporter(quiet=True))


def test_little_memory_cuts_to_odd_sides_and_fewer_patches(tmp_path: Path) -> None:
    data = write_volumes(tmp_path / "data", count=4, shape=(30, 30, 30))
    changes = ["model.network=patch", "plan.memory_gb=0.115"]
    plan, _ = planned(
        str(data), load_config(SegmentationConfig, changes=changes), Reporter(quiet=True)
    )
    assert all(side % 2 for side in plan.patch)
    assert min(plan.patch) < 25
    assert plan.batch < 16
