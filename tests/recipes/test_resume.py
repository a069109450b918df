"""A run that is killed with SIGKILL and given again ends as one that was left alone."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from recipes.classification.fitting import fit
from recipes.config import to_yaml
from recipes.engine.modelfile import load_model
from tests.recipes.tiny import TinyRun

CHECKOUT = Path(__file__).resolve().parents[2]
CODE = """
import sys
from pathlib import Path
from recipes.classification.config import ClassificationConfig
from recipes.classification.fitting import fit
from recipes.config import load_config
from tests.recipes.tiny_backbone import register
register()
fit(sys.argv[1], sys.argv[2], load_config(ClassificationConfig, file=Path(sys.argv[3])))
"""


def test_kill_in_the_second_phase_then_the_same_command(tiny_run: TinyRun, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(to_yaml(tiny_run.config))
    out = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, tiny_run.data, out, config],
        cwd=CHECKOUT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    reached = out / "checkpoints" / "member-0-finetune" / "state.json"
    deadline = time.monotonic() + 300
    while not reached.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    _, errors = process.communicate()
    assert process.returncode == -signal.SIGKILL, errors.decode()[-2000:]
    assert not (out / "model.json").exists()

    fit(tiny_run.data, out, tiny_run.config)

    here = json.loads((out / "metrics.json").read_text())
    there = json.loads((tiny_run.out / "metrics.json").read_text())
    assert here["metrics"] == there["metrics"]
    assert here["validation"] == there["validation"]
    one, _ = load_model(out)
    other, _ = load_model(tiny_run.out)
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_damaged_checkpoint_is_made_again(tiny_run: TinyRun, tmp_path: Path) -> None:
    import shutil

    out = tmp_path / "run"
    shutil.copytree(tiny_run.out, out)
    state = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps(state | {"finished": False}))
    for name in ("metrics.json", "model.keras", "report.html"):
        (out / name).unlink()
    damaged = next((out / "checkpoints" / "member-1-finetune").glob("*.safetensors"))
    damaged.write_bytes(b"nothing")
    fit(tiny_run.data, out, tiny_run.config)
    here = json.loads((out / "metrics.json").read_text())
    there = json.loads((tiny_run.out / "metrics.json").read_text())
    assert here["metrics"] == there["metrics"]
