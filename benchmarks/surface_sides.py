"""One side of ``surface_metrics.py``: radzoo, MONAI or DeepMind's surface-distance."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from sides import Step, serve

Built = tuple[Mapping[str, Step], dict[str, Any]]


def radzoo(definition: str) -> Any:
    """radzoo by one of its two definitions."""

    def build(path: str, spacing: list[float], tolerance: float) -> Built:
        from recipes.evaluation.masks import surface_distances

        pair = _load(path)

        def measure() -> Any:
            return surface_distances(*pair, spacing=spacing, definition=definition)

        def every() -> float:
            found = measure()
            return float(found.hausdorff() + found.average() + found.surface_dice(tolerance))

        found = measure()
        values = {"hd95": found.hausdorff(), "nsd": found.surface_dice(tolerance)}
        values["averages"] = (
            [found.average()] if definition == "monai" else list(found.directed_averages())
        )
        steps = {"hd95": lambda: measure().hausdorff(), "all": every}
        return steps, {"values": values, "versions": {"numpy": np.__version__}}

    return build


def monai(path: str, spacing: list[float], tolerance: float) -> Built:
    """MONAI: three functions, each of which finds the surfaces again."""
    import monai
    import torch
    from monai import metrics

    truth, guess = (torch.from_numpy(mask)[None, None].float() for mask in _load(path))
    more: dict[str, Any] = {"include_background": True, "spacing": spacing}

    def hd95() -> float:
        return float(metrics.compute_hausdorff_distance(guess, truth, percentile=95, **more))

    def assd() -> float:
        return float(metrics.compute_average_surface_distance(guess, truth, symmetric=True, **more))

    def nsd() -> float:
        return float(metrics.compute_surface_dice(guess, truth, [tolerance], **more))

    values = {"hd95": hd95(), "averages": [assd()], "nsd": nsd()}
    versions = {"monai": monai.__version__, "torch": torch.__version__}
    steps = {"hd95": hd95, "all": lambda: hd95() + assd() + nsd()}
    return steps, {"values": values, "versions": versions}


def deepmind(path: str, spacing: list[float], tolerance: float) -> Built:
    """DeepMind's surface-distance: the surfaces once, then every figure."""
    import scipy.ndimage

    # Release 0.1 uses names that scipy and numpy have since dropped.
    scipy.ndimage.filters = scipy.ndimage.morphology = scipy.ndimage
    vars(np).update(Inf=np.inf, NaN=np.nan)
    from surface_distance import metrics

    truth, guess = _load(path)

    def measure() -> Any:
        return metrics.compute_surface_distances(truth, guess, spacing)

    def every() -> float:
        found = measure()
        return float(
            metrics.compute_robust_hausdorff(found, 95)
            + sum(metrics.compute_average_surface_distance(found))
            + metrics.compute_surface_dice_at_tolerance(found, tolerance)
        )

    found = measure()
    values = {
        "hd95": float(metrics.compute_robust_hausdorff(found, 95)),
        "averages": [float(v) for v in metrics.compute_average_surface_distance(found)],
        "nsd": float(metrics.compute_surface_dice_at_tolerance(found, tolerance)),
    }
    steps = {
        "hd95": lambda: float(metrics.compute_robust_hausdorff(measure(), 95)),
        "all": every,
    }
    versions = {"surface-distance": "0.1", "scipy": scipy.__version__}
    return steps, {"values": values, "versions": versions}


def _load(path: str) -> tuple[Any, Any]:
    with np.load(path) as file:
        return file["truth"], file["prediction"]


SIDES = {
    "radzoo-monai": radzoo("monai"),
    "monai": monai,
    "radzoo-deepmind": radzoo("deepmind"),
    "deepmind": deepmind,
}

if __name__ == "__main__":
    serve(SIDES[sys.argv[1]])
