"""``import zoo`` must stay light, so that a command line can start in no time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"tensorflow", "keras", "numpy", "pydantic", "pandas", "scipy", "h5py", "safetensors"}
CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "statement",
    [
        "import zoo",
        "import zoo; zoo.list_backbones(offline=True)",
        "import zoo; zoo.backbone_table()",
    ],
)
def test_loads_nothing_heavy(statement: str) -> None:
    program = f"{statement}\nimport sys\nprint(*sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    assert not HEAVY & {module.split(".")[0] for module in ran.stdout.split()}


def test_every_public_name_resolves() -> None:
    import zoo

    for name in zoo.__all__:
        assert getattr(zoo, name) is not None
        assert name in dir(zoo)
    with pytest.raises(AttributeError, match="resnet"):
        _ = zoo.resnet
