"""The plan follows from the data by its rules, says why, and survives being edited."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from recipes.config import load_config
from recipes.errors import ConfigError
from recipes.segmentation.config import SegmentationConfig
from recipes.segmentation.fingerprint import Fingerprint, Intensity
from recipes.segmentation.plan import Plan, read_plan, write_plan
from recipes.segmentation.rules import Machine, make_plan
from recipes.segmentation.sizes import step_memory

CPU = Machine(memory_gb=16.0, gpu=False)


def fingerprint(**changes: Any) -> Fingerprint:
    base = Fingerprint(
        n=20,
        axes=3,
        channels=1,
        stored=(1,),
        modality="MR",
        class_names=("background", "organ"),
        shapes=((36, 50, 35),) * 20,
        spacings=((1.0, 1.0, 1.0),) * 20,
        orientation=None,
        sided=None,
        intensity=(Intensity(-50.0, 40.0, 250.0, 60.0, 30.0),),
        volumes={"organ": (3.0,) * 20},
        present={"organ": 1.0},
        integer8=False,
        skipped={},
    )
    return replace(base, **changes)


def plan_of(found: Fingerprint, *changes: str, machine: Machine = CPU) -> Plan:
    return make_plan(found, load_config(SegmentationConfig, changes=changes), machine)


def test_small_even_volumes_become_whole_patches_of_a_plain_unet() -> None:
    plan = plan_of(fingerprint())
    assert plan.dims == 3
    assert plan.spacing is None
    assert plan.patch == (32, 48, 32)
    assert plan_of(fingerprint(), machine=Machine(8.0, gpu=True)).patch == (40, 56, 40)
    assert plan.network.kind == "unet"
    assert plan.network.widths == (16, 32, 64, 128)
    assert plan.network.strides[1:] == ((2, 2, 2),) * 3
    assert [step["step"] for step in plan.chain] == ["normalize"]
    assert len(plan.reasons) >= 6


def test_mixed_spacings_are_resampled_to_their_median() -> None:
    spacings = tuple((1.0 + 0.1 * (k % 5), 0.8, 0.8) for k in range(20))
    plan = plan_of(fingerprint(spacings=spacings))
    assert plan.spacing == pytest.approx((1.2, 0.8, 0.8))
    assert plan.chain[0] == {"step": "resample", "spacing": [1.2, 0.8, 0.8], "mask": "onehot"}


def test_the_thick_axis_takes_its_tenth_percentile_and_is_halved_later() -> None:
    spacings = tuple((3.0 if k < 4 else 5.0, 0.7, 0.7) for k in range(20))
    found = fingerprint(spacings=spacings, shapes=((40, 256, 256),) * 20)
    plan = plan_of(found)
    assert plan.spacing is not None
    assert plan.spacing[0] == pytest.approx(3.0)
    assert plan.network.strides[1] == (1, 2, 2)
    assert plan.network.kernels[0] == (1, 3, 3)


def test_few_thick_slices_are_segmented_one_by_one_with_their_neighbours() -> None:
    found = fingerprint(spacings=((6.0, 1.0, 1.0),) * 20, shapes=((9, 128, 128),) * 20)
    plan = plan_of(found)
    assert (plan.dims, plan.neighbours, plan.channels, len(plan.patch)) == (2.5, 1, 3, 2)


def test_ct_gets_one_window_from_the_foreground() -> None:
    plan = plan_of(fingerprint(modality="CT"))
    assert plan.chain == ({"step": "windows", "windows": [[100.0, 300.0]]},)


def test_volumes_are_turned_before_anything_else() -> None:
    spacings = tuple((1.0 + 0.1 * (k % 5), 0.8, 0.8) for k in range(20))
    plan = plan_of(fingerprint(orientation="LPS", spacings=spacings))
    assert [step["step"] for step in plan.chain] == ["reorient", "resample", "normalize"]


def test_pictures_get_a_pretrained_encoder_and_grey_ones_one_channel() -> None:
    found = fingerprint(
        axes=2, shapes=((348, 281),) * 20, spacings=(), stored=(1, 3), integer8=True, modality=None
    )
    plan = plan_of(found)
    assert (plan.dims, plan.network.kind, plan.channels) == (2, "backbone", 1)
    assert plan.chain[0] == {"step": "channels", "count": 1}
    assert plan.patch == (352, 288)
    assert plan.network.input_range == (0.0, 255.0)


@pytest.mark.parametrize("memory", [0.3, 1.0])
def test_memory_cuts_the_patch_and_the_batch(memory: float) -> None:
    found = fingerprint(shapes=((128, 160, 160),) * 20)
    plan = plan_of(found, f"plan.memory_gb={memory}", machine=Machine(16.0, gpu=True))
    assert step_memory(plan.patch, plan.network, 2, plan.batch) <= memory
    assert plan.patch < (128, 160, 160)
    assert any("need more than" in reason for reason in plan.reasons)


def test_a_cpu_gets_small_patches_and_steps() -> None:
    found = fingerprint(shapes=((100, 160, 160),) * 20, spacings=((2.0, 1.0, 1.0),) * 20)
    plan = plan_of(found)
    assert math.prod(plan.patch) <= 64 * 64 * 96
    assert plan.batch == 2
    assert any("a CPU's time is short" in reason for reason in plan.reasons)
    sides = [side * size for side, size in zip(plan.patch, (2.0, 1.0, 1.0), strict=True)]
    assert max(sides) < 2 * min(sides), "about as long in every direction of the patient"
    assert plan_of(found, "plan.patch=[80,96,96]").patch == (80, 96, 96)
    large = plan_of(found, machine=Machine(memory_gb=60.0, gpu=True))
    assert math.prod(large.patch) > 64 * 64 * 96


def test_a_gpu_gets_a_wider_network_and_larger_batches() -> None:
    wide = plan_of(fingerprint(), machine=Machine(memory_gb=60.0, gpu=True))
    assert wide.network.widths[0] == 32
    assert wide.batch > plan_of(fingerprint()).batch


def test_wishes_come_first() -> None:
    plan = plan_of(fingerprint(), "plan.dims=2", "plan.patch=[32,64]", "plan.batch=7",
                   "model.network=residual", "plan.spacing=[2,1,1]")  # fmt: skip
    assert (plan.dims, plan.patch, plan.batch, plan.spacing) == (2, (32, 64), 7, (2.0, 1.0, 1.0))
    assert plan.network.kind == "residual"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("plan.patch=[32,32]", "wants 3 sides"),
        ("plan.spacing=[1,1]", "does not fit cases of 3 axes"),
        ("plan.memory_gb=0.0001", "too little"),
    ],
)
def test_wishes_that_do_not_fit_are_refused(change: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        plan_of(fingerprint(), change)


def test_an_edited_plan_is_used_and_one_of_other_data_refused(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    write_plan(plan_of(fingerprint()), path)
    content = yaml.safe_load(path.read_text())
    content["batch"] = 9
    path.write_text(yaml.safe_dump(content))
    assert plan_of(fingerprint(), f"plan.file={path}").batch == 9
    with pytest.raises(ConfigError, match="classes background, organ"):
        read_plan(path, fingerprint(class_names=("background", "lesion")))
    with pytest.raises(ConfigError, match="wants 1 channels, the data have 2"):
        read_plan(path, fingerprint(channels=2))
    content["patches"] = 3
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError, match="did you mean 'patch'"):
        read_plan(path, fingerprint())
