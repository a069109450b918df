"""The store: cases preprocessed once, on disk, read in patches without loading the volume.

A store is itself an adapter, row for row that of the data it was made of. Its files lie under
`RADZOO_HOME/store`: `cases/<k>/<case key>.case` (see `store_files`), and `<key>.json`, the list of
a store's cases, written last; `<key>.part.json` is that list while the store is being made. A case
key is a digest of everything that decides a case's contents, so a store whose data or steps changed
in part takes over the cases that did not.
"""

from __future__ import annotations

import collections
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_adapters import store_files
from data_adapters.adapter import Adapter, IndexRow, Skip, Task
from data_adapters.case import Case, Geometry
from data_adapters.chain import undos_from_dicts
from data_adapters.errors import CaseError, DataError, nearest
from data_adapters.locks import Hold, hold
from data_adapters.store_build import (
    Manifest,
    Progress,
    Stop,
    build,
    case_path,
    in_use,
    read_manifest,
)
from data_adapters.store_cases import ARRAYS, make_case, tuples
from data_adapters.store_files import Layout, Triple
from data_adapters.store_steps import Apply, run_steps
from data_adapters.transforms.base import Undo

Array = NDArray[Any]

OPEN_FILES = 128
"""Most case files that a store keeps open."""


@dataclass(frozen=True, eq=False)
class _OpenCase:
    """An open case file; it closes when nobody reads it any more."""

    handle: FileIO
    facts: dict[str, Any]
    layouts: dict[str, Layout]

    def __del__(self) -> None:
        self.handle.close()


