"""Training of the second stage in rounds, and its use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from data_adapters.adapter import Adapter
from data_adapters.case import Case
from data_adapters.patches import PatchPolicy
from recipes.config import digest
from recipes.detection.boxes.finder import BoxRecord
from recipes.detection.candidates import Found
from recipes.detection.config import DetectionConfig, SecondConfig
from recipes.detection.scoring import Scan, marks_of_class
from recipes.detection.second.bank import Amounts, Bank, make_bank, truth_of
from recipes.detection.second.cutting import Cut, cut_patch, pixels
from recipes.detection.second.fusing import choose_share, fused
from recipes.detection.second.network import build, log_odds, train
from recipes.detection.truth import spacing_of
from recipes.engine.loop import Hooks
from recipes.engine.modelfile import open_model, read_record, save_model, save_record
from recipes.errors import ConfigError, RecipeError
from recipes.evaluation.froc.hits import HitRule
from recipes.evaluation.froc.summary import summarise_froc
from recipes.progress import Reporter
from recipes.segmentation.record import SegmentationRecord

SECOND = "second"
"""Folder of the second stage inside the run folder."""
Odds = npt.NDArray[np.float64]


class SecondRecord(BaseModel):
    """``second/model.json``.

    Attributes:
        task: What it is.
        kind: As of `Cut`.
        side: Likewise.
        field: Likewise.
        window: Likewise.
        share: Of its log odds in the fused score.
        classes: Classes of lesions.
        backbone: Name in the registry.
        model_sha256: Hash of ``second/model.keras``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: Literal["detection-second"] = "detection-second"
    kind: Literal["2d", "2.5d", "3d"]
    side: int
    field: float
    window: tuple[float, float] | None
    share: float
    classes: int
    backbone: str
    model_sha256: str

    def cut(self) -> Cut:
        """How patches are cut."""
        return Cut(self.kind, self.side, self.field, self.window)


@dataclass(frozen=True)
class Second:
    """The second network ready for use.

    Attributes:
        model: The network.
        cut: How patches are cut.
        share: Of its log odds in the fused score.
    """

    model: keras.Model
    cut: Cut
    share: float

    @classmethod
    def load(cls, folder: Path) -> Second:
        """Open the second stage of a run folder.

        Raises:
            RunFolderError: A file is missing or damaged.
        """
        record = read_record(folder, SecondRecord)
        model = open_model(folder, record.model_sha256)
        if model.output_shape[-1] != record.classes + 1:
            raise RecipeError(
                f"{SECOND}/model.keras has {model.output_shape[-1]} outputs for {record.classes} "
                "classes and none"
            )
        return cls(model, record.cut(), record.share)

    def rescored(self, case: Case, found: Found) -> Found:
        """The candidates with the scores of both stages."""
        patches = candidate_patches(case, found, self.cut)
        return fused(found, log_odds(self.model, patches, found.labels), self.share)


def candidate_patches(case: Case, found: Found, cut: Cut) -> npt.NDArray[np.uint8]:
    """A patch around every candidate of a case, neither moved nor turned."""
    if not len(found.labels):
        return np.empty((0, *cut.shape(case.image.shape[-1])), np.uint8)
    scaled, spacing = pixels(case, cut), spacing_of(case)
    return np.stack([cut_patch(scaled, spacing, one, cut, None) for one in found.centres])


