"""The adapter protocol, the registry of adapters, and `open`, which finds the right one."""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable
from urllib.parse import unquote, urlsplit

from data_adapters.errors import CaseError, DataError, FormatError, nearest
from data_adapters.home import from_home

if TYPE_CHECKING:
    from data_adapters.case import Case

Task = Literal["single", "multilabel", "unlabelled", "segmentation", "detection"]
PARTS = ("train", "val", "test")

# The adapters that come with the package, in the order in which `open` asks them.
# A new format is one new file beside this one and its name here.
BUILT_IN = (
    "layouts.decathlon",
    "layouts.nnunet",
    "layouts.coco",
    "layouts.voc",
    "layouts.luna",
    "layouts.tfds",
    "layouts.tfrecord",
    "medmnist",
    "table",
    "dicom_tree",
    "volumes.folder",
    "volumes.tiff_pairs",
    "image_folder",
    "loose",
)


@dataclass(frozen=True, slots=True)
class IndexRow:
    """What is known of a case without touching its pixels.

    Attributes:
        case_id: Pseudonymous id, unique within the adapter.
        patient_id: Pseudonym of the patient; None when unknown.
        label: Class index; None when unknown or when the task is not single-label.
        labels: 0.0 or 1.0 per label, NaN where unknown; None when the task is not multi-label.
        part: `train`, `val` or `test` where the data say so; None otherwise.
        study_id: Pseudonym of the study; None when unknown.
        series_id: Pseudonym of the series; None when unknown.
        site: Where the case comes from, as the data give it; None when unknown.
        date: Day of the study as `YYYY-MM-DD`; None when unknown.
    """

    case_id: str
    patient_id: str | None = None
    label: int | None = None
    labels: tuple[float, ...] | None = None
    part: str | None = None
    study_id: str | None = None
    series_id: str | None = None
    site: str | None = None
    date: str | None = None


@dataclass(frozen=True, slots=True)
class Skip:
    """A case left out, and why.

    Attributes:
        case_id: Pseudonymous id.
        kind: Short slug to count by, such as `missing`, `zero-byte`, `truncated`, `unlabelled`.
        message: One sentence without patient data.
        source: Name as the user gave it, only where the user asked about single files; it goes
            back to the user and into no report.
    """

    case_id: str
    kind: str
    message: str
    source: str | None = None


@runtime_checkable
class Adapter(Protocol):
    """A data set: random access to cases, and an index that touches no pixels.

    `adapter[i]` is lazy, gives the same case each time it is asked, may be called from several
    threads, and raises `CaseError` when that one case cannot be read. Everything else is known
    once the adapter is open.

    An adapter may also have `findings` (tuple of `Finding`: what was noticed while indexing) and,
    over DICOM files, `instances(i)` (the `dicom.model.Instance` of each file of case `i`); linting
    asks for both.
    """

    @property
    def kind(self) -> str:
        """Name under which the adapter is registered."""

    @property
    def index(self) -> tuple[IndexRow, ...]:
        """One row per case, in the order of `adapter[i]`."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes (single) or labels (multilabel); empty when unlabelled.

        Segmentation: name k belongs to mask value k, and name 0 is `background`. Detection: name k
        belongs to `Lesion.label` k.
        """

    @property
    def task(self) -> Task:
        """`single`, `multilabel`, `segmentation`, `detection` or `unlabelled`."""

    @property
    def positive(self) -> str | None:
        """Name of the positive class of a two-class task; None when nobody named it."""

    @property
    def modality(self) -> str | None:
        """`CT`, `MR`, `US`, `XR-chest`, ...; None when unknown."""

    @property
    def bans(self) -> tuple[str, ...]:
        """Augmentations that would change a label here: `flip_lr`, `flip_ud`, `shape`, ..."""

    @property
    def skipped(self) -> tuple[Skip, ...]:
        """Cases left out while indexing."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the report about what was found while indexing."""

    def __len__(self) -> int:
        """Number of cases."""

    def __getitem__(self, i: int) -> Case:
        """Read case `i`.

        Raises:
            IndexError: There is no such case.
            CaseError: This one case cannot be read.
        """

    def identity(self) -> str:
        """Hex sha256 of what the pixels depend on, cheap to take: the key of a pixel cache."""

    def file_key(self, i: int) -> str:
        """Short text that changes when the stored pixels of case `i` change."""

    def source_name(self, i: int) -> str:
        """Name of case `i` as the user knows it, such as its relative path."""


Sniff = Callable[[str], "str | None"]
Factory = Callable[..., Adapter]


@dataclass(frozen=True)
class Registration:
    """A registered adapter.

    Attributes:
        name: Name of the adapter.
        sniff: Takes the path or URI; returns None when the adapter fits, else why it does not.
        factory: Makes the adapter from the path or URI and keyword-only options.
        options: Names of those options.
    """

    name: str
    sniff: Sniff
    factory: Factory
    options: tuple[str, ...]


_REGISTERED: dict[str, Registration] = {}


