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
from data_adapters.cache import probe
from recipes.classification.outputs import environment, write_csv
from recipes.config import digest
from recipes.engine.checkpoint import PhaseCheckpoint, PhaseState, discard, disk_error, write_json
from recipes.engine.loop import LAST, Hooks, PhasePlan, run_phase
from recipes.errors import ConfigError
from recipes.fewlabels.config import PretrainConfig
from recipes.fewlabels.gate import SEEN, write_seen
from recipes.fewlabels.learners import bare_backbone, make_learner, watching
from recipes.fewlabels.losses import effective_rank, spread
from recipes.fewlabels.material import Material, PictureMaterial, picture_config
from recipes.fewlabels.opening import check_backend, open_unlabelled
from recipes.fewlabels.pretrain_page import rebuilt, write_page
from recipes.progress import Reporter
from recipes.runs import RunFolder, RunState
from recipes.segmentation.data import own_fold
from zoo.finetune import FineTunePolicy
from zoo.weights.loading import find_weights

WEIGHTS = "backbone.weights.h5"
COLLAPSED = 0.1
"""Spread of the embeddings below which the network counts as collapsed."""
FEW_DIRECTIONS = 1.5
"""Effective rank of the features below which it does."""
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
        check_start(self.config)
        adapter = self._open()
        solid = self._solid(adapter)
        identity = adapter.identity()
        with self.folder.lock():
            self.state = self.folder.begin(self.config, identity)
            done = self.state.finished and self.state.source == identity
            if done and not self.folder.rewrite:
                return self._summary()
            with self.folder.timed(self.state, "data"):
                material = self._material(adapter, solid=solid)
            self.folder.check_data(self.state, material.hash, identity)
            self._train(material)
            return self._summary()

    def _open(self) -> Adapter:
        """The cases, cut by a fold of their own where one is asked for.

        Raises:
            ConfigError: They bring no folds.
        """
        data = self.config.data
        adapter = open_unlabelled(self.source, picture_config(self.config))
        if data.fold is None:
            return adapter
        cut = own_fold(adapter, self.source, data.fold, {"modality": data.modality})
        if cut is None:
            raise ConfigError(
                f"data.fold={data.fold}: these data bring no folds of their own (splits.json); "
                "leave out here what is to be tested on"
            )
        return cut

    def _solid(self, adapter: Adapter) -> bool:
        """Whether patches of volumes are learnt from, not pictures.

        Raises:
            ConfigError: They are asked for and the cases or the method do not allow it.
        """
        wish, method = self.config.data.volumes, self.config.method
        volumes = bool(probe(adapter)["ndim"] == 4)
        if wish == "patches" and not volumes:
            raise ConfigError("data.volumes=patches: the cases are pictures; leave it out")
        if wish == "patches" and method != "masked":
            raise ConfigError(
                f"data.volumes=patches goes with method masked, not {method}, which compares views "
                "of whole pictures; give --method masked or data.volumes=planes"
            )
        solid = volumes and method == "masked" and wish != "planes"
        unused = [key for key in ("plan", "spacing", "patch", "cuts") if _told(self.config, key)]
        if unused and not solid:
            raise ConfigError(
                f"data.{unused[0]} is for patches of volumes, and pictures are learnt from here; "
                "leave it out"
            )
        return solid

    def _material(self, adapter: Adapter, *, solid: bool) -> Material:
        if not solid:
            return PictureMaterial(adapter, self.config, self.reporter)
        from recipes.fewlabels.volumes import PatchMaterial

        material = PatchMaterial(adapter, self.config, self.reporter, folder=self.folder.path)
        for reason in material.plan.reasons:
            self.reporter.say(f"plan: {reason}")
        return material

    def _train(self, material: Material) -> None:
        config = self.config
        keras.utils.set_random_seed(config.seed)
        learner = make_learner(config, material.shape, material.limits)
        with self.folder.timed(self.state, "training"):
            state = self._phase(learner, material)
        path = self.folder.path
        write_csv(path / "history.csv", _COLUMNS, ([r[c] for c in _COLUMNS] for r in state.history))
        bare = bare_backbone(learner, config.model.backbone, material.shape)
        write_weights(bare, path / WEIGHTS)
        write_seen(path / SEEN, material.seen())
        facts = self._facts(state.history, material, learner)
        write_json(path / "metrics.json", facts)
        pictures = rebuilt(learner, material.examples()) if config.method == "masked" else None
        write_page(path / "report.html", facts, state.history, pictures, config.report.pictures)
        self.state.finished = True
        self.folder.settle(self.state, config)

    def _phase(self, learner: keras.Model, material: Material) -> PhaseState:
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
        steps = material.steps
        optimizer = schedule.optimizer(
            learner, spec, steps=train.epochs * steps, steps_per_epoch=steps
        )
        learner.compile(optimizer=optimizer, auto_scale_loss=False)
        watched = material.watched()
        watcher = watching(learner)
        return run_phase(
            learner,
            plan=PhasePlan(
                0, "pretrain", train.epochs, train.epochs, LAST, self.config.seed,
                rate_key="train.learning_rate",
            ),
            data=material.epoch,
            steps=steps,
            validate=lambda: watch(watcher, watched, batch=material.batch),
            checkpoint=PhaseCheckpoint(
                self.folder.checkpoints / "pretrain",
                fingerprint=f"{material.hash}-{digest(self.config.computed())}",
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
        self, history: Sequence[dict[str, Any]], material: Material, learner: keras.Model
    ) -> dict[str, Any]:
        last = history[-1]
        started = self.config.model.weights
        masked: dict[str, Any] = {}
        if self.config.method == "masked":
            masked = {
                "loss_of_grey": grey_loss(material.watched(), material.limits),
                "rebuilt_from": list(learner.network.levels),
            }
        return {
            "method": self.config.method,
            "backbone": self.config.model.backbone,
            "started_from": started if started in ("imagenet", "none") else "file",
            "n": len(material.rows),
            "n_skipped": material.n_skipped,
            "seed": self.config.seed,
            "epochs": last["epoch"],
            "loss": last["loss"],
            "embedding_spread": last["embedding_spread"],
            "feature_rank": last["feature_rank"],
            "collapsed": collapsed(self.config.method, last),
            "input_shape": list(material.shape),
            "input_range": list(material.limits),
            **masked,
            **material.facts(),
            "bans": list(material.bans),
            "weights": WEIGHTS,
            "environment": environment(),
            "seconds": self.state.seconds,
        }

    def _summary(self) -> dict[str, Any]:
        content = json.loads((self.folder.path / "metrics.json").read_text(encoding="utf-8"))
        names = [p.name for p in self.folder.path.iterdir() if p.is_file() and p.name[0] != "."]
        return {k: v for k, v in content.items() if k != "environment"} | {"files": sorted(names)}


def check_start(config: PretrainConfig) -> None:
    """Refuse to start from weights that cannot be had, or whose pixels differ from the file's.

    The file that pretraining writes is read back with the backbone's own preprocessing.

    Raises:
        ConfigError: The weights were trained on pixels prepared otherwise, or on other channels.
        ZooError: They are not to be had.
    """
    spec = zoo.get_spec(config.model.backbone)
    weights = config.model.weights
    found = find_weights(spec, None if weights == "none" else weights)
    own = found.weight if found is not None else None
    if own is None:
        return
    channels = spec.weights[0].channels if spec.weights else own.channels
    if own.preprocessing not in (None, spec.preprocessing) or own.channels != channels:
        raise ConfigError(
            f"model.weights={weights!r} of {spec.name!r} were trained on pixels prepared "
            "otherwise than the backbone does by itself, so that the file written here would be "
            "read back wrongly; start from 'imagenet', 'none' or a file"
        )


def _told(config: PretrainConfig, key: str) -> bool:
    """Whether a key of ``data`` is not at its default."""
    return bool(getattr(config.data, key) != getattr(type(config.data)(), key))


def watch(watcher: keras.Model, pictures: npt.NDArray[Any], *, batch: int) -> dict[str, float]:
    """Whether the network still tells cases apart.

    Args:
        watcher: What `learners.watching` made of the learner.
        pictures: ``(n, *sides, C)`` without augmentation.
        batch: Inputs that are looked at at once.

    Returns:
        ``embedding_spread`` (of the features for ``masked``, which has no
        embedding; see ``losses.spread``) and ``feature_rank`` (``losses.effective_rank``).
    """
    features, compared = watcher.predict(pictures, batch_size=batch, verbose=0)
    return {
        "embedding_spread": spread(compared),
        "feature_rank": effective_rank(features),
    }


def grey_loss(pictures: npt.NDArray[Any], limits: tuple[float, float]) -> float:
    """What ``masked`` loses by leaving hidden parts at mid grey: nothing is learnt above that.

    Args:
        pictures: ``(n, *sides, C)``, without augmentation.
        limits: Values that map to 0 and 1.
    """
    low, high = limits
    seen = np.clip((pictures - low) / (high - low), 0, 1)
    return float(np.abs(seen - 0.5).mean())


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
            out. Volumes are learnt from in 3D by ``masked`` (`recipes.fewlabels.volumes`), else
            as their three planes, as in classification; ``data.volumes`` says otherwise.
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
