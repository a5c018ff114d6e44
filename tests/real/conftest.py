"""What the tests of real servers share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sandbox.instance import Instance


@pytest.fixture(scope="module")
def instance() -> Iterator[Instance]:
    """A DSS with the plugin, and an account, for the tests of a module."""
    with Instance() as made:
        yield made
        assert not made.dss.violations
