"""Files of every kind, imported: what they hold, how they are told apart, what is refused."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import safetensors.numpy

from tests.zoo.randomise import error, randomise
from tests.zoo.tiny import SPEC, build
from tests.zoo.weights.keras2 import flat, named_weights, nested, write_keras2
from zoo.architectures import keras_applications
from zoo.architectures.rebuild import stable_names
from zoo.backbones import create_backbone
from zoo.errors import WeightsMismatchError, WeightsNotFoundError, ZooError
from zoo.preprocessing import CAFFE_MEAN_BGR
from zoo.registry import get_spec
from zoo.spec import BackboneSpec
from zoo.weights import converters
from zoo.weights.converters import Layout, State
from zoo.weights.files import LayerArrays, read_layers
from zoo.weights.importing import import_weights
from zoo.weights.sets import WeightSet, find_set

HEAD = ("dense", [("dense/kernel:0", np.ones((576, 3))), ("dense/bias:0", np.ones(3))])
_TORCH = {"stem": "conv1", "block2": "layer1", "block3": "layer2", "block4": "layer3"}


def convert(tensors: Mapping[str, np.ndarray], spec: BackboneSpec) -> LayerArrays:
    """Translate a checkpoint of a tiny PyTorch network that nobody ever published."""
    state, layers, width = State(tensors), {}, tensors["conv1.weight"].shape[1]
    for name, filters in (("stem", 8), ("block2", 16), ("block3", 24), ("block4", 24)):
        their = _TORCH[name]
        if name == "block3":
            layers["block3_dwconv"] = state.depthwise(f"{their}.depth", width, 3)
        side = 1 if name == "block3" else 3
        layers[f"{name}_conv"] = state.conv(their, width, filters, side)
        layers[f"{name}_bn"] = state.norm(f"{their}.bn", filters)
        width = filters
    state.drop("fc")
    state.finish()
    return layers


def detect(tensors: Mapping[str, np.ndarray]) -> Layout:
    if "conv1.weight" not in tensors:
        raise WeightsMismatchError("the checkpoint is of no known layout; nearest is 'tiny'")
    return Layout(
        publisher="nobody",
        backbone="tiny",
        converter=f"{__name__}:convert",
        classes=tensors["fc.weight"].shape[0],
        channels=tensors["conv1.weight"].shape[1],
        preprocessing="tf",
        alternatives=("twin",) if "twin" in tensors else (),
    )


@pytest.fixture
def checkpoint(tiny: BackboneSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state dict of grey images as ``.safetensors``."""
    monkeypatch.setattr(converters, "detect", detect)
    rng, tensors, width = np.random.default_rng(0), {}, 1
    for name, filters in (("conv1", 8), ("layer1", 16), ("layer2", 24), ("layer3", 24)):
        side = 1 if name == "layer2" else 3
        tensors[f"{name}.weight"] = rng.normal(size=(filters, width, side, side))
        if name == "layer2":
            tensors["layer2.depth.weight"] = rng.normal(size=(width, 1, 3, 3))
        for part in ("weight", "bias", "running_mean", "running_var"):
            tensors[f"{name}.bn.{part}"] = rng.uniform(0.5, 1.5, filters)
        width = filters
    tensors["fc.weight"], tensors["fc.bias"] = np.ones((5, 24)), np.ones(5)
    path = tmp_path / "Grey Chest v1.safetensors"
    safetensors.numpy.save_file({k: v.astype("float32") for k, v in tensors.items()}, path)
    return path


