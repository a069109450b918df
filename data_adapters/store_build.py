"""Making a store: keys, the list of cases, and the work shared between threads and processes."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from data_adapters import store_files
from data_adapters.adapter import Adapter, IndexRow, Skip, Task
from data_adapters.cache import DECODER
from data_adapters.cache_store import json_digest, read_json, require_room, storing, write_file
from data_adapters.errors import CaseError, DataError
from data_adapters.indexing import data_pseudonym, scope_of
from data_adapters.locks import Hold, hold, try_hold
from data_adapters.store_cases import case_arrays, case_facts, plain
from data_adapters.store_steps import Apply

Progress = Callable[[int, int], None]
Stop = Callable[[], bool]

CHECKED_BYTES = 256 * 2**20
"""How much of a finished store is read and checked when it is found, spread evenly."""
_LIBRARIES = ("numpy", "pydicom", "SimpleITK", "scipy", "opencv-python-headless")
_WHAT = "store of preprocessed cases"


@dataclass(frozen=True)
class Entry:
    """One case of a store: its key, the size of its file, and why it is missing if it is."""

    key: str
    nbytes: int = 0
    skip: Skip | None = None


@dataclass(frozen=True)
class Described:
    """What an adapter says of its data; the attributes are those of `Adapter`."""

    index: tuple[IndexRow, ...]
    class_names: tuple[str, ...]
    task: Task
    positive: str | None
    modality: str | None
    bans: tuple[str, ...]
    notes: tuple[str, ...]
    skipped: tuple[Skip, ...]


@dataclass(frozen=True)
class Manifest:
    """The list of a store's cases.

    Attributes:
        key: Names the store.
        data: Pseudonym of the data set.
        steps: The steps, JSON-able.
        cases: One entry per row of the adapter.
    """

    key: str
    data: str
    steps: list[Any]
    cases: tuple[Entry, ...]
    described: Described

    def describe(self, adapter: Adapter | None) -> Described:
        """The adapter's description as it is now, or as it was when the store was made."""
        now = self.described if adapter is None else _described(adapter)
        missing = tuple(entry.skip for entry in self.cases if entry.skip is not None)
        return replace(now, skipped=(*now.skipped, *missing))


def case_path(folder: Path, key: str) -> Path:
    """File of a case under the store's folder."""
    return folder / "cases" / key[:2] / f"{key}.case"


def build(
    adapter: Adapter,
    steps: Sequence[Any],
    *,
    folder: Path,
    apply: Apply,
    workers: int,
    progress: Progress | None,
    stop: Stop | None,
    verify: bool,
) -> tuple[Manifest, int, int]:
    """Find or make all cases; see `data_adapters.store.build_store`.

    Returns:
        The list, the number of cases that were there, and the number made now.
    """
    if len(adapter) == 0:
        raise DataError("there are no cases to store")
    plan = _plan(adapter, steps)
    found = read_manifest(folder / f"{plan.key}.json")
    if found is not None:
        sound = _sound(folder, found, everything=verify)
        if sound and _complete(folder, found, retry=verify):
            if progress is not None:
                progress(len(adapter), len(adapter))
            return found, len(found.cases), 0
        verify = verify or not sound
    with storing(_WHAT):
        write_manifest(folder / f"{plan.key}.part.json", plan)
    work = _Work(adapter, plan, folder, apply, verify)
    manifest = work.run(workers, progress, stop)
    with storing(_WHAT):
        write_manifest(folder / f"{plan.key}.json", manifest)
        (folder / f"{plan.key}.part.json").unlink(missing_ok=True)
    return manifest, len(work.kept), len(work.made)


def in_use(folder: Path) -> Hold:
    """Make the store's folder if need be, and keep it from being pruned while this is held."""
    with storing(_WHAT):
        folder.mkdir(parents=True, exist_ok=True)
        return hold(folder / "prune.lock", shared=True)


