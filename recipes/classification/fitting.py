"""``radzoo classify fit``: from labelled images to a validated, explained classifier."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import zoo
from data_adapters.adapter import Adapter
from data_adapters.augment_policy import AugmentPolicy, policy, suggest_bans, tta_views
from data_adapters.split_table import write_splits
from recipes.baselines.beside import FILE as BASELINES_FILE
from recipes.baselines.beside import Baselines, check_wishes
from recipes.classification.config import ClassificationConfig
from recipes.classification.data import Prepared, open_data, prepare, require_classes
from recipes.classification.outputs import (
    read_summary,
    write_history,
    write_metrics,
    write_predictions,
    write_report_pages,
)
from recipes.classification.schedule import Settings, resolve
from recipes.classification.scoring import Scored, Scorer
from recipes.classification.train import Trained, Trainer
from recipes.engine.checkpoint import disk_error, write_json
from recipes.engine.devices import Devices, choose_devices
from recipes.engine.loop import Hooks
from recipes.engine.modelfile import (
    ModelRecord,
    assemble,
    load_record,
    save_model,
    save_record,
)
from recipes.engine.trial import Trial
from recipes.errors import RunFolderError
from recipes.evaluation.operating_point import parse_rule
from recipes.fewlabels.opening import check_semi, open_unlabelled, write_unlabelled
from recipes.fewlabels.phase import unlabelled_facts
from recipes.linting import checked, summary
from recipes.progress import Reporter
from recipes.runs import RunFolder, RunState
from recipes.uncertainty.record import load_uncertainty
from recipes.version import version
from zoo.heads import check_levels
from zoo.weights.loading import find_weights


class Fit:
    """One fit, in steps that each leave the run folder resumable."""

    def __init__(
        self,
        source: str,
        out: Path,
        config: ClassificationConfig,
        reporter: Reporter,
        *,
        unlabelled: str | None = None,
        trial: Trial | None = None,
    ) -> None:
        """Keep the arguments; nothing is read yet."""
        self.source = source
        self.unlabelled = unlabelled
        self.config = config
        self.reporter = reporter
        self.trial = trial
        self.run_folder = RunFolder(out)
        self.state: RunState

    def run(self) -> dict[str, Any]:
        """Do what is left to do and return the run's summary."""
        adapter = open_data(self.source, self.config.data)
        require_classes(adapter)
        adapter, found = checked(adapter, self.config.data.lint, self.reporter)
        further = None
        identity = adapter.identity()
        if self.unlabelled is not None:
            further = open_unlabelled(self.unlabelled, self.config.data)
            identity = f"{identity}+{further.identity()}"
        known = self.run_folder.read()
        if known is None or not known.finished:
            self._check_wishes(adapter)
        with self.run_folder.lock():
            self.state = self.run_folder.begin(self.config, identity)
            if self.trial is not None:
                self.run_folder.check_trial(self.state)
            if (
                self.state.finished
                and self.state.source == identity
                and not self.run_folder.rewrite
            ):
                return read_summary(self.run_folder.path)
            prepared = self._prepare(adapter, further)
            if found is not None:
                write_json(self.run_folder.path / "lint.json", found.to_dict())
                prepared = replace(prepared, notes=(*prepared.notes, f"lint: {summary(found)}"))
            self.run_folder.check_data(self.state, prepared.data_hash, identity)
            if self.run_folder.rewrite:
                self._check_checkpoints()
            if not self.state.finished or self.run_folder.rewrite:
                self._finish(prepared)
            return read_summary(self.run_folder.path)

    def _check_wishes(self, adapter: Adapter) -> None:
        """Refuse what cannot be had before any work is done or any folder is made."""
        spec = zoo.get_spec(self.config.model.backbone)
        weights = self.config.model.weights
        find_weights(spec, None if weights == "none" else weights)
        if self.config.model.levels != "auto":
            check_levels(spec, self.config.model.levels)
        parse_rule(self.config.evaluate.operating_point)
        if self.config.evaluate.baselines:
            check_wishes(adapter.task, self.config.model.backbone)
        resolve(self.config, train_cases=1)
        devices = choose_devices(self.config.train.devices, self.config.train.precision)
        devices.check_batch(self.config.train.batch_size)
        if self.unlabelled is not None or self.config.semi.blank:
            check_semi(self.config, devices=len(devices.names))
        self._policy(adapter)

    def _prepare(self, adapter: Adapter, further: Adapter | None) -> Prepared:
        with (
            self.run_folder.timed(self.state, "data"),
            self.reporter.task("decoding", len(adapter)) as step,
        ):
            prepared = prepare(adapter, self.config, unlabelled=further, progress=step)
        counts = {part: len(prepared.rows(part)) for part in ("train", "val", "test")}
        self.reporter.say(
            "cases: "
            + ", ".join(f"{part} {n}" for part, n in counts.items())
            + f"; by {prepared.leakage.splits.unit}; {len(prepared.skipped)} skipped"
            + (f"; {len(prepared.unlabelled)} without a label" if prepared.unlabelled else "")
        )
        return prepared

    def _finish(self, prepared: Prepared) -> None:
        path = self.run_folder.path
        try:
            write_splits(path / "splits.csv", prepared.split_rows())
        except OSError as error:
            raise disk_error(error, "splits.csv") from error
        if prepared.unlabelled is not None:
            write_unlabelled(path, prepared.unlabelled)
        settings = resolve(self.config, train_cases=len(prepared.rows("train")))
        devices = self._devices()
        augmentation = self._policy(prepared.adapter)
        trained = self._train(prepared, settings, augmentation, devices)
        write_history(path / "history.csv", trained.history, prepared.class_names)
        with self.run_folder.timed(self.state, "evaluation"):
            model = assemble(trained.members)
            views = tta_views(augmentation) if self.config.evaluate.tta else [{"view": "identity"}]
            scorer = Scorer(prepared, self.config, self.reporter, model, views)
            val = scorer.sample("val")
            point = scorer.operating_point(val)
            threshold = None if point is None else point.threshold
            found = None
            kept = self.run_folder.rewrite or self.run_folder.kept_model(self.state)
            if kept and self.config.uncertainty.enabled:
                found = load_uncertainty(path, model_sha256=load_record(path).model_sha256)
            if not kept:
                sha256 = save_model(model, path)
                found = scorer.fit_uncertainty(val, sha256, path)
                save_record(self._record(prepared, settings, views, threshold, sha256), path)
            scored = [scorer.score("val", val, threshold, found)]
            if len(prepared.rows("test")) and self.trial is None:
                scored.insert(0, scorer.score("test", scorer.sample("test"), threshold, found))
            if not self.run_folder.rewrite:
                write_predictions(path / "predictions.csv", prepared, scored)
        facts = trained.facts | {
            "settings": settings.to_dict(),
            "devices": devices.to_dict(),
            "augment": augmentation.to_json(),
            "parameters": int(trained.members[0].count_params()),
            "views": len(views),
        }
        unlabelled = unlabelled_facts(prepared, self.config.semi, trained.history)
        if unlabelled is not None:
            facts["unlabelled"] = unlabelled
        if not self.run_folder.rewrite:
            self.state.validated = True
            write_metrics(path, self.config, prepared, scored, point, facts, self.state)
        if self.trial is not None:
            self.run_folder.write(self.state)
            return
        if self.config.evaluate.baselines and not self.run_folder.rewrite:
            self._baselines(prepared, scored[0], threshold)
            write_metrics(path, self.config, prepared, scored, point, facts, self.state)
        write_report_pages(path, self.config, prepared, scored, point, trained, facts, self.state)
        self.state.finished = True
        self.run_folder.settle(self.state, self.config)

    def _baselines(self, prepared: Prepared, shown: Scored, threshold: float | None) -> None:
        """Fit plain classifiers beside the network and write ``baselines.json``."""
        with self.run_folder.timed(self.state, "baselines"):
            beside = Baselines(prepared, self.config, self.reporter)
            found = beside.run(shown.part, shown.prob, threshold)
        write_json(self.run_folder.path / BASELINES_FILE, found)

    def _devices(self) -> Devices:
        """The devices of the run; what the user should know of them is said once."""
        devices = choose_devices(self.config.train.devices, self.config.train.precision)
        for note in devices.notes:
            self.reporter.say(f"note: {note}")
        return devices

    def _check_checkpoints(self) -> None:
        """Refuse to write pages again where that would mean to train again."""
        settings = resolve(self.config, train_cases=1)
        phases = (settings.head_epochs > 0) + (settings.finetune_epochs > 0)
        done = list(self.run_folder.checkpoints.glob("member-*/*-done.safetensors"))
        if len(done) < settings.members * phases:
            raise RunFolderError(
                "the report cannot be written again without the run's checkpoints, which are "
                "gone; choose another --out"
            )

    def _policy(self, adapter: Adapter) -> AugmentPolicy:
        augment = self.config.augment
        found = (*adapter.bans, *suggest_bans(adapter.class_names))
        return policy(
            self.config.data.modality or adapter.modality,
            strength=augment.strength,
            bans=(*augment.bans, *(ban for ban in found if ban not in augment.lift)),
            lift=augment.lift,
            overrides=augment.override,
        )

    def _train(
        self,
        prepared: Prepared,
        settings: Settings,
        augmentation: AugmentPolicy,
        devices: Devices,
    ) -> Trained:
        with self.run_folder.timed(self.state, "training"):
            return Trainer(
                prepared,
                self.config,
                settings,
                folder=self.run_folder.checkpoints,
                policy=augmentation,
                hooks=lambda member, phase, epochs: self._hooks(
                    member, settings.members, phase, epochs
                ),
                devices=devices,
            ).run()

    def _hooks(self, member: int, members: int, phase: str, epochs: int) -> Hooks:
        label = f"model {member + 1}/{members} {phase}"
        current = {"epoch": 1}

        def batch(done: int, total: int) -> None:
            epoch = current["epoch"]
            self.reporter.show(label, (epoch - 1) * total + done, epochs * total)

        def epoch(record: dict[str, Any]) -> None:
            current["epoch"] = record["epoch"] + 1
            if self.trial is not None:
                self.trial.epoch(record)
            if phase == "finetune":
                self.reporter.say(
                    f"{label} epoch {record['epoch']}/{epochs}: loss {record['loss']:.3f}, "
                    f"val loss {record['val_loss']:.3f}, val accuracy "
                    f"{record['val_accuracy']:.3f}, val AUC {record['val_auc']:.3f}"
                    + (" *" if record["best"] else "")
                )

        return Hooks(batch=batch, epoch=epoch)

    def _record(
        self,
        prepared: Prepared,
        settings: Settings,
        views: list[dict[str, Any]],
        threshold: float | None,
        model_sha256: str,
    ) -> ModelRecord:
        train = prepared.targets[prepared.rows("train")]
        weights = self.config.model.weights
        return ModelRecord(
            kind=prepared.kind,
            class_names=prepared.class_names,
            positive=prepared.positive,
            input_shape=prepared.input_shape,
            input_range=prepared.input_range,
            chain=prepared.chain,
            views=tuple(views),
            modality=prepared.modality,
            threshold=threshold,
            operating_rule=self.config.evaluate.operating_point,
            backbone=self.config.model.backbone,
            weights=weights if weights in ("imagenet", "none") else "file",
            members=settings.members,
            prevalence=tuple(float(p) for p in np.nan_to_num(np.nanmean(train, axis=0))),
            data_hash=prepared.data_hash,
            model_sha256=model_sha256,
            radzoo=version(),
        )


