"""Series, segmentations and structure sets that the tests build, with independent writers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
    generate_uid,
)

from data_adapters.case import Geometry
from data_adapters.dicom.model import Instance, Stack
from data_adapters.geometry import to_world, triple

RT_STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"


def rotation(rng: np.random.Generator) -> NDArray[np.float64]:
    """A random rotation, 3 x 3."""
    matrix, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return np.asarray(matrix * np.sign(np.linalg.det(matrix)))


def random_geometry(rng: np.random.Generator) -> Geometry:
    """An oblique volume's, right-handed as DICOM stacks are."""
    turn = rotation(rng)
    along_row, along_column = turn[0], turn[1]
    return Geometry(
        spacing=(float(rng.uniform(1, 6)), float(rng.uniform(0.4, 2)), float(rng.uniform(0.4, 2))),
        origin=triple(rng.uniform(-200, 200, 3)),
        direction=(
            triple(np.cross(along_row, along_column)),
            triple(along_column),
            triple(along_row),
        ),
    )


def ct_series(geometry: Geometry, shape: Sequence[int]) -> list[FileDataset]:
    """One CT data set per slice of a volume, in slice order."""
    depth, rows, columns = shape
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    made = []
    for k in range(depth):
        uid = generate_uid()
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, uid
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        one.SOPClassUID, one.SOPInstanceUID = CTImageStorage, uid
        one.StudyInstanceUID, one.SeriesInstanceUID = study, series
        one.FrameOfReferenceUID, one.Modality = frame, "CT"
        one.PatientID, one.PatientName = "PHANTOM-7", "Phantom^Seven"
        one.PatientBirthDate = one.PatientSex = one.AccessionNumber = ""
        one.StudyID = one.StudyDate = one.StudyTime = one.ReferringPhysicianName = ""
        one.Manufacturer, one.PositionReferenceIndicator = "none", ""
        one.SeriesNumber, one.InstanceNumber = 1, depth - k
        one.Rows, one.Columns = rows, columns
        one.PixelSpacing = [f"{v:.10g}" for v in geometry.spacing[1:]]
        one.SliceThickness = f"{geometry.spacing[0]:.8g}"
        one.ImageOrientationPatient = [
            f"{v:.11f}" for v in (*geometry.direction[2], *geometry.direction[1])
        ]
        one.ImagePositionPatient = [f"{v:.9f}" for v in to_world(geometry, [k, 0, 0])]
        one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
        one.BitsAllocated = one.BitsStored = 16
        one.HighBit, one.PixelRepresentation = 15, 1
        one.RescaleSlope, one.RescaleIntercept = 1, 0
        one.PixelData = np.zeros((rows, columns), np.int16).tobytes()
        made.append(one)
    return made


def seg(
    images: Sequence[Dataset],
    masks: NDArray[Any],
    kind: str,
    *,
    names: Sequence[str] = (),
    syntax: str = ExplicitVRLittleEndian,
    **options: Any,
) -> Dataset:
    """A segmentation written by highdicom.

    Args:
        images: The slices, in any order.
        masks: (D, H, W, K) in the order of `images`, or (D, H, W) labels.
        kind: `BINARY`, `FRACTIONAL` or `LABELMAP`.
        names: Names of the segments.
        syntax: Transfer Syntax UID.
        options: Of `highdicom.seg.Segmentation`.
    """
    count = masks.shape[3] if masks.ndim == 4 else int(masks.max())
    names = names or [f"part {k + 1}" for k in range(count)]
    parts = [
        highdicom.seg.SegmentDescription(
            k + 1,
            name,
            codes.cid7150.AnatomicalStructure,
            codes.cid7166.ConnectiveTissue,
            highdicom.seg.SegmentAlgorithmTypeValues.MANUAL,
        )
        for k, name in enumerate(names)
    ]
    made = highdicom.seg.Segmentation(
        images,
        masks,
        kind,
        parts,
        generate_uid(),
        2,
        generate_uid(),
        1,
        "none",
        "none",
        "1",
        "1",
        transfer_syntax_uid=syntax if syntax == JPEG2000Lossless else ExplicitVRLittleEndian,
        **options,
    )
    if syntax == RLELossless:  # gdcm, the default encoder, aborts on small frames
        made.compress(syntax, encoding_plugin="pydicom", generate_instance_uid=False)
    elif syntax not in (ExplicitVRLittleEndian, JPEG2000Lossless):
        made.compress(syntax, generate_instance_uid=False)
    return made