class _Work:
    """The cases of one store on their way to the disk."""

    def __init__(
        self, adapter: Adapter, plan: Manifest, folder: Path, apply: Apply, verify: bool
    ) -> None:
        self.adapter, self.plan, self.folder, self.apply = adapter, plan, folder, apply
        self.verify = verify
        self.kept: list[int] = []
        self.made: list[int] = []

    def run(self, workers: int, progress: Progress | None, stop: Stop | None) -> Manifest:
        """Make what is missing; what another process is making is waited for at the end."""
        total = len(self.plan.cases)
        entries: dict[int, Entry] = {}
        busy: list[int] = []
        stopped = False

        def rows() -> Iterator[int]:
            for row in range(total):
                if stopped:
                    return
                yield row

        with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
            try:
                for wait in (False, True):
                    todo = rows() if not wait else iter(busy)
                    for row, entry in _in_flight(pool, todo, workers, self._one(wait)):
                        if entry is None:
                            busy.append(row)
                            continue
                        entries[row] = entry
                        if progress is not None:
                            progress(len(entries), total)
                        stopped = stopped or (stop is not None and stop())
                    if stopped:
                        break
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        if len(entries) < total:
            raise DataError(
                f"stopped with {len(entries)} of {total} cases stored; the same call goes on there"
            )
        cases = tuple(entries[row] for row in range(total))
        if all(entry.skip is not None for entry in cases):
            raise DataError(_all_failed([entry.skip for entry in cases if entry.skip]))
        return replace(self.plan, cases=cases)

    def _one(self, wait: bool) -> Callable[[int], Entry | None]:
        """Work on one row: its entry, or None while another process makes the case."""

        def work(row: int) -> Entry | None:
            key = self.plan.cases[row].key
            path = case_path(self.folder, key)
            size = _stored_size(path, thorough=self.verify)
            if size is not None:
                self.kept.append(row)
                return Entry(key, size)
            with storing(_WHAT):
                path.parent.mkdir(parents=True, exist_ok=True)
                lock_path = path.with_suffix(".lock")
                lock = hold(lock_path, shared=False) if wait else try_hold(lock_path)
            if lock is None:
                return None
            with lock:
                size = _stored_size(path, thorough=self.verify)
                if size is not None:
                    self.kept.append(row)
                    return Entry(key, size)
                entry = self._make(row, path)
                lock_path.unlink(missing_ok=True)
                return entry

        return work

    def _make(self, row: int, path: Path) -> Entry:
        """Preprocess one case and put its file in place in one move."""
        case_id, key = self.adapter.index[row].case_id, path.stem
        try:
            case = self.adapter[row]
            result = self.apply(case, self.plan.steps)
            made, undo = result if isinstance(result, tuple) else (result, ())
            native = replace(case, meta={}, display=made.display, lesions=())
            facts = case_facts(made) | {
                "native": {
                    "shape": list(case.image.shape),
                    "geometry": case_facts(native)["geometry"],
                },
                "undo": plain(list(undo)),
            }
            arrays = case_arrays(made)
        except CaseError as error:
            return Entry(key, skip=Skip(case_id, error.kind, error.message))
        except DataError as error:
            return Entry(key, skip=Skip(case_id, "unusable", str(error)))
        partial = path.with_suffix(".partial")
        with storing(_WHAT):
            try:
                nbytes = sum(array.nbytes for array in arrays.values())
                require_room(path.parent, nbytes, _WHAT)
                size = store_files.write_case(partial, facts, arrays)
                partial.replace(path)
            finally:
                partial.unlink(missing_ok=True)
        self.made.append(row)
        return Entry(key, size)


