"""The report and the model card of a finished segmentation run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zoo
from recipes.classification.outputs import environment, repeat_command
from recipes.classification.sections import weights_row
from recipes.classification.thumbnails import NOTES
from recipes.intended_use import INTENDED_USE
from recipes.report import cases as found_cases
from recipes.report import view
from recipes.report.card import card_text
from recipes.report.inputs import scrub
from recipes.report.page import templates, write_text
from recipes.runs import RunState
from recipes.segmentation.config import SegmentationConfig
from recipes.segmentation.data import Prepared
from recipes.segmentation.report import contents, figures, story, wording
from recipes.segmentation.report.cases import examples
from recipes.segmentation.report.inputs import Finished
from recipes.version import version

if TYPE_CHECKING:
    from recipes.segmentation.scoring import Scored
    from recipes.segmentation.train import Trained


def write_pages(
    path: Path,
    config: SegmentationConfig,
    prepared: Prepared,
    scored: Sequence[Scored],
    trained: Trained,
    facts: dict[str, Any],
    state: RunState,
) -> None:
    """Write ``report.html``, one file that a browser opens offline, and ``model_card.md``.

    Args:
        path: The run folder.
        config: The run's configuration; `config.report.pictures` says which cases are shown.
        prepared: Parts, plan, what was skipped and leaked.
        scored: The evaluated part first, validation last.
        trained: History of the training.
        facts: What training and evaluation leave behind.
        state: Wall time by phase.

    Raises:
        RunFolderError: A file cannot be written.
        data_adapters.errors.CaseError: A case that was scored can no longer be read.
    """
    run = Finished(config, prepared, scored, trained.history, facts, state.seconds)
    shared = _shared(run)
    write_text(path / "report.html", _report(run, shared))
    write_text(path / "model_card.md", card_text("segment_card.md.j2", shared))


def _shared(run: Finished) -> dict[str, Any]:
    """What both pages show."""
    metrics, leakage = run.metrics, run.prepared.leakage
    return {
        "banner": INTENDED_USE,
        "title": scrub(contents.title(run)),
        "summary": contents.summary(run),
        "warnings": contents.warnings(run),
        "story": story.sentences(run),
        "reasons": [scrub(reason) for reason in run.prepared.plan.reasons],
        "settings": story.settings(run),
        "weights": _weights(run),
        "augmentation": contents.augmentation(run),
        "part": view.part_name(run.shown.part),
        "n": metrics["n"],
        "n_patients": metrics["n_patients"],
        "unit": run.unit,
        "level": f"{(metrics.get('settings') or {}).get('level', 0.95):.0%}",
        "headline": contents.table(run, wording.HEADLINE, metrics),
        "further": contents.table(run, wording.further(metrics), metrics),
        "classes": list(run.classes),
        "parts": contents.parts(run),
        "content": contents.contents_of_classes(run),
        "size": run.size,
        "split_unit": leakage.splits.unit,
        "skipped": view.skipped(contents.skips(run)),
        "leakage": found_cases.leakage(leakage.to_dict()),
        "notes": contents.notes(run, NOTES[run.config.report.pictures]),
        "rules": contents.rules(run, wording.HEADLINE),
        "command": _command(run),
        "seed": run.config.seed,
        "version": version(),
        "modality": run.prepared.fingerprint.modality,
        "solid": run.solid,
    }


def _report(run: Finished, shared: dict[str, Any]) -> str:
    validation = run.scored[-1] if len(run.scored) > 1 else None
    timings = dict(run.seconds) | {"total": round(sum(run.seconds.values()), 1)}
    page = templates(autoescape=True).get_template("segment.html.j2")
    return page.render(
        shared
        | {
            "tiles": contents.tiles(run),
            "validation": None
            if validation is None
            else contents.table(run, wording.HEADLINE, validation.metrics),
            "lesions": contents.lesions(run),
            "more_rules": contents.rules(run, wording.further(run.metrics)),
            "examples": examples(run),
            "dice_plot": figures.dice_plot(run.shown.rows, run.classes),
            "agreement": contents.agreement(run),
            "agreement_plot": figures.agreement_plot(run.metrics["agreement"], run.size),
            "burden": contents.burden(run),
            "burden_plot": figures.burden_plot(
                run.metrics["burden"], run.size, "volume" if run.solid else "area"
            ),
            "curves": figures.learning_curves(
                run.history, run.classes, run.facts.get("stopped") or {}
            ),
            "environment": view.environment_rows(environment()),
            "timings": view.timing_rows(timings),
        }
    )


def _weights(run: Finished) -> list[tuple[str, str]]:
    """Where a pretrained encoder came from; nothing for a network from scratch."""
    network = run.prepared.plan.network
    if network.backbone is None:
        return []
    return view.weights_rows(weights_row(network.weights or "none", zoo.get_spec(network.backbone)))


def _command(run: Finished) -> str:
    """The command that repeats the run: steps that were measured are given as they came out."""
    schedule, train = run.facts.get("schedule") or {}, run.config.train
    config = run.config
    if train.steps == "auto" and schedule:
        steps = {"steps": schedule["total"], "rounds": schedule["rounds"]}
        config = config.model_copy(update={"train": train.model_copy(update=steps)})
    first = (run.facts.get("cascade") or {}).get("first")
    if first is not None:
        steps = {"steps": first["schedule"]["total"], "rounds": first["schedule"]["rounds"]}
        cascade = config.cascade.model_copy(update=steps)
        config = config.model_copy(update={"cascade": cascade})
    return scrub(repeat_command(config, task="segment"))