def test_a_pytorch_checkpoint_keeps_its_channels_and_says_what_it_left_out(
    checkpoint: Path,
) -> None:
    done = import_weights(checkpoint, licence="CC0-1.0")
    manifest = done.manifest
    assert done.shown == "tiny:grey-chest-v1"
    assert (manifest.channels, manifest.preprocessing, manifest.publisher) == (1, "tf", "nobody")
    assert manifest.stripped == ("classification layer of 5 outputs",)
    assert manifest.input_range == (-1.0, 1.0)
    model = create_backbone("tiny", input_shape=(32, 32, 1), weights="grey-chest-v1")
    tensors = safetensors.numpy.load_file(checkpoint)
    kernel = model.get_layer("stem_conv").get_weights()[0]
    np.testing.assert_array_equal(kernel, tensors["conv1.weight"].transpose(2, 3, 1, 0))
    # three channels fold: the same picture in each gives the same features
    pixels = np.random.default_rng(1).uniform(0, 255, (1, 32, 32, 1)).astype("float32")
    colour = create_backbone("tiny", input_shape=(32, 32, 3), weights="grey-chest-v1")
    found = np.asarray(colour(np.repeat(pixels, 3, axis=-1))["P4"])
    assert error(found, np.asarray(model(pixels)["P4"])) < 1e-4


def test_overrides_are_kept(checkpoint: Path) -> None:
    done = import_weights(checkpoint, name="mine", preprocessing="none", citation="Us, 2026")
    assert done.manifest.preprocessing == "none"
    assert done.manifest.input_range is None
    assert (done.manifest.licence, done.manifest.citation) == ("not stated", "Us, 2026")


def test_checkpoints_of_another_network_or_of_two(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsMismatchError, match=r"v1\.safetensors' holds .* tiny, not of resne"):
        import_weights(checkpoint, backbone="resnet50")
    tensors = safetensors.numpy.load_file(checkpoint)
    safetensors.numpy.save_file({**tensors, "twin": np.ones(1)}, tmp_path / "two.safetensors")
    with pytest.raises(WeightsMismatchError, match=r"tiny or twin, .*: give --backbone"):
        import_weights(tmp_path / "two.safetensors")
    safetensors.numpy.save_file({"odd.weight": np.ones(1)}, tmp_path / "odd.safetensors")
    with pytest.raises(WeightsMismatchError, match=r"'odd.safetensors': .*nearest is 'tiny'"):
        import_weights(tmp_path / "odd.safetensors")
    del tensors["layer1.weight"]
    safetensors.numpy.save_file(tensors, tmp_path / "cut.safetensors")
    with pytest.raises(WeightsMismatchError, match=r"has no tensor 'layer1\.weight'"):
        import_weights(tmp_path / "cut.safetensors")


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_numbers_that_are_none(checkpoint: Path, tmp_path: Path, number: float) -> None:
    tensors = safetensors.numpy.load_file(checkpoint)
    tensors["layer2.weight"][3, 2] = number
    safetensors.numpy.save_file(tensors, tmp_path / "x.safetensors")
    with pytest.raises(WeightsMismatchError, match=r"layer 'block3_conv' that are not finite"):
        import_weights(tmp_path / "x.safetensors")


def test_a_model_of_keras_is_told_by_its_parameters_and_loses_its_top(
    saved: Path, tiny: BackboneSpec
) -> None:
    done = import_weights(saved)
    assert done.shown == "tiny:my-group"
    assert done.manifest.stripped == ("classes",)
    layers = read_layers(saved)
    for name, arrays in read_layers(done.path).items():
        for found, wanted in zip(arrays, layers[name], strict=True):
            np.testing.assert_array_equal(found, wanted)


def test_what_no_network_fits_names_the_nearest(tiny: BackboneSpec, tmp_path: Path) -> None:
    path = tmp_path / "odd.weights.h5"
    keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3)]).save_weights(path)
    with pytest.raises(WeightsMismatchError, match=r"112 parameters in 1 layers; nearest are tiny"):
        import_weights(path)


def test_a_kernel_of_other_channels_needs_a_word(tiny: BackboneSpec, tmp_path: Path) -> None:
    network = build(SPEC, keras.Input((32, 32, 2)))
    network.save_weights(tmp_path / "two.weights.h5")
    with pytest.raises(WeightsMismatchError, match=r"takes 2 channels, not 3: give --channels 2"):
        import_weights(tmp_path / "two.weights.h5", backbone="tiny")
    done = import_weights(tmp_path / "two.weights.h5", backbone="tiny", channels=2)
    assert done.manifest.channels == 2


