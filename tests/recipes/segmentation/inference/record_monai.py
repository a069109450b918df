"""Record what MONAI's sliding window gives for a small network; needs PyTorch and MONAI.

    PYTHONPATH=. python tests/recipes/segmentation/inference/record_monai.py

Written: ``data/monai_sliding_window.npz``, one array of logits per case of ``CASES``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

FILE = Path(__file__).parent / "data" / "monai_sliding_window.npz"
# Spatial sizes of the image, of the window, overlap.
CASES: dict[str, tuple[tuple[int, ...], tuple[int, ...], float]] = {
    "volume": ((15, 20, 17), (8, 12, 10), 0.5),
    "picture": ((37, 30), (16, 12), 0.5),
    "smaller than the window": ((9, 21), (12, 12), 0.25),
}
CHANNELS, HIDDEN, CLASSES = 2, 4, 3


def drawn(name: str) -> tuple[Any, list[Any]]:
    """Image ``(*spatial, channels)`` and kernels ``(*taps, in, out)`` of a case."""
    shape = CASES[name][0]
    rng = np.random.default_rng(sum(map(ord, name)))
    image = rng.normal(size=(*shape, CHANNELS)).astype("float32")
    taps = (3,) * len(shape)
    sizes = ((CHANNELS, HIDDEN), (HIDDEN, CLASSES))
    return image, [(rng.normal(size=(*taps, *size)) * 0.3).astype("float32") for size in sizes]


def recorded(name: str) -> Any:
    """Logits that MONAI gives, ``(*spatial, classes)``."""
    import torch
    from monai.inferers import sliding_window_inference

    _, window, overlap = CASES[name]
    image, kernels = drawn(name)
    convolve = {2: torch.nn.functional.conv2d, 3: torch.nn.functional.conv3d}[len(window)]
    first, second = (torch.from_numpy(np.moveaxis(k, (-1, -2), (0, 1)).copy()) for k in kernels)

    def network(x: torch.Tensor) -> torch.Tensor:
        return convolve(torch.relu(convolve(x, first, padding=1)), second, padding=1)

    batch = torch.from_numpy(np.moveaxis(image, -1, 0)[None].copy())
    logits = sliding_window_inference(
        batch, window, 3, network, overlap=overlap, mode="gaussian", sigma_scale=0.125
    )
    return np.moveaxis(logits[0].numpy(), 0, -1)


if __name__ == "__main__":
    np.savez_compressed(FILE, **{name: recorded(name) for name in CASES})
