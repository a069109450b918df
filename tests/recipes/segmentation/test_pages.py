"""The pages of a run: complete, self-contained, escaped, honest; written again without training."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from recipes.classification.thumbnails import NOTES
from recipes.errors import RunFolderError
from recipes.intended_use import INTENDED_USE
from recipes.runs import RunFolder
from recipes.segmentation.config import SegmentationConfig
from recipes.segmentation.fitting import Fit, fit
from recipes.segmentation.pages import write_pages
from recipes.segmentation.report.inputs import Finished
from tests.recipes.report_inputs import NASTY
from tests.recipes.segmentation.finished import SECRET, finished
from tests.recipes.segmentation.tiny import TinySegmentation
from tests.recipes.test_report import Page

PNG = "data:image/png;base64,"


def pages(run: Finished, folder: Path) -> tuple[str, str]:
    """Report and card of a run made by hand."""
    trained = SimpleNamespace(history=run.history)
    state = SimpleNamespace(seconds=run.seconds)
    write_pages(folder, run.config, run.prepared, run.scored, trained, dict(run.facts), state)  # type: ignore[arg-type]
    return (folder / "report.html").read_text(), (folder / "model_card.md").read_text()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return pages(finished(), tmp_path_factory.mktemp("pages"))


def test_the_page_refers_to_nothing_outside_itself(written: tuple[str, str]) -> None:
    html = written[0]
    page = Page(html)
    assert page.references
    for reference in page.references:
        assert reference.startswith(("#", "data:image/")), reference[:60]
    assert not {"script", "link", "iframe", "object", "embed", "form", "base"} & set(page.tags)
    assert "default-src 'none'" in html
    anchors = {ref[1:] for ref in page.references if ref.startswith("#")}
    assert anchors <= set(re.findall(r'id="(\w+)"', html))
    assert sum(uri.startswith(PNG) for uri in page.images) == 3
    assert len(page.images) == 3 + 4


def test_everything_a_reader_needs_is_there(written: tuple[str, str]) -> None:
    text = Page(written[0]).text
    for words in (
        INTENDED_USE,
        "Test part: 4 cases of 3 patients · seed 17",
        "5 cases were read as table (MR): volumes of 6 × 12 × 10 voxels (median), 2 × 1 × 1 mm",
        "1 more were left out",
        "1 for training, 0 for validation, 4 for the test: the parts were drawn here, cut by pat",
        "3D U-Net from scratch with 2 levels of 8, 16 channels, 12 345 parameters",
        "Dice and cross-entropy for 600 steps, validated on whole cases 3 times, in 3 min 20 s",
        "views mirrored along the first and third axis",
        "only the largest connected piece is kept (missed)",
        "HD95, mm",
        "n 0, 4 infinite",
        "infinite left out",
        "one mask empty: infinite, counted apart",
        "tolerance in mm: 1.0",
        "Best case: mean Dice",
        "Worst case: mean Dice",
        "Limits of agreement, mL",
        "Furthest off",
        "Classes exchanged by a flip from left to right",
        "flip_lr",
        "unreadable",
        "Patients on two sides 0",
        "--set train.steps=600 --set train.rounds=3",
        "a note of the data",
        NOTES["yes"],
    ):
        assert words in text or words in written[0], words
    assert "there is no test part" not in text.lower()
    for word in ("diagnos", "patient has", "abnormal"):
        assert word not in text.replace(INTENDED_USE, "").lower()


def test_figures_stand_on_both_pages(written: tuple[str, str]) -> None:
    run = finished()
    for figure in ("dice", "nsd", "assd", "lesion_f1"):
        entry = run.metrics[figure][NASTY]
        for page in written:
            assert f"{entry['value']:.3f}" in page
            assert f"{entry['low']:.3f} to {entry['high']:.3f}" in page


def test_names_are_escaped_and_paths_are_not_shown(written: tuple[str, str]) -> None:
    html, card = written
    assert NASTY not in html
    assert "&lt;script&gt;" in html
    assert NASTY not in card
    for page in written:
        assert "doe_jane" not in page
        assert SECRET not in page
        assert "as &lt;path&gt; says" in page or "as \\<path\\> says" in page
    rows = [line for line in card.splitlines() if line.startswith("|")]
    for line in rows:
        assert len(re.findall(r"(?<!\\)\|", line)) >= 3


def test_what_flatters_stands_on_top(tmp_path: Path, undrawn: None) -> None:
    run = finished(part="val", marked=True)
    for page in pages(run, tmp_path):
        assert "There is no test part" in page
        assert "leaks were found and left in" in page
    run = finished(part="val", changes=("evaluate.postprocess=false",), facts={"postprocess": []})
    html, _ = pages(run, tmp_path)
    assert "which also chose the weights, so they" in " ".join(html.split())
    assert "no postprocessing (switched off)" in html


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the drawings out, where only the text matters."""
    from recipes.segmentation.report import cases, figures

    for name in ("dice_plot", "agreement_plot", "burden_plot", "learning_curves"):
        monkeypatch.setattr(figures, name, lambda *_: None)
    monkeypatch.setattr(cases, "overlay", lambda *_: (PNG, True))


@pytest.mark.parametrize(
    ("pictures", "burned_in", "shown"),
    [
        ("auto", None, 0),
        ("auto", "YES", 0),
        ("auto", "NO", 3),
        ("yes", "YES", 3),
        ("no", "NO", 0),
    ],
)
def test_what_may_be_shown(
    pictures: str, burned_in: str | None, shown: int, tmp_path: Path, undrawn: None
) -> None:
    html, _ = pages(finished(pictures=pictures, burned_in=burned_in), tmp_path)
    assert sum(uri.startswith(PNG) for uri in Page(html).images) == shown
    assert html.count("No picture (see the notes)") == 3 - shown
    assert NOTES[pictures][:50] in html  # type: ignore[index]


