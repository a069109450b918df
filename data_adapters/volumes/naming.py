"""Which files make one case, by their names: channels, masks, folders of images and of labels."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from data_adapters.errors import DataError
from data_adapters.files import Found
from data_adapters.volumes.names import volume_stem

IMAGE = "image"
MASK = "mask"
_IMAGE_WORDS = ("image", "img", "volume", "vol", "scan")
_MASK_WORDS = ("seg", "mask", "label", "labels", "segmentation", "gt", "msk")
_SEQUENCES = (
    *("t1", "t1ce", "t1c", "t1gd", "t1n", "t1w", "t1post", "t1pre", "t2", "t2w", "t2f"),
    *("flair", "dwi", "adc", "pd", "pdw", "swi", "t2star", "mra", "cbf", "cbv", "ttp", "mtt"),
    *("tmax", "ct", "pet", "suv", "cta", "in", "out", "fat", "water"),
)
_ENDING = re.compile(
    rf"(?P<case>.+)[_\-.](?P<word>{'|'.join((*_SEQUENCES, *_IMAGE_WORDS, *_MASK_WORDS))})",
    re.IGNORECASE,
)
IMAGE_FOLDERS = frozenset({"image", "images", "img", "imgs", "imagestr", "scans", "volumes"})
MASK_FOLDERS = frozenset(
    {"label", "labels", "labelstr", "mask", "masks", "seg", "segs", "segmentation", "segmentations"}
)

Parse = Callable[[Found], "tuple[str, str] | None"]


@dataclass
class Group:
    """The files of one case.

    Attributes:
        case: Its name: the relative path without what tells the files apart.
        channels: File of each channel.
        mask: File of the mask, if there is one.
        repeated: Whether two files claim the same role.
    """

    case: str
    channels: dict[str, Found] = field(default_factory=dict)
    mask: Found | None = None
    repeated: bool = False


def split_name(found: Found) -> tuple[str, str]:
    """Name of the case and role of the file (a channel, `image` or `mask`), by common habits.

    `CASE_t1ce` is channel `t1ce`, `CASE-seg` the mask, `images/CASE` and `labels/CASE` image and
    mask; anything else is the only image of its case.
    """
    *folders, base = found.name.split("/")
    stem, role = volume_stem(base), IMAGE
    match = _ENDING.fullmatch(stem)
    if match:
        word = match["word"].lower()
        stem = match["case"]
        role = MASK if word in _MASK_WORDS else IMAGE if word in _IMAGE_WORDS else word
    kept = []
    for folder in folders:
        if folder.lower() in MASK_FOLDERS:
            role = MASK
        elif folder.lower() not in IMAGE_FOLDERS:
            kept.append(folder)
    return "/".join([*kept, stem]), role


def name_splitter(pattern: str, mask: str | None) -> Parse:
    """As `split_name`, by a pattern such as `{case}_{channel}`.

    Args:
        pattern: File name without suffix, with `{case}` and `{channel}` where they stand.
        mask: What stands in place of the channel in a mask's name.

    Raises:
        DataError: The pattern lacks `{case}` or `{channel}`, or holds something else in braces.
    """
    if pattern.count("{case}") != 1 or pattern.count("{channel}") != 1:
        raise DataError(
            f"pattern={pattern!r} must hold {{case}} and {{channel}} once each, "
            "such as '{case}_{channel}'"
        )
    text = re.escape(pattern).replace(r"\{case\}", "(?P<case>.+)")
    text = text.replace(r"\{channel\}", "(?P<channel>[^/]+?)")
    if r"\{" in text:
        raise DataError(f"pattern={pattern!r} knows {{case}} and {{channel}}, and no other braces")
    expression = re.compile(text)

    def parse(found: Found) -> tuple[str, str] | None:
        *folders, base = found.name.split("/")
        match = expression.fullmatch(volume_stem(base))
        if match is None:
            return None
        role = MASK if match["channel"] == mask else match["channel"]
        return "/".join([*folders, match["case"]]), role

    return parse


def group_files(files: Sequence[Found], parse: Parse) -> tuple[list[Group], int]:
    """The files of each case, in the order of the cases' names, and how many files fit no case."""
    groups: dict[str, Group] = {}
    unfit = 0
    for found in files:
        named = parse(found)
        if named is None:
            unfit += 1
            continue
        case, role = named
        group = groups.setdefault(case, Group(case))
        if role == MASK:
            group.repeated |= group.mask is not None
            group.mask = found
        else:
            group.repeated |= role in group.channels
            group.channels[role] = found
    return [groups[case] for case in sorted(groups)], unfit


def common_channels(groups: Sequence[Group]) -> tuple[str, ...]:
    """The set of channels that most cases have, the larger of two equally common ones; sorted."""
    sets = Counter(tuple(sorted(group.channels)) for group in groups if group.channels)
    if not sets:
        return ()
    return max(sets, key=lambda names: (sets[names], len(names), names))
