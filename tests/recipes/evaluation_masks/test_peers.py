"""Both definitions beside the installed peers, on fresh masks; skips where they are missing."""

from __future__ import annotations

import numpy as np
import pytest

from recipes.evaluation.masks import ScoreOptions, score_case, surface_distances
from tests.recipes.evaluation_masks.shapes import pair


@pytest.mark.parametrize("seed", range(100, 112))
def test_monai_and_deepmind_agree(seed: int) -> None:
    pytest.importorskip("monai")
    pytest.importorskip("surface_distance")
    from tests.recipes.evaluation_masks.record.surface_peers import by_deepmind, by_monai

    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(6, 30, 2 + seed % 2))
    spacing = tuple(float(s) for s in rng.uniform(0.3, 4, len(shape)))
    tolerance = float(rng.choice([1.0, spacing[0], 2 * spacing[-1]]))
    truth, guess = pair(seed, shape)
    ours = surface_distances(truth, guess, spacing=spacing)
    theirs = by_monai(truth, guess, spacing, tolerance)
    found = [ours.hausdorff(), ours.hausdorff(100), ours.average(), ours.surface_dice(tolerance)]
    wanted = [theirs[key] for key in ("hd95", "hd100", "assd", "nsd")]
    assert found == pytest.approx(wanted, rel=1e-6)
    ours = surface_distances(truth, guess, spacing=spacing, definition="deepmind")
    exact = by_deepmind(truth, guess, spacing, tolerance)
    found = [ours.hausdorff(), *ours.directed_averages(), ours.surface_dice(tolerance)]
    assert found == pytest.approx([exact["hd95"], *exact["averages"], exact["nsd"]], rel=1e-9)


def test_void_is_monais_ignored_voxels() -> None:
    torch = pytest.importorskip("torch")
    metrics = pytest.importorskip("monai.metrics")

    truth, guess = (mask.astype(np.int16) for mask in pair(9, (14, 15, 13)))
    truth[:, :5, 4:] = -1
    options = ScoreOptions(tolerance=1.5)
    names, spacing = ("background", "a"), (2.0, 1.0, 0.7)
    ours = score_case(truth, guess, class_names=names, spacing=spacing, options=options)
    # One-hot, all channels 0 where unknown, which is what `ignore_index=-1` then leaves out.
    y = torch.from_numpy(np.stack([truth == 0, truth == 1])[None]).float()
    p = torch.from_numpy(np.stack([guess == 0, guess == 1])[None]).float()
    more = {"spacing": spacing, "ignore_index": -1}
    assd = metrics.SurfaceDistanceMetric(symmetric=True, ignore_index=-1)(p, y, spacing=spacing)
    nsd = metrics.compute_surface_dice(p, y, [1.5], **more)
    assert ours.figures["a"]["assd"] == pytest.approx(float(assd), rel=1e-6)
    assert ours.figures["a"]["nsd"] == pytest.approx(float(nsd), rel=1e-6)
