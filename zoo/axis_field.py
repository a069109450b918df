"""What the samples of a feature map see along one axis of the image, followed layer by layer."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from zoo.errors import ZooError


@dataclass(frozen=True)
class Reads:
    """Samples that were taken by number from an axis, as mirrored padding does.

    Attributes:
        whole: Samples of the axis that they were taken from.
        ends: Of each sample the lowest and the highest one that it is made of.
    """

    whole: int
    ends: tuple[tuple[int, int], ...]

    @property
    def step(self) -> int:
        """Samples from one to the next: a layer makes ceil(whole / step) of an axis.

        Where several would do, which only an axis shorter than its layers' strides leaves open, the
        smallest power of two.
        """
        count = len(self.ends)
        powers = [1 << k for k in range(max(1, self.whole).bit_length() + 1)]
        choices: list[int] = [*powers, *range(1, self.whole + 1)]
        for step in choices:
            if -(-self.whole // step) == count:
                return step
        return 1

    def window(self, step: int, extent: int) -> Reads:
        """What a window without padding makes of them."""
        starts = range(0, len(self.ends) - extent + 1, step)
        return replace(self, ends=tuple(_hull(self.ends[a : a + extent]) for a in starts))


def _hull(ends: tuple[tuple[int, int], ...]) -> tuple[int, int]:
    return min(low for low, _ in ends), max(high for _, high in ends)


@dataclass(frozen=True)
class Axis:
    """Affine bounds along one axis: sample ``i`` sees ``stride * i + low`` to ``... + high``.

    Attributes:
        stride: Input samples from one sample to the next.
        low: See above.
        high: See above.
        coarsest: Least common multiple of all strides on the way.
        padded: Whether samples invented at the border are seen.
        bounded: Whether nothing sees the whole axis.
        reads: Samples that were taken from such an axis by number; None: all as they are.
        folded: How many samples of it lie in the batch for now; None: it is an axis of its own.
        fixed: Whether samples were taken by number on the way.
    """

    stride: Fraction = Fraction(1)
    low: Fraction = Fraction(0)
    high: Fraction = Fraction(0)
    coarsest: int = 1
    padded: bool = False
    bounded: bool = True
    reads: Reads | None = None
    folded: int | None = None
    fixed: bool = False

    def through(self, step: Fraction, low: Fraction, high: Fraction) -> Axis:
        """Compose with a layer whose output ``i`` reads ``step * i + low`` to ``... + high``."""
        if self.reads is not None:
            return self.settled().through(step, low, high)
        stride = self.stride * step
        whole = stride.numerator if stride.denominator == 1 else 1
        return replace(
            self,
            stride=stride,
            low=self.stride * low + self.low,
            high=self.stride * high + self.high,
            coarsest=math.lcm(self.coarsest, whole),
        )

    def windowed(self, step: Fraction, low: Fraction, high: Fraction, pads: bool) -> Axis:
        """As `through`, for a layer that may pad.

        A window over mirrored samples sees no more than the samples in it, whatever their order.
        """
        if step == 1 and low == high == 0 and not pads:
            return self
        if self.reads is not None and not pads and low == 0 and step.denominator == 1:
            seen = self.reads.window(int(step), int(high) + 1)
            return replace(self, reads=seen).settled()
        ready = self.settled()
        return replace(ready, padded=ready.padded or pads).through(step, low, high)

    def settled(self) -> Axis:
        """The same with affine bounds for samples that were taken by number."""
        if self.reads is None:
            return self
        step = self.reads.step
        lows = [low - step * i for i, (low, _) in enumerate(self.reads.ends)]
        highs = [high - step * i for i, (_, high) in enumerate(self.reads.ends)]
        even = len(set(lows)) == len(set(highs)) == 1
        plain = replace(self, reads=None, padded=self.padded or not even)
        return plain.through(Fraction(step), Fraction(min(lows)), Fraction(max(highs)))

    def taken(self, numbers: Reads) -> Axis:
        """Samples of this axis by number."""
        return replace(self.settled(), reads=numbers, fixed=True)

    def base(self) -> Axis:
        """The axis that samples were taken from."""
        return replace(self, reads=None, fixed=False)

    def join(self, other: Axis) -> Axis:
        """Depend on both, sample by sample."""
        same = self._with_reads(other), other._with_reads(self)
        if same[0] is not None and same[1] is not None:
            pairs = zip(same[0].ends, same[1].ends, strict=True)
            ends = tuple(_hull(pair) for pair in pairs)
            return replace(self, reads=replace(same[0], ends=ends), fixed=True)
        a, b = self.settled(), other.settled()
        return Axis(
            stride=max(a.stride, b.stride),
            low=min(a.low, b.low),
            high=max(a.high, b.high),
            coarsest=math.lcm(a.coarsest, b.coarsest),
            padded=a.padded or b.padded,
            bounded=a.bounded and b.bounded and a.stride == b.stride,
            folded=a.folded,
            fixed=a.fixed or b.fixed,
        )

    def _with_reads(self, other: Axis) -> Reads | None:
        """The samples taken by number, where the other's are of the same axis and as many."""
        mine, theirs = self.reads, other.reads
        if (mine is None and theirs is None) or self.base() != other.base():
            return None
        if mine is None and theirs is not None and len(theirs.ends) == theirs.whole:
            mine = Reads(theirs.whole, tuple((i, i) for i in range(theirs.whole)))
        if mine is None:
            return None
        if theirs is not None and (mine.whole, len(mine.ends)) != (theirs.whole, len(theirs.ends)):
            return None
        return mine


