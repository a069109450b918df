"""Tiny runs that are fitted once for all processes of a test session."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def shared_run(
    factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]
) -> tuple[Path, Path]:
    """Fit a tiny run once, whichever process comes first, and give each its own copy.

    Args:
        factory: The session's folders.
        name: Name of the run.
        make: Takes a folder and leaves ``data``, ``run`` and ``home`` (and what else it needs)
            in it.

    Returns:
        The folder that it was made in, to be read alone, and this process' own one with copies of
        ``run`` and ``home``: a finished run is locked while it is looked at.
    """
    own = factory.mktemp(name)
    base = factory.getbasetemp()
    root = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    shared = root / f"shared-{name}"
    with FileLock(root / f"shared-{name}.lock"):
        if not (shared / "done").exists():
            shutil.rmtree(shared, ignore_errors=True)
            shared.mkdir()
            make(shared)
            (shared / "done").touch()
    for part in ("run", "home"):
        shutil.copytree(shared / part, own / part)
    return shared, own
