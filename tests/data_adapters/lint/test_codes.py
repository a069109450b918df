"""Each code, planted alone in an otherwise clean delivery, is found alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from data_adapters.adapter import Task
from data_adapters.case import Lesion
from data_adapters.lint import CODES, lint
from tests.data_adapters.lint.deliveries import SIDE, Delivery, Spoil, clean, picture

PLANTS: dict[str, tuple[Callable[[], Delivery], dict[str, int], Spoil]] = {}
"""Code -> a clean delivery, findings by code that are wanted, and what spoils the delivery."""


def plant(code: str, *, task: Task = "single", volumes: bool = False, n: int = 1) -> Any:
    """Enrol what spoils a delivery so that `code` is found `n` times and nothing else is."""

    def enrol(spoil: Spoil) -> Spoil:
        PLANTS[code] = (partial(clean, task, volumes=volumes), {code: n}, spoil)
        return spoil

    return enrol


@plant("not-finite")
def _(data: Delivery) -> None:
    image = picture(3)
    image[2, 2] = np.nan
    data.change(3, image=image)


@plant("invalid-case")
def _(data: Delivery) -> None:
    data.change(3, image=picture(3).astype(np.float64))


@plant("constant-image")
def _(data: Delivery) -> None:
    data.change(3, image=np.full((SIDE, SIDE, 1), -20.0, np.float32))


@plant("mostly-padding")
def _(data: Delivery) -> None:
    padding = np.zeros((SIDE, SIDE), bool)
    padding[: SIDE - 6] = True
    data.change(3, padding=padding)


@plant("not-hounsfield")
def _(data: Delivery) -> None:
    for i in range(len(data)):
        data.change(i, meta={"modality": "CT"})
    # as high as before, but from zero: no air, no fat
    data.change(3, image=np.abs(data.cases[3].image))


@plant("mask-off-grid", task="segmentation")
def _(data: Delivery) -> None:
    mask = np.zeros((SIDE, SIDE + 1), np.uint8)
    mask[5:12, 5:12] = 1
    data.change(3, mask=mask)


@plant("mask-unknown-values", task="segmentation", n=2)
def _(data: Delivery) -> None:
    for i, value in ((3, 7), (4, -2)):
        mask = np.asarray(data.cases[i].mask).astype(np.int16)
        mask[0, 0] = value
        data.change(i, mask=mask)


@plant("empty-mask", task="segmentation")
def _(data: Delivery) -> None:
    data.change(3, mask=np.zeros((SIDE, SIDE), np.uint8))


@plant("box-degenerate", task="detection", n=2)
def _(data: Delivery) -> None:
    whole = data.cases[3].lesions
    data.change(3, lesions=(*whole, Lesion(0, box=(4.0, 4.0, 4.0, 9.0))))
    data.change(4, lesions=(*whole, Lesion(0, centre=(4.0, 4.0), radius=0.0)))


@plant("box-outside", task="detection", n=3)
def _(data: Delivery) -> None:
    whole = data.cases[3].lesions
    data.change(3, lesions=(*whole, Lesion(0, box=(4.0, 4.0, 9.0, SIDE + 0.5))))
    data.change(4, lesions=(*whole, Lesion(0, box=(-9.0, 4.0, -2.0, 9.0))))
    data.change(5, lesions=(*whole, Lesion(0, centre=(4.0, SIDE + 1.0), radius=2.0)))


@plant("box-unknown-class", task="detection")
def _(data: Delivery) -> None:
    data.change(3, lesions=(*data.cases[3].lesions, Lesion(4, box=(1.0, 1.0, 3.0, 3.0))))


@plant("monochrome1")
def _(data: Delivery) -> None:
    data.change_file(3, photometric="MONOCHROME1")


@plant("lossy")
def _(data: Delivery) -> None:
    data.change_file(3, lossy=True)


@plant("burned-in")
def _(data: Delivery) -> None:
    data.change_file(3, burned_in="YES")


@plant("burned-in-unknown", n=2)
def _(data: Delivery) -> None:
    data.change_file(3, modality="US")
    data.change_file(4, image_type=("DERIVED", "SECONDARY"), position=None, modality="CR")
    data.change_file(6, image_type=("DERIVED", "SECONDARY"))
    data.change_file(5, modality="US", burned_in="NO")


@plant("identifiers")
def _(data: Delivery) -> None:
    data.change_file(3, texts=("PatientComments", "(0009,1001)"))


@plant("missing-geometry", n=3)
def _(data: Delivery) -> None:
    data.change_file(3, position=None)
    data.change_file(4, orientation=None)
    data.change_file(5, spacing=None)
    data.change_file(6, position=None, modality="DX")


@plant("irregular-stack", volumes=True)
def _(data: Delivery) -> None:
    assert data.cases[3].geometry is not None
    places = tuple((0.0, 0.1 * k, 2.0 * k) for k in range(6))
    data.change(3, geometry=replace(data.cases[3].geometry, positions=places))


@plant("duplicate-pixels", n=2)
def _(data: Delivery) -> None:
    data.change(5, image=data.cases[3].image)
    data.change(7, image=data.cases[3].image.repeat(3, axis=-1)[..., :1].copy())


@plant("label-conflict", n=2)
def _(data: Delivery) -> None:
    data.change(4, image=data.cases[3].image)


@plant("near-duplicate")
def _(data: Delivery) -> None:
    smooth = np.kron(picture(50, shape=(6, 6, 1)), np.ones((4, 4, 1), np.float32))
    data.change(3, image=smooth)
    data.change(4, image=smooth[:, ::-1] + 3.0)


@plant("one-patient-two-ids", n=2)
def _(data: Delivery) -> None:
    data.change_row(4, study_id=data.rows[3].study_id)


@plant("patient-in-two-parts", n=2)
def _(data: Delivery) -> None:
    for i in range(len(data)):
        data.change_row(i, part="train" if i < 18 else "test")
    data.change_row(20, patient_id=data.rows[3].patient_id)


@plant("patient-unknown")
def _(data: Delivery) -> None:
    data.change_row(3, patient_id=None)
    data.change_row(4, patient_id=None)


@plant("unlabelled")
def _(data: Delivery) -> None:
    data.change_row(3, label=None)
    data.change(3, label=None)


@plant("single-class")
def _(data: Delivery) -> None:
    data.class_names = ("no",)
    for i in range(len(data)):
        data.change_row(i, label=0)
        data.change(i, label=0)


@plant("absent-class")
def _(data: Delivery) -> None:
    data.class_names = ("no", "yes", "maybe")


@plant("tiny-class")
def _(data: Delivery) -> None:
    data.class_names = ("no", "yes", "maybe")
    for i in range(3):
        data.change_row(i, label=2)
        data.change(i, label=2)


@plant("class-imbalance")
def _(data: Delivery) -> None:
    for i in range(110):
        case = replace(data.cases[0], image=picture(100 + i), case_id=f"d{i}", label=0)
        data.cases.append(case)
        data.rows.append(replace(data.rows[0], case_id=f"d{i}"))
        data.files.append(data.files[0])


@plant("mixed-dimensions")
def _(data: Delivery) -> None:
    data.change(3, image=picture(3, shape=(4, SIDE, SIDE, 1)))


@plant("mixed-channels")
def _(data: Delivery) -> None:
    data.change(3, image=picture(3, shape=(SIDE, SIDE, 3)))


@plant("mixed-modality")
def _(data: Delivery) -> None:
    data.change(3, meta={"modality": "CT"})


@plant("intensity-outlier")
def _(data: Delivery) -> None:
    data.change(3, image=data.cases[3].image * 40)


@plant("spacing-outlier")
def _(data: Delivery) -> None:
    assert data.cases[3].geometry is not None
    data.change(3, geometry=replace(data.cases[3].geometry, spacing=(10.0, 1.0)))


@plant("size-outlier")
def _(data: Delivery) -> None:
    data.change(3, image=picture(3, shape=(SIDE, 4 * SIDE, 1)))


def test_every_code_is_planted() -> None:
    assert set(PLANTS) == set(CODES)


@pytest.mark.parametrize("code", PLANTS)
def test_a_planted_fault_is_found_alone(code: str) -> None:
    make, wanted, spoil = PLANTS[code]
    data = make()
    spoil(data)
    report = lint(data)
    assert Counter(one.code for one in report.findings) == wanted
    for one in report.findings:
        assert (one.severity, one.remedy) == (CODES[code].severity, CODES[code].remedy)
        assert one.case_id is None or one.case_id in {row.case_id for row in data.rows}
    assert report.ok == (CODES[code].severity != "error")
    assert lint(data, policy="strict").ok == (CODES[code].severity == "info")


@pytest.mark.parametrize("task", ["single", "segmentation", "detection"])
@pytest.mark.parametrize("volumes", [False, True])
def test_a_clean_delivery_has_no_findings(task: Task, volumes: bool) -> None:
    report = lint(clean(task, volumes=volumes), policy="strict")
    assert report.findings == ()
    assert report.ok
    assert (report.n_read, report.n_cases) == (24, 24)
