"""Every code that linting itself gives: severity, remedy, and whether it can be repaired.

Readers give further codes with their own findings (`missing-slices`, `gantry-tilt`, ...), and a
case that cannot be read is named by the kind of its `CaseError` (`truncated`, `zero-byte`, ...).
"""

from __future__ import annotations

from dataclasses import dataclass

from data_adapters.findings import Finding, Severity


@dataclass(frozen=True, slots=True)
class Code:
    """What is always the same about one kind of finding.

    Attributes:
        severity: Of its findings.
        remedy: What to do about it.
    """

    severity: Severity
    remedy: str


CODES: dict[str, Code] = {
    # One case, by its pixels
    "not-finite": Code("error", "Export the case again, or leave it out."),
    "invalid-case": Code("error", "Report it to the author of the adapter; leave the case out."),
    "constant-image": Code("warning", "Look at the case: an empty export is no image."),
    "mostly-padding": Code("warning", "Crop to what was measured, or leave the case out."),
    "not-hounsfield": Code(
        "warning", "Deliver CT in Hounsfield units; windowed pictures have lost their scale."
    ),
    # One case, by its truth
    "mask-off-grid": Code("error", "Resample the mask onto the grid of its own image."),
    "mask-unknown-values": Code("error", "Name every value among the classes, or set it to 0."),
    "empty-mask": Code("warning", "Check that there is nothing to see, and nothing was missed."),
    "box-degenerate": Code("warning", "Draw the box again; --policy repair drops it."),
    "box-outside": Code("warning", "Check size and order of axes; --policy repair clips or drops."),
    "box-unknown-class": Code("error", "Name the class among the classes, or remove the box."),
    # DICOM headers
    "monochrome1": Code("info", "Nothing: the image is turned round once when it is read."),
    "lossy": Code("warning", "Ask for the originals; check that no class alone is compressed."),
    "burned-in": Code("warning", "Look at the pictures and remove what identifies the patient."),
    "burned-in-unknown": Code("info", "Look whether names stand in the pictures."),
    "identifiers": Code("warning", "De-identify the files (PS3.15 E) before they go anywhere."),
    "missing-geometry": Code("warning", "Export with positions and pixel spacing."),
    "irregular-stack": Code("warning", "Resample to a regular grid; --policy repair does."),
    # The delivery
    "duplicate-pixels": Code("warning", "Keep one of them; --policy repair does."),
    "label-conflict": Code("error", "Have a reader decide which is right."),
    "near-duplicate": Code("warning", "Look at both; keep them in one part of the split."),
    "one-patient-two-ids": Code("error", "Give both one patient id, so that no split parts them."),
    "patient-in-two-parts": Code("error", "Put each patient into one part."),
    "patient-unknown": Code("warning", "Name the patient's column or pattern (option `patient`)."),
    "unlabelled": Code("warning", "Label the cases, or leave them out."),
    "single-class": Code("error", "Add cases of another class: there is nothing to tell apart."),
    "absent-class": Code("warning", "Add cases of the class, or take it off the list."),
    "tiny-class": Code("warning", "Add cases: with so few, no figure for the class means much."),
    "class-imbalance": Code("info", "Weight the classes, and read figures per class."),
    "mixed-dimensions": Code("error", "Part pictures and volumes (of DICOM by `minimum_slices`)."),
    "mixed-channels": Code("info", "Check that colour is meant; grey copies become one channel."),
    "mixed-modality": Code("warning", "Train on one modality, or see that all classes share them."),
    "intensity-outlier": Code("warning", "Check units, rescale and export; normalise per case."),
    "spacing-outlier": Code("warning", "Check the header; resample to one spacing."),
    "size-outlier": Code("info", "Check that the case shows the same region; resize or crop."),
}  # fmt: skip

UNREADABLE = "Copy or export the case again, or leave it out."
"""What to do about what cannot be read, unless its kind says better."""
REMEDIES = {
    "absent-images": "Deliver the images that the annotation belongs to.",
    "bomb": "Look whether the file is what it says; its header declares too much.",
    "codec": "Install the decoder that is named, or have the file stored uncompressed.",
    "geometry": "Mend the header, or export the volume again.",
    "grid": "Resample the files of a case, masks included, to one grid.",
    "mask-grid": "Resample the mask to the grid of its image.",
    "mask-values": "Name every value among the classes, or set it to 0.",
    "masks-size": "Deliver masks of the size of their pictures.",
    "missing": "Deliver the file, or take it off the list.",
    "mixed-sizes": "Part the series: its slices do not fit each other.",
    "outside": "Move the file into the folder of the data.",
    "segmentation": "Deliver the images too; a segmentation is none.",
    "size": "Find out which picture the boxes were drawn on.",
}
"""Kind of `CaseError` or `Skip` -> what to do about it."""
SKIPS: dict[str, tuple[Severity, str]] = {
    "no-image": ("info", ""),
    "localizer": ("info", ""),
    "few-slices": ("info", ""),
    "repeated": ("warning", "Take the repetitions out of the table."),
    "whole-slide": ("warning", "Export regions as pictures."),
}
"""Kinds of `Skip` that are no errors: what was left out was not meant to be a case."""


def finding(
    code: str,
    message: str,
    *,
    case_id: str | None = None,
    source: str | None = None,
) -> Finding:
    """A finding with the severity and remedy of its code.

    Args:
        code: One of `CODES`.
        message: One sentence without patient data.
        case_id: Pseudonymous case id; None for the whole delivery.
        source: Name as the user gave it.
    """
    known = CODES[code]
    return Finding(
        severity=known.severity,
        code=code,
        message=message,
        remedy=known.remedy,
        case_id=case_id,
        source=source,
    )
