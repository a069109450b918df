"""A classifier of centre voxels: slid, dense, trained, saved and applied."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np
import pytest

from data_adapters import adapter as adapters
from recipes.config import load_config
from recipes.errors import ConfigError
from recipes.segmentation.config import SegmentationConfig
from recipes.segmentation.fitting import fit
from recipes.segmentation.inference import Network
from recipes.segmentation.patchwise import centre_labels, log_priors, slide, whole_case
from recipes.segmentation.predicting import predict
from recipes.segmentation.record import load_segmenter
from recipes.segmentation.segmenter import record_predictor
from tests.recipes.segmentation.inference.networks import apart, random_image, shaken
from tests.recipes.segmentation.sets import write_volumes
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


def test_the_centre_is_labelled_and_the_unknown_weighs_nothing() -> None:
    mask = np.full((2, 5, 4), -1)
    mask[0, 2, 2] = 3
    label, weight = centre_labels(keras.ops.convert_to_tensor(mask), (5, 4))
    assert np.array(label).tolist() == [3, 0]
    assert np.array(weight).tolist() == [1.0, 0.0]


def test_logits_move_by_how_much_more_often_patches_show_a_class() -> None:
    counts, voxels, foreground = np.array([0, 40, 10, 0]), 1000, 0.5
    rng = np.random.default_rng(0)
    anywhere = rng.choice(3, 400_000, p=[0.95, 0.04, 0.01])
    drawn = np.where(rng.random(400_000) < foreground, rng.integers(1, 3, 400_000), anywhere)
    shares = np.bincount(drawn) / len(drawn)
    found = log_priors(counts, voxels, foreground)
    np.testing.assert_allclose(found[:3], np.log([0.95, 0.04, 0.01] / shares), atol=0.02)
    assert found[3] == 0


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
    rows = predict(tmp_path / "run", [data / "imagesTr" / "case_000.nii.gz"], tmp_path / "masks")
    assert rows[0]["status"] == "ok"
    adapter = adapters.open(str(data))
    row = next(
        i for i, one in enumerate(adapter.index) if adapter.source_name(i).endswith("000.nii.gz")
    )
    kept = tmp_path / "run" / "checkpoints" / "predicted"
    labels = np.load(next(kept.glob(f"*{row:06d}.npy")))
    members, record = load_segmenter(tmp_path / "run")
    assert record_predictor(record).fill == 0.0
    found = adapters.open(str(tmp_path / "masks"))[0].image[..., 0]
    steps = json.loads((tmp_path / "run" / "model.json").read_text())["postprocess"]
    if not steps:
        np.testing.assert_array_equal(found, labels)
    assert members[0].output_shape[1:-1] == tuple(record.patch)


def test_what_does_not_fit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RADZOO_HOME", str(tmp_path / "home"))
    data = write_volumes(tmp_path / "data", count=4)
    for change, message in (
        ("plan.patch=[8,9,9]", "odd sides"),
        ("train.loss=dice", "cross-entropy"),
    ):
        config = load_config(SegmentationConfig, changes=["model.network=patch", change])
        with pytest.raises(ConfigError, match=message):
            fit(data, tmp_path / change[:5], config)
