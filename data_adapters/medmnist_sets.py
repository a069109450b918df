"""Published facts of the MedMNIST data sets: class names, modality, what a label depends on.

Source: Yang et al., "MedMNIST v2 - A large-scale lightweight benchmark for 2D and 3D biomedical
image classification", Scientific Data 10:41 (2023), and the label table that comes with it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class MedMnistSet:
    """One published data set.

    Attributes:
        name: Name of its file, in small letters.
        classes: Class or label names in the order of their numbers.
        modality: How the pictures were taken.
        positive: The positive class, where the names leave no doubt.
        multilabel: Whether each label is there or not on its own.
        bans: Augmentations that would change a label: organs of both sides exchange their names
            in a mirror; a mass or an aneurysm is told from a healthy shape by size and form.
    """

    name: str
    classes: tuple[str, ...]
    modality: str
    positive: str | None = None
    multilabel: bool = False
    bans: tuple[str, ...] = ()


_SIDES = ("flip_lr", "flip_ud")
_ORGANS = (
    "bladder",
    "femur-left",
    "femur-right",
    "heart",
    "kidney-left",
    "kidney-right",
    "liver",
    "lung-left",
    "lung-right",
    "pancreas",
    "spleen",
)
_ORGANS_3D = (
    "liver",
    "kidney-right",
    "kidney-left",
    "femur-right",
    "femur-left",
    "bladder",
    "heart",
    "lung-right",
    "lung-left",
    "spleen",
    "pancreas",
)
_CHEST = (
    "atelectasis",
    "cardiomegaly",
    "effusion",
    "infiltration",
    "mass",
    "nodule",
    "pneumonia",
    "pneumothorax",
    "consolidation",
    "edema",
    "emphysema",
    "fibrosis",
    "pleural",
    "hernia",
)
_COLON = (
    "adipose",
    "background",
    "debris",
    "lymphocytes",
    "mucus",
    "smooth muscle",
    "normal colon mucosa",
    "cancer-associated stroma",
    "colorectal adenocarcinoma epithelium",
)
_SKIN = (
    "actinic keratoses and intraepithelial carcinoma",
    "basal cell carcinoma",
    "benign keratosis-like lesions",
    "dermatofibroma",
    "melanoma",
    "melanocytic nevi",
    "vascular lesions",
)
_BLOOD = (
    "basophil",
    "eosinophil",
    "erythroblast",
    "immature granulocytes",
    "lymphocyte",
    "monocyte",
    "neutrophil",
    "platelet",
)
_KIDNEY_CELLS = (
    "collecting duct, connecting tubule",
    "distal convoluted tubule",
    "glomerular endothelial cells",
    "interstitial endothelial cells",
    "leukocytes",
    "podocytes",
    "proximal tubule segments",
    "thick ascending limb",
)
_RETINA = ("choroidal neovascularization", "diabetic macular edema", "drusen", "normal")
_RIBS = ("buckle rib fracture", "nondisplaced rib fracture", "displaced rib fracture")

SETS = (
    MedMnistSet("pathmnist", _COLON, "histology"),
    MedMnistSet("chestmnist", _CHEST, "XR-chest", multilabel=True, bans=("shape",)),
    MedMnistSet("dermamnist", _SKIN, "dermatoscopy"),
    MedMnistSet("octmnist", _RETINA, "OCT"),
    MedMnistSet("pneumoniamnist", ("normal", "pneumonia"), "XR-chest", "pneumonia"),
    MedMnistSet("retinamnist", ("0", "1", "2", "3", "4"), "fundus"),
    MedMnistSet("breastmnist", ("malignant", "normal, benign"), "US", "malignant"),
    MedMnistSet("bloodmnist", _BLOOD, "microscopy"),
    MedMnistSet("tissuemnist", _KIDNEY_CELLS, "microscopy"),
    MedMnistSet("organamnist", _ORGANS, "CT", bans=_SIDES),
    MedMnistSet("organcmnist", _ORGANS, "CT", bans=_SIDES),
    MedMnistSet("organsmnist", _ORGANS, "CT", bans=_SIDES),
    MedMnistSet("organmnist3d", _ORGANS_3D, "CT", bans=_SIDES),
    MedMnistSet("nodulemnist3d", ("benign", "malignant"), "CT", "malignant"),
    MedMnistSet("adrenalmnist3d", ("normal", "hyperplasia"), "CT", "hyperplasia", bans=("shape",)),
    MedMnistSet("fracturemnist3d", _RIBS, "CT"),
    MedMnistSet("vesselmnist3d", ("vessel", "aneurysm"), "MR", "aneurysm", bans=("shape",)),
    MedMnistSet("synapsemnist3d", ("inhibitory synapse", "excitatory synapse"), "microscopy"),
)


def set_of_file(stem: str) -> MedMnistSet | None:
    """The data set that a file name begins with, such as `breastmnist` or `breastmnist_224`.

    Args:
        stem: File name without its extension.

    Returns:
        The data set, or None when the name begins like none of them.
    """
    for known in SETS:
        if re.match(rf"{known.name}($|[^a-z0-9])", stem.lower()):
            return known
    return None
