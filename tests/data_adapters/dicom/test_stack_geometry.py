"""Geometry of written files: against SimpleITK where it is right, each file where it is not."""

from __future__ import annotations

import math
import random
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK

from data_adapters.dicom.grouping import group
from data_adapters.dicom.model import Stack
from data_adapters.dicom.scan import scan_tree
from data_adapters.dicom.stack import read_stack
from data_adapters.errors import CaseError
from data_adapters.geometry import to_index, to_world
from tests.data_adapters.dicom.stacks import write_slice


def volumes(root: Path) -> list[Stack]:
    return [stack for stack in group(scan_tree(root).instances) if stack.kind == "volume"]


def sitk_image(stack: Stack) -> SimpleITK.Image:
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames([one.path for one in stack.instances])
    return reader.Execute()


def against_sitk(stack: Stack, rng: np.random.Generator) -> float:
    """Largest distance in mm between our place of random voxels and SimpleITK's."""
    image = sitk_image(stack)
    assert stack.geometry is not None
    shape = image.GetSize()[::-1]
    places = rng.uniform(0, np.asarray(shape) - 1, (50, 3))
    ours = to_world(stack.geometry, places)
    theirs = [image.TransformContinuousIndexToPhysicalPoint(p[::-1].tolist()) for p in places]
    assert np.allclose(to_index(stack.geometry, theirs), places, atol=0.02)
    return float(np.linalg.norm(ours - theirs, axis=1).max())


def against_files(stack: Stack, rng: np.random.Generator) -> float:
    """Largest distance in mm between our place of random voxels and the file's own."""
    assert stack.geometry is not None
    worst = 0.0
    for k, one in enumerate(stack.instances):
        data = pydicom.dcmread(one.path, stop_before_pixels=True)
        across, down = np.asarray(data.ImageOrientationPatient, float).reshape(2, 3)
        row, column = rng.uniform(0, data.Rows), rng.uniform(0, data.Columns)
        step_down, step_across = (float(v) for v in data.PixelSpacing)
        wanted = np.asarray(data.ImagePositionPatient, float)
        wanted = wanted + row * step_down * down + column * step_across * across
        worst = max(
            worst, float(np.linalg.norm(to_world(stack.geometry, (k, row, column)) - wanted))
        )
    return worst


def write_stack(
    root: Path, *, seed: int, count: int = 7, tilt: float = 0.0, missing: tuple[int, ...] = ()
) -> None:
    """An oblique, perhaps flipped stack under shuffled names."""
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    across, down = turn[:, 0], turn[:, 1]
    normal = np.cross(across, down)
    origin, step = rng.uniform(-300, 300, 3), rng.uniform(0.5, 6)
    shift = step * (normal + math.tan(math.radians(tilt)) * down)
    names = random.Random(seed).sample(range(1000), count)
    spacing = [f"{v:.6g}" for v in rng.uniform(0.3, 2, 2)]
    for i in range(count):
        if i not in missing:
            write_slice(
                root / f"{names[i]}",
                ImagePositionPatient=[f"{v:.10g}" for v in origin + i * shift],
                ImageOrientationPatient=[f"{v:.10g}" for v in (*across, *down)],
                PixelSpacing=spacing,
                InstanceNumber=names[i],
            )


@pytest.mark.parametrize("seed", range(6))
def test_regular_stacks_lie_where_simpleitk_puts_them(tmp_path: Path, seed: int) -> None:
    write_stack(tmp_path, seed=seed)
    (stack,) = volumes(tmp_path)
    assert (stack.geometry is not None and stack.geometry.positions, stack.findings) == ((), ())
    rng = np.random.default_rng(seed)
    assert against_sitk(stack, rng) < 1e-4
    assert against_files(stack, rng) < 1e-4


@pytest.mark.parametrize(
    ("tilt", "missing", "codes"),
    [
        (20.0, (), ["gantry-tilt"]),
        (-3.0, (), ["gantry-tilt"]),
        (0.0, (2, 3), ["missing-slices"]),
        (12.0, (4,), ["missing-slices", "gantry-tilt"]),
    ],
)
def test_irregular_stacks_lie_where_their_files_say(
    tmp_path: Path, tilt: float, missing: tuple[int, ...], codes: list[str]
) -> None:
    write_stack(tmp_path, seed=3, tilt=tilt, missing=missing)
    (stack,) = volumes(tmp_path)
    assert [finding.code for finding in stack.findings] == codes
    rng = np.random.default_rng(0)
    assert against_files(stack, rng) < 1e-6
    assert stack.geometry is not None
    last = len(stack.instances) - 1
    theirs = sitk_image(stack).TransformIndexToPhysicalPoint((0, 0, last))
    ours = to_world(stack.geometry, (last, 0, 0))
    if tilt:
        # The series reader takes the slices for a rectangular stack: it is no oracle here.
        assert np.linalg.norm(ours - theirs) > 0.5


def test_doubled_positions_are_refused_when_read(tmp_path: Path) -> None:
    write_stack(tmp_path, seed=1)
    copied = sorted(tmp_path.iterdir())[2]
    data = pydicom.dcmread(copied)
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    data.save_as(tmp_path / "more")
    (stack,) = volumes(tmp_path)
    with pytest.raises(CaseError, match="1 of 8 images lie at the position of another") as caught:
        read_stack(stack, case_id="c1")
    assert caught.value.kind == "duplicate-position"


@pytest.mark.data
def test_real_stacks_lie_where_simpleitk_puts_them(radzoo_data: Path) -> None:
    rng = np.random.default_rng(0)
    counts = {}
    for folder in ("mr", "dcmqi/segmentations"):
        for stack in volumes(radzoo_data / "dicom" / folder):
            assert stack.geometry is not None
            assert stack.geometry.positions == ()
            assert against_sitk(stack, rng) < 0.02
            assert against_files(stack, rng) < 0.02
            counts[stack.instances[0].name] = len(stack.instances)
    assert sorted(counts.values()) == [3, 3, 3, 22, 22, 32]
