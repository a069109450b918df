"""A backbone of a few thousand parameters for the tests of heads."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.zoo.tiny import registered


@pytest.fixture
def tiny() -> Iterator[str]:
    """Its name, registered for one test; strides 2 to 16, at its top 24 channels."""
    with registered() as spec:
        yield spec.name
