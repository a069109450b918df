"""Record the PyTorch files that ``tests/zoo/test_unpickle_networks.py`` reads; needs torch.

Run from the root of the project: ``python -m tests.zoo.record.torch_checkpoints``.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

GOLDEN = Path(__file__).parents[1] / "golden"


class Block(nn.Module):
    """A convolution used twice, a buffer that is saved, one that is not, one that is None."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3)
        self.norm = nn.BatchNorm2d(3)
        self.again = self.conv
        self.register_buffer("kept", torch.arange(3.0))
        self.register_buffer("gone", torch.zeros(5), persistent=False)
        self.register_buffer("absent", None)


def main() -> None:
    """Write the files beside those of the flat state dicts."""
    torch.manual_seed(0)
    network = nn.Sequential(Block(), nn.Sequential(nn.ReLU(), nn.Linear(3, 2)))
    values = {name: value.numpy().copy() for name, value in network.state_dict().items()}
    np.savez(GOLDEN / "torch_network.npz", **values)
    torch.save(network, GOLDEN / "torch_network_zip.pt")
    # The legacy format keeps the source text of every class; that of PyTorch stays at home.
    text = (["class SomeModule(Module):\n", "    pass\n"], 1, "module.py")
    with (
        warnings.catch_warnings(action="ignore"),
        mock.patch("torch.serialization.get_source_lines_and_file", return_value=text),
        (GOLDEN / "torch_network_legacy.pt").open("wb") as file,
    ):
        torch.save(nn.DataParallel(network), file, _use_new_zipfile_serialization=False)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    sum(value.sum() for value in network.parameters()).backward()
    optimizer.step()
    nested = {
        "epoch": 3,
        "arch": "block",
        "state_dict": {f"module.{name}": torch.tensor(value) for name, value in values.items()},
        "optimizer": optimizer.state_dict(),
        "best": np.float64(0.5),
        "args": argparse.Namespace(lr=0.1, device=torch.device("cpu"), out=Path("runs")),
    }
    torch.save(nested, GOLDEN / "torch_nested.pth")
    half = {name: torch.tensor(value).bfloat16() for name, value in values.items()}
    torch.save({"model": half}, GOLDEN / "torch_bfloat16.pth")
    single = {name: value.clone() for name, value in half.items()}
    save_file(single, GOLDEN / "torch_bfloat16.safetensors")


if __name__ == "__main__":
    main()
