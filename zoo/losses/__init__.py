"""Losses on logits, in ``keras.ops``, for cases, pictures and volumes alike.

All compute in float32 whatever the policy, replace unknown truth before the formula, and come back
from their ``get_config``. What Keras has and does right is not here: squared and absolute error,
Huber, contrastive losses.
"""

from zoo.losses.base import VoxelLoss
from zoo.losses.boundary import Boundary
from zoo.losses.boxes import BoxLoss
from zoo.losses.inputs import Voxels, read_voxels
from zoo.losses.ordinal import OrdinalCrossentropy
from zoo.losses.overlap import Dice, DiceCrossentropy, FocalTversky, GeneralizedDice, Tversky
from zoo.losses.pointwise import Focal, MaskedCrossentropy, TopKCrossentropy

__all__ = [
    "Boundary",
    "BoxLoss",
    "Dice",
    "DiceCrossentropy",
    "Focal",
    "FocalTversky",
    "GeneralizedDice",
    "MaskedCrossentropy",
    "OrdinalCrossentropy",
    "TopKCrossentropy",
    "Tversky",
    "VoxelLoss",
    "Voxels",
    "read_voxels",
]
