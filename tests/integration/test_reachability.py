"""How far a host can be reached, layer by layer, over real sockets: straight and through a proxy."""

from __future__ import annotations

import gc
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.snowflake import Snowflake, dead_ends
from sandbox.snowflake.tls import Certificates
from spcs_llm.control.diagnosis.diagnosis import diagnose
from spcs_llm.control.diagnosis.finding import FAILED, OK, WARNING, Finding
from spcs_llm.errors import NetworkError, TlsError
from spcs_llm.http import reachability
from spcs_llm.http.reachability import Addresses, connect, look_up, shake_hands, versions
from spcs_llm.http.transport import Transport
from spcs_llm.urls import parse_base_url
from tests.integration.arena import Arena
from tests.integration.raw_server import Proxy, RawServer, reply

# Before Python 3.10, http.client leaves the answer of a proxy that refuses a tunnel to the garbage collector.
pytestmark = pytest.mark.filterwarnings(r"ignore:.*socket.socket \[closed\]")
PROXIES = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")


@pytest.fixture
def arena(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Arena]:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    made = Arena(monkeypatch, tmp_path)
    made.undo.callback(gc.collect)
    with made.undo:
        yield made


def test_a_host_is_resolved_connected_and_its_certificate_accepted(arena: Arena) -> None:
    arena.trust()
    transport = arena.transport(arena.serve(reply(), tls=arena.certificate()))
    found = look_up(transport)
    assert (found.count, found.loopback, found.private, found.of_proxy) == (1, 1, 0, False)
    assert 0 <= connect(transport, 5) < 5
    tls = shake_hands(transport, 5)
    assert tls.version == "TLSv1.3"
    assert "trustme" in tls.issuer
    assert tls.days_left is not None
    assert tls.days_left > 1


def test_through_a_proxy_its_name_is_resolved_and_the_hosts_certificate_is_seen(arena: Arena) -> None:
    arena.trust()
    url = arena.serve(reply(), tls=arena.certificate())
    proxy = arena.undo.enter_context(Proxy())
    arena.environment.setenv("HTTPS_PROXY", proxy.url)
    transport = arena.transport(url)
    assert look_up(transport).of_proxy
    assert connect(transport, 5) < 5
    assert "trustme" in shake_hands(transport, 5).issuer
    assert arena.server is not None
    assert [line.rpartition(" ")[0] for line in proxy.asked] == [f"CONNECT {arena.server.address}"]


@pytest.mark.parametrize(("status", "hint"), [(407, "HTTPS_PROXY"), (403, "NO_PROXY"), (502, "NO_PROXY")])
def test_a_proxy_that_refuses_is_named_at_the_handshake(arena: Arena, status: int, hint: str) -> None:
    proxy = arena.undo.enter_context(RawServer(reply(status, b""), reply(status, b"")))
    arena.environment.setenv("HTTPS_PROXY", proxy.url)
    transport = arena.transport("https://abc-o-a.snowflakecomputing.app")
    assert connect(transport, 5) < 5
    with pytest.raises(NetworkError) as raised:
        shake_hands(transport, 5)
    assert str(status) in raised.value.message
    assert hint in raised.value.hint


def test_a_proxy_that_is_not_there_is_named_at_the_connection(arena: Arena) -> None:
    with dead_ends.refused() as address:
        arena.environment.setenv("HTTPS_PROXY", f"http://user:password-canary@{address}")
        transport = arena.transport("https://abc-o-a.snowflakecomputing.app")
        with pytest.raises(NetworkError, match="proxy cannot be used") as raised:
            connect(transport, 5)
    assert "HTTPS_PROXY" in raised.value.hint
    assert "password-canary" not in str(raised.value)


def test_a_proxy_without_a_name_server_is_named_at_the_look_up(arena: Arena) -> None:
    arena.environment.setenv("HTTPS_PROXY", "http://no-such-proxy.invalid:3128")
    with pytest.raises(NetworkError, match="proxy cannot be used"):
        look_up(arena.transport("https://abc-o-a.snowflakecomputing.app"))


