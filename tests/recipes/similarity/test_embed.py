"""The command end to end on the tiny run, and the page it writes."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from recipes.cli import app
from recipes.errors import RecipeError, RunFolderError
from recipes.intended_use import INTENDED_USE
from recipes.similarity import embedding
from recipes.similarity.embedding import embed
from recipes.similarity.page import TILE, sprite
from tests.recipes.tiny import TinyRun
from tests.recipes.tiny_backbone import NAME, register, write_weights


@pytest.fixture(scope="module")
def made(
    tiny_run: TinyRun, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """Embeddings of the tiny run's own data, with pictures."""
    out = tmp_path_factory.mktemp("alike")
    words = ["classify", "embed", str(tiny_run.out), str(tiny_run.data), "--out", str(out)]
    words += ["--pictures", "yes", "--n-boot", "100", "--json"]
    shown = CliRunner().invoke(app, words)
    assert shown.exit_code == 0, shown.output
    return out, json.loads(shown.stdout)


def page_data(out: Path) -> dict[str, Any]:
    page = (out / "alike.html").read_text()
    found = re.search(r'<script type="application/json" id="cases">(.*?)</script>', page, re.S)
    assert found is not None
    content: dict[str, Any] = json.loads(found[1])
    return content


def test_every_case_is_embedded_and_named(made: tuple[Path, dict[str, Any]]) -> None:
    out, result = made
    assert sorted(path.name for path in out.iterdir()) == sorted(result["files"])
    with (out / "cases.csv").open() as file:
        rows = list(csv.DictReader(file))
    with np.load(out / "embeddings.npz", allow_pickle=False) as stored:
        assert stored["embeddings"].shape == (48, 2 * 256) == (len(rows), result["width"])
        assert np.isfinite(stored["embeddings"]).all()
        assert [row["unseen"] == "yes" for row in rows] == stored["unseen"].tolist()
    parts = [row["part"] for row in rows]
    assert {part: parts.count(part) for part in set(parts)} == {"train": 24, "val": 12, "test": 12}
    assert json.loads((out / "alike.json").read_text()) == result


def test_labels_are_judged_where_the_network_had_not_seen_them(
    made: tuple[Path, dict[str, Any]],
) -> None:
    _, result = made
    errors = result["label_errors"]
    assert (errors["n_out_of_sample"], errors["n_in_sample_left_out"]) == (24, 24)
    assert "other 24 are left out" in errors["note"]
    assert np.sum(errors["confident_joint"]) <= 24
    assert {one["part"] for one in errors["suspects"]} <= {"val", "test"}
    assert any("fitted to 24 of these 48 cases" in note for note in result["notes"])
    assert (result["unseen"]["n"], result["all"]["n"]) == (24, 48)


def test_a_wrong_label_in_unseen_cases_is_suspected(
    tiny_run: TinyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The most certain lesion of the test part, filed under plain."""
    from recipes.classification.predicting import predict

    rows = predict(tiny_run.out, [tiny_run.data / "test" / "lesion"])
    best = max(rows, key=lambda row: row["p_lesion"])
    data = Path(shutil.copytree(tiny_run.data / "test", tmp_path / "data"))
    (data / "lesion" / Path(best["file"]).name).rename(data / "plain" / "moved.png")
    result = embed(tiny_run.out, data, tmp_path / "out", pictures="no", n_boot=100)
    first = result["label_errors"]["suspects"][0]
    assert (first["given"], first["suggested"], first["part"]) == ("plain", "lesion", "test")
    page = (tmp_path / "out" / "alike.html").read_text()
    assert "data:image/jpeg" not in page
    assert set(page_data(tmp_path / "out")["tiles"]) == {-1}


def test_the_page_runs_its_own_script_and_loads_nothing(
    made: tuple[Path, dict[str, Any]],
) -> None:
    out, _ = made
    page = (out / "alike.html").read_text()
    script = re.search(r"<script>(.*?)</script>", page, re.S)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page
    assert "default-src 'none'" in page
    assert not re.search(r"""(?:src|href)=["'](?!data:|#)""", page)
    assert not re.search(r"https?://", page)
    assert page.count(INTENDED_USE) == 2
    data = page_data(out)
    assert set(data["colours"]) == {"class", "part", "error", "suspected label", "cluster"}
    assert len(data["x"]) == len(data["ids"]) == 48
    assert 0 <= min(data["x"] + data["y"]) <= max(data["x"] + data["y"]) <= 10_000
    near = np.asarray(data["near"])
    assert (near != np.arange(48)[:, None]).all()


def test_embeddings_are_used_again_and_others_not_overwritten(
    made: tuple[Path, dict[str, Any]],
    tiny_run: TinyRun,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, result = made

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("embedded again")

    monkeypatch.setattr(embedding, "cached_logits", refuse)
    again = embed(tiny_run.out, tiny_run.data, out, pictures="yes", n_boot=100)
    assert again == result
    with pytest.raises(RunFolderError, match="another network or other data"):
        embed(tiny_run.out, tiny_run.data / "test", out, n_boot=100)


def test_an_untouched_backbone_judges_every_label(tiny_run: TinyRun, tmp_path: Path) -> None:
    register()
    weights = write_weights(tmp_path / "start.weights.h5")
    out = tmp_path / "out"
    result = embed(NAME, tiny_run.data, out, weights=str(weights), n_boot=100)
    assert result["width"] == 24
    assert result["label_errors"]["n_out_of_sample"] == 48
    assert result["label_errors"]["n_in_sample_left_out"] == 0
    assert any("fitted to no case" in note for note in result["notes"])
    assert result["unseen"] == result["all"]
    assert str(weights) not in (out / "alike.html").read_text()
    with pytest.raises(RecipeError, match="neither a run folder nor a backbone"):
        embed("resnet5", tiny_run.data, tmp_path / "none")


def test_the_sprite_holds_each_picture_in_its_tile() -> None:
    pictures = [np.full((TILE, TILE), 10 * i, "uint8") if i % 4 else None for i in range(24)]
    pictures[1] = np.full((TILE, TILE // 2), 200, "uint8")
    numbers, sheet = sprite(pictures)
    assert numbers[:6] == [-1, 0, 1, 2, -1, 3]
    assert sheet is not None
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(sheet.split(",")[1]))))
    wide = int(np.ceil(np.sqrt(18)))
    assert image.shape[1] == wide * TILE
    for i in (2, 11, 23):
        y, x = divmod(numbers[i], wide)
        tile = image[y * TILE : (y + 1) * TILE, x * TILE : (x + 1) * TILE]
        assert abs(float(tile.mean()) - 10 * i) < 3
    narrow = image[:TILE, :TILE]
    assert narrow[:, :4].max() < 12  # a narrow picture stands in the middle
    assert narrow[:, 12:20].min() > 180
    assert sprite([None, None]) == ([-1, -1], None)


def test_a_map_that_cannot_be_made_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["classify", "embed", "x", "y", "--out", str(tmp_path / "b"), "--map", "pca"]
    wrong = CliRunner().invoke(app, words)
    assert wrong.exit_code == 2
    assert "unknown --map 'pca'; known: tsne, umap" in wrong.stderr
    monkeypatch.setitem(sys.modules, "umap", None)
    absent = CliRunner().invoke(app, [*words[:-1], "umap"])
    assert absent.exit_code == 2
    assert "error: a UMAP map needs umap-learn: pip install 'radzoo[umap]'" in absent.stderr
    assert not (tmp_path / "b").exists()
