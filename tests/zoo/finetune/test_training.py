"""What a policy does to training: steps in closed form, averages, schedules, and proof."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests.zoo.finetune.models import HEAD, SPEC, array, batch, build, compiled, values
from zoo.errors import FrozenMovedError, ZooError
from zoo.finetune import FineTunePolicy, LayerwiseAdamW, averaged, layer_stages

SHARES = {0: 0.125, 1: 0.25, 2: 0.5, HEAD: 1.0}


def _steps(policy: FineTunePolicy, model: keras.Model, steps: int = 1, **options: Any) -> None:
    policy.apply(model, SPEC)
    compiled(model, policy.optimizer(model, SPEC, steps=10, **options))
    for step in range(steps):
        model.train_on_batch(*batch(len(model.input_shape) - 2, seed=step))


@pytest.mark.parametrize(("dims", "nested"), [(2, True), (3, False)])
def test_the_first_step_is_the_rate_times_the_share_of_the_stage(dims: int, nested: bool) -> None:
    """Adam's first step is rate * sign(g); a kernel shrinks by rate * decay of itself as well."""
    model = build(dims=dims, nested=nested)
    before = values(model)
    policy = FineTunePolicy(
        train="all", decay=0.5, batch_norm="train", learning_rate=1e-3, weight_decay=0.3, warmup=0
    )
    _steps(policy, model)
    stage_of = {place.split("/")[-1]: s for place, s in layer_stages(model, SPEC).items()}
    seen = set()
    for weight in model.trainable_weights:
        layer = weight.path.split("/")[-2]
        rate = 1e-3 * SHARES[stage_of[layer]]
        old, new = before[weight.path], array(weight)
        shrunk = old * (1 - 0.3 * rate) if weight.name == "kernel" else old
        moved = np.abs(new - shrunk)
        if weight.path == "mix/bias":
            continue  # the norm behind it takes it out again: no gradient
        # a dead ReLU or a tap on padding gives no step, a gradient near epsilon a shorter one
        assert moved.max() <= 1.001 * rate
        assert (moved > 0.99 * rate).mean() > 0.2, weight.path
        seen.add((rate, weight.name))
    assert {rate for rate, _ in seen} == {1e-3 * share for share in SHARES.values()}
    assert {name for _, name in seen} == {"kernel", "bias", "gamma", "beta"}


def test_norms_and_biases_have_no_weight_decay() -> None:
    model = build()
    policy = FineTunePolicy(batch_norm="train", weight_decay=0.5, learning_rate=1.0, warmup=0)
    policy.apply(model, SPEC)
    before = values(model)
    optimizer = policy.optimizer(model, SPEC, steps=2)
    optimizer.build(model.trainable_variables)
    optimizer.apply([keras.ops.zeros(v.shape) for v in model.trainable_variables])
    for weight in model.trainable_variables:
        kept = 0.5 if weight.name == "kernel" else 1.0
        np.testing.assert_allclose(array(weight), kept * before[weight.path], rtol=1e-6)


def test_the_average_is_the_recurrence_and_gives_way_to_the_weights_again() -> None:
    model = build(nested=True)
    policy = FineTunePolicy(train=1, ema=0.3, learning_rate=0.02, warmup=0)
    policy.apply(model, SPEC)
    compiled(model, policy.optimizer(model, SPEC, steps=10))
    with averaged(model) as there:
        assert not there  # no step taken yet
    wanted: dict[str, Any] = {}
    for step in range(5):
        model.train_on_batch(*batch(seed=step))
        kept = min(0.3, (1 + step) / (10 + step))
        for weight in model.trainable_weights:
            now = array(weight, "float64")
            wanted[weight.path] = kept * wanted.get(weight.path, now) + (1 - kept) * now
    own = values(model)
    with averaged(model) as there:
        assert there
        for path, value in wanted.items():
            np.testing.assert_allclose(values(model)[path], value, rtol=1e-5, atol=1e-7)
            assert np.abs(value - own[path]).max() > 1e-3
    for path, value in values(model).items():
        np.testing.assert_array_equal(value, own[path])
    model.fit(*batch(seed=9), epochs=1, verbose=0)  # Keras' own fit would overwrite them here
    moved = np.abs(values(model)["logits/kernel"] - own["logits/kernel"]).max()
    assert 0 < moved < 0.05
    assert np.abs(values(model)["logits/kernel"] - wanted["logits/kernel"]).max() > moved


