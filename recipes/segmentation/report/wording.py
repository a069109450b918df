"""Names of the figures of masks, and one plain sentence on each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recipes.evaluation.masks.cases import MEMBRANE_FIGURES
from recipes.report.wording import number

NAMES = {
    "dice": "Dice",
    "iou": "IoU",
    "sensitivity": "Sensitivity",
    "precision": "Precision",
    "hd95": "HD95",
    "nsd": "Surface Dice (NSD)",
    "assd": "ASSD",
    "truth_volume": "True volume",
    "prediction_volume": "Predicted volume",
    "volume_error": "Volume error",
    "relative_volume_error": "Relative volume error",
    "lesion_f1": "Lesion F1",
    "lesion_sensitivity": "Lesions found",
    "lesion_precision": "Claims right",
    "v_rand": "V Rand",
    "v_info": "V info",
    "pixel_accuracy": "Pixel accuracy",
}
HEADLINE = ("dice", "hd95", "nsd", "assd", "volume_error", "lesion_f1")
FURTHER = (
    "iou",
    "sensitivity",
    "precision",
    "truth_volume",
    "prediction_volume",
    "relative_volume_error",
    "lesion_sensitivity",
    "lesion_precision",
)
TILES = ("dice", "hd95", "nsd", "assd", "lesion_f1")
DISTANCES = frozenset({"hd95", "assd"})
VOLUMES = frozenset({"truth_volume", "prediction_volume", "volume_error"})

MEANINGS = {
    "dice": "overlap of prediction and truth, 1 is perfect",
    "hd95": "how far apart the surfaces are, but for the worst 5% of them; 0 is perfect",
    "nsd": "share of the surfaces that agree within the tolerance, 1 is perfect",
    "assd": "average distance of the surfaces, 0 is perfect",
    "volume_error": "0 on average can hide errors that cancel",
    "lesion_f1": "connected pieces found and claimed, 1 is perfect; for a class of one piece it "
    "says whether it was found and nothing else was",
}


def further(metrics: Mapping[str, Any]) -> tuple[str, ...]:
    """The figures of the second table: those of cells only where they were measured."""
    return (*FURTHER, *(name for name in MEMBRANE_FIGURES if name in metrics))


def title(figure: str, *, distance: str, size: str, solid: bool) -> str:
    """A figure as a column's heading, with its unit.

    Args:
        figure: A key of `NAMES`.
        distance: Unit of distances.
        size: Unit of volumes.
        solid: Whether cases are volumes; pictures have areas.
    """
    name = NAMES[figure]
    if not solid:
        name = name.replace("Volume", "Area").replace("volume", "area")
    if figure in DISTANCES:
        return f"{name}, {distance}"
    return f"{name}, {size}" if figure in VOLUMES else name


def value(figure: str, amount: float | None) -> str:
    """A figure's value: shares to three decimals, distances and volumes to three digits or so."""
    if figure in DISTANCES or figure in VOLUMES:
        return amount_text(amount)
    return number(amount)


def amount_text(amount: float | None) -> str:
    """A distance or volume with as many decimals as its size deserves; a dash for None."""
    if amount is None:
        return number(None)
    large = abs(amount)
    return number(amount, 3 if large < 10 else 2 if large < 100 else 1 if large < 1000 else 0)
