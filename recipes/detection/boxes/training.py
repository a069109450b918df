"""Training of a detector of boxes on the patches that segmentation trains on."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from data_adapters.patches import PatchStream
from recipes.detection.boxes.targets import box_targets, lesion_boxes
from recipes.detection.boxes.windows import Windows
from recipes.detection.config import BoxConfig
from recipes.evaluation.froc.matching import Candidates, Findings
from recipes.evaluation.froc.precision import average_precision, detections
from recipes.segmentation.data import image_of
from recipes.segmentation.networks import make_optimizer, weights_by_name
from recipes.segmentation.train import Trainer
from zoo.boxes import box_places, create_box_detector
from zoo.losses import BoxLoss

FLOOR = 0.02
"""Least score of what is validated."""
MOST = 100
"""Boxes of a case and class that are validated."""
OVERLAP = 0.1
"""IoU at which a box is right in validation."""


class BoxTrainer(Trainer):
    """Trains a detector of boxes; validated by its average precision on whole cases."""

    monitor = "val_ap"

    def __init__(self, *args: Any, boxes: BoxConfig, core: float, **more: Any) -> None:
        """Keep what every member shares.

        Args:
            *args: As of `Trainer`.
            boxes: Settings of the detector.
            core: Part of a lesion's half axes that is painted in the store's masks.
            **more: As of `Trainer`.
        """
        super().__init__(*args, **more)
        self.boxes, self.core = boxes, core
        self.names = self.plan.classes[1:]
        self._lesions: dict[int, Any] = {}

    def validate(self, main: keras.Model) -> dict[str, float]:
        """Average precision of whole validation cases at an IoU of 0.1, the mean of the classes."""
        windows = self.windows(main)
        rows = self.prepared.rows("val")
        found, lesions = [], []
        for row in rows:
            image = image_of(self.prepared.store, row)
            found.append(windows.find(image, floor=FLOOR, most=MOST))
            if row not in self._lesions:
                mask = self._mask(row)
                self._lesions[row] = lesion_boxes(mask, len(self.names), core=self.core)
            lesions.append(self._lesions[row])
        values = {}
        for k, name in enumerate(self.names):
            truth = [boxes[labels == k] for labels, boxes in lesions]
            marks = [one[one.labels == k] for one in found]
            matched = detections(
                len(rows),
                _findings(truth),
                _candidates([m.boxes for m in marks], [m.scores for m in marks]),
                iou=OVERLAP,
            )
            value = average_precision(matched, n_boot=1)["value"]
            values[f"val_ap_{name}"] = 0.0 if value is None else value
        return {"val_ap": float(np.mean(list(values.values()))), **values}

    def windows(self, main: keras.Model) -> Windows:
        """The network over whole cases."""
        return Windows(
            main,
            len(self.names),
            overlap=self.boxes.overlap,
            iou=self.boxes.iou,
            whole=self.config.evaluate.mode == "auto",
        )

    def _build(self) -> keras.Model:
        network = self.plan.network
        assert network.backbone is not None, "the plan of a detector of boxes has a backbone"
        return create_box_detector(
            network.backbone,
            input_shape=(*self.plan.patch, self.plan.channels),
            classes=len(self.names),
            levels=self.boxes.levels,
            width=self.boxes.width,
            weights=None if network.weights in (None, "none") else network.weights,
            dims=self.plan.axes,
            input_range=network.input_range,
        )

    def _compile(self, model: keras.Model, steps: int) -> None:
        optimizer = make_optimizer(model, self.plan, self.config.train, steps=steps)
        model.compile(
            optimizer=optimizer,
            loss=BoxLoss(
                len(self.names), class_weights=weights_by_name(self.config.train, self.names)
            ),
            jit_compile=bool(self.devices.jit_compile),
            auto_scale_loss=False,
        )

    def _whole(self, model: keras.Model, stream: PatchStream) -> Any:
        return lambda: model

    def _warm(self, main: keras.Model, row: int) -> None:
        self.windows(main).find(image_of(self.prepared.store, row), floor=FLOOR, most=MOST)

    def _batches(self, model: keras.Model, stream: PatchStream, epoch: int) -> Any:
        import tensorflow as tf

        places, strides = box_places(model)
        shape = (None, len(places), model.output_shape[-1] + 1)
        classes, core = len(self.names), self.core

        def targets(mask: Any) -> Any:
            return box_targets(mask, places, strides, classes=classes, core=core)

        def learnt(image: Any, mask: Any) -> tuple[Any, Any]:
            found = tf.numpy_function(targets, [mask], tf.float32, stateful=False)
            return image, tf.ensure_shape(found, shape)

        return stream.epoch(epoch).map(learnt)


def _findings(boxes: list[Any]) -> Findings:
    every = np.concatenate(boxes)
    scan = np.repeat(np.arange(len(boxes)), [len(one) for one in boxes])
    return Findings(scan=scan, centre=_middles(every), radius=np.ones(len(every)), box=every)


def _candidates(boxes: list[Any], scores: list[Any]) -> Candidates:
    every = np.concatenate(boxes)
    scan = np.repeat(np.arange(len(boxes)), [len(one) for one in boxes])
    return Candidates(scan=scan, centre=_middles(every), score=np.concatenate(scores), box=every)


def _middles(boxes: Any) -> Any:
    axes = boxes.shape[1] // 2
    return (boxes[:, :axes] + boxes[:, axes:]) / 2
