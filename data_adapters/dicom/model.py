"""What the DICOM modules hand each other: header facts of a file, and files grouped to a stack."""

from __future__ import annotations

from dataclasses import dataclass, field

from data_adapters.case import Geometry
from data_adapters.findings import Finding

Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Instance:
    """The header facts of one DICOM file that indexing, grouping and linting need.

    None or an empty string where the file does not say. Identifiers and free text are the file's
    own: they stay inside `data_adapters` and are pseudonymised before they leave an adapter.

    Attributes:
        path: Where the file lies.
        name: Relative path with forward slashes, as the user knows it.
        size: Bytes.
        mtime_ns: Time of the last change, nanoseconds.
        sop_class: SOP Class UID.
        sop_uid: SOP Instance UID.
        study_uid: Study Instance UID.
        series_uid: Series Instance UID.
        frame_of_reference: Frame of Reference UID.
        transfer_syntax: Transfer Syntax UID.
        modality: `CT`, `MR`, `SEG`, ...
        patient_id: Patient ID.
        image_type: Values of Image Type.
        rows: Rows; 0 where the object holds no image.
        columns: Columns.
        frames: Number of Frames, 1 where absent.
        samples: Samples per Pixel.
        bits_allocated: Bits Allocated.
        photometric: Photometric Interpretation.
        position: ImagePositionPatient, mm, LPS.
        orientation: ImageOrientationPatient.
        spacing: PixelSpacing (row, column), mm.
        slice_thickness: SliceThickness, mm.
        spacing_between: SpacingBetweenSlices, mm.
        gantry_tilt: GantryDetectorTilt, degrees.
        slope: RescaleSlope.
        intercept: RescaleIntercept.
        instance_number: InstanceNumber; never used for order where positions exist.
        acquisition_number: AcquisitionNumber.
        echo: (EchoNumbers, EchoTime) as text.
        b_value: DiffusionBValue, also where only a vendor's private element holds it.
        temporal: TemporalPositionIdentifier, else TriggerTime, as text.
        gradient: Diffusion gradient orientation as text, also a vendor's.
        acquired: AcquisitionDateTime, else AcquisitionDate and AcquisitionTime, as text.
        grouped: The object has functional groups (an enhanced one), whatever its frames.
        study_date: StudyDate, `YYYYMMDD`.
        site: InstitutionName.
        burned_in: BurnedInAnnotation.
        lossy: LossyImageCompression is `01`, or the transfer syntax is a lossy one.
        padding_value: PixelPaddingValue.
        presentation_shape: PresentationLUTShape.
        referenced_series: Series Instance UIDs that a SEG, RTSTRUCT or SR refers to.
        listed: Files that a DICOMDIR lists, relative to it, with forward slashes.
        texts: Keywords of free-text or private elements that look as if they held an identifier;
            the keyword or tag only, never the value.
    """

    path: str
    name: str
    size: int
    mtime_ns: int
    sop_class: str = ""
    sop_uid: str = ""
    study_uid: str = ""
    series_uid: str = ""
    frame_of_reference: str = ""
    transfer_syntax: str = ""
    modality: str = ""
    patient_id: str = ""
    image_type: tuple[str, ...] = ()
    rows: int = 0
    columns: int = 0
    frames: int = 1
    samples: int = 1
    bits_allocated: int = 0
    photometric: str = ""
    position: Triple | None = None
    orientation: tuple[float, float, float, float, float, float] | None = None
    spacing: tuple[float, float] | None = None
    slice_thickness: float | None = None
    spacing_between: float | None = None
    gantry_tilt: float | None = None
    slope: float | None = None
    intercept: float | None = None
    instance_number: int | None = None
    acquisition_number: int | None = None
    echo: str = ""
    b_value: float | None = None
    temporal: str = ""
    gradient: str = ""
    acquired: str = ""
    grouped: bool = False
    study_date: str = ""
    site: str = ""
    burned_in: str = ""
    lossy: bool = False
    padding_value: int | None = None
    presentation_shape: str = ""
    referenced_series: tuple[str, ...] = ()
    listed: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Stack:
    """Files that make one image: a volume, a single picture, or one multi-frame object.

    Attributes:
        instances: The files in the order of their slices, first the lowest along the normal; a
            single one for a picture or a multi-frame object.
        geometry: Where the voxels lie; None where the files do not say (a multi-frame object's
            comes from its functional groups when it is read).
        kind: `volume` (one file per slice), `picture` (one frame) or `multiframe`.
        part: What sets this stack apart from others of its series, such as `echo 2` or
            `localizer`; empty where the series is one stack.
        findings: What was noticed while grouping (missing slices, tilt, duplicates, ...), without
            case ids; the adapter adds them.
    """

    instances: tuple[Instance, ...]
    geometry: Geometry | None
    kind: str
    part: str = ""
    findings: tuple[Finding, ...] = field(default=())