def register_adapter(name: str, sniff: Sniff) -> Callable[[Factory], Factory]:
    """Enrol an adapter under a name; used as a decorator on its class or factory.

    Args:
        name: Name of the adapter, not taken yet.
        sniff: Looks at the path or URI (never at pixels) and returns None when the adapter
            fits, else a short reason why it does not.

    Returns:
        A decorator that registers its argument, called as `factory(source, **options)`, and
        returns it unchanged. The keyword-only parameters of the factory are its options.

    Raises:
        DataError: The name is taken.
    """

    def enrol(factory: Factory) -> Factory:
        known = _REGISTERED.get(name)
        if known is not None and known.factory.__qualname__ != factory.__qualname__:
            raise DataError(f"an adapter named {name!r} is registered already")
        parameters = inspect.signature(factory).parameters.values()
        options = tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)
        _REGISTERED[name] = Registration(name, sniff, factory, options)
        return factory

    return enrol


def adapters() -> tuple[str, ...]:
    """Names of the registered adapters, in the order in which `open` asks them."""
    modules = [f"data_adapters.{module}" for module in BUILT_IN]
    for module in modules:
        importlib.import_module(module)
    order = {module: k for k, module in enumerate(modules)}
    ranked = sorted(  # not as they were imported
        _REGISTERED.values(), key=lambda r: order.get(r.factory.__module__, len(order))
    )
    return tuple(registration.name for registration in ranked)


def open(source: str | Path, /, *, format: str | None = None, **options: Any) -> Adapter:
    """Open a data set with the adapter that fits it.

    Args:
        source: A file, a folder, a `file://` address, or whatever a registered adapter takes; a
            zip or tar file is unpacked and opened as a folder.
        format: Name of the adapter, when it shall not be found by looking.
        options: Options of the adapter, such as `label`, `patient`, `positive`, `modality` or
            `encoding`; those given as None are left at their defaults.

    Returns:
        The adapter, indexed; no pixels are read yet.

    Raises:
        DataError: The source is absent, no adapter fits (the message says what each one said),
            or an option is not known.
    """
    text = str(source)
    names = adapters()
    if format is not None and format not in names:
        raise DataError(f"unknown format {format!r}{nearest(format, names)}")
    given = {name: value for name, value in options.items() if value is not None}
    _refuse_unknown_options(given)
    place = _unpacked(text)
    refusals = []
    for name in names if format is None else (format,):
        registration = _REGISTERED[name]
        reason = registration.sniff(place) if format is None else None
        if reason is None:
            _refuse_foreign_options(given, registration)
            return _made(registration, place, text, given)
        refusals.append(f"{name}: {reason}")
    _require_existing(text)
    raise FormatError(f"no adapter fits {text!r}; tried " + "; ".join(refusals))


def _made(registration: Registration, place: str, text: str, given: dict[str, Any]) -> Adapter:
    """The adapter; errors name the archive that the user gave, not where it was unpacked."""
    try:
        return registration.factory(place, **given)
    except DataError as error:
        if place == text or place not in str(error) or isinstance(error, CaseError):
            raise
        raise type(error)(str(error).replace(place, text)) from None


def _unpacked(source: str) -> str:
    """The folder of an unpacked archive; any other source as it is."""
    from data_adapters.archives import is_archive, unpacked

    if "://" in source and not source.lower().startswith("file://"):
        return source
    path = local_path(source)
    try:
        path.exists()
    except OSError as error:
        shown = source if len(source) < 200 else f"{source[:200]}..."
        raise DataError(f"{shown!r} cannot be looked at: {error.strerror}") from None
    return str(unpacked(path)) if is_archive(path) else source


def _refuse_unknown_options(given: dict[str, Any]) -> None:
    known = sorted({option for r in _REGISTERED.values() for option in r.options})
    for option in given:
        if option not in known:
            raise DataError(f"unknown option {option!r}{nearest(option, known)}")


def _refuse_foreign_options(given: dict[str, Any], registration: Registration) -> None:
    for option in given:
        if option not in registration.options:
            owners = [r.name for r in _REGISTERED.values() if option in r.options]
            raise DataError(
                f"option {option!r} belongs to {', '.join(owners)}, and these data are read by "
                f"{registration.name}, whose options are {', '.join(registration.options)}"
            )


def local_path(source: str | Path) -> Path:
    """The path meant by a plain path or a `file://` address.

    Raises:
        DataError: The address has another scheme, so it is not on this machine.
    """
    text = str(source)
    if re.match(r"^[A-Za-z][A-Za-z0-9+.\-]+://", text):
        parts = urlsplit(text)
        if parts.scheme.lower() != "file":
            raise DataError(f"{text!r} is not on this machine: download it and give its path")
        return Path(unquote(parts.path))
    return from_home(text)


def _require_existing(source: str) -> None:
    path = local_path(source)
    if path.exists():
        return
    parent = path.parent
    beside = sorted(p.name for p in parent.iterdir())[:10000] if parent.is_dir() else []
    close = difflib.get_close_matches(path.name, beside, n=1)
    hint = f"; did you mean {str(parent / close[0])!r}?" if close else ""
    raise DataError(f"no such file or folder: {source!r}{hint}")


def labelled_rows(index: Iterable[IndexRow]) -> tuple[list[int], list[Skip]]:
    """Divide an index into the rows that can be learnt from and those without any label.

    Args:
        index: Rows of an adapter.

    Returns:
        Positions of the rows with a label (multi-label: with at least one known), and a `Skip`
        of kind `unlabelled` for each of the others.
    """
    rows, skips = [], []
    for position, row in enumerate(index):
        vector = row.labels
        known = row.label is not None or (vector is not None and any(v == v for v in vector))
        if known:
            rows.append(position)
        else:
            skips.append(Skip(row.case_id, "unlabelled", "the case has no label"))
    return rows, skips
