"""Every Python block of ``zoo/README.md`` runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import zoo
from recipes.intended_use import INTENDED_USE

PAGE = Path(zoo.__file__).parent / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.mark.slow
@pytest.mark.parametrize("index", range(len(BLOCKS)))
def test_block_runs(index: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(BLOCKS[index], f"{PAGE.name}, block {index}", "exec"), {"__name__": "block"})


def test_page_states_the_intended_use_and_has_blocks() -> None:
    assert INTENDED_USE in PAGE.read_text(encoding="utf-8")
    assert len(BLOCKS) >= 4