def test_an_average_needs_an_optimizer_that_keeps_one() -> None:
    model = compiled(build(), keras.optimizers.SGD())
    with averaged(model) as there:
        assert not there


@pytest.mark.parametrize("batch_norm", ["frozen", "train", "statistics"])
@pytest.mark.parametrize("train", ["head", 1, "all"])
def test_frozen_variables_do_not_move_and_the_others_do(train: Any, batch_norm: Any) -> None:
    model = build(nested=True)
    policy = FineTunePolicy(train=train, batch_norm=batch_norm, weight_decay=0.1)
    report = policy.apply(model, SPEC)
    assert report.total == model.count_params()
    guard = policy.guard(model)
    before = values(model)
    compiled(model, policy.optimizer(model, SPEC, steps=10))
    model.train_on_batch(*batch())
    guard.verify()
    moved = {path for path, value in values(model).items() if (value != before[path]).any()}
    trained = {weight.path for weight in model.trainable_weights}
    statistics = {path for path in before if "moving" in path and path.split("/")[0] in moved_norms(
        train, batch_norm)}  # fmt: skip
    assert moved == trained | statistics
    assert len(guard) == len(before) - len(moved)
    assert report.trainable == sum(before[path].size for path in trained)
    if batch_norm != "train":
        assert not any(path.endswith(("gamma", "beta")) for path in trained)


def moved_norms(train: Any, batch_norm: str) -> set[str]:
    """Layers whose statistics follow the data."""
    if batch_norm == "frozen":
        return set()
    if batch_norm == "statistics" or train == "all":
        return {"norm1", "norm2", "norm3"}
    return {"norm3"} if train == 1 else set()


def test_modes_leave_no_trace_in_each_other() -> None:
    model = build(nested=True)
    fresh = FineTunePolicy(batch_norm="train").apply(model, SPEC)
    for mode in ("statistics", "frozen", "statistics"):
        FineTunePolicy(batch_norm=mode).apply(model, SPEC)  # type: ignore[arg-type]
        assert FineTunePolicy(batch_norm="train").apply(model, SPEC) == fresh
    assert fresh.frozen == 0


def test_nothing_at_all_trains_in_a_frozen_model() -> None:
    model = build()
    report = FineTunePolicy(train="frozen").apply(model, SPEC)
    assert (report.trainable, report.frozen) == (0, model.count_params())
    assert model.trainable_weights == []


def test_the_guard_raises_when_a_frozen_kernel_moves() -> None:
    model = build(nested=True)
    policy = FineTunePolicy(train=1)
    policy.apply(model, SPEC)
    guard = policy.guard(model)
    model.get_layer("logits").kernel.assign_add(keras.ops.ones((10, 2)))
    guard.verify()  # trains, so it may
    kernel = model.get_layer("body").get_layer("conv2").kernel
    changed = array(kernel)
    changed[1, 1, 0, 0] = np.nextafter(changed[1, 1, 0, 0], np.float32(9))
    kernel.assign(changed)
    with pytest.raises(FrozenMovedError, match=r"1 frozen variables moved .*body/conv2/kernel"):
        guard.verify()


