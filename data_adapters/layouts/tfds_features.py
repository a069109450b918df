"""Which feature of a TFDS data set is the image, and which the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from data_adapters.errors import DataError, nearest

Wanted = Literal["single", "multilabel", "segmentation", "detection", "unlabelled"]
TASKS: tuple[Wanted, ...] = ("single", "multilabel", "segmentation", "detection", "unlabelled")
_MASKS = ("segmentation_mask", "mask", "segmentation", "label")
_OBJECTS = ("objects", "bobjects", "faces")
_LABELS = ("labels",)
_BOXES = ("bbox", "box")


@dataclass(frozen=True)
class Roles:
    """What the features are.

    Attributes:
        image: Name of the image.
        task: What the truth is.
        truth: Name of the truth's feature; None when unlabelled.
        names: Class names, without the background that segmentation adds.
        box: Name of the box within an object.
        kind: Name of the class within an object; None where objects have none.
        encoded: Names of the features to leave encoded.
    """

    image: str
    task: Wanted
    truth: str | None
    names: tuple[str, ...]
    box: str = ""
    kind: str | None = None
    encoded: tuple[str, ...] = ()


def is_image(feature: Any) -> bool:
    """Whether a feature is a picture, masks with labels included."""
    return any(cls.__name__ == "Image" for cls in type(feature).__mro__)


def _is_a(feature: Any, name: str) -> bool:
    return any(cls.__name__ == name for cls in type(feature).__mro__)


def choose(
    features: Mapping[str, Any],
    supervised: Sequence[Any],
    *,
    image: str | None,
    truth: str | None,
    task: str | None,
    classes: Sequence[str] | None,
) -> Roles:
    """Choose image and truth, by what the user said, else by the supervised keys, else by name.

    Args:
        features: TFDS features by name.
        supervised: Names of input and target, or nothing.
        image: Name of the image.
        truth: Name of the truth's feature.
        task: One of `TASKS`.
        classes: Names of the mask's values from 1 on.

    Raises:
        DataError: There is no such feature, none or several could be meant, or it does not fit.
    """
    for option, name in (("image", image), ("truth", truth)):
        if name is not None and name not in features:
            raise DataError(f"{option}={name!r}: no such feature{nearest(name, features)}")
    if task is not None and task not in TASKS:
        raise DataError(f"task={task!r}: wanted one of {', '.join(TASKS)}")
    picture = image or _find_image(features, supervised)
    target = truth
    if target is None and len(supervised) == 2 and supervised[1] in features:
        target = str(supervised[1])
    meant = task or (None if target is None else task_of(features[target]))
    if truth is None and (meant is None or target is None or task_of(features[target]) != meant):
        target, meant = _find_truth(features, picture, task)
    if meant == "unlabelled" or target is None or meant is None:
        return Roles(picture, "unlabelled", None, (), encoded=_encoded(features, picture))
    feature = features[target]
    if task_of(feature) != meant:
        raise DataError(f"feature {target!r} is no truth for task {meant!r}")
    box, kind = _inside(feature) if meant == "detection" else ("", None)
    return Roles(
        picture,
        meant,
        target,
        _names(feature, meant, kind, classes, target),
        box,
        kind,
        _encoded(features, picture, target),
    )


def _encoded(features: Mapping[str, Any], *names: str) -> tuple[str, ...]:
    """Every picture stays encoded: those that are wanted are decoded by our own reader."""
    return tuple(name for name in features if is_image(features[name]))


def _find_image(features: Mapping[str, Any], supervised: Sequence[Any]) -> str:
    if supervised and supervised[0] in features and is_image(features[supervised[0]]):
        return str(supervised[0])
    found = [name for name, feature in features.items() if is_image(feature)]
    plain = [name for name in found if name not in _MASKS]
    if len(plain) != 1:
        names = ", ".join(plain or features)
        raise DataError(f"which feature is the image? give image=NAME; there are {names}")
    return plain[0]


def task_of(feature: Any) -> Wanted | None:
    """The task that a feature is the truth of; None where it is none."""
    if _is_a(feature, "ClassLabel"):
        return "single"
    if is_image(feature):
        return "segmentation"
    inner = getattr(feature, "feature", None)
    if inner is None:
        return None
    if _is_a(inner, "ClassLabel"):
        return "multilabel"
    return "detection" if _box_of(inner) else None


def _box_of(inner: Any) -> str:
    if not hasattr(inner, "items"):
        return ""
    return next((name for name, part in inner.items() if _is_a(part, "BBoxFeature")), "")


def _find_truth(
    features: Mapping[str, Any], image: str, task: str | None
) -> tuple[str | None, Wanted | None]:
    usual = (*_OBJECTS, *_MASKS, *_LABELS)
    order = sorted(features, key=lambda name: (name not in usual, name))
    ranks: tuple[Wanted, ...] = ("detection", "segmentation", "multilabel", "single")
    for wanted in ranks if task is None else (task,):
        found = [n for n in order if n != image and task_of(features[n]) == wanted]
        named = [n for n in found if n in usual]
        if len(found) > 1 and len(named) != 1:
            raise DataError(f"which feature is the truth? give truth=NAME: {', '.join(found)}")
        if found:
            return (named or found)[0], wanted  # type: ignore[return-value]
    if task is not None and task != "unlabelled":
        raise DataError(f"no feature is a truth for task {task!r}; there are {', '.join(features)}")
    return None, None


def _inside(feature: Any) -> tuple[str, str | None]:
    """Names of the box and the class within an object."""
    inner = feature.feature
    kinds = [name for name, part in inner.items() if _is_a(part, "ClassLabel")]
    kind = "label" if "label" in kinds else kinds[0] if len(kinds) == 1 else None
    if kind is None and kinds:
        raise DataError(f"objects have several classes ({', '.join(kinds)}): none named label")
    return _box_of(inner), kind


def _names(
    feature: Any, task: Wanted, kind: str | None, classes: Sequence[str] | None, target: str
) -> tuple[str, ...]:
    if task == "segmentation":
        if classes is not None:
            return tuple(classes)
        if _is_a(feature, "LabeledImage") and feature.num_classes and feature.num_classes > 1:
            return tuple(str(name) for name in feature.names[1:])
        raise DataError(
            f"nothing names the values of the mask {target!r}: give classes='first,second'"
        )
    if classes is not None:
        raise DataError("classes= names the values of masks, and the truth is no mask")
    if task == "detection":
        return ("object",) if kind is None else tuple(feature.feature[kind].names)
    inner = feature if task == "single" else feature.feature
    return tuple(str(name) for name in inner.names)