def test_names_and_options_that_cannot_be(own_set: WeightSet, saved: Path, tmp_path: Path) -> None:
    for name in ("imagenet", "none", "a.b", "A", "", "x" * 65, "../x"):
        with pytest.raises(ZooError, match=r"give (--name|another --name)"):
            import_weights(saved, backbone="tiny", name=name)
    with pytest.raises(ZooError, match="preprocessing 'shout' is unknown; choose from caffe"):
        import_weights(saved, backbone="tiny", preprocessing="shout")
    with pytest.raises(WeightsNotFoundError, match=r"no file 'none\.h5'") as caught:
        import_weights(tmp_path / "none.h5")
    assert str(tmp_path) not in str(caught.value)
    (tmp_path / "x.txt").write_text("x")
    with pytest.raises(ZooError, match=r"'x\.txt' is of no kind that is read: "):
        import_weights(tmp_path / "x.txt")


def test_a_file_under_a_published_name_with_another_digest(
    tiny: BackboneSpec, tmp_path: Path
) -> None:
    (tmp_path / "resnet18-f37072fd.pth").write_bytes(b"x")
    with pytest.raises(WeightsMismatchError, match=r"has the SHA256 .*; or give --name to import"):
        import_weights(tmp_path / "resnet18-f37072fd.pth")


def test_steps_are_told(saved: Path, tiny: BackboneSpec) -> None:
    steps: list[tuple[int, int]] = []
    import_weights(saved, progress=lambda done, total: steps.append((done, total)))
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_another_file_does_not_take_a_name_unasked(own_set: WeightSet, tmp_path: Path) -> None:
    network = build(SPEC, keras.Input((32, 32, 3)))
    network.save_weights(tmp_path / "new.weights.h5")
    with pytest.raises(ZooError, match=r"tiny:mygroup is there already, made from 'my-group"):
        import_weights(tmp_path / "new.weights.h5", backbone="tiny", name="mygroup")
    import_weights(tmp_path / "new.weights.h5", backbone="tiny", name="mygroup", force=True)
    found = find_set("tiny", "mygroup")
    assert found is not None
    assert found.manifest.source == "new.weights.h5"


