"""Two folders of masks of any format, and everything that may be wrong with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from data_adapters.case import Geometry
from data_adapters.errors import DataError
from data_adapters.volumes.write import write_volume
from recipes.errors import RecipeError
from recipes.evaluation.masks import ScoreOptions, score_case, score_folders
from recipes.evaluation.masks.pairing import read_patients
from tests.recipes.evaluation_masks.shapes import pair

GEOMETRY = Geometry((2.5, 0.8, 1.1), (1.0, 2.0, 3.0), ((0, 0, 1), (0, 1, 0), (1, 0, 0)))
SHAPE = (6, 12, 11)
QUICK: dict[str, Any] = {"n_boot": 30}


def labels(seed: int, shape: tuple[int, ...] = SHAPE) -> tuple[Any, Any]:
    """Truth and prediction with the values 0, 1 and 2."""
    one, two = pair(seed, shape), pair(seed + 50, shape)
    masks = (np.where(a, 1, np.where(b, 2, 0)) for a, b in zip(one, two, strict=True))
    first, second = (mask.astype(np.uint8) for mask in masks)
    return first, second


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Three cases, each file in another format."""
    truth, guess = tmp_path / "truth", tmp_path / "guess"
    for folder in (truth, guess):
        (folder / "site").mkdir(parents=True)
    names = ("a_1", "a_2", "site/b.x")
    endings = ((".nii.gz", ".mha"), (".nrrd", ".nii"), (".mha", ".nii.gz"))
    for seed, (name, (one, two)) in enumerate(zip(names, endings, strict=True)):
        masks = labels(seed)
        write_volume(truth / (name + one), masks[0], GEOMETRY)
        write_volume(guess / (name + two), masks[1], GEOMETRY)
    return truth, guess


def figure(result: dict[str, Any], case: str, name: str, key: str) -> Any:
    """One figure out of the table."""
    (row,) = [r for r in result["cases"] if r["case"] == case and r["class"] == name]
    return row[key]


def test_formats_are_matched_by_name_and_scored_in_millimetres(folders: Any) -> None:
    options = ScoreOptions(tolerance=2.0)
    result = score_folders(*folders, class_names="background,left,right", options=options, **QUICK)
    assert (result["n"], result["class_names"], result["skipped"]) == (3, ["left", "right"], [])
    assert [row["case"] for row in result["cases"][::2]] == ["a_1", "a_2", "site/b.x"]
    for seed, name in enumerate(("a_1", "a_2", "site/b.x")):
        expected = score_case(
            *labels(seed),
            class_names=("background", "left", "right"),
            spacing=GEOMETRY.spacing,
            options=options,
        )
        for side in ("left", "right"):
            for key in ("dice", "hd95", "nsd", "truth_volume"):
                found = figure(result, name, side, key)
                assert found == pytest.approx(expected.figures[side][key], rel=1e-6)
    json.dumps(result, allow_nan=False)
    assert score_folders(*folders, **QUICK)["class_names"] == ["1", "2"]
    named = score_folders(*folders, class_names={0: "none", 1: "l", 2: "r"}, **QUICK)
    assert named["class_names"] == ["l", "r"]


def test_patients_come_from_a_table(folders: Any, tmp_path: Path) -> None:
    table = tmp_path / "patients.csv"
    table.write_text("Case,patient,age\na_1.nii.gz,p1,3\na_2,p1,3\nb.x,p2,4\nother,p3,5\n")
    result = score_folders(*folders, patients=table, **QUICK)
    assert (result["n_patients"], result["unit"]) == (2, "patient")
    assert [row["patient"] for row in result["burden"]] == ["p1", "p2"]
    some = score_folders(*folders, patients={"a_1": "p1", "a_2": " "}, **QUICK)
    assert (some["n_patients"], some["unit"]) == (3, "case")
    assert any("2 of 3 cases have no known patient" in note for note in some["notes"])


