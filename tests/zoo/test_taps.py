"""Weight files of volumes: they load as they are, in whatever form, or are refused clearly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.zoo import tiny
from zoo.architectures.taps import cut_taps, join_taps
from zoo.backbones import create_backbone
from zoo.errors import WeightsMismatchError


def written(path: Path, shape: tuple[int | None, ...], dims: int = 3) -> dict[str, list]:
    """Draw weights of a network and save them."""
    rng = np.random.default_rng(5)
    model = create_backbone("tiny", input_shape=shape, weights=None, dims=dims)
    for layer in model.layers:
        if layer.weights:
            layer.set_weights([rng.uniform(0.1, 1, w.shape) for w in layer.weights])
    model.save_weights(path)
    return {layer.name: layer.get_weights() for layer in model.layers if layer.weights}


def test_a_file_of_a_volume_loads_as_it_is_whatever_the_depth_strides(tmp_path: Path) -> None:
    path = tmp_path / "v.weights.h5"
    with tiny.registered():
        kept = written(path, (6, 32, 32, 1))
        for strides in (None, (1, 1, 2, 2)):
            model = create_backbone(
                "tiny", input_shape=(9, 40, 32, 1), weights=path, dims=3, depth_strides=strides
            )
            for name, arrays in kept.items():
                for a, b in zip(model.get_layer(name).get_weights(), arrays, strict=True):
                    np.testing.assert_array_equal(a, b)


def test_what_does_not_fit_is_refused_with_a_way_out(tmp_path: Path) -> None:
    volumes, pictures = tmp_path / "v.weights.h5", tmp_path / "p.weights.h5"
    with tiny.registered():
        written(volumes, (6, 32, 32, 1))
        written(pictures, (32, 32, 1), dims=2)
        with pytest.raises(WeightsMismatchError, match=r"kernels of volumes \(layer .* dims=3"):
            create_backbone("tiny", input_shape=(32, 32, 1), weights=volumes)
        with pytest.raises(WeightsMismatchError, match=r"first kernel of .* channels and"):
            create_backbone("tiny", input_shape=(6, 32, 32, 2), weights=volumes, dims=3)
        inflated = create_backbone("tiny", input_shape=(6, 32, 32, 1), weights=pictures, dims=3)
        assert np.isfinite(inflated.get_weights()[0]).all()


def test_taps_and_one_kernel_are_the_same_arrays() -> None:
    rng = np.random.default_rng(6)
    kernel, bias = rng.normal(size=(3, 5, 5, 2, 4)), rng.normal(size=4)
    taps = cut_taps("c", [kernel, bias])
    assert [len(taps[f"c_tap{t}"]) for t in range(3)] == [1, 2, 1]
    back = join_taps({**taps, "d": [bias]}, {"c"}, {"c", "d"})
    assert list(back) == ["d", "c"]
    np.testing.assert_array_equal(back["c"][0], kernel)
    np.testing.assert_array_equal(back["c"][1], bias)
    assert set(join_taps(taps, {"c"}, set(taps))) == set(taps)
    del taps["c_tap0"]
    assert set(join_taps(taps, {"c"}, {"c"})) == set(taps)
