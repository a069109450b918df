"""The streams: repeatable, complete, memory-bounded, and the same picture for every user."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from data_adapters.augment import Augmenter
from data_adapters.augment_policy import policy
from data_adapters.cache import decode
from data_adapters.chain import apply_chain
from data_adapters.errors import DataError
from data_adapters.pipeline import TrainStream, eval_stream
from tests.data_adapters.fakes import FakeAdapter, pictures

RNG = np.random.default_rng(11)
IMAGES = RNG.integers(0, 256, (50, 16, 16, 1), np.uint8)
ROWS = np.arange(3, 50, 2)
TARGETS = np.stack([ROWS % 2, ROWS], axis=1).astype(np.float32)
AUGMENTER = Augmenter(policy("US", strength="strong"), (0, 255))


def stream(**options: Any) -> TrainStream:
    given = {"batch_size": 8, "augmenter": AUGMENTER, "seed": 4, **options}
    return TrainStream(IMAGES, ROWS, TARGETS, **given)


def batches(source: TrainStream, epoch: int) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    return [(x.numpy(), y.numpy()) for x, y in source.epoch(epoch)]


def rows_of(parts: list[tuple[NDArray[Any], NDArray[Any]]]) -> list[int]:
    return [int(row) for _, y in parts for row in y[:, 1]]


def test_importing_the_module_loads_no_tensorflow() -> None:
    code = "import sys, data_adapters.pipeline; print('tensorflow' in sys.modules)"
    checkout = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=checkout, capture_output=True)
    assert done.stdout.split() == [b"False"], done.stderr


def test_an_epoch_holds_every_row_once_with_its_target() -> None:
    source = stream(augmenter=None)
    parts = batches(source, 0)
    assert sorted(rows_of(parts)) == ROWS.tolist()
    assert [len(x) for x, _ in parts] == [8, 8, 8]
    assert len(source) == len(parts) == int(source.epoch(0).cardinality())
    for x, y in parts:
        assert x.dtype == np.float32
        for image, target in zip(x, y, strict=True):
            np.testing.assert_array_equal(image, IMAGES[int(target[1])])
            assert target[0] == target[1] % 2


def test_shapes_are_known_before_the_first_batch() -> None:
    x, y = stream().epoch(0).element_spec
    assert x.shape.as_list() == [None, 16, 16, 1]
    assert y.shape.as_list() == [None, 2]


@pytest.mark.parametrize("mixup", [0.0, 0.4])
def test_two_streams_repeat_whatever_the_workers(mixup: float) -> None:
    fresh = Augmenter(policy("US", strength="strong"), (0, 255))
    first = batches(stream(mixup=mixup), 3)
    second = batches(stream(mixup=mixup, workers=4, augmenter=fresh), 3)
    third = batches(stream(mixup=mixup, workers=1), 3)
    for a, b, c in zip(first, second, third, strict=True):
        for k in range(2):
            np.testing.assert_array_equal(a[k], b[k])
            np.testing.assert_array_equal(a[k], c[k])


def test_epochs_and_seeds_differ_in_order_and_in_augmentation() -> None:
    one, two = batches(stream(), 0), batches(stream(), 1)
    other = batches(stream(seed=5), 0)
    assert rows_of(one) != rows_of(two)
    assert rows_of(one) != rows_of(other)

    def by_row(parts: list[tuple[NDArray[Any], NDArray[Any]]]) -> dict[int, NDArray[Any]]:
        return {int(t[1]): image for x, y in parts for image, t in zip(x, y, strict=True)}

    for later in (two, other):
        changed = [(by_row(one)[row] != by_row(later)[row]).any() for row in ROWS.tolist()]
        assert np.mean(changed) > 0.9


def test_augmentation_depends_on_the_row_not_on_its_neighbours() -> None:
    few = TrainStream(IMAGES, [9, 5], TARGETS[:2], batch_size=2, augmenter=AUGMENTER, seed=4)
    ((x, y),) = batches(few, 2)
    for image, target in zip(x, y, strict=True):
        row = {3: 9, 5: 5}[int(target[1])]
        np.testing.assert_array_equal(image, AUGMENTER(IMAGES[row], (4, 2, row)))


def test_mixup_mixes_pictures_and_targets_alike() -> None:
    eye = np.eye(len(ROWS), dtype=np.float32)
    source = TrainStream(IMAGES, ROWS, eye, batch_size=8, augmenter=None, seed=1, mixup=1.0)
    shares = []
    for x, y in batches(source, 0):
        np.testing.assert_allclose(y.sum(axis=1), 1.0, atol=1e-6)
        wanted = np.tensordot(y, IMAGES[ROWS].astype(np.float32), axes=1)
        np.testing.assert_allclose(x, wanted, atol=1e-3)
        shares.append(y.max())
    assert min(shares) < 0.999


def test_mixup_with_an_unknown_target_is_unknown() -> None:
    targets = np.ones((len(ROWS), 2), np.float32)
    targets[::2, 1] = np.nan
    source = TrainStream(IMAGES, ROWS, targets, batch_size=24, augmenter=None, seed=1, mixup=1.0)
    ((_, y),) = batches(source, 0)
    assert np.isfinite(y[:, 0]).all()
    unknown = np.isnan(y[:, 1])
    assert 12 <= unknown.sum() < 24
    np.testing.assert_allclose(y[~unknown, 1], 1.0)


def test_evaluation_keeps_the_order_of_the_rows() -> None:
    rows = [7, 7, 0, 49, 12]
    x = np.concatenate([part.numpy() for part in eval_stream(IMAGES, rows, 2)])
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x, IMAGES[rows])
    flipped = eval_stream(IMAGES, rows, 2, view={"view": "flip_lr"})
    x = np.concatenate([part.numpy() for part in flipped])
    np.testing.assert_array_equal(x, IMAGES[rows][:, :, ::-1])
    assert flipped.element_spec.shape.as_list() == [None, 16, 16, 1]


def test_training_evaluation_and_single_cases_see_the_same_picture(tmp_path: Path) -> None:
    cases = pictures(6, side=20)
    cases[3] = RNG.normal(size=(15, 25, 3)).astype(np.float32) * 500
    chain = [
        {"step": "channels", "count": 1},
        {"step": "resize", "height": 16, "width": 16, "keep_aspect": True},
    ]
    images = decode(FakeAdapter(cases), chain, home=tmp_path).images
    rows = np.arange(6)
    targets = rows[:, None].astype(np.float32)
    train = TrainStream(images, rows, targets, batch_size=4, augmenter=None, seed=0)
    seen = {int(t[0]): image for x, y in batches(train, 0) for image, t in zip(x, y, strict=True)}
    evaluated = np.concatenate([part.numpy() for part in eval_stream(images, rows, 4)])
    for row, native in enumerate(cases):
        assert isinstance(native, np.ndarray)
        single = apply_chain(native, chain).astype(np.float32)
        np.testing.assert_array_equal(seen[row], single)
        np.testing.assert_array_equal(evaluated[row], single)


def test_memory_is_bounded_by_the_batch(tmp_path: Path) -> None:
    path = tmp_path / "images"
    shape = (2000, 64, 64, 1)
    np.memmap(path, np.float32, "w+", shape=shape).flush()
    images = np.memmap(path, np.float32, "r", shape=shape)
    rows = np.arange(2000)
    source = TrainStream(
        images, rows, np.zeros((2000, 1), np.float32), batch_size=16, augmenter=None, seed=0
    )
    for _ in source.epoch(0).take(2):
        pass
    tracemalloc.start()
    for _ in source.epoch(1):
        pass
    for _ in eval_stream(images, rows, 16):
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < images.nbytes / 4


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"rows": [0, 50]}, "beyond"),
        ({"rows": [-1, 0]}, "beyond"),
        ({"rows": [], "targets": np.zeros((0, 1))}, "at least one"),
        ({"rows": [1, 1]}, "more than once"),
        ({"targets": np.zeros((3, 1))}, "2 rows"),
        ({"targets": np.zeros(2)}, "2 rows"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_wrong_streams_are_named(change: dict[str, Any], says: str) -> None:
    given: dict[str, Any] = {"rows": [0, 1], "targets": np.zeros((2, 1)), "batch_size": 2}
    given |= {"seed": 0, "augmenter": None, **change}
    with pytest.raises(DataError, match=says):
        TrainStream(IMAGES, given.pop("rows"), given.pop("targets"), **given)


def test_wrong_evaluations_are_named() -> None:
    with pytest.raises(DataError, match="beyond"):
        eval_stream(IMAGES, [50], 2)
    with pytest.raises(DataError, match="batch_size"):
        eval_stream(IMAGES, [1], 0)


def test_the_tuner_is_off_so_that_closing_an_epoch_does_not_wait() -> None:
    images = np.zeros((6, 4, 4, 1), np.uint8)
    targets = np.zeros((6, 2), np.float32)
    stream = TrainStream(images, range(6), targets, batch_size=2, augmenter=None, seed=0)
    assert stream.epoch(1).options().autotune.enabled is False
    assert eval_stream(images, range(6), 2).options().autotune.enabled is False
