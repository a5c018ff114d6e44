"""DSS with the plugin and a Snowflake account, for tests of the whole path."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from sandbox.instance import Instance


@pytest.fixture
def instance() -> Iterator[Instance]:
    """Every test ends with no breach of DSS's contract."""
    # Here, as other tests of this folder do without the sandbox's packages.
    from sandbox.instance import Instance

    with Instance() as made:
        yield made
        assert not made.dss.violations
