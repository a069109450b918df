"""The zoo on whatever backend Keras runs: outputs equal to those recorded with TensorFlow.

Alone, this file needs no TensorFlow: ``KERAS_BACKEND=jax pytest tests/zoo/test_backends.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest

import zoo
from tests.zoo.backend_cases import CASES, SIZE, pixels, run, sample, settle
from tests.zoo.randomise import error
from tests.zoo.tiny import registered
from zoo.finetune import frozen_snapshot, set_trainable, verify_frozen

GOLDEN = Path(__file__).parent / "golden" / "backends.npz"


@pytest.fixture(autouse=True)
def tiny() -> Iterator[None]:
    with registered():
        yield


@pytest.mark.parametrize("case", CASES)
def test_equals_what_tensorflow_recorded(case: str, tmp_path: Path) -> None:
    found = CASES[case](tmp_path)
    with np.load(GOLDEN) as golden:
        wanted = {
            key.split("/")[1]: golden[key] for key in golden.files if key.startswith(f"{case}/")
        }
    assert set(found) == set(wanted)
    for name, value in found.items():
        assert error(sample(value), wanted[name]) < 1e-4, name


def test_the_comparison_sees_one_perturbed_kernel() -> None:
    model = zoo.create_backbone("tiny", input_shape=(SIZE, SIZE, 3), weights=None)
    settle(model)
    image = pixels(SIZE, SIZE, 3)
    before = run(model, image)["P4"]
    layer = model.get_layer("block3_conv")
    layer.set_weights([np.roll(one, 1, axis=-1) for one in layer.get_weights()])
    assert error(run(model, image)["P4"], before) > 1e-3


def test_saved_and_loaded_it_gives_the_same(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    model = zoo.create_model(
        "tiny", input_shape=(SIZE, SIZE, 1), classes=2, weights=None, pooling="gem"
    )
    settle(model)
    model.save(path)
    again = keras.models.load_model(path, safe_mode=True)
    image = pixels(SIZE, SIZE, 1)
    np.testing.assert_allclose(run(again, image)["output"], run(model, image)["output"], rtol=1e-6)


def test_a_step_moves_what_is_trainable_and_nothing_else() -> None:
    model = zoo.create_model("tiny", input_shape=(SIZE, SIZE, 3), classes=2, weights=None)
    settle(model)
    set_trainable(model, zoo.get_spec("tiny"), stages=1, batch_norm="frozen")
    snapshot = frozen_snapshot(model)
    before = [keras.ops.convert_to_numpy(one) for one in model.trainable_variables]
    model.compile(optimizer="adamw", loss="mse", jit_compile=False)
    model.train_on_batch(pixels(SIZE, SIZE, 3), np.eye(2, dtype="float32"))
    verify_frozen(model, snapshot)
    after = [keras.ops.convert_to_numpy(one) for one in model.trainable_variables]
    assert len(before) > 2
    assert all(np.any(old != new) for old, new in zip(before, after, strict=True))