def test_a_name_that_does_not_exist_is_an_error_of_the_look_up(arena: Arena) -> None:
    with pytest.raises(NetworkError, match="cannot be resolved"):
        look_up(arena.transport("https://no-such-host.invalid"))


def test_an_authority_that_is_not_known_is_an_error_of_the_handshake(arena: Arena) -> None:
    transport = arena.transport(arena.serve(reply(), tls=arena.certificate()))
    assert connect(transport, 5) < 5
    with pytest.raises(TlsError, match="not trusted"):
        shake_hands(transport, 5)


def test_addresses_are_counted_by_kind(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = ["10.0.0.8", "10.0.0.8", "52.1.2.3", "::1", "fd00::1%eth0"]

    def resolved(*args: Any, **options: Any) -> list[Any]:
        return [(0, 0, 0, "", (answer, 443)) for answer in answers]

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    found = look_up(Transport(parse_base_url("https://abc.privatelink.snowflake.app")))
    assert found == Addresses(count=4, private=2, loopback=1, version_6=2, of_proxy=False)


def test_the_versions_of_what_sends_requests_are_told() -> None:
    assert set(versions()) == {"requests", "urllib3", "openssl"}


# -- in the diagnosis ---------------------------------------------------------------------------------------


def by_step(config: dict[str, Any], seconds: float = 60.0) -> dict[str, Finding]:
    return {found.step: found for found in diagnose(config, seconds=seconds).findings}


@pytest.mark.exhaustive
def test_a_diagnosis_goes_through_the_proxy_as_queries_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arena: Arena
) -> None:
    certificates = Certificates(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificates.ca_file))
    proxy = arena.undo.enter_context(Proxy())
    with Snowflake(tls=certificates.context("good")) as snowflake:
        service = snowflake.create_service("chat", "scripted", "OPENAI")
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        found = by_step(
            {
                "oauth": {"snowflake_oauth": snowflake.issue_oauth_token()},
                "snowflakeAccountUrl": snowflake.account_url,
                "llmEndpointUrl": service.url,
                "serviceProtocol": "AUTOMATIC",
            }
        )
    assert found["Query"].result == OK, found["TLS (account)"]
    assert "proxy" in found["DNS (endpoint)"].seen
    assert found["TCP (endpoint)"].seen.startswith("The proxy takes connections")


def test_a_proxy_that_cannot_be_used_is_named_by_the_network(arena: Arena) -> None:
    arena.environment.setenv("HTTPS_PROXY", "http://")
    found = by_step(
        {
            "authenticationMode": "PROGRAMMATIC_ACCESS_TOKEN",
            "programmaticAccessToken": {"token": "abc"},
            "llmEndpointUrl": "https://abc-o-a.snowflakecomputing.app",
        }
    )
    failed = next(each for each in found.values() if each.result == FAILED)
    assert failed.step == "DNS (endpoint)"
    assert "HTTPS_PROXY" in failed.hint


@pytest.mark.parametrize(
    ("found", "result", "words"),
    [
        (Addresses(1, 1, 0, 0, of_proxy=False), OK, "1 private"),
        (Addresses(1, 0, 0, 0, of_proxy=False), WARNING, "1 address"),
    ],
)
def test_a_host_of_private_link_must_have_private_addresses(
    monkeypatch: pytest.MonkeyPatch, found: Addresses, result: str, words: str
) -> None:
    monkeypatch.setattr("spcs_llm.control.diagnosis.network_steps.look_up", lambda transport: found)
    monkeypatch.setattr(reachability, "connect", lambda *args: 0.0)
    findings = by_step(
        {
            "authenticationMode": "PROGRAMMATIC_ACCESS_TOKEN",
            "programmaticAccessToken": {"token": "abc"},
            "llmEndpointUrl": "https://abc.org-acct.eu-west-1.aws.privatelink.snowflake.app",
        },
        seconds=3.0,
    )
    dns = findings["DNS (endpoint)"]
    assert (dns.result, words in dns.seen) == (result, True)
    assert result == OK or "SYSTEM$GET_PRIVATELINK_CONFIG" in dns.hint
    assert "over private link" in findings["Host names"].seen
