"""Inputs and settings on which losses are compared with MONAI; neither Keras nor torch here."""

from __future__ import annotations

from typing import Any

import numpy as np

CLASSES = 4
SIDES = {2: (6, 7), 3: (3, 4, 5)}
# Name -> (class in zoo.losses, its options, class in monai.losses, its options, factor on MONAI's)
CASES: dict[str, tuple[str, dict[str, Any], str, dict[str, Any], float]] = {
    "dice": ("Dice", {}, "DiceLoss", {"softmax": True}, 1.0),
    "dice_foreground": (
        "Dice",
        {"include_background": False, "squared": True},
        "DiceLoss",
        {"softmax": True, "include_background": False, "squared_pred": True},
        1.0,
    ),
    "dice_pooled": ("Dice", {"pool": "batch"}, "DiceLoss", {"softmax": True, "batch": True}, 1.0),
    "dice_sigmoid": ("Dice", {"activation": "sigmoid"}, "DiceLoss", {"sigmoid": True}, 1.0),
    "dice_crossentropy": (
        "DiceCrossentropy",
        {"crossentropy_weight": 0.5},
        "DiceCELoss",
        {"softmax": True, "lambda_ce": 0.5},
        1.0,
    ),
    "generalized_dice": (
        "GeneralizedDice",
        {"smooth": 1e-9},
        "GeneralizedDiceLoss",
        {"softmax": True, "smooth_nr": 1e-12, "smooth_dr": 1e-12},
        1.0,
    ),
    "tversky": (
        "Tversky",
        {"alpha": 0.3, "beta": 0.7},
        "TverskyLoss",
        {"softmax": True, "alpha": 0.3, "beta": 0.7},
        1.0,
    ),
    # MONAI averages over classes too, of which one a voxel is not 0.
    "focal": ("Focal", {"gamma": 2.0}, "FocalLoss", {"use_softmax": True}, float(CLASSES)),
    "focal_sigmoid": (
        "Focal",
        {"gamma": 1.5, "alpha": 0.25, "activation": "sigmoid"},
        "FocalLoss",
        {"gamma": 1.5, "alpha": 0.25},
        1.0,
    ),
}


def inputs(dims: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Float32 logits ``(2, *spatial, 4)``, labels ``(2, *spatial)``; case 1 has no class 2."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (2, *SIDES[dims], CLASSES)).astype("float32")
    labels = rng.integers(0, CLASSES, (2, *SIDES[dims]))
    labels[1][labels[1] == 2] = 0
    return logits, labels
