"""A small data set of TFDS, built on disk for the tests of its reader."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

CONFIGS = ("classes", "boxes", "masks", "several")
BOXES = ((0.1, 0.2, 0.5, 0.6), (0.5, 0.5, 1.0, 1.0))


def picture(seed: int) -> np.ndarray:
    """(20, 30, 3) of record `seed`."""
    return np.random.default_rng(seed).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def mask(seed: int) -> np.ndarray:
    return np.random.default_rng(seed + 99).integers(0, 3, (20, 30, 1), dtype=np.uint8)


def truth(config: str, i: int) -> dict[str, Any]:
    """What record `i` of a configuration holds beside its picture."""
    if config == "classes":
        return {"label": i % 2, "who": f"person {i // 2}"}
    if config == "several":
        return {"labels": [[0, 2], [], [1]][i % 3]}
    if config == "masks":
        return {"segmentation_mask": mask(i)}
    bad = (0.4, 0.2, 0.4, 0.6)
    boxes = [*BOXES, bad] if i == 1 else list(BOXES)
    return {"objects": {"bbox": boxes, "label": list(range(len(boxes)))}, "labels": [0]}


@functools.cache
def built() -> Path:
    """Folder of the prepared data sets `cells/...`.

    Writing them loads TensorFlow, so they are kept in the system's folder of temporary files under
    a digest of what they depend on, and moved there whole.
    """
    made_by = Path(__file__).read_bytes() + version("tensorflow-datasets").encode()
    kept = Path(tempfile.gettempdir()) / f"radzoo-tfds-{hashlib.sha256(made_by).hexdigest()[:16]}"
    if kept.is_dir():
        return kept
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    folder = Path(tempfile.mkdtemp(prefix="radzoo-tfds-"))
    for config in CONFIGS:
        _builder(folder, config, "array_record").download_and_prepare()
    _builder(folder / "old", "classes", "tfrecord").download_and_prepare()
    try:
        folder.rename(kept)
    except OSError:  # another process was first
        shutil.rmtree(folder, ignore_errors=True)
    return kept


def tfds_copy(root: Path) -> None:
    """The prepared data sets, to be spoilt."""
    shutil.copytree(built() / "cells", root / "cells")


def _builder(folder: Path, config: str, file_format: str) -> Any:
    return _class()(data_dir=str(folder), config=config, file_format=file_format)


@functools.cache
def _class() -> Any:
    """The builder; TFDS registers a name once."""
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()
    parts = tfds.features
    kinds: dict[str, dict[str, Any]] = {
        "classes": {"label": parts.ClassLabel(names=["well", "ill"]), "who": parts.Text()},
        "several": {"labels": parts.Sequence(parts.ClassLabel(names=["a", "b", "c"]))},
        "masks": {
            "segmentation_mask": parts.LabeledImage(
                labels=["background", "core", "edge"], shape=(None, None, 1)
            )
        },
        "boxes": {
            "objects": parts.Sequence(
                {"bbox": parts.BBoxFeature(), "label": parts.ClassLabel(names=["x", "y", "z"])}
            ),
            "labels": parts.Sequence(parts.ClassLabel(names=["x", "y", "z"])),
        },
    }

    class Cells(tfds.core.GeneratorBasedBuilder):  # type: ignore[misc,name-defined]
        __module__ = "__main__"  # as in a script of the user's: TFDS looks for no package
        VERSION = tfds.core.Version("1.0.0")
        BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name) for name in CONFIGS]  # noqa: RUF012

        def _info(self) -> Any:
            config = self.builder_config.name
            image = parts.Image(shape=(None, None, 3))
            return tfds.core.DatasetInfo(
                builder=self,
                features=parts.FeaturesDict({"image": image, **kinds[config]}),
                supervised_keys=("image", "label") if config == "classes" else None,
            )

        def _split_generators(self, manager: Any) -> dict[str, Any]:
            return {
                "train": self._generate_examples(range(3)),
                "test": self._generate_examples(range(3, 5)),
            }

        def _generate_examples(self, numbers: range) -> Iterator[tuple[int, dict[str, Any]]]:
            for i in numbers:
                known = truth(self.builder_config.name, i)
                if "objects" in known:
                    several = known["objects"]
                    known["objects"] = [
                        {"bbox": parts.BBox(*box), "label": kind}
                        for box, kind in zip(several["bbox"], several["label"], strict=True)
                    ]
                yield i, {"image": picture(i), **known}

    return Cells
