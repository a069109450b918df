"""The commands ``explain`` and ``features`` on the tiny run of every recipe."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from data_adapters import adapter as adapters
from recipes.classification.explaining import ClassifierAsker
from recipes.cli import app
from recipes.explaining.localisation import energy_inside, pointing_hit
from recipes.explaining.running import explain, open_asker
from recipes.explaining.wanted import Wanted
from recipes.intended_use import INTENDED_USE
from recipes.registry import RECIPES
from tests.recipes.detection.tiny import TinyDetection
from tests.recipes.segmentation.tiny import TinySegmentation
from tests.recipes.tiny import TinyRun


def invoked(*words: Any) -> dict[str, Any]:
    """What a command prints as JSON."""
    done = CliRunner().invoke(app, [str(word) for word in (*words, "--json")])
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.output)
    return found


def refused(*words: Any) -> str:
    """The one line that a command ends with."""
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 2, done.output
    return done.output


def check_page(path: Path, pictures: int) -> str:
    """A page that stands alone, says what it is for and shows so many pictures."""
    page = path.read_text(encoding="utf-8")
    assert INTENDED_USE in page
    assert page.count('src="data:image/png;base64,') == pictures
    for outside in ("http:", "https:", "<script", str(path.parent.parent), "object at 0x"):
        assert outside not in page
    return page


def discs(folder: Path, count: int = 3) -> Path:
    """A COCO set of pictures of one bright disc each, as the tiny classifier's lesions."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    yy, xx = np.mgrid[:24, :24]
    images, marks = [], []
    for i in range(count):
        y, x = rng.uniform(7, 17, 2)
        pixels = rng.normal(90, 20, (24, 24)) + 110 * ((yy - y) ** 2 + (xx - x) ** 2 < 16)
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(
            folder / "images" / f"{i}.png"
        )
        images.append({"id": i + 1, "file_name": f"images/{i}.png", "height": 24, "width": 24})
        marks.append({"id": i + 1, "image_id": i + 1, "category_id": 1,
                      "bbox": [x - 3.5, y - 3.5, 8, 8], "area": 64, "iscrowd": 0})  # fmt: skip
    content = {"images": images, "annotations": marks,
               "categories": [{"id": 1, "name": "lesion"}]}  # fmt: skip
    (folder / "val.json").write_text(json.dumps(content))
    return folder


def test_every_recipe_has_both_commands() -> None:
    for recipe in RECIPES:
        for name in ("explain", "features"):
            shown = CliRunner().invoke(app, [recipe.command, name, "--help"])
            assert shown.exit_code == 0
            for option in ("--out", "--json", "--quiet", "--pictures", "--limit"):
                assert option in shown.output, (recipe.command, name, option)