class Store:
    """Preprocessed cases on disk; safe to read from several threads and after a fork.

    While a store is open its files are not pruned. Attributes are those of `Adapter`, and:

    Attributes:
        key: Names the store: a digest of data, steps and versions.
        steps: The steps as JSON-able dicts.
        reused: Number of cases that were found ready.
        built: Number of cases that were preprocessed by this call.
    """

    kind = "store"

    def __init__(
        self,
        home: Path,
        manifest: Manifest,
        adapter: Adapter | None = None,
        *,
        reused: int = 0,
        built: int = 0,
    ) -> None:
        self._folder = Path(home) / "store"
        self._manifest = manifest
        described = manifest.describe(adapter)
        self.index: tuple[IndexRow, ...] = described.index
        self.class_names: tuple[str, ...] = described.class_names
        self.task: Task = described.task
        self.positive: str | None = described.positive
        self.modality: str | None = described.modality
        self.bans: tuple[str, ...] = described.bans
        self.notes: tuple[str, ...] = described.notes
        self.skipped = tuple(described.skipped)
        self.key, self.steps = manifest.key, manifest.steps
        self.reused, self.built = reused, built
        self._take_up()

    def _take_up(self) -> None:
        self._open: collections.OrderedDict[int, _OpenCase] = collections.OrderedDict()
        self._guard = threading.Lock()
        self._hold: Hold = hold(self._folder / f"{self.key}.use", shared=True)

    def __getstate__(self) -> dict[str, Any]:
        gone = ("_open", "_guard", "_hold")
        return {name: value for name, value in self.__dict__.items() if name not in gone}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._take_up()

    def close(self) -> None:
        """Close all files and let the store be pruned; it is not to be read afterwards."""
        with self._guard:
            self._open.clear()
        self._hold.release()

    def __len__(self) -> int:
        """Number of cases, those that could not be read included."""
        return len(self.index)

    def __getitem__(self, i: int) -> Case:
        """Read a whole case; its labels are those of the index.

        Raises:
            IndexError: There is no such case.
            CaseError: It could not be read when the store was made, or is damaged.
        """
        case = self._case(i)
        arrays = {name: self._box(i, case, name) for name in case.layouts}
        made, row = make_case(case.facts, arrays), self.index[i]
        labels = made.labels if row.labels is None else np.asarray(row.labels, np.float32)
        label = made.label if row.label is None else row.label
        return replace(made, label=label, labels=labels, patient_id=row.patient_id)

    def identity(self) -> str:
        """Hex digest of data, steps and versions."""
        return self.key

    def file_key(self, i: int) -> str:
        """Digest of all that decides the contents of case `i`."""
        return self._manifest.cases[i].key

    def source_name(self, i: int) -> str:
        """The case id: a store does not know the names of files."""
        return self.index[i].case_id

    def usable(self) -> list[int]:
        """Rows whose cases could be read and preprocessed."""
        return [row for row, entry in enumerate(self._manifest.cases) if entry.skip is None]

    def shape(self, i: int, array: str = "image") -> tuple[int, ...]:
        """Shape of an array of case `i`; only the header is read."""
        return self._layout(i, array).shape

    def arrays(self, i: int) -> tuple[str, ...]:
        """Which arrays case `i` has."""
        return tuple(self._case(i).layouts)

    def native(self, i: int) -> tuple[tuple[int, ...], Geometry | None]:
        """Shape of the image of case `i` before the steps, and where it lay."""
        native = self._case(i).facts["native"]
        place = native["geometry"]
        return tuple(native["shape"]), None if place is None else Geometry(**tuples(place))

    def geometry(self, i: int) -> Geometry | None:
        """Where case `i` lies after the steps; only the header is read."""
        place = self._case(i).facts["geometry"]
        return None if place is None else Geometry(**tuples(place))

    def value_range(self, i: int, array: str = "image") -> tuple[float, float]:
        """Lowest and highest value of an array of case `i`; only the header is read."""
        layout = self._layout(i, array)
        return float(layout.low), float(layout.high)

    def undos(self, i: int) -> tuple[Undo, ...]:
        """Records of the steps of case `i`, for `transforms.compose.invert_mask`."""
        return undos_from_dicts(self._case(i).facts["undo"])

    def bricks(self, i: int, array: str = "image") -> np.memmap[Any, Any]:
        """Read-only memory map of an array as it lies there.

        Axes: (brick along slice, row, column; slice, row, column within it; channel). Pages that
        are touched count as resident memory of the process; `patch` does without them.
        """
        path = case_path(self._folder, self._manifest.cases[self._row(i)].key)
        return store_files.brick_map(path, self._layout(i, array))

    def patch(
        self,
        i: int,
        start: Sequence[int],
        size: Sequence[int],
        *,
        array: str = "image",
        pad_value: float | None = None,
    ) -> Array:
        """Read a box of one case, touching only the bricks that hold it.

        Args:
            i: Row.
            start: First voxel along the image axes; may lie outside.
            size: Voxels along the image axes, 1 or more; may reach beyond the image.
            array: `image`, `mask`, `masks` or `padding`.
            pad_value: Value outside the image; None is the lowest value of the image, 0 for masks
                and True for padding.

        Returns:
            Array of `size`, with a last axis of channels for `image` and `masks`, in the case's
            own type.

        Raises:
            IndexError: There is no such case.
            CaseError: It could not be read when the store was made, or is damaged.
            DataError: The case has no such array, or start and size do not fit its axes.
        """
        case, layout = self._case(i), self._layout(i, array)
        axes = 2 if len(layout.shape) - (array in ("image", "masks")) == 2 else 3
        begin, box = tuple(map(int, start)), tuple(map(int, size))
        if len(begin) != axes or len(box) != axes or min(box) < 1:
            raise DataError(
                f"a patch of start {begin} and size {box} does not fit a grid of {axes} axes; "
                "give one start and one size of 1 or more per axis"
            )
        if axes == 2:
            begin, box = (0, *begin), (1, *box)
        if pad_value is None:
            pad_value = {"image": layout.low, "padding": 1.0}.get(array, 0.0)
        values = self._padded(i, case, array, (begin, box), pad_value)
        values = values[0] if axes == 2 else values
        return values if array in ("image", "masks") else values[..., 0]

    def verify(self) -> list[Skip]:
        """Read every byte and compare checksums; `build_store(..., verify=True)` repairs.

        Returns:
            One entry of kind `damaged` per case that does not read back as it was written.
        """
        found = []
        for i in self.usable():
            try:
                case = self._case(i)
                fine = all(
                    store_files.intact(case.handle.fileno(), layout)
                    for layout in case.layouts.values()
                )
            except CaseError:
                fine = False
            if not fine:
                found.append(Skip(self.index[i].case_id, "damaged", _DAMAGED))
        return found

    def _padded(
        self, i: int, case: _OpenCase, array: str, box: tuple[tuple[int, ...], ...], pad: float
    ) -> Array:
        """A box along (slice, row, column), filled up where it lies outside the grid."""
        layout = case.layouts[array]
        low = [min(max(0, b), n) for b, n in zip(box[0], layout.grid, strict=True)]
        high = [min(max(0, b + s), n) for b, s, n in zip(box[0], box[1], layout.grid, strict=True)]
        inner = [b - a for a, b in zip(low, high, strict=True)]
        if tuple(inner) == box[1]:
            return self._region(i, case, array, low, inner)
        out = np.full((*box[1], layout.channels), pad, layout.dtype)
        if min(inner) > 0:
            place = tuple(
                slice(a - b, a - b + n) for a, b, n in zip(low, box[0], inner, strict=True)
            )
            out[place] = self._region(i, case, array, low, inner)
        return out

    def _region(
        self, i: int, case: _OpenCase, array: str, start: Sequence[int], size: Sequence[int]
    ) -> Array:
        begin: Triple = (start[0], start[1], start[2])
        sides: Triple = (size[0], size[1], size[2])
        try:
            return store_files.read_region(case.handle.fileno(), case.layouts[array], begin, sides)
        except store_files.DamagedError:
            raise CaseError(self.index[i].case_id, "damaged", _DAMAGED) from None

    def _box(self, i: int, case: _OpenCase, array: str) -> Array:
        layout = case.layouts[array]
        return self._region(i, case, array, (0, 0, 0), layout.grid).reshape(layout.shape)

    def _layout(self, i: int, array: str) -> Layout:
        check_array(array)
        layout = self._case(i).layouts.get(array)
        if layout is None:
            raise DataError(f"case {self.index[i].case_id} has no {array}")
        return layout

    def _row(self, i: int) -> int:
        if not -len(self) <= i < len(self):
            raise IndexError(f"no case {i} in a store of {len(self)}")
        return i % len(self)

    def _case(self, i: int) -> _OpenCase:
        """The open file of a case, from those kept open or opened now."""
        row = self._row(i)
        with self._guard:
            found = self._open.get(row)
            if found is not None:
                self._open.move_to_end(row)
                return found
        entry = self._manifest.cases[row]
        if entry.skip is not None:
            raise CaseError(self.index[row].case_id, entry.skip.kind, entry.skip.message)
        made = self._opened(row, case_path(self._folder, entry.key))
        with self._guard:
            self._open[row] = made
            while len(self._open) > OPEN_FILES:
                self._open.popitem(last=False)
        return made

    def _opened(self, row: int, path: Path) -> _OpenCase:
        try:
            handle = FileIO(path)
            facts, layouts = store_files.read_header(handle)
        except (OSError, store_files.DamagedError):
            raise CaseError(self.index[row].case_id, "damaged", _DAMAGED) from None
        return _OpenCase(handle, facts, layouts)


