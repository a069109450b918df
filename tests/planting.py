"""A marked name, planted wherever a file can hold text, and the search for it."""

from __future__ import annotations

import base64
import functools
import gzip
import io
import sqlite3
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
from pydicom.datadict import DicomDictionary, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

MARK = "ZZPLANTEDZZ"
TEXT_VRS = frozenset("AE CS LO LT PN SH ST UC UR UT".split())  # noqa: SIM905
# Without these a file means something else, or nothing.
NEEDED = frozenset(
    "SpecificCharacterSet PhotometricInterpretation Modality ImageType BurnedInAnnotation "  # noqa: SIM905
    "PresentationLUTShape VOILUTFunction RescaleType".split()
)


def spellings() -> dict[str, bytes]:
    """How the mark looks in different encodings, in small letters."""
    low, found = MARK.lower(), {}
    for encoding in ("utf-8", "utf-16-le", "utf-16-be"):
        found[encoding] = low.encode(encoding)
    for word in (MARK, low):
        found[f"hex {word}"] = word.encode().hex().encode()
        for shift in range(3):  # the letters in the middle look the same whatever surrounds them
            text = base64.b64encode(b"\0" * shift + word.encode() + b"\0\0")
            found[f"base64 {word} {shift}"] = text[4:12].lower()
    return found


SPELLINGS = spellings()


def search(data: bytes) -> list[str]:
    """Spellings of the mark in content, that of archives and compressed streams included."""
    found = [name for name, spelling in SPELLINGS.items() if spelling in data.lower()]
    for inner in _inside(data):
        found += [f"packed {name}" for name in search(inner)]
    return found