def test_a_classifier_on_data_with_boxes(tiny_run: TinyRun, tmp_path: Path) -> None:
    data, out = discs(tmp_path / "discs"), tmp_path / "out"
    words = ("classify", "explain", tiny_run.out, data, "--out", out, "--pictures", "yes",
             "--method", "gradcam", "--method", "guided", "--class", "lesion")  # fmt: skip
    result = invoked(*words)
    assert (result["n"], result["n_skipped"], result["n_with_truth"]) == (3, 0, 3)
    assert set(result["figures"]) == {
        "gradcam", "guided", "random place", "middle of the image"
    }  # fmt: skip
    chance = result["figures"]["random place"]["pointing"]
    # a box of 8 by 8 of 24 by 24, on a grid of 32 by 32
    assert chance["value"] == pytest.approx(64 / 576, abs=0.03)
    with (out / "explained.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    for row in rows:
        assert row["file"] == f"images/{row['file'].split('/')[-1]}"
        assert (out / row["picture"]).is_file()
        assert row["case"] not in row["file"]
    page = check_page(out / "explained.html", 3)
    assert "images/0.png" not in page
    # what was finished is taken as it is: a changed file of a case shows in the next result
    kept = next((out / "cases").iterdir())
    content = json.loads(kept.read_text())
    content["rows"][0]["score"] = 123.0
    kept.write_text(json.dumps(content))
    again = invoked(*words)
    assert sum(row["score"] == 123.0 for row in again["rows"]) == 1
    words = (*words[:-6], "--method", "integrated", *words[-2:])
    other = invoked(*words, "--limit", 1)
    assert not any(row["score"] == 123.0 for row in other["rows"])
    assert 0 <= other["rows"][0]["gap"] < 0.2
    assert "add up to the difference" in " ".join(other["notes"])


def test_figures_of_a_classifier_are_those_of_its_maps(tiny_run: TinyRun, tmp_path: Path) -> None:
    data = discs(tmp_path / "discs", count=1)
    wanted = Wanted(methods=("gradcam",), label="lesion", pictures="no")
    row = explain("classification", tiny_run.out, [data], tmp_path / "out", wanted)["rows"][0]
    asker = open_asker("classification", tiny_run.out)
    assert isinstance(asker, ClassifierAsker)
    case = adapters.open(str(data))[0]
    (question,) = asker.ask(case, label="lesion", most=1)
    from recipes.explaining.cam import class_activation

    heat = class_activation(asker.network, question.image[None], question.weights[None])[0]
    assert case.lesions[0].box is not None
    top, left, bottom, right = (v * 32 / 24 for v in case.lesions[0].box)
    at = np.arange(32) + 0.5
    box = ((at > top) & (at < bottom))[:, None] & ((at > left) & (at < right))[None]
    assert row["picture"] is None
    assert row["pointing"] == pointing_hit(heat, box)
    assert row["energy"] == pytest.approx(energy_inside(heat, box), rel=0.2)
    logits = asker.network.outputs(question.image[None])[0]
    assert row["score"] == pytest.approx(float(logits[asker.record.class_names.index("lesion")]))


def test_pictures_only_where_they_may_be_shown(tiny_run: TinyRun, tmp_path: Path) -> None:
    folder = tiny_run.data / "test" / "lesion"
    result = invoked(
        "classify", "explain", tiny_run.out, folder, "--out", tmp_path, "--limit", 1,
        "--pictures", "auto",
    )  # fmt: skip
    assert list(tmp_path.glob("*.png")) == []
    assert "--pictures yes" in " ".join(result["notes"])
    assert "No picture." in check_page(tmp_path / "explained.html", 0)
    message = refused("classify", "features", tiny_run.out, folder, "--out", tmp_path / "f",
                      "--pictures", "auto")  # fmt: skip
    assert "none of the 6 cases may be shown" in message


def test_a_segmenter_of_volumes(tiny_segmentation: TinySegmentation, tmp_path: Path) -> None:
    result = invoked(
        "segment", "explain", tiny_segmentation.out, tiny_segmentation.data, "--out", tmp_path,
        "--method", "gradcam", "--method", "gradient", "--pictures", "yes", "--limit", 1,
    )  # fmt: skip
    assert result["n"] == result["n_with_truth"] == 1
    rows = {row["method"]: row for row in result["rows"]}
    assert "mean logit of" in rows["gradcam"]["text"]
    # where a network marks a ball is where it looks: far more than chance
    assert rows["gradient"]["energy"] > 4 * rows["gradient"]["chance"]
    assert rows["gradient"]["chance"] < 0.1
    with Image.open(tmp_path / rows["gradcam"]["picture"]) as picture:
        assert picture.size[1] > picture.size[0] * 0.8  # three planes below each other
    check_page(tmp_path / "explained.html", 1)


def test_a_detector(tiny_detection: TinyDetection, tmp_path: Path) -> None:
    result = invoked(
        "detect", "explain", tiny_detection.out, tiny_detection.data, "--out", tmp_path,
        "--method", "gradient", "--pictures", "yes", "--limit", 2, "--part", "val",
        "--candidates", 2,
    )  # fmt: skip
    first = [row for row in result["rows"] if row["question"] == "candidate-1"]
    assert first
    for row in first:
        assert "log odds of disc at the peak of candidate 1" in row["text"]
        assert row["energy"] > 2 * row["chance"]
    check_page(tmp_path / "explained.html", len(list(tmp_path.glob("*.png"))))


def test_features_of_every_recipe(
    tiny_run: TinyRun,
    tiny_segmentation: TinySegmentation,
    tiny_detection: TinyDetection,
    tmp_path: Path,
) -> None:
    runs = {"classify": tiny_run, "segment": tiny_segmentation, "detect": tiny_detection}
    for command, run in runs.items():
        out = tmp_path / command
        result = invoked(
            command, "features", run.out, run.data, "--out", out, "--units", 2, "--limit", 3,
            "--pictures", "yes",
        )  # fmt: skip
        assert result["n"] == 3
        for layer in result["layers"]:
            units = {row["unit"] for row in layer["regions"]}
            assert 1 <= len(units) <= 2
            assert len(layer["regions"]) == 3 * len(units)
        shown = 1 + sum(len({r["unit"] for r in one["regions"]}) for one in result["layers"])
        check_page(out / "features.html", shown)
        assert (out / "kernels.png").is_file()
    layers = {one["name"]: one for one in json.loads(
        (tmp_path / "classify" / "features.json").read_text())["layers"]}  # fmt: skip
    assert layers["member_0/act1"]["receptive_field"] == [3, 3]
    assert layers["member_0/act3"]["receptive_field"] == [15, 15]
    assert layers["member_0/act3"]["stride"] == [8.0, 8.0]


def test_refusals(tiny_run: TinyRun, tiny_detection: TinyDetection, tmp_path: Path) -> None:
    folder, out = tiny_run.data / "test" / "lesion", tmp_path / "out"
    base = ("classify", "explain", tiny_run.out, folder, "--out", out)
    assert "did you mean 'gradcam'" in refused(*base, "--method", "gradkam")
    assert "classes: lesion, plain" in refused(*base, "--class", "lesions")
    assert "did you mean 'act3'" in refused(*base, "--layer", "act33")
    assert "none of auto, yes, no" in refused(*base, "--pictures", "perhaps")
    assert "no case in part 'val'" in refused(*base, "--part", "val")
    assert "model.json" in refused("classify", "explain", tiny_detection.out / "first", folder,
                                   "--out", out, "--pictures", "yes")  # fmt: skip
    assert not list(tmp_path.glob("out/*.png"))
