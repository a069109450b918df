"""Low-rank adapters: identity at the start, frozen kernels, exact merging, plain files."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from tests.zoo.finetune.models import SPEC, array, batch, build, compiled, values
from zoo.errors import ZooError
from zoo.finetune import Adapters, FineTunePolicy, merge_adapters

POLICY = FineTunePolicy(
    train=2, learning_rate=0.05, warmup=0, adapters=Adapters(rank=2, alpha=3.0, seed=4)
)


def _trained(dims: int = 2, *, nested: bool = False, steps: int = 3) -> keras.Model:
    model = build(dims=dims, nested=nested)
    POLICY.apply(model, SPEC)
    compiled(model, POLICY.optimizer(model, SPEC, steps=10))
    for step in range(steps):
        model.train_on_batch(*batch(dims, seed=step))
    return model


@pytest.mark.parametrize("dims", [2, 3])
def test_adapters_start_as_the_network_they_are_put_into(dims: int) -> None:
    model = build(dims=dims, nested=True)
    x, _ = batch(dims)
    before = array(model(x))
    report = POLICY.apply(model, SPEC)
    np.testing.assert_array_equal(array(model(x)), before)
    # rank * (inputs + outputs) for mix, conv3 (stage 2) and conv2 (stage 1); head 10 * 2 + 2
    taps = 3**dims
    adapters = 2 * ((8 + 10) + (taps * 10 + 10) + (taps * 6 + 8))
    assert report.trainable == adapters + 22
    assert report.adapters == 3
    assert report.total == model.count_params()
    assert POLICY.apply(model, SPEC) == report


def test_kernels_beside_adapters_stay_and_the_adapters_move() -> None:
    model = build()
    POLICY.apply(model, SPEC)
    guard = POLICY.guard(model)
    assert "conv3/kernel" in guard.snapshot
    assert "mix/bias" in guard.snapshot
    before = values(model)
    compiled(model, POLICY.optimizer(model, SPEC, steps=10))
    for step in range(2):
        model.train_on_batch(*batch(seed=step))
    guard.verify()
    moved = {path for path, value in values(model).items() if (value != before[path]).any()}
    factors = {f"{n}/lora_kernel_{f}" for n in ("mix", "conv2", "conv3") for f in "ab"}
    assert moved == factors | {"logits/kernel", "logits/bias"}


@pytest.mark.parametrize(("dims", "nested"), [(2, True), (3, False)])
def test_merging_leaves_a_plain_network_of_the_same_function(
    dims: int, nested: bool, tmp_path: Path
) -> None:
    model = _trained(dims, nested=nested)
    start = build(dims=dims, nested=nested)
    x, _ = batch(dims, seed=8)
    adapted = array(model(x))
    assert np.abs(adapted - array(start(x))).max() > 1e-2 * np.abs(adapted).max()
    kernel = model.get_layer("body").get_layer("conv3") if nested else model.get_layer("conv3")
    a, b = array(kernel.lora_kernel_a, "f8"), array(kernel.lora_kernel_b, "f8")
    wanted = array(kernel._kernel, "f8") + 1.5 * np.einsum("...r,ro->...o", a, b)
    assert merge_adapters(model) == 3
    np.testing.assert_allclose(array(kernel.kernel), wanted, rtol=1e-6, atol=1e-7)
    merged = array(model(x))
    assert np.abs(merged - adapted).max() <= 1e-6 * np.abs(adapted).max()
    assert list(values(model)) == list(values(start))
    model.save(tmp_path / "plain.keras")
    again = keras.models.load_model(tmp_path / "plain.keras", compile=False, safe_mode=True)
    np.testing.assert_array_equal(array(again(x)), array(model(x)))
    assert "lora_kernel_a" not in {weight.name for weight in again.weights}
    assert merge_adapters(model) == 0
    assert FineTunePolicy().apply(model, SPEC).adapters == 0
    assert model.get_layer("logits").kernel.trainable
    assert kernel.kernel.trainable


def test_adapters_of_a_loaded_file_can_learn_again(tmp_path: Path) -> None:
    """Keras stores the merged kernel and loads both factors as zeros: a dead pair."""
    model = _trained()
    x, _ = batch(seed=8)
    adapted = array(model(x))
    model.save(tmp_path / "open.keras")
    again = keras.models.load_model(tmp_path / "open.keras", compile=False)
    assert not array(again.get_layer("conv3").lora_kernel_a).any()
    POLICY.apply(again, SPEC)
    assert array(again.get_layer("conv3").lora_kernel_a).any()
    np.testing.assert_allclose(array(again(x)), adapted, rtol=1e-5, atol=1e-6)
    compiled(again, POLICY.optimizer(again, SPEC, steps=10)).train_on_batch(*batch())
    assert array(again.get_layer("conv3").lora_kernel_b).any()


def test_the_first_factor_depends_on_seed_and_layer_alone() -> None:
    keras.utils.set_random_seed(1)
    one = values(_trained(steps=0))
    keras.utils.set_random_seed(2)
    other = values(_trained(steps=0))
    a = "conv3/lora_kernel_a"
    np.testing.assert_array_equal(one[a], other[a])
    model = build()
    FineTunePolicy(train=2, adapters=Adapters(rank=2, seed=5)).apply(model, SPEC)
    assert (values(model)[a] != one[a]).any()


def test_pointwise_adapters_leave_larger_kernels_alone() -> None:
    model = build()
    policy = FineTunePolicy(train="all", adapters=Adapters(rank=2, layers="pointwise"))
    assert policy.apply(model, SPEC).adapters == 1
    assert model.get_layer("mix").lora_enabled
    assert not model.get_layer("conv3").lora_enabled


def test_refusals() -> None:
    model = _trained(steps=0)
    other = FineTunePolicy(train=2, adapters=Adapters(rank=3))
    with pytest.raises(
        ZooError, match=r"layer 'conv2' has an adapter of rank 2, not 3; call merge"
    ):
        other.apply(model, SPEC)
    large = FineTunePolicy(train=1, adapters=Adapters(rank=64))
    with pytest.raises(ZooError, match="no layer of 'classify' takes an adapter of rank 64"):
        large.apply(build(), SPEC)
