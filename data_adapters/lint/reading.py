"""What reading a file had to put right or leave open, as findings.

It stands in `Case.meta`: slugs under `reading`, and what annotation objects gave under `truth`.
"""

from __future__ import annotations

from collections.abc import Iterator

from data_adapters.case import Case
from data_adapters.findings import Finding, Severity

READING: dict[str, tuple[Severity, str, str]] = {
    "mislabelled": ("info", "the extension names another format than the content has", ""),
    "orientation": ("info", "turned as its EXIF tag says", ""),
    "palette": ("info", "a palette was turned into colours", ""),
    "cmyk": ("warning", "CMYK was turned into RGB", "Export as RGB; colours may be off."),
    "alpha": ("warning", "transparent pixels were laid over black", "Export without transparency."),
    "rounded": ("warning", "values were rounded to 24 bits", "Check the scale of the values."),
    "not-a-number": (
        "warning",
        "values that are no number count as padding",
        "See that they mean outside of what was measured.",
    ),
    "orientation-unknown": (
        "warning",
        "the header does not say how the volume lies in the patient",
        "Export with orientation; sides cannot be told.",
    ),
    "sform-qform-differ": (
        "warning",
        "the two matrices of the NIfTI header contradict each other",
        "Find out which is right and set both.",
    ),
    "sheared": ("warning", "the axes are not at right angles", "Resample to a regular grid."),
    "spacing-differs": (
        "warning",
        "pixdim and matrix of the header give different spacings; the matrix was taken",
        "Find out which is right and set both.",
    ),
    "us-regions-differ": (
        "warning",
        "regions of the ultrasound picture have different spacings, so it has none",
        "Crop to one region.",
    ),
}


def reading_findings(case: Case) -> Iterator[Finding]:
    """One finding for each slug and each fact about the truth.

    Args:
        case: Any case.
    """
    for slug in case.meta.get("reading") or ():
        word = str(slug)
        severity, message, remedy = READING.get(
            word, ("info", "something was put right while the file was read", "")
        )
        yield Finding(severity, word, message, remedy, case_id=case.case_id)
    for given, code, text, way_out in case.meta.get("truth") or ():
        yield Finding(given, code, text, way_out, case_id=case.case_id)
