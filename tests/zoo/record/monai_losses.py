"""Record values and gradients of MONAI's losses: ``python -m tests.zoo.record.monai_losses``.

Needs torch and monai (recorded with torch 2.14.1, MONAI 1.6.1); writes
``tests/zoo/data/monai_losses.npz``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.zoo.losses.cases import CASES, inputs

TARGET = Path(__file__).resolve().parents[1] / "data" / "monai_losses.npz"
SEED = 20


def monai_loss(case: str, logits: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
    """Value of a case and its gradient by the logits, channels last."""
    import monai.losses
    import torch

    _, _, name, options, factor = CASES[case]
    z = torch.tensor(np.moveaxis(logits, -1, 1), dtype=torch.float64, requires_grad=True)
    y = torch.tensor(labels[:, None])
    loss = getattr(monai.losses, name)(to_onehot_y=True, **options)(z, y) * factor
    loss.backward()
    assert z.grad is not None
    return float(loss.detach()), np.moveaxis(z.grad.numpy(), 1, -1)


def main() -> None:
    """Write the file."""
    found: dict[str, np.ndarray] = {}
    for dims in (2, 3):
        for case in CASES:
            value, gradient = monai_loss(case, *inputs(dims, SEED))
            found[f"{case}_{dims}_value"] = np.asarray(value)
            found[f"{case}_{dims}_gradient"] = gradient.astype("float32")
    np.savez_compressed(TARGET, **found)


if __name__ == "__main__":
    main()
