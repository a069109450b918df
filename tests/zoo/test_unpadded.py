"""Backbones without padding: the padded features away from the borders, and exact dense scores."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import zoo
from tests.zoo.randomise import randomise
from tests.zoo.test_patch import sliding_window
from zoo.errors import NotExactError, ZooError
from zoo.patch import patch_field, to_dense
from zoo.unpadded import patch_backbone, unpadded

NETWORKS = [("efficientnet_lite0", 97, 1), ("mobilenet_v2", 65, 3), ("vgg11_bn", 65, 3)]
"""Residual blocks with cropped shortcuts, inverted ones, and a plain stack."""


def pictures(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 255, shape).astype("float32")


def check(model: keras.Model) -> None:
    """Scores of the dense network against every patch of a picture, which differ by place."""
    side, _, channels = model.inputs[0].shape[1:]
    randomise(model, pictures((2, side, side, channels)), np.random.default_rng(1))
    picture = pictures((side + 3, side + 4, channels), seed=2)
    want = sliding_window(model, picture)
    got = np.asarray(to_dense(model)(picture[None]))[0]
    assert got.shape == want.shape
    assert want.std(axis=(0, 1)).min() > 1e-2 * np.abs(want).max()
    assert np.abs(got - want).max() < 1e-4 * np.abs(want).max()


@pytest.mark.parametrize(("name", "side", "channels"), NETWORKS)
def test_dense_scores_equal_the_sliding_window(name: str, side: int, channels: int) -> None:
    model = patch_backbone(
        name, patch_shape=(side, side, channels), classes=3, weights=None, hidden=6
    )
    check(model)
    field = patch_field(model)
    assert field.stride == (8, 8)
    assert side - 8 < field.receptive_field[0] <= side


@pytest.mark.slow
def test_projection_shortcuts_are_cropped_before_their_stride() -> None:
    model = patch_backbone("resnet18", patch_shape=(99, 99, 3), classes=2, weights=None)
    check(model)


@pytest.mark.parametrize("name", ["efficientnet_lite0", "vgg11_bn"])
def test_every_place_is_one_of_the_padded_network(name: str) -> None:
    """Without padding there are fewer places; each is right wherever the image goes on."""
    padded = zoo.create_backbone(name, input_shape=(160, 160, 3), weights=None)
    body = keras.Model(padded.inputs[0], padded.output["P3"], name=name)
    randomise(body, pictures((2, 160, 160, 3)), np.random.default_rng(1))
    image = pictures((1, 168, 168, 3), seed=2)
    bare = np.asarray(unpadded(body)(image[:, :160, :160]))[0]
    n, top = len(bare), np.abs(bare).max()
    off = {}
    for moved in range(8):
        wide = np.asarray(body(image[:, moved : moved + 160, moved : moved + 160]))[0]
        assert 0 < n < len(wide)
        for s in range(len(wide) - n + 1):
            # a place near the end of the moved image may see its border: leave the last ones out
            mine, theirs = bare[1:-1, 1:-1], wide[s : s + n, s : s + n][1:-1, 1:-1]
            off[moved, s] = float(np.abs(mine - theirs).max() / top)
    assert min(off.values()) < 1e-4
    assert sum(value < 1e-2 for value in off.values()) == 1, "at one shift alone"


def test_pretrained_weights_are_kept() -> None:
    model = patch_backbone("efficientnet_lite0", patch_shape=(97, 97, 3), classes=2)
    whole = zoo.create_backbone("efficientnet_lite0", input_shape=(97, 97, 3))
    for name in ("stem_conv", "block2b_project_conv", "block4a_expand_conv"):
        mine, theirs = model.get_layer(name).get_weights(), whole.get_layer(name).get_weights()
        for a, b in zip(mine, theirs, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"name": "efficientnet_lite0", "patch_shape": (33, 33, 3)}, ZooError, "33 x 33 is too sm"),
        ({"name": "efficientnet_lite0", "level": "P9"}, ZooError, "has the levels"),
        ({"name": "efficientnet_lite0", "patch_shape": (65, 65)}, ZooError, "must be"),
        ({"name": "mobilenet_v3_small"}, NotExactError, "layer '"),
    ],
)
def test_what_cannot_be_is_refused(
    arguments: dict[str, object], error: type[Exception], said: str
) -> None:
    options = {"patch_shape": (97, 97, 3), "classes": 2, "weights": None} | arguments
    with pytest.raises(error, match=said):
        patch_backbone(**options)  # type: ignore[arg-type]
