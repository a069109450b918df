"""The run folder: one configuration and one data set, resumed or finished, never overwritten."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from data_adapters.privacy import salt_check
from recipes.config import Section, digest, to_yaml
from recipes.engine.checkpoint import disk_error, write_atomic, write_json
from recipes.errors import RunFolderError

STATE_FILE = "run.json"
CONFIG_FILE = "config.yaml"
_NO_FOLDER = "the run folder, or a folder above it, is a file; choose another --out"


@dataclass
class RunState:
    """What ``run.json`` holds.

    Attributes:
        config: Hash of the configuration.
        source: Cheap identity of the data (names, sizes, times).
        data: Hash of the data's ids, pixels and labels, once known.
        salt: Check value of the salt that the ids were made with (`privacy.salt_check`).
        finished: Whether every file of the run is in place.
        validated: Whether the model is written and its validation figures are known: a trial
            stops there, before the test part is looked at.
        report: Hash of the report's settings.
        seconds: Wall time by phase, summed over interrupted attempts.
    """

    config: str
    source: str
    data: str | None = None
    salt: str | None = None
    finished: bool = False
    validated: bool = False
    report: str | None = None
    seconds: dict[str, float] = field(default_factory=dict)


def check_unused(out: Path, *, otherwise: str = "") -> None:
    """Refuse a folder that holds anything: what is written there overwrites nothing.

    Args:
        out: The folder, which may not exist yet.
        otherwise: What else ``--out`` may be, in brackets.

    Raises:
        RunFolderError: It holds something, or is a file.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunFolderError(
            "--out is not an empty or new folder; nothing is overwritten, so choose another"
            f"{otherwise}"
        )


class RunFolder:
    """A run's folder on disk.

    Attributes:
        path: The folder.
        rewrite: Known after `begin`: the run is finished, but its pages were written under other
            settings of the report.
    """

    def __init__(self, path: Path) -> None:
        """Remember the path; nothing is read or written."""
        self.path = path
        self.rewrite = False

    @property
    def checkpoints(self) -> Path:
        """Folder of everything that only a resume needs."""
        return self.path / "checkpoints"

    def read(self) -> RunState | None:
        """The stored state, None for a folder without a run.

        Raises:
            RunFolderError: ``run.json`` is damaged.
        """
        try:
            return RunState(**json.loads((self.path / STATE_FILE).read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except NotADirectoryError:
            raise RunFolderError(_NO_FOLDER) from None
        except OSError as error:
            raise RunFolderError(f"cannot read {STATE_FILE}: {error.strerror}") from error
        except (ValueError, TypeError) as error:
            raise RunFolderError(
                f"{STATE_FILE} is damaged ({error}); choose another --out"
            ) from error

    def write(self, state: RunState) -> None:
        """Store the state atomically."""
        write_json(self.path / STATE_FILE, asdict(state))

    @contextmanager
    def timed(self, state: RunState, phase: str) -> Iterator[None]:
        """Add the wall time of a phase to the state and store it, also where the phase fails."""
        start = time.perf_counter()
        try:
            yield
        finally:
            spent = state.seconds.get(phase, 0.0) + time.perf_counter() - start
            state.seconds[phase] = round(spent, 2)
            self.write(state)

    def begin(self, config: Section, source: str) -> RunState:
        """Open the folder for this configuration and data, new or resumed.

        Args:
            config: The validated configuration.
            source: Cheap identity of the data.

        Returns:
            The state; ``finished`` when there is nothing left to do.

        Raises:
            RunFolderError: The folder holds another run or foreign files, or cannot be written.
        """
        wanted, shown = digest(config.computed()), digest(config.shown())
        state = self.read()
        if state is None:
            self._claim()
            state = RunState(config=wanted, source=source, report=shown)
            write_atomic(self.path / CONFIG_FILE, to_yaml(config).encode())
            self.write(state)
        if state.config != wanted:
            raise RunFolderError(
                f"the run folder holds a run with another configuration ({CONFIG_FILE} in it); "
                "choose another --out, or give the configuration it was started with"
            )
        self.rewrite = state.finished and state.report not in (None, shown)
        if not state.finished and state.report != shown:
            self.settle(state, config)
        return state

    def kept_model(self, state: RunState) -> bool:
        """Whether a trial of this run has written the model, which then stays as it is."""
        here = all((self.path / name).is_file() for name in ("model.keras", "model.json"))
        return state.validated and here

    def check_trial(self, state: RunState) -> None:
        """Refuse to compare a run whose test part has been looked at.

        Raises:
            RunFolderError: The run is finished.
        """
        if state.finished:
            raise RunFolderError(
                "the run folder holds a finished run, whose test part has been looked at; a trial "
                "wants a folder of its own"
            )

    def settle(self, state: RunState, config: Section) -> None:
        """Record the configuration's settings of the report as those of the run."""
        write_atomic(self.path / CONFIG_FILE, to_yaml(config).encode())
        state.report = digest(config.shown())
        self.write(state)

    def check_data(self, state: RunState, data_hash: str, source: str) -> None:
        """Record the data's hash, or refuse data that differ from the run's.

        Raises:
            RunFolderError: The folder's run was started on other data.
        """
        salt = salt_check()
        if state.data is not None and state.data != data_hash:
            if state.salt != salt:
                raise RunFolderError(
                    "the run folder holds a run whose case ids were made with another salt, so "
                    "its data cannot be compared; set RADZOO_SALT to the salt file it was made "
                    "with (or RADZOO_HOME to the folder that holds it), or choose another --out"
                )
            raise RunFolderError(
                "the run folder holds a run on other data (pixels or labels differ); choose "
                "another --out"
            )
        if (state.data, state.source, state.salt) != (data_hash, source, salt):
            state.data, state.source, state.salt = data_hash, source, salt
            self.write(state)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for one process; released by the system when that is killed.

        Raises:
            RunFolderError: Another process is at work in it.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise RunFolderError(_NO_FOLDER) from None
        except OSError as error:
            raise disk_error(error, "run folder") from error
        guard = FileLock(self.path / ".lock")
        try:
            guard.acquire(timeout=0)
        except Timeout:
            raise RunFolderError("another process is at work in this run folder") from None
        except OSError as error:
            raise disk_error(error, ".lock") from error
        try:
            yield
        finally:
            guard.release()

    def _claim(self) -> None:
        foreign = [path for path in self.path.iterdir() if path.name != ".lock"]
        if foreign:
            raise RunFolderError(
                f"the run folder is not empty and holds no run ({len(foreign)} entries); choose "
                "an empty or new folder for --out"
            )