def test_pictures_in_pixels_or_given_millimetres(tmp_path: Path) -> None:
    truth, guess = labels(1, (20, 25))
    for folder in ("t", "g"):
        (tmp_path / folder).mkdir()
    Image.fromarray(truth).save(tmp_path / "t" / "x.png")
    tifffile.imwrite(tmp_path / "g" / "x.tif", guess)
    result = score_folders(tmp_path / "t", tmp_path / "g", **QUICK)
    assert any("no spacing" in note for note in result["notes"])
    assert figure(result, "x", "1", "truth_volume") == (truth == 1).sum()
    scaled = score_folders(tmp_path / "t", tmp_path / "g", spacing=0.5, **QUICK)
    assert not any("no spacing" in note for note in scaled["notes"])
    assert figure(scaled, "x", "1", "assd") == pytest.approx(figure(result, "x", "1", "assd") / 2)
    files = score_folders(tmp_path / "t" / "x.png", tmp_path / "g" / "x.tif", **QUICK)
    assert files["dice"] == result["dice"]


def test_zero_and_255_against_zero_and_one(tmp_path: Path) -> None:
    truth, guess = pair(2, (20, 25))
    for folder, mask in (("t", truth * np.uint8(255)), ("g", guess.astype(np.uint8))):
        (tmp_path / folder).mkdir()
        Image.fromarray(mask).save(tmp_path / folder / "x.png")
    with pytest.raises(RecipeError, match=r"values \[1\], the classes are \[0, 255\].*binary"):
        score_folders(tmp_path / "t", tmp_path / "g", **QUICK)
    result = score_folders(tmp_path / "t", tmp_path / "g", binary=True, **QUICK)
    expected = 2 * (truth & guess).sum() / (truth.sum() + guess.sum())
    assert result["dice"]["foreground"]["value"] == pytest.approx(expected)


def test_void_is_a_value_or_minus_one(tmp_path: Path) -> None:
    truth, guess = labels(4)
    void = np.zeros(SHAPE, bool)
    void[:, :4] = True
    for folder in ("t", "u", "g"):
        (tmp_path / folder).mkdir()
    write_volume(tmp_path / "t" / "x.nii", np.where(void, 255, truth), GEOMETRY)
    write_volume(tmp_path / "u" / "x.nii", np.where(void, np.int16(-1), truth), GEOMETRY)
    write_volume(tmp_path / "g" / "x.nii", guess, GEOMETRY)
    names = ("background", "1", "2")
    expected = score_case(
        np.where(void, -1, truth.astype(int)), guess, class_names=names, spacing=GEOMETRY.spacing
    )
    for folder, ignore in (("t", 255), ("u", None)):
        result = score_folders(tmp_path / folder, tmp_path / "g", ignore=ignore, **QUICK)
        for name in ("1", "2"):
            assert figure(result, "x", name, "dice") == expected.figures[name]["dice"]


def test_what_cannot_be_scored_is_recorded(folders: Any) -> None:
    truth, guess = folders
    mask, _ = labels(0)
    write_volume(truth / "lonely.nii", mask, GEOMETRY)
    write_volume(guess / "stranger.nii", mask, GEOMETRY)
    write_volume(truth / "smaller.nii", mask, GEOMETRY)
    write_volume(guess / "smaller.nii", mask[:, 1:], GEOMETRY)
    moved = Geometry(GEOMETRY.spacing, (1.0, 2.0, 3.9), GEOMETRY.direction)
    write_volume(truth / "moved.nii", mask, GEOMETRY)
    write_volume(guess / "moved.nii", mask, moved)
    write_volume(truth / "odd.nii", mask, GEOMETRY)
    write_volume(guess / "odd.nii", mask + np.uint8(3), GEOMETRY)
    write_volume(truth / "half.nii", mask, GEOMETRY)
    write_volume(guess / "half.nii", mask.astype(np.float32) / 2, GEOMETRY)
    write_volume(truth / "cut.nii", mask, GEOMETRY)
    (guess / "cut.nii").write_bytes((truth / "cut.nii").read_bytes()[:500])
    write_volume(truth / "parts.nii", np.stack([mask, mask], -1), GEOMETRY)
    write_volume(guess / "parts.nii", np.stack([mask, mask], -1), GEOMETRY)
    result = score_folders(truth, guess, class_names="0=none,1=a,2=b", **QUICK)
    assert result["n"] == 3
    assert {row["case"]: row["kind"] for row in result["skipped"]} == {
        "lonely": "no-prediction",
        "stranger": "no-truth",
        "smaller": "grid",
        "moved": "grid",
        "odd": "unknown-label",
        "half": "mask-values",
        "cut": "truncated",
        "parts": "grid",
    }
    assert any("3 cases were not scored: grid" in note for note in result["notes"])
    assert str(truth) not in json.dumps(result)


