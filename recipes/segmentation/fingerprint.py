"""The fingerprint of a data set: what a plan needs to know, taken in one pass over the cases.

After Isensee et al., 2021 (nnU-Net, doi:10.1038/s41592-020-01008-z): spacings, sizes, and
intensities inside the foreground.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from data_adapters.adapter import Adapter, Skip
from data_adapters.case import Case, Geometry
from data_adapters.errors import CaseError
from recipes.errors import RecipeError
from recipes.segmentation.sides import MOST, layout, one_sided

SAMPLES = 20_000
"""Voxels of a case whose intensities are kept, at most."""
PERCENTILES = (0.5, 50.0, 99.5)


@dataclass(frozen=True)
class Intensity:
    """Values of one channel inside the foreground, pooled over cases.

    Attributes:
        low: 0.5th percentile, modality units.
        median: Median.
        high: 99.5th percentile.
        mean: Mean.
        std: Standard deviation.
    """

    low: float
    median: float
    high: float
    mean: float
    std: float


@dataclass(frozen=True)
class Fingerprint:
    """What the cases have in common, and how they differ.

    Attributes:
        n: Cases that could be read and have a mask.
        axes: 2 or 3, axes of a case.
        channels: Channels of the images; 1 where all pictures are grey, whatever they store.
        stored: The numbers of channels that files store, such as ``(1, 3)``.
        modality: Modality, where known.
        class_names: Name of mask value k.
        shapes: Voxels along the axes, one per case.
        spacings: Voxel size in mm along the axes, one per case; empty where unknown.
        orientation: How most cases lie, as the step ``reorient`` takes it (``LPS``); shapes and
            spacings are those of cases turned so. None for pictures, and where the directions of
            any case are unknown or its slices are no regular stack.
        sided: Share of cases that are more like the others than their mirror image from left to
            right is (`sides.one_sided`); None where directions are unknown or cases are few.
        intensity: One per channel.
        volumes: Class -> foreground volumes of the cases that have it, mL (pixels where the
            voxel size is unknown).
        present: Class -> share of cases that have it.
        integer8: Whether every image is stored in 8 bits.
        skipped: Kind -> cases left out.
    """

    n: int
    axes: int
    channels: int
    stored: tuple[int, ...]
    modality: str | None
    class_names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    spacings: tuple[tuple[float, ...], ...]
    orientation: str | None
    sided: float | None
    intensity: tuple[Intensity, ...]
    volumes: dict[str, tuple[float, ...]]
    present: dict[str, float]
    integer8: bool
    skipped: dict[str, int]

    @property
    def shape(self) -> tuple[int, ...]:
        """Median number of voxels along each axis."""
        return tuple(round(float(v)) for v in np.median(np.asarray(self.shapes), axis=0))

    @property
    def spacing(self) -> tuple[float, ...] | None:
        """Median voxel size in mm along each axis; None where unknown."""
        if not self.spacings:
            return None
        return tuple(float(v) for v in np.median(np.asarray(self.spacings), axis=0))

    @property
    def anisotropy(self) -> float:
        """Largest over smallest side of the median voxel; 1 where unknown."""
        return 1.0 if self.spacing is None else max(self.spacing) / min(self.spacing)

    def to_dict(self) -> dict[str, Any]:
        """JSON."""
        return asdict(self)


def take_fingerprint(
    adapter: Adapter,
    rows: Sequence[int],
    *,
    modality: str | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Fingerprint, tuple[Skip, ...]]:
    """Read every case once.

    Args:
        adapter: Data with masks.
        rows: Cases that count: those of the training part.
        modality: Instead of the adapter's word.
        progress: Called with (done, total).

    Returns:
        The fingerprint, and the cases that could not be read or have no mask.

    Raises:
        RecipeError: No case has a mask, or cases differ in axes or channels.
    """
    seen: list[_Seen] = []
    layouts: list[npt.NDArray[np.float32] | None] = []
    skipped: list[Skip] = []
    names = tuple(adapter.class_names)
    for done, row in enumerate(rows, start=1):
        try:
            case = adapter[row]
        except CaseError as error:
            skipped.append(Skip(error.case_id, error.kind, str(error)))
            continue
        if case.mask is None:
            skipped.append(Skip(case.case_id, "no-mask", "the case has no mask of one class each"))
        else:
            seen.append(_look(case, len(names), seed=row))
            if seen[-1].orientation is not None and len(layouts) < MOST:
                layouts.append(layout(case.mask, len(names), seen[-1].orientation))
        progress(done, len(rows))
    if not seen:
        raise RecipeError(
            f"none of {len(rows)} cases has a mask that can be read; `radzoo data lint` says why"
        )
    channels, stored = _channels(seen)
    orientation = _usual([one.orientation for one in seen])
    seen = [one.turned(orientation) for one in seen]
    kinds = [skip.kind for skip in skipped]
    return Fingerprint(
        n=len(seen),
        axes=len(seen[0].shape),
        channels=channels,
        stored=stored,
        modality=modality or adapter.modality,
        class_names=names,
        shapes=tuple(one.shape for one in seen),
        spacings=tuple(one.spacing for one in seen if one.spacing),
        orientation=orientation,
        sided=None if orientation is None else one_sided([m for m in layouts if m is not None]),
        intensity=_intensities([one.values for one in seen], channels),
        volumes={
            name: tuple(float(one.volumes[k]) for one in seen if one.volumes[k])
            for k, name in enumerate(names)
            if k
        },
        present={
            name: float(np.mean([one.volumes[k] > 0 for one in seen]))
            for k, name in enumerate(names)
            if k
        },
        integer8=all(one.integer8 for one in seen),
        skipped={kind: kinds.count(kind) for kind in sorted(set(kinds))},
    ), tuple(skipped)


@dataclass(frozen=True)
class _Seen:
    """What is kept of one case."""

    case_id: str
    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    values: npt.NDArray[np.float32]
    volumes: npt.NDArray[np.float64]
    integer8: bool
    grey: bool
    orientation: str | None

    def turned(self, to: str | None) -> _Seen:
        """Shape and spacing along the axes that a case has once it lies as the others."""
        if to is None or self.orientation in (None, to):
            return self
        have = [_PATIENT[letter] for letter in reversed(self.orientation or "")]
        order = [have.index(_PATIENT[letter]) for letter in reversed(to)]
        return replace(
            self,
            shape=tuple(self.shape[a] for a in order),
            spacing=tuple(self.spacing[a] for a in order),
        )


_PATIENT = {"L": 0, "R": 0, "P": 1, "A": 1, "S": 2, "I": 2}


def orientation_of(geometry: Geometry | None) -> str | None:
    """Where column, row and slice numbers grow to, each to the nearest patient direction.

    Args:
        geometry: Where a volume lies.

    Returns:
        Three letters such as ``LPS``, as the step ``reorient`` takes them; None for pictures,
        unknown directions and irregular stacks.
    """
    if geometry is None or len(geometry.direction) != 3 or geometry.positions:
        return None
    cosines = np.asarray(geometry.direction)
    order = max(
        itertools.permutations(range(3)),
        key=lambda o: float(sum(abs(cosines[axis, o[axis]]) for axis in range(3))),
    )
    letters = ["LR", "PA", "SI"]
    found = [letters[o][0 if cosines[axis, o] >= 0 else 1] for axis, o in enumerate(order)]
    return "".join(reversed(found))


def _usual(codes: Sequence[str | None]) -> str | None:
    """The most frequent code, of equals the first in the alphabet; None where one is unknown."""
    known = [code for code in codes if code is not None]
    if len(known) < len(codes):
        return None
    return min(set(known), key=lambda code: (-known.count(code), code))


def _look(case: Case, classes: int, *, seed: int) -> _Seen:
    mask = case.mask
    assert mask is not None
    known = mask >= 0
    counts = np.bincount(mask[known].ravel().astype(np.int64), minlength=classes)
    if len(counts) > classes:
        raise RecipeError(
            f"case {case.case_id}: its mask holds the value {len(counts) - 1} and there are "
            f"{classes} classes; name every value in the data's own table of labels"
        )
    inside = np.flatnonzero((mask > 0).ravel())
    if not len(inside):  # an empty mask says nothing about the foreground
        inside = np.flatnonzero(known.ravel())
    rng = np.random.default_rng(seed)
    if len(inside) > SAMPLES:
        inside = rng.choice(inside, SAMPLES, replace=False)
    values = case.image.reshape(-1, case.image.shape[-1])[np.sort(inside)].astype(np.float32)
    spacing = () if case.geometry is None else tuple(float(v) for v in case.geometry.spacing)
    unit = float(np.prod(spacing)) / (1000.0 if len(spacing) == 3 else 1.0) if spacing else 1.0
    return _Seen(
        case_id=case.case_id,
        shape=mask.shape,
        spacing=spacing,
        values=values,
        volumes=np.asarray(counts * unit, np.float64),
        integer8=case.image.dtype == np.uint8,
        grey=bool((case.image == case.image[..., :1]).all()),
        orientation=orientation_of(case.geometry),
    )


def _channels(seen: Sequence[_Seen]) -> tuple[int, tuple[int, ...]]:
    """Channels that the network shall see, and those that the files store.

    Raises:
        RecipeError: Cases differ in axes, or in channels beyond grey and colour pictures.
    """
    axes = [len(one.shape) for one in seen]
    stored = [one.values.shape[1] for one in seen]
    pictures = set(axes) == {2} and set(stored) <= {1, 3}
    for what, values in (("axes", axes), *(() if pictures else (("channels", stored),))):
        kinds = sorted(set(values))
        if len(kinds) > 1:
            odd = next(one.case_id for one, v in zip(seen, values, strict=True) if v != values[0])
            raise RecipeError(
                f"cases differ in their number of {what} ({', '.join(map(str, kinds))}; such as "
                f"case {odd}); keep cases of one kind"
            )
    counts = tuple(sorted(set(stored)))
    if pictures and all(one.grey for one in seen):
        return 1, counts
    return max(counts), counts


def _intensities(values: Sequence[npt.NDArray[np.float32]], channels: int) -> tuple[Intensity, ...]:
    wide = [one if one.shape[1] == channels else one[:, :1].repeat(channels, 1) for one in values]
    found = []
    for channel in np.concatenate(wide).astype(np.float64).T:
        low, median, high = (float(v) for v in np.percentile(channel, PERCENTILES))
        inner = np.clip(channel, low, high)
        found.append(Intensity(low, median, high, float(inner.mean()), float(inner.std())))
    return tuple(found)
