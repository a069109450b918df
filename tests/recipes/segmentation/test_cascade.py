"""Cascades: two networks in one run, led honestly, used as one model."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

import data_adapters
from recipes.config import load_config
from recipes.errors import ConfigError, RunFolderError
from recipes.progress import Reporter
from recipes.segmentation import stages
from recipes.segmentation.augmenting import choose_policy
from recipes.segmentation.cascade import Guided, check_resolution, read_guide, write_guides
from recipes.segmentation.config import CascadeConfig, SegmentationConfig
from recipes.segmentation.data import open_data
from recipes.segmentation.derived import Merged
from recipes.segmentation.evaluating import evaluate
from recipes.segmentation.fitting import fit
from recipes.segmentation.planning import planned
from recipes.segmentation.segmenter import Segmenter, guide_of
from tests.recipes.segmentation.sets import write_volumes
from tests.recipes.segmentation.tiny import TINY

LEAN = (
    *TINY,
    "train.rounds=1",
    "model.deep_supervision=false",
    "data.fold=0",
    "cascade.factor=1.5",
)
REGION = (*LEAN, "cascade.kind=region", "cascade.organ=[bright]", "cascade.margin=6",
          "train.steps=110", "cascade.share=0.4")  # fmt: skip


@pytest.fixture(scope="module")
def led(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Data and run of a cascade by region, interrupted between its stages and resumed."""
    root = tmp_path_factory.mktemp("cascade")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RADZOO_HOME", str(root / "home"))
        data = write_volumes(root / "data", splits=True)
        config = load_config(SegmentationConfig, changes=REGION)

        def dying(*args: Any, **kwargs: Any) -> int:
            def progress(done: int, total: int) -> None:
                if done == 3:
                    raise KeyboardInterrupt

            return write_guides(*args, **{**kwargs, "progress": progress})

        with patch.context() as inner:
            inner.setattr(stages, "write_guides", dying)
            with pytest.raises(KeyboardInterrupt):
                fit(data, root / "run", config)
        assert not (root / "run" / "model.keras").exists()
        before = _times(root / "run")
        fit(data, root / "run", config)
        after = _times(root / "run")
        assert len(before) == 4
        assert {name: after[name] for name in before} == before
    return data, root / "run"


def _times(run: Path) -> dict[str, int]:
    """When the first stage's weights and the guides were written."""
    files = [run / "first" / "model.keras", *(run / "checkpoints" / "guides").rglob("*.npz")]
    return {path.name: path.stat().st_mtime_ns for path in files}


@pytest.mark.slow
def test_training_is_led_by_the_truth_and_validation_by_the_first_network(
    led: tuple[Path, Path],
) -> None:
    data, run = led
    adapter = data_adapters.open(str(data), fold=0)
    model = Segmenter.load(run)
    assert model.first is not None
    assert model.first.record.class_names == ("background", "organ")
    assert model.record.class_names == ("background", "bright", "dark")
    (folder,) = (run / "checkpoints" / "guides").iterdir()
    predicted = 0
    for i, row in enumerate(adapter.index):
        case = adapter[i]
        assert case.mask is not None
        guide = read_guide(folder, i)
        true = guide_of(case.mask == 1, "region")
        if row.part == "train":
            np.testing.assert_array_equal(guide, true)
        else:
            found = guide_of(model.first.segment(case), "region")
            np.testing.assert_array_equal(guide, found)
            predicted += 1
    assert predicted == 4


