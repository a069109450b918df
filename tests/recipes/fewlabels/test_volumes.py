"""Masked pretraining of volumes: inputs as a segmentation's, weights that load as they are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest
import SimpleITK as sitk

import zoo
from data_adapters import adapter as adapters
from data_adapters.errors import LeakageError
from data_adapters.home import home
from data_adapters.leakage import check_patients
from data_adapters.splits import Splits
from recipes.config import load_config
from recipes.errors import ConfigError, RecipeError
from recipes.fewlabels.config import PretrainConfig
from recipes.fewlabels.gate import (
    SEEN,
    beside_pretraining,
    check_pretraining,
    native_digest,
    pretrained_on,
    write_seen,
)
from recipes.fewlabels.learners import Masked, hidden_patches
from recipes.fewlabels.pretraining import grey_loss, pretrain
from recipes.fewlabels.rebuilding import rebuilder
from recipes.fewlabels.volumes import PatchMaterial, VolumeBatches
from recipes.progress import Reporter
from recipes.segmentation.config import SegmentationConfig
from recipes.segmentation.data import prepare
from recipes.segmentation.networks import build_network
from recipes.segmentation.plan import Plan
from recipes.segmentation.rules import Machine
from tests.recipes.segmentation.sets import write_volumes
from tests.recipes.tiny_backbone import NAME, register, write_weights

PATCH = (16, 16, 16)
MACHINE = Machine(memory_gb=8.0, gpu=False)


def configured(*changes: str) -> PretrainConfig:
    plain = [
        "method=masked", f"model.backbone={NAME}", "model.weights=none", "data.patch=[32,32,32]",
        "train.epochs=2", "train.batch_size=2", "train.learning_rate=3e-3", "views.strength=light",
    ]  # fmt: skip
    return load_config(PretrainConfig, changes=[*plain, *changes])


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Six volumes with masks, two of them validation under fold 0."""
    root = tmp_path_factory.mktemp("volumes")
    register()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RADZOO_HOME", str(root / "home"))
        data = write_volumes(root / "data", count=6)
        names = [f"case_{k:03d}" for k in range(6)]
        fold = {"train": names[2:], "val": names[:2]}
        (data / "splits.json").write_text(json.dumps([fold]))
        yield data


def layers_of(model: keras.Model) -> dict[str, list[np.ndarray]]:
    return {layer.name: layer.get_weights() for layer in model.layers if layer.weights}


