"""Mixed precision: trained with a scaled loss, kept as an equal float32 network."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from tests.zoo.finetune.models import SPEC, array, batch, build, compiled, values
from zoo.devices import building_in, computes_in_float16, scale_loss, to_float32
from zoo.errors import ZooError
from zoo.finetune import FineTunePolicy


@pytest.mark.parametrize(("precision", "tolerance"), [("float16", 2e-3), ("bfloat16", 2e-2)])
@pytest.mark.parametrize("nested", [False, True])
def test_a_mixed_model_becomes_a_float32_one_of_the_same_weights(
    precision: str, tolerance: float, nested: bool, tmp_path: Path
) -> None:
    plain = build(nested=nested)
    with building_in(precision):
        mixed = build(nested=nested)
    assert keras.config.dtype_policy().name == "float32"
    inner = mixed.get_layer("body") if nested else mixed
    assert inner.get_layer("conv2").compute_dtype == precision
    x, _ = batch()
    wanted = array(plain(x))
    scale = np.abs(wanted).max()
    rough = array(mixed(x), "float32")
    assert 0 < np.abs(rough - wanted).max() <= tolerance * scale
    kept = to_float32(mixed)
    np.testing.assert_array_equal(array(kept(x)), wanted)
    assert [weight.path for weight in kept.weights] == [weight.path for weight in plain.weights]
    kept.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(array(again(x)), wanted)
    np.testing.assert_array_equal(array(mixed(x), "float32"), rough)


def test_a_compiled_model_of_foreign_loss_can_be_kept() -> None:
    model = build()

    def loss(y_true: object, y_pred: object) -> object:
        return keras.ops.mean(y_pred * y_true)

    model.compile(keras.optimizers.SGD(), loss=loss)
    x, _ = batch()
    np.testing.assert_array_equal(array(to_float32(model)(x)), array(model(x)))


def test_float16_steps_are_scaled_and_land_where_float32_ones_do() -> None:
    policy = FineTunePolicy(train="all", learning_rate=0.01, warmup=0, ema=0.5)
    models = []
    for precision in ("float32", "float16"):
        with building_in(precision):
            model = build()
        policy.apply(model, SPEC)
        start = values(model)
        compiled(model, policy.optimizer(model, SPEC, steps=10))
        model.train_on_batch(*batch())
        models.append(model)
    plain, mixed = models
    assert isinstance(mixed.optimizer, keras.optimizers.LossScaleOptimizer)
    assert not isinstance(plain.optimizer, keras.optimizers.LossScaleOptimizer)
    assert int(mixed.optimizer.iterations) == 1  # finite, not skipped
    for path in ("logits/kernel", "conv3/kernel"):
        step, wanted = (values(m)[path] - start[path] for m in (mixed, plain))
        assert np.abs(wanted).max() > 5e-3
        close = np.abs(step - wanted) <= 0.02 * np.abs(wanted).max()
        assert close.mean() > 0.95  # a gradient near zero may change its sign


def test_only_float16_needs_its_loss_scaled() -> None:
    optimizer = keras.optimizers.SGD()
    for precision, scaled in (("float32", False), ("bfloat16", False), ("float16", True)):
        with building_in(precision):
            model = build(nested=True)
        assert computes_in_float16(model) is scaled
        assert (scale_loss(optimizer, model) is optimizer) is not scaled


def test_precision_is_put_back_behind_an_error() -> None:
    with pytest.raises(ZeroDivisionError), building_in("bfloat16"):
        raise ZeroDivisionError
    assert keras.config.dtype_policy().name == "float32"
    wanted = "unknown precision 'half'; choose from float32, float16"
    with pytest.raises(ZooError, match=wanted), building_in("half"):
        pass
