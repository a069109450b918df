"""Files come back as the images they were made from, in the order of the patient."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_adapters.dicom.grouping import group
from data_adapters.dicom.model import Instance, Stack
from data_adapters.geometry import to_world
from tests.data_adapters.dicom.stacks import AXIAL, slice_of

CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)


def only(instances: list[Instance]) -> Stack:
    stacks = group(instances)
    assert len(stacks) == 1
    return stacks[0]


def codes(stack: Stack) -> list[str]:
    return [finding.code for finding in stack.findings]


def rotation(angles: tuple[float, float, float]) -> np.ndarray:
    a, b, c = angles
    x = np.array([[1, 0, 0], [0, math.cos(a), -math.sin(a)], [0, math.sin(a), math.cos(a)]])
    y = np.array([[math.cos(b), 0, math.sin(b)], [0, 1, 0], [-math.sin(b), 0, math.cos(b)]])
    z = np.array([[math.cos(c), -math.sin(c), 0], [math.sin(c), math.cos(c), 0], [0, 0, 1]])
    return np.asarray(x @ y @ z)


ANGLE = st.floats(-math.pi, math.pi)


@settings(max_examples=80, deadline=None)
@given(
    angles=st.tuples(ANGLE, ANGLE, ANGLE),
    step=st.floats(0.3, 8.0),
    spacing=st.tuples(st.floats(0.1, 3.0), st.floats(0.1, 3.0)),
    origin=st.tuples(*[st.floats(-500, 500)] * 3),
    tilt=st.sampled_from([0.0, 0.0, 5.0, -20.0]),
    missing=st.sets(st.integers(1, 10), max_size=3),
    seed=st.integers(0, 2**31),
)
def test_any_geometry_comes_back_as_it_was_built(
    angles: tuple[float, float, float],
    step: float,
    spacing: tuple[float, float],
    origin: tuple[float, float, float],
    tilt: float,
    missing: set[int],
    seed: int,
) -> None:
    turn = rotation(angles)
    across, down, normal = turn[:, 0], turn[:, 1], turn[:, 2]
    kept = [i for i in range(12) if i not in missing]
    shift = step * (normal + math.tan(math.radians(tilt)) * down)
    positions = {i: np.asarray(origin) + i * shift for i in kept}
    draw = random.Random(seed)
    names, numbers = draw.sample(range(1000), 12), draw.sample(range(1000), 12)
    files = [
        replace(
            slice_of(i, sop_uid=f"1.{i}", instance_number=numbers[i]),
            name=f"{names[i]}.dcm",
            position=tuple(positions[i].tolist()),
            orientation=(*across.tolist(), *down.tolist()),
            spacing=spacing,
        )
        for i in kept
    ]
    draw.shuffle(files)
    stack = only(files)
    assert [one.sop_uid for one in stack.instances] == [f"1.{i}" for i in kept]
    geometry = stack.geometry
    assert geometry is not None
    assert geometry.spacing[1:] == spacing
    assert np.allclose(geometry.direction, [normal, down, across], atol=1e-9)
    inner = {i for i in missing if 0 < i < 11}
    assert ("missing-slices" in codes(stack)) == bool(inner)
    assert ("gantry-tilt" in codes(stack)) == (tilt != 0)
    assert bool(geometry.positions) == bool(inner or tilt)
    if not inner:
        assert geometry.spacing[0] == pytest.approx(step)
    for k, i in enumerate(kept):
        row, column = draw.uniform(0, 5), draw.uniform(0, 4)
        wanted = positions[i] + row * spacing[0] * down + column * spacing[1] * across
        assert np.allclose(to_world(geometry, (k, row, column)), wanted, atol=0.02 * step + 0.02)
        if geometry.positions:
            assert np.allclose(to_world(geometry, (k, row, column)), wanted, atol=1e-6)


def test_order_is_neither_by_name_nor_by_number() -> None:
    files = [slice_of(i, instance_number=100 - i, name=f"{99 - i}") for i in range(5)]
    assert [one.position[2] for one in only(files).instances if one.position] == [0, 1, 2, 3, 4]


def test_gap_is_named_with_its_size() -> None:
    stack = only([slice_of(i) for i in (0, 1, 2, 5, 6, 8)])
    finding = next(f for f in stack.findings if f.code == "missing-slices")
    assert (finding.severity, "3 slices are missing in 2 gaps" in finding.message) == (
        "error",
        True,
    )
    assert stack.geometry is not None
    assert [p[2] for p in stack.geometry.positions] == [0, 1, 2, 5, 6, 8]
    assert stack.geometry.spacing[0] == 1.0


def test_uneven_steps_are_found_and_rounding_is_not() -> None:
    uneven = [slice_of(i, position=(0.0, 0.0, z)) for i, z in enumerate((0, 1, 2.3, 3, 4))]
    assert codes(only(uneven)) == ["uneven-spacing"]
    rounded = [
        slice_of(i, position=(0.0, 0.0, round(i * 0.6333333, 2)), sop_uid=f"1.{i}")
        for i in range(200)
    ]
    stack = only(rounded)
    assert codes(stack) == []
    assert stack.geometry is not None
    assert stack.geometry.positions == ()
    assert stack.geometry.spacing[0] == pytest.approx(0.6333333, abs=1e-4)


def test_tilt_angle_is_told() -> None:
    shift = math.tan(math.radians(12.5))
    stack = only([slice_of(i, position=(0.0, i * shift, float(i))) for i in range(6)])
    assert "12.5 degrees" in next(f.message for f in stack.findings if f.code == "gantry-tilt")
    assert codes(stack) == ["gantry-tilt"]


def test_copies_are_left_out_and_told() -> None:
    files = [slice_of(i) for i in range(4)]
    stack = only([*files, replace(files[2], name="copy of 2")])
    assert [one.name for one in stack.instances] == ["0000", "0001", "0002", "0003"]
    assert codes(stack) == ["duplicate-instance"]


def test_the_lossless_copy_is_kept() -> None:
    files = [slice_of(i) for i in range(3)]
    stack = only([replace(files[1], name="0000a", lossy=True), *files])
    assert [one.lossy for one in stack.instances] == [False] * 3


def test_one_uid_for_different_images_is_an_error_and_loses_nothing() -> None:
    stack = only([slice_of(i, sop_uid="1.1") for i in range(4)])
    assert len(stack.instances) == 4
    assert [(f.severity, f.code) for f in stack.findings] == [("error", "duplicate-uid")]


def test_several_acquisitions_one_below_the_other_stay_together() -> None:
    files = [slice_of(i, acquisition_number=1 + i // 4) for i in range(12)]
    stack = only(files)
    assert (len(stack.instances), codes(stack)) == (12, [])


def test_one_volume_is_of_one_patient() -> None:
    files = [slice_of(i, patient_id="P1" if i < 5 else "P2") for i in range(12)]
    stacks = group(files)
    assert sorted(len(stack.instances) for stack in stacks) == [5, 7]
    assert all(len({one.patient_id for one in stack.instances}) == 1 for stack in stacks)
    assert "split-series" in [finding.code for stack in stacks for finding in stack.findings]


@pytest.mark.parametrize(
    ("fact", "values"),
    [
        ("acquisition_number", [1, 2, 3]),
        ("temporal", ["1", "2", "10"]),
        ("gradient", ["1 0 0", "0 1 0", "0 0 1"]),
        ("acquired", ["20200101101010", "20200101101110", "20200101101210"]),
        ("image_type", [("ORIGINAL", "PRIMARY", part) for part in "MPR"]),
        ("echo", ["1 10", "2 20", "3 30"]),
        ("b_value", [0.0, 500.0, 1000.0]),
    ],
)
def test_what_repeats_positions_divides_a_series(fact: str, values: list[object]) -> None:
    files = [
        slice_of(i, sop_uid=f"1.{k}.{i}", name=f"{k}/{i}", instance_number=None, **{fact: value})
        for k, value in enumerate(values)
        for i in range(5)
    ]
    random.Random(1).shuffle(files)
    stacks = group(files)
    assert [len(stack.instances) for stack in stacks] == [5, 5, 5]
    assert [{getattr(one, fact) for one in stack.instances} for stack in stacks] == [
        {value} for value in values
    ]
    assert len({stack.part for stack in stacks}) == 3
    assert [codes(stack) for stack in stacks] == [["split-series"], [], []]


def test_times_of_single_slices_do_not_tear_a_stack_apart() -> None:
    files = [
        slice_of(
            i, sop_uid=f"1.{k}.{i}", name=f"{k}/{i}", instance_number=10 * k + i, acquired=f"{k}{i}"
        )
        for k in range(3)
        for i in range(5)
    ]
    stacks = group(files)
    assert [[one.sop_uid for one in stack.instances] for stack in stacks] == [
        [f"1.{k}.{i}" for i in range(5)] for k in range(3)
    ]
    assert all("ordered-by-number" in codes(stack) for stack in stacks)


def test_doubled_positions_without_a_reason_are_an_error_without_geometry() -> None:
    files = [slice_of(i) for i in range(4)]
    stack = only([*files, slice_of(2, sop_uid="1.9", name="9")])
    assert (stack.kind, stack.geometry, len(stack.instances)) == ("volume", None, 5)
    assert [(f.severity, f.code) for f in stack.findings] == [("error", "duplicate-position")]


def test_orientations_localizers_and_sizes_are_apart() -> None:
    axial = [slice_of(i) for i in range(4)]
    coronal = [
        slice_of(10 + i, orientation=CORONAL, position=(0.0, float(i), 0.0)) for i in range(3)
    ]
    scout = [slice_of(20, image_type=("ORIGINAL", "PRIMARY", "LOCALIZER"))]
    large = [slice_of(30 + i, rows=12) for i in range(2)]
    stacks = group([*axial, *coronal, *scout, *large])
    assert [(stack.kind, len(stack.instances)) for stack in stacks] == [
        ("volume", 4),
        ("volume", 3),
        ("picture", 1),
        ("volume", 2),
    ]
    assert "localizer" in stacks[2].part
    assert codes(stacks[0]) == ["mixed-orientation", "mixed-size", "split-series"]


def test_nearly_equal_orientations_are_one() -> None:
    tilted = (1.0, 0.0002, 0.0, -0.0002, 1.0, 0.0)
    files = [slice_of(i, orientation=tilted if i % 2 else AXIAL) for i in range(6)]
    assert len(only(files).instances) == 6


def test_pictures_multiframes_and_objects_without_images() -> None:
    pictures = [slice_of(i, position=None) for i in range(2)]
    frames = [slice_of(5, frames=9), slice_of(6, grouped=True)]
    others = [slice_of(7, rows=0), slice_of(8, modality="SEG", frames=3)]
    stacks = group([*pictures, *frames, *others])
    assert [stack.kind for stack in stacks] == ["picture", "picture", "multiframe", "multiframe"]
    assert all(stack.geometry is not None for stack in stacks[:2])


def test_series_apart_and_files_without_series_alone() -> None:
    files = [slice_of(i, series_uid=str(i % 2), study_uid=str(i // 4)) for i in range(8)]
    assert [len(stack.instances) for stack in group(files)] == [2, 2, 2, 2]
    alone = [slice_of(i, series_uid="") for i in range(3)]
    assert [stack.kind for stack in group(alone)] == ["picture"] * 3


def test_rescale_that_varies_is_told() -> None:
    assert codes(only([slice_of(i, slope=1.0 + i) for i in range(3)])) == ["rescale-varies"]


NUMBER = st.one_of(
    st.sampled_from([0.0, 1.0, -1.0, 0.6, 0.8, 1e-300, 1e300, -1e308, 5e-324, 1e6]),
    st.floats(allow_nan=False, allow_infinity=False),
)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_any_header_facts_make_stacks_of_all_images(data: st.DataObject) -> None:
    def drawn(count: int, *usual: tuple[float, ...]) -> st.SearchStrategy[object]:
        return st.one_of(st.none(), st.sampled_from(usual), st.tuples(*[NUMBER] * count))

    files = [
        slice_of(
            i,
            position=data.draw(drawn(3, (0.0, 0.0, float(i)), (0.0, 0.0, 0.0))),
            orientation=data.draw(drawn(6, AXIAL, AXIAL, CORONAL)),
            spacing=data.draw(drawn(2, (0.5, 0.5), (0.0, -1.0))),
            slice_thickness=data.draw(st.one_of(st.none(), NUMBER)),
            instance_number=data.draw(st.one_of(st.none(), st.integers())),
            slope=data.draw(st.one_of(st.none(), NUMBER)),
            b_value=data.draw(st.one_of(st.none(), NUMBER)),
        )
        for i in range(data.draw(st.integers(1, 7)))
    ]
    stacks = group(files)
    assert sorted(one.name for stack in stacks for one in stack.instances) == [
        one.name for one in files
    ]
    for stack in stacks:
        if stack.geometry is not None and stack.kind == "volume":
            corners = to_world(stack.geometry, [(k, 0, 0) for k in range(len(stack.instances))])
            wanted = [one.position for one in stack.instances]
            assert np.allclose(corners, wanted, atol=0.02 + 0.02 * stack.geometry.spacing[0])


def test_unusable_orientation_makes_no_volume() -> None:
    broken = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)
    assert {stack.kind for stack in group([slice_of(i, orientation=broken) for i in range(3)])} == {
        "picture"
    }


def test_names_of_parts_hold_nothing_of_the_files() -> None:
    files = [slice_of(i, echo=f"DOE^JANE{i}", name=f"DOE/{i}") for i in range(3)]
    stacks = group(files)
    assert len(stacks) == 3
    told = [stack.part for stack in stacks] + [f.message for s in stacks for f in s.findings]
    assert not any("DOE" in text for text in told)