def fit(
    source: str | Path,
    out: str | Path,
    config: ClassificationConfig | None = None,
    *,
    unlabelled: str | Path | None = None,
    reporter: Reporter | None = None,
    trial: Trial | None = None,
) -> dict[str, Any]:
    """Fit, evaluate and report; resume what was interrupted.

    Args:
        source: A folder of class folders, a table, an npz; anything ``data_adapters.open`` takes.
        out: The run folder. New or empty, or that of the same run.
        config: The run's configuration, defaults where None.
        unlabelled: Further cases, learnt from as ``config.semi`` says; their labels, if they have
            any, are not looked at.
        reporter: Progress; quiet where None.
        trial: Stop before the test part and report every epoch; None finishes the run.

    Returns:
        The summary: part, ``n``, headline metrics with intervals, and the files written.

    Raises:
        recipes.errors.RecipeError: Configuration, labels or run folder do not allow the run.
        data_adapters.errors.DataError: The data cannot be read, cut or leak.
        zoo.errors.ZooError: The backbone or its weights are not to be had.
    """
    config = config or ClassificationConfig()
    further = None if unlabelled is None else str(unlabelled)
    with reporter or Reporter(quiet=True) as live:
        return Fit(str(source), Path(out), config, live, unlabelled=further, trial=trial).run()
