"""Every decoder of ``zoo.decoders.DECODERS``, on one small backbone, in 2D and 3D."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.zoo.tiny import registered
from zoo.decoders import DECODERS
from zoo.segmenters import create_segmenter

WIDTHS = {"fpn": (6, 8), "deeplabv3plus": (4, 8)}
SHAPES = {2: (45, 64, 4), 3: (7, 17, 16, 1)}
CLASSES = 3


@dataclass(frozen=True)
class Subject:
    """A decoder on the tiny backbone, built, with one input."""

    decoder: str
    dims: int
    backbone: str
    model: keras.Model
    image: np.ndarray

    def build(self, **options: object) -> keras.Model:
        """Build it again, with other options."""
        return build(self.backbone, self.decoder, self.dims, **options)


def build(backbone: str, decoder: str, dims: int, **options: object) -> keras.Model:
    """A small segmenter without pretrained weights."""
    given = {
        "input_shape": SHAPES[dims],
        "widths": WIDTHS.get(decoder, (4, 4, 6, 8)),
        "deep_supervision": True,
        "depth_strides": (1, 2, 2, 1) if dims == 3 else None,
    }
    return create_segmenter(
        backbone,
        **{
            "classes": CLASSES,
            "decoder": decoder,
            "weights": None,
            "dims": dims,
            **given,
            **options,
        },
    )


@pytest.fixture(scope="module")
def backbone() -> Iterator[str]:
    with registered() as spec:
        yield spec.name


def _enrolled() -> list[object]:
    """All in 2D; in 3D the plain one by default, the others in ``make test-all``."""
    return [
        pytest.param(
            (decoder, dims),
            marks=() if dims == 2 or decoder == "unet" else (pytest.mark.big,),
            id=f"{decoder}-{dims}d",
        )
        for decoder in DECODERS
        for dims in (2, 3)
    ]


@pytest.fixture(scope="module", params=_enrolled())
def subject(request: pytest.FixtureRequest, backbone: str) -> Subject:
    keras.utils.set_random_seed(5)
    decoder, dims = request.param
    model = build(backbone, decoder, dims)
    image = np.random.default_rng(3).uniform(0, 255, (2, *SHAPES[dims])).astype("float32")
    return Subject(decoder, dims, backbone, model, image)


def test_logits_have_the_size_of_the_image(subject: Subject) -> None:
    size = SHAPES[subject.dims][:-1]
    outputs = subject.model(subject.image)
    assert next(iter(outputs)) == "P0"
    assert outputs["P0"].shape == (2, *size, CLASSES)
    assert len(outputs) > 1
    for name, logits in outputs.items():
        assert logits.dtype == "float32"
        assert logits.shape[-1] == CLASSES
        assert all(a <= b for a, b in zip(logits.shape[1:-1], size, strict=True))
        layer = subject.model.get_layer("logits" if name == "P0" else f"logits_{name}")
        assert layer.activation is keras.activations.linear


def test_two_builds_have_equal_names(subject: Subject) -> None:
    again = subject.build()
    assert [one.name for one in again.operations] == [one.name for one in subject.model.operations]
    assert [one.path for one in again.weights] == [one.path for one in subject.model.weights]


def test_weights_do_not_depend_on_the_size_or_on_supervision(subject: Subject) -> None:
    larger = tuple(side + 16 for side in SHAPES[subject.dims][:-1])
    shape = (*larger, SHAPES[subject.dims][-1])
    plain = subject.build(input_shape=shape, deep_supervision=False)
    assert plain.output.shape == (None, *larger, CLASSES)
    own = {weight.path: weight.shape for weight in subject.model.weights}
    assert {weight.path: weight.shape for weight in plain.weights}.items() <= own.items()


def test_a_gradient_reaches_every_trainable_weight(subject: Subject) -> None:
    model = subject.model
    rng = np.random.default_rng(0)
    with tf.GradientTape() as tape:
        outputs = model(subject.image, training=True)
        loss = sum(tf.reduce_sum(x * rng.normal(size=x.shape)) for x in outputs.values())
    weights = model.trainable_weights
    gradients = tape.gradient(loss, [weight.value for weight in weights])
    for weight, gradient in zip(weights, gradients, strict=True):
        assert gradient is not None, weight.path
        assert np.abs(gradient).max() > 0, weight.path


def test_plain_keras_opens_the_saved_file(subject: Subject, tmp_path: Path) -> None:
    subject.model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    for layer in again.layers:
        assert getattr(keras.layers, type(layer).__name__) is type(layer)
    wanted = subject.model(subject.image)
    for name, logits in again(subject.image).items():
        assert np.ptp(wanted[name]) > 0
        np.testing.assert_allclose(logits, wanted[name], rtol=1e-5, atol=1e-5)


def test_float16_is_finite_and_gives_float32_logits(subject: Subject) -> None:
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = subject.build(deep_supervision=False)
    finally:
        keras.config.set_dtype_policy("float32")
    logits = model(subject.image)
    assert logits.dtype == "float32"
    assert np.isfinite(logits).all()
