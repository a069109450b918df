"""From a network and a preprocessed image to probabilities, masks and files."""

from recipes.segmentation.inference.errors import InferenceError, OutOfMemoryError
from recipes.segmentation.inference.network import Network
from recipes.segmentation.inference.planning import Plan, plan_inference
from recipes.segmentation.inference.postprocess import choose_postprocessing, postprocess
from recipes.segmentation.inference.predict import (
    mirrored_views,
    predict_labels,
    predict_logits,
    predict_probabilities,
    probability_slabs,
)
from recipes.segmentation.inference.writing import write_mask, write_probabilities

__all__ = [
    "InferenceError",
    "Network",
    "OutOfMemoryError",
    "Plan",
    "choose_postprocessing",
    "mirrored_views",
    "plan_inference",
    "postprocess",
    "predict_labels",
    "predict_logits",
    "predict_probabilities",
    "probability_slabs",
    "write_mask",
    "write_probabilities",
]
