"""U-Nets from scratch: published parameter counts and sizes, variants, learning, saving."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from zoo.decoders.supervision import supervision_targets, supervision_weights
from zoo.errors import ZooError
from zoo.residual_unet import residual_unet3d
from zoo.unets import UNetPlan, build_unet, unet

RNG = np.random.default_rng(6)


def closed_form(widths: tuple[int, ...], *, channels: int, classes: int, dims: int) -> int:
    """Parameters of the paper's network: biased convolutions, transposed ones of side 2."""
    taps, count, before = 3**dims, 0, channels
    for width in widths:
        count += taps * (before + width) * width + 2 * width
        before = width
    for fine, coarse in itertools.pairwise(widths):
        count += 2**dims * coarse * fine + fine + taps * (2 * fine + fine) * fine + 2 * fine
    return count + widths[0] * classes + classes


def test_closed_form_gives_the_known_figures() -> None:
    paper = (64, 128, 256, 512, 1024)
    assert closed_form(paper, channels=1, classes=2, dims=2) == 31_030_658
    assert closed_form(paper, channels=1, classes=1, dims=2) == 31_030_593


@pytest.mark.big
def test_the_network_of_the_paper() -> None:
    model = unet(input_shape=(572, 572, 1), classes=2, norm="none", padding="valid")
    assert model.count_params() == 31_030_658
    assert model.output.shape == (None, 388, 388, 2)


@pytest.mark.parametrize("dims", [2, 3])
def test_parameters_by_closed_form(dims: int) -> None:
    widths = (4, 6, 10)
    model = unet(input_shape=(*(16,) * dims, 2), classes=3, widths=widths, norm="none")
    assert model.count_params() == closed_form(widths, channels=2, classes=3, dims=dims)


def test_valid_convolutions_lose_the_border_alone() -> None:
    """At positions of the smaller output both paddings agree where no padding reaches."""
    build: dict[str, Any] = {"classes": 1, "widths": (2, 3), "norm": "none"}
    same = unet(input_shape=(44, 44, 1), **build)
    valid = unet(input_shape=(44, 44, 1), padding="valid", **build)
    valid.set_weights(same.get_weights())
    image = RNG.normal(size=(1, 44, 44, 1)).astype("float32")
    inner = np.asarray(valid(image))
    lost = (44 - inner.shape[1]) // 2
    assert inner.shape[1] == 28
    whole = np.asarray(same(image))[:, lost:-lost, lost:-lost]
    middle = slice(4, -4)
    np.testing.assert_allclose(
        inner[:, middle, middle], whole[:, middle, middle], rtol=1e-4, atol=1e-5
    )


VARIANTS: dict[str, dict[str, Any]] = {
    "2D": {"input_shape": (37, 42, 2), "upsampling": "linear", "activation": "leaky_relu"},
    "2D open": {"input_shape": (None, None, 1), "norm": "group", "upsampling": "nearest"},
    "3D": {"input_shape": (9, 17, 14, 1), "norm": "instance", "activation": "prelu"},
    "3D strided": {"input_shape": (9, 16, 14, 1), "downsampling": "stride", "dropout": 0.2},
}
SMALL: dict[str, Any] = {"classes": 3, "widths": (4, 6, 8)}


def other(name: str) -> keras.Model:
    """The residual networks, small."""
    if name == "residual encoder":
        plan = UNetPlan(
            widths=(4, 6, 6),
            strides=((1, 1, 1), (1, 2, 2), (2, 2, 2)),
            kernels=((1, 3, 3), (3, 3, 3), (3, 3, 3)),
            encoder_blocks=(1, 2, 2),
            decoder_blocks=(1, 1),
            norm="instance",
            activation="leaky_relu",
            residual=True,
            downsampling="stride",
        )
        return build_unet(plan, input_shape=(6, 17, 14, 1), classes=3, deep_supervision=True)
    options: dict[str, Any] = {"classes": 3, "widths": (2, 4, 6), "convolutions": (1, 2, 2)}
    if name == "mixed residual":
        options |= {"long": "sum", "kernel": 3, "deep_supervision": True}
    return residual_unet3d(input_shape=(9, 13, 10, 1), **options)


@pytest.mark.parametrize("name", [*VARIANTS, "residual encoder", "v-net", "mixed residual"])
def test_variant(name: str, tmp_path: Path) -> None:
    """Size, names, a gradient everywhere, and plain Keras opens the file."""

    def build() -> keras.Model:
        return unet(**SMALL, **VARIANTS[name]) if name in VARIANTS else other(name)

    model, again = build(), build()
    assert [one.name for one in again.operations] == [one.name for one in model.operations]
    assert [one.path for one in again.weights] == [one.path for one in model.weights]
    sides = [side or 16 for side in model.input.shape[1:-1]]
    image = RNG.normal(size=(2, *sides, model.input.shape[-1])).astype("float32")
    with tf.GradientTape() as tape:
        found = model(image, training=True)
        outputs = found if isinstance(found, dict) else {"P0": found}
        loss = sum(tf.reduce_sum(x * RNG.normal(size=x.shape)) for x in outputs.values())
    gradients = tape.gradient(loss, [weight.value for weight in model.trainable_weights])
    for weight, gradient in zip(model.trainable_weights, gradients, strict=True):
        assert gradient is not None, weight.path
        assert np.abs(gradient).max() > 0, weight.path
    assert outputs["P0"].shape == (2, *sides, 3)
    assert {x.dtype.name for x in outputs.values()} == {"float32"}
    model.save(tmp_path / "model.keras")
    opened = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    wanted, loaded = model(image), opened(image)
    main = (lambda x: x["P0"]) if isinstance(wanted, dict) else (lambda x: x)
    np.testing.assert_allclose(main(loaded), main(wanted), rtol=1e-5, atol=1e-5)


