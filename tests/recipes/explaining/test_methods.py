"""Each method against its definition, and against the sanity checks of the literature."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest
from scipy import signal

from recipes.explaining.cam import class_activation, coarse_maps, enlarged
from recipes.explaining.errors import ExplainError
from recipes.explaining.gradients import Rectify
from recipes.explaining.methods import METHODS, Options, chosen_methods
from recipes.explaining.network import Array, Explained, Floats
from recipes.explaining.occlusion import occlusion, starts
from recipes.explaining.saliency import input_gradients, integrated_gradients, smooth_gradients
from tests.recipes.explaining.nets import classifier, drawn, ensemble, images, one_hot, segmenter


def relative(found: Array, wanted: Array) -> float:
    """Largest deviation, relative to the largest value."""
    assert np.abs(wanted).max() > 0
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


@pytest.mark.parametrize("dims", [2, 3])
def test_gradcam_behind_average_pooling_is_the_class_activation_map(dims: int) -> None:
    model = classifier(dims=dims)
    x = images(model)
    network = Explained(model)
    features = network.features(x, network.program.find("top"))[0]
    kernel = np.asarray(model.get_layer("logits").get_weights()[0])
    for k in range(3):
        cam = features @ kernel[:, k] / np.prod(features.shape[1:-1])  # Zhou et al., equation 2
        (found,) = coarse_maps(network, x, one_hot(k))
        assert relative(found, np.maximum(cam, 0)) < 1e-5


def test_gradcam_of_an_ensemble_is_that_of_all_channels() -> None:
    members = [classifier(seed=1), classifier(seed=2)]
    model = ensemble(members)
    x = images(model)
    signed = np.zeros((len(x), 8, 8))
    for one in members:
        network = Explained(one)
        _, (value,), (gradient,) = network.gradients(x, one_hot(1), layers=network.last_maps())
        signed += (value * gradient.mean(axis=(1, 2), keepdims=True)).sum(axis=-1) / 2
    (found,) = coarse_maps(Explained(model), x, one_hot(1))
    assert relative(found, np.maximum(signed, 0)) < 1e-5


def test_gradcam_plus_plus_is_its_formula() -> None:
    model = classifier()
    # a head that is not linear in the pooled features, so that gradients differ from place to place
    top = model.get_layer("top").output
    x = keras.layers.Flatten()(keras.layers.MaxPooling2D(2)(top))
    model = drawn(keras.Model(model.input, keras.layers.Dense(3)(x)))
    x = images(model)
    network = Explained(model)
    points = network.program.find("top")
    _, (a,), (g,) = network.gradients(x, one_hot(2), layers=points)
    wanted = np.zeros(a.shape[:3])
    for n, c in itertools.product(range(a.shape[0]), range(a.shape[-1])):
        weight = 0.0
        for i, j in itertools.product(range(a.shape[1]), range(a.shape[2])):
            slope = float(g[n, i, j, c])
            below = 2 * slope**2 + float(a[n, :, :, c].astype(np.float64).sum()) * slope**3
            alpha = slope**2 / below if below else 0.0
            weight += alpha * max(slope, 0.0)
        wanted[n] += weight * a[n, :, :, c]
    (found,) = coarse_maps(network, x, one_hot(2), kind="gradcam++", layers=points)
    assert relative(found, np.maximum(wanted, 0)) < 1e-3


def test_maps_are_enlarged_about_their_centres() -> None:
    small = np.arange(12, dtype=np.float32).reshape(1, 3, 4)
    large = enlarged(small, (6, 8))
    assert large.shape == (1, 6, 8)
    # half-pixel centres: the sample at 1/4 of the way, and the borders held
    assert large[0, 0, 0] == 0
    assert large[0, 1, 1] == pytest.approx(0.25 * 1 + 0.25 * 4)
    assert np.array_equal(large[0, ::-1, ::-1], 11 - large[0])


def test_seg_gradcam_is_of_the_region_alone() -> None:
    model = segmenter()
    x = images(model, count=1)
    network = Explained(model)
    weights = np.zeros((1, 16, 16, 3), np.float32)
    weights[0, 10:14, 10:14, 1] = 1 / 16
    gradient = network.gradients(x, weights)[2][0][0]
    assert np.abs(gradient[10:14, 10:14]).max() > 0
    assert np.abs(gradient[:6]).max() == 0  # beyond what the region sees
    assert network.scores(x, weights)[0] == pytest.approx(
        float(network.outputs(x)[0, 10:14, 10:14, 1].mean()), rel=1e-5
    )
    assert class_activation(network, x, weights).shape == (1, 16, 16)


@pytest.mark.parametrize("dims", [2, 3])
def test_integrated_gradients_are_complete(dims: int) -> None:
    model = classifier(dims=dims, seed=4)
    image = images(model, count=1)[0]
    network = Explained(model)
    found = integrated_gradients(network, image, one_hot(1)[0], baseline=-0.5, tolerance=0.01)
    ends = np.stack([image, np.full_like(image, -0.5)])
    high, low = network.scores(ends, one_hot(1))
    assert abs(high - low) > 0.05
    assert found.difference == pytest.approx(float(high - low), rel=1e-4)
    assert found.gap <= 0.01
    assert float(found.values.sum()) == pytest.approx(found.difference, rel=0.011)


def test_integrated_gradients_tell_the_gap_that_is_left() -> None:
    model = classifier(seed=4)
    image = images(model, count=1)[0]
    few = integrated_gradients(
        Explained(model), image, one_hot(1)[0], baseline=0.0, steps=1, tolerance=0.0, most=1
    )
    assert few.steps == 1
    assert few.gap > 0.005
    assert few.gap == pytest.approx(
        abs(float(few.values.sum()) - few.difference) / abs(few.difference), rel=0.01
    )


def test_of_a_linear_network_everything_is_known() -> None:
    image = keras.Input((6, 6, 1), name="image")
    x = keras.layers.Flatten()(keras.layers.Conv2D(1, 1, use_bias=False, name="scale")(image))
    model = drawn(keras.Model(image, keras.layers.Dense(1, name="out")(x)))
    scale, weights = model.get_layer("scale").get_weights()[0].item(), model.get_layer(
        "out"
    ).get_weights()[0].reshape(6, 6, 1)  # fmt: skip
    slope = scale * weights
    network, one = Explained(model), np.ones((1, 1), np.float32)
    x = images(model, count=1)[0]
    assert relative(input_gradients(network, x[None], one)[0], slope) < 1e-5
    path = integrated_gradients(network, x, one[0], baseline=0.0)
    assert relative(path.values, slope * x) < 1e-5
    rng = np.random.default_rng(0)
    smooth = smooth_gradients(network, x, one[0], rng=rng, samples=3)
    assert relative(smooth, slope) < 1e-5
    lost = occlusion(network, x, one[0], fill=0.0, patch=(1, 1), stride=(1, 1))
    assert relative(lost, (slope * x)[..., 0]) < 1e-4


def test_smoothgrad_is_a_mean_over_noise_of_the_stated_size() -> None:
    model = classifier()
    x = images(model, count=1)[0]
    network = Explained(model)
    found = smooth_gradients(
        network, x, one_hot(0)[0], rng=np.random.default_rng(9), samples=10, noise=0.2
    )
    rng = np.random.default_rng(9)
    noise = np.concatenate([rng.normal(0, 0.2 * np.ptp(x), (n, *x.shape)) for n in (8, 2)])
    each = [
        network.gradients((x + one.astype(np.float32))[None], one_hot(0))[2][0][0] for one in noise
    ]
    assert relative(found, np.mean(each, axis=0)) < 1e-4


def reference(model: keras.Model, x: Floats, k: int, kind: Rectify | None) -> Floats:
    """The gradient at the picture of `classifier`, written out in numpy, a ReLU's rule as asked."""

    def rule(gradient: Array, before: Array) -> Array:
        inside = before > 0
        if kind is None:
            return gradient * inside
        return np.maximum(gradient, 0) * (inside if kind == "guided" else 1)

    first, bias = model.get_layer("first").get_weights()
    (second,) = model.get_layer("second").get_weights()
    gamma, beta, mean, variance = model.get_layer("norm").get_weights()
    head = model.get_layer("logits").get_weights()[0]
    a = np.stack([
        bias[o] + sum(signal.correlate2d(x[..., i], first[..., i, o], "same") for i in range(2))
        for o in range(4)
    ], -1)  # fmt: skip
    # stride 2 and "same" on 16 samples: one row of zeros behind, so places 1, 3, ... of "same"
    bent = np.maximum(a, 0)
    whole = np.stack([
        sum(signal.correlate2d(bent[..., i], second[..., i, o], "same") for i in range(4))
        for o in range(6)
    ], -1)  # fmt: skip
    scale = gamma / np.sqrt(variance + model.get_layer("norm").epsilon)
    b = (whole[1::2, 1::2] - mean) * scale + beta
    g = rule(np.broadcast_to(head[:, k] / 64, b.shape), b) * scale
    spread = np.zeros(whole.shape)
    spread[1::2, 1::2] = g
    g = np.stack([
        sum(signal.convolve2d(spread[..., o], second[..., i, o], "same") for o in range(6))
        for i in range(4)
    ], -1)  # fmt: skip
    g = rule(g, a)
    return np.stack([
        sum(signal.convolve2d(g[..., o], first[..., i, o], "same") for o in range(4))
        for i in range(2)
    ], -1)  # fmt: skip


