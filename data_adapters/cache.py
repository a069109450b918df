"""Decode every case once: from an adapter and a chain to memory-mapped pictures on disk.

Memory is bounded by a chunk of pictures. A run that is killed goes on with the first chunk that is
missing; a finished cache is found again by its key, checked, and rebuilt where it is damaged.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from data_adapters import cache_store
from data_adapters.adapter import Adapter, Skip
from data_adapters.chain import apply_chain, chain_channels, chain_size, validate_chain
from data_adapters.dicom.display import bright_is_dense
from data_adapters.errors import CaseError, DataError
from data_adapters.hashing import fingerprint
from data_adapters.indexing import data_pseudonym
from data_adapters.locks import Hold, hold
from data_adapters.privacy import salt_check

Array = NDArray[Any]
Progress = Callable[[int, int], None]

DECODER = 1
"""Raised whenever the same files and chain would give other pixels or fingerprints."""


@dataclass(frozen=True, eq=False)
class Decoded:
    """All cases of an adapter behind one chain; row i belongs to `adapter.index[i]`.

    Attributes:
        images: `(N, H, W, C)` uint8 or float32, read-only memory map, modality units; a skipped
            case is a row of zeros.
        ok: `(N,)` bool, False where the case was skipped.
        sha256: Digest of the case's native pixels; empty where skipped.
        phash: `(N, 8)` uint64, perceptual hashes over flips and quarter turns.
        thumbs: `(N, 32, 32)` uint8.
        low: `(N,)` float32, lowest native value; NaN where skipped.
        high: `(N,)` float32, highest native value; NaN where skipped.
        skipped: Cases that could not be read, with the reason.
        key: Names the cache: a digest of the data's identity, the chain and the decoder.
        seconds: Time this call took.
        reused: True where a finished cache was found.
        native_shapes: How many cases have which shape, e.g. `{"28x28x1": 546}`, most frequent
            first.
        hold: Keeps the cache from being pruned while this object lives.
    """

    images: Array
    ok: NDArray[np.bool_]
    sha256: list[str]
    phash: NDArray[np.uint64]
    thumbs: NDArray[np.uint8]
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    skipped: list[Skip]
    key: str
    seconds: float
    reused: bool
    native_shapes: dict[str, int]
    hold: Hold | None = field(default=None, repr=False)


@dataclass(frozen=True, eq=False)
class _One:
    """What decoding one case gave."""

    image: Array | None = None
    native: tuple[int, ...] = ()
    sha256: str = ""
    phash: Array | None = None
    thumb: Array | None = None
    low: float = float("nan")
    high: float = float("nan")
    skip: Skip | None = None


def decode(
    adapter: Adapter,
    chain: Sequence[Mapping[str, Any]],
    *,
    home: Path,
    progress: Progress | None = None,
    workers: int = 2,
) -> Decoded:
    """Decode all cases of an adapter, or find them decoded.

    Args:
        adapter: The cases.
        chain: Steps of `apply_chain`; pictures of unlike size need a `resize` among them.
        home: Folder of caches; the pictures go to `decoded/` in it.
        progress: Called as `progress(done, total)` after each case, from this thread.
        workers: Cases decoded at the same time.

    Returns:
        The pictures and what is known of each case. float32 as soon as one picture is not uint8.

    Raises:
        DataError: No case at all, none that can be read, pictures of unlike shape after the chain,
            or a folder of caches that is full or read-only.
    """
    started = time.perf_counter()
    steps = validate_chain(chain)
    if len(adapter) == 0:
        raise DataError("there are no cases to decode")
    key = _key(adapter, steps)
    folder = Path(home) / "decoded"
    with cache_store.storing():
        folder.mkdir(parents=True, exist_ok=True)
        about_to_open = hold(folder / "prune.lock", shared=True)
    with about_to_open:
        found = cache_store.open_finished(folder / key)
        reused = found is not None
        if found is None:
            with cache_store.storing():
                building = hold(folder / f"{key}.lock", shared=False)
            with building:
                found = cache_store.open_finished(folder / key)
                if found is None:
                    found = _build(adapter, steps, folder / key, progress, workers)
        elif progress is not None:
            progress(len(adapter), len(adapter))
        with cache_store.storing():
            in_use = hold(folder / f"{key}.use", shared=True)
    images, records, manifest = found
    return Decoded(
        images=images,
        ok=records["ok"],
        sha256=[str(text) for text in records["sha256"]],
        phash=records["phash"],
        thumbs=records["thumbs"],
        low=records["low"],
        high=records["high"],
        skipped=[Skip(*entry) for entry in manifest["skipped"]],
        key=key,
        seconds=time.perf_counter() - started,
        reused=reused,
        native_shapes=manifest["native_shapes"],
        hold=in_use,
    )


def probe(adapter: Adapter, n: int = 16) -> dict[str, Any]:
    """Look at a few cases, spread evenly, to choose a chain.

    Args:
        adapter: The cases.
        n: How many to look at; one that cannot be read is passed over.

    Returns:
        `dtype` (`uint8` where all are, else `float32`), `ndim` (3 pictures, 4 volumes), `channels`
        (the largest count), `gray` (True where one channel holds all there is), `sizes` (distinct
        native `(H, W)` or `(D, H, W)`, sorted), `size` (the median of each axis), `range` (lowest
        and highest value), `looked_at` and `unreadable`.

    Raises:
        DataError: None of them can be read, or pictures and volumes are mixed.
    """
    if len(adapter) == 0:
        raise DataError("there are no cases to look at")
    images, skips = [], []
    for i in np.unique(np.linspace(0, len(adapter) - 1, max(1, n)).astype(int)):
        try:
            images.append(_Sample(bright_is_dense(adapter[int(i)])))
        except CaseError as error:
            skips.append(Skip(adapter.index[i].case_id, error.kind, error.message))
    if not images:
        raise DataError(_all_failed(skips))
    dims = {len(image.shape) for image in images}
    if len(dims) > 1:
        raise DataError("the data mix pictures (H, W, C) and volumes (D, H, W, C); part them")
    sizes = [image.shape[:-1] for image in images]
    return {
        "dtype": "uint8" if all(image.dtype == np.uint8 for image in images) else "float32",
        "ndim": dims.pop(),
        "channels": max(image.shape[-1] for image in images),
        "gray": all(image.gray for image in images),
        "sizes": sorted(set(sizes)),
        "size": tuple(int(side) for side in np.median(np.array(sizes), axis=0)),
        "range": (min(image.low for image in images), max(image.high for image in images)),
        "looked_at": len(images),
        "unreadable": len(skips),
    }


class _Sample:
    """What `probe` keeps of an image."""

    def __init__(self, image: Array) -> None:
        self.shape, self.dtype = image.shape, image.dtype
        self.low, self.high = float(image.min()), float(image.max())
        self.gray = image.shape[-1] == 1 or bool((image == image[..., :1]).all())


def _build(
    adapter: Adapter,
    steps: list[dict[str, Any]],
    target: Path,
    progress: Progress | None,
    workers: int,
) -> tuple[Any, cache_store.Records, dict[str, Any]]:
    """Decode chunk after chunk into the partial cache, then put it in place."""
    shape = _shape(adapter, steps)
    with cache_store.storing():
        part = cache_store.PartialCache(
            target.with_name(target.name + ".part"), len(adapter), shape
        )
        cache_store.require_room(target.parent, len(adapter) * int(np.prod(shape)))
    records = []
    pool = ThreadPoolExecutor(max_workers=max(1, workers))
    try:
        for number in range(part.chunks):
            members = part.members(number)
            record = part.finished(number)
            if record is None:
                record = _store_chunk(adapter, steps, part, number, pool, progress)
            elif progress is not None:
                progress(members.stop, len(adapter))
            records.append(record)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    skipped = [entry for record in records for entry in json.loads(str(record.pop("skips")))]
    shapes = Counter(str(text) for record in records for text in record.pop("native") if text)
    with cache_store.storing():
        if not any(record["ok"].any() for record in records):
            part.discard()
            raise DataError(_all_failed([Skip(*entry) for entry in skipped]))
        facts = {
            "skipped": skipped,
            "native_shapes": dict(shapes.most_common()),
            "data": data_pseudonym(adapter),
        }
        part.finish(target, records, facts)
    found = cache_store.open_finished(target)
    if found is None:
        raise DataError(
            "the cache of decoded images does not read back as it was written; "
            "check the disk, or set RADZOO_HOME to a folder on another one"
        )
    return found


def _store_chunk(
    adapter: Adapter,
    steps: list[dict[str, Any]],
    part: cache_store.PartialCache,
    number: int,
    pool: ThreadPoolExecutor,
    progress: Progress | None,
) -> cache_store.Records:
    """Decode one chunk's cases and put them on disk."""
    members = part.members(number)
    ones = []
    for place, one in zip(
        members, pool.map(lambda i: _decode_one(adapter, i, steps), members), strict=True
    ):
        if one.image is not None and one.image.shape != part.shape:
            raise DataError(
                f"case {adapter.index[place].case_id} comes out of the chain with shape "
                f"{one.image.shape} where {part.shape} was expected; "
                'add {"step": "resize", ...} and {"step": "channels", ...} to the chain'
            )
        ones.append(one)
        if progress is not None:
            progress(place + 1, len(adapter))
    wide = any(one.image is not None and one.image.dtype != np.uint8 for one in ones)
    pixels = np.zeros((len(ones), *part.shape), np.float32 if wide else np.uint8)
    for place, one in enumerate(ones):
        if one.image is not None:
            pixels[place] = one.image
    record = _record(ones)
    with cache_store.storing():
        part.store(number, pixels, record)
    return {**record, "crc": np.array(cache_store.checksum(pixels), np.uint32)}


