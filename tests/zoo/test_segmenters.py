"""Segmenters: interface, refusals, deep supervision, gates, and that skips carry detail."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests.zoo.tiny import registered
from zoo.architectures.resize import upsample_to
from zoo.decoders import DecoderInput
from zoo.decoders.supervision import (
    supervision_targets,
    supervision_weights,
    without_supervision,
)
from zoo.decoders.unet import unet as unet_decoder
from zoo.errors import ZooError
from zoo.segmenters import create_segmenter

NAME = "tiny"
RNG = np.random.default_rng(4)


@pytest.fixture(scope="module", autouse=True)
def _backbone() -> Iterator[None]:
    with registered():
        yield


@pytest.fixture(scope="module")
def gated() -> keras.Model:
    return create_segmenter(
        NAME,
        input_shape=(33, 40, 1),
        classes=2,
        decoder="attention_unet",
        weights=None,
        widths=(4, 4, 6, 8),
        input_range=(-1000.0, 400.0),
        deep_supervision=True,
    )


def test_interface(gated: keras.Model) -> None:
    assert gated.name == "tiny_attention_unet"
    assert gated.input.name == "image"
    assert list(gated.output) == ["P0", "P1", "P2", "P3"]
    assert not any(isinstance(layer, keras.Model) for layer in gated.layers)
    wide = RNG.uniform(-3000, 3000, (1, 33, 40, 1)).astype("float32")
    clipped = np.clip(wide, -1000, 400)
    np.testing.assert_array_equal(gated(wide)["P0"], gated(clipped)["P0"])


def test_gates_lie_between_0_and_1_and_multiply_the_skip(gated: keras.Model) -> None:
    image = RNG.uniform(-1000, 400, (1, 33, 40, 1)).astype("float32")
    for level in ("P1", "P2", "P3"):
        gate = gated.get_layer(f"decoder_{level}_gate")
        product = gated.get_layer(f"decoder_{level}_gated")
        skip, weight = product.input
        probe = keras.Model(gated.input, [gate.output, skip, weight, product.output])
        low, skip, weight, out = (np.asarray(x) for x in probe(image))
        assert low.min() >= 0
        assert low.max() <= 1
        assert np.ptp(low) > 0
        assert weight.shape == (*skip.shape[:-1], 1)
        assert low.min() - 1e-6 <= weight.min() <= weight.max() <= low.max() + 1e-6
        np.testing.assert_allclose(out, skip * weight, rtol=1e-5, atol=1e-6)


def test_supervision_targets_weights_and_removal(gated: keras.Model) -> None:
    weights = supervision_weights(gated)
    assert sum(weights.values()) == pytest.approx(1)
    halves = [weights["P0"] / weights[name] for name in ("P0", "P1", "P2", "P3")]
    assert halves == pytest.approx([1, 2, 4, 8])
    target = np.arange(33 * 40, dtype="float32").reshape(1, 33, 40)
    target[0, 16, 20] = np.nan
    found = supervision_targets(gated, target)
    assert {name: x.shape for name, x in found.items()} == {
        "P0": (1, 33, 40),
        "P1": (1, 17, 20),
        "P2": (1, 9, 10),
        "P3": (1, 5, 5),
    }
    assert found["P0"] is target
    rows = ((np.arange(9) + 0.5) * 33 / 9).astype(int)
    np.testing.assert_array_equal(found["P2"][0, :, 0], target[0, rows, 2])
    tensors = supervision_targets(gated, keras.ops.convert_to_tensor(target))
    np.testing.assert_array_equal(tensors["P2"], found["P2"])
    one_hot = supervision_targets(gated, np.zeros((1, 33, 40, 2)))
    assert one_hot["P3"].shape == (1, 5, 5, 2)
    image = np.ones((1, 33, 40, 1), "float32")
    main = without_supervision(gated)
    np.testing.assert_allclose(main(image), gated(image)["P0"], rtol=1e-5, atol=1e-6)
    with pytest.raises(ZooError, match="target \\(1, 40, 33\\) is not"):
        supervision_targets(gated, np.zeros((1, 40, 33)))
    with pytest.raises(ZooError, match="has no deep supervision"):
        supervision_weights(main)


def test_unetpp_supervises_the_nodes_of_its_finest_row() -> None:
    model = create_segmenter(
        NAME,
        input_shape=(32, 32, 3),
        classes=1,
        decoder="unetpp",
        weights=None,
        widths=(4, 4, 6, 8),
        deep_supervision=True,
    )
    shapes = {name: x.shape[1:3] for name, x in model.output.items()}
    assert shapes == {"P0": (32, 32), "P1_2": (16, 16), "P1_1": (16, 16)}
    weights = supervision_weights(model)
    assert weights["P1_1"] == weights["P1_2"] == pytest.approx(weights["P0"] / 2)
    # Node (i, j) joins j earlier versions of its level with the map below.
    join = model.get_layer("decoder_P1_3_join")
    assert [x.shape[-1] for x in join.input] == [8, 4, 4, 6]


@pytest.mark.parametrize("have", [(3, 4, 5), (2, 8, 3)])
def test_upsampling_meets_any_size(have: tuple[int, ...]) -> None:
    x = keras.Input((*have, 2))
    for size in ((7, 8, 11), (5, 9, 10), have):
        for mode in ("nearest", "linear"):
            y = upsample_to(x, size, name="u", mode=mode)
            assert y.shape[1:] == (*size, 2)
            value = keras.Model(x, y)(np.full((1, *have, 2), 3.0, "float32"))
            np.testing.assert_allclose(value, 3.0, rtol=1e-6)


def test_trilinear_is_linear_along_each_axis() -> None:
    """A ramp along an axis stays a ramp inside, at half-pixel centres."""
    x = keras.Input((4, 5, 6, 1))
    model = keras.Model(x, upsample_to(x, (8, 15, 24), name="u", mode="linear"))
    for axis, (side, factor) in enumerate(zip((4, 5, 6), (2, 3, 4), strict=True), 1):
        shape = [1] * 5
        shape[axis] = side
        ramp = np.broadcast_to(np.arange(side, dtype="float32").reshape(shape), (1, 4, 5, 6, 1))
        found = np.moveaxis(np.asarray(model(ramp)), axis, -1)
        wanted = np.clip((np.arange(side * factor) + 0.5) / factor - 0.5, 0, side - 1)
        np.testing.assert_allclose(found, np.broadcast_to(wanted, found.shape), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("dims", [2, pytest.param(3, marks=pytest.mark.big)])
def test_a_fine_mask_is_learnt_through_the_skips(dims: int) -> None:
    """New noise at every step, to be given back voxel by voxel: only a skip can carry it."""
    size = (8,) * dims

    def noise() -> np.ndarray:
        return RNG.integers(0, 2, (8, *size, 1)).astype("float32")

    def fitted(skips: bool) -> float:
        keras.utils.set_random_seed(0)
        image = keras.Input((*size, 1), name="image")
        pool = getattr(keras.layers, f"AveragePooling{dims}D")
        conv = getattr(keras.layers, f"Conv{dims}D")
        fine = conv(8, 3, padding="same", activation="relu")(pool(1)(image))
        coarse = conv(8, 3, padding="same", activation="relu")(pool(4)(fine))
        maps = {"P0": fine, "P2": coarse} if skips else {"P2": coarse}
        given = DecoderInput(image=image, pyramid=maps, widths=(8, 8), norm="instance")
        model = keras.Model(image, conv(1, 1)(unet_decoder(given)["P0"]))
        loss = keras.losses.BinaryCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(0.02), loss)
        for _ in range(30):
            mask = noise()
            model.train_on_batch(mask, mask)
        fresh = noise()
        return float(np.mean((np.asarray(model(fresh)) > 0) == fresh))

    assert fitted(skips=True) > 0.98
    assert fitted(skips=False) < 0.75


def test_plain_keras_opens_a_supervised_model(gated: keras.Model, tmp_path: Path) -> None:
    gated.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    assert list(again.output) == list(gated.output)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"decoder": "unett"}, "unknown decoder 'unett'; did you mean 'unet'\\?"),
        ({"widths": (4, 4)}, "widths \\(4, 4\\) do not fit decoder 'unet': it needs 4"),
        ({"widths": (4, 4, 0, 4)}, "do not fit decoder 'unet'"),
        ({"decoder": "fpn", "widths": (4,)}, "channels of the segmentation branch"),
        ({"classes": 0}, "classes is 0"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"norm": "layer"}, "unknown norm 'layer'; choose from batch"),
        ({"input_range": (5.0, 5.0)}, "is empty"),
        ({"input_shape": (None, 32, 3)}, "leaves a side open"),
        ({"input_shape": (8, 32, 3)}, "too small"),
        ({"dims": 2.5}, "dims is 2.5; a segmenter takes 2 or 3"),
        ({"dims": 3}, "is not \\(depth, height, width, channels\\)"),
    ],
)
def test_refused_arguments(change: dict[str, Any], message: str) -> None:
    arguments = {"input_shape": (32, 32, 3), "classes": 2, "weights": None, **change}
    with pytest.raises(ZooError, match=message):
        create_segmenter(NAME, **arguments)
