"""Weights found by name: here, in a mirror, at the publisher's; and refusals at once."""

from __future__ import annotations

import dataclasses
import functools
import http.server
import json
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.zoo.tiny import SPEC, registered
from zoo.backbones import create_backbone
from zoo.errors import WeightsMismatchError, WeightsNotFoundError, ZooError
from zoo.listing import backbone_table
from zoo.registry import list_backbones
from zoo.spec import BackboneSpec, WeightSpec
from zoo.weights.finding import find_weights
from zoo.weights.inventory import weight_table
from zoo.weights.sets import WeightSet, sha256_of

PIXELS = np.random.default_rng(0).uniform(0, 255, (1, 32, 32, 3)).astype("float32")
PUBLISHED = WeightSpec(
    name="published",
    source="file",
    file="my-group.weights.h5",
    page="https://example.org/weights",
    licence="CC-BY-4.0",
    citation="none",
    input_convention="",
    preprocessing="tf",
)


def features(weights: str) -> np.ndarray:
    model = create_backbone("tiny", input_shape=(32, 32, 3), weights=weights)
    return np.asarray(model(PIXELS)["P4"])


@pytest.fixture
def published(home: Path) -> Iterator[BackboneSpec]:
    """The tiny backbone with a published file that nobody states a digest of."""
    spec = dataclasses.replace(SPEC, weights=(*SPEC.weights, PUBLISHED))
    with registered(spec):
        yield spec


