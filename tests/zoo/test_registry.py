"""The registry: names in, specs out, and help with what it does not hold."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
from pathlib import Path

import pytest

from zoo import registry
from zoo.errors import UnknownBackboneError, ZooError
from zoo.listing import backbone_table
from zoo.registry import get_spec, list_backbones, register


@pytest.fixture
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a test register what it likes without any other noticing."""
    table = dict(registry._registry())
    monkeypatch.setattr(registry, "_registry", lambda: table)


def test_unknown_name_gets_the_nearest_known() -> None:
    with pytest.raises(UnknownBackboneError, match="'resnet5'; did you mean 'resnet50'"):
        get_spec("resnet5")
    with pytest.raises(UnknownBackboneError, match="did you mean 'convnext_tiny'"):
        get_spec("ConvNeXt-Tiny")
    with pytest.raises(UnknownBackboneError, match=r"known: convnext_atto, .*xception"):
        get_spec("?")


@pytest.mark.usefixtures("own_registry")
def test_register_enrols_and_refuses_duplicates() -> None:
    mine = dataclasses.replace(get_spec("resnet50"), name="resnet50_mine", weights=())
    register(mine)
    assert get_spec("resnet50_mine") is mine
    assert "resnet50_mine" in list_backbones(family="resnet")
    assert "resnet50_mine" not in list_backbones(weights="imagenet")
    with pytest.raises(ZooError, match="'resnet50' is already registered"):
        register(get_spec("resnet50"))


def test_filters() -> None:
    assert list_backbones(family="inception") == ["inception_resnet_v2", "inception_v3"]
    assert list_backbones(family="none such") == []
    assert list_backbones(weights="none such") == []
    assert list_backbones() == sorted(list_backbones())
    assert list_backbones() == sorted(list_backbones(offline=True) + list_backbones(offline=False))


def test_offline_follows_what_lies_in_the_caches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RADZOO_HOME", str(tmp_path / "ours"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "theirs"))
    assert list_backbones(offline=True, family="resnet") == []
    for folder, name in (("ours/weights", "resnet50"), ("theirs/models", "resnet101")):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / get_spec(name).weights[0].file).touch()
    assert list_backbones(offline=True, family="resnet") == ["resnet101", "resnet50"]


def test_offline_follows_what_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RADZOO_HOME", str(tmp_path))
    assert "efficientnet_lite0" in list_backbones(offline=True)

    def missing(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    assert "efficientnet_lite0" not in list_backbones(offline=True)


def test_table_is_plain_data_for_every_backbone() -> None:
    table = backbone_table()
    assert [row["name"] for row in table] == list_backbones()
    assert json.loads(json.dumps(table)) == table
    (row,) = [row for row in table if row["name"] == "vgg16"]
    assert row["params"] == 14_714_688
    assert row["weights"] == ["imagenet", "imagenet-torchvision"]
    assert row["weights_licence"] == ["BSD-3-Clause", "CC-BY-4.0"]
    (row,) = [row for row in table if row["name"] == "convnext_tiny"]
    assert row["levels"] == ["P2", "P3", "P4", "P5"]
