"""What an entry of a folder is, whatever links and pipes a delivery holds."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder or leads to one; a link that leads in a circle does not."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def is_plain(path: str | Path) -> bool:
    """Whether a path leads to a plain file: opening a pipe would wait for ever."""
    try:
        return stat.S_ISREG(Path(path).stat().st_mode)
    except OSError:
        return False
