"""Batches of patches for Keras; TensorFlow is imported when an epoch is built.

Every patch is a function of (seed, epoch, index) alone, so a stream repeats exactly whatever the
number of threads, and an epoch can be taken up in any order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from data_adapters.errors import DataError
from data_adapters.patches.augmenter import PatchAugmenter
from data_adapters.patches.cutting import cut
from data_adapters.patches.policy import PatchPolicy, check_swaps
from data_adapters.patches.reading import OUTSIDE, UNMEASURED, VOID, Border, Cache, PatchReader
from data_adapters.patches.sampler import PatchSampler
from data_adapters.store import Store

if TYPE_CHECKING:
    import tensorflow as tf

Array = NDArray[Any]


class PatchStream:
    """Batches of patches, one data set per epoch.

    Attributes:
        reader: Reads the cases.
        sampler: Says where patches are cut.
        augmenter: Changes them; None where the policy changes nothing.
    """

    def __init__(
        self,
        store: Store,
        rows: Sequence[int],
        *,
        patch_size: Sequence[int],
        batch_size: int,
        steps: int,
        seed: int,
        policy: PatchPolicy | None = None,
        foreground: float = 1 / 3,
        jitter: float = 0.25,
        inside: bool = True,
        background: bool = False,
        context: int = 0,
        border: Border = "constant",
        pad_value: float | None = None,
        void_outside: bool | None = None,
        cache: Cache = "auto",
        memory_mb: float = 1024.0,
        unit: float = 1.0,
        threads: int = 2,
    ) -> None:
        """Read the masks once, to know where the foreground lies.

        Args:
            store: An open store of cases with masks, normalised by its steps.
            rows: Rows to cut from.
            patch_size: Voxels along the case's axes, or `(H, W)` for slices of volumes.
            batch_size: Patches per batch.
            steps: Batches per epoch.
            seed: Not negative.
            policy: Random changes; None makes none.
            foreground: Share of patches on foreground, as of `PatchSampler`.
            jitter: As of `PatchSampler`.
            inside: As of `PatchSampler`.
            background: As of `PatchSampler`.
            context: Neighbouring slices on each side as channels, for slices of volumes.
            border: What lies beyond a case smaller than the patch, as of `PatchReader`.
            pad_value: As of `PatchReader`.
            void_outside: Whether the mask is -1 (unknown) beyond the case rather than 0
                (background); None is only where `border` repeats tissue (`edge`, `reflect`).
            cache: As of `PatchReader`.
            memory_mb: As of `PatchReader`.
            unit: As of `PatchAugmenter`.
            threads: Batches made at the same time.

        Raises:
            DataError: As `PatchReader`, `PatchSampler` and `PatchAugmenter`; a context where
                patches are no slices; swaps of classes that there are not.
        """
        self.reader = PatchReader(
            store, rows, border=border, pad_value=pad_value, cache=cache, memory_mb=memory_mb
        )
        self.sampler = PatchSampler(
            self.reader,
            patch_size=patch_size,
            batch_size=batch_size,
            steps=steps,
            seed=seed,
            foreground=foreground,
            jitter=jitter,
            inside=inside,
            background=background,
            threads=threads,
        )
        self.patch_size = self.sampler.patch_size
        slices = len(self.patch_size) < self.reader.axes
        if context < 0 or (context and not slices):
            raise DataError(
                f"context={context} is for (H, W) patches of volumes, not patch_size="
                f"{self.patch_size} of cases of {self.reader.axes} axes"
            )
        self.context, self.batch_size, self.steps = context, batch_size, steps
        self.seed, self.threads = seed, threads
        self.void_outside = border != "constant" if void_outside is None else void_outside
        self.augmenter = None
        if policy is not None and policy.active:
            check_swaps(policy, store.class_names)
            self.augmenter = PatchAugmenter(policy, unit=unit)

    @property
    def channels(self) -> int:
        """Channels of the patches."""
        return self.reader.channels * (2 * self.context + 1)

    def __len__(self) -> int:
        """Batches per epoch."""
        return self.steps

    def sample(self, epoch: int, index: int) -> tuple[Array, Array]:
        """One patch: image `(*patch_size, C)` float32, mask `patch_size` int32."""
        place = self.sampler.place(epoch, index)

        def read(offset: Sequence[int], size: Sequence[int]) -> tuple[Array, Array]:
            lead = len(place.start) - len(size)
            moved = tuple(a + b for a, b in zip(place.start[lead:], offset, strict=True))
            start = place.start[:lead] + moved
            return cut(self.reader, place.row, start, size, context=self.context)

        if self.augmenter is None:
            image, mask = read((0,) * len(self.patch_size), self.patch_size)
        else:
            image, mask = self.augmenter.read(
                read,
                self.patch_size,
                (self.seed, epoch, index),
                geometry=self.reader.geometry(place.row),
                slices=2 * self.context + 1,
                fill=self.reader.pad(place.row) if self.reader.border == "constant" else None,
            )
        labels = mask.astype(np.int32)
        if int(mask.min()) < VOID:
            labels[mask == OUTSIDE] = VOID if self.void_outside else 0
            labels[mask == UNMEASURED] = 0
        return image, labels

    def batch(self, epoch: int, number: int) -> tuple[Array, Array]:
        """One batch, without TensorFlow.

        Args:
            epoch: From 0.
            number: Number of the batch within the epoch, from 0.

        Returns:
            Images `(B, *patch_size, C)` float32, masks `(B, *patch_size)` int32: 0 background,
            -1 unknown.
        """
        images = np.empty((self.batch_size, *self.patch_size, self.channels), np.float32)
        masks = np.empty((self.batch_size, *self.patch_size), np.int32)
        for place in range(self.batch_size):
            index = number * self.batch_size + place
            images[place], masks[place] = self.sample(epoch, index)
        return images, masks

    def epoch(self, epoch: int) -> tf.data.Dataset:
        """The batches of one epoch.

        Returns:
            A finite data set of `steps` batches: images `(B, *patch_size, C)` float32, masks
            `(B, *patch_size)` int32.
        """
        import tensorflow as tf

        from data_adapters.pipeline import PREFETCHED, untuned

        def make(number: Array) -> tuple[Array, Array]:
            return self.batch(epoch, int(number))

        def mapped(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            images, masks = tf.numpy_function(make, [number], [tf.float32, tf.int32])
            images.set_shape([self.batch_size, *self.patch_size, self.channels])
            masks.set_shape([self.batch_size, *self.patch_size])
            return images, masks

        return untuned(
            tf.data.Dataset.range(self.steps)
            .map(mapped, num_parallel_calls=self.threads, deterministic=True)
            .prefetch(PREFETCHED)
        )