class Server(http.server.ThreadingHTTPServer):
    """Serves a folder, and remembers what was asked for."""

    asked: list[str]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path, Server]]:
    """A web server on this machine, its folder, and itself."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            host.asked.append(self.path)
            super().do_GET()

        def log_message(self, *args: object) -> None:
            pass

    host = Server(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    host.asked = []
    threading.Thread(target=host.serve_forever, daemon=True).start()
    monkeypatch.delenv("RADZOO_OFFLINE", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield (
        f"http://user:secret@127.0.0.1:{host.server_port}".replace("user:secret@", ""),
        folder,
        host,
    )
    host.shutdown()
    host.server_close()


def test_an_imported_set_is_weights_like_any_other(own_set: WeightSet) -> None:
    assert features("mygroup").std() > 0
    assert list_backbones(weights="mygroup") == ["tiny"]
    assert "tiny" in list_backbones(offline=True)
    (row,) = [row for row in backbone_table() if row["name"] == "tiny"]
    assert row["weights"] == ["imagenet", "mygroup"]
    (row,) = [row for row in weight_table("tiny") if row["name"] == "mygroup"]
    assert row["source"] == "imported"
    assert row["here"]
    assert row["reference"] == "measured"
    assert row["licence"] == "CC0-1.0"


def test_names_are_suggested(own_set: WeightSet, tiny: BackboneSpec) -> None:
    with pytest.raises(ZooError, match=r"'mygrup'.*did you mean 'mygroup'"):
        find_weights(tiny, "mygrup")
    with pytest.raises(ZooError, match=r"radzoo weights import best\.pth --backbone tiny"):
        find_weights(tiny, "/somewhere/best.pth")


@pytest.mark.parametrize("damage", ["arrays", "manifest", "renamed"])
def test_a_damaged_set_is_refused_and_listed_as_such(
    damage: str, own_set: WeightSet, tiny: BackboneSpec
) -> None:
    manifest = own_set.path.with_name("tiny.mygroup.json")
    name = "mygroup"
    if damage == "arrays":
        data = bytearray(own_set.path.read_bytes())
        data[len(data) // 2] ^= 1
        own_set.path.write_bytes(data)
    elif damage == "manifest":
        manifest.write_text(manifest.read_text().replace("CC0", "CC1"))
    else:
        name = "yours"
        shutil.copy(own_set.path, own_set.path.with_name("tiny.yours.safetensors"))
        shutil.copy(manifest, manifest.with_name("tiny.yours.json"))
    with pytest.raises(WeightsMismatchError, match=f"tiny\\.{name}"):
        find_weights(tiny, name)


def test_a_published_file_is_converted_once(
    published: BackboneSpec, saved: Path, home: Path
) -> None:
    (home / "weights").mkdir(parents=True)
    raw = home / "weights" / saved.name
    shutil.copy(saved, raw)
    first = features("published")
    assert (home / "weights" / "tiny.published.safetensors").is_file()
    raw.unlink()
    np.testing.assert_array_equal(features("published"), first)


def test_an_unwritable_home_goes_without(
    published: BackboneSpec, saved: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.write_text("a file")
    (home.parent / "keras" / "models").mkdir(parents=True)
    shutil.copy(saved, home.parent / "keras" / "models" / saved.name)
    with pytest.warns(UserWarning, match="set RADZOO_HOME") as caught:
        assert features("published").std() > 0
    assert str(home) not in str(caught[0].message)


def test_another_file_under_a_published_digest(
    published: BackboneSpec, saved: Path, home: Path
) -> None:
    weight = dataclasses.replace(PUBLISHED, sha256_prefix="0123")
    spec = dataclasses.replace(published, weights=(weight,))
    (home / "weights").mkdir(parents=True)
    shutil.copy(saved, home / "weights" / saved.name)
    with pytest.raises(WeightsMismatchError, match=r"has the SHA256 .*, not 0123"):
        find_weights(spec, "published")


@pytest.mark.parametrize("kind", ["raw", "set"])
@pytest.mark.parametrize("way", ["folder", "file-url", "http"])
def test_a_mirror_serves_raw_files_and_sets(
    kind: str,
    way: str,
    published: BackboneSpec,
    saved: Path,
    home: Path,
    server: tuple[str, Path, Server],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url, folder, host = server
    with monkeypatch.context() as patch:
        patch.setenv("RADZOO_HOME", str(home.parent / "first"))
        (home.parent / "first" / "weights").mkdir(parents=True)
        shutil.copy(saved, home.parent / "first" / "weights" / saved.name)
        wanted = features("published")
        made = home.parent / "first" / "weights"
    files = [saved.name] if kind == "raw" else ["tiny.published.json", "tiny.published.safetensors"]
    for name in files:
        shutil.copy(made / name, folder / name)
    index = {name: {"sha256": sha256_of(folder / name)} for name in files}
    (folder / "index.json").write_text(json.dumps(index))
    address = {"folder": str(folder), "file-url": folder.as_uri(), "http": url}[way]
    monkeypatch.setenv("RADZOO_WEIGHTS", address)
    np.testing.assert_allclose(features("published"), wanted, rtol=1e-6)
    asked = len(host.asked)
    assert (asked > 0) is (way == "http")
    if way == "http":
        np.testing.assert_allclose(features("published"), wanted, rtol=1e-6)
        assert len(host.asked) == asked
    index[files[-1]]["sha256"] = "0" * 64
    (folder / "index.json").write_text(json.dumps(index))
    monkeypatch.setenv("RADZOO_HOME", str(home.parent / "third"))
    with pytest.raises(WeightsMismatchError, match="its index says 000000000000"):
        find_weights(published, "published")


@pytest.mark.parametrize("index", ["[]", "{", '{"a": {}}', '{"a": '])
def test_a_damaged_index_is_refused(
    index: str, published: BackboneSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "index.json").write_text(index)
    monkeypatch.setenv("RADZOO_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsMismatchError, match=r"index\.json in \$RADZOO_WEIGHTS is damaged"):
        find_weights(published, "published")


@pytest.mark.parametrize("address", ["/none/such", "ftp://host/x", "s3://bucket"])
def test_a_mirror_that_cannot_be(
    address: str, published: BackboneSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RADZOO_WEIGHTS", address)
    with pytest.raises(ZooError, match="RADZOO_WEIGHTS names no folder") as caught:
        find_weights(published, "published")
    assert address not in str(caught.value)


@pytest.mark.parametrize("mirror", [None, "http://user:secret@mirror.invalid/weights"])
def test_what_is_out_of_reach_is_refused_at_once(
    mirror: str | None, published: BackboneSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise OSError("no network")

    monkeypatch.delenv("RADZOO_OFFLINE")
    monkeypatch.setattr(socket, "create_connection", refuse)
    if mirror is not None:
        monkeypatch.setenv("RADZOO_WEIGHTS", mirror)
    start = time.monotonic()
    with pytest.raises(WeightsNotFoundError) as caught:
        find_weights(published, "published")
    assert time.monotonic() - start < 1
    text = str(caught.value)
    assert "\n" not in text
    assert "secret" not in text
    if mirror is None:
        assert "put my-group.weights.h5 (from https://example.org/weights) into" in text
        assert "`radzoo weights import FILE`" in text
    else:
        assert "the mirror that $RADZOO_WEIGHTS names does not answer" in text
