"""The specs are frozen data, and the catalogue is complete."""

from __future__ import annotations

import dataclasses
import importlib
import re
import types

import keras
import pytest

from zoo.catalog import catalogued, keras_applications
from zoo.registry import get_spec
from zoo.spec import BackboneSpec


def _specs() -> list[BackboneSpec]:
    return list(catalogued())


def test_specs_are_frozen() -> None:
    spec = get_spec("resnet50")
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.name = "mine"  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.weights[0].file = "mine"  # type: ignore[misc]
    assert len({*_specs()}) == len(_specs())


def test_catalogue_holds_every_network_of_keras() -> None:
    public = {
        name
        for name in dir(keras.applications)
        if isinstance(getattr(keras.applications, name), types.FunctionType)
    }
    assert set(keras_applications.CONSTRUCTORS.values()) == public
    assert len(keras_applications.SPECS) == 40
    lite = {f"efficientnet_lite{variant}" for variant in range(3)}
    assert {spec.name for spec in _specs()} >= lite | set(keras_applications.CONSTRUCTORS)


def test_entries_are_complete() -> None:
    for spec in _specs():
        module, function = spec.builder.split(":")
        assert callable(getattr(importlib.import_module(module), function))
        strides = [stride for stride, _ in spec.taps]
        assert strides in ([2, 4, 8, 16, 32], [4, 8, 16, 32], [2, 4, 8])
        assert (16 if spec.dims == 3 else 32) <= spec.min_size < spec.input_size <= 600
        assert spec.params > 500_000
        assert "arXiv:" in spec.paper
        assert spec.licence
        for weight in spec.weights:
            assert weight.licence
            assert weight.citation
            assert weight.input_convention
            assert weight.md5 is None or len(weight.md5) == 32
            assert weight.sha256 is None or len(weight.sha256) == 64
            given = (weight.url or weight.page) is not None
            assert given is not (weight.source == "package")
            assert (weight.package is not None) is (weight.source == "package")
            assert weight.converter is None or weight.source == "file"
            assert weight.sha256_prefix is None or re.fullmatch("[0-9a-f]{8}", weight.sha256_prefix)
