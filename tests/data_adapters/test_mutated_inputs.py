"""Damaged files of every format: a typed error or a valid case, by the script in `benchmarks`."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "mutated_inputs.py"


def run(*arguments: str) -> tuple[int, dict[str, object]]:
    """Run the script and read what it found."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--json", *arguments], capture_output=True, text=True
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_damaged_inputs_give_typed_errors_or_valid_cases() -> None:
    code, found = run("--count", "200", "--seed", "20", "--processes", "2")
    assert found["failures"] == []
    assert code == 0
    assert found["count"] == 200
    results = found["results"]
    assert isinstance(results, dict)
    assert results["case"] > 20  # some damage is harmless: the inputs are not mere noise
    assert results["corrupt"] + results["truncated"] > 20


def test_the_script_sees_what_it_looks_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exceptions that are not the package's own, and errors that tell the path, are failures."""
    monkeypatch.syspath_prepend(str(SCRIPT.parents[1]))
    from benchmarks import mutated_inputs
    from data_adapters.errors import CaseError

    def raising(error: Exception) -> str:
        def read(path: Path, how: str) -> str:
            raise error

        monkeypatch.setattr(mutated_inputs, "_read", read)
        return str(mutated_inputs._open(tmp_path / "x", "open", str(tmp_path))[0])

    assert raising(KeyError("x")) == "failure"
    assert raising(CaseError("c1", "corrupt", f"in {tmp_path}")) == "failure"
    assert raising(CaseError("c1", "corrupt", "no")) == "corrupt"


def test_damage_is_damage_and_repeats() -> None:
    sys.path.insert(0, str(SCRIPT.parents[1]))
    try:
        from benchmarks.mutated_inputs import mutate
    finally:
        sys.path.pop(0)
    data = bytes(range(256)) * 8
    first = [mutate(data, random.Random(k)) for k in range(50)]
    assert [mutate(data, random.Random(k)) for k in range(50)] == first
    assert sum(one[0] != data for one in first) >= 45