@pytest.mark.slow
def test_both_networks_are_one_model_on_whole_cases(led: tuple[Path, Path], tmp_path: Path) -> None:
    """What validation predicted is what a fresh process writes, on the file's own grid."""
    data, run = led
    adapter = data_adapters.open(str(data))
    source = data / "imagesTr" / "case_001.nii.gz"
    done = subprocess.run(
        [sys.executable, "-m", "recipes.cli", "segment", "predict", str(run), str(source), "--out",
         str(tmp_path), "--probabilities", "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    row = json.loads(done.stdout)["predictions"][0]
    probabilities = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / row["probabilities"])))
    model = Segmenter.load(run)
    case = adapter[1]
    image, undos = model.ready(case)
    assert image.shape[:-1] != case.image.shape[:-1], "the second network sees a part of the case"
    found = model.probabilities(image, undos)
    assert found.shape == (*case.image.shape[:-1], 3)
    np.testing.assert_allclose(probabilities, found, atol=1e-4)
    kept = np.load(run / "checkpoints" / "predicted" / "000001.npy")
    np.testing.assert_array_equal(kept, found.argmax(axis=-1))
    metrics = json.loads((run / "metrics.json").read_text())
    dice = metrics["metrics"]["dice"]
    assert dice["bright"]["value"] > 0.7
    again = evaluate(run, data, part="val", n_boot=100)
    assert again["dice"]["bright"]["value"] == pytest.approx(dice["bright"]["value"])
    assert metrics["training"]["cascade"]["first"]["dice"]["organ"]["value"] > 0.5
    first = evaluate(run / "first", data, part="val", n_boot=100)
    told = metrics["training"]["cascade"]["first"]["dice"]["organ"]["value"]
    assert first["dice"]["organ"]["value"] == pytest.approx(told)
    assert (run / "first" / "report.html").is_file()
    page = (run / "report.html").read_text()
    assert f"Its Dice on the validation part: organ {told:.3f}" in page
    assert "inside the box around the true organ" in page
    assert "first/report.html" in page


@pytest.mark.slow
def test_an_exchanged_first_stage_is_refused(led: tuple[Path, Path], tmp_path: Path) -> None:
    _, run = led
    for name in ("model.keras", "model.json"):
        (tmp_path / "first").mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((run / name).read_bytes())
        (tmp_path / "first" / name).write_bytes((run / "first" / name).read_bytes())
    assert Segmenter.load(tmp_path).first is not None
    record = tmp_path / "first" / "model.json"
    record.write_text(record.read_text().replace('"overlap": 0.5', '"overlap": 0.4'))
    with pytest.raises(RunFolderError, match="not the first stage"):
        Segmenter.load(tmp_path)
    record.unlink()
    with pytest.raises(RunFolderError, match=r"first/model\.json"):
        Segmenter.load(tmp_path)


@pytest.mark.slow
def test_coarse_classes_become_channels_of_the_fine_network(tmp_path: Path) -> None:
    data = write_volumes(tmp_path / "data", splits=True)
    changes = [*LEAN, "cascade.kind=resolution", "train.steps=8", "cascade.steps=45"]
    fit(data, tmp_path / "run", load_config(SegmentationConfig, changes=changes))
    model = Segmenter.load(tmp_path / "run")
    assert model.first is not None
    assert (model.record.channels, model.first.record.channels) == (3, 1)
    assert model.first.record.spacing == (1.5, 1.5, 1.5)
    case = data_adapters.open(str(data))[0]
    image, undos = model.ready(case)
    coarse = model.first.segment(case)
    assert (coarse > 0).any()
    for k in (1, 2):
        np.testing.assert_array_equal(image[..., k], coarse == k)
    kept = np.load(tmp_path / "run" / "checkpoints" / "predicted" / "000000.npy")
    np.testing.assert_array_equal(kept, model.labels(image, undos))
    history = (tmp_path / "run" / "first" / "metrics.json").read_text()
    assert json.loads(history)["training"]["schedule"]["total"] == 45


def test_both_plans_are_told_before_anything_is_trained(tmp_path: Path) -> None:
    data = write_volumes(tmp_path / "data", splits=True)
    quiet = Reporter(quiet=True)
    for kind, size, channels in (("region", (12, 12, 11), 1), ("resolution", (15, 19, 17), 3)):
        changes = ["data.fold=0", f"cascade.kind={kind}", "cascade.organ=[bright]",
                   "cascade.margin=3"]  # fmt: skip
        config = load_config(SegmentationConfig, changes=changes)
        first, seen = planned(str(data), config, quiet, first=True)
        plan, inside = planned(str(data), config, quiet)
        assert first.classes[1] == ("organ" if kind == "region" else "bright")
        assert first.spacing == (2.0, 2.0, 2.0)
        assert plan.spacing is None
        assert plan.channels == channels
        assert seen.shape == (15, 19, 17)
        assert np.abs(np.subtract(inside.shape, size)).max() <= 1
        steps = [step["step"] for step in plan.chain]
        assert (steps[0], steps[-1]) == (
            ("region", "normalize") if kind == "region" else ("reorient", "prior")
        )


class Blind:
    """A first stage that finds nothing."""

    def segment(self, case: Any) -> Any:
        return np.zeros(case.image.shape[:-1], np.uint8)


