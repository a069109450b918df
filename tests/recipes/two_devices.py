"""Run by ``test_devices`` in a process of its own, whose CPU is cut into two devices."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from recipes.classification.config import ClassificationConfig
from recipes.classification.fitting import fit
from recipes.config import load_config
from recipes.engine.checkpoint import PhaseCheckpoint
from recipes.engine.devices import choose_devices
from recipes.engine.loop import PhasePlan, run_phase
from recipes.engine.modelfile import load_model
from tests.recipes.tiny import TINY, write_pictures
from tests.recipes.tiny_backbone import NAME, SPEC, register, write_weights
from zoo.devices import to_float32
from zoo.finetune import FineTunePolicy, averaged, leaf_layers
from zoo.heads import create_model

POLICY = FineTunePolicy(train=2, decay=0.5, ema=0.5, learning_rate=0.02)


def train(folder: Path, wish: int) -> tuple[keras.Model, list[np.ndarray], list[float]]:
    """Two epochs of two even batches without dropout on one or two devices."""
    devices = choose_devices(wish)
    rng = np.random.default_rng(3)
    x = rng.uniform(0, 255, (16, 32, 32, 1)).astype("f4")
    y = np.eye(2, dtype="f4")[rng.integers(0, 2, 16)]
    keras.utils.set_random_seed(5)
    with devices.scope():
        model = create_model(
            NAME,
            input_shape=(32, 32, 1),
            classes=2,
            weights=folder / "start.weights.h5",
            dropout=0.0,
        )
        POLICY.apply(model, SPEC)
        guard = POLICY.guard(model)
        loss = keras.losses.CategoricalCrossentropy(from_logits=True)
        model.compile(
            POLICY.optimizer(model, SPEC, steps=4), loss, metrics=["accuracy"],
            jit_compile=devices.jit_compile, auto_scale_loss=False,
        )  # fmt: skip
        falling = iter([3.0, 2.0, 1.0])
        state = run_phase(
            model,
            plan=PhasePlan(0, "finetune", 2, 9, "val_loss", 1),
            data=lambda epoch: devices.share(tf.data.Dataset.from_tensor_slices((x, y)).batch(8)),
            steps=2,
            validate=lambda: {"val_loss": next(falling)},
            checkpoint=PhaseCheckpoint(folder / f"on-{wish}", fingerprint="f"),
            after_epoch=guard.verify,
        )
        with averaged(model):
            averages = [np.array(w) for w in model.get_weights()]
    return to_float32(model), averages, [record["loss"] for record in state.history]


def prepare(folder: Path) -> Path:
    """Cut the CPU in two and write the weights that training starts from."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    os.environ["RADZOO_HOME"] = str(folder / "home")
    os.environ["RADZOO_SALT"] = str(folder / "salt")
    (folder / "salt").write_text("5a" * 32)
    register()
    return write_weights(folder / "start.weights.h5")


def compare(folder: Path) -> dict[str, Any]:
    """Train on one device and on two."""
    start = prepare(folder)
    one, averages_of_one, losses_of_one = train(folder, 1)
    two, averages_of_two, losses_of_two = train(folder, 2)
    plain = create_model(NAME, input_shape=(32, 32, 1), classes=2, weights=start, dropout=0.0)
    return {
        "devices": list(choose_devices(2).names),
        "moved": furthest(one.get_weights(), plain.get_weights()),
        "weights": furthest(one.get_weights(), two.get_weights()),
        "averages": furthest(averages_of_one, averages_of_two),
        "losses": [losses_of_one, losses_of_two],
    }


def recipe(folder: Path) -> dict[str, Any]:
    """Run the whole recipe on two devices."""
    start = prepare(folder)
    data = write_pictures(folder / "data", per_class={"train": 7, "val": 3, "test": 3})
    changes = [
        *TINY, f"model.backbone={NAME}", f"model.weights={start}", "model.members=1",
        "train.devices=2", "train.batch_size=4", "train.head.epochs=1", "train.finetune.epochs=1",
        "train.finetune.adapters.rank=2", "train.precision=float16",
    ]  # fmt: skip
    fit(data, folder / "run", load_config(ClassificationConfig, changes=changes))
    model, _ = load_model(folder / "run")
    facts = json.loads((folder / "run" / "metrics.json").read_text())["training"]
    layers = leaf_layers(model).values()
    return {
        "devices": facts["devices"]["devices"],
        "finite": all(bool(np.isfinite(weight).all()) for weight in model.get_weights()),
        "policies": sorted({layer.dtype_policy.name for layer in layers}),
        "factors": [weight.path for weight in model.weights if "lora" in weight.path],
    }


def furthest(some: list[np.ndarray], others: list[np.ndarray]) -> float:
    """The largest difference of two lists of arrays."""
    return max(float(np.abs(a - b).max()) for a, b in zip(some, others, strict=True))


if __name__ == "__main__":
    part = {"compare": compare, "recipe": recipe}[sys.argv[1]]
    print(json.dumps(part(Path(sys.argv[2]))))
