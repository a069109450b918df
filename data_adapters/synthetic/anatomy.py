"""Seeded anatomies: a torso from neck to mid-abdomen, out of analytic shapes with mean HU values.

z = 0 lies at the first lumbar vertebra. Sizes are those of an adult; each anatomy draws its own
habitus, organ positions and enhancement. Schematic on purpose: an anatomy stands for no person.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import chain, pairwise

import numpy as np

from data_adapters.errors import DataError, nearest
from data_adapters.synthetic.abdomen import bowel, liver, retroperitoneum, upper_organs
from data_adapters.synthetic.body import PHASES, Anatomy, Draft
from data_adapters.synthetic.paint import Part
from data_adapters.synthetic.shapes import Capsule, Ellipsoid, Rib, Trunk, Tube, Warp, Wave
from data_adapters.synthetic.thorax import Rods, great_vessels, heart, lung_vessels, lungs


def wall(draft: Draft) -> Iterator[Part]:
    """Skin, subcutaneous fat, muscular wall, and the fat that fills the cavity."""
    body = draft.body
    width, depth = body.half_width, body.half_depth
    yield draft.part(Trunk(width, depth), "skin", draft.about(5, 15))
    yield draft.part(Trunk(width, depth, 2.0), "fat", draft.about(-102, 8))
    yield draft.part(Trunk(width, depth, 2.0 + body.fat), "muscle", draft.hu["muscle"])
    yield draft.part(draft.cavity(0), "fat", draft.about(-98, 6))


def spine(draft: Draft) -> Iterator[Part]:
    """Vertebrae with cortex, marrow, arch and processes; discs; canal; muscles of the back."""
    y, hard = draft.body.spine, draft.hu["cortical"] * 0.8
    yield draft.part(Tube((0, y), (19, 15.5), -220, 420), "disc", 75)
    for side in (-1, 1):
        erector = Tube((side * 30, y + 44), (27, 17), -220, 420, -side * 0.15)
        yield draft.part(erector, "muscle", draft.hu["muscle"])
    for level in range(-7, 13):
        z, slim = 30.0 * level, 0.3 * max(level, 0)
        body = Tube((0, y), (23 - slim, 17 - slim / 2), z - 12, z + 12)
        core = Tube((0, y), (20.8 - slim, 14.8 - slim / 2), z - 10, z + 10)
        yield draft.part(body, "bone", hard)
        yield draft.part(core, "marrow", draft.hu["trabecular"])
        for side in (-1, 1):
            rods: Rods = (
                ((side * 14, y + 10, z + 3), (side * 15, y + 29, z + 2), (5, 5), hard),
                ((side * 15, y + 29, z + 2), (side * 2, y + 40, z - 4), (5, 4), hard),
                ((side * 16, y + 26, z + 2), (side * 42, y + 32, z + 3), (5, 3.5), hard),
            )
            for start, end, radii, hu in rods:
                yield draft.part(Capsule(start, end, radii), "bone", hu * 0.75)
        spinous = Capsule((0, y + 40, z - 4), (0, y + 57, z - 16), (4, 3.5))
        yield draft.part(spinous, "bone", hard * 0.75)
    yield draft.part(Tube((0, y + 26), (10, 8), -220, 420), "canal", 28)


def cage(draft: Draft) -> Iterator[Part]:
    """Twelve pairs of ribs, breastbone, collar bones and shoulder blades."""
    body = draft.body
    gap = body.half_width - body.wide - 5
    axes = (body.half_width - gap, body.half_depth - gap)
    hard, soft = draft.hu["cortical"] * 1.25, draft.hu["trabecular"] * 0.9
    for index in range(12):
        end = math.radians(158 if index < 7 else 135 if index < 10 else 95 - 20 * (index - 10))
        height, drop = 338 - 27.0 * index, 36 + 6.5 * index
        for side in (-1, 1):
            arcs = np.linspace(0.3, end, 6).tolist()
            for thick, wide, organ, hu in ((4.2, 6.2, "bone", hard), (2.2, 4.0, "marrow", soft)):
                for start, stop in pairwise(arcs):
                    arc = Rib(side, axes, height, drop, start, stop, thick, wide)
                    yield draft.part(arc, organ, hu)
    front = -body.half_depth + gap
    yield draft.part(Tube((0, front), (17, 6), 170, 305, boxy=True), "bone", hard * 0.55)
    yield draft.part(Tube((0, front), (14, 3.5), 173, 302, boxy=True), "marrow", soft)
    for side in (-1, 1):
        x, y = side * 0.6 * body.half_width, 0.66 * body.half_depth
        tip = (side * 0.74 * body.half_width, -0.1 * body.half_depth, 332.0)
        collar = Capsule((side * 20, front + 8, 308.0), tip, (7.5, 5.5))
        yield draft.part(collar, "bone", hard * 0.7)
        muscle = Ellipsoid((x, y, 262), (50, 17, 72), -side * 0.65)
        yield draft.part(muscle, "muscle", draft.hu["muscle"])
        blade = Ellipsoid((x, y, 262), (40, 4, 60), -side * 0.65)
        yield draft.part(blade, "bone", hard * 0.5)


def warp(draft: Draft) -> Warp:
    """Three sines along each axis, some 5 mm in all."""

    def waves(size: float) -> tuple[Wave, ...]:
        return tuple(
            (
                draft.draw(0.6, 1.0) * size / order,
                2 * math.pi * order / draft.draw(150, 240),
                2 * math.pi / draft.draw(220, 500),
                draft.draw(0, 2 * math.pi),
            )
            for order in (1, 2, 3)
        )

    return Warp(waves(3.6), waves(3.2))


GROUPS = (
    wall,
    lungs,
    lung_vessels,
    heart,
    great_vessels,
    bowel,
    liver,
    upper_organs,
    retroperitoneum,
    spine,
    cage,
)
"""Makers of parts, in painting order."""


def make_anatomy(seed: int | np.random.Generator, *, phase: str = "portal") -> Anatomy:
    """Draw one torso.

    Args:
        seed: Seed, or a generator to draw from.
        phase: Contrast phase, a key of `PHASES`.

    Returns:
        The anatomy, the same for the same seed.

    Raises:
        DataError: The phase is not known.
    """
    if phase not in PHASES:
        raise DataError(f"unknown contrast phase {phase!r}{nearest(phase, PHASES)}")
    draft = Draft(np.random.default_rng(seed), phase)
    bend = warp(draft)
    parts = tuple(chain.from_iterable(group(draft) for group in GROUPS))
    return Anatomy(parts, bend, draft.body, phase, draft.hu)
