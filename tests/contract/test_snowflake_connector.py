"""The real Snowflake connector, a client that nobody here wrote, lives on the sandbox's account."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from sandbox.snowflake import Snowflake
from sandbox.snowflake.snowflake import PublicEndpoint

connector = pytest.importorskip("snowflake.connector")

pytestmark = [
    # Version 5 announces its own future in warnings.
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

VERSION = tuple(int(part) for part in connector.__version__.split(".")[:2])


def refusal(code: str, sentence: str) -> str:
    """What a connector quotes of a refused sign-in: before version 4, the sentence without its code."""
    return code if VERSION >= (4, 0) else sentence


@pytest.fixture
def sf() -> Iterator[Snowflake]:
    with Snowflake() as snowflake:
        yield snowflake


def connect(sf: Snowflake, **changes: Any) -> Any:
    port = int(sf.account_url.rsplit(":", 1)[1])
    settings = {
        "account": "MYORG-MYACCT",
        "host": "127.0.0.1",
        "port": port,
        "protocol": "http",
        "user": "ALICE",
        "authenticator": "oauth",
        **changes,
    }
    return connector.connect(**settings)


def call(chat: PublicEndpoint, token: str | None) -> requests.Response:
    headers = {"Authorization": f'Snowflake Token="{token}"'}
    body = {"data": [[0, {"inputs": "hi"}]]}
    return requests.post(chat.url + "/predict", json=body, headers=headers, timeout=30)


def test_the_connector_logs_in_queries_is_renewed_and_logs_out(sf: Snowflake) -> None:
    connection = connect(sf, token=sf.issue_oauth_token())
    cursor = connection.cursor()
    assert cursor.execute("select 1").fetchall() == [(1,)]
    sf.world.expire_all("session")
    assert cursor.execute("select 1").fetchall() == [(1,)]
    connection.close()
    counts = sf.counters["account"]
    assert (counts["login"], counts["renew"], counts["logout"]) == (1, 1, 1)


def test_the_connector_reads_the_refusal_of_a_token(sf: Snowflake) -> None:
    with pytest.raises(connector.errors.DatabaseError, match=refusal("390303", "Invalid OAuth access token")):
        connect(sf, token="nonsense")


def test_the_connector_gives_up_when_the_master_token_has_expired(sf: Snowflake) -> None:
    connection = connect(sf, token=sf.issue_oauth_token())
    sf.world.expire_all("session")
    sf.world.expire_all("master")
    with pytest.raises(connector.errors.Error, match="390114"):
        connection.cursor().execute("select 1")
    connection.close()


def test_the_connector_logs_in_with_a_key_pair(sf: Snowflake) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    sf.register_public_key("ALICE", key.public_key().public_bytes(serialization.Encoding.PEM, form))
    private = key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    connect(sf, authenticator="snowflake_jwt", private_key=private).close()
    assert sf.counters["account"]["login"] == 1


@pytest.mark.skipif(VERSION < (4, 0), reason="version 3.12 takes one only in place of the password")
def test_the_connector_logs_in_with_a_pat(sf: Snowflake) -> None:
    connect(sf, authenticator="PROGRAMMATIC_ACCESS_TOKEN", token=sf.create_pat()).close()
    assert sf.counters["account"]["login"] == 1


def test_the_connector_logs_in_with_a_pat_in_place_of_the_password(sf: Snowflake) -> None:
    sf.world.add_user("BOB", "OTHER", password="secret")
    password = {"authenticator": "snowflake", "user": "bob"}
    connect(sf, **password, password="secret").close()
    connect(sf, **password, password=sf.create_pat("BOB")).close()
    assert sf.counters["account"]["login"] == 2
    revoked = sf.create_pat("BOB")
    sf.world.revoke(revoked)
    wrong = refusal("390100", "Incorrect username or password")
    for refused, told in (
        (sf.create_pat("ALICE"), wrong),
        (revoked, refusal("394400", "Programmatic access token is invalid")),
        ("nonsense", wrong),
    ):
        with pytest.raises(connector.errors.DatabaseError, match=told):
            connect(sf, **password, password=refused)


def test_the_connector_is_told_of_a_statement_that_does_not_compile(sf: Snowflake) -> None:
    connection = connect(sf, token=sf.issue_oauth_token())
    with pytest.raises(connector.errors.ProgrammingError, match="unexpected 'selct'") as refused:
        connection.cursor().execute("selct 1")
    assert (refused.value.errno, refused.value.sqlstate) == (1003, "42000")
    connection.close()


def test_a_connectors_session_makes_the_ingress_fail_until_results_come_as_json(sf: Snowflake) -> None:
    chat = sf.create_service("chat")
    connection = connect(sf, token=sf.issue_oauth_token())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        token = connection.rest.token
    assert call(chat, token).status_code == 500
    connection.cursor().execute("alter session set python_connector_query_result_format = 'json'")
    assert call(chat, token).status_code == 200
    connection.close()
