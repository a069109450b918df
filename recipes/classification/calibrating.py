"""``radzoo classify calibrate``: say how sure a finished run is, also one made before it could."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data_adapters.adapter import Adapter
from data_adapters.split_table import read_splits
from recipes.classification.config import ClassificationConfig
from recipes.classification.data import labelled, make_targets, open_data, require_classes
from recipes.classification.evaluating import match_classes
from recipes.classification.inference import infer
from recipes.classification.recalibrated import renewed
from recipes.classification.sureness import (
    Sample,
    Sureness,
    fit_uncertainty,
    judge_part,
    reference_rows,
)
from recipes.config import load_config
from recipes.engine.checkpoint import write_atomic
from recipes.engine.losses import probabilities
from recipes.engine.modelfile import ModelRecord, load_model
from recipes.errors import ConfigError, RecipeError
from recipes.evaluation.assess import evaluate
from recipes.progress import Reporter
from recipes.runs import RunFolder
from recipes.uncertainty.record import (
    ARRAYS_FILE,
    RECORD_FILE,
    Uncertainty,
    save_uncertainty,
)

PREFIX = "uncertainty."


def calibrate(
    run: str | Path,
    source: str | Path,
    changes: Sequence[str] = (),
    *,
    n_boot: int = 1000,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Fit temperature, prediction sets and the foreign-case score of a finished run.

    The run's own validation cases calibrate, its training cases are what distance is measured
    from; both are found in the data by their ids and proved by their pixels. What was there is
    replaced, also in ``metrics.json``, ``predictions.csv``, the report and the model card. Test
    cases, where the data hold all of the run's, are judged anew; they choose nothing.

    Args:
        run: Run folder of a finished fit.
        source: The data it was fitted on.
        changes: ``"uncertainty.coverage=0.95"`` texts; the run's own settings otherwise.
        n_boot: Bootstrap replicates of the figures.
        reporter: Progress; quiet where None.

    Returns:
        ``validation``: figures of the validation part, judged by folds; ``test``: of the test
        part, where it is there; ``files`` written.

    Raises:
        recipes.errors.RecipeError: The run or the data do not fit, or a change is not of this
            section.
        data_adapters.errors.DataError: The data cannot be read.
    """
    folder = Path(run)
    foreign = [text for text in changes if not text.strip().startswith(PREFIX)]
    if foreign:
        raise ConfigError(f"--set {foreign[0]}: only keys that begin with {PREFIX!r} change here")
    config = load_config(ClassificationConfig, file=folder / "config.yaml", changes=changes)
    with reporter or Reporter(quiet=True) as live, RunFolder(folder).lock():
        model, record = load_model(folder)
        adapter = open_data(str(source), config.data)
        require_classes(adapter)
        _, notes = match_classes(adapter, record)
        cases = Cases(folder, model, record, adapter, live)
        found, parts, files = settle(cases, config, n_boot=n_boot, changes=changes)
    figures = {part: sure.figures for part, (_, sure) in parts.items()}
    if cases.lost:
        notes.append(
            f"The data lack {cases.lost} of the run's test cases, so the test part is not judged "
            "anew; its earlier figures of uncertainty were taken out."
        )
    return {
        "validation": figures.get("val"),
        "test": figures.get("test"),
        "notes": [*notes, *found.record.notes],
        "files": files,
    }


class Cases:
    """The cases of a run's parts, found in an adapter, and what the model makes of them.

    Attributes:
        places: Part -> adapter indices; ``test`` only where all of the run's test cases are here.
        lost: Test cases of the run that are not.
    """

    def __init__(
        self, folder: Path, model: Any, record: ModelRecord, adapter: Adapter, live: Reporter
    ) -> None:
        """Find the cases; nothing is predicted yet.

        Raises:
            RecipeError: No training or no validation case of the run is in the data.
        """
        self.folder, self.model, self.record = folder, model, record
        self.adapter, self.live = adapter, live
        self.places = find_parts(folder, adapter)
        wanted = [row for row in read_splits(folder / "splits.csv") if row.part == "test"]
        self.lost = len(wanted) - len(self.places.get("test", ()))
        if self.lost:
            self.places.pop("test", None)
        self._samples: dict[str, Sample] = {}

    def ids(self, part: str) -> list[str]:
        """Case ids of a part, in the order of its sample."""
        return [self.adapter.index[i].case_id for i in self.places[part]]

    def targets(self, places: Sequence[int]) -> npt.NDArray[np.float32]:
        """Targets of cases in the order of the model's classes."""
        return _targets(self.adapter, self.record, list(places))

    def sample(self, part: str) -> Sample:
        """Outputs for all cases of a part; predicted once."""
        if part not in self._samples:
            self._samples[part] = self.outputs(self.places[part], part)
        return self._samples[part]

    def outputs(self, places: list[int], name: str) -> Sample:
        """Outputs for some cases, proved by their pixels.

        Raises:
            RecipeError: A case has other pixels than the run's, or cannot be read.
        """
        return _sample(self.model, self.record, self.adapter, places, self.folder, self.live, name)


