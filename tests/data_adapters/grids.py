"""Geometries that hypothesis makes: oblique, flipped, tilted, uneven."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from data_adapters.case import Geometry
from data_adapters.geometry import triple

SPACINGS = st.floats(0.2, 6.0)
PLACES = st.floats(-400.0, 400.0)


@st.composite
def regular(draw: st.DrawFn) -> Geometry:
    """A regular volume's geometry: any spacing, place and turn, mirrored or not."""
    axes = Rotation.random(rng=np.random.default_rng(draw(st.integers(0, 2**31)))).as_matrix()
    if draw(st.booleans()):
        axes = np.round(axes)  # near the axes of the patient
        axes = axes if np.array_equal(axes @ axes.T, np.eye(3)) else np.eye(3)
    if draw(st.booleans()):
        axes = axes * [[-1.0], [1.0], [1.0]]
    return Geometry(
        tuple(draw(SPACINGS) for _ in range(3)),
        triple([draw(PLACES) for _ in range(3)]),
        tuple(triple(axis) for axis in axes),
    )


@st.composite
def irregular(draw: st.DrawFn, *, slices: int | None = None) -> Geometry:
    """A stack whose slices are tilted against the normal, uneven, or both."""
    base = draw(regular())
    count = slices or draw(st.integers(2, 9))
    steps = [draw(st.floats(0.3, 5.0)) for _ in range(count - 1)]
    tilt = draw(st.floats(-0.6, 0.6))
    axes = np.asarray(base.direction)
    heights = np.concatenate([[0.0], np.cumsum(steps)])
    places = np.asarray(base.origin) + heights[:, None] * (axes[0] + tilt * axes[1])
    return Geometry(
        (float(np.median(steps)), *base.spacing[1:]),
        base.origin,
        base.direction,
        tuple(triple(place) for place in places),
    )
