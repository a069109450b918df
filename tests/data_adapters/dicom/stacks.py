"""Header facts and tiny files of slices, for tests of indexing and grouping."""

from __future__ import annotations

import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from data_adapters.dicom.model import Instance

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def slice_of(number: int, **facts: Any) -> Instance:
    """One axial slice at z = `number` mm; `facts` override."""
    base = Instance(
        path=f"{number:04d}",
        name=f"{number:04d}",
        size=1,
        mtime_ns=1,
        sop_class=CTImageStorage,
        sop_uid=f"1.2.{number}",
        study_uid="1.2",
        series_uid="1.2.3",
        modality="CT",
        image_type=("ORIGINAL", "PRIMARY", "AXIAL"),
        rows=6,
        columns=5,
        photometric="MONOCHROME2",
        position=(0.0, 0.0, float(number)),
        orientation=AXIAL,
        spacing=(0.5, 0.75),
        slice_thickness=1.0,
        slope=1.0,
        intercept=0.0,
        instance_number=number + 1,
    )
    return replace(base, **facts)


def write_slice(path: Path, seed: str = "", /, **elements: Any) -> Path:
    """A tiny CT file; `elements` by keyword override or add, None removes."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    seed = repr((path.parts[-2:], seed))
    meta.MediaStorageSOPInstanceUID = f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, seed).int}"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    standard: dict[str, Any] = {
        "SOPClassUID": CTImageStorage,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "StudyInstanceUID": "1.2",
        "SeriesInstanceUID": "1.2.3",
        "Modality": "CT",
        "PatientID": "P1",
        "PatientName": "",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "ImagePositionPatient": [0, 0, 0],
        "ImageOrientationPatient": list(AXIAL),
        "PixelSpacing": [0.5, 0.75],
        "InstanceNumber": 1,
        "Rows": 6,
        "Columns": 5,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 1,
        "RescaleSlope": 1,
        "RescaleIntercept": 0,
        "PixelData": np.arange(30, dtype="<i2").tobytes(),
    }
    for keyword, value in {**standard, **elements}.items():
        if value is not None:
            setattr(data, keyword, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, data, enforce_file_format=True)
    return path