def _record(ones: list[_One]) -> cache_store.Records:
    """What is known of a chunk's cases, as arrays."""
    skips = [(s.case_id, s.kind, s.message) for one in ones if (s := one.skip) is not None]
    none_hash, none_thumb = np.zeros(8, np.uint64), np.zeros((32, 32), np.uint8)
    return {
        "ok": np.array([one.image is not None for one in ones]),
        "sha256": np.array([one.sha256 for one in ones], "U64"),
        "phash": np.stack([none_hash if one.phash is None else one.phash for one in ones]),
        "thumbs": np.stack([none_thumb if one.thumb is None else one.thumb for one in ones]),
        "low": np.array([one.low for one in ones], np.float32),
        "high": np.array([one.high for one in ones], np.float32),
        "native": np.array(["x".join(map(str, one.native)) for one in ones], "U48"),
        "skips": np.array(json.dumps(skips)),
    }


def _decode_one(adapter: Adapter, i: int, steps: list[dict[str, Any]]) -> _One:
    """Read one case, run the chain, take its fingerprint; a case that fails is skipped."""
    case_id = adapter.index[i].case_id
    try:
        case = adapter[i]
        native = bright_is_dense(case)
        turned = case if native is case.image else replace(case, image=native)
        image = apply_chain(turned, steps)
        marks = fingerprint(native)
    except CaseError as error:
        return _One(skip=Skip(case_id, error.kind, error.message))
    except DataError as error:
        return _One(skip=Skip(case_id, "unusable", str(error)))
    return _One(
        image=image,
        native=native.shape,
        sha256=marks.sha256,
        phash=marks.phash,
        thumb=marks.thumb,
        low=float(native.min()),
        high=float(native.max()),
    )


