"""Record what TensorFlow computes for ``tests/zoo/test_backends.py``.

Run from the root of the project: ``python -m tests.zoo.record.backends``.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from tests.zoo.backend_cases import CASES, sample
from tests.zoo.tiny import registered

GOLDEN = Path(__file__).parents[1] / "golden" / "backends.npz"


def main() -> None:
    """Run every case and write its arrays."""
    with registered(), tempfile.TemporaryDirectory() as folder:
        found = {
            f"{case}/{name}": sample(value)
            for case, compute in CASES.items()
            for name, value in compute(Path(folder)).items()
        }
    np.savez_compressed(GOLDEN, **found)


if __name__ == "__main__":
    main()
