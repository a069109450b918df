"""The report and the model card of a finished detection run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_adapters.adapter import Adapter
from data_adapters.errors import CaseError
from recipes.classification.outputs import environment, repeat_command
from recipes.classification.thumbnails import NOTES, may_show
from recipes.detection.config import DetectionConfig
from recipes.detection.drawings import atlas_plot, froc_plot, outcome_plot, score_plot
from recipes.detection.outcomes import Outcome, outcomes
from recipes.detection.record import DetectionRecord
from recipes.detection.scoring import Scan, marks_of_class
from recipes.detection.second.bank import Bank
from recipes.evaluation.froc.curve import froc_curve
from recipes.intended_use import INTENDED_USE
from recipes.report import cases as found_cases
from recipes.report import view, wording
from recipes.report.card import card_text
from recipes.report.inputs import scrub
from recipes.report.page import templates, write_text
from recipes.version import version

MOST_CARDS = 6
_RULES = {
    "Sensitivity at a rate": "share of lesions with a candidate that hits, at the threshold where "
    "there are so many false positives per {per}; straight lines in between",
    "CPM": "mean sensitivity at 1/8, 1/4, 1/2, 1, 2, 4 and 8 false positives (LUNA16)",
    "AP10, AP50": "average precision of boxes at an IoU of at least 0.1 and 0.5, matched as COCO "
    "does, precision made falling",
    "JAFROC": "chance that a lesion's score is above the highest false positive of an image "
    "without lesions",
    "Image ROC": "area under the ROC curve of images by their highest score",
    "PPV": "found lesions over found lesions and false positives, at the operating point",
}


@dataclass(frozen=True)
class FinishedDetection:
    """Everything that the pages tell.

    Attributes:
        config: The run's configuration.
        adapter: Where pictures come from.
        part: The evaluated part.
        scans: Its images.
        metrics: Its figures.
        record: What ``model.json`` says.
        facts: ``metrics.json``.
        atlas: Some patches that a second stage learnt from; None without one.
    """

    config: DetectionConfig
    adapter: Adapter
    part: str
    scans: Sequence[Scan]
    metrics: Mapping[str, Any]
    record: DetectionRecord
    facts: Mapping[str, Any]
    atlas: Bank | None = None

    @property
    def unit(self) -> str:
        """What intervals are over."""
        known = all(scan.patient_id is not None for scan in self.scans)
        return "patient" if known else "image"


def write_pages(path: Path, run: FinishedDetection) -> None:
    """Write ``report.html``, one file that a browser opens offline, and ``model_card.md``.

    Args:
        path: The run folder.
        run: What the pages tell; its ``report.pictures`` says which cases are shown.

    Raises:
        recipes.errors.RunFolderError: A file cannot be written.
    """
    shared = _shared(run)
    page = templates(autoescape=True).get_template("detect.html.j2")
    write_text(path / "report.html", page.render(shared | _drawn(run)))
    write_text(path / "model_card.md", card_text("detect_card.md.j2", shared))


def _shared(run: FinishedDetection) -> dict[str, Any]:
    metrics, record = run.metrics, run.record
    rules = {k: v.format(per=run.config.evaluate.per) for k, v in _RULES.items()}
    return {
        "banner": INTENDED_USE,
        "title": scrub(" / ".join(record.class_names[:6])),
        "summary": _summary(run),
        "warnings": _warnings(run),
        "story": _story(run),
        "own_report": record.way == "map",
        "classes": [scrub(name) for name in record.class_names],
        "part": view.part_name(run.part),
        "n": metrics["n"],
        "unit": run.unit,
        "per": run.config.evaluate.per,
        "volume": record.volume,
        "tables": list(_tables(run)),
        "rules": [("A hit", record.hits().__str__()), *rules.items()],
        "notes": [scrub(n) for n in (*run.facts["notes"], NOTES[run.config.report.pictures])],
        "command": _command(run),
        "version": version(),
    }


def _command(run: FinishedDetection) -> str:
    """The command that repeats the run: steps that were measured are given as they came out."""
    config, schedule = run.config, run.facts["schedule"]
    if config.train.steps == "auto":
        steps = {"steps": schedule["total"], "rounds": schedule["rounds"]}
        train = config.train.model_copy(update=steps)
        config = config.model_copy(update={"train": train})
    return scrub(repeat_command(config, task="detect"))


def _summary(run: FinishedDetection) -> str:
    metrics = run.metrics
    minutes = sum(run.facts["seconds"].values()) / 60
    return (
        f"{view.part_name(run.part).capitalize()} part: {metrics['n']} images, "
        f"{metrics['n_normal']} without lesions, {metrics['n_lesions']} lesions · seed "
        f"{run.config.seed} · wall time {minutes:.1f} min"
    )


def _warnings(run: FinishedDetection) -> list[str]:
    lines = []
    if run.facts["leakage"]["marked"]:
        lines.append(
            "The leakage policy is “allow”, and leaks were found and left in: the figures below "
            "may be too good."
        )
    if run.part == "val":
        lines.append(
            "There is no test part: the figures below are from the validation part, which also "
            "chose the weights and the operating point, so they are optimistic."
        )
    if run.metrics["n_normal"] == 0:
        lines.append(
            "Every image of this part holds a lesion, so false positives are counted per "
            "lesion-bearing image; nothing here speaks for images without lesions."
        )
    return lines


def _story(run: FinishedDetection) -> list[str]:
    record, config = run.record, run.config
    unit = "mm" if record.volume else "pixels"
    target = (
        "each lesion whole (its mask, or the ellipsoid inside its box)"
        if record.core == 1.0
        else f"an ellipsoid inside each box, {record.core:g} times its half axes"
    )
    cases = ", ".join(f"{n} {part}" for part, n in run.facts["cases"].items() if n)
    second = [
        f"A network ({config.second.backbone}) looked again at patches around every candidate: "
        f"{stage['stage']} learnt from {stage['patches']} patches, and validation gave its log "
        f"odds a share of {stage['share']:.0%} in the score."
        for stage in run.facts["stages"][1:]
    ]
    return [
        f"Cases: {cases}. " + _first_stage(run, target, unit),
        *second,
        f"The operating point keeps at most {config.evaluate.rate:g} false positives per "
        f"{config.evaluate.per} on the validation part.",
    ]


def _first_stage(run: FinishedDetection, target: str, unit: str) -> str:
    """How candidates came about."""
    record, config = run.record, run.config
    if record.way == "boxes":
        return (
            f"A network was trained to give boxes without anchors (FCOS on {config.model.backbone},"
            f" levels {', '.join(config.boxes.levels)}); its boxes come from {target}. Of boxes of "
            f"a class that overlap by more than {config.boxes.iou:g} the highest is a candidate, "
            f"above {record.floor:g} and at most {record.most} of a class and image."
        )
    return (
        f"A network was trained to mark lesions voxel by voxel; its target was {target}. "
        f"Candidates are the peaks of its probability above {record.floor:g} that lie at least "
        f"{record.apart:.3g} {unit} apart with a valley between them, at most {record.most} of a "
        "class and image; a box is where the map is at least half as high as its peak."
    )


def _cell(figure: Mapping[str, Any]) -> dict[str, str]:
    return {"value": wording.number(figure["value"]), "interval": wording.interval(dict(figure))}


def _tables(run: FinishedDetection) -> Iterable[dict[str, Any]]:
    classes = run.metrics["classes"]
    rows = dict(classes)
    stages = run.facts["stages"]
    if len(stages) > 1:
        yield {
            "name": "Each stage and round, validation part",
            "heads": [*(f"at {rate}" for rate in run.metrics["froc"]), "CPM"],
            "rows": [
                {"name": one["stage"],
                 "cells": [_cell(f) for f in (*one["froc"].values(), one["cpm"])]}
                for one in stages
            ],
        }  # fmt: skip
    if len(classes) > 1:
        rows = {"all": run.metrics, **rows}
    rates = list(run.metrics["froc"])
    yield {
        "name": "Sensitivity at rates of false positives" if len(stages) > 1 else "",
        "heads": [*(f"at {rate}" for rate in rates), "CPM"],
        "rows": [
            {"name": scrub(name), "cells": [_cell(f) for f in (*one["froc"].values(), one["cpm"])]}
            for name, one in rows.items()
        ],
    }
    yield {
        "name": "Boxes, images and the operating point",
        "heads": ["AP10", "AP50", "JAFROC", "Image ROC", "Sensitivity", "PPV", "F1",
                  f"False positives per {run.config.evaluate.per}"],
        "rows": [
            {
                "name": scrub(name),
                "cells": [_cell(one[key]) for key in ("ap10", "ap50", "jafroc", "roc")]
                + [_cell(one["operating"][key]) if "operating" in one else _NONE
                   for key in ("sensitivity", "ppv", "f1", "false_positives")],
            }
            for name, one in rows.items()
        ],
    }  # fmt: skip


_NONE = {"value": "–", "interval": "–"}


def _drawn(run: FinishedDetection) -> dict[str, Any]:
    metrics, record = run.metrics, run.record
    rule, per = record.hits(), run.config.evaluate.per
    curves = {
        scrub(name): froc_curve(marks_of_class(run.scans, rule, k, per=per))
        for k, name in enumerate(record.class_names)
    }
    figures = {scrub(name): one["froc"] for name, one in metrics["classes"].items()}
    points = {
        scrub(name): one["operating"]
        for name, one in metrics["classes"].items()
        if "operating" in one
    }
    marks = marks_of_class(run.scans, rule, None, per=per)
    hits = [float(v) for v in marks.lesion_score if v > 0]
    scores = {"lesions found": hits, "false positives": list(marks.false_score)}
    leakage = run.facts["leakage"]
    return {
        "tiles": _tiles(metrics),
        "curve": froc_plot(curves, figures, per=per, operating=points),
        "scores": score_plot(scores),
        "groups": _groups(run),
        "atlas": _atlas(run),
        "pictures": run.config.report.pictures != "no",
        "split_unit": run.facts["unit"],
        "cases": [(part, str(n)) for part, n in run.facts["cases"].items()],
        "leakage": found_cases.leakage(leakage),
        "environment": view.environment_rows(environment()),
        "timings": view.timing_rows(run.facts["seconds"]),
    }


def _tiles(metrics: Mapping[str, Any]) -> list[dict[str, str]]:
    chosen = (
        ("Sensitivity at 1 false positive", metrics["froc"].get("1")),
        ("CPM", metrics["cpm"]),
        ("AP50", metrics["ap50"]),
        ("Highest sensitivity", {"value": metrics["max_sensitivity"], "low": None, "high": None}),
    )
    return [{"name": name, **_cell(figure)} for name, figure in chosen if figure is not None]


def _groups(run: FinishedDetection) -> list[dict[str, Any]]:
    found = list(outcomes(run.scans, run.record.hits(), run.record.thresholds))
    kinds = (
        ("Missed lesions", [o for o in found if o.kind == "miss"]),
        ("False positives, the highest score first",
         sorted((o for o in found if o.kind == "false"), key=lambda o: -o.score)),
        ("Found lesions, the lowest score first",
         sorted((o for o in found if o.kind == "hit"), key=lambda o: o.score)),
    )  # fmt: skip
    return [
        {
            "title": title,
            "n": len(mine),
            "cards": [_card(run, one) for one in mine[:MOST_CARDS]],
        }
        for title, mine in kinds
    ]


def _atlas(run: FinishedDetection) -> list[dict[str, str]]:
    """Patches of each kind; only after the user said that no text is burned in."""
    if run.atlas is None or run.config.report.pictures != "yes":
        return []
    names = ["No lesion", *(scrub(name) for name in run.record.class_names)]
    return [
        {"title": names[k], "image": atlas_plot(run.atlas.images[run.atlas.targets == k])}
        for k in sorted(set(run.atlas.targets.tolist()))
    ]


def _card(run: FinishedDetection, outcome: Outcome) -> dict[str, Any]:
    lines = []
    if len(run.record.class_names) > 1:
        lines.append(scrub(run.record.class_names[outcome.label]))
    lines.append(f"score {outcome.score:.3f}" if outcome.candidate is not None else "no candidate")
    return {
        "case": outcome.scan.case_id,
        "lines": lines,
        "tag": None,
        "image": _picture(run, outcome),
    }


def _picture(run: FinishedDetection, outcome: Outcome) -> str | None:
    """The cut-out of a finding, None where the case is not to be shown."""
    if run.config.report.pictures == "no":
        return None
    try:
        case = run.adapter[outcome.scan.row]
    except CaseError:
        return None
    return outcome_plot(case, outcome) if may_show(case, run.config.report.pictures) else None
