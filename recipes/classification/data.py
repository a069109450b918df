"""From an adapter to arrays, parts and targets that training and evaluation share."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from data_adapters import adapter as adapters
from data_adapters.cache import Decoded, decode, probe
from data_adapters.folds import choose_splits
from data_adapters.home import home
from data_adapters.leakage import LeakageResult, check_leakage
from data_adapters.split_table import SplitRow, split_rows
from recipes.classification.config import ClassificationConfig, DataConfig
from recipes.errors import ConfigError, RecipeError
from recipes.fewlabels.gate import check_pretraining, others
from recipes.fewlabels.unlabelled import Unlabelled, as_pool
from recipes.learning.subset import thin_training

if TYPE_CHECKING:
    from recipes.engine.losses import Task

PARTS = ("train", "val", "test")
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Prepared:
    """Decoded data with parts and targets; rows count the usable cases.

    Attributes:
        adapter: Where the data come from.
        decoded: The on-disk cache of inputs ``(N, H, W, C)``.
        chain: Steps that made them.
        kind: ``"single"`` or ``"multilabel"``.
        class_names: Names in the order of the targets' columns.
        positive: Positive class, or None.
        modality: Modality, where known.
        leakage: What the leakage gate found; its splits are the run's.
        usable: Adapter index of every usable case, ascending.
        targets: ``(len(usable), k)`` float32, one-hot or 0/1 with NaN unknown.
        input_range: Modality units that map to 0-255.
        skipped: Cases left out, with the reason.
        notes: Sentences for the report.
        data_hash: Hash of ids, pixels, labels and parts.
        unlabelled: Cases that are learnt from without a label, if any.
    """

    adapter: adapters.Adapter
    decoded: Decoded
    chain: tuple[dict[str, Any], ...]
    kind: Task
    class_names: tuple[str, ...]
    positive: str | None
    modality: str | None
    leakage: LeakageResult
    usable: npt.NDArray[np.int64]
    targets: npt.NDArray[np.float32]
    input_range: tuple[float, float]
    skipped: tuple[adapters.Skip, ...]
    notes: tuple[str, ...]
    data_hash: str
    unlabelled: Unlabelled | None = None

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """``(H, W, C)`` of one input."""
        shape = self.decoded.images.shape
        return (int(shape[1]), int(shape[2]), int(shape[3]))

    @property
    def parts(self) -> tuple[str, ...]:
        """Part of every usable case."""
        return self.leakage.splits.parts

    def rows(self, part: str) -> npt.NDArray[np.int64]:
        """Positions among the usable cases that belong to a part."""
        return np.asarray([i for i, name in enumerate(self.parts) if name == part], "int64")

    def cache_rows(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Positions in ``decoded.images`` of usable cases."""
        return self.usable[rows]

    def groups(self, rows: npt.NDArray[np.int64]) -> list[str | None]:
        """Patient of every row, None where unknown."""
        index = self.adapter.index
        return [index[i].patient_id for i in self.usable[rows]]

    def split_rows(self) -> list[SplitRow]:
        """The lines of splits.csv."""
        return split_rows(
            tuple(self.adapter.index[i] for i in self.usable),
            self.leakage.splits,
            sha256s=[self.decoded.sha256[i] for i in self.usable],
            notes=self.leakage.case_notes(),
            class_names=self.class_names,
        )

    def ids(self, rows: npt.NDArray[np.int64]) -> list[str]:
        """Case ids of rows."""
        return [self.adapter.index[i].case_id for i in self.usable[rows]]


def open_data(source: str, config: DataConfig) -> adapters.Adapter:
    """Open a data set with the columns and names of the configuration.

    Raises:
        data_adapters.errors.DataError: Nothing can read it.
    """
    options = {key: value for key, value in config.columns.model_dump().items() if value}
    for key, value in (("positive", config.positive), ("modality", config.modality)):
        if value is not None:
            options[key] = value
    return adapters.open(source, **options)


def require_classes(adapter: adapters.Adapter) -> None:
    """Refuse data that a classifier cannot learn from.

    Raises:
        RecipeError: There is no truth, or it is masks or boxes.
    """
    if adapter.task == "unlabelled":
        raise RecipeError("these data have no labels; fit wants class folders, a table or an npz")
    if adapter.task in ("segmentation", "detection"):
        truth = "masks" if adapter.task == "segmentation" else "boxes"
        raise RecipeError(
            f"the truth of these data ({adapter.kind}) is {truth}, and classification wants "
            "classes: list the pictures with their classes in a table of path and label"
        )