def test_where_the_first_stage_finds_nothing_the_second_sees_everything(tmp_path: Path) -> None:
    adapter = data_adapters.open(str(write_volumes(tmp_path / "data", count=3)))
    cascade = CascadeConfig(kind="region", margin=1.0)
    without = write_guides(
        Blind(),  # type: ignore[arg-type]
        adapter,
        tmp_path / "guides",
        cascade=cascade,
        train={0},
        progress=lambda done, total: None,
    )
    assert without == 2
    guided = Guided(adapter, tmp_path / "guides", "region", ("background", "organ"), "k")
    assert guided[1].meta["region"] == ()
    assert len(guided[0].meta["region"]) == 6
    assert guided.file_key(0) != adapter.file_key(0)
    assert guided.identity() != adapter.identity()


def test_classes_may_be_merged_without_a_cascade(tmp_path: Path) -> None:
    data = write_volumes(tmp_path / "data", count=2)
    both = load_config(SegmentationConfig, changes=["data.merge=[bright,dark]"])
    case, plain = open_data(str(data), both.data)[0], data_adapters.open(str(data))[0]
    assert plain.mask is not None
    np.testing.assert_array_equal(case.mask, plain.mask > 0)
    wrong = load_config(SegmentationConfig, changes=["data.merge=[liver]"])
    with pytest.raises(ConfigError, match=r"data\.merge: 'liver' is no class of the data"):
        open_data(str(data), wrong.data)


def test_what_linting_asks_for_is_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = data_adapters.open(str(write_volumes(tmp_path / "data", count=2)))
    assert list(Merged(adapter, (1,)).instances(0)) == []
    monkeypatch.setattr(adapter, "instances", lambda i: (f"header {i}",), raising=False)
    monkeypatch.setattr(adapter, "findings", ("a finding",), raising=False)
    merged = Merged(adapter, (1,))
    assert list(merged.instances(1)) == ["header 1"]
    assert merged.findings == ("a finding",)


def test_the_organ_is_its_classes_and_what_is_unknown_stays_unknown(tmp_path: Path) -> None:
    adapter = data_adapters.open(str(write_volumes(tmp_path / "data", count=2)))
    organ = Merged(adapter, (2,))
    case, plain = organ[0], adapter[0]
    assert plain.mask is not None
    np.testing.assert_array_equal(case.mask == 1, plain.mask == 2)
    unknown = plain.mask.astype(np.int8)
    unknown[0, 0, 0] = -1
    changed = organ.changed(0, replace(plain, mask=unknown)).mask
    assert changed is not None
    assert changed[0, 0, 0] == -1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("cascade.organ=[liver]", "cascade.organ: 'liver' is no class of the data: bright, dark"),
        ("cascade.organ=[]", "cascade.organ is empty"),
        ("data.merge=[bright]", "both make an organ"),
        ("plan.file=plan.yaml", "plan.file is the plan of one network"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_trained(
    tmp_path: Path, change: str, said: str
) -> None:
    data = write_volumes(tmp_path / "data", count=4)
    changes = ["cascade.kind=region", change]
    with pytest.raises(ConfigError, match=said):
        fit(data, tmp_path / "run", load_config(SegmentationConfig, changes=changes))
    assert not (tmp_path / "run" / "first").exists()


def test_pictures_have_no_coarser_voxels(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((20, 20), np.uint8)), str(folder / "a.png"))
    with pytest.raises(ConfigError, match="wants volumes whose voxel size is known"):
        check_resolution(data_adapters.open(str(folder)))


def test_sides_are_not_exchanged_where_the_first_stage_says_which_is_which(tmp_path: Path) -> None:
    data = write_volumes(tmp_path / "data", count=2)
    content = json.loads((data / "dataset.json").read_text())
    content["labels"] = {"0": "background", "1": "left lung", "2": "right lung"}
    (data / "dataset.json").write_text(json.dumps(content))
    adapter = data_adapters.open(str(data))
    plain = choose_policy(adapter, SegmentationConfig(), volumes=True)
    led = SegmentationConfig(cascade=CascadeConfig(kind="resolution"))
    policy = choose_policy(adapter, led, volumes=True)
    assert plain is not None
    assert policy is not None
    assert plain.swaps
    assert not policy.swaps
    assert "flip_lr" in policy.bans