_DAMAGED = "its stored file is damaged or gone; build the store again with verify=True"


def check_array(name: str) -> None:
    """Refuse a name that no array of a case has."""
    if name not in ARRAYS:
        raise DataError(f"a case has no array {name!r}; there are {', '.join(ARRAYS)}")


def build_store(
    adapter: Adapter,
    steps: Sequence[Any] = (),
    *,
    home: Path,
    apply: Apply = run_steps,
    workers: int = 2,
    progress: Progress | None = None,
    stop: Stop | None = None,
    verify: bool = False,
) -> Store:
    """Preprocess all cases of an adapter, or find them preprocessed.

    Memory is bounded by `workers` cases. A run that is killed keeps its finished cases, and the
    next one goes on from there; several processes that build the same store share the work.

    Args:
        adapter: The cases. Cases are known again by `file_key`, which must change with everything
            that a case holds but its labels; labels come from the adapter's index each time.
        steps: JSON-able dicts that say all about the preprocessing.
        home: Folder of caches; everything goes to `store/` in it.
        apply: Runs the steps on a case: `apply(case, steps)` gives the new case, or the new case
            and records as of `chain.undos_to_dicts`. The default takes steps of
            `chain.run_chain`.
        workers: Cases preprocessed at the same time.
        progress: Called as `progress(done, total)` after each case, from this thread.
        stop: Asked after each case; where it says True no more are begun.
        verify: Read all bytes of cases that are there already, and make damaged ones again.

    Returns:
        The store, open. Cases that cannot be read are among its `skipped`.

    Raises:
        DataError: No case at all, none that can be read, steps that JSON does not hold, two cases
            of one id, a disk that is full or read-only, or `stop` said so.
    """
    folder = Path(home) / "store"
    with in_use(folder):
        manifest, reused, built = build(
            adapter,
            steps,
            folder=folder,
            apply=apply,
            workers=workers,
            progress=progress,
            stop=stop,
            verify=verify,
        )
        return Store(home, manifest, adapter, reused=reused, built=built)


def open_store(key: str, *, home: Path) -> Store:
    """Open a finished store by its key, without the data it was made of.

    Raises:
        DataError: There is no finished store of this key.
    """
    folder = Path(home) / "store"
    with in_use(folder):
        manifest = read_manifest(folder / f"{key}.json")
        if manifest is None:
            known = sorted(path.stem for path in folder.glob("*.json") if "." not in path.stem)
            raise DataError(f"no finished store {key!r}{nearest(key, known)}")
        return Store(home, manifest, reused=len(manifest.cases))
