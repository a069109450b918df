"""The augmentation of a run, and the views that test-time mirroring may average."""

from __future__ import annotations

from typing import TYPE_CHECKING

from data_adapters.adapter import Adapter
from data_adapters.augment_policy import suggest_bans
from data_adapters.case import Geometry
from data_adapters.errors import CaseError
from data_adapters.patches import PatchPolicy, mirror_axes, patch_policy
from data_adapters.patches.policy import side_pairs
from recipes.errors import ConfigError
from recipes.segmentation.config import SegmentationConfig
from recipes.segmentation.fingerprint import Fingerprint
from recipes.segmentation.sides import ONE_SIDED

if TYPE_CHECKING:
    from recipes.segmentation.data import Prepared

FLIPS = {"sides": ("flip_ap", "flip_si"), "all": (), "none": ("flip",)}
"""``augment.flips`` -> bans of `data_adapters.patches`."""


def choose_policy(
    adapter: Adapter, config: SegmentationConfig, *, volumes: bool, sided: float | None = None
) -> PatchPolicy | None:
    """The policy of the configuration, held to the data's own bans; None for no augmentation.

    Args:
        adapter: Its bans and class names.
        config: Strength, flips and pairs.
        volumes: Whether cases are volumes.
        sided: The fingerprint's share of cases that are unlike their mirror image; None is not
            known.

    Raises:
        ConfigError: A pair names a class that is not there.
        data_adapters.errors.DataError: A figure or a ban that is unknown or does not fit.
    """
    swaps = _swaps(tuple(adapter.class_names), config)
    if config.augment.strength == "none":
        return None
    flips = config.augment.flips
    if flips == "auto":
        flips = "sides" if volumes else "all"
        if volumes and not swaps and is_one_sided(sided):
            flips = "none"
    bans = (*config.augment.bans, *adapter.bans, *FLIPS[flips])
    if swaps and config.cascade.kind == "resolution":  # the first stage's classes would stay
        swaps, bans = (), (*bans, "flip_lr")
    elif not swaps and "flip_lr" in suggest_bans(adapter.class_names):
        bans = (*bans, "flip_lr")
    return patch_policy(
        config.augment.strength,
        bans=tuple(dict.fromkeys(bans)),
        swaps=swaps,
        overrides=config.augment.override,
    )


def is_one_sided(sided: float | None) -> bool:
    """Whether mirrored cases do not occur, as far as the fingerprint tells."""
    return sided is not None and sided >= ONE_SIDED


def side_reason(found: Fingerprint, config: SegmentationConfig) -> str | None:
    """What a plan says about cases of one side; None where there is nothing to say."""
    told = config.augment.flips != "auto" or config.augment.strength == "none"
    if told or not is_one_sided(found.sided) or _swaps(found.class_names, config):
        return None
    return (
        f"no mirroring: {100 * (found.sided or 0):.0f}% of the cases are more like the others than "
        "their mirror image is, so mirrored ones would not occur (augment.flips=sides mirrors)"
    )


def _swaps(names: tuple[str, ...], config: SegmentationConfig) -> tuple[tuple[int, int], ...]:
    """Pairs of mask values that a flip from left to right exchanges."""
    pairs = config.data.pairs
    if pairs == "auto":
        return side_pairs(names)
    for name in (name for pair in pairs for name in pair):
        if name not in names[1:]:
            raise ConfigError(
                f"data.pairs: {name!r} is no class of the data: {', '.join(names[1:])}"
            )
    return tuple((names.index(a), names.index(b)) for a, b in pairs)


def common_mirrors(prepared: Prepared, policy: PatchPolicy | None) -> tuple[int, ...]:
    """Axes of a preprocessed case along which every validation and test case may be mirrored.

    Bans hold for patient directions, and cases may lie differently even after the chain, so only
    axes that all cases allow are taken. Without augmentation no view but the plain one was trained.
    """
    if policy is None:
        return ()
    axes = prepared.fingerprint.axes
    allowed = set(range(axes))
    for row in prepared.rows("train") + prepared.rows("val") + prepared.rows("test"):
        allowed &= set(mirror_axes(policy, _geometry(prepared, row), axes=axes))
    if prepared.plan.axes < axes:
        allowed.discard(0)
    return tuple(sorted(allowed))


def _geometry(prepared: Prepared, row: int) -> Geometry | None:
    try:
        return prepared.store.geometry(row)
    except CaseError:
        return None
