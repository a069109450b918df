"""``radzoo segment fit``: from masks to a model with its plan, figures and report, resumable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras

from data_adapters.adapter import Adapter
from data_adapters.patches import PatchPolicy
from data_adapters.split_table import write_splits
from recipes.engine.checkpoint import disk_error, write_json
from recipes.engine.devices import Devices, choose_devices
from recipes.engine.loop import Hooks
from recipes.engine.modelfile import save_model, save_record
from recipes.engine.trial import Trial
from recipes.evaluation.masks import ScoreOptions
from recipes.linting import checked, summary
from recipes.progress import Reporter
from recipes.runs import RunFolder, RunState
from recipes.segmentation.augmenting import choose_policy, common_mirrors
from recipes.segmentation.config import SegmentationConfig
from recipes.segmentation.data import Prepared, open_data, prepare
from recipes.segmentation.outputs import (
    read_summary,
    write_cases,
    write_history,
    write_metrics,
)
from recipes.segmentation.plan import PLAN_FILE, write_plan
from recipes.segmentation.prediction import Predictor
from recipes.segmentation.record import CascadeRecord, SegmentationRecord, join
from recipes.segmentation.rules import Machine, this_machine
from recipes.segmentation.scoring import Predicted, Scored, choose_steps, predict_part, score
from recipes.segmentation.train import Trained, Trainer
from recipes.version import version


class Fit:
    """One fit, in steps that each leave the run folder resumable.

    Attributes:
        watched: The validation figure that is shown round by round, and its name.
        tests: Whether it evaluates a test part where there is one.
    """

    watched = ("val_dice", "val Dice")
    tests = True

    def __init__(
        self,
        source: str,
        out: Path,
        config: SegmentationConfig,
        reporter: Reporter,
        adapter: Adapter | None = None,
        trial: Trial | None = None,
    ) -> None:
        """Keep the arguments; nothing is read yet. An adapter stands for the opened source."""
        self.source = source
        self.trial = trial
        self.config = config
        self.reporter = reporter
        self.given = adapter
        self.planned_by = self._own_share(config)
        self.more_facts: dict[str, Any] = {}
        self.run_folder = RunFolder(out)
        self.state: RunState

    def _own_share(self, config: SegmentationConfig) -> SegmentationConfig:
        """What the run's own network is planned and trained by: all of it, without a cascade."""
        return config

    def run(self) -> dict[str, Any]:
        """Do what is left to do and return the run's summary."""
        adapter = self.given or open_data(self.source, self.config.data)
        adapter, found = checked(adapter, self.config.data.lint, self.reporter)
        identity = adapter.identity()
        devices = choose_devices(self.config.train.devices, self.config.train.precision)
        choose_policy(
            adapter, self.config, volumes=False
        )  # the milder rules; again once it is known
        with self.run_folder.lock():
            self.state = self.run_folder.begin(self.config, identity)
            if self.trial is not None and self.tests:
                self.run_folder.check_trial(self.state)
            if (
                self.state.finished
                and self.state.source == identity
                and not self.run_folder.rewrite
            ):
                return read_summary(self.run_folder.path)
            if found is not None:
                write_json(self.run_folder.path / "lint.json", found.to_dict())
                self.reporter.say(f"lint: {summary(found)}")
            prepared = self._prepare(adapter, devices)
            self.run_folder.check_data(self.state, prepared.data_hash, identity)
            if self.run_folder.rewrite:
                self._rewrite(prepared)
            elif not self.state.finished:
                self._finish(prepared, devices)
            return read_summary(self.run_folder.path)

    def _prepare(self, adapter: Adapter, devices: Devices) -> Prepared:
        path = self.run_folder.path / PLAN_FILE
        machine = this_machine(gpu=devices.kind == "GPU")
        with self.run_folder.timed(self.state, "data"):
            prepared = self._prepared(adapter, machine, path)
        write_plan(prepared.plan, path)
        for reason in prepared.plan.reasons:
            self.reporter.say(f"plan: {reason}")
        for note in devices.notes:
            self.reporter.say(f"note: {note}")
        return prepared

    def _prepared(self, adapter: Adapter, machine: Machine, path: Path) -> Prepared:
        """Parts, plan and store; a plan kept in the path stays."""
        return prepare_shown(adapter, self.planned_by, machine, self.reporter, kept=path)

    def _begin(self, prepared: Prepared) -> PatchPolicy | None:
        """Write down the parts and choose the augmentation."""
        try:
            write_splits(self.run_folder.path / "splits.csv", prepared.split_table())
        except OSError as error:
            raise disk_error(error, "splits.csv") from error
        found = prepared.fingerprint
        return choose_policy(
            prepared.adapter, self.config, volumes=found.axes == 3, sided=found.sided
        )

    def _finish(self, prepared: Prepared, devices: Devices) -> None:
        path = self.run_folder.path
        policy = self._begin(prepared)
        predictor = self._predictor(prepared)
        trained = self._train(prepared, policy, predictor, devices)
        write_history(path / "history.csv", trained.history, prepared.plan.classes)
        with self.run_folder.timed(self.state, "evaluation"):
            mirrors = common_mirrors(prepared, policy) if self.config.evaluate.tta else ()
            predicted = self._predict(trained.members, prepared, "val", predictor, mirrors)
            steps: tuple[dict[str, Any], ...] = ()
            if self.config.evaluate.postprocess:
                steps = choose_steps(predicted, prepared.plan.classes)
            if not self.run_folder.kept_model(self.state):
                self._save(prepared, mirrors, steps, join(trained.members))
            scored = [self._score(prepared, predicted, steps)]
            if prepared.rows("test") and self.trial is None:
                tested = self._predict(trained.members, prepared, "test", predictor, mirrors)
                scored.insert(0, self._score(prepared, tested, steps))
        facts = (
            trained.facts
            | self.more_facts
            | {
                "devices": devices.to_dict(),
                "augment": None if policy is None else policy.to_json(),
                "parameters": int(trained.members[0].count_params()),
                "mirrors": list(mirrors),
                "postprocess": list(steps),
                "stopped": trained.stopped,
            }
        )
        self.state.validated = True
        write_cases(path / "cases.csv", scored)
        write_metrics(path, self.config, prepared, scored, facts, self.state)
        if self.trial is not None:
            self.run_folder.write(self.state)
            return
        self._pages(prepared, scored, trained, facts)
        self.state.finished = True
        self.run_folder.settle(self.state, self.config)

    def _pages(
        self, prepared: Prepared, scored: list[Scored], trained: Trained, facts: dict[str, Any]
    ) -> None:
        from recipes.segmentation.pages import write_pages

        write_pages(self.run_folder.path, self.config, prepared, scored, trained, facts, self.state)

    def _rewrite(self, prepared: Prepared) -> None:
        """Write the pages again from the run's own files: nothing is trained or predicted."""
        from recipes.segmentation.stored import read_run

        stored = read_run(self.run_folder, prepared)
        self._pages(prepared, *stored)
        self.run_folder.settle(self.state, self.config)

    def _predictor(self, prepared: Prepared) -> Predictor:
        plan, evaluate = prepared.plan, self.config.evaluate
        return Predictor(
            axes=plan.axes,
            patch=plan.patch,
            neighbours=plan.neighbours,
            mode=evaluate.mode,
            overlap=evaluate.overlap,
            fill=0.0 if plan.network.kind == "patch" else None,
        )

    def _train(
        self,
        prepared: Prepared,
        policy: PatchPolicy | None,
        predictor: Predictor,
        devices: Devices,
    ) -> Trained:
        with self.run_folder.timed(self.state, "training"):
            return self._trainer(
                prepared,
                self.planned_by,
                folder=self.run_folder.checkpoints,
                policy=policy,
                predictor=predictor,
                devices=devices,
                hooks=self._hooks,
                say=self.reporter.say,
            ).run()

    def _trainer(self, *args: Any, **options: Any) -> Trainer:
        return Trainer(*args, **options)

    def _hooks(self, member: int, rounds: int) -> Hooks:
        label = f"model {member + 1}/{self.config.model.members}"
        key, name = self.watched
        current = {"round": 1}

        def batch(done: int, total: int) -> None:
            self.reporter.show(label, (current["round"] - 1) * total + done, rounds * total)

        def epoch(record: dict[str, Any]) -> None:
            current["round"] = record["epoch"] + 1
            if self.trial is not None:
                self.trial.epoch(record)
            self.reporter.say(
                f"{label} round {record['epoch']}/{rounds}: loss {record['loss']:.3f}, "
                f"{name} {record[key]:.4f}" + (" *" if record["best"] else "")
            )

        return Hooks(batch=batch, epoch=epoch)

    def _predict(
        self,
        members: list[keras.Model],
        prepared: Prepared,
        part: str,
        predictor: Predictor,
        mirrors: tuple[int, ...],
    ) -> Predicted:
        rows = prepared.rows(part)
        with self.reporter.task(f"predicting {part}", len(rows)) as step:
            return predict_part(
                members,
                prepared,
                part,
                predictor,
                mirrors=mirrors,
                folder=self.run_folder.checkpoints / "predicted",
                progress=step,
            )

    def _score(
        self, prepared: Prepared, predicted: Predicted, steps: tuple[dict[str, Any], ...]
    ) -> Scored:
        evaluate = self.config.evaluate
        options = ScoreOptions(tolerance=evaluate.tolerance, membranes=evaluate.membranes)
        with self.reporter.task(f"scoring {predicted.part}", len(predicted)) as step:
            return score(
                predicted,
                class_names=prepared.plan.classes,
                steps=steps,
                options=options,
                n_boot=self.config.evaluate.n_boot,
                seed=self.config.seed,
                progress=step,
            )

    def _save(
        self,
        prepared: Prepared,
        mirrors: tuple[int, ...],
        steps: tuple[dict[str, Any], ...],
        model: keras.Model,
    ) -> None:
        plan = prepared.plan
        seen = prepared.rows("train") + prepared.rows("val")
        sha256 = save_model(model, self.run_folder.path)
        record = SegmentationRecord(
            class_names=plan.classes,
            axes=3 if plan.axes == 3 else 2,
            neighbours=plan.neighbours,
            volume=prepared.fingerprint.axes == 3,
            channels=plan.channels // (2 * plan.neighbours + 1),
            patch=plan.patch,
            chain=plan.chain,
            spacing=plan.spacing or prepared.fingerprint.spacing,
            fill=self._predictor(prepared).fill,
            mirrors=mirrors,
            mode=self.config.evaluate.mode,
            overlap=self.config.evaluate.overlap,
            postprocess=steps,
            tolerance=self.config.evaluate.tolerance,
            membranes=self.config.evaluate.membranes,
            cascade=self._led_by(),
            modality=prepared.fingerprint.modality,
            members=self.config.model.members,
            data_hash=prepared.data_hash,
            train_ids=tuple(prepared.ids(seen)),
            model_sha256=sha256,
            radzoo=version(),
        )
        save_record(record, self.run_folder.path)

    def _led_by(self) -> CascadeRecord | None:
        """The stage before this one."""
        return None