@pytest.mark.parametrize("kind", [None, "guided", "deconvolution"])
def test_changed_relus_give_what_numpy_gives(kind: Rectify | None) -> None:
    model = classifier(seed=7)
    x = images(model, count=1)
    found = input_gradients(Explained(model), x, one_hot(2), rectify=kind)[0]
    assert relative(found, reference(model, x[0].astype(np.float64), 2, kind)) < 1e-4
    # the layers are left as they were
    again = input_gradients(Explained(model), x, one_hot(2))[0]
    assert relative(again, reference(model, x[0].astype(np.float64), 2, None)) < 1e-4


def test_a_relu_that_ends_passes_nothing_beyond_its_end() -> None:
    image = keras.Input((2, 2, 1), name="image")
    x = keras.layers.Flatten()(keras.layers.ReLU(6.0)(image))
    model = keras.Model(image, keras.layers.Dense(1, kernel_initializer="ones")(x))
    values = np.array([-1, 3, 7, 5], np.float32).reshape(1, 2, 2, 1)
    one = np.ones((1, 1), np.float32)
    guided = input_gradients(Explained(model), values, one, rectify="guided")
    assert guided.ravel().tolist() == [0, 1, 0, 1]
    every = input_gradients(Explained(model), values, one, rectify="deconvolution")
    assert every.ravel().tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("kind", ["guided", "deconvolution"])
