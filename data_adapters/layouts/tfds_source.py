"""A TFDS data set that is prepared on this machine: finding it, and its records at random.

Nothing is downloaded or prepared here, and TensorFlow Datasets is imported only when a data set is
opened.
"""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_adapters.errors import DataError, FormatError, nearest
from data_adapters.home import from_home

PREFIX = "tfds:"
_WORD = r"[A-Za-z0-9_][A-Za-z0-9_.\-]*"
_VERSION = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+")
_ADDRESS = re.compile(
    rf"{PREFIX}(?P<name>{_WORD})(/(?P<config>{_WORD}))?"
    rf"(:(?P<version>{_VERSION.pattern}))?(:(?P<split>[A-Za-z0-9_].*))?"
)
_INFO = "dataset_info.json"
_DAMAGE = (OSError, ValueError, LookupError, TypeError, AttributeError, AssertionError)


@dataclass(frozen=True)
class Address:
    """`tfds:NAME[/CONFIG][:VERSION][:SPLIT]`, taken apart.

    Attributes:
        name: Name of the data set.
        config: Its configuration; None for the only one.
        version: Its version; None for the latest.
        split: What TFDS takes as a split, such as `train` or `train[:80%]`; None for all.
    """

    name: str
    config: str | None = None
    version: str | None = None
    split: str | None = None

    @property
    def title(self) -> str:
        """Name and configuration as TFDS writes them."""
        return self.name if self.config is None else f"{self.name}/{self.config}"


def parse_address(source: str) -> Address:
    """Take an address apart.

    Raises:
        DataError: It is not `tfds:NAME/CONFIG:SPLIT`.
    """
    match = _ADDRESS.fullmatch(source)
    if match is None:
        raise DataError(f"{source!r}: wanted tfds:NAME/CONFIG:SPLIT, such as 'tfds:mnist:train'")
    return Address(match["name"], match["config"], match["version"], match["split"])


def find_folder(address: Address, data_dir: str | None) -> Path:
    """The folder of the prepared data set.

    Raises:
        DataError: It is not there; the message names the command that prepares it.
    """
    given = data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    folder = from_home(given) / address.name
    if address.config is not None:
        folder = folder / address.config
    if not folder.is_dir():
        raise DataError(_absent(address, data_dir))
    versions = [p for p in folder.iterdir() if _VERSION.fullmatch(p.name) and (p / _INFO).is_file()]
    if not versions:
        configs = sorted(p.name for p in folder.iterdir() if any(p.glob(f"*/{_INFO}")))
        if address.config is None and len(configs) == 1:
            return find_folder(
                Address(address.name, configs[0], address.version, address.split), data_dir
            )
        if address.config is None and configs:
            shown = ", ".join(f"tfds:{address.name}/{name}" for name in configs[:12])
            raise DataError(f"{address.name} has several configurations; wanted one of {shown}")
        raise DataError(_absent(address, data_dir))
    if address.version is None:
        return max(versions, key=lambda p: [int(n) for n in p.name.split(".")])
    found = [p for p in versions if p.name == address.version]
    if not found:
        raise DataError(
            f"{address.title} has no version {address.version!r}"
            f"{nearest(address.version, [p.name for p in versions])}"
        )
    return found[0]


def prepare_command(address: Address) -> str:
    """The command that prepares a data set in the form that is read here."""
    return (
        f"python -c \"import tensorflow_datasets as tfds; tfds.builder('{address.title}', "
        "data_dir='DATA_DIR', file_format='array_record').download_and_prepare()\""
    )


def _absent(address: Address, data_dir: str | None) -> str:
    where = "data_dir" if data_dir else "the folder of TFDS (TFDS_DATA_DIR)"
    return (
        f"the data set {address.title!r} is not prepared in {where}, and nothing is downloaded "
        f"here. Where there is a network: {prepare_command(address)}, then give data_dir"
    )


class Source:
    """The splits of a prepared data set.

    Args:
        address: The address.
        folder: Its folder.

    Attributes:
        features: TFDS features by name.
        supervised: Names of input and target, where the data set says.

    Raises:
        DataError: TFDS is missing, a split is unknown, or the files allow no random access.
        FormatError: The folder is damaged.
    """

    def __init__(self, address: Address, folder: Path) -> None:
        tfds = _import()
        # Comes with TFDS, which reads its descriptions with it.
        unreadable = importlib.import_module("google.protobuf.json_format").Error
        self.address, self.folder = address, folder
        try:
            self._builder = tfds.builder_from_directory(folder)
            info = self._builder.info
            known = list(info.splits)
        except (*_DAMAGE, unreadable) as error:
            raise FormatError(
                f"the prepared data set {address.title!r} is damaged ({type(error).__name__}): "
                f"prepare it anew: {prepare_command(address)}"
            ) from None
        features = info.features
        self.features: dict[str, Any] = dict(features.items()) if hasattr(features, "items") else {}
        keys = info.supervised_keys
        self.supervised: tuple[Any, ...] = tuple(keys) if keys else ()
        self.splits: list[str] = known if address.split is None else [address.split]
        self._splits = known
        self._tfds = tfds

    def open(self, skipped: Sequence[str]) -> dict[str, Any]:
        """Random access to the records of each split, pictures left encoded.

        Args:
            skipped: Features that are left encoded.
        """
        decoders = {name: self._tfds.decode.SkipDecoding() for name in skipped}
        try:
            return {
                split: self._builder.as_data_source(split=split, decoders=decoders or None)
                for split in self.splits
            }
        except NotImplementedError:
            raise DataError(
                f"{self.address.title!r} is prepared in a format without random access: prepare it "
                f"anew in another data_dir: {prepare_command(self.address)}"
            ) from None
        except ImportError:
            raise DataError(_MISSING) from None
        except (ValueError, KeyError, OSError, AssertionError):
            said = nearest(str(self.address.split), self._splits)
            raise DataError(
                f"split {self.address.split!r} of {self.address.title!r} cannot be read{said}"
            ) from None


_MISSING = "TFDS data sets need the package: pip install 'radzoo[tfds]'"


def _import() -> Any:
    try:
        import tensorflow_datasets
    except ImportError:
        raise DataError(_MISSING) from None
    return tensorflow_datasets
