"""Phantoms: plausible values, exact truth against closed forms, repeatability."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest

from data_adapters.case import check_case
from data_adapters.errors import DataError
from data_adapters.phantoms import (
    LESION_CLASSES,
    ORGANS,
    PHASES,
    Anatomy,
    Detector,
    Phantom,
    Placed,
    Scan,
    ct_noise,
    ct_slice,
    ct_volume,
    make_anatomy,
    place_lesion,
    radiograph,
)
from data_adapters.synthetic.lesions import organs_at
from data_adapters.synthetic.paint import Part
from data_adapters.synthetic.projection import WATER_PER_MM, shadow
from data_adapters.synthetic.scan import coverage
from data_adapters.synthetic.shapes import Ellipsoid, Warp

CLEAN = Scan(noise_hu=0.0, blur_mm=0.0)


def _organ(phantom: Phantom, name: str) -> np.ndarray:
    assert phantom.organs is not None
    pixels: np.ndarray = phantom.image[..., 0][
        (phantom.organs == ORGANS.index(name)) & (phantom.mask == 0)
    ]
    return pixels


def _in_mm(phantom: Phantom, index: tuple[float, ...]) -> np.ndarray:
    """(x, y, z) of a voxel index through the geometry alone."""
    geometry = phantom.geometry
    steps = np.array(geometry.spacing)[:, None] * np.array(geometry.direction)
    return np.asarray(np.array(geometry.origin) + np.array(index) @ steps)


def test_same_seed_same_phantom() -> None:
    first, again = (ct_slice(7, size=48, kind="cyst") for _ in range(2))
    other = ct_slice(8, size=48, kind="cyst")
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.mask, again.mask)
    assert first.findings == again.findings
    assert first.findings != other.findings
    assert np.abs(first.image - other.image).mean() > 20


@pytest.mark.parametrize("phase", sorted(PHASES))
def test_abdomen_has_the_values_of_its_phase(phase: str) -> None:
    phantom = ct_slice(3, size=160, phase=phase, z_mm=32.0, scan=CLEAN)
    assert phantom.image.dtype == np.float32
    assert phantom.image.min() >= -1024
    assert phantom.image.max() <= 3071
    for organ, tissue in (("liver", "liver"), ("spleen", "spleen"), ("muscle", "muscle")):
        assert np.median(_organ(phantom, organ)) == pytest.approx(PHASES[phase][tissue], rel=0.08)
    assert np.median(_organ(phantom, "background")) == -1000
    assert -115 < np.median(_organ(phantom, "fat")) < -85
    assert 250 < np.percentile(_organ(phantom, "bone"), 80) < 1000
    spongy = np.median(_organ(phantom, "marrow"))
    assert 110 < spongy < 260


def test_chest_has_air_lung_heart_and_vessels() -> None:
    phantom = ct_slice(3, size=160, region="chest", phase="arterial", z_mm=200.0, scan=CLEAN)
    assert phantom.region == "chest"
    assert -885 < np.median(_organ(phantom, "lung")) < -815
    assert 200 < np.percentile(_organ(phantom, "vessel"), 90) < 330
    share = np.mean(phantom.organs == ORGANS.index("lung"))
    assert 0.1 < share < 0.5


def test_kidneys_heart_and_liver_lie_on_their_sides() -> None:
    volume = ct_volume(
        5, shape=(46, 64, 64), step_mm=8.0, centre_z=110.0, kinds=(), scan=Scan(thickness_mm=2.0)
    )
    assert volume.organs is not None
    x = np.broadcast_to(np.arange(64) - 31.5, volume.organs.shape)
    assert x[volume.organs == ORGANS.index("liver")].mean() < -8
    assert x[volume.organs == ORGANS.index("spleen")].mean() > 12
    assert x[volume.organs == ORGANS.index("heart")].mean() > 1
    heights = {
        name: np.nonzero(volume.organs == ORGANS.index(name))[0].mean()
        for name in ("kidney", "liver", "heart")
    }
    assert heights["kidney"] < heights["liver"] < heights["heart"]


@pytest.mark.parametrize("kind", ["cyst", "metastasis", "hypervascular", "calcification"])
def test_liver_lesion_shows_its_class(kind: str) -> None:
    phantom = ct_slice(21, size=256, kind=kind, phase="arterial", scan=CLEAN)
    image, mask = phantom.image[..., 0], phantom.mask > 0
    liver = float(np.median(_organ(phantom, "liver")))
    inside = image[mask]
    assert phantom.label == LESION_CLASSES.index(kind)
    assert set(np.unique(phantom.mask)) == {0, phantom.label}
    if kind == "cyst":
        assert -2 < np.median(inside) < 17
    elif kind == "metastasis":
        assert liver - 60 < inside.min() < liver - 25
        assert np.percentile(inside, 95) > inside.min() + 10, "its border should fade"
    elif kind == "hypervascular":
        row, column = (round(v) for v in phantom.findings[0].centre)
        assert inside.max() > liver + 35
        assert inside.max() == pytest.approx(phantom.findings[0].hu, abs=2)
        assert image[row, column] < inside.max() - 10, "its rim should outshine its middle"
    else:
        assert inside.max() > 250


@pytest.mark.parametrize("kind", ["nodule", "opacity"])
def test_lung_lesion_lies_in_lung(kind: str) -> None:
    phantom = ct_slice(4, size=160, kind=kind, scan=CLEAN)
    assert phantom.organs is not None
    under = phantom.organs[phantom.mask > 0]
    assert phantom.label == LESION_CLASSES.index(kind)
    assert np.isin(under, (ORGANS.index("lung"), ORGANS.index("vessel"))).mean() > 0.97
    assert phantom.image[..., 0][phantom.mask > 0].mean() > -700


def test_lesion_volume_and_centre_match_closed_form() -> None:
    for seed, kind in enumerate(("cyst", "metastasis", "hypervascular")):
        anatomy = make_anatomy(seed)
        lesion = place_lesion(seed, anatomy, kind, radius_mm=15.0)
        x, y, z = lesion.shape.centre
        phantom = ct_volume(
            seed,
            shape=(28, 40, 40),
            step_mm=1.5,
            fov_mm=40.0,
            centre_xy=(x + 0.3, y - 0.2),
            centre_z=z + 0.4,
            anatomy=anatomy,
            lesions=[lesion],
            scan=Scan(thickness_mm=1.5, supersampling=1, organs=False),
        )
        a, b, c = lesion.shape.radii
        assert lesion.volume_mm3 == pytest.approx(4 / 3 * math.pi * a * b * c)
        voxel = math.prod(phantom.geometry.spacing)
        counted = int((phantom.mask > 0).sum()) * voxel
        assert counted == pytest.approx(lesion.volume_mm3, rel=0.01)
        where = np.argwhere(phantom.mask > 0).mean(0)
        np.testing.assert_allclose(where, phantom.findings[0].centre, atol=0.05)
        np.testing.assert_allclose(
            _in_mm(phantom, phantom.findings[0].centre), (x, y, z), atol=1e-3
        )


def test_slice_through_lesion_has_the_area_of_the_section() -> None:
    anatomy = make_anatomy(2)
    lesion = place_lesion(2, anatomy, "cyst", radius_mm=16.0)
    z = lesion.shape.centre[2] + 0.6 * lesion.shape.radii[2]
    scan = Scan(thickness_mm=0.5, supersampling=1)
    phantom = ct_slice(2, size=400, z_mm=z, anatomy=anatomy, lesions=[lesion], scan=scan)
    a, b, _ = lesion.shape.radii
    area = math.pi * a * b * (1 - 0.6**2)
    pitch = phantom.geometry.spacing[0]
    assert (phantom.mask > 0).sum() * pitch**2 == pytest.approx(area, rel=0.02)
    assert phantom.findings[0].radius == pytest.approx(math.sqrt(area / math.pi) / pitch)
    where = np.argwhere(phantom.mask > 0).mean(0)
    np.testing.assert_allclose(where, phantom.findings[0].centre, atol=0.05)
    missed = ct_slice(
        2, size=32, z_mm=z + 40, anatomy=anatomy, lesions=[lesion], scan=Scan(supersampling=1)
    )
    assert missed.findings == ()
    assert missed.label == 0


def test_coverage_adds_up_to_the_area() -> None:
    shape = Ellipsoid((1.3, -2.1, 0.0), (9.0, 5.0, 7.0), 0.6)
    x = np.arange(-15, 15.5, 1.0, dtype=np.float32)[None]
    y = np.arange(-14, 14.5, 1.0, dtype=np.float32)[:, None]
    share = coverage(shape, x, y, np.zeros(1, np.float32), steps=(1.0, 1.0), samples=8)
    assert share.sum() == pytest.approx(math.pi * 45, rel=0.004)
    assert ((share > 0) & (share < 1)).any()


def test_borders_show_partial_volume() -> None:
    anatomy = make_anatomy(1)
    rough, fine = (
        ct_slice(
            1,
            size=96,
            z_mm=42.0,
            anatomy=anatomy,
            scan=Scan(noise_hu=0, blur_mm=0, supersampling=samples, couch=False),
        )
        for samples in (1, 4)
    )
    few, many = (len(np.unique(p.image)) for p in (rough, fine))
    assert few < 60
    assert many > 5 * few
    assert abs(float(rough.image.mean() - fine.image.mean())) < 3


def test_volume_slice_equals_the_slice_at_its_height() -> None:
    anatomy = make_anatomy(9)
    lesion = place_lesion(9, anatomy, "metastasis")
    volume = ct_volume(
        0, shape=(3, 48, 48), step_mm=6.0, centre_z=50.0, anatomy=anatomy, lesions=[lesion],
        scan=Scan(thickness_mm=6.0, noise_hu=0),
    )  # fmt: skip
    single = ct_slice(
        1, size=48, z_mm=56.0, anatomy=anatomy, lesions=[lesion],
        scan=Scan(thickness_mm=6.0, noise_hu=0),
    )  # fmt: skip
    np.testing.assert_allclose(volume.image[2], single.image, atol=1e-3)
    np.testing.assert_array_equal(volume.mask[2], single.mask)
    assert volume.geometry.origin[2] == 44.0
    assert single.geometry.origin == (*volume.geometry.origin[:2], 56.0)


def test_noise_has_the_spectrum_of_filtered_back_projection() -> None:
    noise = np.stack([ct_noise(seed, (128, 96), sd=12.0, cutoff=0.28) for seed in range(40)])
    assert noise.std() == pytest.approx(12.0, rel=0.02)
    assert abs(noise.mean()) < 0.05
    power = (np.abs(np.fft.fft2(noise)) ** 2).mean(0)
    f = np.hypot(np.fft.fftfreq(128)[:, None], np.fft.fftfreq(96)[None])
    expected = f * np.exp(-((f / 0.28) ** 2))
    edges = np.arange(0.02, 0.5, 0.03)
    rings = [(f >= low) & (f < low + 0.03) for low in edges]
    measured, wanted = (np.array([a[ring].mean() for ring in rings]) for a in (power, expected))
    np.testing.assert_allclose(measured / measured.sum(), wanted / wanted.sum(), rtol=0.06)
    assert power[0, 0] < 1e-3 * power.max()


def test_circle_pads_the_corners() -> None:
    phantom = ct_slice(1, size=40, scan=Scan(circle=True))
    assert phantom.padding is not None
    assert phantom.padding.mean() == pytest.approx(1 - math.pi / 4, abs=0.05)
    assert (phantom.image[phantom.padding] == -1024).all()


@pytest.mark.parametrize("kind", ["cyst", "nodule"])
def test_phantoms_are_valid_cases(kind: str) -> None:
    phantom = ct_slice(3, size=64, kind=kind, scan=Scan(circle=True))
    volume = ct_volume(3, shape=(4, 24, 24), kinds=(kind,), scan=Scan(circle=True, organs=False))
    for case in (phantom.case("c1", patient_id="p1"), volume.case("c2")):
        check_case(case)
        assert case.meta["synthetic"] is True
        assert case.mask is not None
        assert case.lesions[0].label == LESION_CLASSES.index(kind)
    assert volume.organs is None


def test_names_and_numbers_out_of_range_are_named() -> None:
    with pytest.raises(DataError, match="did you mean 'cyst'"):
        ct_slice(0, size=32, kind="cysts")
    with pytest.raises(DataError, match="did you mean 'portal'"):
        ct_slice(0, size=32, phase="porta")
    with pytest.raises(DataError, match="unknown region"):
        ct_slice(0, size=32, region="leg")
    with pytest.raises(DataError, match="at least 8"):
        ct_slice(0, size=4)
    with pytest.raises(DataError, match="supersampling"):
        ct_slice(0, size=32, scan=Scan(supersampling=0))
    with pytest.raises(DataError, match="no room"):
        place_lesion(0, make_anatomy(0), "cyst", z_range=(-300, -250))
    with pytest.raises(DataError, match="not positive"):
        radiograph(0, size=32, detector=Detector(counts=0))
    with pytest.raises(DataError, match="unknown lesion"):
        place_lesion(0, make_anatomy(0), "lump")


def test_projection_of_water_matches_the_chord() -> None:
    radii, centre = np.array([90.0, 60.0, 80.0]), np.array([12.0, 0.0, 205.0])
    base = make_anatomy(0)
    part = Part(Ellipsoid((12.0, 0.0, 205.0), (90.0, 60.0, 80.0)), ORGANS.index("liver"), 0.0)
    anatomy = Anatomy((part,), Warp(), base.body, "native", base.hu)
    detector = Detector(
        counts=1e9, scatter=0.0, step_mm=0.25, blur_mm=0.0, gap_mm=0.0, source_mm=500.0
    )
    film = radiograph(0, size=40, anatomy=anatomy, detector=detector).image[..., 0]
    along = (np.arange(40) - 19.5) * 10
    u, v = np.meshgrid(along, 200 - along)
    source = np.array([0.0, 500 - base.body.half_depth, 200.0])
    ray = np.stack([u, np.full_like(u, -500.0), v - 200.0], -1)
    d, w = ray / radii, (source - centre) / radii
    dd, dw, ww = (d * d).sum(-1), d @ w, w @ w
    chord = 2 * np.sqrt(np.maximum(dw**2 - dd * (ww - 1), 0)) / dd * np.linalg.norm(ray, axis=-1)
    assert chord.max() > 115
    expected = chord * WATER_PER_MM / detector.full_scale * 4095
    np.testing.assert_allclose(film, expected, atol=8)


def test_shadow_matches_marched_rays() -> None:
    shape = Ellipsoid((30.0, -20.0, 210.0), (14.0, 25.0, 9.0), 0.5)
    source, plane_y = (0.0, 900.0, 200.0), -150.0
    across = np.asarray((np.arange(60) - 29.5) * 4, dtype=np.float32)
    u, v = across[None], np.float32(200) - across[:, None]
    share = shadow(shape, source, plane_y, u, v, pitch=4.0, samples=1)
    hit = np.zeros((60, 60), bool)
    for t in np.linspace(0.8, 1.0, 1500):
        x, y = t * u, source[1] + t * (plane_y - source[1])
        z = source[2] + t * (v - source[2])
        hit |= shape.level(x, np.full((1, 1), y, np.float32), z) <= 1
    assert 30 < hit.sum() < 400
    assert (hit != (share > 0.5)).sum() <= 2


def test_radiograph_is_hung_and_shaded_like_a_film() -> None:
    film = radiograph(2, size=96).image[..., 0]
    assert film.shape == (96, 96)
    assert film.min() >= 0
    assert film.max() <= 4095
    middle = film[30:60, 46:50].mean()
    right, left = film[40:50, 22:32].mean(), film[30:38, 64:74].mean()
    assert middle > 1.4 * max(right, left), "spine and heart should be brighter than lung"
    assert film[80:, 20:40].mean() > 1.2 * right, "the liver should be brighter than lung"
    heart = film[50:64]
    assert heart[:, 52:62].mean() > heart[:, 34:44].mean(), "the apex points to image right"


@pytest.mark.parametrize("kind", ["nodule", "opacity"])
def test_radiograph_lesion_brightens_its_shadow(kind: str) -> None:
    anatomy = make_anatomy(6, phase="native")
    lesion = place_lesion(1, anatomy, kind, radius_mm=20.0, z_range=(160, 270))
    quiet = Detector(counts=1e9)
    without, with_ = (
        radiograph(0, size=96, anatomy=anatomy, lesions=lesions, detector=quiet)
        for lesions in ((), (lesion,))
    )
    mask = with_.mask > 0
    change = (with_.image - without.image)[..., 0]
    assert change[mask].mean() > 10 * abs(change[~mask]).mean()
    assert with_.label == LESION_CLASSES.index(kind)
    finding = with_.findings[0]
    np.testing.assert_allclose(np.argwhere(mask).mean(0), finding.centre, atol=0.6)
    zoom = 1800 / (1800 - anatomy.body.half_depth - 30 - lesion.shape.centre[1])
    pitch = with_.geometry.spacing[0]
    assert finding.radius * pitch == pytest.approx(20 * zoom, rel=0.16)


def test_generation_is_quick() -> None:
    ct_slice(0, size=64)
    spent = []
    for size in (128, 512):
        start = time.process_time()
        ct_slice(1, size=size, kind="cyst")
        spent.append(time.process_time() - start)
    assert spent[0] < 0.4
    assert spent[1] < 2.5


def test_placed_lesions_stay_in_the_liver() -> None:
    anatomy = make_anatomy(12)
    rng = np.random.default_rng(0)
    placed: list[Placed] = [place_lesion(rng, anatomy, "cyst") for _ in range(6)]
    for lesion in placed:
        phantom = ct_slice(
            0, size=200, z_mm=lesion.shape.centre[2], anatomy=anatomy, lesions=[lesion],
            scan=Scan(supersampling=1),
        )  # fmt: skip
        assert phantom.organs is not None
        under = phantom.organs[phantom.mask > 0]
        assert under.size > 10
        assert np.isin(under, (ORGANS.index("liver"), ORGANS.index("vessel"))).mean() > 0.97
    assert len({lesion.shape.centre for lesion in placed}) == 6
    small = [place_lesion(rng, anatomy, "cyst", radius_mm=3.0).shape.centre for _ in range(60)]
    assert (organs_at(anatomy, np.array(small, np.float32)) == ORGANS.index("liver")).all()
