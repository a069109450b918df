"""Whole images, exact tiles and blended windows against each other and against closed forms."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from recipes.segmentation.inference import (
    InferenceError,
    Network,
    OutOfMemoryError,
    plan_inference,
    predict_labels,
    predict_logits,
    predict_probabilities,
)
from recipes.segmentation.inference.planning import tile_starts
from recipes.segmentation.inference.tiling import tiled_slabs
from recipes.segmentation.inference.windows import Canvas, gaussian_weights, window_starts
from tests.recipes.segmentation.inference import record_monai
from tests.recipes.segmentation.inference.networks import apart, random_image, shaken, tiny_unet
from zoo.errors import NotExactError
from zoo.unets import unet


def whole_by_hand(model: keras.Model, image: Any, multiple: int) -> Any:
    """One pass over the image with zeros around it, without the package under test."""
    wanted = [-(-side // multiple) * multiple for side in image.shape[:-1]]
    pads = [((w - s) // 2, w - s - (w - s) // 2) for w, s in zip(wanted, image.shape, strict=False)]
    padded = np.pad(image, [*pads, (0, 0)])
    sized = keras.models.clone_model(model, input_tensors=keras.Input(padded.shape))
    sized.set_weights(model.get_weights())
    inner = tuple(slice(low, low + s) for (low, _), s in zip(pads, image.shape, strict=False))
    return np.asarray(sized(padded[None], training=False))[0][inner]


CASES: dict[str, tuple[Any, tuple[int, ...]]] = {
    "2D, pooled, transposed": (lambda: tiny_unet(16, 16, 1), (95, 62, 1)),
    "2D, strided, nearest": (
        lambda: tiny_unet(16, 16, 2, downsampling="stride", upsampling="nearest"),
        (81, 66, 2),
    ),
    "2D, linear": (lambda: tiny_unet(16, 16, 1, upsampling="linear"), (90, 61, 1)),
    "3D, pooled, transposed": (lambda: tiny_unet(12, 12, 12, 1), (61, 33, 30, 1)),
    "3D, strided, nearest": (
        lambda: tiny_unet(12, 12, 12, 1, downsampling="stride", upsampling="nearest"),
        (59, 30, 26, 1),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_tiles_give_the_result_of_one_pass(name: str) -> None:
    build, shape = CASES[name]
    model, image = build(), random_image(*shape)
    patch = model.inputs[0].shape[1:-1]
    wanted = whole_by_hand(model, image, 2)
    assert apart(predict_logits(model, image, patch_size=patch), wanted) < 1e-5
    network = Network(model, patch)
    limit = network.bytes_for(shape[:-1]) * 0.6e-9
    plan = plan_inference([network], shape[:-1], mode="tiles", memory_gb=limit)
    assert plan.mode == "tiles"
    assert plan.passes > 1
    assert plan.estimate_gb <= limit
    tiled = predict_logits(network, image, patch_size=patch, mode="tiles", memory_gb=limit)
    assert apart(tiled, wanted) < 1e-5


@pytest.mark.parametrize(
    ("name", "short"), [("2D, pooled, transposed", 4), ("3D, strided, nearest", 2)]
)
def test_a_halo_cut_by_few_samples_is_noticed(name: str, short: int) -> None:
    build, shape = CASES[name]
    model, image = build(), random_image(*shape)
    network = Network(model, model.inputs[0].shape[1:-1])
    limit = network.bytes_for(shape[:-1]) * 0.6e-9
    plan = plan_inference([network], shape[:-1], mode="tiles", memory_gb=limit)
    canvas = Canvas(image, plan.size)
    wanted = whole_by_hand(model, image, 2)
    for cut, exact in ((0, True), (short, False)):
        halo = tuple(side - cut for side in plan.halo)
        sizes = zip(plan.size, plan.window, halo, strict=True)
        starts = tuple(tuple(tile_starts(*axis)) for axis in sizes)
        tight = replace(plan, halo=halo, starts=starts)
        slabs = [slab for _, _, slab in tiled_slabs(network.run, canvas, tight, 3)]
        inner = tuple(slice(b, b + s) for b, s in zip(canvas.before, shape, strict=False))
        found = np.concatenate(slabs)[inner]
        assert (apart(found, wanted) < 1e-5) == exact


@pytest.mark.parametrize("name", record_monai.CASES)
def test_blending_agrees_with_monai(name: str) -> None:
    image, kernels = record_monai.drawn(name)
    _, window, overlap = record_monai.CASES[name]
    conv = {2: keras.layers.Conv2D, 3: keras.layers.Conv3D}[len(window)]
    x = entry = keras.Input((*window, image.shape[-1]))
    for kernel, activation in zip(kernels, ("relu", None), strict=True):
        layer = conv(kernel.shape[-1], 3, padding="same", use_bias=False, activation=activation)
        x = layer(x)
        layer.set_weights([kernel])
    with np.load(record_monai.FILE) as recorded:
        wanted = recorded[name]
    options: dict[str, Any] = {"patch_size": window, "overlap": overlap, "mode": "blend"}
    model = keras.Model(entry, x)
    assert apart(predict_logits(model, image, **options), wanted) < 1e-5
    assert apart(predict_logits(model, image, **options, batch_size=3), wanted) < 1e-5
    kernels[0][1, 1] *= 1.01
    model.set_weights(kernels)
    assert apart(predict_logits(model, image, **options), wanted) > 1e-4


def test_window_starts_and_weights() -> None:
    assert window_starts(64, 64, 0.5) == [0]
    assert window_starts(160, 64, 0.5) == [0, 32, 64, 96]
    assert window_starts(70, 64, 0.5) == [0, 6]
    weights = gaussian_weights((64, 9))
    assert weights.shape == (64, 9)
    assert weights.max() <= 1.0
    assert weights.min() == pytest.approx(1e-3)
    line = weights[31, :] / weights[31, 4]
    assert line[1] == pytest.approx(np.exp(-0.5 * (3 / (9 / 8)) ** 2), rel=1e-5)


def test_mirrored_views_and_ensembles_are_averaged() -> None:
    models = [tiny_unet(8, 8, 1), tiny_unet(8, 8, 1, widths=(3, 2))]
    image = random_image(16, 20, 1)  # windows of 8 lie the same way from both ends
    wanted = []
    for model in models:
        for axes in ((), (0,), (1,), (0, 1)):
            logits = np.flip(whole_by_hand(model, np.flip(image, axes), 2), axes)
            values = np.exp(logits)
            wanted.append(values / values.sum(-1, keepdims=True))
    options: dict[str, Any] = {"patch_size": (8, 8), "mirror_axes": (0, 1)}
    found = predict_probabilities(models, image, **options)
    assert apart(found, np.mean(wanted, axis=0)) < 1e-5
    assert apart(predict_probabilities(models[0], image, **options), wanted[0]) > 1e-3
    blended = predict_probabilities(models, image, **options, mode="blend")
    single = [
        np.flip(
            predict_probabilities(m, np.flip(image, axes), patch_size=(8, 8), mode="blend"), axes
        )
        for m in models
        for axes in ((), (0,), (1,), (0, 1))
    ]
    assert apart(blended, np.mean(single, axis=0)) < 1e-5


def test_labels_are_the_most_probable_class_in_bounded_slabs(tmp_path: Path) -> None:
    model, image = tiny_unet(8, 8, 8, 1), random_image(21, 17, 9, 1)
    for mode in ("blend", "auto"):
        options: dict[str, Any] = {"patch_size": (8, 8, 8), "mode": mode}
        values = predict_probabilities(model, image, **options)
        calls: list[int] = []
        target = np.memmap(tmp_path / f"{mode}.raw", np.uint8, "w+", shape=image.shape[:-1])
        labels = predict_labels(
            model,
            image,
            **options,
            out=target,
            progress=lambda done, _, calls=calls: calls.append(done),
        )
        assert labels is target
        assert np.array_equal(labels, values.argmax(-1))
        assert calls[-1] == 21
        assert len(calls) == (5 if mode == "blend" else 1)


def test_images_smaller_than_the_patch_and_of_one_slice() -> None:
    model = tiny_unet(8, 8, 8, 1)
    image = random_image(1, 5, 9, 1)
    padded = np.pad(image, ((3, 4), (1, 2), (0, 0), (0, 0)))
    padded = np.pad(padded, ((0, 0), (0, 0), (0, 1), (0, 0)))
    wanted = whole_by_hand(model, padded, 2)[3:4, 1:6, :9]
    assert apart(predict_logits(model, image, patch_size=(8, 8, 8)), wanted) < 1e-5
    assert predict_logits(model, image, patch_size=(8, 8, 8), mode="blend").shape == (1, 5, 9, 3)


def test_one_logit_and_overlapping_structures() -> None:
    image = random_image(11, 13, 1)
    one = shaken(unet(input_shape=(8, 8, 1), classes=1, widths=(2, 3)))
    options: dict[str, Any] = {"patch_size": (8, 8), "activation": "sigmoid"}
    logits = predict_logits(one, image, patch_size=(8, 8))
    assert apart(predict_probabilities(one, image, **options), 1 / (1 + np.exp(-logits))) < 1e-6
    assert np.array_equal(predict_labels(one, image, **options), logits[..., 0] >= 0)
    with pytest.raises(InferenceError, match="3 structures that may overlap"):
        predict_labels(tiny_unet(8, 8, 1), image, **options)


def test_deep_supervision_open_sides_and_builders_agree() -> None:
    image = random_image(25, 30, 1)
    closed = tiny_unet(8, 8, 1)
    wanted = predict_logits(closed, image, patch_size=(8, 8))
    opened = tiny_unet(None, None, 1)
    deep = unet(input_shape=(8, 8, 1), classes=3, widths=(2, 3), deep_supervision=True)
    deep.set_weights(closed.get_weights())

    def built(size: tuple[int, ...]) -> keras.Model:
        return tiny_unet(*size, 1)

    for model in (opened, deep, built):
        assert apart(predict_logits(model, image, patch_size=(8, 8)), wanted) < 1e-6


def test_new_weights_are_used_at_sizes_seen_before() -> None:
    model, image = tiny_unet(8, 8, 1), random_image(20, 20, 1)
    before = predict_logits(model, image, patch_size=(8, 8))
    shaken(model, seed=5)
    after = predict_logits(model, image, patch_size=(8, 8))
    assert apart(after, before) > 1e-2
    assert apart(after, whole_by_hand(model, image, 2)) < 1e-5


def test_inexact_networks_are_blended_and_say_why() -> None:
    cases = {
        "statistics over space": tiny_unet(8, 8, 1, norm="instance"),
        "no multiple of its stride 2": tiny_unet(9, 9, 1),
        "is not known here": tiny_unet(8, 8, 8, 1, upsampling="linear"),
    }
    for why, model in cases.items():
        patch = model.inputs[0].shape[1:-1]
        image = random_image(*(13,) * len(patch), 1)
        network = Network(model, patch)
        plan = plan_inference([network], image.shape[:-1])
        assert plan.mode == "blend"
        assert why in plan.reason
        found = predict_logits(network, image, patch_size=patch)
        assert apart(found, predict_logits(model, image, patch_size=patch, mode="blend")) == 0
        with pytest.raises(NotExactError, match=why):
            predict_logits(model, image, patch_size=patch, mode="tiles")


def test_auto_takes_tiles_only_where_they_are_less_work() -> None:
    network = Network(tiny_unet(16, 16, 1), (16, 16))
    shape = (400, 400)
    roomy = plan_inference([network], shape, memory_gb=network.bytes_for((200, 200)) / 1e9)
    tight = plan_inference([network], shape, memory_gb=network.bytes_for((26, 26)) / 1e9)
    assert roomy.mode == "tiles"
    assert tight.mode == "blend"
    assert "x the work" in tight.reason
    assert roomy.work < tight.work / 2


def test_smaller_windows_are_tried_when_memory_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    model, image = tiny_unet(16, 16, 1), random_image(90, 80, 1)
    wanted = predict_logits(model, image, patch_size=(16, 16))
    run, most = Network.run, [64 * 64]

    def limited(self: Network, batch: Any) -> Any:
        if batch[..., 0].size > most[0]:
            raise OutOfMemoryError("a pass does not fit memory")
        return run(self, batch)

    monkeypatch.setattr(Network, "run", limited)
    assert apart(predict_logits(model, image, patch_size=(16, 16)), wanted) < 1e-5
    most[0] = 10
    for mode in ("auto", "tiles", "blend"):
        with pytest.raises(OutOfMemoryError, match="memory"):
            predict_logits(model, image, patch_size=(16, 16), mode=mode)
    with pytest.raises(OutOfMemoryError, match="holds no tile with its halo of 10x10"):
        predict_logits(model, image, patch_size=(16, 16), mode="tiles", memory_gb=1e-6)


BAD: dict[str, tuple[dict[str, Any], Any, str]] = {
    "nan": ({}, np.full((9, 9, 1), np.nan, "float32"), "not finite"),
    "infinity": ({}, np.pad(np.full((1, 1, 1), np.inf), ((0, 8), (0, 8), (0, 0))), "not finite"),
    "channels": ({}, np.zeros((9, 9, 3), "float32"), "3 channel.*takes 1"),
    "axes": ({}, np.zeros((9, 9, 9, 1), "float32"), "takes 2 spatial axes"),
    "empty": ({}, np.zeros((0, 9, 1), "float32"), "none empty"),
    "complex": ({}, np.zeros((9, 9, 1), "complex64"), "real numbers"),
    "mode": ({"mode": "tile"}, None, "unknown mode 'tile'; choose from auto, tiles, blend"),
    "overlap": ({"overlap": 1.0}, None, r"overlap is 1.0; it must lie in \[0, 1\)"),
    "memory": ({"memory_gb": 0}, None, "memory_gb is 0"),
    "batch": ({"batch_size": 0}, None, "batch_size is 0"),
    "mirror": ({"mirror_axes": (2,)}, None, r"mirror_axes \(2,\).*0 to 1"),
    "mirrored twice": ({"mirror_axes": (0, 0)}, None, "different spatial axes"),
    "patch": ({"patch_size": (8, 8, 8)}, None, r"has 3 sides; network 'unet' takes 2"),
    "activation": ({"activation": "tanh"}, None, "unknown activation 'tanh'"),
    "out": ({"out": np.zeros((9, 9, 2))}, None, r"out has shape \(9, 9, 2\)"),
}


@pytest.mark.parametrize("name", BAD)
def test_refusals(name: str, small: keras.Model) -> None:
    options, image, message = BAD[name]
    given = np.zeros((9, 9, 1), "float32") if image is None else image
    with pytest.raises(InferenceError, match=message):
        predict_probabilities(small, given, **{"patch_size": (8, 8), **options})


@pytest.fixture(scope="module")
def small() -> keras.Model:
    """A network of pictures with one channel."""
    return tiny_unet(8, 8, 1)


def test_refused_networks(small: keras.Model) -> None:
    image = np.zeros((41, 41, 1), "float32")
    other = tiny_unet(8, 8, 2)
    with pytest.raises(InferenceError, match="differ in channels"):
        predict_logits([small, other], image, patch_size=(8, 8))
    with pytest.raises(InferenceError, match="without a model"):
        predict_logits([], image, patch_size=(8, 8))
    valid = unet(input_shape=(40, 40, 1), classes=2, widths=(2, 3), padding="valid")
    with pytest.raises(InferenceError, match="24x24 for an input of 40x40"):
        predict_logits(valid, image[:40, :40], patch_size=(40, 40))
    with pytest.raises(InferenceError, match="along axis 0 must be a multiple of 2"):
        predict_logits(tiny_unet(None, None, 1), image, patch_size=(9, 8))
    with pytest.raises(InferenceError, match="is not the 9x9 that network 'unet' is built for"):
        predict_logits(tiny_unet(9, 9, 1), image, patch_size=(8, 8))
    with pytest.raises(InferenceError, match="no functional network"):
        predict_logits(keras.Sequential(), image, patch_size=(8, 8))
