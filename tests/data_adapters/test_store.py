"""The store: what comes back, patches against slicing, kills, damage, several processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import data_adapters
from data_adapters.adapter import Adapter
from data_adapters.case import Case, Display, Lesion, check_case
from data_adapters.errors import CaseError, DataError
from data_adapters.store import build_store, open_store
from data_adapters.store_patches import random_patches
from data_adapters.transforms.compose import Compose, invert_mask
from tests.data_adapters.fakes import FakeAdapter, Volumes, pictures, volume

FAST = settings(max_examples=30, deadline=None, derandomize=True)
Array = NDArray[Any]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


# --- what comes back -----------------------------------------------------------------------------


def test_a_case_comes_back_whole(home: Path) -> None:
    case = volume(
        1,
        lesions=(Lesion(2, box=(1.0, 2.0, 3.5, 4.0, 5.0, 6.0)), Lesion(0, centre=(1, 2, 3))),
        display=Display(((40.0, 400.0),), "LINEAR", (0.0, (0.0, 1.0)), inverted=True),
        meta={"modality": "CT", "reading": ("padding-filled", "x"), "age": np.float32(41.5)},
    )
    store = build_store(Volumes([case, volume(2)]), home=home)
    assert isinstance(store, Adapter)
    back = store[0]
    check_case(back)
    np.testing.assert_array_equal(back.image, case.image)
    assert back.image.dtype == np.float32
    for name in ("mask", "padding"):
        np.testing.assert_array_equal(getattr(back, name), getattr(case, name))
        assert getattr(back, name).dtype == getattr(case, name).dtype
    assert back.masks is None
    assert (back.lesions, back.display) == (case.lesions, case.display)
    assert back.geometry == case.geometry
    assert back.meta == {**case.meta, "age": 41.5}
    assert (back.case_id, back.label) == ("c000", 0)


@pytest.mark.parametrize(
    ("values", "dtype", "stored"),
    [
        ([0, 255], "uint8", "|u1"),
        ([0, 65535], "uint16", "<u2"),
        ([0, 200], "uint16", "|u1"),
        ([-1024.0, 3071.0], "float32", "<i2"),
        ([0.0, 65535.0], "float32", "<u2"),
        ([0.5, 1.0], "float32", "<f4"),
        ([-40000.0, 40000.0], "float32", "<f4"),
        ([1e30, 3.0], "float32", "<f4"),
    ],
)
def test_the_narrowest_type_that_loses_nothing(
    home: Path, values: list[float], dtype: str, stored: str
) -> None:
    image = np.resize(np.array(values, dtype), (6, 5, 1))
    store = build_store(FakeAdapter([image]), home=home)
    assert store.bricks(0).dtype.str == stored
    np.testing.assert_array_equal(store[0].image, image)
    assert store[0].image.dtype == dtype


@FAST
@given(
    st.lists(st.integers(1, 80), min_size=2, max_size=3),
    st.integers(1, 3),
    st.sampled_from(["uint8", "int16", "uint16", "float32"]),
    st.booleans(),
    st.data(),
)
def test_any_box_is_what_slicing_gives(
    tmp_path_factory: pytest.TempPathFactory,
    grid: list[int],
    channels: int,
    dtype: str,
    small_bricks: bool,
    data: st.DataObject,
) -> None:
    rng = np.random.default_rng(len(grid) + sum(grid))
    image = rng.integers(0, 200, (*grid, channels)).astype(dtype)
    image = image + np.array(0.5, dtype) if dtype == "float32" else image
    case = Case(image, "x", mask=rng.integers(0, 4, grid), masks=(image > 100).astype(np.uint8))
    with pytest.MonkeyPatch.context() as patch:
        if small_bricks:
            patch.setattr("data_adapters.store_files.ONE_BRICK", 0)
            patch.setattr("data_adapters.store_files.SIDE_2D", 16)
            patch.setattr("data_adapters.store_files.SIDE_3D", 7)
        store = build_store(Volumes([case]), home=tmp_path_factory.mktemp("box"))
    np.testing.assert_array_equal(store[0].image, image)
    start = [data.draw(st.integers(-20, n + 20)) for n in grid]
    size = [data.draw(st.integers(1, 40)) for _ in grid]
    fills = {"image": float(image.min()), "mask": 0.0, "masks": 0.0}
    for name, fill in fills.items():
        whole = getattr(case, name)
        wide = np.pad(
            whole,
            [(70, 70)] * len(grid) + [(0, 0)] * (whole.ndim - len(grid)),
            constant_values=fill,
        )
        box = tuple(slice(70 + a, 70 + a + n) for a, n in zip(start, size, strict=True))
        got = store.patch(0, start, size, array=name)
        np.testing.assert_array_equal(got, wide[box])
        assert got.dtype == whole.dtype
    store.close()


def test_pad_value_and_padding_outside(home: Path) -> None:
    store = build_store(Volumes([volume(3)]), home=home)
    assert (store.patch(0, (-9, 0, 0), (4, 4, 4), pad_value=-1024) == -1024).all()
    assert store.patch(0, (-9, 0, 0), (4, 4, 4), array="padding").all()
    assert (store.patch(0, (500, 0, 0), (4, 4, 4), array="mask", pad_value=7) == 7).all()


def test_what_a_patch_cannot_be(home: Path) -> None:
    store = build_store(FakeAdapter(pictures(2)), home=home)
    with pytest.raises(DataError, match="grid of 2 axes"):
        store.patch(0, (0, 0, 0), (4, 4, 4))
    with pytest.raises(DataError, match=r"size of 1 or more|size \(0, 4\)"):
        store.patch(0, (0, 0), (0, 4))
    with pytest.raises(DataError, match="has no mask"):
        store.patch(0, (0, 0), (4, 4), array="mask")
    with pytest.raises(DataError, match="no array 'img'"):
        store.patch(0, (0, 0), (4, 4), array="img")
    with pytest.raises(IndexError):
        store.patch(2, (0, 0), (4, 4))


def test_the_bricks_are_a_read_only_map(home: Path) -> None:
    case = volume(1, (64, 70, 90, 1))
    bricks = build_store(Volumes([case]), home=home).bricks(0)
    assert isinstance(bricks, np.memmap)
    assert not bricks.flags.writeable
    full = bricks.transpose(0, 3, 1, 4, 2, 5, 6)
    z, b, y, c, x, d, k = full.shape
    whole = full.reshape(z * b, y * c, x * d, k)[:64, :70, :90]
    np.testing.assert_array_equal(whole, case.image)


# --- steps, keys, skips --------------------------------------------------------------------------


def test_steps_are_run_recorded_and_part_of_the_key(home: Path) -> None:
    case = volume(1)
    made = []
    for low in (2, 3):
        steps = [{"step": "resample", "spacing": [2.5, 1.4, 1.4]}, {"step": "crop", "margin": low}]
        made.append((build_store(Volumes([case]), steps, home=home), Compose.from_dicts(steps)))
    assert made[0][0].key != made[1][0].key
    for store, compose in made:
        wanted, undos = compose.apply(replace(case, case_id="c000"))
        got = store[0]
        np.testing.assert_array_equal(got.image, wanted.image)
        assert wanted.mask is not None
        assert got.mask is not None
        np.testing.assert_array_equal(got.mask, wanted.mask)
        assert got.geometry == wanted.geometry
        back = invert_mask(got.mask, store.undos(0))
        np.testing.assert_array_equal(back, invert_mask(wanted.mask, undos))
        assert case.mask is not None
        assert back.shape == case.mask.shape
        assert store.native(0) == (case.image.shape, case.geometry)


def test_an_apply_of_ones_own(home: Path) -> None:
    def negative(case: Case, steps: Sequence[Any]) -> Case:
        return replace(case, image=-case.image * steps[0]["factor"])

    case = volume(1)
    store = build_store(Volumes([case]), [{"factor": 2}], home=home, apply=negative)
    np.testing.assert_array_equal(store[0].image, -2 * case.image)
    assert store.steps == [{"factor": 2}]
    assert store.undos(0) == ()


def test_the_chain_is_the_default(home: Path) -> None:
    steps = [{"step": "resize", "height": 6, "width": 8}]
    assert build_store(FakeAdapter(pictures(2)), steps, home=home).shape(1) == (6, 8, 1)
    store = build_store(Volumes(["zero-byte", volume(1)]), home=home)
    assert store.usable() == [1]
    with pytest.raises(DataError, match="does not move masks"):
        build_store(Volumes([volume(1)]), steps, home=home)


def test_a_second_call_reads_nothing(home: Path) -> None:
    first = build_store(FakeAdapter(pictures(5)), home=home)
    again = FakeAdapter(pictures(5))
    seen: list[tuple[int, int]] = []
    second = build_store(again, home=home, progress=lambda *state: seen.append(state))
    assert (first.built, first.reused) == (5, 0)
    assert (second.built, second.reused) == (0, 5)
    assert again.read == []
    assert seen == [(5, 5)]
    assert second.key == first.key


def test_one_changed_case_is_made_again_alone(home: Path) -> None:
    cases: list[Case | str] = [volume(n, (9, 8, 7, 1)) for n in range(4)]
    build_store(Volumes(cases), home=home)
    cases[2] = volume(99, (9, 8, 7, 1))
    changed = Volumes(cases)
    store = build_store(changed, home=home)
    assert changed.read == [2]
    assert (store.built, store.reused) == (1, 3)
    np.testing.assert_array_equal(store[2].image, changed.cases[2])


def test_without_a_scope_the_identity_decides(home: Path) -> None:
    build_store(FakeAdapter(pictures(2), name="here"), home=home)
    other = FakeAdapter(pictures(2), name="there")
    assert build_store(other, home=home).built == 2


def test_labels_are_those_of_the_index_now(home: Path) -> None:
    adapter = FakeAdapter(pictures(2))
    build_store(adapter, home=home)
    adapter.index = tuple(replace(row, label=1) for row in adapter.index)
    store = build_store(adapter, home=home)
    assert store.built == 0
    assert [store[i].label for i in range(2)] == [1, 1]


def test_what_cannot_be_read_is_skipped_with_its_reason(home: Path) -> None:
    store = build_store(FakeAdapter([*pictures(2), "truncated"]), home=home)
    assert store.usable() == [0, 1]
    assert [(skip.case_id, skip.kind) for skip in store.skipped] == [("c002", "truncated")]
    with pytest.raises(CaseError, match="truncated"):
        store[2]
    assert {p.row for p in random_patches(store, (4, 4), rng=np.random.default_rng(0), count=20)}
    with pytest.raises(DataError, match=r"none of the 2 cases.*truncated: 2"):
        build_store(FakeAdapter(["truncated"] * 2), home=home)


def test_refusals(home: Path) -> None:
    with pytest.raises(DataError, match="no cases"):
        build_store(FakeAdapter([]), home=home)
    with pytest.raises(DataError, match="must be JSON"):
        build_store(FakeAdapter(pictures(1)), [{"step": {1}}], home=home)
    twice = FakeAdapter(pictures(2))
    twice.index = (twice.index[0], twice.index[0])
    with pytest.raises(DataError, match="c000 stands more than once"):
        build_store(twice, home=home)
    (home.parent / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        build_store(FakeAdapter(pictures(1)), home=home.parent / "file")


def test_open_by_key(home: Path) -> None:
    store = build_store(FakeAdapter([*pictures(2), "gone"]), home=home)
    again = open_store(store.key, home=home)
    assert again.index == store.index
    assert (again.class_names, again.task, again.skipped) == (
        ("no", "yes"),
        "single",
        store.skipped,
    )
    np.testing.assert_array_equal(again[1].image, store[1].image)
    with pytest.raises(DataError, match="no finished store 'abc'"):
        open_store("abc", home=home)


@pytest.mark.data
@pytest.mark.parametrize("name", ["nrrd", "dicom"])
def test_real_volumes_come_back_whole(radzoo_data: Path, home: Path, name: str) -> None:
    data = data_adapters.open(radzoo_data / name)
    store = build_store(data, home=home)
    assert len(store.usable()) > 2
    for i in store.usable():
        case, back = data[i], store[i]
        for array in ("image", "mask", "masks", "padding"):
            one, other = getattr(case, array), getattr(back, array)
            assert (one is None) == (other is None)
            if one is not None:
                np.testing.assert_array_equal(one, other)
                assert one.dtype == other.dtype
        assert (case.geometry, case.lesions, case.display) == (
            back.geometry,
            back.lesions,
            back.display,
        )
        assert dict(case.meta) == dict(back.meta)
