"""What DICOM headers tell without a pixel being read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from data_adapters.dicom.model import Instance
from data_adapters.findings import Finding
from data_adapters.lint.codes import finding

IN_SPACE = frozenset({"CT", "MR", "PT", "NM"})
"""Modalities whose images have a place in the patient."""
OFTEN_BURNED = frozenset({"US", "IVUS", "SC", "OT", "XC", "ES", "XA", "RF", "DG", "SM"})
"""Modalities whose pictures often carry text, and secondary captures."""
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_SHOWN = 8


def header_findings(case_id: str, files: Sequence[Instance]) -> Iterator[Finding]:
    """Findings about the files of one case.

    Args:
        case_id: Its pseudonymous id.
        files: Their headers.
    """
    images = [file for file in files if file.rows]
    if any(file.photometric == "MONOCHROME1" for file in images):
        yield finding("monochrome1", "stored with the highest value as black", case_id=case_id)
    lossy = sum(file.lossy for file in images)
    if lossy:
        text = f"{lossy} of {len(images)} files are or once were compressed with loss"
        yield finding("lossy", text, case_id=case_id)
    yield from _burned_in(case_id, images)
    keywords = sorted({keyword for file in files for keyword in file.texts})
    if keywords:
        shown = ", ".join(keywords[:_SHOWN]) + (", ..." if len(keywords) > _SHOWN else "")
        text = f"what may be identifiers stands in {shown}"
        yield finding("identifiers", text, case_id=case_id)
    missing = _without_place(images)
    if missing:
        yield finding("missing-geometry", f"no {missing} in the header", case_id=case_id)


def _burned_in(case_id: str, images: Sequence[Instance]) -> Iterator[Finding]:
    said = Counter(file.burned_in.upper() for file in images)
    if said["YES"]:
        text = f"{said['YES']} of {len(images)} files say that text is burned into the pixels"
        yield finding("burned-in", text, case_id=case_id)
    elif any(_may_carry_text(file) and file.burned_in.upper() != "NO" for file in images):
        text = "a kind of picture that often carries text, and the header does not say"
        yield finding("burned-in-unknown", text, case_id=case_id)


def _may_carry_text(file: Instance) -> bool:
    captured = file.sop_class.startswith(_SECONDARY_CAPTURE)
    placeless = "SECONDARY" in file.image_type[1:2] and file.position is None and file.frames == 1
    return captured or placeless or file.modality in OFTEN_BURNED


def _without_place(images: Sequence[Instance]) -> str:
    """The first thing that an image of a quantitative modality lacks to be placed in space."""
    for file in images:
        if file.modality in IN_SPACE and file.frames == 1:
            for word, value in (
                ("pixel spacing", file.spacing),
                ("position", file.position),
                ("orientation", file.orientation),
            ):
                if value is None:
                    return word
    return ""