def rtstruct(
    images: Sequence[Dataset], rois: dict[str, list[tuple[str, Any, Dataset | None]]]
) -> FileDataset:
    """A structure set.

    Args:
        images: The slices.
        rois: Per name its contours: geometric type, (n, 3) points in mm, and the slice referred to.
    """
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = RT_STRUCTURE_SET
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    made.SOPClassUID, made.SOPInstanceUID = RT_STRUCTURE_SET, meta.MediaStorageSOPInstanceUID
    made.StudyInstanceUID, made.SeriesInstanceUID = images[0].StudyInstanceUID, generate_uid()
    made.Modality, made.PatientID, made.PatientName = "RTSTRUCT", "PHANTOM-7", "Phantom^Seven"
    series, study, frame = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID = images[0].SeriesInstanceUID
    series.ContourImageSequence = [_reference(image) for image in images]
    study.RTReferencedSeriesSequence = [series]
    frame.FrameOfReferenceUID = images[0].FrameOfReferenceUID
    frame.RTReferencedStudySequence = [study]
    made.ReferencedFrameOfReferenceSequence = [frame]
    made.StructureSetROISequence, made.ROIContourSequence = [], []
    for number, (name, contours) in enumerate(rois.items(), 1):
        named, drawn = Dataset(), Dataset()
        named.ROINumber, named.ROIName = number, name
        named.ReferencedFrameOfReferenceUID = frame.FrameOfReferenceUID
        drawn.ReferencedROINumber = number
        drawn.ContourSequence = [_contour(*contour) for contour in contours]
        made.StructureSetROISequence.append(named)
        made.ROIContourSequence.append(drawn)
    return made


def _reference(image: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = image.SOPClassUID
    item.ReferencedSOPInstanceUID = image.SOPInstanceUID
    return item


def _contour(kind: str, points: Any, image: Dataset | None) -> Dataset:
    item = Dataset()
    item.ContourGeometricType, item.NumberOfContourPoints = kind, len(points)
    item.ContourData = [f"{v:.8f}"[:16] for v in np.asarray(points, np.float64).ravel()]
    if image is not None:
        item.ContourImageSequence = [_reference(image)]
    return item


def _coded(word: str, value: str) -> Any:
    return highdicom.sr.CodedConcept(value, "99TEST", word)


def report(images: Sequence[Dataset], groups: Sequence[tuple[str, Any]]) -> Dataset:
    """A measurement report written by highdicom.

    Args:
        images: The slices.
        groups: (finding, region) pairs; a region is a highdicom `ImageRegion`, `ImageRegion3D`,
            `VolumeSurface` or `ReferencedSegment`, or a list of `ImageRegion` of one volume.
    """
    sr = highdicom.sr
    made = []
    for name, region in groups:
        common = {
            "tracking_identifier": sr.TrackingIdentifier(generate_uid(), name),
            "finding_type": _coded(name, name.upper()),
        }
        if isinstance(region, sr.ImageRegion | sr.ImageRegion3D):
            kind = sr.PlanarROIMeasurementsAndQualitativeEvaluations
            made.append(kind(referenced_region=region, **common))
            continue
        kind = sr.VolumetricROIMeasurementsAndQualitativeEvaluations
        keyword = {
            list: "referenced_regions",
            sr.VolumeSurface: "referenced_volume_surface",
            sr.ReferencedSegment: "referenced_segment",
        }[type(region)]
        made.append(kind(**{keyword: region}, **common))
    content = sr.MeasurementReport(
        observation_context=sr.ObservationContext(
            sr.ObserverContext(
                codes.DCM.Person, sr.PersonObserverIdentifyingAttributes(name="Reader^One")
            )
        ),
        procedure_reported=codes.LN.CTUnspecifiedBodyRegion,
        imaging_measurements=made,
    )
    return sr.Comprehensive3DSR(
        evidence=images,
        content=content[0],
        series_number=3,
        series_instance_uid=generate_uid(),
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="none",
    )


def region(kind: str, points: Any, image: Dataset) -> Any:
    """A region on one image, (n, 2) column and row."""
    source = highdicom.sr.SourceImageForRegion(image.SOPClassUID, image.SOPInstanceUID)
    return highdicom.sr.ImageRegion(kind, np.asarray(points, np.float64), source)


def region_3d(kind: str, points: Any, image: Dataset) -> Any:
    """A region in the patient, (n, 3) mm."""
    return highdicom.sr.ImageRegion3D(kind, np.asarray(points), image.FrameOfReferenceUID)


def instance(path: Path) -> Instance:
    """The header facts of a written file that the reading of annotations needs."""
    one = dcmread(path, stop_before_pixels=True)
    series = [str(r.SeriesInstanceUID) for r in one.get("ReferencedSeriesSequence") or ()]
    return Instance(
        path=str(path),
        name=path.name,
        size=path.stat().st_size,
        mtime_ns=0,
        sop_class=str(one.SOPClassUID),
        sop_uid=str(one.SOPInstanceUID),
        series_uid=str(one.SeriesInstanceUID),
        frame_of_reference=str(one.get("FrameOfReferenceUID", "")),
        modality=one.Modality,
        referenced_series=tuple(series),
    )


def stack_of(images: Sequence[FileDataset], geometry: Geometry, folder: Path) -> Stack:
    """Write a series and say how its files are stacked."""
    files = [save(image, folder / f"slice{k}.dcm") for k, image in enumerate(images)]
    return Stack(tuple(instance(file) for file in files), geometry, "volume")


def save(dataset: Dataset, path: Path) -> Path:
    """Write a data set and return where."""
    dataset.save_as(path)
    return path


def sources(images: Sequence[Dataset]) -> dict[tuple[str, int], int]:
    """Slice by image."""
    return {(str(image.SOPInstanceUID), 0): k for k, image in enumerate(images)}
