"""Manifests: one spelling, their own digest, and no field that cannot be."""

from __future__ import annotations

import dataclasses
import json
import random

import pytest

from zoo.errors import WeightsMismatchError
from zoo.weights.manifest import Manifest, from_json, is_plain_name, to_json

MANIFEST = Manifest(
    backbone="tiny",
    name="mygroup",
    publisher="torchvision",
    source="tiny-01234567.pth",
    source_sha256="0" * 64,
    licence="CC0-1.0",
    citation="Žižek et al.",
    input_convention="0-255",
    input_range=(-1.0, 1.0),
    preprocessing="tf",
    channels=1,
    converter="zoo.weights.converters.resnet:convert",
    converter_sha256="1" * 64,
    stripped=("fc",),
    reference=(0.25, -1.5),
    made_with={"keras": "3.15.0"},
    created="2026-01-02T03:04:05Z",
    sha256="2" * 64,
    size=10,
)


def test_round_trip() -> None:
    text = to_json(MANIFEST)
    assert text.isascii()
    assert from_json(text, file="x.json") == MANIFEST


def test_every_changed_byte_is_noticed() -> None:
    data = to_json(MANIFEST).encode()
    rng = random.Random(0)
    for _ in range(400):
        position, flip = rng.randrange(len(data)), rng.randrange(1, 128)
        damaged = bytearray(data)
        damaged[position] ^= flip
        with pytest.raises(WeightsMismatchError, match=r"manifest 'x\.json'"):
            from_json(damaged.decode("latin-1"), file="x.json")
    for end in range(0, len(data), 37):
        with pytest.raises(WeightsMismatchError, match=r"manifest 'x\.json'"):
            from_json(data[:end].decode(), file="x.json")


@pytest.mark.parametrize(
    "change",
    [
        {"backbone": "../x"},
        {"name": "a b"},
        {"source": "/etc/passwd"},
        {"source_sha256": "0"},
        {"preprocessing": "shout"},
        {"channels": 0},
        {"sha256": "g" * 64},
        {"size": 0},
        {"reference": ("a",)},
        {"input_range": (1.0, -1.0)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_well_signed_manifest_must_still_make_sense(change: dict[str, object]) -> None:
    (field,) = change
    text = to_json(dataclasses.replace(MANIFEST, **change))  # type: ignore[arg-type]
    with pytest.raises(WeightsMismatchError, match=f"invalid {field}$|invalid {field}:"):
        from_json(text, file="x.json")


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '"a"', "[" * 5000, '{"layout": 7}'])
def test_what_is_no_manifest_is_refused(text: str) -> None:
    with pytest.raises(WeightsMismatchError):
        from_json(text, file="x.json")


def test_fields_of_the_wrong_kind_are_refused() -> None:
    content = json.loads(to_json(MANIFEST))
    for key in content:
        for value in (None, 1, "x", [], {}):
            if value != content[key]:
                text = json.dumps({**content, key: value}, indent=1) + "\n"
                with pytest.raises(WeightsMismatchError):
                    from_json(text, file="x.json")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", "C:x", "a\nb", "a" * 300])
def test_names_that_are_more_than_names(name: str) -> None:
    assert not is_plain_name(name)
