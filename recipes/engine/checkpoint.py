"""Atomic epoch-end checkpoints: a killed run loses the epoch it was in and nothing else.

One phase of training keeps two files in its folder: ``state.json`` (what has happened) and the
safetensors file it names (weights, optimizer, best weights). The tensors are written first and
the JSON is renamed over the old one last, so that at every instant a complete pair exists.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from recipes.errors import RunFolderError

Arrays = list[npt.NDArray[Any]]


@dataclass
class PhaseState:
    """What one phase of one ensemble member has done so far.

    Attributes:
        epoch: Epochs finished.
        best_epoch: Epoch of the best validation value; 0 is the state before the first step.
        best_value: The best validation value, None before the first validation.
        wait: Epochs since the best one.
        stopped: Whether early stopping has struck.
        done: Whether the phase is over.
        history: One record per epoch.
    """

    epoch: int = 0
    best_epoch: int = 0
    best_value: float | None = None
    wait: int = 0
    stopped: bool = False
    done: bool = False
    history: list[dict[str, Any]] = field(default_factory=list)


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file so that readers see the old content or the new, never a part.

    Args:
        path: The file.
        data: Its new content.

    Raises:
        RunFolderError: The disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        discard(temporary)
        raise disk_error(error, path.name) from error


def check_writable(path: Path) -> None:
    """Try whether a file can be written, before the work whose result goes there.

    Raises:
        RunFolderError: It cannot; what the path holds is left as it is.
    """
    probe = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        probe.touch()
    except OSError as error:
        raise disk_error(error, path.name) from error
    finally:
        discard(probe)


def discard(path: Path) -> None:
    """Remove a temporary file as far as the disk lets us: another error is under way."""
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def disk_error(error: OSError, name: str) -> RunFolderError:
    """The typed error for a write that the disk refused; no folder names in it."""
    return RunFolderError(
        f"cannot write {name!r}: {error.strerror or type(error).__name__}; free space or choose "
        "another --out, then give the command again"
    )


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically; NaN is refused because JSON has none."""
    write_atomic(path, json_text(content).encode())


def json_text(content: Any) -> str:
    """What `write_json` writes."""
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


class PhaseCheckpoint:
    """The checkpoint of one phase in ``folder``."""

    def __init__(self, folder: Path, *, fingerprint: str) -> None:
        """Remember where; nothing is read or written yet.

        Args:
            folder: Folder of this phase alone.
            fingerprint: Hash of configuration and data; another run's state is not resumed.
        """
        self.folder = folder
        self.fingerprint = fingerprint

    def save(self, state: PhaseState, tensors: Mapping[str, Iterable[Any]]) -> None:
        """Store a state and its groups of arrays, replacing the previous pair."""
        flat = {
            f"{group}.{index:05d}": np.array(array, order="C")
            for group, arrays in tensors.items()
            for index, array in enumerate(arrays)
        }
        name = f"epoch-{state.epoch:05d}{'-done' if state.done else ''}.safetensors"
        target = self.folder / name
        temporary = self.folder / f".{name}.tmp"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            save_file(flat, temporary)
            digest = _sha256(temporary)
            temporary.replace(target)
        except OSError as error:
            discard(temporary)
            raise disk_error(error, name) from error
        except SafetensorError as error:  # the library's word for a failed write
            discard(temporary)
            raise RunFolderError(
                f"cannot write {name!r} in the run folder ({error}); free space, then give the "
                "same command again: it resumes"
            ) from error
        content = {
            "fingerprint": self.fingerprint,
            "file": name,
            "sha256": digest,
            "state": asdict(state),
        }
        write_json(self.folder / "state.json", content)
        for old in self.folder.glob("*.safetensors"):
            if old.name != name:
                old.unlink(missing_ok=True)

    def load(self) -> tuple[PhaseState, dict[str, Arrays]] | None:
        """The stored state and arrays, or None when there is nothing usable.

        A damaged pair counts as nothing: the phase is trained again, with the same result.
        """
        try:
            content = json.loads((self.folder / "state.json").read_text())
            file = self.folder / content["file"]
            if content["fingerprint"] != self.fingerprint or _sha256(file) != content["sha256"]:
                return None
            flat = load_file(file)
            state = PhaseState(**content["state"])
        except (OSError, ValueError, KeyError, TypeError, SafetensorError):
            return None
        groups: dict[str, Arrays] = {}
        for key in sorted(flat):
            groups.setdefault(key.rsplit(".", 1)[0], []).append(flat[key])
        return state, groups


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
