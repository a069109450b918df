"""Which words for a modality may be shown: codes of the standard, and what the user said."""

from __future__ import annotations

# PS3.3 C.7.3.1.1.1, the terms of images; a header may say anything in their place.
_TERMS = """
    AR BI BMD CR CT DG DX ES FA FS GM IO IVOCT IVUS KER LEN LS MG MR NM OAM OCT OP OPM OPT OPV OSS
    OT PT PX RF RG RTDOSE RTIMAGE SC SEG SM SRF TG US VA XA XC
"""
KNOWN = frozenset(_TERMS.split())


def known_modality(code: str | None, given: str | None = None) -> str | None:
    """The code where it is a term of the standard or the user's own word, else None.

    Args:
        code: As the case says.
        given: As the user or the adapter says for the whole delivery.
    """
    if not code:
        return None
    text = str(code).strip()
    return text if text == given or text in KNOWN or text.split("-")[0] == "XR" else None
