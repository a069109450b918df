"""Which files are volumes, by name and by their first bytes."""

from __future__ import annotations

from pathlib import Path

VOLUME_SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
HEAD_BYTES = 352
_NIFTI_MAGIC = (b"n+1\0", b"ni1\0")
_META_KEYS = (b"ObjectType", b"NDims", b"Comment", b"ObjectSubType")


def volume_suffix(name: str | Path) -> str:
    """The suffix that names a volume format, `.nii.gz` in one piece; empty where there is none."""
    low = Path(name).name.lower()
    fits = [suffix for suffix in VOLUME_SUFFIXES if low.endswith(suffix)]
    return max(fits, key=len) if fits else ""


def is_volume_name(name: str | Path) -> bool:
    """Whether a file is named like a volume."""
    return bool(volume_suffix(name))


def volume_stem(name: str | Path) -> str:
    """The file name without folder and volume suffix."""
    base = Path(name).name
    return base[: len(base) - len(volume_suffix(base))]


def volume_format(head: bytes) -> str | None:
    """`nifti`, `nrrd` or `metaimage` by the first bytes of an (uncompressed) file, else None."""
    if head[344:348] in _NIFTI_MAGIC or head[4:8] in (b"n+2\0", b"ni2\0"):
        return "nifti"
    if head.startswith(b"NRRD000"):
        return "nrrd"
    if head.lstrip().startswith(_META_KEYS) and b"=" in head[:80]:
        return "metaimage"
    return None
