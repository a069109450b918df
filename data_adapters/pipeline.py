"""Batches for Keras: the only module that knows TensorFlow, imported when a stream is built.

Pictures are read from a memory-mapped cache a batch at a time. Every random choice is a function
of (seed, epoch) for the order, (seed, epoch, row) for a picture's augmentation and
(seed, epoch, batch) for mixup, so a stream repeats exactly whatever the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from data_adapters.errors import DataError

if TYPE_CHECKING:
    import tensorflow as tf

Array = NDArray[Any]
Transform = Callable[[Array, tuple[int, int, int]], Array]

_ORDER, _MIXUP = 1, 2
"""Keep the draws for the order and for mixup apart."""
PREFETCHED = 2
"""Batches made ahead of the training step."""


class TrainStream:
    """Shuffled, augmented batches of the training rows, one data set per epoch."""

    def __init__(
        self,
        images: Array,
        rows: Sequence[int] | NDArray[np.integer[Any]],
        targets: Array,
        *,
        batch_size: int,
        augmenter: Transform | None,
        seed: int,
        mixup: float = 0.0,
        workers: int = 2,
    ) -> None:
        """Store what the epochs are made of.

        Args:
            images: `(N, H, W, C)` uint8 or float32, usually a memory map; never copied whole.
            rows: Places in `images`, each at most once.
            targets: `(len(rows), K)`, one row per entry of `rows`; NaN is unknown.
            batch_size: Pictures per batch; the last batch of an epoch may be smaller.
            augmenter: Called as `augmenter(image, (seed, epoch, row))` from several threads; None
                leaves the pictures as they are.
            seed: Not negative.
            mixup: The Beta distribution's alpha (Zhang et al. 2018, arXiv:1710.09412); 0 is off.
                One share per batch; a target mixed with an unknown one is unknown.
            workers: Batches made at the same time.

        Raises:
            DataError: Shapes that do not fit, rows out of range or doubled, no rows at all.
        """
        self.images = images
        self.rows = _rows(images, rows)
        self.targets = np.asarray(targets, np.float32)
        if self.targets.ndim != 2 or len(self.targets) != len(self.rows):
            raise DataError(
                f"targets of shape {self.targets.shape} do not fit {len(self.rows)} rows; "
                "one row of K values per picture is wanted"
            )
        if len(np.unique(self.rows)) != len(self.rows):
            raise DataError("a row is listed more than once; each picture is used once an epoch")
        if batch_size < 1 or seed < 0 or mixup < 0 or workers < 1:
            raise DataError(
                f"batch_size={batch_size} and workers={workers} must be at least 1, "
                f"seed={seed} and mixup={mixup} at least 0"
            )
        self.batch_size = batch_size
        self.augmenter = augmenter
        self.seed = seed
        self.mixup = mixup
        self.workers = workers

    def __len__(self) -> int:
        """Batches per epoch."""
        return -(-len(self.rows) // self.batch_size)

    def batch(self, epoch: int, number: int, chosen: Array) -> tuple[Array, Array]:
        """One batch, without TensorFlow.

        Args:
            epoch: Number of the epoch, from 0.
            number: Number of the batch within the epoch, from 0.
            chosen: Places in `rows` that make up the batch.

        Returns:
            x `(B, H, W, C)` float32 in the units of `images` (uint8 gives 0..255), y `(B, K)`.
        """
        x = np.empty((len(chosen), *self.images.shape[1:]), np.float32)
        pixels = np.asarray(self.images)
        for place, row in enumerate(self.rows[chosen]):
            image = pixels[row]
            if self.augmenter is not None:
                image = self.augmenter(image, (self.seed, epoch, int(row)))
            x[place] = image
        y = self.targets[chosen]
        if self.mixup > 0:
            rng = np.random.default_rng((self.seed, epoch, number, _MIXUP))
            share = np.float32(rng.beta(self.mixup, self.mixup))
            partner = rng.permutation(len(chosen))
            x = share * x + (1 - share) * x[partner]
            y = share * y + (1 - share) * y[partner]
        return x, y

    def order(self, epoch: int) -> NDArray[np.int64]:
        """Places in `rows` in the order of an epoch, from (seed, epoch) alone."""
        rng = np.random.default_rng((self.seed, epoch, _ORDER))
        return rng.permutation(len(self.rows)).astype(np.int64)

    def epoch(self, epoch: int) -> tf.data.Dataset:
        """The batches of one epoch.

        Returns:
            A finite data set of known length: x `(B, H, W, C)` float32, y `(B, K)` float32.
        """
        import tensorflow as tf

        def make(number: Array, chosen: Array) -> tuple[Array, Array]:
            return self.batch(epoch, int(number), chosen)

        def mapped(number: tf.Tensor, chosen: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            x, y = tf.numpy_function(make, [number, chosen], [tf.float32, tf.float32])
            x.set_shape([None, *self.images.shape[1:]])
            y.set_shape([None, self.targets.shape[1]])
            return x, y

        batches = tf.data.Dataset.from_tensor_slices(self.order(epoch)).batch(self.batch_size)
        return untuned(
            batches.enumerate()
            .map(mapped, num_parallel_calls=self.workers, deterministic=True)
            .prefetch(PREFETCHED)
        )


def eval_stream(
    images: Array,
    rows: Sequence[int] | NDArray[np.integer[Any]],
    batch_size: int,
    view: Mapping[str, Any] | None = None,
) -> tf.data.Dataset:
    """Batches of pictures in the order of the rows, without augmentation.

    Args:
        images: `(N, H, W, C)` uint8 or float32, usually a memory map.
        rows: Places in `images`.
        batch_size: Pictures per batch; the last one may be smaller.
        view: One of `tta_views`; None leaves the pictures as they are.

    Returns:
        A finite data set of x `(B, H, W, C)` float32, in the units of `images`.

    Raises:
        DataError: Rows out of range, no rows, or an unknown view.
    """
    import tensorflow as tf

    places = _rows(images, rows)
    if batch_size < 1:
        raise DataError(f"batch_size={batch_size} must be at least 1")
    change = _view(view)

    def make(chosen: Array) -> Array:
        return change(np.asarray(images[chosen])).astype(np.float32, copy=False)

    def mapped(chosen: tf.Tensor) -> tf.Tensor:
        x = tf.numpy_function(make, [chosen], tf.float32)
        x.set_shape([None, *images.shape[1:]])
        return x

    batches = tf.data.Dataset.from_tensor_slices(places).batch(batch_size)
    return untuned(
        batches.map(mapped, num_parallel_calls=2, deterministic=True).prefetch(PREFETCHED)
    )


def untuned(stream: tf.data.Dataset) -> tf.data.Dataset:
    """Switch the tuner of tf.data off: every number above is fixed anyway.

    Its thread sleeps for periods that double up to a minute, and closing an iterator waits for
    the period to end: epochs of 5 s were seen to take 10.2 and 20.5 s.
    """
    import tensorflow as tf

    options = tf.data.Options()
    options.autotune.enabled = False
    return stream.with_options(options)


def _view(view: Mapping[str, Any] | None) -> Callable[[Array], Array]:
    if view is None or view.get("view") == "identity":
        return lambda batch: batch
    from data_adapters.augment import apply_view

    return lambda batch: apply_view(batch, view)


def _rows(images: Array, rows: Sequence[int] | NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """The rows as int64, checked against the number of pictures."""
    places = np.asarray(rows, np.int64)
    if places.ndim != 1 or len(places) == 0:
        raise DataError(f"rows of shape {places.shape}: at least one picture is wanted")
    if images.ndim != 4:
        raise DataError(f"images of shape {images.shape} are not (N, H, W, C)")
    if places.min() < 0 or places.max() >= len(images):
        raise DataError(f"rows reach beyond the {len(images)} pictures there are")
    return places