def split(
    operation: Any, field: tuple[Axis, ...], x: Any, outputs: list[Any]
) -> list[tuple[Axis, ...]]:
    """Runs of samples along a spatial axis."""
    axis = operation.axis % len(x.shape)
    if not 0 < axis < len(x.shape) - 1 or x.shape[axis] is None or field[0].folded is not None:
        raise ZooError(f"the receptive field behind layer {operation.name!r} is not known here")
    found, first = [], 0
    for output in outputs:
        ends = tuple((i, i) for i in range(first, first + output.shape[axis]))
        first += output.shape[axis]
        parts = list(field)
        parts[axis - 1] = parts[axis - 1].taken(Reads(int(x.shape[axis]), ends))
        found.append(tuple(parts))
    return found


def folded(
    field: tuple[Axis, ...], before: tuple[Any, ...], after: tuple[Any, ...]
) -> tuple[Axis, ...] | None:
    """Slices of a volume put into the batch, or taken out again; None for other reshapes."""
    first = field[0]
    if len(before) == 5 and len(after) == 4 and before[2:] == after[1:] and before[1] is not None:
        return (replace(first, folded=int(before[1])), *field[1:])
    back = len(before) == 4 and len(after) == 5 and before[1:] == after[2:]
    if back and first.folded is not None and first.folded == after[1]:
        return (replace(first, folded=None).settled(), *field[1:])
    return None


def joined(axes: list[Axis], sizes: list[int | None]) -> Reads | None:
    """Samples one after the other, where all are of the same axis; None where they are not."""
    if len({axis.base() for axis in axes}) > 1 or None in sizes:
        return None
    wholes = {axis.reads.whole for axis in axes if axis.reads is not None}
    wholes |= {int(n or 0) for axis, n in zip(axes, sizes, strict=True) if axis.reads is None}
    if len(wholes) > 1:
        return None
    ends: list[tuple[int, int]] = []
    for axis, size in zip(axes, sizes, strict=True):
        own = tuple((i, i) for i in range(int(size or 0)))
        ends += own if axis.reads is None else axis.reads.ends
    return Reads(wholes.pop(), tuple(ends))


def without_reads(field: tuple[Axis, ...], axis: int) -> tuple[Axis, ...]:
    """The field with the samples of one axis as they are."""
    return tuple(replace(a, reads=None) if i == axis else a for i, a in enumerate(field))
