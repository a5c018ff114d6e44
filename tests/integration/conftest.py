"""DSS with the plugin and a Snowflake account, for tests of the whole path."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sandbox.instance import Instance


@pytest.fixture
def instance() -> Iterator[Instance]:
    """Every test ends with no breach of DSS's contract."""
    with Instance() as made:
        yield made
        assert not made.dss.violations
