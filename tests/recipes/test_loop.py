"""The training loop: best weights, early stopping, and a resume that changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from recipes.engine.checkpoint import PhaseCheckpoint
from recipes.engine.loop import Hooks, PhasePlan, reset_random_state, run_phase
from recipes.errors import RecipeError
from zoo.errors import FrozenMovedError
from zoo.finetune import LayerwiseAdamW

PLAN = PhasePlan(member=0, phase="head", epochs=4, patience=10, monitor="val_loss", seed=5)


def _model(ema: float | None = None) -> keras.Model:
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(8), keras.layers.Dropout(0.5), keras.layers.Dense(2)]
    )
    optimizer = keras.optimizers.Adam(0.01)
    if ema:
        optimizer = LayerwiseAdamW({}, 0.01, weight_decay=0.0, use_ema=True, ema_momentum=ema)
    model.compile(
        optimizer=optimizer,
        loss=keras.losses.CategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,
    )
    return model


def _data(epoch: int) -> tf.data.Dataset:
    rng = np.random.default_rng(epoch)
    x = rng.normal(size=(32, 4)).astype("f4")
    y = np.eye(2, dtype="f4")[(x[:, 0] > 0).astype(int)]
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(8)


class _Killed(Exception):
    pass


def _run(
    folder: Path,
    values: list[float],
    *,
    plan: PhasePlan = PLAN,
    kill_in_epoch: int = 0,
    ema: float | None = None,
) -> tuple[keras.Model, Any, list[int]]:
    model = _model(ema)
    given = iter(values)
    done: list[int] = []

    def batch(step: int, total: int) -> None:
        if kill_in_epoch and len(done) == kill_in_epoch - 1 and step == 2:
            raise _Killed

    state = run_phase(
        model,
        plan=plan,
        data=_data,
        steps=4,
        validate=lambda: {"val_loss": next(given), "val_auc": 0.5, "val_accuracy": 0.5},
        checkpoint=PhaseCheckpoint(folder, fingerprint="f"),
        hooks=Hooks(batch=batch, epoch=lambda record: done.append(record["epoch"])),
    )
    return model, state, done


def _weights(model: keras.Model) -> np.ndarray:
    return np.concatenate([np.ravel(w) for w in model.get_weights()])


def test_best_epoch_is_restored_and_marked(tmp_path: Path) -> None:
    _, short, _ = _run(tmp_path / "a", [9, 5, 4], plan=PhasePlan(0, "head", 2, 10, "val_loss", 5))
    best, state, _ = _run(tmp_path / "b", [9, 5, 4, 7, 8])
    assert state.best_epoch == 2
    assert [r["best"] for r in state.history] == [False, True, False, False]
    assert short.best_epoch == 2
    two, _, _ = _run(tmp_path / "c", [9, 5, 4], plan=PhasePlan(0, "head", 2, 10, "val_loss", 5))
    np.testing.assert_array_equal(_weights(best), _weights(two))


def test_a_phase_that_never_helps_leaves_the_start(tmp_path: Path) -> None:
    model, state, _ = _run(tmp_path, [1, 2, 3, 4, 5])
    assert state.best_epoch == 0
    np.testing.assert_array_equal(_weights(model), _weights(_model()))


def test_early_stopping_strikes_after_patience(tmp_path: Path) -> None:
    plan = PhasePlan(0, "head", 20, 2, "val_loss", 5)
    _, state, done = _run(tmp_path, [9, 5, 6, 7, 8], plan=plan)
    assert state.stopped
    assert done == [1, 2, 3]


def test_higher_is_better_for_auc(tmp_path: Path) -> None:
    model = _model()
    aucs = iter([0.5, 0.8, 0.9, 0.7])
    state = run_phase(
        model,
        plan=PhasePlan(0, "head", 3, 10, "val_auc", 5),
        data=_data,
        steps=4,
        validate=lambda: {"val_loss": 1.0, "val_auc": next(aucs), "val_accuracy": 0.5},
        checkpoint=PhaseCheckpoint(tmp_path, fingerprint="f"),
    )
    assert state.best_epoch == 2


@pytest.mark.parametrize(("epoch", "ema"), [(1, None), (3, None), (3, 0.8)])
def test_a_killed_run_resumes_to_the_same_weights(
    tmp_path: Path, epoch: int, ema: float | None
) -> None:
    values = [9.0, 5.0, 4.0, 3.0, 2.0]
    whole, expected, _ = _run(tmp_path / "whole", values, ema=ema)
    with pytest.raises(_Killed):
        _run(tmp_path / "killed", values, kill_in_epoch=epoch, ema=ema)
    rest = values if epoch == 1 else values[epoch:]
    resumed, state, done = _run(tmp_path / "killed", rest, ema=ema)
    assert done == list(range(epoch, 5))
    np.testing.assert_array_equal(_weights(resumed), _weights(whole))
    assert [r["loss"] for r in state.history] == [r["loss"] for r in expected.history]


def test_the_average_is_validated_and_kept_and_the_weights_train_on(tmp_path: Path) -> None:
    model, _, _ = _run(tmp_path / "ema", [9, 5, 4, 3, 2], ema=0.8)
    seen: list[np.ndarray] = []
    other = _model(0.8)
    average = np.zeros(0)
    for epoch in range(1, 5):
        reset_random_state(other, seed=PLAN.seed, epoch=epoch)
        for x, y in _data(epoch):
            other.train_on_batch(x, y)
            now = _weights(other).astype("float64")
            kept = min(0.8, (1 + len(seen)) / (10 + len(seen)))
            average = kept * average + (1 - kept) * now if seen else now
            seen.append(now)
    np.testing.assert_allclose(_weights(model), average, rtol=1e-4, atol=1e-6)
    assert np.abs(_weights(model) - seen[-1]).max() > 1e-3


def test_what_trains_may_change_between_epochs_and_a_guard_may_stop_them(tmp_path: Path) -> None:
    model = _model()
    begun: list[int] = []

    def stop() -> None:
        if len(begun) == 2:
            raise FrozenMovedError("moved")

    with pytest.raises(FrozenMovedError):
        run_phase(
            model,
            plan=PLAN,
            data=_data,
            steps=4,
            validate=lambda: {"val_loss": 1.0},
            checkpoint=PhaseCheckpoint(tmp_path, fingerprint="f"),
            before_epoch=begun.append,
            after_epoch=stop,
        )
    assert begun == [1, 2]
    stored = PhaseCheckpoint(tmp_path, fingerprint="f").load()
    assert stored is not None
    assert stored[0].epoch == 1


def test_a_finished_phase_is_not_trained_again(tmp_path: Path) -> None:
    first, _, _ = _run(tmp_path, [9, 5, 4, 7, 8])
    again, state, done = _run(tmp_path, [])
    assert done == []
    assert state.done
    np.testing.assert_array_equal(_weights(again), _weights(first))


def test_a_damaged_checkpoint_is_trained_again(tmp_path: Path) -> None:
    first, _, _ = _run(tmp_path, [9, 5, 4, 7, 8])
    file = next(tmp_path.glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:-10])
    again, _, done = _run(tmp_path, [9, 5, 4, 7, 8])
    assert done == [1, 2, 3, 4]
    np.testing.assert_array_equal(_weights(again), _weights(first))


def test_a_checkpoint_of_another_run_is_ignored(tmp_path: Path) -> None:
    _run(tmp_path, [9, 5, 4, 7, 8])
    assert PhaseCheckpoint(tmp_path, fingerprint="g").load() is None


def test_an_infinite_loss_stops_with_advice(tmp_path: Path) -> None:
    model = _model()
    model.compile(optimizer=keras.optimizers.SGD(1e30), loss="mse", metrics=["accuracy"])
    with pytest.raises(RecipeError, match="learning rate"):
        run_phase(
            model,
            plan=PLAN,
            data=_data,
            steps=4,
            validate=lambda: {"val_loss": 1.0},
            checkpoint=PhaseCheckpoint(tmp_path, fingerprint="f"),
        )
