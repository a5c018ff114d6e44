"""DSS with the plugin and a Snowflake account, for tests of the whole path."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from sandbox.instance import Instance


@pytest.fixture
def short_back_offs(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Makes connections that are opened from now on retry as often as ever, but after a few milliseconds.

    To be called once the plugin is loaded: the sandbox imports it anew for every instance of DSS.
    """

    def shorten() -> None:
        connections = importlib.import_module("spcs_llm.connections")
        short = functools.partial(connections.RetryPolicy, first_delay=0.01, cold_first_delay=0.02)
        monkeypatch.setattr(connections, "RetryPolicy", short)

    return shorten


@pytest.fixture
def instance() -> Iterator[Instance]:
    """Every test ends with no breach of DSS's contract."""
    # Here, as other tests of this folder do without the sandbox's packages.
    from sandbox.instance import Instance

    with Instance() as made:
        yield made
        assert not made.dss.violations
