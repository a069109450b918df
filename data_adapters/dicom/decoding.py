"""Decoding many files or frames apart from this process, on every core.

Native decoders meet strangers' bytes: they run in the workers of `isolation`. One call decodes many
frames and returns one array, so that the cost of a call is paid seldom, and as many calls run at a
time as there are workers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_adapters.dicom.pixels import DAMAGE, check_pixels, damaged, open_dataset, stored_frames
from data_adapters.errors import CaseError
from data_adapters.isolation import isolated, workers

Array = NDArray[Any]
Put = Callable[[Sequence[int], Array], None]

DECODE = "data_adapters.dicom.decoding:decode_frames"
_FEWEST = 4
"""Frames that make a call worth its cost."""
_MOST_BYTES = 1 << 28
"""Decoded bytes that one call may return."""


def decode_frames(
    paths: Sequence[str], frames: Sequence[int] | None = None, *, case_id: str
) -> Array:
    """Decode files of one size and type; made to be called through `isolation.isolated`.

    Args:
        paths: The files.
        frames: Which frames of each, counted from 0; all where None.
        case_id: Pseudonymous id that errors carry.

    Returns:
        (N, H, W) stored values or (N, H, W, 3) RGB of all frames, file after file.

    Raises:
        CaseError: A file cannot be decoded, or the files differ in size or type.
    """
    out: Array | None = None
    for place, path in enumerate(paths):
        dataset = open_dataset(path, case_id=case_id)
        try:
            check_pixels(dataset, case_id=case_id)
            one = stored_frames(dataset, case_id=case_id, frames=frames)
        except CaseError:
            raise
        except DAMAGE as error:
            raise damaged(error, case_id) from None
        if len(paths) == 1:
            return one
        if out is None:
            out = np.empty((len(paths), *one.shape), one.dtype)
        if one.shape != out.shape[1:] or one.dtype != out.dtype:
            raise CaseError(case_id, "mixed-sizes", "the slices differ in size or pixel type")
        out[place] = one
    if out is None:
        raise CaseError(case_id, "no-pixels", "there are no files to decode")
    return out.reshape(-1, *out.shape[2:])


def time_limit(pixels: int) -> float:
    """Seconds after which decoding so many pixels is given up, many times what a sound file takes.

    A damaged code stream can declare more pixels than its header, or keep a decoder in a loop.
    """
    return 30.0 + 4e-6 * pixels


def decode_apart(
    paths: Sequence[str],
    frames: Sequence[int] | None,
    put: Put,
    *,
    shape: tuple[int, ...],
    case_id: str,
) -> None:
    """Decode files of one frame each, or frames of one file, in workers.

    Args:
        paths: The files; a single one with `frames`.
        frames: Which frames of the single file, counted from 0; None for one-frame files.
        put: Called as `put(places, stored)` with the decoded frames at these places of `paths` or
            `frames`; from several threads, each place once.
        shape: Of a decoded frame.
        case_id: Pseudonymous id that errors carry.

    Raises:
        CaseError: What the decoder raises, or what ended it.
    """
    count = len(paths) if frames is None else len(frames)
    # Small shares of many files keep every worker busy to the end; one file is parsed per share.
    even = max(_FEWEST, -(-count // (workers() * (1 if frames is not None else 4))))
    share = max(1, min(_MOST_BYTES // (4 * int(np.prod(shape))), even))
    chunks = [range(start, min(start + share, count)) for start in range(0, count, share)]

    def one(places: range) -> None:
        names = list(paths) if frames is not None else [paths[i] for i in places]
        numbers = None if frames is None else [int(frames[i]) for i in places]
        seconds = time_limit(len(places) * int(np.prod(shape)))
        stored = isolated(DECODE, names, numbers, seconds=seconds, case_id=case_id)
        put(places, stored)

    in_threads([partial(one, places) for places in chunks], workers())


def in_threads(jobs: Sequence[Callable[[], None]], threads: int) -> None:
    """Run jobs side by side; the first error is raised once those begun have ended."""
    if len(jobs) < 2:
        for job in jobs:
            job()
        return
    with ThreadPoolExecutor(min(len(jobs), threads)) as pool:
        begun = [pool.submit(job) for job in jobs]
        try:
            for one in begun:
                one.result()
        finally:
            for one in begun:
                one.cancel()
