"""The fit of a detector of boxes, in the folder of a first stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from data_adapters.adapter import Adapter
from recipes.classification.outputs import environment, write_csv
from recipes.detection.boxes.finder import BoxRecord
from recipes.detection.boxes.training import BoxTrainer
from recipes.detection.config import BoxConfig
from recipes.engine.checkpoint import write_json
from recipes.engine.devices import Devices
from recipes.engine.modelfile import save_model, save_record
from recipes.engine.trial import Trial
from recipes.errors import ConfigError
from recipes.progress import Reporter
from recipes.segmentation.augmenting import common_mirrors
from recipes.segmentation.config import SegmentationConfig
from recipes.segmentation.data import Prepared
from recipes.segmentation.fitting import Fit
from recipes.segmentation.outputs import run_facts
from recipes.segmentation.rules import Machine
from recipes.segmentation.train import Trained
from recipes.version import version


class BoxFit(Fit):
    """A fit of segmentation's shape whose network gives boxes."""

    watched = ("val_ap", "val AP")
    tests = False

    def __init__(
        self,
        source: str,
        out: Path,
        config: SegmentationConfig,
        reporter: Reporter,
        adapter: Adapter,
        *,
        boxes: BoxConfig,
        core: float,
        trial: Trial | None = None,
    ) -> None:
        """Keep the arguments.

        Args:
            source: Where the data come from.
            out: Folder of the stage.
            config: The stage's configuration, for a U-Net on the same backbone.
            reporter: Progress.
            adapter: Cases with painted masks.
            boxes: Settings of the detector.
            core: Part of a lesion's half axes that is painted.
            trial: Watches the rounds; this stage looks at no test part in any case.
        """
        super().__init__(source, out, config, reporter, adapter, trial)
        self.boxes = boxes
        self.core = core

    def _prepared(self, adapter: Adapter, machine: Machine, path: Path) -> Prepared:
        prepared = super()._prepared(adapter, machine, path)
        if prepared.plan.axes != prepared.fingerprint.axes:
            raise ConfigError(
                f"plan.dims={prepared.plan.dims:g}: boxes in volumes have three axes; give "
                "plan.dims=3, or way=map for slices"
            )
        return prepared

    def _finish(self, prepared: Prepared, devices: Devices) -> None:
        path = self.run_folder.path
        policy = self._begin(prepared)
        trained = self._train(prepared, policy, self._predictor(prepared), devices)
        names = prepared.plan.classes[1:]
        columns = ["member", "epoch", "loss", "val_ap", *(f"val_ap_{name}" for name in names)]
        columns += ["learning_rate", "seconds", "best"]
        rows = ([record[c] for c in columns] for record in trained.history)
        write_csv(path / "history.csv", columns, rows)
        mirrors = common_mirrors(prepared, policy) if self.config.evaluate.tta else ()
        self._save_boxes(prepared, mirrors, trained)
        best = max((record["val_ap"] for record in trained.history), default=0.0)
        facts = trained.facts | {
            "devices": devices.to_dict(),
            "augment": None if policy is None else policy.to_json(),
            "parameters": int(trained.members[0].count_params()),
            "stopped": trained.stopped,
        }
        figures: dict[str, Any] = {"n": len(prepared.rows("val")), "val_ap": best}
        content = {"part": "val", "seed": self.config.seed, "metrics": figures}
        content |= run_facts(prepared, facts)
        content |= {"environment": environment(), "seconds": self.state.seconds}
        write_json(path / "metrics.json", content)
        self.state.finished = True
        self.run_folder.settle(self.state, self.config)

    def _rewrite(self, prepared: Prepared) -> None:
        """There are no pages of its own to write again."""
        self.run_folder.settle(self.state, self.config)

    def _trainer(self, *args: Any, **options: Any) -> BoxTrainer:
        return BoxTrainer(*args, boxes=self.boxes, core=self.core, **options)

    def _save_boxes(self, prepared: Prepared, mirrors: tuple[int, ...], trained: Trained) -> None:
        plan = prepared.plan
        sha256 = save_model(trained.members[0], self.run_folder.path)
        record = BoxRecord(
            class_names=plan.classes[1:],
            axes=3 if plan.axes == 3 else 2,
            volume=prepared.fingerprint.axes == 3,
            channels=plan.channels,
            patch=plan.patch,
            chain=plan.chain,
            overlap=self.boxes.overlap,
            iou=self.boxes.iou,
            mirrors=mirrors,
            whole=self.config.evaluate.mode == "auto",
            modality=prepared.fingerprint.modality,
            data_hash=prepared.data_hash,
            train_ids=tuple(prepared.ids(prepared.rows("train") + prepared.rows("val"))),
            model_sha256=sha256,
            radzoo=version(),
        )
        save_record(record, self.run_folder.path)
