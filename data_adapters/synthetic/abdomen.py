"""Abdomen of a phantom: liver, upper organs, kidneys, great vessels, bowel."""

from __future__ import annotations

import math
from collections.abc import Iterator

from data_adapters.synthetic.body import Draft
from data_adapters.synthetic.paint import Part
from data_adapters.synthetic.shapes import Blend, Capsule, Common, Dome, Ellipsoid, Point, Tube
from data_adapters.synthetic.thorax import Rods


def _shrunk(radii: Point, by: float) -> Point:
    return (radii[0] - by, radii[1] - by, radii[2] - by)


def bowel(draft: Draft) -> Iterator[Part]:
    """Loops of small bowel with mesenteric vessels, and the colon with stool and gas."""
    body = draft.body
    for _ in range(34):
        centre = draft.at(draft.draw(-0.58, 0.62), draft.draw(-0.62, 0.0), draft.draw(-170, -22))
        size, turn = draft.draw(11, 17), draft.draw(0, math.pi)
        outer = (size * draft.draw(1.0, 1.9), size, size * draft.draw(1.0, 1.6))
        gas = draft.rng.random() < 0.2
        hu = draft.draw(-950, -800) if gas else draft.draw(5, 35)
        yield draft.part(Ellipsoid(centre, outer, turn), "bowel", draft.draw(50, 95))
        yield draft.part(Ellipsoid(centre, _shrunk(outer, 3), turn), "bowel", hu)
    for _ in range(14):
        start = draft.at(0, 0.05, draft.draw(-120, 0), 12)
        end = draft.at(draft.draw(-0.6, 0.6), draft.draw(-0.7, -0.2), draft.draw(-150, 0))
        yield draft.part(Capsule(start, end, (3.0, 1.5)), "vessel", draft.hu["portal"])
    x, y = 0.76 * body.wide, 0.1 * body.deep
    ends: tuple[tuple[Point, Point], ...] = (
        ((-x, y, -200.0), (-x, y, -25.0)),
        ((-0.7 * x, -0.72 * body.deep, -30.0), (0.75 * x, -0.7 * body.deep, -12.0)),
        ((x, y, -200.0), (x + 4, y + 4, 12.0)),
    )
    for start, end in ends:
        size = draft.draw(15, 20)
        yield draft.part(Capsule(start, end, (size, size)), "bowel", 55)
        stool = draft.draw(-250, 20)
        yield draft.part(Capsule(start, end, (size - 3, size - 3)), "bowel", stool)
        middle = tuple((a + b) / 2 for a, b in zip(start, end, strict=True))
        bubble = Ellipsoid((middle[0], middle[1] - 5, middle[2]), (9, 7, 30))
        yield draft.part(bubble, "bowel", -930)


def liver(draft: Draft) -> Iterator[Part]:
    """Two melted lobes under the diaphragm, with portal branches and hepatic veins."""
    body = draft.body
    middle = (-0.36 * body.wide, -0.25 * body.deep)
    under = Dome(body.dome - 3, middle, (0.95 * body.wide, 1.15 * body.deep), False)
    within = (draft.cavity(3), under)
    right = Ellipsoid(draft.at(-0.52, -0.02, 52), draft.radii(0.52, 0.93, 88), 0.15)
    left = Ellipsoid(draft.at(-0.02, -0.5, 72), draft.radii(0.46, 0.36, 44), -0.2)
    lobes = Common((Blend((right, left), 6.0), *within))
    yield draft.part(lobes, "liver", draft.hu["liver"])
    x, y, z = right.centre
    portal, vein = draft.hu["portal"], draft.hu["vein"]
    cava = (-20.0, body.spine - 28, 100.0)
    porta = (-0.2 * body.wide, 0.02 * body.deep, draft.about(38, 4))
    fork = (-0.34 * body.wide, -0.02 * body.deep, porta[2] + 14)
    rods: Rods = (
        ((-6.0, 10.0, porta[2] - 25), porta, (7, 7), portal),
        (porta, fork, (7, 6), portal),
        (fork, (x - 30, y + 22, z + 8), (5, 1.6), portal),
        (fork, (x - 22, y - 34, z + 14), (5, 1.6), portal),
        (fork, (x - 18, y + 6, z - 34), (4.5, 1.6), portal),
        (porta, (0.02 * body.wide, -0.45 * body.deep, 66), (5, 2), portal),
        (cava, (x - 26, y + 6, z + 10), (5.5, 1.5), vein),
        (cava, (x + 16, y - 42, z + 4), (5.5, 1.5), vein),
        (cava, (0.05 * body.wide, -0.5 * body.deep, 78), (5, 1.5), vein),
    )
    for start, end, radii, hu in rods:
        yield draft.part(Common((Capsule(start, end, radii), *within)), "vessel", hu)