def test_v_net_has_the_shape_of_its_table() -> None:
    """Widths and numbers of convolutions per stage of table 1 of arXiv:1606.04797."""
    widths = (4, 8, 16, 32, 64)  # a quarter of the published ones
    model = residual_unet3d(input_shape=(16, 16, 16, 1), classes=2, widths=widths)
    made = {layer.name: layer for layer in model.layers}
    for level, (width, count) in enumerate(zip(widths, (1, 2, 3, 3, 3), strict=True)):
        ways = [("encoder", width)] + ([("decoder", 2 * width)] if level < 4 else [])
        for way, channels in ways:
            names = [f"{way}_{level}_{index}_conv" for index in range(1, count + 1)]
            assert [made[name].filters for name in names] == [channels] * count
            assert {made[name].kernel_size for name in names} == {(5, 5, 5)}
            assert f"{way}_{level}_{count + 1}_conv" not in made
            short = made[f"{way}_{level}_add"].input
            assert [x.shape[-1] for x in short] == [channels, channels]
    summed = residual_unet3d(
        input_shape=(8, 8, 8, 1), classes=1, widths=(2, 4), convolutions=(1, 1), long="sum"
    )
    first, second = summed.get_layer("decoder_0_long").input
    assert first.shape == second.shape == (None, 8, 8, 8, 2)


def test_a_ball_is_learnt_under_deep_supervision() -> None:
    """Dice on a synthetic ball after a few steps; targets and weights fit the outputs."""
    keras.utils.set_random_seed(1)
    grid = np.stack(np.meshgrid(*[np.arange(12.0)] * 3, indexing="ij"))
    centres = RNG.uniform(4, 7, (2, 3, 1, 1, 1))
    ball = (((grid[None] - centres) ** 2).sum(axis=1) < 12).astype("float32")[..., None]
    image = (ball + RNG.normal(0, 0.3, ball.shape)).astype("float32")
    model = unet(input_shape=(12, 12, 12, 1), classes=1, widths=(6, 8), deep_supervision=True)
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    names = list(model.output)
    model.compile(
        keras.optimizers.Adam(0.02),
        dict.fromkeys(names, loss),
        loss_weights=supervision_weights(model),
    )
    targets = supervision_targets(model, ball)
    for _ in range(30):
        model.train_on_batch(image, targets)
    found = np.asarray(model(image, training=True)["P0"]) > 0
    dice = 2 * (found * ball).sum() / (found.sum() + ball.sum())
    assert dice > 0.85


@pytest.mark.parametrize("size", [(16, 16), (8, 8, 8)])
def test_float16_is_finite_and_gives_float32_logits(size: tuple[int, ...]) -> None:
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = unet(input_shape=(*size, 1), classes=2, widths=(4, 6))
    finally:
        keras.config.set_dtype_policy("float32")
    logits = model(RNG.normal(size=(1, *size, 1)).astype("float32"))
    assert logits.dtype == "float32"
    assert np.isfinite(logits).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_shape": (16, 1)}, "is not \\(\\[depth,\\] height, width, channels\\)"),
        ({"widths": (4,)}, "two positive numbers"),
        ({"classes": 0}, "classes is 0"),
        ({"norm": "layer"}, "unknown norm 'layer'"),
        ({"activation": "mish2"}, "unknown activation 'mish2'; choose from relu"),
        ({"padding": "reflect"}, "unknown padding 'reflect'; choose from same, valid"),
        ({"upsampling": "cubic"}, "unknown upsampling 'cubic'"),
        ({"downsampling": "max"}, "unknown downsampling 'max'"),
        ({"dropout": -0.1}, "dropout is -0.1"),
        ({"padding": "valid"}, "too small for 3 levels"),
        ({"padding": "valid", "input_shape": (None, 64, 1)}, "needs a known size"),
    ],
)
def test_refused_arguments(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ZooError, match=message):
        unet(**{"input_shape": (16, 16, 1), **SMALL, **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_shape": (16, 16, 1)}, "is not \\(depth, height, width, channels\\)"),
        ({"widths": (4, 8), "convolutions": (1,)}, "2 widths but 1 convolutions"),
        ({"kernel": 4}, "kernel is 4; give an odd number"),
        ({"long": "add"}, "unknown long connection 'add'; choose from concat, sum, none"),
        ({"input_shape": (8, 16, 16, 1)}, "at least 16 a side"),
        ({"norm": "no"}, "unknown norm 'no'"),
    ],
)
def test_refused_arguments_of_the_residual_network(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ZooError, match=message):
        residual_unet3d(**{"input_shape": (16, 16, 16, 1), "classes": 2, **change})
