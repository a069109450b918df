"""The fit of a cascade: its first stage, what that hands on, and then the run's own network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from data_adapters.adapter import Adapter
from data_adapters.split_table import read_splits
from recipes.errors import RunFolderError
from recipes.segmentation.cascade import (
    Guided,
    check_resolution,
    first_adapter,
    first_config,
    second_config,
    second_plan,
    seen_adapter,
    write_guides,
)
from recipes.segmentation.config import SegmentationConfig
from recipes.segmentation.data import Prepared
from recipes.segmentation.fitting import Fit, prepare_shown
from recipes.segmentation.outputs import read_summary
from recipes.segmentation.record import CascadeRecord
from recipes.segmentation.rules import Machine
from recipes.segmentation.segmenter import FIRST, Segmenter, record_sha256


class CascadeFit(Fit):
    """A fit whose cases are led by a network that it fits before, in the folder ``first``."""

    def _own_share(self, config: SegmentationConfig) -> SegmentationConfig:
        return second_config(config)

    def _prepared(self, adapter: Adapter, machine: Machine, path: Path) -> Prepared:
        cascade = self.config.cascade
        folder = self.run_folder.path / FIRST
        seen = seen_adapter(adapter, cascade)
        if cascade.kind == "resolution":
            check_resolution(adapter)
        self.reporter.say("first stage")
        self._fit_first(adapter, folder)
        led, without = self._led(adapter, folder)
        self.reporter.say("second stage")
        prepared = prepare_shown(
            led,
            self.planned_by,
            machine,
            self.reporter,
            kept=path,
            seen=seen,
            amend=lambda plan: second_plan(plan, cascade),
        )
        self._check_parts(prepared, folder)
        self.more_facts["cascade"] = {
            "kind": cascade.kind,
            "first": _first_facts(folder),
            "without": without,
        }
        return prepared

    def _fit_first(self, adapter: Adapter, folder: Path) -> None:
        first = first_config(self.config, adapter.class_names)
        led = first_adapter(adapter, self.config.cascade)
        Fit(self.source, folder, first, self.reporter, led, self.trial).run()

    def _led(self, adapter: Adapter, folder: Path) -> tuple[Adapter, int]:
        """The cases with what the first stage hands on, and how many it found nothing in."""
        cascade = self.config.cascade
        first = Segmenter.load(folder)
        key = record_sha256(folder)[:16]
        guides = self.run_folder.checkpoints / "guides" / key
        train = {row.case_id for row in read_splits(folder / "splits.csv") if row.part == "train"}
        rows = {i for i, row in enumerate(adapter.index) if row.case_id in train}
        with self.reporter.task("first stage: leading cases", len(adapter)) as step:
            without = write_guides(
                first, adapter, guides, cascade=cascade, train=rows, progress=step
            )
        led = Guided(adapter, guides, cascade.kind, first.record.class_names, key)
        if without:
            led.notes = (*adapter.notes, _note(cascade.kind, without, len(adapter) - len(rows)))
        return led, without

    def _check_parts(self, prepared: Prepared, folder: Path) -> None:
        first = {row.case_id: row.part for row in read_splits(folder / "splits.csv")}
        own = {row.case_id: row.part for row in prepared.split_table()}
        if own != first:
            raise RunFolderError(
                "the first stage in this run folder was trained on other parts; choose another "
                "--out"
            )

    def _led_by(self) -> CascadeRecord:
        kind = self.config.cascade.kind
        assert kind != "none"
        return CascadeRecord(kind=kind, first_sha256=record_sha256(self.run_folder.path / FIRST))


def _first_facts(folder: Path) -> dict[str, Any]:
    """What the report says of the first stage."""
    summary = read_summary(folder)
    return {
        "part": summary["part"],
        "n": summary["n"],
        "dice": summary["metrics"]["dice"],
        "schedule": read_schedule(folder),
    }


def read_schedule(folder: Path) -> dict[str, Any]:
    """Steps and rounds that a finished run trained."""
    content = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return dict(content["training"]["schedule"])


def _note(kind: str, without: int, outside: int) -> str:
    what, seen = ("organ", "whole") if kind == "region" else ("class", "without its help")
    return (
        f"In {without} of {outside} cases outside training the first network found no {what}, and "
        f"the second one saw them {seen}."
    )
