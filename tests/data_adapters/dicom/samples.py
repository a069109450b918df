"""Small DICOM files for tests, made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, generate_uid

from data_adapters.dicom.model import Instance, Stack


def image(pixels: NDArray[Any], **values: Any) -> FileDataset:
    """An image of integers (H, W), (H, W, 3) or, with NumberOfFrames, (N, H, W[, 3])."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = UID(values.get("SOPClassUID", CTImageStorage))
    meta.MediaStorageSOPInstanceUID = generate_uid()
    data = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, generate_uid()
    data.StudyInstanceUID, data.SeriesInstanceUID = "1.2.3.4", "1.2.3.4.5"
    colour = pixels.shape[-1] == 3 and pixels.ndim > 2
    frames = pixels.ndim == (4 if colour else 3)
    data.Rows, data.Columns = pixels.shape[1:3] if frames else pixels.shape[:2]
    if frames:
        data.NumberOfFrames = len(pixels)
    data.SamplesPerPixel = 3 if colour else 1
    data.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        data.PlanarConfiguration = 0
    bits = pixels.dtype.itemsize * 8
    data.BitsAllocated, data.BitsStored, data.HighBit = bits, bits, bits - 1
    data.PixelRepresentation = int(pixels.dtype.kind == "i")
    data.Modality = "OT"
    for keyword, value in values.items():
        setattr(data, keyword, value)
    data.PixelData = np.ascontiguousarray(pixels).tobytes() + b"\0" * (pixels.nbytes % 2)
    data["PixelData"].VR = "OB" if bits == 8 else "OW"
    return data


def save(data: FileDataset, path: Path) -> Path:
    """Write a data set; the folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, data, enforce_file_format=True)
    return path


def put(data: Dataset, keyword: str, vr: str, value: object) -> None:
    """Set an element whose value representation the standard leaves open."""
    data[keyword] = pydicom.DataElement(pydicom.tag.Tag(keyword), vr, value)


def item(**values: Any) -> pydicom.Sequence:
    """A sequence of one item."""
    data = Dataset()
    for keyword, value in values.items():
        setattr(data, keyword, value)
    return pydicom.Sequence([data])


def stack_of(paths: Sequence[Path], kind: str = "volume") -> Stack:
    """The files as a stack without geometry."""
    return Stack(tuple(Instance(str(p), p.name, p.stat().st_size, 0) for p in paths), None, kind)