def _inside(data: bytes) -> Iterator[bytes]:
    if data[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for name in archive.namelist():
                yield name.encode()
                yield archive.read(name)
    elif data[:2] == b"\x1f\x8b":
        yield gzip.decompress(data)
    elif data[:1] == b"\x78":
        try:
            yield zlib.decompress(data)
        except zlib.error:
            return


def search_tree(root: Path, *, besides: tuple[str, ...] = ()) -> dict[str, list[str]]:
    """Where the mark is, in names and contents below a folder.

    Args:
        root: The folder.
        besides: Beginnings of relative names to pass over.
    """
    found = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if name.startswith(besides):
            continue
        here = search(name.encode("utf-8", "surrogateescape"))
        if path.is_file():
            data = path.read_bytes()
            here += search(data)
            if data[:15] == b"SQLite format 3":
                here += _search_sqlite(path)
        if here:
            found[name] = here
    return found


def _search_sqlite(path: Path) -> list[str]:
    found = []
    with sqlite3.connect(path) as base:
        tables = base.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in tables:
            for row in base.execute(f'SELECT * FROM "{table}"'):
                for cell in row:
                    found += search(cell if isinstance(cell, bytes) else str(cell).encode())
    return found


def disc_picture(seed: int, *, bright: bool, side: int = 24) -> np.ndarray:
    """Noise with or without a bright disc, uint8 (side, side)."""
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[:side, :side]
    image = rng.normal(90, 20, (side, side))
    if bright:
        y, x = rng.uniform(7, side - 7, 2)
        image += 110 * ((yy - y) ** 2 + (xx - x) ** 2 < 16)
    return np.clip(image, 0, 255).astype(np.uint8)


@functools.cache
def planted_dicom(patient: int, *, every: bool = True, slice_: int | None = None) -> bytes:
    """A CT slice with the mark in every standard element of text, in private ones and sequences.

    Args:
        patient: Seed of the pixels, and number that makes ids differ; odd ones show a disc.
        every: All of the dictionary's text elements, else the common ones.
        slice_: Place in a stack.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = _planted(patient, every)
        if slice_ is not None:
            data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
            data.ImagePositionPatient = [0, 0, 3 * slice_]
            data.SOPInstanceUID = f"1.2.{MARK}.{patient}.{slice_}"
        buffer = io.BytesIO()
        data.save_as(buffer, enforce_file_format=True)
        return buffer.getvalue()


def _planted(patient: int, every: bool) -> Dataset:
    pixels = disc_picture(patient, bright=patient % 2 == 1)
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = CTImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = f"1.2.{MARK}.{patient}"
    data.file_meta.SourceApplicationEntityTitle = MARK
    for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        setattr(data, keyword, f"1.2.{MARK}.{patient}.{len(keyword)}")
    data.FrameOfReferenceUID = f"1.2.{MARK}"
    _plant(data, every)
    data.PatientID, data.PatientName = f"{MARK}-{patient}", f"{MARK}^{patient}"
    for keyword in ("StudyDate", "PatientBirthDate", "StudyTime", "PatientAge", "PatientWeight"):
        data[keyword] = DataElement(tag_for_keyword(keyword), "LO", MARK)
    block = data.private_block(0x0009, f"{MARK} CREATOR", create=True)
    block.add_new(1, "LO", MARK)
    block.add_new(2, "UN", MARK.encode())
    inner = Dataset()
    _plant(inner, False)
    inner.add_new(0x00081199, "SQ", Sequence([_small()]))
    block.add_new(3, "SQ", Sequence([inner]))
    data.RequestAttributesSequence = Sequence([inner])
    data.ReferencedStudySequence = Sequence([_small()])
    data.Modality, data.PixelSpacing = "CT", [0.5, 0.5]
    data.BurnedInAnnotation = "NO"
    data.Rows, data.Columns, data.SamplesPerPixel = *pixels.shape, 1
    data.PhotometricInterpretation, data.PixelRepresentation = "MONOCHROME2", 0
    data.BitsAllocated, data.BitsStored, data.HighBit = 8, 8, 7
    data.PixelData = pixels.tobytes()
    return data


def _plant(data: Dataset, every: bool) -> None:
    for tag, (vr, _, _, _, keyword) in DicomDictionary.items():
        kind = vr.split()[0]
        usual = tag >> 16 in (0x0008, 0x0010, 0x0018, 0x0020, 0x0032, 0x0040)
        if kind not in TEXT_VRS or keyword in NEEDED or tag >> 16 < 8 or not (every or usual):
            continue
        data[tag] = DataElement(tag, kind, MARK)


def _small() -> Dataset:
    data = Dataset()
    data.PatientComments, data.InstitutionName = MARK, MARK.lower()
    data.ReferencedSOPInstanceUID = f"1.2.{MARK}"
    return data


def write_planted_pictures(root: Path) -> None:
    """PNG, JPEG and TIFF pictures with the mark in names and in everything that is no pixel."""
    from PIL import Image, PngImagePlugin

    for i in range(12):
        label = "xy"[i % 2]
        folder = root / label / f"{MARK} {i // 4}"
        folder.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(disc_picture(i, bright=label == "x"))
        exif = Image.Exif()
        for tag in (0x010E, 0x013B, 0x8298, 0x9C9B, 0x9C9D):
            exif[tag] = MARK if tag < 0x9000 else MARK.encode("utf-16-le")
        if i % 3 == 0:
            text = PngImagePlugin.PngInfo()
            text.add_text("Patient", MARK)
            text.add_itxt("Title", MARK, tkey=MARK)
            text.add_text("Comment", MARK, zip=True)
            image.save(folder / f"{MARK}{i}.png", pnginfo=text, exif=exif)
        elif i % 3 == 1:
            image.save(folder / f"{MARK}{i}.jpg", exif=exif, comment=MARK.encode())
        else:
            tags = {270: MARK, 315: MARK, 305: MARK, 33432: MARK}
            image.save(folder / f"{MARK}{i}.tif", tiffinfo=tags)


def write_planted_volumes(root: Path) -> None:
    """NIfTI, NRRD and MetaImage volumes with the mark in every field of text."""
    import SimpleITK as sitk

    root.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(0).integers(0, 90, (5, 12, 10)).astype(np.int16)
    for i, suffix in enumerate((".nii", ".nii.gz", ".nrrd", ".mha")):
        image = sitk.GetImageFromArray(values + i)
        for key in ("descrip", "aux_file", "intent_name", "db_name", "Patient", "comment"):
            image.SetMetaData(key, MARK)
        path = root / f"{MARK}_{i}{suffix}"
        sitk.WriteImage(image, str(path))
        if suffix in (".nii", ".nii.gz"):
            _plant_nifti(path)
        elif suffix == ".nrrd":
            head, _, rest = path.read_bytes().partition(b"\n")
            note = f"# {MARK}\ncontent: {MARK}\nPatient:={MARK}\n".encode()
            path.write_bytes(head + b"\n" + note + rest)
        elif suffix == ".mha":
            path.write_bytes(f"Comment = {MARK}\n".encode() + path.read_bytes())


def _plant_nifti(path: Path) -> None:
    """Fill data_type, db_name, descrip, aux_file and intent_name, and add an extension."""
    raw = path.read_bytes()
    data = bytearray(gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw)
    for at in (4, 14, 148, 228, 328):
        data[at : at + len(MARK)] = MARK.encode()
    extension = (32).to_bytes(4, "little") + (6).to_bytes(4, "little") + MARK.encode().ljust(24)
    data[348:352] = b"\1\0\0\0"
    data[108:112] = np.float32(352 + 32).tobytes()
    whole = bytes(data[:352]) + extension + bytes(data[352:])
    path.write_bytes(gzip.compress(whole) if raw[:2] == b"\x1f\x8b" else whole)


def dicom_text_elements(data: bytes) -> int:
    """How many elements of a DICOM file hold the mark."""
    dataset = pydicom.dcmread(io.BytesIO(data))
    return sum(MARK.lower() in str(e.value).lower() for e in dataset.iterall() if e.VR != "SQ")