class SecondFit:
    """Trains the second stage; every step leaves files that a resumed run takes up."""

    def __init__(
        self,
        adapter: Adapter,
        config: DetectionConfig,
        cut: Cut,
        rule: HitRule,
        *,
        policy: PatchPolicy | None,
        folder: Path,
        fingerprint: str,
        reporter: Reporter,
    ) -> None:
        """Keep what every round shares.

        Args:
            adapter: Where images come from.
            config: The run's configuration.
            cut: How patches are cut.
            rule: When a candidate hits.
            policy: The first stage's augmentation, which says what may be mirrored.
            folder: Folder of banks and checkpoints.
            fingerprint: Of the first stage and its candidates.
            reporter: Progress.
        """
        self.adapter, self.config, self.second = adapter, config, config.second
        self.cut, self.rule, self.folder, self.reporter = cut, rule, folder, reporter
        settings = [fingerprint, config.second.model_dump(mode="json"), str(cut), config.seed]
        self.key = digest(settings)[:16]
        self.classes = len(adapter.class_names)
        self.amounts = Amounts(
            self.second.views, self.second.negatives, self.second.anywhere, policy
        )

    def run(
        self, training: Sequence[Scan], validation: Sequence[Scan]
    ) -> tuple[Second, list[dict[str, Any]], Bank]:
        """Train the rounds and take the one with the highest CPM on validation.

        Args:
            training: Training images with the first stage's candidates.
            validation: Validation images likewise.

        Returns:
            The second stage; one record per round: ``cpm`` and ``froc`` of the fused scores on
            validation, the ``share``, every share's CPM, patches and epochs; and some of the
            patches that it learnt from, to be looked at.

        Raises:
            RecipeError: There is no candidate in validation, or no lesion in training.
        """
        per, seed = self.config.evaluate.per, self.config.seed
        keras.utils.set_random_seed(seed)
        patches = self._patches(validation, "validation")
        targets = [truth_of(scan, self.rule, self.classes) for scan in validation]
        held = Bank(np.concatenate(patches), np.concatenate(targets))
        if not len(held.targets):
            raise RecipeError(
                "the first stage finds no candidate in the validation part, so there is nothing "
                "for a second one to look at; train it longer, or lower candidates.floor"
            )
        model = build(self.second, held.images.shape[1:], self.classes)
        banks: list[Bank] = []
        best: tuple[float, list[Any], float] | None = None
        rounds = []
        for number in range(1, self.second.rounds + 1):
            if number > 1:
                training = self._harder(model, training)
            banks.append(self._bank(training, number))
            bank = _joined(banks)
            history = train(
                model,
                self.second,
                bank,
                held,
                round_=number,
                seed=seed + 1000 * number,
                folder=self.folder / f"round-{number}",
                fingerprint=self.key,
                hooks=partial(self._hooks, number),
            )
            odds = [
                log_odds(model, mine, scan.found.labels)
                for mine, scan in zip(patches, validation, strict=True)
            ]
            share, tried = choose_share(validation, odds, self.rule, per=per)
            mixed = [
                replace(scan, found=fused(scan.found, one, share))
                for scan, one in zip(validation, odds, strict=True)
            ]
            marks = marks_of_class(mixed, self.rule, None, per=per)
            figures = summarise_froc(marks, n_boot=self.config.evaluate.n_boot, seed=seed)
            rounds.append(
                {
                    "stage": f"second stage, round {number}", "share": share, "tried": tried,
                    "patches": len(bank.targets), "history": history,
                    "froc": figures["froc"], "cpm": figures["cpm"],
                }
            )  # fmt: skip
            value = figures["cpm"]["value"] or 0.0
            self.reporter.say(
                f"second stage, round {number}: {len(bank.targets)} patches, CPM {value:.3f} with "
                f"{share:.0%} of its score"
            )
            if best is None or value > best[0]:
                best = (value, [np.asarray(w) for w in model.get_weights()], share)
        assert best is not None
        model.set_weights(best[1])
        return Second(model, self.cut, best[2]), rounds, _some(_joined(banks), seed)

    def _bank(self, scans: Sequence[Scan], number: int) -> Bank:
        with self.reporter.task(f"cutting patches, round {number}", len(scans)) as step:
            return make_bank(
                self.adapter,
                scans,
                self.cut,
                self.amounts,
                self.rule,
                classes=self.classes,
                seed=self.config.seed + number,
                kept=self.folder / f"bank-{number}-{self.key}.npz",
                progress=step,
            )

    def _patches(self, scans: Sequence[Scan], what: str) -> list[npt.NDArray[np.uint8]]:
        found = []
        with self.reporter.task(f"cutting patches, {what}", len(scans)) as step:
            for done, scan in enumerate(scans, start=1):
                found.append(candidate_patches(self.adapter[scan.row], scan.found, self.cut))
                step(done, len(scans))
        return found

    def _harder(self, model: keras.Model, scans: Sequence[Scan]) -> list[Scan]:
        """Training images whose candidates are in the order of the network's own mistakes."""
        harder = []
        with self.reporter.task("looking at false positives", len(scans)) as step:
            for done, scan in enumerate(scans, start=1):
                patches = candidate_patches(self.adapter[scan.row], scan.found, self.cut)
                odds = log_odds(model, patches, scan.found.labels)
                harder.append(replace(scan, found=fused(scan.found, odds, 1.0)))
                step(done, len(scans))
        return harder

    def _hooks(self, number: int, epochs: int) -> Hooks:
        label = f"second stage, round {number}"
        current = {"epoch": 1}

        def batch(done: int, total: int) -> None:
            self.reporter.show(label, (current["epoch"] - 1) * total + done, epochs * total)

        def epoch(record: dict[str, Any]) -> None:
            current["epoch"] = record["epoch"] + 1
            self.reporter.say(
                f"{label} epoch {record['epoch']}/{epochs}: loss {record['loss']:.3f}, val AUC "
                f"{record['val_auc']:.4f}" + (" *" if record["best"] else "")
            )

        return Hooks(batch=batch, epoch=epoch)


def _joined(banks: Sequence[Bank]) -> Bank:
    return Bank(
        np.concatenate([bank.images for bank in banks]),
        np.concatenate([bank.targets for bank in banks]),
    )


def _some(bank: Bank, seed: int, each: int = 24) -> Bank:
    """A few patches of each kind."""
    rng = np.random.default_rng(seed)
    kinds = [np.flatnonzero(bank.targets == k) for k in np.unique(bank.targets)]
    rows = np.concatenate([rng.permutation(mine)[:each] for mine in kinds])
    return Bank(bank.images[rows], bank.targets[rows])


def plan_cut(config: SecondConfig, record: SegmentationRecord | BoxRecord, size: float) -> Cut:
    """How patches are cut: as asked, else by the kind of data.

    Args:
        config: Of the second stage.
        record: Of the first stage.
        size: A lesion's usual size, mm or pixels.

    Raises:
        ConfigError: Patches of volumes out of pictures.
    """
    kind = config.patches
    if kind == "auto":
        kind = "2.5d" if record.volume else "2d"
    assert kind != "none"
    if kind != "2d" and not record.volume:
        raise ConfigError(f"second.patches={kind}: the data are pictures; give 2d or auto")
    field = 3 * size if config.field == "auto" else config.field
    windows = [step["windows"][0] for step in record.chain if step["step"] == "windows"]
    window = None
    if windows:
        centre, width = windows[0]
        window = (centre - width / 2, centre + width / 2)
    return Cut(kind, config.side, round(field, 2), window)


def save_second(second: Second, config: DetectionConfig, classes: int, folder: Path) -> None:
    """Write ``second/model.keras`` and ``second/model.json`` of a run folder."""
    folder.mkdir(parents=True, exist_ok=True)
    sha256 = save_model(second.model, folder)
    cut = second.cut
    record = SecondRecord(
        kind=cut.kind, side=cut.side, field=cut.field, window=cut.window, share=second.share,
        classes=classes, backbone=config.second.backbone, model_sha256=sha256,
    )  # fmt: skip
    save_record(record, folder)