def choose_size(native: tuple[int, int], given: Any) -> tuple[int, int]:
    """Height and width of the network's input.

    Args:
        native: Height and width of the largest probed case.
        given: ``data.image_size``. For ``"auto"`` small films are enlarged to 112 (features of
            a backbone with stride 32 need room) and large ones reduced to at most 224, in steps
            of 32.
    """
    if given == "auto":
        longest = max(native)
        side = 112 if longest <= 112 else min(224, -(-longest // 32) * 32)
        return side, side
    if isinstance(given, int):
        return given, given
    return int(given[0]), int(given[1])


def make_chain(adapter: adapters.Adapter, config: DataConfig) -> tuple[dict[str, Any], ...]:
    """Steps from a case's image to the input, from a look at a few cases."""
    look = probe(adapter)
    steps: list[dict[str, Any]] = []
    gray = bool(look["gray"])
    if look["ndim"] == 4:
        steps.append({"step": "planes"})
        gray = False
    native = look["sizes"][-1][-2:]
    height, width = choose_size((int(native[0]), int(native[1])), config.image_size)
    steps.append({"step": "channels", "count": 1 if gray else 3})
    steps.append(
        {"step": "resize", "height": height, "width": width, "keep_aspect": config.keep_aspect}
    )
    return tuple(steps)


def prepare(
    adapter: adapters.Adapter,
    config: ClassificationConfig,
    *,
    unlabelled: adapters.Adapter | None = None,
    progress: Progress | None = None,
) -> Prepared:
    """Decode once, cut into parts, run the leakage gate, build targets.

    Args:
        adapter: The opened data.
        config: The run's configuration.
        unlabelled: Further cases, whose labels are not looked at.
        progress: Called with (done, total) cases while decoding.

    Returns:
        Everything that training needs.

    Raises:
        RecipeError: No labels, one class, or no usable case.
        data_adapters.errors.DataError: Splits are impossible or leak.
    """
    require_classes(adapter)
    chain = make_chain(adapter, config.data)
    decoded = decode(adapter, chain, home=home(), progress=progress)
    kind: Task = "multilabel" if adapter.task == "multilabel" else "single"
    further = None
    if unlabelled is not None:
        further = unlabelled, decode(unlabelled, chain, home=home(), progress=progress)
    blanks = [i for i, row in enumerate(adapter.index) if not labelled(row)]
    skips = [
        adapters.Skip(adapter.index[i].case_id, "unlabelled", "no label")
        for i in blanks
        if decoded.ok[i] and not config.semi.blank
    ]
    usable = np.asarray(
        [i for i, row in enumerate(adapter.index) if decoded.ok[i] and labelled(row)], "int64"
    )
    if len(usable) == 0:
        raise RecipeError("no case has both a readable image and a label")
    _check_given_parts(adapter, usable, decoded)
    index = tuple(adapter.index[i] for i in usable)
    splits = choose_splits(
        index,
        seed=config.seed,
        fractions=config.data.fractions,
        class_names=adapter.class_names,
        by=config.data.split_by,
        folds=config.data.folds,
        fold=config.data.fold,
    )
    leakage = check_leakage(
        index,
        splits,
        [decoded.sha256[i] for i in usable],
        decoded.phash[usable],
        decoded.thumbs[usable],
        policy=config.data.leakage,
        class_names=adapter.class_names,
        others=others(config, further),
    )
    if config.data.train_patients is not None:  # drawn from what the gate left
        splits = thin_training(
            index, leakage.splits, patients=config.data.train_patients, draw=config.data.draw
        )
        leakage = replace(leakage, splits=splits)
    check_pretraining(leakage)
    pool = as_pool(config.semi, (adapter, decoded), blanks, usable.tolist(), leakage, further)
    targets = make_targets(index, kind, len(adapter.class_names))
    train = np.asarray([part == "train" for part in leakage.splits.parts])
    _check_training(targets[train], kind, adapter.class_names)
    return Prepared(
        adapter=adapter,
        decoded=decoded,
        chain=chain,
        kind=kind,
        class_names=tuple(adapter.class_names),
        positive=_positive(adapter, config.data),
        modality=config.data.modality or adapter.modality,
        leakage=leakage,
        usable=usable,
        targets=targets,
        input_range=input_range_of(decoded, usable[train], config.data),
        skipped=(*adapter.skipped, *decoded.skipped, *skips),
        notes=(*adapter.notes, *leakage.splits.notes),
        data_hash=_data_hash(index, decoded, usable, splits.parts, pool),
        unlabelled=pool,
    )


def make_targets(
    index: tuple[adapters.IndexRow, ...], kind: Task, classes: int
) -> npt.NDArray[np.float32]:
    """One-hot rows (single) or label vectors with NaN unknown (multi-label)."""
    if kind == "multilabel":
        return np.asarray([row.labels for row in index], "float32").reshape(len(index), classes)
    return np.eye(classes, dtype="float32")[[int(row.label or 0) for row in index]]


def labelled(row: adapters.IndexRow) -> bool:
    """Whether a row has a label, or one known label of a vector."""
    if row.labels is not None:
        return bool(np.isfinite(np.asarray(row.labels, "float64")).any())
    return row.label is not None


def _check_given_parts(
    adapter: adapters.Adapter, usable: npt.NDArray[np.int64], decoded: Decoded
) -> None:
    """Refuse data whose given part is there and holds nothing that can be read."""
    left = {adapter.index[i].part for i in usable}
    for part in PARTS:
        given = [row.case_id for row in adapter.index if row.part == part and labelled(row)]
        if given and part not in left:
            names = set(given)
            reasons = skip_counts(tuple(s for s in decoded.skipped if s.case_id in names))
            why = ", ".join(f"{kind} {n}" for kind, n in reasons.items())
            raise RecipeError(
                f"none of the {len(given)} cases of the given {part} part can be read ({why}); "
                "mend the files, or leave the part out of the data"
            )


def _check_training(
    targets: npt.NDArray[np.float32], kind: Task, class_names: tuple[str, ...]
) -> None:
    if kind == "single":
        counts = targets.sum(axis=0)
        present = [name for name, count in zip(class_names, counts, strict=True) if count]
        if len(present) < 2:
            raise RecipeError(
                f"the training part holds one class only ({', '.join(present) or 'none'}); a "
                "classifier needs at least two"
            )
        return
    usable = [bool((column == 0).any() and (column == 1).any()) for column in targets.T]
    if not any(usable):
        raise RecipeError("no label has both known positives and known negatives in training")


def _positive(adapter: adapters.Adapter, config: DataConfig) -> str | None:
    name = config.positive or adapter.positive
    if name is not None and name not in adapter.class_names:
        raise ConfigError(
            f"--positive {name!r} is no class; classes: {', '.join(adapter.class_names)}"
        )
    return name if len(adapter.class_names) == 2 and adapter.task == "single" else None


def input_range_of(
    decoded: Decoded, rows: npt.NDArray[np.int64], config: DataConfig
) -> tuple[float, float]:
    """Modality units that the network maps to 0-255, see ``DataConfig.range``.

    Args:
        decoded: Decoded cases.
        rows: Those that a range is taken from.
        config: The run's settings.

    Raises:
        RecipeError: The pixels of these cases do not vary.
    """
    if config.range != "auto":
        return config.range
    if decoded.images.dtype == np.uint8:
        return (0.0, 255.0)
    sample = rows[:: max(1, len(rows) // 500)]
    lows, highs = zip(*(np.percentile(decoded.images[i], (0.5, 99.5)) for i in sample), strict=True)
    low, high = float(np.median(lows)), float(np.median(highs))
    if not low < high:
        raise RecipeError(
            f"pixel values span [{low:g}, {high:g}] only; set data.range=[low,high] by hand"
        )
    return (low, high)


def _data_hash(
    index: tuple[adapters.IndexRow, ...],
    decoded: Decoded,
    usable: npt.NDArray[np.int64],
    parts: tuple[str, ...],
    pool: Unlabelled | None,
) -> str:
    total = hashlib.sha256()
    for row, place, part in zip(index, usable, parts, strict=True):
        truth = row.label if row.labels is None else row.labels
        line = f"{row.case_id}|{row.patient_id}|{truth}|{part}|{decoded.sha256[place]}\n"
        total.update(line.encode())
    if pool is not None:
        total.update(pool.digest.encode())
    return total.hexdigest()


def count_table(prepared: Prepared) -> dict[str, dict[str, int]]:
    """Cases of every class (positives of every label) in every part."""
    table: dict[str, dict[str, int]] = {}
    for part in PARTS:
        rows = prepared.rows(part)
        if len(rows):
            sums = np.nansum(prepared.targets[rows], axis=0)
            table[part] = {name: int(n) for name, n in zip(prepared.class_names, sums, strict=True)}
            table[part]["cases"] = len(rows)
    return table


def skip_counts(skipped: tuple[adapters.Skip, ...]) -> dict[str, int]:
    """Number of skipped cases by reason."""
    return dict(Counter(skip.kind for skip in skipped).most_common())