def _shape(adapter: Adapter, steps: list[dict[str, Any]]) -> tuple[int, int, int]:
    """Shape of every picture after the chain, from the chain or from the first readable case."""
    size, channels = chain_size(steps), chain_channels(steps)
    if size is not None and channels is not None:
        return (*size, channels)
    skips = []
    for i in range(len(adapter)):
        one = _decode_one(adapter, i, steps)
        if one.image is not None:
            return one.image.shape
        if one.skip is not None:
            skips.append(one.skip)
    raise DataError(_all_failed(skips))


def _all_failed(skips: Sequence[Skip]) -> str:
    kinds = Counter(skip.kind for skip in skips).most_common()
    counted = ", ".join(f"{kind}: {count}" for kind, count in kinds)
    first = f"; case {skips[0].case_id}: {skips[0].message}" if skips else ""
    return f"none of the {len(skips)} cases could be read ({counted}){first}"


def _key(adapter: Adapter, steps: list[dict[str, Any]]) -> str:
    """Digest of all that decides what is stored."""
    parts = {
        "adapter": adapter.kind,
        "identity": adapter.identity(),
        "cases": len(adapter),
        "chain": steps,
        "decoder": DECODER,
        "layout": cache_store.LAYOUT,
        "opencv": cv2.__version__,
        "salt": salt_check(),  # the records of what could not be read hold case ids
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]