def test_pretrained_kernels_load_everywhere_and_a_killed_run_ends_as_a_whole_one(
    volumes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = write_weights(tmp_path / "start.weights.h5")
    config = configured("data.fold=0", f"model.weights={start}", "report.pictures=yes")
    summary = pretrain(volumes, tmp_path / "whole", config)
    assert (summary["n"], summary["volumes"], summary["method"]) == (4, "patches", "masked")
    assert summary["rebuilt_from"] == ["P3", "P4"]
    assert summary["blocks"] == [4, 4, 4]
    assert not summary["collapsed"]
    assert 0 < summary["loss_of_grey"] < 0.5

    class Killed(BaseException):
        pass

    plain = VolumeBatches.__getitem__

    def dies(self: VolumeBatches, index: int) -> object:
        if self.number == 2:
            raise Killed
        return plain(self, index)

    with monkeypatch.context() as patch:
        patch.setattr(VolumeBatches, "__getitem__", dies)
        with pytest.raises(Killed):
            pretrain(volumes, tmp_path / "cut", config)
    pretrain(volumes, tmp_path / "cut", config)
    weights = tmp_path / "whole" / "backbone.weights.h5"
    again = tmp_path / "cut" / "backbone.weights.h5"
    shape = (24, 32, 48, 1)
    whole, cut = (
        layers_of(zoo.create_backbone(NAME, input_shape=shape, dims=3, weights=path))
        for path in (weights, again)
    )
    begun = layers_of(zoo.create_backbone(NAME, input_shape=shape, dims=3, weights=start))
    assert whole.keys() == cut.keys() == begun.keys()
    for name, arrays in whole.items():
        for a, b in zip(arrays, cut[name], strict=True):
            np.testing.assert_array_equal(a, b)
    kernels = [name for name in whole if name.startswith("conv")]
    assert all(np.abs(whole[n][0] - begun[n][0]).max() > 1e-4 for n in kernels)
    first, last = (whole[f"conv4_tap{tap}"][0] for tap in (0, 2))
    assert np.abs(first - last).max() > 1e-4  # no longer the same slice three times
    check_uses(weights, start, whole)
    check_page(tmp_path / "whole")
    silent = load_config(
        PretrainConfig, base=config.model_dump(mode="json"), changes=["report.pictures=no"]
    )
    pretrain(volumes, tmp_path / "whole", silent)
    page = (tmp_path / "whole" / "report.html").read_text()
    assert "Cases as they are" not in page
    assert "Pictures of cases are left out" in page
    for name, arrays in layers_of(
        zoo.create_backbone(NAME, input_shape=shape, dims=3, weights=weights)
    ).items():
        np.testing.assert_array_equal(arrays[0], whole[name][0])


def check_uses(weights: Path, start: Path, whole: dict[str, list[np.ndarray]]) -> None:
    """A segmenter and a detector of boxes in 3D hold exactly these kernels and answer otherwise."""
    shape = (32, 32, 32, 1)
    made = zoo.create_box_detector(NAME, input_shape=shape, classes=1, weights=weights, dims=3,
                                   levels=("P3", "P4"), width=16)  # fmt: skip
    answers = []
    for path in (weights, start):
        keras.utils.set_random_seed(0)
        model = zoo.create_segmenter(NAME, input_shape=shape, classes=2, weights=path, dims=3)
        x = np.random.default_rng(0).uniform(0, 255, (1, *shape)).astype("float32")
        answers.append(np.asarray(model(x)))
        if path == weights:
            for found in (layers_of(model), layers_of(made)):
                for name, arrays in whole.items():
                    for a, b in zip(arrays, found[name], strict=True):
                        np.testing.assert_array_equal(a, b)
    assert np.abs(answers[0] - answers[1]).max() > 1e-3


def check_page(folder: Path) -> None:
    page = (folder / "report.html").read_text()
    assert "Research use only" in page
    assert "Cases as they are, with patches hidden, and rebuilt" in page
    assert "the middle slice of a" in " ".join(page.split())
    assert str(folder.parent) not in page + (folder / "metrics.json").read_text()
    assert (folder / "plan.yaml").is_file()


def test_inputs_are_those_of_a_segmentation_of_the_same_volumes(volumes: Path) -> None:
    config = configured("data.fold=0", "data.spacing=[1.0,1.5,1.0]")
    folder = volumes.parent / "same"
    folder.mkdir()
    adapter = adapters.open(str(volumes), fold=0)
    with Reporter(quiet=True) as quiet:
        ours = PatchMaterial(adapter, config, quiet, folder=folder)
    wanted = load_config(
        SegmentationConfig,
        changes=[
            "model.network=backbone", f"model.backbone={NAME}", "plan.dims=3",
            "plan.spacing=[1.0,1.5,1.0]", "plan.patch=[32,32,32]",
        ],
    )  # fmt: skip
    theirs = prepare(adapter, wanted, MACHINE)
    assert ours.limits == theirs.plan.network.input_range
    for row in theirs.rows("train"):
        np.testing.assert_array_equal(ours.store[row].image, theirs.store[row].image)
    assert ours.rows == theirs.rows("train")
    assert not ours.store[ours.rows[0]].mask.any()


def test_blocks_are_whole_and_as_many_as_asked_in_three_axes() -> None:
    hidden = hidden_patches(np.random.default_rng(1), (8, 12, 16), patches=(2, 3, 4), share=0.25)
    assert hidden.shape == (8, 12, 16, 1)
    blocks = hidden.reshape(2, 4, 3, 4, 4, 4).transpose(0, 2, 4, 1, 3, 5).reshape(24, 64)
    assert set(blocks.mean(axis=1)) == {0.0, 1.0}
    assert blocks.mean() == pytest.approx(0.25)


def test_what_lies_beyond_a_case_is_never_hidden(volumes: Path) -> None:
    folder = volumes.parent / "beyond"
    folder.mkdir()
    config = configured("views.hidden=0.5")
    with Reporter(quiet=True) as quiet:
        material = PatchMaterial(adapters.open(str(volumes)), config, quiet, folder=folder)
    (patches, hidden), _ = material.epoch(1)[0]
    _, masks = material.stream.batch(0, 0)
    assert (masks < 0).any()  # cases are smaller than the patch
    assert not hidden[masks < 0].any()
    assert 0.2 < hidden[masks >= 0].mean() < 0.8
    assert patches.shape == (2, 32, 32, 32, 1)
    again = material.epoch(1)[0][0][1]
    np.testing.assert_array_equal(hidden, again)
    assert (material.epoch(2)[0][0][1] != hidden).any()


@pytest.mark.parametrize("sides", [(32, 32), (16, 32, 20)])
def test_the_loss_counts_hidden_voxels_alone(sides: tuple[int, ...]) -> None:
    register()
    rng = np.random.default_rng(2)
    learner = Masked(
        rebuilder(NAME, (*sides, 2), (0.0, 2.0), weights=None, level="P2"), input_range=(0.0, 2.0)
    )
    x = rng.uniform(-0.5, 2.5, (2, *sides, 2)).astype("float32")
    hidden = np.stack([hidden_patches(rng, sides, patches=4, share=0.6) for _ in x])
    made = np.asarray(learner([x, hidden]))
    assert made.shape == x.shape
    loss = float(learner.loss_of([x, hidden], None, made))
    there = np.broadcast_to(hidden > 0, x.shape)
    wanted = np.abs(np.clip(x / 2, 0, 1) - made)[there].mean()
    assert loss == pytest.approx(float(wanted), rel=1e-5)
    other = np.where(there, rng.uniform(0, 2, x.shape), x).astype("float32")
    np.testing.assert_allclose(np.asarray(learner([other, hidden])), made, atol=1e-6)


@pytest.mark.parametrize("level", ["P1", "P3", "P4"])
def test_every_layer_of_the_backbone_learns(level: str) -> None:
    import tensorflow as tf

    register()
    network = rebuilder(NAME, (*PATCH, 1), (0.0, 1.0), weights=None, level=level)
    learner = Masked(network, input_range=(0.0, 1.0))
    rng = np.random.default_rng(3)
    x = rng.uniform(0, 1, (2, *PATCH, 1)).astype("float32")
    hidden = np.stack([hidden_patches(rng, PATCH, patches=2, share=0.5) for _ in x])
    with tf.GradientTape() as tape:
        loss = learner.loss_of([x, hidden], None, learner([x, hidden], training=True))
    kernels = [w for w in learner.trainable_weights if "kernel" in w.path]
    gradients = tape.gradient(loss, [w.value for w in kernels])
    assert len(kernels) > 12
    dead = [w.path for w, g in zip(kernels, gradients, strict=True) if not np.abs(g).max() > 0]
    # on 16 voxels the top map is one slice: what its outer taps see is mirrored, and still learns
    assert dead == []


def test_the_loss_of_grey_is_that_of_a_network_that_has_learnt_nothing() -> None:
    register()
    x = np.random.default_rng(5).uniform(-1, 3, (2, 16, 16, 16, 1)).astype("float32")
    wanted = float(np.mean([abs(min(max(v / 2, 0), 1) - 0.5) for v in x.ravel().tolist()]))
    assert grey_loss(x, (0.0, 2.0)) == pytest.approx(wanted, rel=1e-5)
    learner = Masked(
        rebuilder(NAME, x.shape[1:], (0.0, 2.0), weights=None, level="P1"), input_range=(0.0, 2.0)
    )
    hidden = np.ones((2, 16, 16, 16, 1), "float32")
    assert float(learner.loss_of([x, hidden], None, learner([x, hidden]))) == pytest.approx(
        wanted, rel=0.02
    )


def test_levels_are_chosen_and_refused() -> None:
    register()
    flat = rebuilder(NAME, (32, 32, 1), (0.0, 1.0), weights=None)
    assert flat.levels == ("P4",)
    solid = rebuilder(NAME, (*PATCH, 1), (0.0, 1.0), weights=None)
    assert solid.levels == ("P3", "P4")
    with pytest.raises(ConfigError, match=r"model.level=P5: .* has P1, P2, P3, P4"):
        rebuilder(NAME, (*PATCH, 1), (0.0, 1.0), weights=None, level="P5")


def test_a_plain_folder_serves_and_values_may_be_windowed_by_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register()
    monkeypatch.setenv("RADZOO_HOME", str(tmp_path / "home"))
    rng = np.random.default_rng(4)
    (tmp_path / "scans").mkdir()
    for k in range(3):
        volume = sitk.GetImageFromArray(rng.integers(-1000, 400, (18, 20, 22)).astype("int16"))
        sitk.WriteImage(volume, str(tmp_path / "scans" / f"{k}.nii.gz"))
    (tmp_path / "out").mkdir()
    config = configured("data.modality=CT", "data.range=[-150,250]")
    with Reporter(quiet=True) as quiet:
        material = PatchMaterial(
            adapters.open(str(tmp_path / "scans"), modality="CT"), config, quiet,
            folder=tmp_path / "out",
        )  # fmt: skip
    case = material.store[0].image
    raw = adapters.open(str(tmp_path / "scans"))[0].image.astype("float64")
    inside = (raw > -140) & (raw < 240)
    np.testing.assert_allclose(case[inside], (raw[inside] + 150) / 400, atol=3e-3)
    assert material.limits == (0.0, 1.0)
    assert any("percentile of the voxels of all" in reason for reason in material.plan.reasons)
    assert "values -150 to 250 to 0-1 instead" in material.plan.reasons[-1]
    assert home().joinpath("store").is_dir()


def test_cases_that_were_pretrained_on_stop_a_segmentation_that_tests_them(
    volumes: Path, tmp_path: Path
) -> None:
    adapter = adapters.open(str(volumes), fold=0)
    weights = write_weights(tmp_path / "b.weights.h5")
    train = [i for i, row in enumerate(adapter.index) if row.part == "train"]
    config = load_config(
        SegmentationConfig,
        changes=["model.network=backbone", f"model.backbone={NAME}", "plan.dims=3",
                 f"model.weights={weights}", "plan.patch=[32,32,32]"],
    )  # fmt: skip
    digests = [native_digest(adapter[i]) for i in range(len(adapter))]
    write_seen(tmp_path / SEEN, [(adapter.index[i], digests[i]) for i in train])
    assert prepare(adapter, config, MACHINE).leakage.others == ()
    write_seen(tmp_path / SEEN, list(zip(adapter.index, digests, strict=True)))
    with pytest.raises(LeakageError, match=r"further training data .*2 of .pretraining"):
        prepare(adapter, config, MACHINE)
    allowed = load_config(SegmentationConfig, base=config.model_dump(),
                          changes=["data.leakage=allow"])  # fmt: skip
    assert prepare(adapter, allowed, MACHINE).leakage.marked
    dropped = load_config(SegmentationConfig, base=config.model_dump(),
                          changes=["data.leakage=drop"])  # fmt: skip
    with pytest.raises(RecipeError, match="pretrained on 2 cases"):
        prepare(adapter, dropped, MACHINE)


def test_pixels_tell_where_ids_do_not(volumes: Path, tmp_path: Path) -> None:
    weights = write_weights(tmp_path / "b.weights.h5")
    plain = adapters.open(str(volumes / "imagesTr"))  # the same files under other ids
    adapter = adapters.open(str(volumes), fold=0)
    write_seen(
        tmp_path / SEEN, [(row, native_digest(plain[i])) for i, row in enumerate(plain.index)]
    )
    seen = pretrained_on(str(weights))
    assert seen is not None
    digests = beside_pretraining(seen, adapter, [0, 1])
    splits = Splits(parts=("val", "val", *("train",) * 4), unit="patient", official=True, notes=())
    found = check_patients(adapter.index, splits, policy="drop", others=[seen], beside=digests)
    assert found.others[0].kind == "pixels"
    assert found.others[0].cases == {"val": tuple(adapter.index[i].case_id for i in (0, 1))}
    with pytest.raises(RecipeError, match="pretrained on 2 cases"):
        check_pretraining(found)


def test_a_plan_of_a_segmentation_gives_the_inputs_and_a_fit_says_where_they_differ(
    volumes: Path, tmp_path: Path
) -> None:
    from recipes.segmentation.plan import pretrained_inputs, write_plan

    adapter = adapters.open(str(volumes), fold=0)
    chosen = load_config(
        SegmentationConfig,
        changes=["model.network=backbone", f"model.backbone={NAME}", "plan.dims=3",
                 "data.modality=CT", "plan.patch=[32,32,32]", "model.weights=none"],
    )  # fmt: skip
    theirs = prepare(adapter, chosen, MACHINE).plan
    write_plan(theirs, tmp_path / "theirs.yaml")
    config = load_config(
        PretrainConfig,
        changes=["method=masked", f"model.backbone={NAME}",
                 f"data.plan={tmp_path / 'theirs.yaml'}"],
    )  # fmt: skip
    with Reporter(quiet=True) as quiet:
        ours = PatchMaterial(adapter, config, quiet, folder=tmp_path)
    assert ours.plan.chain == theirs.chain
    assert ours.plan.patch == theirs.patch
    weights = write_weights(tmp_path / "b.weights.h5")
    content = theirs.model_dump()
    content["network"]["weights"] = str(weights)
    assert pretrained_inputs(Plan.model_validate(content)) == ()
    content["chain"] = ({"step": "normalize", "how": "percentile"},)
    (note,) = pretrained_inputs(Plan.model_validate(content))
    assert "steps before the network differ" in note
    assert build_network(theirs).input_shape[1:] == (32, 32, 32, 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["method=simclr", "data.volumes=patches"], "goes with method masked, not simclr"),
        (["data.volumes=planes"], "data.patch is for patches of volumes"),
        (["views.patches=40"], "views.patches=40 is more than the 32 voxels"),
        (["data.fold=4"], "fold"),
    ],
)
def test_what_does_not_go_together_is_refused(
    changes: list[str], message: str, volumes: Path, tmp_path: Path
) -> None:
    from data_adapters.errors import DataError

    with pytest.raises((ConfigError, DataError), match=message):
        pretrain(volumes, tmp_path / "out", configured(*changes))


def test_keys_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ConfigError, match="plan and patch both say what a patch is"):
        configured("data.plan=plan.yaml")
    with pytest.raises(ConfigError, match=r"range \[3.0, 1.0\] must rise"):
        configured("data.range=[3,1]")