def prepare_shown(
    adapter: Adapter,
    config: SegmentationConfig,
    machine: Machine,
    reporter: Reporter,
    *,
    kept: Path | None = None,
    **more: Any,
) -> Prepared:
    """`prepare` with bars and whatever else it takes; a plan that is kept from before stays."""
    from recipes.segmentation.plan import Plan

    plan: Plan | None = None
    if kept is not None and kept.is_file():
        from recipes.config import load_config

        plan = load_config(Plan, file=kept)
    with (
        reporter.task("looking at cases", len(adapter)) as looking,
        reporter.task("storing cases", len(adapter)) as storing,
    ):
        prepared = prepare(
            adapter, config, machine, plan=plan, looking=looking, storing=storing, **more
        )
    counts = {part: len(prepared.rows(part)) for part in ("train", "val", "test")}
    reporter.say(
        "cases: "
        + ", ".join(f"{part} {n}" for part, n in counts.items())
        + f"; by {prepared.leakage.splits.unit}; {len(prepared.skipped)} skipped"
    )
    return prepared


def fit(
    source: str | Path,
    out: str | Path,
    config: SegmentationConfig | None = None,
    *,
    reporter: Reporter | None = None,
    trial: Trial | None = None,
) -> dict[str, Any]:
    """Fit, evaluate and report; resume what was interrupted.

    Args:
        source: Anything ``data_adapters.open`` takes that has masks.
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
    config = config or SegmentationConfig()
    recipe = Fit
    if config.cascade.kind != "none":
        from recipes.segmentation.stages import CascadeFit

        recipe = CascadeFit
    with reporter or Reporter(quiet=True) as live:
        return recipe(str(source), Path(out), config, live, trial=trial).run()
