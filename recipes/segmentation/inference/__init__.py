"""From a network and a preprocessed image to probabilities, masks and files."""

from recipes.segmentation.inference.errors import InferenceError, OutOfMemoryError
from recipes.segmentation.inference.network import Network
from recipes.segmentation.inference.planning import Plan, plan_inference
from recipes.segmentation.inference.predict import (
    predict_labels,
    predict_logits,
    predict_probabilities,
)
from recipes.segmentation.inference.rebuild import rebuild

__all__ = [
    "InferenceError",
    "Network",
    "OutOfMemoryError",
    "Plan",
    "plan_inference",
    "predict_labels",
    "predict_logits",
    "predict_probabilities",
    "rebuild",
]
