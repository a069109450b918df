"""Heads on the backbones of the registry: what is pooled, and what comes out."""

from zoo.heads.model import (
    STANDARDIZE,
    check_levels,
    create_model,
    fit_standardization,
    split_head,
)
from zoo.heads.pooling import LEARNED, POOLINGS, attention_map, gem_exponents
from zoo.heads.tasks import TASKS, ordinal_decode, ordinal_probabilities

__all__ = [
    "LEARNED",
    "POOLINGS",
    "STANDARDIZE",
    "TASKS",
    "attention_map",
    "check_levels",
    "create_model",
    "fit_standardization",
    "gem_exponents",
    "ordinal_decode",
    "ordinal_probabilities",
    "split_head",
]
