"""Chest of a phantom: lungs with their vessels, heart, great vessels, airways."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from data_adapters.synthetic.body import Draft
from data_adapters.synthetic.paint import Part
from data_adapters.synthetic.shapes import Capsule, Common, Ellipsoid, Point, Shape

Rods = Sequence[tuple[Point, Point, tuple[float, float], float]]


def lungs(draft: Draft) -> Iterator[Part]:
    """Both lungs, bounded by the ribs and the diaphragm, and the fat between them."""
    body, air = draft.body, draft.draw(-880, -820)
    for side in (-1, 1):
        centre = (side * 0.53 * body.wide, 4.0, draft.about(165, 4))
        lobe = Ellipsoid(centre, (0.5 * body.wide, 1.12 * body.deep, draft.about(176, 6)))
        floor = draft.dome(side, 0 if side < 0 else draft.draw(8, 18), above=True)
        yield draft.part(Common((lobe, draft.cavity(2), floor)), "lung", air)
    between = Ellipsoid((0.0, 0.05 * body.deep, 205.0), (22.0, 0.72 * body.deep, 150.0))
    yield draft.part(between, "fat", -85)


def lung_vessels(draft: Draft) -> Iterator[Part]:
    """Vessels that fan out from each hilum: fourteen stems of four twigs each."""
    for side in (-1, 1):
        within = (draft.cavity(9), draft.dome(side, 12 if side < 0 else 24, above=True))
        hilum = np.array([side * 36.0, 6.0, draft.about(218, 5)])
        for _ in range(14):
            aim = draft.rng.normal(size=3) * (0.5, 0.75, 1.2) + (side * 0.9, 0.05, -0.1)
            aim[0] = side * abs(aim[0])
            aim /= np.linalg.norm(aim)
            knee = hilum + aim * draft.draw(28, 48)
            yield _twig(draft, within, (hilum, knee), (4.2, 2.8))
            for _ in range(4):
                turn = aim + draft.rng.normal(size=3) * 0.45
                tip = knee + turn / np.linalg.norm(turn) * draft.draw(30, 75)
                yield _twig(draft, within, (knee, tip), (2.4, 0.9))


def _twig(
    draft: Draft, within: Sequence[Shape], ends: Sequence[np.ndarray], radii: tuple[float, float]
) -> Part:
    """A vessel of the lung, cut where the lung ends."""
    (x0, y0, z0), (x1, y1, z1) = (point.tolist() for point in ends)
    rod = Capsule((x0, y0, z0), (x1, y1, z1), radii)
    blood = (draft.hu["vein"] + draft.hu["portal"]) / 2
    return draft.part(Common((rod, *within)), "vessel", blood)


def heart(draft: Draft) -> Iterator[Part]:
    """Heart with four chambers and the fat around it."""
    wall, blood = draft.hu["muscle"] + 30, draft.hu["aorta"]
    mixed = (draft.hu["vein"] + draft.hu["aorta"]) / 2
    x, y, z = _heart_centre(draft)
    yield draft.part(Ellipsoid((x, y, z), (60, 46, 52), -0.5), "fat", -80)
    yield draft.part(Ellipsoid((x, y, z), (56, 42, 48), -0.5), "heart", wall)
    for dx, dy, dz, a, b, c, hu in (
        (24, 12, -6, 22, 15, 32, blood),
        (4, -16, -8, 30, 12, 30, mixed),
        (-6, 22, 16, 22, 13, 20, blood),
        (-36, 2, 0, 15, 22, 26, mixed),
    ):
        chamber = Ellipsoid((x + dx, y + dy, z + dz), (a, b, c), -0.5)
        yield draft.part(chamber, "heart", hu)


def _heart_centre(draft: Draft) -> Point:
    return (18.0, -0.32 * draft.body.deep, 165.0)


def great_vessels(draft: Draft) -> Iterator[Part]:
    """Aorta with its arch, pulmonary trunk, upper vena cava, trachea and main bronchi."""
    x, y, _ = _heart_centre(draft)
    blood, deep = draft.hu["aorta"], draft.body.deep
    mixed = (draft.hu["vein"] + blood) / 2
    root, rise, arch = (x - 22, y + 6, 190.0), (-14.0, -0.3 * deep, 245.0), (2.0, -6.0, 263.0)
    fork = (20.0, -14.0, 226.0)
    rods: Rods = (
        (root, rise, (16, 15), blood),
        (rise, arch, (15, 14), blood),
        (arch, (18, draft.body.spine - 26, 240), (14, 13), blood),
        ((x + 4, y - 6, 195), fork, (14, 13), mixed),
        (fork, (-34, 6, 218), (11, 8), mixed),
        (fork, (36, 8, 222), (11, 8), mixed),
        ((-28, -10, 195), (-24, -14, 300), (9, 8), draft.hu["vein"]),
    )
    for start, end, radii, hu in rods:
        yield draft.part(Capsule(start, end, radii), "vessel", hu)
    carina = (0.0, 6.0, 246.0)
    tubes: Rods = (
        ((0, 4, 420), carina, (8.5, 8.5), -990),
        (carina, (-34, 10, 222), (7, 5), -990),
        (carina, (38, 12, 218), (6, 5), -990),
    )
    for start, end, radii, hu in tubes:
        yield draft.part(Capsule(start, end, radii), "airway", hu)
