"""Header values that may leave the file: coded terms from closed lists, and nothing else.

A code string is text like any other: somebody may have typed a name into it. What is on no list
here is unknown; what has to stay apart without being known (a scanner's model) is a pseudonym.
"""

from __future__ import annotations

import re

from data_adapters.privacy import uid_pseudonym


def _known(text: str) -> frozenset[str]:
    return frozenset(text.split())


# PS3.3 C.7.3.1.1.1, defined terms of Modality, the retired ones included.
MODALITIES = _known(
    """
    ANN AR ASMT AU BDUS BI BMD CFM CR CT CTPROTOCOL DMS DG DOC DX ECG EEG EMG EOG EPS ES FID GM
    HC HD IO IOL IVOCT IVUS KER KO LEN LS MG MR M3D NM OAM OCT OP OPM OPT OPTBSV OPTENF OPV OSS
    OT PA PLAN POS PR PT PX REG RESP RF RG RTDOSE RTIMAGE RTINTENT RTPLAN RTRAD RTRECORD
    RTSEGANN RTSTRUCT RWV SC SEG SM SMR SR SRF STAIN TEXTUREMAP TG US VA XA XAPROTOCOL XC AS CD
    CF CP CS DD DF DM DS EC FA FS LP MA MS OPR ST VF
    """
)
LATERALITIES = frozenset("RLUB")
SEXES = frozenset("MFO")
# PS3.3 C.8.1.3, C.8.3.1, C.8.11.7 and PS3.16 CID 4014 and 4010.
VIEWS = _known(
    """
    AP PA LL RL RLD LLD RLO LLO LAT LATERAL LPO RPO LAO RAO CC MLO ML LM LMO XCCL XCCM SIO ISO
    FB CV AT RM RL
    """
)
# PS3.16 annex L, correspondence of anatomic region codes and body part examined, human parts.
BODY_PARTS = _known(
    """
    ABDOMEN ABDOMENPELVIS ADRENAL ANKLE AORTA ARM AXILLA BACK BLADDER BRAIN BREAST BRONCHUS
    BUTTOCK CALCANEUS CALF CAROTID CEREBELLUM CERVIX CHEEK CHEST CHESTABDOMEN CHESTABDPELVIS
    CLAVICLE COCCYX COLON CORNEA CORONARYARTERY CSPINE CTSPINE DUODENUM EAR ELBOW ESOPHAGUS
    EXTREMITY EYE EYELID FACE FEMUR FINGER FOOT FOREARM FOREHEAD GALLBLADDER HAND HEAD HEADNECK
    HEART HIP HUMERUS IAC ILEUM ILIUM JAW JEJUNUM KIDNEY KNEE LARYNX LEG LIVER LSPINE LSSPINE
    LUNG MAXILLA MEDIASTINUM MOUTH NECK NECKCHEST NECKCHESTABDOMEN NECKCHESTABDPELV NOSE ORBIT
    OVARY PANCREAS PAROTID PATELLA PELVIS PENIS PHARYNX PROSTATE RECTUM RIB SACRUM SCALP SCAPULA
    SCLERA SCROTUM SHOULDER SIJOINT SINUS SKULL SPINE SPLEEN SSPINE STERNUM STOMACH TESTIS THIGH
    THORAX THUMB THYMUS THYROID TLSPINE TMJ TOE TONGUE TRACHEA TSPINE ULNA URETER URETHRA UTERUS
    VAGINA VULVA WHOLEBODY WRIST ZYGOMA
    """
)
# Makers as their devices spell them: a word in Manufacturer, and the name it stands for.
_MAKERS = {
    "agfa": "Agfa",
    "bruker": "Bruker",
    "canon": "Canon",
    "carestream": "Carestream",
    "esaote": "Esaote",
    "fuji": "Fujifilm",
    "fujifilm": "Fujifilm",
    "ge": "GE",
    "gems": "GE",
    "general electric": "GE",
    "hitachi": "Hitachi",
    "hologic": "Hologic",
    "kodak": "Kodak",
    "konica": "Konica Minolta",
    "lorad": "Hologic",
    "mindray": "Mindray",
    "neusoft": "Neusoft",
    "philips": "Philips",
    "samsung": "Samsung",
    "siemens": "Siemens",
    "shimadzu": "Shimadzu",
    "toshiba": "Toshiba",
    "uih": "United Imaging",
    "united imaging": "United Imaging",
    "varian": "Varian",
    "ziehm": "Ziehm",
}


def term(text: str, known: frozenset[str]) -> str:
    """The text in capitals if it is one of the known terms, else an empty string."""
    code = text.strip().upper()
    return code if code in known else ""


def modality_term(text: str) -> str:
    """A defined term of Modality, else an empty string."""
    return text if text in MODALITIES else term(text, MODALITIES)


def scanner_name(manufacturer: str, model: str) -> str:
    """A known maker's name, and the pseudonym of its model.

    Args:
        manufacturer: Manufacturer, as in the file.
        model: Manufacturer's Model Name, as in the file.

    Returns:
        Such as `Siemens m0123456789ab`; the maker is left out where it is none known here, and
        the pseudonym is then that of both texts. Empty where both are.
    """
    words = " ".join(re.findall(r"[a-z]+", manufacturer.lower()))
    found = [name for word, name in _MAKERS.items() if re.search(rf"\b{word}\b", words)]
    maker = found[0] if found else ""
    exact = " ".join(part for part in (manufacturer.strip(), model.strip()) if part)
    apart = model.strip() if maker else exact
    return " ".join(
        part for part in (maker, uid_pseudonym(exact, "model") if apart else "") if part
    )
