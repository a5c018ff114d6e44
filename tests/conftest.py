"""What holds for every test, in whatever environment it runs."""

from __future__ import annotations

import contextlib
import gc
import random
import sys
from collections.abc import Iterator

import pytest

from sandbox.loopback import bypass_proxies

# The servers under test listen on loopback; a developer's proxy does not know it.
bypass_proxies()

with contextlib.suppress(ImportError):  # the environment for the model registry has no Hypothesis
    from hypothesis import settings

    # A slow machine is no failure. What is found at random belongs into `make soak`: here, a run can be repeated.
    settings.register_profile("repeatable", deadline=None, derandomize=True)
    settings.register_profile("random", deadline=None)
    settings.load_profile("repeatable")

# Some compute for many seconds, and on a machine with other work that takes many times as long.
_SECONDS_OF_WHAT_TAKES_LONG = 600


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--random-order", type=int, metavar="SEED", help="the modules, and their tests, in any order"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests that take long are started first, so that no worker is left with one at the end."""
    _leave_a_sample(items)
    for item in items:
        if item.get_closest_marker("exhaustive") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(_SECONDS_OF_WHAT_TAKES_LONG))
    seed = config.getoption("--random-order")
    if seed is not None:
        random.Random(seed).shuffle(items)
        modules = {path: place for place, path in enumerate(dict.fromkeys(item.path for item in items))}
        items.sort(key=lambda item: modules[item.path])  # what the tests of a module share is made once
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


def _leave_a_sample(items: list[pytest.Item]) -> None:
    """Marks as exhaustive all cases of a test but the `n` of its `sample(n)`, which are spread over them evenly."""
    cases: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("sample"):
            cases.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for of_one_test in cases.values():
        (wanted,) = of_one_test[0].get_closest_marker("sample").args
        sample = {place * len(of_one_test) // wanted for place in range(wanted)}
        for place, item in enumerate(of_one_test):
            if place not in sample:
                item.add_marker("exhaustive")


def pytest_collection_finish() -> None:
    """What was collected lives until the end: no search for the garbage of a test has to go through it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def forgotten_credentials() -> Iterator[None]:
    """What a process has sent is masked in its errors for good: no test may meet the credentials of another."""
    yield
    redaction = sys.modules.get("spcs_llm.server_text.redaction")
    if redaction is not None:
        redaction.SENT_SECRETS.__init__()
