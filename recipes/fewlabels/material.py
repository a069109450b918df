"""What pretraining learns from, whatever it is: decoded pictures here, patches in `volumes`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from data_adapters.adapter import PARTS, Adapter, IndexRow
from data_adapters.augment import Augmenter
from data_adapters.augment_policy import AugmentPolicy, policy
from data_adapters.cache import Decoded, decode
from data_adapters.errors import CaseError
from data_adapters.home import home
from recipes.classification.config import DataConfig
from recipes.classification.data import input_range_of, make_chain
from recipes.classification.thumbnails import may_show
from recipes.config import digest
from recipes.errors import RecipeError
from recipes.fewlabels.config import PretrainConfig
from recipes.fewlabels.learners import hidden_patches
from recipes.progress import Reporter

if TYPE_CHECKING:
    import keras

Floats = npt.NDArray[np.float32]

WATCHED = 256
"""Cases whose features are looked at after each epoch, at most."""
EXAMPLES = 3
"""Cases that the page shows, at most."""
PICTURES_BATCH, SIDE_PATCHES = 64, 8
_SHOWN = 11
"""Keeps the draws of what is hidden on the page apart from those of training."""


@dataclass(frozen=True, eq=False)
class Example:
    """A case for the page.

    Attributes:
        case_id: Its pseudonym.
        image: ``(*sides, C)``, as the network takes it.
        hidden: ``(*sides, 1)``, 1 where it is hidden.
        colours: Whether the channels are colours.
    """

    case_id: str
    image: Floats
    hidden: Floats
    colours: bool


class Material(Protocol):
    """Cases of one kind, ready to be learnt from.

    Attributes:
        adapter: Where they come from.
        rows: Rows that are learnt from.
        shape: Of one input, ``(*sides, C)``.
        limits: Values of an input that map to 0-255.
        batch: Inputs in a step.
        steps: Steps in an epoch.
        n_skipped: Cases that could not be read.
        hash: Of ids and contents.
        bans: Operations banned from the views.
    """

    adapter: Adapter
    rows: list[int]
    shape: tuple[int, ...]
    limits: tuple[float, float]
    batch: int
    steps: int
    n_skipped: int
    hash: str
    bans: tuple[str, ...]

    def epoch(self, epoch: int) -> keras.utils.PyDataset:
        """The batches of an epoch, counted from 1: two inputs each."""

    def watched(self) -> Floats:
        """Inputs ``(n, *sides, C)`` without augmentation, to see whether features collapse."""

    def examples(self) -> list[Example]:
        """Cases that may be shown on the page."""

    def seen(self) -> list[tuple[IndexRow, str]]:
        """Index row and digest of the pixels of every case that is learnt from."""

    def facts(self) -> dict[str, Any]:
        """What else ``metrics.json`` says of the inputs."""


def learnt_rows(adapter: Adapter) -> list[int]:
    """Rows that the data do not call validation or test."""
    return [i for i, row in enumerate(adapter.index) if row.part not in PARTS[1:]]


def spaced(rows: list[int], most: int) -> list[int]:
    """At most so many of some rows, spread evenly."""
    places = np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int)
    return [rows[i] for i in places]


def showable(adapter: Adapter, rows: list[int], config: PretrainConfig) -> list[int]:
    """The first few of some rows that may be shown; headers are read only where they decide."""
    wish = config.report.pictures
    if wish == "no" or config.method != "masked":
        return []
    found: list[int] = []
    for row in spaced(rows, 8 * EXAMPLES):
        if wish == "yes" or _says_no_text(adapter, row):
            found.append(row)
        if len(found) == EXAMPLES:
            break
    return found


def _says_no_text(adapter: Adapter, row: int) -> bool:
    try:
        return may_show(adapter[row], "auto")
    except CaseError:
        return False


def example(
    adapter: Adapter,
    row: int,
    image: Floats,
    config: PretrainConfig,
    patches: tuple[int, ...],
    *,
    colours: bool,
) -> Example:
    """A case with patches hidden as in training."""
    rng = np.random.default_rng([config.seed, row, _SHOWN])
    hidden = hidden_patches(rng, image.shape[:-1], patches=patches, share=config.views.hidden)
    return Example(adapter.index[row].case_id, image, hidden, colours)


class PictureMaterial:
    """Pictures, or volumes as their three planes; attributes are those of `Material`."""

    def __init__(self, adapter: Adapter, config: PretrainConfig, reporter: Reporter) -> None:
        """Decode every case once.

        Args:
            adapter: The cases.
            config: The configuration.
            reporter: Progress.

        Raises:
            RecipeError: Fewer cases than a batch can be learnt from, or their pixels do not vary.
            data_adapters.errors.DataError: They cannot be read.
        """
        self.adapter, self.config = adapter, config
        self.policy = augmentation(adapter, config)
        self.bans = self.policy.bans
        data = picture_config(config)
        chain = make_chain(adapter, data)
        self.planes = any(step["step"] == "planes" for step in chain)
        with reporter.task("decoding", len(adapter)) as step:
            self.decoded: Decoded = decode(adapter, chain, home=home(), progress=step)
        wish = config.train.batch_size
        self.batch = PICTURES_BATCH if wish == "auto" else wish
        self.rows = [i for i in learnt_rows(adapter) if self.decoded.ok[i]]
        if len(self.rows) < self.batch:
            raise RecipeError(
                f"{len(self.rows)} cases can be learnt from (readable, and not of a val or test "
                f"part), fewer than train.batch_size={self.batch}; give more, or a smaller batch"
            )
        self.steps = len(self.rows) // self.batch
        self.n_skipped = int((~self.decoded.ok).sum())
        self.hash = digest([[adapter.index[i].case_id, self.decoded.sha256[i]] for i in self.rows])
        self.shape = tuple(int(n) for n in self.decoded.images.shape[1:])
        self.limits = input_range_of(self.decoded, np.asarray(self.rows, "int64"), data)
        wanted = config.views.patches
        self.patches = SIDE_PATCHES if wanted == "auto" else wanted

    def epoch(self, epoch: int) -> keras.utils.PyDataset:
        """As of `Material`."""
        from recipes.fewlabels.views import ViewBatches

        return ViewBatches(
            self.decoded.images,
            np.asarray(self.rows, "int64"),
            self.config,
            Augmenter(self.policy, self.limits),
            epoch=epoch,
            batch=self.batch,
            patches=self.patches,
        )

    def watched(self) -> Floats:
        """As of `Material`."""
        return np.asarray(self.decoded.images[spaced(self.rows, WATCHED)], "float32")

    def examples(self) -> list[Example]:
        """As of `Material`."""
        sides = (self.patches,) * 2
        return [
            example(
                self.adapter,
                i,
                np.asarray(self.decoded.images[i], "float32"),
                self.config,
                sides,
                colours=not self.planes,
            )
            for i in showable(self.adapter, self.rows, self.config)
        ]

    def seen(self) -> list[tuple[IndexRow, str]]:
        """As of `Material`."""
        return [(self.adapter.index[i], self.decoded.sha256[i]) for i in self.rows]

    def facts(self) -> dict[str, Any]:
        """As of `Material`."""
        return {"volumes": "planes"} if self.planes else {}


def picture_config(config: PretrainConfig) -> DataConfig:
    """The keys of pictures, as a classification takes them."""
    keys = {"modality", "image_size", "keep_aspect", "range", "columns"}
    return DataConfig(**config.data.model_dump(include=keys))


def augmentation(adapter: Adapter, config: PretrainConfig) -> AugmentPolicy:
    """What views of pictures may differ in."""
    views = config.views
    return policy(
        config.data.modality or adapter.modality,
        strength=views.strength,
        bans=(*views.bans, *(ban for ban in adapter.bans if ban not in views.lift)),
        lift=views.lift,
    )