def settle(
    cases: Cases, config: ClassificationConfig, *, n_boot: int, changes: Sequence[str] | None
) -> tuple[Uncertainty, dict[str, tuple[list[str], Sureness]], list[str]]:
    """Calibrate, judge, and bring every file of the run folder up to date.

    Args:
        cases: The run's.
        config: Its configuration.
        n_boot: Bootstrap replicates.
        changes: Settings that were given with the command, as the report shows them; None where
            the run has not been calibrated before.

    Returns:
        What was found; for each part that was judged its case ids and what is said of it; and
        names of the files written.
    """
    found, arrays = calibration_of(cases, config)
    parts: dict[str, tuple[list[str], Sureness]] = {}
    for part in ("test", "val"):
        if part in cases.places:
            sure = judged(found, cases, part, n_boot=n_boot, seed=config.seed)
            if sure is not None:
                parts[part] = (cases.ids(part), sure)
    others = {}
    if parts:
        names = cases.record.class_names
        others = renewed(cases.folder, parts, changes=changes, class_names=names)
    save_uncertainty(found, cases.folder, arrays)
    for name, text in others.items():
        write_atomic(cases.folder / name, text.encode())
    return found, parts, [RECORD_FILE, ARRAYS_FILE, *others]


def calibration_of(cases: Cases, config: ClassificationConfig) -> tuple[Uncertainty, bytes]:
    """Calibrate on the validation cases of a run; see `sureness.fit_uncertainty`."""
    record, settings = cases.record, config.uncertainty
    train = cases.places["train"]
    targets = cases.targets(train)
    chosen = reference_rows(targets, record.kind, most=settings.train_cases, seed=config.seed)
    reference = cases.outputs([train[i] for i in chosen], "reference")
    return fit_uncertainty(
        reference.embeddings,
        reference.targets,
        cases.sample("val"),
        settings,
        class_names=record.class_names,
        kind=record.kind,
        model_sha256=record.model_sha256,
        seed=config.seed,
    )


def judged(
    found: Uncertainty, cases: Cases, part: str, *, n_boot: int, seed: int
) -> Sureness | None:
    """What is said of a part; see `sureness.judge_part`."""
    record, sample = cases.record, cases.sample(part)
    plain = evaluate(
        sample.targets.argmax(axis=1) if record.kind == "single" else sample.targets,
        probabilities(sample.logits, task=record.kind),
        sample.groups,
        class_names=record.class_names,
        positive=record.positive,
        task=record.kind,
        n_boot=n_boot,
        seed=seed,
    )
    return judge_part(
        found,
        sample,
        plain,
        positive=record.positive,
        calibrated_on=part == "val",
        n_boot=n_boot,
        seed=seed,
    )


def find_parts(folder: Path, adapter: Adapter) -> dict[str, list[int]]:
    """Places of a run's cases in an adapter, by case id: ``train``, ``val``, and ``test`` if any.

    Raises:
        RecipeError: The data hold no training or no validation case.
    """
    part_of = {row.case_id: row.part for row in read_splits(folder / "splits.csv")}
    parts: dict[str, list[int]] = {"train": [], "val": [], "test": []}
    for i, row in enumerate(adapter.index):
        part = part_of.get(row.case_id)
        if part in parts and labelled(row):
            parts[part].append(i)
    missing = [part for part in ("train", "val") if not parts[part]]
    if missing:
        raise RecipeError(
            f"these data hold none of the run's {' and '.join(missing)} cases; give the data the "
            "run was fitted on (and RADZOO_SALT, if its case ids were made with another salt)"
        )
    return {part: places for part, places in parts.items() if places}


def _targets(adapter: Adapter, record: ModelRecord, places: list[int]) -> npt.NDArray[np.float32]:
    order, _ = match_classes(adapter, record)
    rows = tuple(adapter.index[i] for i in places)
    targets = make_targets(rows, record.kind, len(adapter.class_names))
    return np.pad(targets, ((0, 0), (0, 1)))[:, order]


def _sample(
    model: Any,
    record: ModelRecord,
    adapter: Adapter,
    places: list[int],
    folder: Path,
    live: Reporter,
    name: str,
) -> Sample:
    with live.task(f"predicting {name}", len(places)) as step:
        found = infer(model, record, adapter, places, embed=True, progress=step)
    known = {row.case_id: row.pixel_sha256 for row in read_splits(folder / "splits.csv")}
    index = adapter.index
    same = [
        digest == known[index[i].case_id]
        for i, digest in zip(found.indices, found.sha256, strict=True)
    ]
    if sum(same) < len(places):
        raise RecipeError(
            f"{len(places) - sum(same)} of {len(places)} {name} cases have other pixels than the "
            "run's, or cannot be read; give the data the run was fitted on"
        )
    assert found.embeddings is not None
    kept = [int(i) for i in found.indices]
    groups = [index[i].patient_id for i in kept]
    return Sample(found.logits, found.embeddings, _targets(adapter, record, kept), groups)