def test_nothing_to_score_is_an_error(folders: Any, tmp_path: Path) -> None:
    truth, guess = folders
    empty = tmp_path / "empty"
    empty.mkdir()
    for call, words in (
        (lambda: score_folders(tmp_path / "no", guess), "folder of the truth does not exist"),
        (lambda: score_folders(truth, empty), "folder of the prediction holds no masks"),
        (lambda: score_folders(truth, guess / "a_1.mha"), "is a file: give a folder"),
        (lambda: score_folders(truth, guess / "site"), "same name without ending"),
        (lambda: score_folders(truth, guess, class_names="0=x,7=y"), "unknown-label"),
        (lambda: score_folders(truth, guess, class_names="x,y", binary=True), "no class_names"),
        (lambda: score_folders(truth, guess, class_names="x,y", ignore=1), "value of a class"),
        (lambda: score_folders(truth, guess, spacing=(1, 2), level=2), "between 0 and 1"),
        (
            lambda: score_folders(truth, guess, options=ScoreOptions(tolerance={"1": 2.0})),
            "no tolerance for class '2'",
        ),
    ):
        with pytest.raises(RecipeError, match=words):
            call()
    with pytest.raises(DataError, match="different names"):
        score_folders(truth, guess, class_names="x,x")
    write_volume(truth / "a_1.nrrd", labels(0)[0], GEOMETRY)
    with pytest.raises(RecipeError, match="several files named 'a_1'"):
        score_folders(truth, guess)


def test_flat_masks_and_volumes_are_not_mixed(folders: Any) -> None:
    truth, guess = folders
    for folder in folders:
        Image.fromarray(labels(1, (20, 25))[0]).save(folder / "flat.png")
    with pytest.raises(RecipeError, match="1 masks are flat and 3 are volumes"):
        score_folders(truth, guess)


def test_empty_truth_needs_names(tmp_path: Path) -> None:
    for folder in ("t", "g"):
        (tmp_path / folder).mkdir()
        write_volume(tmp_path / folder / "x.nii", np.zeros((3, 4, 5), np.uint8), GEOMETRY)
    with pytest.raises(RecipeError, match="all empty: name the classes"):
        score_folders(tmp_path / "t", tmp_path / "g")
    result = score_folders(tmp_path / "t", tmp_path / "g", class_names="none,a", **QUICK)
    assert result["dice"]["a"]["undefined"] == 1


def test_tables_of_patients_that_do_not_fit(tmp_path: Path) -> None:
    table = tmp_path / "p.csv"
    table.write_text("case,weight\na,3\n")
    with pytest.raises(RecipeError, match=r"p.csv has the columns \['case', 'weight'\]"):
        read_patients(table)
    table.write_text("case,patient\na.nii,p\na.png,q\n")
    with pytest.raises(RecipeError, match="'a' has two patients"):
        read_patients(table)
    with pytest.raises(DataError, match="cannot be read"):
        read_patients(tmp_path / "none.csv")
    assert read_patients({"x/a.nii.gz": "p", "b": ""}) == {"x/a": "p"}