def test_jax_is_told_to_make_an_optimizer_for_each_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build()
    policy = FineTunePolicy(train="head", schedule=((1, "all"),))
    policy.apply(model, SPEC)
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ZooError, match="whole schedule does not work on JAX"):
        policy.optimizer(model, SPEC, steps=6, steps_per_epoch=2)


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="see the refusal above")
def test_a_schedule_unfreezes_with_one_optimizer() -> None:
    model = build()
    policy = FineTunePolicy(
        train="head", schedule=((1, 1), (2, "all")), learning_rate=0.01, warmup=0, weight_decay=0
    )
    policy.apply(model, SPEC)
    with pytest.raises(ZooError, match="a schedule needs steps_per_epoch"):
        policy.optimizer(model, SPEC, steps=6)
    optimizer = policy.optimizer(model, SPEC, steps=6, steps_per_epoch=2)
    slots = len(optimizer.variables)
    for epoch, first in enumerate(("logits", "mix", "conv1")):
        policy.apply(model, SPEC, epoch=epoch)
        compiled(model, optimizer)
        before = values(model)
        for step in range(2):
            model.train_on_batch(*batch(seed=2 * epoch + step))
        moved = {path for path, value in values(model).items() if (value != before[path]).any()}
        assert moved == {weight.path for weight in model.trainable_weights}
        assert next(w.path for w in model.trainable_weights).startswith(first)
    assert len(optimizer.variables) == slots


def test_adam_counts_a_variable_from_its_own_first_step() -> None:
    """A late variable under a constant gradient steps by the rate at once, as in a new Adam."""
    first, late = (keras.Variable(np.zeros(3, "float32"), name=name) for name in ("a", "b"))
    optimizer = LayerwiseAdamW({}, 0.1, weight_decay=0.0, starts={"b": 40})
    optimizer.build([first, late])
    for step in range(60):
        names = [first, late] if step >= 40 else [first]
        before = array(late)
        optimizer.apply([keras.ops.ones(3)] * len(names), names)
        if step >= 40:
            np.testing.assert_allclose(before - array(late), 0.1, rtol=1e-3)
    np.testing.assert_allclose(array(first), -6.0, rtol=1e-4)
    assert optimizer.get_config()["starts"] == {"b": 40}


def test_optimizer_state_resumes_from_a_saved_model(tmp_path: Path) -> None:
    model = build(nested=True)
    policy = FineTunePolicy(train=2, decay=0.7, ema=0.9)
    _steps(policy, model, 3)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    assert policy.apply(again, SPEC) == policy.apply(model, SPEC)
    for one in (model, again):
        compiled(one, one.optimizer)
        one.train_on_batch(*batch(seed=7))
    for path, value in values(model).items():
        np.testing.assert_array_equal(values(again)[path], value)
    for one, other in zip(model.optimizer.variables, again.optimizer.variables, strict=True):
        np.testing.assert_array_equal(array(one), array(other))


def test_the_report_is_a_table_and_plain_values() -> None:
    report = FineTunePolicy(train=1, decay=0.5).apply(build(), SPEC)
    lines = str(report).splitlines()
    assert lines[0].split() == ["stage", "layers", "trainable", "statistics", "frozen", "rate"]
    assert lines[1].split() == ["head", "2", "22", "0", "0", "1"]
    # stage 2: a 1x1 kernel of 8 x 10 with bias, a 3x3 kernel of 10 x 10, four vectors of the norm
    assert lines[2].split() == ["stage", "2", "4", "990", "0", "40", "0.5"]
    assert lines[-1] == "1,012 of 1,594 parameters train (63.5%)"
    content = report.to_dict()
    assert content["trainable"] == 1012
    assert content["stages"][1]["rate"] == 0.5


@pytest.mark.parametrize("options", [{"steps": 0}, {"steps": 4, "steps_per_epoch": 0}])
def test_steps_are_checked(options: dict[str, int]) -> None:
    with pytest.raises(ZooError, match=r"steps(_per_epoch)? is 0; give a whole number"):
        FineTunePolicy().optimizer(build(), SPEC, **options)


def test_a_policy_for_more_stages_than_there_are() -> None:
    with pytest.raises(ZooError, match="stages is 7; 'three_stages' has 3 stages: give 0 to 3"):
        FineTunePolicy(train=7).apply(build(), SPEC)
