"""The process under attack."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

import pytest
import trustme

from tests.hostile.victim import Victim


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