def upper_organs(draft: Draft) -> Iterator[Part]:
    """Spleen, stomach with an air-fluid level, pancreas and (in four of five) gallbladder."""
    body = draft.body
    under = draft.dome(1, 18, above=False)
    spleen = Ellipsoid(draft.at(0.73, 0.32, 56), draft.radii(0.2, 0.44, 52), 0.35)
    yield draft.part(Common((spleen, draft.cavity(4), under)), "spleen", draft.hu["spleen"])
    centre, radii = draft.at(0.42, -0.36, 58), draft.radii(0.3, 0.36, 42)
    lumen = Common((Ellipsoid(centre, _shrunk(radii, 4), 0.5), under))
    level = centre[1] - draft.draw(0.1, 0.6) * radii[1]
    over = Tube((centre[0], level - 100), (200, 100), -400, 400, boxy=True)
    yield draft.part(Common((Ellipsoid(centre, radii, 0.5), under)), "stomach", 62)
    yield draft.part(lumen, "stomach", draft.draw(5, 30))
    yield draft.part(Common((lumen, over)), "stomach", -950)
    tail, neck = (0.5 * body.wide, 0.2 * body.deep, 34.0), (0.02 * body.wide, -4.0, 18.0)
    head = (-0.22 * body.wide, 0.0, 0.0)
    gland = draft.hu["pancreas"]
    yield draft.part(Capsule(tail, neck, (8, 9)), "pancreas", gland)
    yield draft.part(Capsule(neck, head, (9, 14)), "pancreas", gland)
    if draft.rng.random() < 0.8:
        centre, size = draft.at(-0.36, -0.5, 2), draft.draw(0.8, 1.2)
        sac = (13 * size, 17 * size, 28 * size)
        bile = draft.draw(3, 16)
        yield draft.part(Ellipsoid(centre, _shrunk(sac, -1.5), 0.3), "gallbladder", 50)
        yield draft.part(Ellipsoid(centre, sac, 0.3), "gallbladder", bile)


def retroperitoneum(draft: Draft) -> Iterator[Part]:
    """Psoas, crura, aorta, lower vena cava and the kidneys in their fat."""
    body, muscle = draft.body, draft.hu["muscle"]
    for side in (-1, 1):
        psoas = Tube((side * 34, body.spine + 3), (17, 20), -220, 10, side * 0.25)
        yield draft.part(psoas, "muscle", muscle)
        crus = Tube((side * 17, body.spine - 18), (6, 12), 0, 105, side * 0.4)
        yield draft.part(crus, "muscle", muscle)
    wide, front = draft.draw(9, 12), body.spine - 29
    aorta = Tube((draft.about(12, 3), front), (wide, wide), -220, 250)
    yield draft.part(aorta, "vessel", draft.hu["aorta"])
    cava = Tube((draft.about(-20, 3), front + 1), (12, 9), -220, 130)
    yield draft.part(cava, "vessel", draft.hu["vein"])
    for side in (-1, 1):
        yield from _kidney(draft, side)


def _kidney(draft: Draft, side: int) -> Iterator[Part]:
    """One kidney: perirenal fat, cortex, medulla, sinus fat."""
    body, size = draft.body, draft.draw(0.9, 1.08)
    x = side * draft.about(0.47, 0.03) * body.wide
    y, z = body.spine + draft.draw(-4, 6), draft.about(-12 - 6 * (side < 0), 8)
    for a, b, c, inward, organ, hu in (
        (34, 31, 60, 0, "fat", -105.0),
        (27, 25, 54, 0, "kidney", draft.hu["cortex"]),
        (18, 16, 43, 3, "kidney", draft.hu["medulla"]),
        (10, 7, 26, 13, "fat", -70.0),
    ):
        shape = Ellipsoid(
            (x - side * inward, y - 0.4 * inward, z),
            (a * size, b * size, c * size),
            side * 0.7,
            (-side * 0.22, 0.12),
        )
        yield draft.part(shape, organ, hu)