def read_manifest(path: Path) -> Manifest | None:
    """Read a list of cases; None where there is none or it does not fit its checksum."""
    content = read_json(path)
    if content is None or content.get("sha256") != json_digest(content):
        return None
    cases = tuple(
        Entry(entry["key"], entry["nbytes"], Skip(**entry["skip"]) if entry["skip"] else None)
        for entry in content["cases"]
    )
    facts = content["described"]
    rows = tuple(
        IndexRow(**{**row, "labels": None if row["labels"] is None else tuple(row["labels"])})
        for row in facts["index"]
    )
    described = Described(
        **{
            **facts,
            "index": rows,
            "class_names": tuple(facts["class_names"]),
            "bans": tuple(facts["bans"]),
            "notes": tuple(facts["notes"]),
            "skipped": tuple(Skip(**skip) for skip in facts["skipped"]),
        }
    )
    return Manifest(content["key"], content["data"], content["steps"], cases, described)


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write a list of cases with its checksum, in one move."""
    content = json.loads(json.dumps(asdict(manifest)))
    content["sha256"] = json_digest(content)
    with hold(path.parent / "list.lock", shared=False):
        write_file(path, json.dumps(content).encode())


def _plan(adapter: Adapter, steps: Sequence[Any]) -> Manifest:
    """Keys of the store and its cases."""
    try:
        described = json.loads(json.dumps(list(steps)))
    except (TypeError, ValueError):
        raise DataError("the steps of a store must be JSON: dicts, lists, text, numbers") from None
    ids = Counter(row.case_id for row in adapter.index)
    twice = next((case_id for case_id, count in ids.items() if count > 1), None)
    if twice is not None:
        raise DataError(f"case id {twice} stands more than once; every case needs its own")
    common = {
        "adapter": adapter.kind,
        "scope": scope_of(adapter),
        "classes": list(adapter.class_names),
        "steps": described,
        "decoder": DECODER,
        "format": store_files.FORMAT,
        "libraries": {name: metadata.version(name) for name in _LIBRARIES},
    }
    prefix = hashlib.sha256(json.dumps(common, sort_keys=True).encode())
    keys = []
    for row, entry in enumerate(adapter.index):
        digest = prefix.copy()
        text = json.dumps([entry.case_id, adapter.file_key(row)])
        digest.update(text.encode("utf-8", "surrogateescape"))
        keys.append(digest.hexdigest()[:32])
    key = hashlib.sha256("\n".join(keys).encode()).hexdigest()[:32]
    cases = tuple(Entry(key) for key in keys)
    return Manifest(key, data_pseudonym(adapter), described, cases, _described(adapter))


def _described(adapter: Adapter) -> Described:
    return Described(
        index=adapter.index,
        class_names=adapter.class_names,
        task=adapter.task,
        positive=adapter.positive,
        modality=adapter.modality,
        bans=adapter.bans,
        notes=adapter.notes,
        skipped=adapter.skipped,
    )


def _in_flight(
    pool: ThreadPoolExecutor,
    rows: Iterator[int],
    workers: int,
    work: Callable[[int], Entry | None],
) -> Iterator[tuple[int, Entry | None]]:
    """Results in order of the rows; only a few rows are begun ahead of the caller."""
    waiting: list[tuple[int, Any]] = []
    for row in rows:
        waiting.append((row, pool.submit(work, row)))
        if len(waiting) > 2 * max(1, workers):
            first, future = waiting.pop(0)
            yield first, future.result()
    for row, future in waiting:
        yield row, future.result()


def _stored_size(path: Path, *, thorough: bool) -> int | None:
    """Size of a case's file if it is whole; None where it is absent or damaged."""
    try:
        with path.open("rb") as handle:
            _, layouts = store_files.read_header(handle)
            if thorough and not all(
                store_files.intact(handle.fileno(), layout) for layout in layouts.values()
            ):
                return None
            return path.stat().st_size
    except (OSError, store_files.DamagedError):
        return None


def _complete(folder: Path, manifest: Manifest, *, retry: bool) -> bool:
    """Whether all files are there in their size; with `retry`, none may have been unreadable."""
    for entry in manifest.cases:
        if entry.skip is not None:
            if retry:
                return False
        elif _stored_size(case_path(folder, entry.key), thorough=False) != entry.nbytes:
            return False
    return True


def _sound(folder: Path, manifest: Manifest, *, everything: bool) -> bool:
    """Whether all files that are there, or as many as may be read now, fit their checksums."""
    stored = [entry for entry in manifest.cases if entry.skip is None]
    mean = max(1, sum(entry.nbytes for entry in stored) // max(1, len(stored)))
    wanted = len(stored) if everything else min(len(stored), max(2, CHECKED_BYTES // mean))
    paths = [case_path(folder, e.key) for e in stored[:: max(1, len(stored) // max(1, wanted))]]
    return all(_stored_size(path, thorough=True) is not None for path in paths if path.exists())


def _all_failed(skips: Sequence[Skip]) -> str:
    counted = ", ".join(f"{k}: {n}" for k, n in Counter(s.kind for s in skips).most_common())
    return (
        f"none of the {len(skips)} cases could be stored ({counted}); "
        f"case {skips[0].case_id}: {skips[0].message}"
    )
