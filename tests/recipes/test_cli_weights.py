"""``radzoo weights``: from a file to another machine, and every refusal in one line."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from recipes.cli import app
from tests.zoo.tiny import SPEC, build, registered
from zoo.backbones import create_backbone
from zoo.registry import get_spec
from zoo.weights import importing

PIXELS = np.random.default_rng(0).uniform(0, 255, (1, 32, 32, 3)).astype("float32")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a file of Keras, an empty home beside it, no network, the tiny backbone."""
    monkeypatch.setenv("RADZOO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("RADZOO_OFFLINE", "1")
    monkeypatch.delenv("RADZOO_WEIGHTS", raising=False)
    network = build(SPEC, keras.Input((32, 32, 3)))
    rng = np.random.default_rng(1)
    network.set_weights([rng.uniform(0.1, 0.9, weight.shape) for weight in network.weights])
    network.save_weights(tmp_path / "ours.weights.h5")
    with registered():
        yield tmp_path


def run(*words: object) -> Result:
    """One command in this process."""
    return CliRunner().invoke(app, ["weights", *map(str, words)])


def done(*words: object) -> Any:
    """What a command that must succeed prints with ``--json``."""
    result = run(*words, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def refused(place: Path, *words: object) -> str:
    """The one line of a command that must exit with 2; no path of the user is in it."""
    result = run(*words)
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("error: ")
    assert str(place) not in line
    return line


def features() -> np.ndarray:
    model = create_backbone("tiny", input_shape=(32, 32, 3), weights="mygroup")
    return np.asarray(model(PIXELS)["P4"])


def test_from_a_file_to_a_machine_without_a_network(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    imported = done("import", place / "ours.weights.h5", "--name", "mygroup", "--licence", "MIT")
    assert imported["backbone"] == "tiny"
    assert imported["file"] == "tiny.mygroup.safetensors"
    source = (place / "ours.weights.h5").read_bytes()
    assert imported["source_sha256"] == hashlib.sha256(source).hexdigest()
    wanted = features()
    verified = done("verify", "tiny:mygroup")
    assert verified["weights"][0]["reference"] == "as measured"
    packed = done("pack", "tiny:mygroup", "--out", place / "carry.radzoo")
    again = done("pack", "tiny:mygroup", "--out", place / "again.radzoo")
    assert packed["sha256"] == again["sha256"]
    assert run("verify", place / "carry.radzoo").exit_code == 0
    monkeypatch.setenv("RADZOO_HOME", str(place / "elsewhere"))
    assert done("unpack", place / "carry.radzoo")["sets"] == ["tiny:mygroup"]
    np.testing.assert_array_equal(features(), wanted)
    (row,) = [row for row in done("list", "--backbone", "tiny")["weights"] if row["here"]]
    assert (row["name"], row["source"], row["licence"]) == ("mygroup", "imported", "MIT")
    assert row["size"] == (place / "elsewhere/weights/tiny.mygroup.safetensors").stat().st_size
    assert "mygroup" in run("list", "--backbone", "tiny").stdout
    assert "(was here)" in run("unpack", place / "carry.radzoo").stdout


@pytest.mark.parametrize("what", ["arrays", "manifest", "reference", "converter"])
def test_verify_exits_with_1_on_whatever_changed(
    what: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done("import", place / "ours.weights.h5", "--name", "mygroup")
    data = place / "home" / "weights" / "tiny.mygroup.safetensors"
    manifest = data.with_suffix(".json")
    if what == "arrays":
        changed = bytearray(data.read_bytes())
        changed[-3] ^= 4
        data.write_bytes(changed)
    elif what == "manifest":
        manifest.write_text(manifest.read_text().replace("mygroup", "hergroup"))
    elif what == "reference":
        monkeypatch.setattr("zoo.weights.verifying.measure", lambda *args: (0.5,) * 8)
    else:
        monkeypatch.setattr("zoo.weights.verifying.converter_digest", lambda name: "0" * 64)
    for target in ("tiny", data) if what != "manifest" else (data,):
        result = run("verify", target)
        if what == "converter":
            assert result.exit_code == 0
            assert "converter changed, not compared" in result.stdout
        else:
            assert result.exit_code == 1, result.output
            assert "FAILED" in result.stdout
            assert "1 verified, 1 failed" in result.stdout


def test_verify_converts_anew_where_the_converter_changed_and_the_source_is_here(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done("import", place / "ours.weights.h5", "--name", "mygroup")
    source = (place / "ours.weights.h5").read_bytes()
    (place / "home" / "weights" / "ours.weights.h5").write_bytes(source)
    monkeypatch.setattr("zoo.weights.verifying.converter_digest", lambda name: "0" * 64)
    (verdict,) = done("verify", "tiny:mygroup")["weights"]
    assert verdict["converter"] == "changed, same arrays"
    read_file = importing.read_file

    def other(*args: Any) -> Any:
        found = read_file(*args)
        found.layers["block2_bn"][0] += 0.5
        return found

    monkeypatch.setattr("zoo.weights.verifying.read_file", other)
    result = run("verify", "tiny:mygroup")
    assert result.exit_code == 1
    assert "gives other arrays now, in layer 'block2_bn'" in result.stdout


def test_a_damaged_archive_fails_verify_and_unpacks_nothing(place: Path) -> None:
    done("import", place / "ours.weights.h5", "--name", "mygroup")
    done("pack", "tiny:mygroup", "--out", place / "carry.radzoo")
    data = bytearray((place / "carry.radzoo").read_bytes())
    data[len(data) // 2] ^= 1
    (place / "carry.radzoo").write_bytes(data)
    result = run("verify", place / "carry.radzoo", "--json")
    assert result.exit_code == 1
    assert "damaged" in json.loads(result.stdout)["weights"][0]["error"]
    line = refused(place, "unpack", place / "carry.radzoo", "--into", place / "there")
    assert "'carry.radzoo' does not have its recorded SHA-256" in line
    assert not list((place / "there").glob("*"))


def test_refusals(place: Path) -> None:
    assert "did you mean 'tiny'" in refused(place, "fetch", "tinny")
    assert "no weights 'imagnet'; choose from imagenet" in refused(place, "fetch", "tiny:imagnet")
    line = refused(place, "fetch", "resnet50:radimagenet")
    assert "put RadImageNet-ResNet50_notop.h5 (from https://github.com/BMEII-AI" in line
    assert "`radzoo weights import FILE`" in line
    assert "none of the weights of 'tiny'" in refused(place, "verify", "tiny")
    assert "give a backbone, a file, or --all" in refused(place, "verify")
    assert "give a backbone, a file, or --all" in refused(place, "verify", "tiny", "--all")
    assert "neither an archive" in refused(place, "verify", place / "ours.weights.h5")
    assert "no file 'none.pth'" in refused(place, "import", place / "none.pth")
    assert "no archive 'none.radzoo'" in refused(place, "unpack", place / "none.radzoo")
    assert "are not cached" in refused(place, "pack", "tiny", "--out", place / "x.radzoo")
    assert "did you mean" in refused(place, "list", "--backbone", "resnet5")


def test_list_loads_nothing_heavy() -> None:
    code = (
        "import sys; from recipes.cli import main\n"
        "try:\n    main(['weights', 'list'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'tensorflow', 'keras', 'numpy', 'h5py', 'safetensors'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "efficientnet_lite0" in done.stdout
    assert "radimagenet" in done.stdout
    assert "not recorded" in done.stdout


def test_a_run_names_the_weights_it_started_from(place: Path) -> None:
    from recipes.classification.config import ClassificationConfig
    from recipes.classification.outputs import repeat_command
    from recipes.classification.sections import weights_row
    from recipes.config import load_config

    done("import", place / "ours.weights.h5", "--name", "mygroup", "--licence", "CC0-1.0")
    row = weights_row("mygroup", get_spec("tiny"))
    assert row is not None
    assert (row["name"], row["licence"]) == ("mygroup", "CC0-1.0")
    for given, shown in (("mygroup", '"mygroup"'), (str(place / "x.h5"), '"WEIGHTS"')):
        config = load_config(ClassificationConfig, changes=[f"model.weights={given}"])
        assert f"model.weights={shown}" in repeat_command(config)
