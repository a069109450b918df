"""Small valid files of every format that radzoo reads, for ``mutated_inputs.py`` to damage."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

Files = dict[str, bytes]
# Of the files that come with pydicom, one of each kind.
SHIPPED = (
    "CT_small.dcm",
    "MR_small.dcm",
    "MR_small_implicit.dcm",
    "MR_small_bigendian.dcm",
    "MR_small_RLE.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "JPEG-lossy.dcm",
    "JPEG2000.dcm",
    "image_dfl.dcm",
    "SC_rgb_jpeg_gdcm.dcm",
    "SC_rgb_rle_2frame.dcm",
    "SC_rgb_small_odd.dcm",
    "SC_ybr_full_422_uncompressed.dcm",
    "rtdose_rle.dcm",
    "rtdose.dcm",
    "no_meta.dcm",
    "liver_1frame.dcm",
    "GDCMJ2K_TextGBR.dcm",
    "SC_rgb_jls_lossy_line.dcm",
)


@dataclass(frozen=True)
class Sample:
    """A small data set with one file to damage.

    Attributes:
        format: What ``--formats`` chooses by.
        name: Unique name.
        files: Relative path to content.
        target: The file to damage.
        source: What is opened: a relative path, or ``.`` for the folder.
        how: ``open`` (``data_adapters.open``), ``files`` (``open_files``), or the reader of one
            DICOM object: ``seg``, ``rtstruct``, ``sr``.
        packed: Damage the content before it is packed: ``gzip``, ``zip``, ``record`` (the first
            record of a TFRecord file, its checksums right) or None.
    """

    format: str
    name: str
    files: Files
    target: str
    source: str = "."
    how: str = "open"
    packed: str | None = None


def samples(formats: frozenset[str] | None = None) -> list[Sample]:
    """All samples, or those of some formats, in a fixed order."""
    made: list[Sample] = []
    for maker in (_pictures, _dicom, _volumes, _layouts, _npz, _archives):
        if formats is None or formats & MAKES[maker.__name__]:
            made += [one for one in maker() if formats is None or one.format in formats]
    return made


MAKES = {
    "_pictures": {"png", "jpeg", "tiff", "picture"},
    "_dicom": {"dicom", "annotation"},
    "_volumes": {"nifti", "nrrd", "mha"},
    "_layouts": {"json", "xml", "csv", "tfrecord", "nifti"},
    "_npz": {"npz"},
    "_archives": {"archive"},
}
FORMATS = sorted(set().union(*MAKES.values()))


def _noise(shape: tuple[int, ...], kind: str, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0, 200, shape[0]).reshape(-1, *[1] * (len(shape) - 1))
    return (ramp + rng.integers(0, 50, shape)).astype(kind)


def _saved(array: np.ndarray, kind: str, mode: str | None = None, **options: object) -> bytes:
    image = Image.fromarray(array)
    if mode:
        image = image.convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _pictures() -> Iterator[Sample]:
    grey, colour = _noise((24, 20), "u1"), _noise((24, 20, 3), "u1")
    deep = _noise((24, 20), "u2") * 200
    made = {
        "png/grey.png": _saved(grey, "PNG"),
        "png/colour.png": _saved(colour, "PNG"),
        "png/deep.png": _saved(deep, "PNG"),
        "png/palette.png": _saved(colour, "PNG", "P"),
        "png/alpha.png": _saved(colour, "PNG", "RGBA"),
        "png/deep-colour.png": _deep_colour(),
        "jpeg/grey.jpg": _saved(grey, "JPEG"),
        "jpeg/colour.jpg": _saved(colour, "JPEG", progressive=True),
        "jpeg/cmyk.jpg": _saved(colour, "JPEG", "CMYK"),
        "tiff/grey.tif": _saved(grey, "TIFF"),
        "tiff/deep-lzw.tif": _saved(deep, "TIFF", compression="tiff_lzw"),
        "tiff/deflate.tif": _saved(colour, "TIFF", compression="tiff_adobe_deflate"),
        "tiff/jpeg.tif": _saved(colour, "TIFF", compression="jpeg"),
        "tiff/pages.tif": _pages(),
        "picture/a.bmp": _saved(colour, "BMP"),
        "picture/a.gif": _saved(grey, "GIF"),
        "picture/a.ppm": _saved(colour, "PPM"),
        "picture/a.webp": _saved(colour, "WEBP"),
        "picture/lossless.webp": _saved(colour, "WEBP", lossless=True),
        "picture/a.jp2": _saved(colour, "JPEG2000"),
    }
    for name, data in made.items():
        file = name.partition("/")[2]
        yield Sample(name.partition("/")[0], name, {file: data}, file, file, "files")
    folder = {
        f"{c}/{i}.png": _saved(_noise((24, 20), "u1", i), "PNG") for c in "ab" for i in (1, 2)
    }
    yield Sample("png", "png/folder", folder, "a/1.png")


def _deep_colour() -> bytes:
    import cv2

    return bytes(cv2.imencode(".png", _noise((24, 20, 3), "u2") * 200)[1])


def _pages() -> bytes:
    import tifffile

    buffer = io.BytesIO()
    tifffile.imwrite(buffer, _noise((5, 24, 20), "u2"), ome=True, compression="zlib")
    return buffer.getvalue()


def _dicom() -> Iterator[Sample]:
    import pydicom.data

    shipped = Path(pydicom.data.__file__).parent / "test_files"
    for name in SHIPPED:
        data = (shipped / name).read_bytes()
        yield Sample("dicom", f"dicom/{name}", {name: data}, name, name, "files")
        yield Sample("dicom", f"dicom/open/{name}", {name: data}, name, name)
    series = _series()
    first = min(series)
    yield Sample("dicom", "dicom/series", series, first)
    names = ("rtstruct.dcm", "liver_1frame.dcm", "reportsi.dcm", "test-SR.dcm")
    for name, how in zip(names, ("rtstruct", "seg", "sr", "sr"), strict=True):
        data = (shipped / name).read_bytes()
        yield Sample("annotation", f"annotation/{name}", {name: data}, name, name, how)
    seg = _segmentation(series)
    yield Sample("annotation", "annotation/series", series | {"seg.dcm": seg}, "seg.dcm")
    yield Sample("annotation", "annotation/seg.dcm", {"seg.dcm": seg}, "seg.dcm", "seg.dcm", "seg")


def _series() -> Files:
    """Three slices of a CT phantom."""
    from data_adapters.dicom_write import write_dicom_series
    from data_adapters.phantoms import ct_volume

    with TemporaryDirectory() as folder:
        volume = ct_volume(1, shape=(3, 48, 48))
        write_dicom_series(volume, Path(folder), patient=1, seed=0)
        return {
            p.relative_to(folder).as_posix(): p.read_bytes() for p in Path(folder).rglob("*.dcm")
        }


def _segmentation(series: Files) -> bytes:
    """A binary SEG with two segments on that series."""
    import highdicom
    import pydicom
    from pydicom.sr.codedict import codes

    images = [pydicom.dcmread(io.BytesIO(data)) for data in series.values()]
    shape = (len(images), images[0].Rows, images[0].Columns)
    masks = np.zeros((*shape, 2), np.uint8)
    masks[:, 5:20, 5:20, 0], masks[1, 10:30, 12:25, 1] = 1, 1
    kinds = highdicom.seg.SegmentDescription
    parts = [
        kinds(
            segment_number=k + 1,
            segment_label=f"part {k}",
            segmented_property_category=codes.SCT.Organ,
            segmented_property_type=codes.SCT.Liver,
            algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.MANUAL,
        )
        for k in range(2)
    ]
    made = highdicom.seg.Segmentation(
        source_images=images,
        pixel_array=masks,
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=parts,
        series_instance_uid="1.2.3.4",
        series_number=9,
        sop_instance_uid="1.2.3.4.5",
        instance_number=1,
        manufacturer="none",
        manufacturer_model_name="none",
        software_versions="0",
        device_serial_number="0",
    )
    buffer = io.BytesIO()
    made.save_as(buffer)
    return buffer.getvalue()


def _volumes() -> Iterator[Sample]:
    from data_adapters.volumes.write import write_volume

    for suffix, kind in (
        (".nii", "i2"),
        (".nii", "f4"),
        (".nii.gz", "i2"),
        (".nrrd", "u1"),
        (".nrrd", "f4"),
        (".mha", "i2"),
    ):
        file = f"case{suffix}"
        with TemporaryDirectory() as folder:
            data = write_volume(Path(folder) / file, _noise((12, 10, 8), kind), None).read_bytes()
        family = suffix.split(".")[1].replace("nii", "nifti")
        packed = "gzip" if suffix.endswith(".gz") else None
        yield Sample(family, f"{family}/{kind}{suffix}", {file: data}, file, file, "files", packed)
        if packed:
            yield Sample(
                family, f"{family}/{kind}{suffix}, packed", {file: data}, file, file, "files"
            )
        beside = {"case2" + suffix: data, file: data}
        yield Sample(family, f"{family}/folder {kind}{suffix}", beside, file, packed=packed)


def _layouts() -> Iterator[Sample]:
    pictures = {
        f"images/{n}.png": _saved(_noise((40, 30), "u1", k), "PNG") for k, n in enumerate("abc")
    }
    images = [
        {"id": i, "file_name": f"images/{n}.png", "height": 40, "width": 30}
        for i, n in enumerate("abc")
    ]
    outline = [[3, 4, 20, 4, 20, 30, 3, 30]]
    runs = {"size": [40, 30], "counts": [100, 20, 1080]}
    boxes = [
        {
            "id": i,
            "image_id": i,
            "category_id": 5,
            "bbox": [3, 4, 17, 26],
            "area": 400,
            "iscrowd": int(i == 2),
            "segmentation": runs if i == 2 else outline,
        }
        for i in range(3)
    ]
    whole = {"images": images, "annotations": boxes, "categories": [{"id": 5, "name": "mass"}]}
    coco = pictures | {"all.json": json.dumps(whole).encode()}
    yield Sample("json", "json/coco", coco, "all.json")
    from tests.data_adapters.layouts import records, samples, volumes

    task, raw = _made(volumes.decathlon), _made(volumes.nnunet)
    yield Sample("json", "json/decathlon", task, "dataset.json")
    label = min(name for name in task if name.startswith("labelsTr/"))
    yield Sample("nifti", "nifti/decathlon", task, label, packed="gzip")
    yield Sample("json", "json/nnunet", raw, "dataset.json")
    marks = _made(samples.luna)
    yield Sample("csv", "csv/luna", marks, "annotations.csv")
    lists = _made(records.tfrecords)
    for packed in (None, "record"):
        name = f"tfrecord/{packed or 'whole'}"
        yield Sample("tfrecord", name, lists, "train.tfrecord", packed=packed)
    yield Sample("tfrecord", "tfrecord/map", lists, "features.yaml")
    note = (
        b"<annotation><size><width>30</width><height>40</height><depth>1</depth></size>"
        b"<object><name>cell</name><difficult>0</difficult><bndbox><xmin>2</xmin><ymin>3</ymin>"
        b"<xmax>9</xmax><ymax>8</ymax></bndbox></object></annotation>"
    )
    voc = {f"JPEGImages/{n}.png": pictures[f"images/{n}.png"] for n in "ab"}
    voc |= {f"Annotations/{n}.xml": note for n in "ab"}
    yield Sample("xml", "xml/voc", voc, "Annotations/a.xml")
    table = "path,label,patient,split\nimages/a.png,1,p,train\nimages/b.png,0,q,val\n"
    yield Sample("csv", "csv/table", pictures | {"t.csv": table.encode()}, "t.csv", "t.csv")


def _made(builder: Callable[[Path], object]) -> Files:
    """The files that a builder of the tests writes into a folder."""
    with TemporaryDirectory() as folder:
        builder(Path(folder))
        found = sorted(path for path in Path(folder).rglob("*") if path.is_file())
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def _npz() -> Iterator[Sample]:
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer, train_images=_noise((4, 28, 28), "u1"), train_labels=np.array([[0], [1], [1], [0]])
    )
    data = buffer.getvalue()
    yield Sample("npz", "npz/packed", {"set.npz": data}, "set.npz", "set.npz")
    yield Sample("npz", "npz/inside", {"set.npz": data}, "set.npz", "set.npz", packed="zip")


def _archives() -> Iterator[Sample]:
    series = _series()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in series.items():
            archive.writestr(name, data)
    rolled = io.BytesIO()
    with tarfile.open(fileobj=rolled, mode="w:gz") as tar:
        for name, data in series.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    for file, data, inside in (
        ("all.zip", packed.getvalue(), "zip"),
        ("all.tar.gz", rolled.getvalue(), "gzip"),
    ):
        yield Sample("archive", f"archive/{file}", {file: data}, file, file)
        yield Sample("archive", f"archive/{file}, inside", {file: data}, file, file, packed=inside)


def unpacked(data: bytes, how: str | None) -> tuple[bytes, Callable[[bytes], bytes]]:
    """The content to damage, and how it is packed again.

    Of a zip archive, the content is that of one member; it is packed again with right checksums.
    """
    if how == "gzip":
        return gzip.decompress(data), lambda inner: gzip.compress(inner, 1)
    if how == "record":
        from data_adapters.layouts.record_file import frame

        end = 16 + int.from_bytes(data[:8], "little")
        return data[12 : end - 4], lambda inner: frame(inner) + data[end:]
    if how == "zip":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        name = sorted(members)[0]

        def again(inner: bytes) -> bytes:
            buffer = io.BytesIO()
            with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
                for each, content in members.items():
                    archive.writestr(each, inner if each == name else content)
            return buffer.getvalue()

        return members[name], again
    return data, lambda inner: inner
