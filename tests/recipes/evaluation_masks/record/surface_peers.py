"""Record what MONAI and DeepMind's surface-distance say of the pairs in `shapes.PAIRS`.

    pip install monai surface-distance
    PYTHONPATH=. python -m tests.recipes.evaluation_masks.record.surface_peers

MONAI takes its percentile with float32 ranks (`torch.quantile`), which moves it by up to 2e-5 of
its value on small surfaces. So `hd95` here is the percentile in float64 of MONAI's own distances,
and `hd95_float32` what `compute_hausdorff_distance` returned.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import monai
import numpy as np
import scipy.ndimage
import torch
from monai.metrics import (
    compute_average_surface_distance,
    compute_hausdorff_distance,
    compute_surface_dice,
)
from monai.metrics.utils import get_edge_surface_distance

from tests.recipes.evaluation_masks.shapes import PAIRS, pair

# surface-distance 0.1 uses names that scipy and numpy have since dropped.
scipy.ndimage.filters = scipy.ndimage.morphology = scipy.ndimage
vars(np).update(Inf=np.inf, NaN=np.nan)
from surface_distance import metrics as deepmind  # noqa: E402

OUT = Path(__file__).resolve().parents[1] / "data" / "surfaces.json"


def by_monai(truth: Any, guess: Any, spacing: Any, tolerance: float) -> dict[str, float]:
    """MONAI's figures."""
    y, p = (torch.from_numpy(mask)[None, None].float() for mask in (truth, guess))
    both: dict[str, Any] = {"include_background": True, "spacing": spacing}
    _, distances, _ = get_edge_surface_distance(p[0, 0], y[0, 0], spacing=spacing, symmetric=True)
    return {
        "hd95": max(float(np.percentile(d.numpy().astype(np.float64), 95)) for d in distances),
        "hd95_float32": float(compute_hausdorff_distance(p, y, percentile=95, **both)),
        "hd100": float(compute_hausdorff_distance(p, y, **both)),
        "assd": float(compute_average_surface_distance(p, y, symmetric=True, **both)),
        "nsd": float(compute_surface_dice(p, y, [tolerance], **both)),
    }


def by_deepmind(truth: Any, guess: Any, spacing: Any, tolerance: float) -> dict[str, Any]:
    """DeepMind's figures."""
    found = deepmind.compute_surface_distances(truth, guess, spacing)
    return {
        "hd95": float(deepmind.compute_robust_hausdorff(found, 95)),
        "hd100": float(deepmind.compute_robust_hausdorff(found, 100)),
        "averages": [float(v) for v in deepmind.compute_average_surface_distance(found)],
        "nsd": float(deepmind.compute_surface_dice_at_tolerance(found, tolerance)),
    }


def main() -> None:
    """Write the figures of every pair, and each pair's number of voxels to know it by."""
    rows = []
    for seed, shape, spacing, tolerance in PAIRS:
        truth, guess = pair(seed, shape)
        rows.append(
            {
                "seed": seed,
                "voxels": [int(truth.sum()), int(guess.sum()), int((truth & guess).sum())],
                "monai": by_monai(truth, guess, spacing, tolerance),
                "deepmind": by_deepmind(truth, guess, spacing, tolerance),
            }
        )
    areas = deepmind.lookup_tables.create_table_neighbour_code_to_surface_area((1.0, 1.3, 2.9))
    about = {"monai": monai.__version__, "surface-distance": "0.1", "rows": rows}
    about["areas"] = [round(float(area), 12) for area in areas]
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
