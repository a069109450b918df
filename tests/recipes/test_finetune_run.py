"""A run with every option of the fine-tuning policy: what is written is what was validated."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from data_adapters.pipeline import eval_stream
from recipes.classification.config import ClassificationConfig
from recipes.classification.data import open_data, prepare
from recipes.classification.fitting import fit
from recipes.classification.predicting import predict
from recipes.classification.schedule import resolve
from recipes.config import load_config
from recipes.engine.modelfile import load_model
from recipes.errors import ConfigError, DeviceError
from tests.recipes.tiny import TinyRun
from tests.recipes.tiny_backbone import NAME
from zoo.finetune import Adapters, FineTunePolicy

OPTIONS = {
    "ema": 0.6,
    "schedule": "gradual",
    "epochs": 3,
    "adapters": {"rank": 2},
}


def _config(tiny_run: TinyRun, **train: object) -> ClassificationConfig:
    content = tiny_run.config.model_dump(mode="json")
    content["model"]["members"] = 1
    content["evaluate"]["tta"] = False
    content["train"]["finetune"] |= OPTIONS
    content["train"] |= train
    return ClassificationConfig.model_validate(content)


@pytest.mark.slow
def test_parity_with_averages_adapters_a_schedule_and_bfloat16(
    tiny_run: TinyRun, tmp_path: Path
) -> None:
    """Pipeline and ``predict`` agree to 1e-4; the file is plain float32 without adapters."""
    config = _config(tiny_run, precision="bfloat16")
    out = tmp_path / "run"
    fit(tiny_run.data, out, config)
    model, record = load_model(out)
    member = model.get_layer("member_0")
    assert {layer.dtype_policy.name for layer in member.layers} == {"float32"}
    assert not [weight.path for weight in model.weights if "lora" in weight.path]
    prepared = prepare(open_data(str(tiny_run.data), config.data), config)
    rows = prepared.cache_rows(prepared.rows("test"))
    stream = eval_stream(prepared.decoded.images, rows, batch_size=5)
    here = np.concatenate([np.asarray(model(x)) for x in stream])
    found = {row["file"]: row for row in predict(out, [tiny_run.data / "test"], batch_size=8)}
    names = [prepared.adapter.source_name(int(i)).removeprefix("test/") for i in rows]
    logits = np.array([[found[n][f"logit_{c}"] for c in record.class_names] for n in names])
    assert np.abs(logits - here).max() <= 1e-4 * np.abs(here).max()
    facts = json.loads((out / "metrics.json").read_text())["training"]
    assert facts["devices"]["precision"] == "bfloat16"
    assert facts["trainable"]["adapters"] == 3
    assert facts["settings"]["policy"]["schedule"] == [[0, "head"], [1, 1], [2, 2], [3, 3]]
    page = (out / "report.html").read_text()
    assert "adapters of rank 2" in page
    assert "averaged with momentum 0.6" in page
    with (out / "history.csv").open() as file:
        assert [r["epoch"] for r in csv.DictReader(file) if r["phase"] == "finetune"] == list("123")


def test_the_settings_become_a_policy(tiny_run: TinyRun) -> None:
    settings = resolve(_config(tiny_run), train_cases=24)
    assert settings.policy == FineTunePolicy(
        train="all",
        schedule=((0, "head"), (1, 1), (2, 2), (3, 3)),
        decay=0.7,
        learning_rate=3e-3,
        ema=0.6,
        adapters=Adapters(rank=2),
    )
    assert settings.head_policy == FineTunePolicy(train="head", learning_rate=1e-3)
    changes = [f"model.backbone={NAME}", "train.finetune.schedule=[[0, head], [2, all]]"]
    settings = resolve(load_config(ClassificationConfig, changes=changes), train_cases=24)
    assert settings.policy.schedule == ((0, "head"), (2, "all"))
    assert FineTunePolicy.from_dict(settings.to_dict()["policy"]) == settings.policy


def test_adapters_need_a_pretrained_network() -> None:
    changes = ["model.weights=none", "train.finetune.adapters.rank=4"]
    config = load_config(ClassificationConfig, changes=changes)
    with pytest.raises(ConfigError, match="adapters need a pretrained network"):
        resolve(config, train_cases=100)


@pytest.mark.parametrize(
    "change",
    [
        "train.finetune.schedule=[[0, none]]",
        "train.finetune.schedule=slow",
        "train.finetune.ema=1",
        "train.finetune.adapters.rank=-1",
        "train.finetune.adapters.layers=dense",
    ],
)
def test_bad_options_are_refused(change: str) -> None:
    with pytest.raises(ConfigError, match=r"train\.finetune"):
        load_config(ClassificationConfig, changes=[change])


def test_devices_that_are_not_there_leave_no_folder(tiny_run: TinyRun, tmp_path: Path) -> None:
    for wish, said in (("gpu", "there is no GPU; this machine has CPU:0"), (2, "give 1 to 1")):
        with pytest.raises(DeviceError, match=said):
            fit(tiny_run.data, tmp_path / "run", _config(tiny_run, devices=wish))
    assert not (tmp_path / "run").exists()
