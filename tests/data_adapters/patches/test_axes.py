"""Which axes may be mirrored."""

from __future__ import annotations

import pytest

from data_adapters.case import Geometry
from data_adapters.errors import DataError
from data_adapters.patches import flip_axes, mirror_axes, patch_policy
from tests.data_adapters.patches.stores import AXIAL

X, Y, Z = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)
MINUS_X = (-1.0, 0.0, 0.0)
ORIENTATIONS = [
    (AXIAL, 2, 1, 0),
    ((X, Z, Y), 0, 2, 1),
    ((Y, Z, MINUS_X), 2, 0, 1),
    ((Z, MINUS_X, Y), 1, 2, 0),
]


def place(*direction: tuple[float, float, float]) -> Geometry:
    return Geometry((1.0,) * len(direction), direction=direction)


@pytest.mark.parametrize(("direction", "lr", "ap", "si"), ORIENTATIONS)
def test_bans_follow_the_patient(
    direction: tuple[tuple[float, float, float], ...], lr: int, ap: int, si: int
) -> None:
    geometry = place(*direction)
    everything = {0, 1, 2}
    for ban, axis in (("flip_lr", lr), ("flip_ap", ap), ("flip_si", si), ("flip_ud", si)):
        policy = patch_policy("medium", bans=[ban])
        assert set(mirror_axes(policy, geometry)) == everything - {axis}
        assert flip_axes(policy, geometry, axes=3) == (mirror_axes(policy, geometry), None)
    assert mirror_axes(patch_policy("medium"), geometry) == (0, 1, 2)
    assert mirror_axes(patch_policy("none"), geometry) == ()
    assert mirror_axes(patch_policy("medium", bans=["flip"]), geometry) == ()


@pytest.mark.parametrize(("direction", "lr", "ap", "si"), ORIENTATIONS)
def test_swaps_happen_along_left_right_and_not_at_test_time(
    direction: tuple[tuple[float, float, float], ...], lr: int, ap: int, si: int
) -> None:
    policy = patch_policy("medium", swaps=[(1, 2)])
    assert flip_axes(policy, place(*direction), axes=3) == ((0, 1, 2), lr)
    assert set(mirror_axes(policy, place(*direction))) == {ap, si}


def test_slices_use_the_directions_of_their_plane() -> None:
    policy = patch_policy("medium", bans=["flip_lr"])
    assert mirror_axes(policy, place(*AXIAL), axes=2) == (0,)
    assert mirror_axes(policy, place(X, Y, Z), axes=2) == (0, 1)  # a sagittal slice


def test_slanted_axes_are_banned_with_their_direction() -> None:
    tilted = ((0.0, 0.0, 1.0), (0.6, 0.8, 0.0), (0.8, -0.6, 0.0))
    assert mirror_axes(patch_policy("medium", bans=["flip_lr"]), place(*tilted)) == (0,)
    assert flip_axes(patch_policy("medium", swaps=[(1, 2)]), place(*tilted), axes=3) == ((0, 2), 2)


def test_unknown_directions() -> None:
    banned = patch_policy("medium", bans=["flip_lr"])
    swapped = patch_policy("medium", swaps=[(1, 2)])
    spaced = Geometry((1.0, 1.0, 1.0))
    assert mirror_axes(patch_policy("medium"), spaced) == (0, 1, 2)
    assert mirror_axes(banned, spaced) == ()
    assert flip_axes(swapped, spaced, axes=3) == ((), None)
    assert mirror_axes(banned, None, axes=2) == (0,)
    assert flip_axes(swapped, None, axes=2) == ((0, 1), 1)
    assert mirror_axes(patch_policy("medium", bans=["flip_ud"]), None, axes=2) == (1,)
    with pytest.raises(DataError, match="axes=2 or axes=3"):
        mirror_axes(banned, None)
