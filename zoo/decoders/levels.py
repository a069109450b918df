"""Which maps a decoder meets between a backbone's top level and full resolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import keras

from zoo.architectures.blocks import spatial


@dataclass(frozen=True)
class Stage:
    """One step of a decoder towards full resolution.

    Attributes:
        level: Name of the level, ``"P0"`` for full resolution.
        size: Spatial sizes of the level.
        skip: The backbone's map there; None where it has none.
    """

    level: str
    size: tuple[int | None, ...]
    skip: keras.KerasTensor | None


def stages(image: keras.KerasTensor, pyramid: dict[str, keras.KerasTensor]) -> list[Stage]:
    """List the levels below the top one, coarsest first, down to ``"P0"``.

    A level that the backbone lacks (ConvNeXt starts at stride 4, MedicalNet's dilated networks end
    at stride 8) is there without a skip, between the sizes of its neighbours.
    """
    by_number = {int(name[1:]): x for name, x in pyramid.items()}
    top = max(by_number)
    sizes: dict[int, tuple[int | None, ...]] = {0: spatial(image)}
    sizes |= {number: spatial(x) for number, x in by_number.items()}
    for number in range(1, top):
        if number not in sizes:
            above = sizes[min(n for n in by_number if n > number)]
            sizes[number] = _halved(sizes[number - 1], above)
    return [
        Stage(f"P{number}", sizes[number], by_number.get(number))
        for number in range(top - 1, -1, -1)
    ]


def _halved(fine: Sequence[int | None], coarse: Sequence[int | None]) -> tuple[int | None, ...]:
    """Halve the axes that shrink further up; the coarse size is the least."""
    return tuple(
        None if f is None else (-(-f // 2) if c is None else max(-(-f // 2), c))
        for f, c in zip(fine, coarse, strict=True)
    )


def top_of(pyramid: dict[str, keras.KerasTensor]) -> keras.KerasTensor:
    """Give the coarsest map."""
    return pyramid[max(pyramid, key=lambda name: int(name[1:]))]
