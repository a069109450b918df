"""What a timing depends on besides the code, and the file the figures go to."""

from __future__ import annotations

import json
import os
import platform
import sys
from pathlib import Path
from typing import Any


def processor() -> str:
    """Name of the processor, as the kernel gives it; the architecture where it does not."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def load() -> float | None:
    """Processes that want to run, averaged over the last minute; None where unknown."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def warn_when_busy() -> None:
    """Say so when other processes want the processor: PyTorch's threads then wait in turn."""
    busy = load()
    if busy is not None and busy > 0.5:
        message = f"load {busy:.1f}: other processes run, the figures will be worth little"
        print(message, file=sys.stderr)


def describe(versions: dict[str, str]) -> dict[str, Any]:
    """Machine and versions, to stand beside the figures."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    machine = {"processor": processor(), "cores": cores, "system": platform.system()}
    return {
        "machine": machine,
        "versions": {"python": platform.python_version()} | versions,
    }


def write_json(path: Path | None, figures: dict[str, Any]) -> None:
    """Write the figures, if a path was given, making its folder."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
