"""``radzoo pretrain``: weights for a backbone from cases without labels."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

import zoo
from data_adapters.adapter import Adapter
from data_adapters.augment import Augmenter
from data_adapters.augment_policy import AugmentPolicy, policy
from data_adapters.cache import Decoded, decode
from data_adapters.home import home
from recipes.classification.config import DataConfig
from recipes.classification.data import input_range_of, make_chain
from recipes.classification.outputs import environment, write_csv
from recipes.config import digest
from recipes.engine.checkpoint import PhaseCheckpoint, PhaseState, discard, disk_error, write_json
from recipes.engine.loop import LAST, Hooks, PhasePlan, run_phase
from recipes.errors import RecipeError
from recipes.fewlabels.config import PretrainConfig
from recipes.fewlabels.gate import SEEN, write_seen
from recipes.fewlabels.learners import bare_backbone, make_learner, watching
from recipes.fewlabels.losses import effective_rank, spread
from recipes.fewlabels.opening import check_backend, open_unlabelled
from recipes.fewlabels.pretrain_page import write_page
from recipes.fewlabels.unlabelled import TESTED
from recipes.progress import Reporter
from recipes.runs import RunFolder, RunState
from zoo.finetune import FineTunePolicy
from zoo.weights.loading import find_weights

WEIGHTS = "backbone.weights.h5"
COLLAPSED = 0.1
"""Spread of the embeddings below which the network counts as collapsed."""
FEW_DIRECTIONS = 1.5
"""Effective rank of the features below which it does."""
_WATCHED = 256
_COLUMNS = ("epoch", "loss", "embedding_spread", "feature_rank", "learning_rate", "seconds")


class Pretraining:
    """One pretraining, in steps that each leave its folder resumable."""

    def __init__(self, source: str, out: Path, config: PretrainConfig, reporter: Reporter) -> None:
        """Keep the arguments; nothing is read yet."""
        self.source = source
        self.config = config
        self.reporter = reporter
        self.folder = RunFolder(out)
        self.state: RunState

    def run(self) -> dict[str, Any]:
        """Do what is left to do and return the summary."""
        check_backend("pretraining")
        spec = zoo.get_spec(self.config.model.backbone)
        weights = self.config.model.weights
        find_weights(spec, None if weights == "none" else weights)
        data = self._data_config()
        adapter = open_unlabelled(self.source, data)
        augmentation = self._policy(adapter)
        identity = adapter.identity()
        with self.folder.lock():
            self.state = self.folder.begin(self.config, identity)
            if self.state.finished and self.state.source == identity:
                return self._summary()
            with (
                self.folder.timed(self.state, "data"),
                self.reporter.task("decoding", len(adapter)) as step,
            ):
                decoded = decode(adapter, make_chain(adapter, data), home=home(), progress=step)
            rows = self._rows(adapter, decoded)
            found = digest([[adapter.index[i].case_id, decoded.sha256[i]] for i in rows])
            self.folder.check_data(self.state, found, identity)
            limits = input_range_of(decoded, rows, data)
            self._train(adapter, decoded, rows, limits, augmentation, found)
            return self._summary()

    def _data_config(self) -> DataConfig:
        return DataConfig(**self.config.data.model_dump())

    def _policy(self, adapter: Adapter) -> AugmentPolicy:
        views = self.config.views
        return policy(
            self.config.data.modality or adapter.modality,
            strength=views.strength,
            bans=(*views.bans, *(ban for ban in adapter.bans if ban not in views.lift)),
            lift=views.lift,
        )

    def _rows(self, adapter: Adapter, decoded: Decoded) -> npt.NDArray[np.int64]:
        """Readable cases that the data do not call validation or test.

        Raises:
            RecipeError: Fewer than a batch.
        """
        rows = [
            i for i, row in enumerate(adapter.index) if decoded.ok[i] and row.part not in TESTED
        ]
        size = self.config.train.batch_size
        if len(rows) < size:
            raise RecipeError(
                f"{len(rows)} cases can be learnt from (readable, and not of a val or test part), "
                f"fewer than train.batch_size={size}; give more, or a smaller batch"
            )
        return np.asarray(rows, "int64")

    def _train(
        self,
        adapter: Adapter,
        decoded: Decoded,
        rows: npt.NDArray[np.int64],
        limits: tuple[float, float],
        augmentation: AugmentPolicy,
        found: str,
    ) -> None:
        config = self.config
        keras.utils.set_random_seed(config.seed)
        height, width, channels = (int(n) for n in decoded.images.shape[1:])
        shape = (height, width, channels)
        learner = make_learner(config, shape, limits)
        steps = len(rows) // config.train.batch_size
        with self.folder.timed(self.state, "training"):
            state = self._phase(
                learner, decoded, rows, Augmenter(augmentation, limits), steps, found
            )
        path = self.folder.path
        write_csv(path / "history.csv", _COLUMNS, ([r[c] for c in _COLUMNS] for r in state.history))
        write_weights(bare_backbone(learner, config.model.backbone, shape), path / WEIGHTS)
        write_seen(path / SEEN, [(adapter.index[i], decoded.sha256[i]) for i in rows])
        facts = self._facts(state.history, decoded, rows, shape, limits, augmentation)
        write_json(path / "metrics.json", facts)
        write_page(path / "report.html", facts, state.history)
        self.state.finished = True
        self.folder.settle(self.state, config)

    def _phase(
        self,
        learner: keras.Model,
        decoded: Decoded,
        rows: npt.NDArray[np.int64],
        augmenter: Augmenter,
        steps: int,
        found: str,
    ) -> PhaseState:
        from recipes.fewlabels.views import ViewBatches

        train = self.config.train
        spec = zoo.get_spec(self.config.model.backbone)
        schedule = FineTunePolicy(
            train="all",
            batch_norm=train.batch_norm,
            learning_rate=train.learning_rate,
            weight_decay=train.weight_decay,
            warmup=train.warmup,
            ema=train.momentum if self.config.method == "byol" else None,
        )
        schedule.apply(learner, spec)
        optimizer = schedule.optimizer(
            learner, spec, steps=train.epochs * steps, steps_per_epoch=steps
        )
        learner.compile(optimizer=optimizer, auto_scale_loss=False)
        watched = rows[np.linspace(0, len(rows) - 1, min(_WATCHED, len(rows))).astype(int)]
        pictures = np.asarray(decoded.images[watched], "float32")
        watcher = watching(learner)
        return run_phase(
            learner,
            plan=PhasePlan(
                0, "pretrain", train.epochs, train.epochs, LAST, self.config.seed,
                rate_key="train.learning_rate",
            ),
            data=lambda epoch: ViewBatches(
                decoded.images, rows, self.config, augmenter, epoch=epoch
            ),
            steps=steps,
            validate=lambda: watch(watcher, pictures),
            checkpoint=PhaseCheckpoint(
                self.folder.checkpoints / "pretrain",
                fingerprint=f"{found}-{digest(self.config.computed())}",
            ),
            hooks=self._hooks(),
        )  # fmt: skip

    def _hooks(self) -> Hooks:
        epochs = self.config.train.epochs
        current = {"epoch": 1}

        def batch(done: int, total: int) -> None:
            self.reporter.show("epochs", (current["epoch"] - 1) * total + done, epochs * total)

        def epoch(record: dict[str, Any]) -> None:
            current["epoch"] = record["epoch"] + 1
            self.reporter.say(
                f"epoch {record['epoch']}/{epochs}: loss {record['loss']:.4f}, spread of the "
                f"embeddings {record['embedding_spread']:.2f}, rank of the features "
                f"{record['feature_rank']:.1f}"
            )

        return Hooks(batch=batch, epoch=epoch)

    def _facts(
        self,
        history: Sequence[dict[str, Any]],
        decoded: Decoded,
        rows: npt.NDArray[np.int64],
        shape: tuple[int, int, int],
        limits: tuple[float, float],
        augmentation: AugmentPolicy,
    ) -> dict[str, Any]:
        last = history[-1]
        started = self.config.model.weights
        return {
            "method": self.config.method,
            "backbone": self.config.model.backbone,
            "started_from": started if started in ("imagenet", "none") else "file",
            "n": len(rows),
            "n_skipped": int((~decoded.ok).sum()),
            "seed": self.config.seed,
            "epochs": last["epoch"],
            "loss": last["loss"],
            "embedding_spread": last["embedding_spread"],
            "feature_rank": last["feature_rank"],
            "collapsed": collapsed(self.config.method, last),
            "input_shape": list(shape),
            "input_range": list(limits),
            "bans": list(augmentation.bans),
            "weights": WEIGHTS,
            "environment": environment(),
            "seconds": self.state.seconds,
        }

    def _summary(self) -> dict[str, Any]:
        content = json.loads((self.folder.path / "metrics.json").read_text(encoding="utf-8"))
        names = [p.name for p in self.folder.path.iterdir() if p.is_file() and p.name[0] != "."]
        return {k: v for k, v in content.items() if k != "environment"} | {"files": sorted(names)}


def watch(watcher: keras.Model, pictures: npt.NDArray[Any]) -> dict[str, float]:
    """Whether the network still tells cases apart.

    Args:
        watcher: What `learners.watching` made of the learner.
        pictures: ``(n, H, W, C)`` without augmentation.

    Returns:
        ``embedding_spread`` (of the features for ``masked``, which has no
        embedding; see ``losses.spread``) and ``feature_rank`` (``losses.effective_rank``).
    """
    features, compared = watcher.predict(pictures, batch_size=64, verbose=0)
    return {
        "embedding_spread": spread(compared),
        "feature_rank": effective_rank(features),
    }


def collapsed(method: str, record: Mapping[str, Any]) -> bool:
    """Whether a network gives nearly the same to every case.

    Features behind a ReLU share a mean, so that their spread says little: of ``masked`` the rank
    alone counts.
    """
    flat = record["feature_rank"] < FEW_DIRECTIONS
    return bool(flat or (method != "masked" and record["embedding_spread"] < COLLAPSED))


def write_weights(backbone: keras.Model, path: Path) -> None:
    """Save a backbone's weights, whole or not at all, as ``zoo.create_backbone`` reads them."""
    temporary = path.with_name(f".tmp.{path.name}")
    try:
        backbone.save_weights(temporary)
        temporary.replace(path)
    except OSError as error:
        discard(temporary)
        raise disk_error(error, path.name) from error


def pretrain(
    source: str | Path,
    out: str | Path,
    config: PretrainConfig | None = None,
    *,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Pretrain a backbone on cases without looking at labels; resume what was interrupted.

    Args:
        source: Anything ``data_adapters.open`` takes. Cases of a part called val or test are left
            out. Volumes are learnt from as their three planes, as in classification.
        out: Folder. New or empty, or that of the same pretraining.
        config: Its configuration, defaults where None.
        reporter: Progress; quiet where None.

    Returns:
        The summary: method, ``n``, the last loss, ``embedding_spread``, ``collapsed`` and files;
        ``backbone.weights.h5`` among them is what ``model.weights`` of a recipe takes.

    Raises:
        recipes.errors.RecipeError: Configuration, cases or folder do not allow it.
        data_adapters.errors.DataError: The data cannot be read.
        zoo.errors.ZooError: The backbone or its weights are not to be had.
    """
    with reporter or Reporter(quiet=True) as live:
        return Pretraining(str(source), Path(out), config or PretrainConfig(), live).run()