def test_other_activations_are_refused(kind: Rectify) -> None:
    for activation in ("gelu", "silu", "leaky_relu"):
        network = Explained(classifier(activation=activation))
        with pytest.raises(ExplainError, match=rf"not defined for layer 'first' \({activation}\)"):
            input_gradients(network, images(network.model), one_hot(0), rectify=kind)
    network = Explained(classifier(activation="linear"))
    with pytest.raises(ExplainError, match="the network has none"):
        input_gradients(network, images(network.model), one_hot(0), rectify=kind)


@pytest.mark.parametrize(
    ("shape", "patch", "stride"), [((7, 9), (3, 4), (2, 3)), ((4, 5, 6), (2, 2, 3), (1, 2, 2))]
)
def test_occlusion_is_what_covering_by_hand_gives(
    shape: tuple[int, ...], patch: tuple[int, ...], stride: tuple[int, ...]
) -> None:
    image = keras.Input((*shape, 2), name="image")
    x = keras.layers.Dense(3, activation="relu")(image)
    model = drawn(keras.Model(image, keras.layers.Dense(2)(keras.layers.Flatten()(x))))
    network, weights = Explained(model), np.array([0.0, 1.0], np.float32)
    x = images(model, count=1)[0]
    found = occlusion(network, x, weights, fill=0.7, patch=patch, stride=stride)
    before = float(network.outputs(x[None])[0, 1])
    total, count = np.zeros(shape), np.zeros(shape)
    corners = [starts(n, p, s) for n, p, s in zip(shape, patch, stride, strict=True)]
    for corner in itertools.product(*corners):
        covered = x.copy()
        for offset in itertools.product(*(range(p) for p in patch)):
            covered[tuple(c + o for c, o in zip(corner, offset, strict=True))] = 0.7
        lost = before - float(network.outputs(covered[None])[0, 1])
        for offset in itertools.product(*(range(p) for p in patch)):
            place = tuple(c + o for c, o in zip(corner, offset, strict=True))
            total[place] += lost
            count[place] += 1
    assert count.min() >= 1
    assert relative(found, total / count) < 1e-3


