"""Pieces labelled slab by slab against scipy's labels of the whole mask."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from recipes.segmentation.inference.pieces import Pieces


@pytest.mark.parametrize("corners", [True, False])
@pytest.mark.parametrize("share", [0.08, 0.3, 0.6])
@pytest.mark.parametrize("shape", [(23, 14, 11), (40, 33), (1, 9, 7)])
def test_the_pieces_are_scipys_whatever_the_slab(
    shape: tuple[int, ...], share: float, corners: bool
) -> None:
    mask = np.random.default_rng(len(shape)).random(shape) < share
    structure = ndimage.generate_binary_structure(len(shape), len(shape) if corners else 1)
    wanted, count = ndimage.label(mask, structure)
    around = np.ones(shape, bool)
    around[(slice(1, -1),) * len(shape)] = False
    for slab in (1, 3 * int(np.prod(shape[1:])), 10**9):
        pieces = Pieces(lambda rows: mask[rows], shape, corners=corners, slab=slab)
        found = np.concatenate([labels for _, labels in pieces])
        assert np.array_equal(found, wanted)
        assert np.array_equal(pieces.sizes, np.bincount(wanted.ravel(), minlength=count + 1))
        touching = np.isin(np.arange(count + 1), [0, *wanted[around]])
        assert np.array_equal(pieces.enclosed, ~touching)


def test_a_mask_without_a_piece() -> None:
    pieces = Pieces(lambda rows: np.zeros((3, 4, 5), bool)[rows], (3, 4, 5), corners=True)
    assert pieces.sizes.tolist() == [60]
    assert pieces.enclosed.tolist() == [False]
    assert not any(labels.any() for _, labels in pieces)
