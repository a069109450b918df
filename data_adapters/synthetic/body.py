"""What every part of a phantom's body is made from: organ names, HU, measures and the draft."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from data_adapters.synthetic.paint import Part
from data_adapters.synthetic.shapes import Dome, Point, Shape, Trunk, Warp

ORGANS = (
    "background",
    "skin",
    "fat",
    "muscle",
    "bone",
    "marrow",
    "lung",
    "airway",
    "heart",
    "vessel",
    "liver",
    "gallbladder",
    "spleen",
    "kidney",
    "stomach",
    "pancreas",
    "bowel",
    "canal",
    "disc",
    "couch",
)
"""Organ names; their positions are the values of organ masks."""

PHASES: Mapping[str, Mapping[str, float]] = {
    "native": {
        "liver": 58,
        "spleen": 48,
        "cortex": 33,
        "medulla": 31,
        "aorta": 42,
        "vein": 40,
        "portal": 41,
        "pancreas": 42,
        "muscle": 52,
    },
    "arterial": {
        "liver": 74,
        "spleen": 128,
        "cortex": 188,
        "medulla": 92,
        "aorta": 285,
        "vein": 78,
        "portal": 132,
        "pancreas": 108,
        "muscle": 58,
    },
    "portal": {
        "liver": 106,
        "spleen": 120,
        "cortex": 182,
        "medulla": 162,
        "aorta": 166,
        "vein": 160,
        "portal": 176,
        "pancreas": 94,
        "muscle": 62,
    },
}
"""Mean HU by contrast phase: unenhanced, late arterial, portal venous."""


@dataclass(frozen=True)
class Body:
    """Measures of one torso in mm.

    Attributes:
        half_width: Half the left-right extent of the skin.
        half_depth: Half the front-back extent of the skin.
        fat: Thickness of the subcutaneous fat.
        wide: Half-width of the cavity inside the muscular wall.
        deep: Half-depth of that cavity.
        spine: y of the vertebral bodies' centre.
        dome: z of the top of the right diaphragm.
    """

    half_width: float
    half_depth: float
    fat: float
    wide: float
    deep: float
    spine: float
    dome: float


@dataclass(frozen=True)
class Anatomy:
    """One torso.

    Attributes:
        parts: Shapes in painting order.
        warp: Smooth displacement under which they are seen.
        body: Measures.
        phase: Contrast phase.
        hu: Mean HU by tissue, as drawn for this anatomy.
    """

    parts: tuple[Part, ...]
    warp: Warp
    body: Body
    phase: str
    hu: Mapping[str, float]


class Draft:
    """Draws the measures of one torso, then numbers and parts for those who fill it.

    Args:
        rng: Source of every draw.
        phase: Contrast phase, a key of `PHASES`.
    """

    def __init__(self, rng: np.random.Generator, phase: str) -> None:
        self.rng = rng
        means = PHASES[phase]
        self.hu = {name: value * self.draw(0.93, 1.07) for name, value in means.items()}
        self.hu["trabecular"] = self.draw(130, 240)
        self.hu["cortical"] = self.draw(480, 720)
        width, depth, fat = self.draw(150, 185), self.draw(102, 130), self.draw(7, 24)
        wall = self.draw(9, 13)
        self.body = Body(
            half_width=width + fat * 0.6,
            half_depth=depth + fat * 0.4,
            fat=fat,
            wide=width - 0.4 * fat - wall,
            deep=depth - 0.6 * fat - wall,
            spine=depth - 0.5 * fat - 60,
            dome=self.draw(115, 135),
        )

    def draw(self, low: float, high: float) -> float:
        """A number between two others."""
        return float(self.rng.uniform(low, high))

    def about(self, value: float, spread: float) -> float:
        """A number within `spread` of another."""
        return value + self.draw(-spread, spread)

    def at(self, u: float, v: float, z: float, spread: float = 4.0) -> Point:
        """A point in units of the cavity (-1 to 1) and mm of height, moved by some `spread` mm."""
        return (
            self.about(u * self.body.wide, spread),
            self.about(v * self.body.deep, spread),
            self.about(z, 2 * spread),
        )

    def radii(self, u: float, v: float, z: float) -> Point:
        """Semi-axes in mm from units of the cavity and mm of height, some 7 % larger or smaller."""
        scale = self.draw(0.93, 1.07)
        return (u * self.body.wide * scale, v * self.body.deep * scale, z * self.draw(0.92, 1.08))

    def part(self, shape: Shape, organ: str, hu: float) -> Part:
        """A part of an organ."""
        return Part(shape, ORGANS.index(organ), float(hu))

    def cavity(self, gap: float) -> Trunk:
        """What lies `gap` mm inside the muscular wall."""
        body = self.body
        return Trunk(body.half_width, body.half_depth, body.half_width - body.wide + gap)

    def dome(self, side: int, gap: float, *, above: bool, spread: float = 0.62) -> Dome:
        """What lies above or below one half of the diaphragm, lowered by `gap` mm."""
        body = self.body
        middle = (side * 0.48 * body.wide, -0.25 * body.deep)
        return Dome(body.dome - gap, middle, (spread * body.wide, 1.15 * body.deep), above)