def test_paths_of_the_user_are_placeholders_in_the_command(tmp_path: Path, undrawn: None) -> None:
    changes = (f"data.splits={SECRET}", f"plan.file={SECRET}", f"model.weights={SECRET}")
    html, card = pages(finished(changes=changes), tmp_path)
    for page in (Page(html).text, card):
        for words in ('data.splits="SPLITS"', 'plan.file="PLAN"', 'model.weights="WEIGHTS"'):
            assert words in page
        assert "doe_jane" not in page


def test_without_a_voxel_size_no_unit_is_claimed(tmp_path: Path, undrawn: None) -> None:
    run = finished()
    run.prepared.fingerprint = replace(run.prepared.fingerprint, spacings=())  # type: ignore[misc]
    for page in pages(run, tmp_path):
        text = page[page.index("Defined as") :] if "<html" in page else page
        assert "distances are in voxels, volumes in thousand voxels" in page
        assert "tolerance in voxels: 1.0" in page
        assert not re.search(r"\bmm\b|mm²|\bmL\b", text.replace("mm each way", ""))


def confirmed(run: TinySegmentation, pictures: str) -> SegmentationConfig:
    """The run's configuration with other pictures."""
    content = run.config.model_dump() | {"report": {"pictures": pictures}}
    return SegmentationConfig.model_validate(content)


def test_pages_are_written_again_without_training(
    tiny_segmentation: TinySegmentation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RADZOO_HOME", str(tiny_segmentation.out.parent / "home"))
    out = tmp_path / "run"
    shutil.copytree(tiny_segmentation.out, out)
    shutil.rmtree(out / "checkpoints" / "member-0")
    before = (out / "report.html").read_text()
    assert NOTES["auto"][:50] in before
    assert PNG not in before
    for place in (str(tiny_segmentation.data), str(tiny_segmentation.out)):
        assert place not in before
    computed = ("model.keras", "model.json", "metrics.json", "cases.csv", "history.csv")
    files = {name: (out / name).read_bytes() for name in computed}

    def never(*_: object) -> None:
        raise AssertionError("trained or predicted again")

    for name in ("_train", "_predict", "_score"):
        monkeypatch.setattr(Fit, name, never)
    fit(tiny_segmentation.data, out, confirmed(tiny_segmentation, "yes"))
    page = (out / "report.html").read_text()
    assert page.count(PNG) == 3
    assert {name: (out / name).read_bytes() for name in computed} == files
    assert "pictures: 'yes'" in (out / "config.yaml").read_text()
    stamp = (out / "report.html").stat().st_mtime_ns
    fit(tiny_segmentation.data, out, confirmed(tiny_segmentation, "yes"))
    assert (out / "report.html").stat().st_mtime_ns == stamp
    fit(tiny_segmentation.data, out, tiny_segmentation.config)
    figures = re.compile(r"<b>[−\d.]+</b>")
    assert figures.findall((out / "report.html").read_text()) == figures.findall(before)


@pytest.mark.parametrize("gone", ["labels", "metrics.json", "cases.csv", "history.csv"])
def test_what_is_gone_is_named(
    gone: str, tiny_segmentation: TinySegmentation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from recipes.segmentation import stored

    out = tmp_path / "run"
    shutil.copytree(tiny_segmentation.out, out)
    rows = [int(path.stem) for path in (out / "checkpoints" / "predicted").glob("*.npy")]
    prepared = SimpleNamespace(adapter=None, rows=lambda part: rows)
    assert len(stored.read_run(RunFolder(out), prepared)[0]) == 1  # type: ignore[arg-type]
    if gone == "labels":
        (out / "checkpoints" / "predicted" / f"{rows[0]:06d}.npy").unlink()
        wanted = "label maps of 1 of 4 val cases are gone"
    else:
        (out / gone).unlink()
        wanted = f"{gone} is gone"
    with pytest.raises(RunFolderError, match=wanted):
        stored.read_run(RunFolder(out), prepared)  # type: ignore[arg-type]


def test_a_run_is_read_back_as_it_was(tmp_path: Path) -> None:
    from recipes.segmentation.outputs import write_cases, write_history
    from recipes.segmentation.stored import read_run

    run = finished(part="val")
    (tmp_path / "checkpoints" / "predicted").mkdir(parents=True)
    for row in run.shown.predicted.rows:
        (tmp_path / "checkpoints" / "predicted" / f"{row:06d}.npy").touch()
    write_cases(tmp_path / "cases.csv", run.scored)
    records = [dict(row) | {"learning_rate": 1e-3, "seconds": 1.0} for row in run.history]
    write_history(tmp_path / "history.csv", records, run.prepared.plan.classes)
    content = {"part": "val", "metrics": dict(run.metrics), "validation": dict(run.metrics)}
    (tmp_path / "metrics.json").write_text(json.dumps(content | {"training": run.facts}))
    run.prepared.held["val"] = list(run.shown.predicted.rows)  # type: ignore[attr-defined]
    scored, trained, facts = read_run(RunFolder(tmp_path), run.prepared)
    assert facts == run.facts
    assert scored[0].metrics == run.metrics
    kinds = set()
    for row, was in zip(scored[0].rows, run.shown.rows, strict=True):
        for key, value in was.items():
            kinds.add(type(value))
            found = row[key]
            assert found == (pytest.approx(value, rel=1e-5) if isinstance(value, float) else value)
    assert {float, str, type(None)} <= kinds
    assert any(row["hd95"] == "inf" for row in scored[0].rows)
    for row, was in zip(trained.history, records, strict=True):
        assert row == pytest.approx({k: was[k] for k in row})
