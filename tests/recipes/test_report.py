"""The report page: complete, self-contained, escaped, honest."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from recipes.errors import RecipeError, RunFolderError
from recipes.intended_use import INTENDED_USE
from recipes.report import plots, view, write_report
from recipes.report.cases import mistakes
from recipes.report.images import thumbnail
from recipes.report.inputs import public, scrub
from recipes.report.page import confusions, render
from tests.recipes.report_inputs import (
    NASTY,
    binary,
    history,
    leakage,
    multiclass,
    multilabel,
    training,
)


class Page(HTMLParser):
    """Collects tags, what they refer to, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.references: list[str] = []
        self.images: list[str] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "srcset", "action", "data", "poster", "background"):
                self.references.append(value or "")
            if tag == "img" and name == "src":
                self.images.append(value or "")

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def html() -> str:
    return render(binary())


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the plots out, where only the text matters."""
    for name in ("curves", "reliability", "training_curves"):
        monkeypatch.setattr(plots, name, lambda inputs: None)


def test_the_page_refers_to_nothing_outside_itself(html: str, page: Page) -> None:
    assert page.references
    for reference in page.references:
        assert reference.startswith(("#", "data:image/")), reference[:60]
    assert not {"script", "link", "iframe", "object", "embed", "form", "base"} & set(page.tags)
    style = html[html.index("<style>") : html.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert "default-src 'none'" in html
    anchors = {ref[1:] for ref in page.references if ref.startswith("#")}
    assert anchors <= set(re.findall(r'id="(\w+)"', html))


def test_pictures_are_whole(page: Page) -> None:
    assert len(page.images) >= 3 + 12
    for uri in page.images:
        kind, _, data = uri.partition(";base64,")
        content = base64.b64decode(data, validate=True)
        if kind == "data:image/svg+xml":
            assert ElementTree.fromstring(content).tag.endswith("svg")
        else:
            Image.open(io.BytesIO(content)).verify()


def test_everything_a_reader_needs_is_there(page: Page) -> None:
    text = page.text
    for words in (
        INTENDED_USE,
        "positive class: pneumonia",
        "seed 17",
        "wall time 7 min 51 s",
        "ROC AUC",
        "Average precision",
        "PPV at 5% prevalence",
        "Calibration slope",
        "Decisions at the operating point",
        "sensitivity>=0.95",
        "Split by image : the patient is unknown",
        "The parts came with the data",
        "zero byte",
        "Exact duplicates across parts 1",
        "Near duplicates across parts 1 pairs",
        "correlation 0.973, mirrored",
        "246 compared after training: none moved",
        "saving about 3 min 04 s",
        "flip_lr, flip_ud",
        "Apache-2.0",
        "arXiv:1905.11946",
        "Python 3.11.9",
        "radzoo classify fit DATA --out RUN --seed 17",
        "training variability",
        "A note of the run",
    ):
        assert words in text, words
    assert "and 2 more" in text  # seven skipped cases, five named


def test_every_figure_is_shown_with_its_interval(page: Page) -> None:
    metrics = binary().metrics
    for name, entry in metrics.items():
        if isinstance(entry, dict) and set(entry) == {"value", "low", "high"}:
            assert f"{entry['value']:.3f}".replace("-", "−") in page.text, name
            assert f"{entry['high']:.3f}".replace("-", "−") in page.text, name


def test_the_page_is_small_and_repeats(html: str) -> None:
    assert len(html) < 1_500_000
    assert render(binary()) == html


def test_no_host_or_path_gets_in(html: str) -> None:
    assert "SECRET-HOST" not in html
    assert "jane" not in html
    assert "&lt;path&gt;" in html


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("fit /home/ann/data/x.npz --out RUN", "fit <path> --out RUN"),
        (r"'C:\Users\ann\x.png' is bad", "'<path>' is bad"),
        ("see ~/data/a.npz", "see <path>"),
        ("and/or, 1/2, TF/CPU, arXiv:1905.11946", "and/or, 1/2, TF/CPU, arXiv:1905.11946"),
    ],
)
def test_paths_become_placeholders(text: str, want: str) -> None:
    assert scrub(text) == want


def test_private_keys_are_dropped() -> None:
    values = {"user_name": "x", "host": "y", "Node": "z", "python": "3.11", "gpu": None}
    assert public(values) == {"python": "3.11"}


@pytest.mark.usefixtures("undrawn")
def test_names_from_the_data_are_text() -> None:
    html = render(multiclass())
    assert "<script" not in html
    assert NASTY in Page(html).text
    assert "nevi $x$" in html


@pytest.mark.usefixtures("undrawn")
def test_a_validation_report_says_that_it_flatters() -> None:
    assert "optimistic" in Page(render(binary(part="val"))).text
    assert not any("optimistic" in line for line in view.warnings(binary()))


@pytest.mark.usefixtures("undrawn")
def test_leaks_left_in_mark_the_page() -> None:
    clean = view.warnings(binary(leakage=leakage()))
    marked = view.warnings(binary(leakage=leakage(policy="allow", marked=True)))
    nothing = view.warnings(binary(leakage=leakage(policy="allow")))
    assert clean == []
    assert "too good" in marked[0]
    assert "allow" in nothing[0]
    html = render(binary(leakage=leakage(policy="allow", marked=True)))
    assert html.index('class="warning"') < html.index('class="tiles"')


@pytest.mark.usefixtures("undrawn")
def test_studies_under_two_patients_are_counted() -> None:
    torn = {"train": ["a"], "test": ["b"]}
    found = leakage(studies=[torn], series=[torn, torn])
    text = " ".join(Page(render(binary(leakage=found))).text.split())
    assert "Studies or series on two sides, under different patients 3" in text
    assert "Studies or series on two sides" not in Page(render(binary(leakage=leakage()))).text


def test_an_operating_point_that_was_not_met_is_said() -> None:
    point = dict(binary().operating_point or {}, met=False)
    inputs = binary(operating_point=point)
    assert any("could not be met" in line for line in view.warnings(inputs))


def test_mistakes_are_the_most_confident_ones() -> None:
    inputs = binary()
    p, y = inputs.prob[:, 1], inputs.y
    missed, alarms = mistakes(inputs)
    worst = min((i for i in range(len(y)) if y[i] == 1), key=lambda i: p[i])
    assert missed["cards"][0]["case"] == inputs.case_ids[worst]
    assert missed["n"] == int(((y == 1) & (p < 0.5)).sum())
    worst = max((i for i in range(len(y)) if y[i] == 0), key=lambda i: p[i])
    assert alarms["cards"][0]["case"] == inputs.case_ids[worst]
    assert f"{p[worst]:.3f}" in alarms["cards"][0]["lines"][1]
    (group,) = mistakes(multiclass())
    assert len(group["cards"]) == min(12, group["n"]) > 0


def test_confusion_at_the_operating_point() -> None:
    inputs = binary()
    half, at = confusions(inputs)
    called = inputs.prob[:, 1] >= inputs.threshold
    cells = [[c["n"] for c in row["cells"]] for row in at["rows"]]
    assert cells[1][1] == int((called & (inputs.y == 1)).sum())
    assert cells[0][1] == int((called & (inputs.y == 0)).sum())
    assert [[c["n"] for c in row["cells"]] for row in half["rows"]] == inputs.metrics["confusion"]


def test_early_stopping_is_placed_on_the_running_epoch() -> None:
    rows = history()
    assert plots.stop_positions(rows, {0: {"head": 3, "finetune": 4}}) == [3, 7]
    assert plots.stop_positions(rows, {0: 4}) == [7]
    assert plots.stop_positions(rows, {"0": {"head": 2}}) == [2]
    assert plots.stop_positions(rows, {}) == []


OTHERS = {
    "multiclass": (multiclass, ["Each class against the rest", "mean over the classes"]),
    "multilabel": (multilabel, ["Each label at its operating point", "13 unknown", "(not met)"]),
    "many": (lambda: multiclass(classes=17), ["Top-5 accuracy", "One line for each class"]),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_tasks_have_their_page(name: str) -> None:
    build, words = OTHERS[name]
    page = Page(render(build()))
    assert [word for word in words if word not in page.text] == []
    plots_wanted = {"multiclass": 3, "multilabel": 2, "many": 4}  # many: a heat map besides
    assert sum(uri.startswith("data:image/svg") for uri in page.images) == plots_wanted[name]


@pytest.mark.usefixtures("undrawn")
def test_a_bare_run_still_gives_a_page() -> None:
    rich = binary()
    bare = type(rich)(
        title="Bare",
        task="single",
        class_names=rich.class_names,
        metrics=rich.metrics,
        y=rich.y,
        prob=rich.prob,
        case_ids=rich.case_ids,
    )
    text = Page(render(bare)).text
    assert "Not checked." in text
    assert "no picture" not in text


def test_one_class_gives_no_curve_but_a_page() -> None:
    from recipes.evaluation import evaluate

    inputs = binary()
    y = np.ones_like(inputs.y)
    metrics = evaluate(
        y, inputs.prob, None, class_names=inputs.class_names, positive="pneumonia",
        task="single", n_boot=20,
    )  # fmt: skip
    text = Page(render(binary(y=y, metrics=metrics, operating_point=None))).text
    assert "only one class occurs" in text
    assert "–" in text


@pytest.mark.usefixtures("undrawn")
def test_weights_and_moved_variables_are_told_as_they_are() -> None:
    scratch = Page(render(binary(training=training(weights=None)))).text
    assert "none: trained from scratch" in scratch
    moved = binary(training=training(frozen={"variables": 9, "moved": 2}))
    assert any("2 moved" in value for _, value in view.training_rows(moved))


@pytest.mark.parametrize("shape", [(28, 28), (28, 28, 1), (300, 200), (300, 200, 3)])
def test_thumbnails(shape: tuple[int, ...]) -> None:
    picture = np.random.default_rng(0).integers(0, 255, size=shape).astype(np.uint8)
    uri = thumbnail(picture)
    assert uri is not None
    image = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    assert max(image.size) <= 168
    if shape[:2] == (28, 28):
        np.testing.assert_array_equal(np.asarray(image), picture.reshape(28, 28))
    assert thumbnail(None) is None


@pytest.mark.usefixtures("undrawn")
def test_the_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "run" / "report.html"
    assert write_report(target, binary(thumbnails=None)) == target
    assert target.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert [p.name for p in target.parent.iterdir()] == ["report.html"]
    blocked = tmp_path / "file"
    blocked.write_text("x")
    with pytest.raises(RunFolderError, match=r"cannot write 'report.html'"):
        write_report(blocked / "report.html", binary(thumbnails=None))


def test_inputs_that_do_not_fit_are_refused() -> None:
    with pytest.raises(RecipeError, match="as many truths"):
        binary(case_ids=["a"])
