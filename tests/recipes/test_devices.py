"""Devices and precision of a run: what is chosen, what is refused, and that sharing is exact."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from recipes.classification.config import ClassificationConfig
from recipes.classification.monitor import FeatureBatches
from recipes.config import load_config
from recipes.engine import devices as module
from recipes.engine.devices import Devices, choose_devices
from recipes.errors import ConfigError, DeviceError

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("wish", "gpus", "chosen"),
    [
        ("auto", [], ["CPU:0"]),
        ("auto", ["GPU:0", "GPU:1"], ["GPU:0"]),
        ("cpu", ["GPU:0"], ["CPU:0"]),
        ("gpu", ["GPU:0", "GPU:1"], ["GPU:0"]),
        (2, ["GPU:0", "GPU:1"], ["GPU:0", "GPU:1"]),
        (2, [], ["CPU:0", "CPU:1"]),
    ],
)
def test_the_choice(wish: Any, gpus: list[str], chosen: list[str]) -> None:
    assert module._pick(wish, gpus, ["CPU:0", "CPU:1"]) == chosen


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ("gpu", "devices=gpu: there is no GPU; this machine has CPU:0; give cpu or auto"),
        (3, "devices=3: this machine has CPU:0; give 1 to 1"),
        (0, "devices=0; give cpu, gpu, auto or a number of devices"),
        ("tpu", "devices='tpu'; give cpu, gpu, auto or a number"),
        (True, "devices=True; give"),
    ],
)
def test_what_is_not_there_is_refused(wish: Any, said: str) -> None:
    with pytest.raises(DeviceError, match=said):
        module._pick(wish, [], ["CPU:0"])


def test_a_cpu_run_compiles_nothing_and_is_told_about_half_precision() -> None:
    plain = choose_devices("cpu")
    assert (plain.kind, plain.jit_compile, plain.strategy, plain.notes) == ("CPU", False, None, ())
    assert plain.plain
    half = choose_devices("cpu", "float16")
    assert "slower than in float32" in half.notes[0]
    assert not half.plain
    assert choose_devices("cpu", "auto").precision == "float32"
    assert half.to_dict()["precision"] == "float16"


@pytest.mark.parametrize(
    ("capability", "wanted"), [((9, 0), "bfloat16"), ((7, 5), "float16"), ((6, 1), "float32")]
)
def test_auto_precision_goes_by_the_gpu(
    capability: tuple[int, int], wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["one"])
    monkeypatch.setattr(
        tf.config.experimental, "get_device_details", lambda gpu: {"compute_capability": capability}
    )
    assert module._best_precision("GPU") == wanted


def test_batches_are_shared_evenly() -> None:
    two = Devices(kind="CPU", names=("CPU:0", "CPU:1"), strategy="any")
    x, y = np.arange(5, dtype="f4")[:, None], np.arange(5, dtype="f4")[:, None]
    stream = tf.data.Dataset.from_tensor_slices((x, y)).batch(4)
    got = [(a.numpy().ravel().tolist(), b.numpy().ravel().tolist()) for a, b in two.share(stream)]
    assert got == [([0, 1, 2, 3], [0, 1, 2, 3]), ([4, 4], [4, 4])]
    features = FeatureBatches(x, y, seed=1, epoch=1)
    (a, b) = next(iter(two.share(features)))
    assert sorted(a.numpy().ravel())[:5] == [0, 1, 2, 3, 4] or len(a) == 6
    np.testing.assert_array_equal(a, b)
    assert Devices(kind="CPU", names=("CPU:0",)).share(features) is features
    with pytest.raises(DeviceError, match="batch_size=1 cannot be shared by 2 devices"):
        two.check_batch(1)


@pytest.mark.parametrize("change", ["train.precision=half", "train.devices=0", "train.devices=tpu"])
def test_bad_wishes_are_refused_by_the_configuration(change: str) -> None:
    with pytest.raises(ConfigError, match=change.split("=")[0]):
        load_config(ClassificationConfig, changes=[change])


def _apart(part: str, folder: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.recipes.two_devices", part, str(folder)],
        cwd=CHECKOUT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


@pytest.mark.slow
def test_two_devices_train_as_one(tmp_path: Path) -> None:
    """The same global batches give the same losses, weights and moving averages."""
    found = _apart("compare", tmp_path)
    assert found["devices"] == ["CPU:0", "CPU:1"]
    assert found["moved"] > 1e-2
    assert found["weights"] <= 1e-5
    assert found["averages"] <= 1e-5
    np.testing.assert_allclose(found["losses"][1], found["losses"][0], rtol=1e-5)


@pytest.mark.big
def test_the_recipe_runs_on_two_devices(tmp_path: Path) -> None:
    """With a scaled float16 loss and adapters; the model that is written is a plain one."""
    found = _apart("recipe", tmp_path)
    assert found["devices"] == ["CPU:0", "CPU:1"]
    assert found["finite"]
    assert found["policies"] == ["float32"]
    assert not found["factors"]
