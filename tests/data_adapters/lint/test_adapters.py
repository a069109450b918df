"""Every registered adapter can be linted and repaired: a new one is enrolled by its sample."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from data_adapters import Adapter
from data_adapters.lint import lint, repaired
from tests.data_adapters.test_conformance import SAMPLES


@pytest.mark.parametrize("name", SAMPLES)
def test_it_can_be_linted_and_repaired(tmp_path: Path, name: str) -> None:
    _, make, opener = SAMPLES[name]
    make(tmp_path)
    adapter = opener(tmp_path)
    report = lint(adapter, policy="repair")
    assert report.n_read == report.n_cases == len(adapter)
    plain = json.dumps(report.to_dict(), allow_nan=False)
    assert str(tmp_path) not in plain
    assert sum(group.cases for group in report.statistics) == len(adapter)
    mended = repaired(adapter, report)
    assert isinstance(mended, Adapter)
    assert len(mended) == len(adapter) - len(report.left_out)
    for i in range(len(mended)):
        assert mended[i].case_id == mended.index[i].case_id
        assert mended.source_name(i)
        assert mended.file_key(i)
    assert mended.identity() == repaired(adapter, report).identity()