def test_covers_reach_the_end_and_must_not_leave_gaps() -> None:
    assert starts(10, 4, 3) == [0, 3, 6]
    assert starts(9, 4, 3) == [0, 3, 5]
    network = Explained(classifier())
    x = images(network.model, count=1)[0]
    with pytest.raises(ExplainError, match="pixels are never covered"):
        occlusion(network, x, one_hot(0)[0], fill=0.0, patch=(3, 3), stride=(4, 4))


def attribution(name: str, model: keras.Model, x: Floats, k: int) -> Floats:
    """The map of a method with cheap options."""
    options = Options(steps=8, samples=8, cover=4)
    weights, base = one_hot(k)[0], np.zeros_like(x)
    run = METHODS[name].run
    return run(Explained(model), x, weights, base, options, lambda done, total: None).heat


def likeness(one: Floats, other: Floats) -> float:
    """Correlation; 0 where the second map is empty, which is another one."""
    assert one.max() > one.min()
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1]) if other.max() > 0 else 0.0


@pytest.mark.parametrize("name", METHODS)
def test_maps_depend_on_the_weights(name: str) -> None:
    """Adebayo et al. (2018, arXiv:1810.03292): other weights of a layer, from the top down."""
    model = classifier(seed=11)
    x = images(model, count=1)[0]
    before = attribution(name, model, x, 0)
    assert before.shape == x.shape[:-1]
    assert before.min() >= 0
    assert before.max() > 0
    rng = np.random.default_rng(2)
    for layer in ("logits", "second", "first"):
        weights = model.get_layer(layer).get_weights()
        drawn_ = [rng.normal(0, w.std() + 0.1, w.shape) for w in weights]
        model.get_layer(layer).set_weights(drawn_)
        after = attribution(name, model, x, 0)
        assert likeness(before, after) < 0.99, layer


@pytest.mark.parametrize("name", METHODS)
def test_maps_depend_on_the_class(name: str) -> None:
    model = classifier(seed=11)
    x = images(model, count=1)[0]
    maps = [attribution(name, model, x, k) for k in (0, 1)]
    assert likeness(*maps) < 0.99


def test_methods_by_name() -> None:
    assert [m.name for m in chosen_methods(["guided", "gradcam", "guided"])] == [
        "guided",
        "gradcam",
    ]
    with pytest.raises(ExplainError, match=r"unknown method 'gradcan'; did you mean 'gradcam'"):
        chosen_methods(["gradcan"])