@pytest.mark.parametrize("suffix", [".h5", ".keras", ".pth", ".safetensors", ".weights.h5"])
def test_damaged_files(suffix: str, tiny: BackboneSpec, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    for length in (0, 1, 64, 4000):
        path = tmp_path / f"x{suffix}"
        path.write_bytes(rng.bytes(length))
        with pytest.raises(ZooError, match=rf"'x\{suffix}'"):
            import_weights(path, backbone="tiny")


def test_arrays_outside_the_file_or_larger_than_it_are_not_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["kernel"] = np.ones(3)
    for kind in ("link", "huge", "text"):
        with h5py.File(tmp_path / f"{kind}.h5", "w") as file:
            group = file.create_group("a")
            file.attrs["layer_names"] = [b"a"]
            group.attrs["weight_names"] = [b"kernel"]
            if kind == "link":
                group["kernel"] = h5py.ExternalLink("secret.h5", "kernel")
            elif kind == "huge":
                group.create_dataset("kernel", (10**12,), "f8", chunks=(10**6,))
            else:
                group["kernel"] = "words"
        with pytest.raises(WeightsMismatchError, match=f"'{kind}.h5' cannot be read"):
            read_layers(tmp_path / f"{kind}.h5")


def test_an_archive_that_swells_is_not_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.weights.h5", b"\0" * 3_000_000)
    with pytest.raises(WeightsMismatchError, match=r"'x\.keras' cannot be read"):
        read_layers(tmp_path / "x.keras")


@pytest.fixture(scope="module")
def donor() -> keras.Model:
    """MobileNetV3Small, whose automatic names count from what was built before."""
    keras.layers.Activation("relu")(keras.Input((2,)))
    spec = get_spec("mobilenet_v3_small")
    model = keras_applications._donor(spec, (32, 32, 3))
    rng = np.random.default_rng(4)
    model.set_weights([rng.uniform(0.5, 1.5, weight.shape) for weight in model.weights])
    return model


@pytest.mark.parametrize("kind", ["top", "weights", "nested", "renamed"])
def test_files_of_keras_2_in_whatever_wrapper(
    kind: str, donor: keras.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = get_spec("mobilenet_v3_small")
    monkeypatch.setattr(keras_applications, "_donor", lambda *args: donor)
    layers = named_weights(donor)
    if kind == "renamed":
        renamed = {layer.name: f"their/{i}" for i, layer in enumerate(donor.layers)}
        layers = named_weights(donor, names=renamed)
    groups = nested(layers, "MobilenetV3small") if kind == "nested" else flat(layers)
    top = [] if kind == "weights" else [HEAD]
    path = write_keras2(tmp_path / "x.h5", [*groups, *top], whole=kind != "weights")
    saved = keras_applications.read_saved(spec, path)
    assert saved.top == (() if kind == "weights" else ("dense",))
    names = stable_names(donor)
    for layer in donor.layers:
        for found, wanted in zip(
            saved.layers[names.get(layer.name, layer.name)] if layer.weights else (),
            layer.get_weights(),
            strict=True,
        ):
            np.testing.assert_array_equal(found.ravel(), wanted.ravel())


@pytest.mark.big
def test_a_file_of_our_own_network_comes_back_by_its_names(home: Path, tmp_path: Path) -> None:
    """Its depthwise kernels have another shape than in Keras' own network of that name."""
    model = create_backbone("mobilenet_v3_small", input_shape=(32, 32, 3), weights=None)
    model.save(tmp_path / "ours.keras")
    done = import_weights(tmp_path / "ours.keras", name="ours")
    assert done.shown == "mobilenet_v3_small:ours"
    found = read_layers(done.path)
    for layer in model.layers:
        for array, wanted in zip(found.get(layer.name, ()), layer.get_weights(), strict=True):
            np.testing.assert_array_equal(array, wanted)


@pytest.mark.big
@pytest.mark.parametrize("name", ["resnet50", "densenet121", "inception_v3", "inception_resnet_v2"])
def test_radimagenet_gives_the_features_of_the_network_that_it_was_saved_from(
    name: str, home: Path, tmp_path: Path
) -> None:
    """The published layout, random values; numbers of automatic names as in a used process."""
    spec = get_spec(name)
    weight = spec.weights[1]
    donor = keras_applications._donor(spec, (96, 96, 3))
    rng = np.random.default_rng(6)
    pixels = rng.uniform(0, 255, (2, 96, 96, 1)).astype("float32")
    bgr = (pixels - np.array(CAFFE_MEAN_BGR, "float32")) / 255.0
    randomise(donor, bgr, rng)
    names = {}
    for layer in donor.layers:
        if layer.name.startswith(("conv2d", "batch_normalization")):
            base, _, number = layer.name.rpartition("_")
            names[layer.name] = f"{base}_{int(number) + 94}" if number.isdigit() else layer.name
        elif name == "densenet121":  # as TensorFlow's Keras 2 spelt them
            names[layer.name] = layer.name.replace("conv1_", "conv1/", 1)
    path = write_keras2(tmp_path / weight.file, flat(named_weights(donor, names=names)))
    done = import_weights(path)
    assert done.shown == f"{name}:radimagenet"
    assert done.manifest.licence == "CC-BY-4.0"
    model = create_backbone(name, input_shape=(96, 96, 1), weights="radimagenet")
    found, wanted = np.asarray(model(pixels)["P5"]), np.asarray(donor(bgr))
    assert error(found, wanted) < 1e-4
