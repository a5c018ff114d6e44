"""The process under attack, and the attacks that are known to succeed today."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.hostile.victim import Victim

KNOWN = Path(__file__).with_name("known_failures.txt")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--attack-all", action="store_true", help="tests/hostile: expect no failure, known or not")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A line of known_failures.txt is `file::test[attack]: what kind of fault it is`. A fault that is gone must go there, too."""
    if config.getoption("--attack-all", default=False):
        return
    known = dict(line.rsplit(": ", 1) for line in KNOWN.read_text().splitlines() if line and line[0] != "#")
    for item in items:
        if item.path.parent == KNOWN.parent:
            reason = known.get(f"{item.path.name}::{item.name}")
            if reason is not None:
                item.add_marker(pytest.mark.xfail(strict=True, reason=reason))


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    return context


@pytest.fixture(scope="session")
def victim(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    """One process for all attacks: each has a server of its own, and one that dies is replaced."""
    bundle = tmp_path_factory.mktemp("tls") / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    made = Victim(environment={"REQUESTS_CA_BUNDLE": str(bundle)})
    yield made
    made.stop()


def ids(value: Any) -> str | None:
    return getattr(value, "__name__", None) or getattr(value, "name", None)
