"""``radzoo detect fit``: from marked lesions to a detector with its curve, resumable."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from data_adapters.adapter import Adapter
from data_adapters.split_table import read_splits, write_splits
from recipes.detection.boxes.fitting import BoxFit
from recipes.detection.calibrating import fit_lines
from recipes.detection.candidates import Found, PeakRules
from recipes.detection.config import DetectionConfig
from recipes.detection.data import Truth, gather, open_lesions, usual_distance, usual_size
from recipes.detection.detector import First, load_first
from recipes.detection.outputs import (
    first_policy,
    read_summary,
    write_candidates,
    write_metrics,
)
from recipes.detection.pages import FinishedDetection, write_pages
from recipes.detection.record import DetectionRecord
from recipes.detection.scoring import (
    Scan,
    choose_thresholds,
    hit_rule,
    marks_of_class,
    score,
)
from recipes.detection.second.bank import Bank
from recipes.detection.second.stage import SECOND, Second, SecondFit, plan_cut, save_second
from recipes.detection.sizing import painted_core, patch_limit
from recipes.detection.truth import Painted
from recipes.engine.checkpoint import write_json
from recipes.engine.modelfile import save_record
from recipes.engine.trial import Trial
from recipes.errors import RecipeError
from recipes.evaluation.froc.hits import HitRule
from recipes.evaluation.froc.summary import summarise_froc
from recipes.linting import checked
from recipes.progress import Reporter
from recipes.runs import RunFolder, RunState
from recipes.segmentation.data import check_weights, choose_parts
from recipes.segmentation.fitting import Fit
from recipes.segmentation.segmenter import FIRST, record_sha256
from recipes.version import version

PARTS = ("train", "val", "test")


class DetectionFit:
    """One fit, in steps that each leave the run folder resumable."""

    def __init__(
        self,
        source: str,
        out: Path,
        config: DetectionConfig,
        reporter: Reporter,
        trial: Trial | None = None,
    ) -> None:
        """Keep the arguments; nothing is read yet."""
        self.source = source
        self.trial = trial
        self.config = config
        self.reporter = reporter
        self.run_folder = RunFolder(out)
        self.state: RunState

    def run(self) -> dict[str, Any]:
        """Do what is left to do and return the run's summary.

        Where only settings of the report changed, nothing is trained or looked for again.
        """
        adapter = open_lesions(self.source, self.config.data)
        adapter, lint = checked(adapter, self.config.data.lint, self.reporter)
        identity = adapter.identity()
        with self.run_folder.lock():
            self.state = self.run_folder.begin(self.config, identity)
            if self.trial is not None:
                self.run_folder.check_trial(self.state)
            done = self.state.finished and self.state.source == identity
            if done and not self.run_folder.rewrite:
                return read_summary(self.run_folder.path)
            if lint is not None:
                write_json(self.run_folder.path / "lint.json", lint.to_dict())
            self._finish(adapter, identity)
            return read_summary(self.run_folder.path)

    def _finish(self, adapter: Adapter, identity: str) -> None:
        path = self.run_folder.path
        truth = self._truth(adapter)
        first, core = self._trained(adapter, truth)
        self.run_folder.check_data(self.state, first.record.data_hash, identity)
        table = read_splits(path / FIRST / "splits.csv")
        write_splits(path / "splits.csv", table)
        part_of = {row.case_id: row.part for row in table}
        rows = {
            part: [i for i in truth.marks if part_of.get(adapter.index[i].case_id) == part]
            for part in PARTS
        }
        rules = self._rules(truth, rows["train"], core)
        parts = PARTS if self.config.second.patches != "none" else ("val", "test")
        with self.run_folder.timed(self.state, "candidates"):
            scans = {
                part: self._scans(adapter, rows[part], part, truth, first, rules)
                for part in parts
                if rows[part] and not (part == "test" and self.trial is not None)
            }
        rule = hit_rule(self.config.evaluate, volume=first.record.volume)
        stages = [self._first_stage(scans["val"], rule)]
        atlas = None
        if self.config.second.patches != "none":
            with self.run_folder.timed(self.state, "second stage"):
                size = usual_size(truth, rows["train"])
                second, rounds, atlas = self._second(adapter, scans, first, rules, rule, size)
                scans = {part: scans[part] for part in ("val", "test") if part in scans}
                scans = self._rescored(adapter, scans, second)
            stages += rounds
        self._conclude(adapter, scans, truth, rules, first, rule, stages, atlas)

    def _truth(self, adapter: Adapter) -> Truth:
        """Lesions of all cases."""
        with self.reporter.task("reading lesions", len(adapter)) as step:
            return gather(
                adapter,
                range(len(adapter)),
                radius=self.config.data.radius,
                kept=self.run_folder.checkpoints / "lesions.json",
                progress=step,
            )

    def _trained(self, adapter: Adapter, truth: Truth) -> tuple[First, float]:
        """The first stage, fitted, and the part of a lesion that was painted for it."""
        folder, radius = self.run_folder.path / FIRST, self.config.data.radius
        plain = Painted(adapter, radius=radius)
        cutting = self.config.data.segmentation()
        cut = choose_parts(plain, cutting, seed=self.config.seed)
        if self.config.second.patches != "none":
            with self.reporter.task("comparing with pretraining", len(adapter)) as step:
                check_weights(adapter, cut, cutting, self.config.second.weights, step)
        train = [i for i in truth.marks if cut.parts[i] == "train"]
        core = painted_core(self.config, truth, train)
        config = self.config.first(largest=patch_limit(truth, train))
        painted = Painted(adapter, radius=radius, core=core)
        options = (self.source, folder, config, self.reporter, painted)
        with self.run_folder.timed(self.state, "first stage"):
            if self.config.way == "boxes":
                BoxFit(*options, boxes=self.config.boxes, core=core, trial=self.trial).run()
            else:
                Fit(*options, self.trial).run()
        return load_first(folder, self.config.way), core

    def _first_stage(self, scans: Sequence[Scan], rule: HitRule) -> dict[str, Any]:
        """Figures of the first stage alone on validation."""
        evaluate = self.config.evaluate
        marks = marks_of_class(scans, rule, None, per=evaluate.per)
        figures = summarise_froc(marks, n_boot=evaluate.n_boot, seed=self.config.seed)
        return {"stage": "first stage", "froc": figures["froc"], "cpm": figures["cpm"]}

    def _second(
        self,
        adapter: Adapter,
        scans: dict[str, list[Scan]],
        first: First,
        rules: PeakRules,
        rule: HitRule,
        size: float,
    ) -> tuple[Second, list[dict[str, Any]], Bank]:
        """Train the second stage and write it into the run folder."""
        fit = SecondFit(
            adapter,
            self.config,
            plan_cut(self.config.second, first.record, size),
            rule,
            policy=first_policy(self.run_folder.path / FIRST),
            folder=self.run_folder.checkpoints / SECOND,
            fingerprint=f"{record_sha256(self.run_folder.path / FIRST)}|{rules}",
            reporter=self.reporter,
        )
        second, rounds, atlas = fit.run(scans["train"], scans["val"])
        folder = self.run_folder.path / SECOND
        save_second(second, self.config, len(adapter.class_names), folder)
        return second, rounds, atlas

    def _rescored(
        self, adapter: Adapter, scans: dict[str, list[Scan]], second: Second
    ) -> dict[str, list[Scan]]:
        found: dict[str, list[Scan]] = {}
        for part, mine in scans.items():
            with self.reporter.task(f"looking again, {part}", len(mine)) as step:
                found[part] = []
                for done, scan in enumerate(mine, start=1):
                    again = second.rescored(adapter[scan.row], scan.found)
                    found[part].append(replace(scan, found=again))
                    step(done, len(mine))
        return found

    def _rules(self, truth: Truth, train: Sequence[int], core: float) -> PeakRules:
        wish = self.config.candidates
        apart = usual_distance(truth, train) if wish.apart == "auto" else wish.apart
        return PeakRules(floor=wish.floor, apart=apart, most=wish.most, core=core)

    def _scans(
        self,
        adapter: Adapter,
        rows: Sequence[int],
        part: str,
        truth: Truth,
        first: First,
        rules: PeakRules,
    ) -> list[Scan]:
        """Candidates of a part; a killed run does not look for them again."""
        key = f"{record_sha256(self.run_folder.path / FIRST)[:16]}|{rules}"
        folder = self.run_folder.checkpoints / "candidates"
        scans = []
        with self.reporter.task(f"finding candidates, {part}", len(rows)) as step:
            for done, row in enumerate(rows, start=1):
                kept = folder / f"{row:06d}.json"
                axes = len(truth.spacing[row])
                found = _kept(kept, key, axes)
                if found is None:
                    found = first.find(adapter[row], rules)
                    write_json(kept, {"key": key, **found.to_dict()})
                index = adapter.index[row]
                scans.append(
                    Scan(
                        row, index.case_id, index.patient_id, truth.marks[row], found,
                        truth.spacing[row], truth.sides[row],
                    )
                )  # fmt: skip
                step(done, len(rows))
        return scans

    def _conclude(
        self,
        adapter: Adapter,
        scans: dict[str, list[Scan]],
        truth: Truth,
        rules: PeakRules,
        first: First,
        rule: HitRule,
        stages: list[dict[str, Any]],
        atlas: Bank | None,
    ) -> None:
        evaluate, names = self.config.evaluate, tuple(adapter.class_names)
        with self.run_folder.timed(self.state, "evaluation"):
            thresholds = choose_thresholds(
                scans["val"], len(names), rule, per=evaluate.per, rate=evaluate.rate
            )
            figures = {
                part: score(
                    mine,
                    names,
                    rule,
                    per=evaluate.per,
                    thresholds=thresholds,
                    n_boot=evaluate.n_boot,
                    seed=self.config.seed,
                )
                for part, mine in scans.items()
            }
        path = self.run_folder.path
        record = DetectionRecord(
            class_names=names,
            volume=first.record.volume,
            way=self.config.way,
            first_sha256=record_sha256(path / FIRST),
            second_sha256=record_sha256(path / SECOND) if len(stages) > 1 else None,
            floor=rules.floor,
            apart=rules.apart,
            most=rules.most,
            core=rules.core,
            rule=rule.rule,
            limit=rule.limit,
            per=evaluate.per,
            thresholds=thresholds,
            rate=evaluate.rate,
            calibration=fit_lines(scans["val"], rule, len(names)),
            radius=self.config.data.radius,
            modality=first.record.modality,
            data_hash=first.record.data_hash,
            train_ids=first.record.train_ids,
            radzoo=version(),
        )
        save_record(record, path)
        write_candidates(path / "candidates.csv", scans, record)
        notes = (*adapter.notes, *truth.notes())
        facts = write_metrics(path, self.config, figures, record, stages, notes, self.state)
        self.state.validated = True
        if self.trial is not None:
            self.run_folder.write(self.state)
            return
        part = facts["part"]
        finished = FinishedDetection(
            self.config, adapter, part, scans[part], figures[part], record, facts, atlas
        )
        write_pages(path, finished)
        self.state.finished = True
        self.run_folder.settle(self.state, self.config)


def _kept(path: Path, key: str, axes: int) -> Found | None:
    """Candidates of an earlier attempt with the same network and rules."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Found.from_dict(content, axes) if content["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def fit(
    source: str | Path,
    out: str | Path,
    config: DetectionConfig | None = None,
    *,
    reporter: Reporter | None = None,
    trial: Trial | None = None,
) -> dict[str, Any]:
    """Fit, evaluate and report; resume what was interrupted.

    Args:
        source: Anything ``data_adapters.open`` takes that has lesions or masks.
        out: The run folder. New or empty, or that of the same run.
        config: The run's configuration, defaults where None.
        reporter: Progress; quiet where None.
        trial: Stop before the test part and report every round; None finishes the run.

    Returns:
        The summary: part, ``n``, figures with intervals, and the files written.

    Raises:
        recipes.errors.RecipeError: Configuration, truth or run folder do not allow the run.
        data_adapters.errors.DataError: The data cannot be read, cut or leak.
        zoo.errors.ZooError: The backbone or its weights are not to be had.
    """
    config = config or DetectionConfig()
    if config.plan.file is not None and config.model.network == "patch":
        raise RecipeError("plan.file names the network; leave model.network out")
    with reporter or Reporter(quiet=True) as live:
        return DetectionFit(str(source), Path(out), config, live, trial).run()
