"""What model instances share, and what each has for itself: by groups of settings that are keys as they stand."""

from __future__ import annotations

import dataclasses
import gc
import logging
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from spcs_llm.connections import Connection, Connections
from spcs_llm.query_context import QueryContext
from spcs_llm.settings import (
    CredentialSettings,
    EndpointSettings,
    KeyPairSignIn,
    NoSignIn,
    OAuthSignIn,
    ProtocolSettings,
    Rate,
    Settings,
    SignIn,
    TokenSignIn,
)
from spcs_llm.snowflake.account import Session
from spcs_llm.urls import BaseUrl

ACCOUNT = BaseUrl("https", "o-a.snowflakecomputing.com")
ENDPOINT = EndpointSettings(BaseUrl("https", "abc-o-a.snowflakecomputing.app"))


def pem() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


KEYS = pem(), pem()
SIGN_INS: list[SignIn] = [
    OAuthSignIn("canary-1"),
    KeyPairSignIn("SVC", KEYS[0]),
    TokenSignIn("canary-2"),
    NoSignIn(),
]


def settings(
    sign_in: SignIn = SIGN_INS[2],
    endpoint: EndpointSettings = ENDPOINT,
    protocol: ProtocolSettings = ProtocolSettings(),  # noqa: B008 - frozen
    account: BaseUrl | None = ACCOUNT,
    **more: Any,
) -> Settings:
    return Settings(CredentialSettings(sign_in, account), endpoint, protocol, **more)


OTHER_VALUES: dict[str, Any] = {
    "url": BaseUrl("https", "abc-o-a.snowflakecomputing.app", path="/other"),
    "account": BaseUrl("https", "o-b.snowflakecomputing.com"),
    "private_key": KEYS[1],
    "name": "MODEL_SERVING",
    "handling_mode": "TEXT_GENERATION_CHATML",
    "chat_template": "{{ messages }}",
}


def changed(group: Any, field: dataclasses.Field[Any]) -> Any:
    """The same group with another value in one field."""
    value = getattr(group, field.name)
    if field.name in OTHER_VALUES:
        other = OTHER_VALUES[field.name]
    elif isinstance(value, bool):
        other = not value
    elif isinstance(value, float):
        other = value + 1
    else:
        assert value is None or isinstance(value, str), f"OTHER_VALUES needs one for {field.name}"
        other = f"{value}-and-more"
    assert other != value
    return dataclasses.replace(group, **{field.name: other})


def cases() -> list[Any]:
    groups: list[tuple[str, Any, Callable[[Any], Settings]]] = [
        *(("credential", sign_in, lambda group: settings(sign_in=group)) for sign_in in SIGN_INS),
        ("client", ENDPOINT, lambda group: settings(endpoint=group)),
        ("protocol", ProtocolSettings(), lambda group: settings(protocol=group)),
    ]
    return [
        pytest.param(part, group, field, build, id=f"{type(group).__name__}.{field.name}")
        for part, group, build in groups
        for field in dataclasses.fields(group)
        if field.compare
    ]


def part_of(connection: Connection, part: str) -> object:
    if part == "credential":
        return connection.client.credential
    return getattr(connection, part)


@pytest.mark.parametrize(("part", "group", "field", "build"), cases())
def test_models_whose_settings_differ_in_anything_do_not_share(
    part: str, group: Any, field: dataclasses.Field[Any], build: Callable[[Any], Settings]
) -> None:
    connections = Connections()
    one, again = connections.connect(build(group)), connections.connect(build(group))
    other = connections.connect(build(changed(group, field)))
    assert part_of(one, part) is part_of(again, part)
    assert part_of(one, part) is not part_of(other, part)


@pytest.mark.parametrize("group", [ENDPOINT, ProtocolSettings(), SIGN_INS[0]])
def test_a_setting_that_is_added_to_a_group_is_part_of_its_key(group: Any) -> None:
    grown = dataclasses.make_dataclass(
        "Grown", [("added", int, dataclasses.field(default=0))], bases=(type(group),), frozen=True
    )
    values = {field.name: getattr(group, field.name) for field in dataclasses.fields(group)}
    build: Any = {
        EndpointSettings: lambda group: settings(endpoint=group),
        ProtocolSettings: lambda group: settings(protocol=group),
        OAuthSignIn: lambda group: settings(sign_in=group),
    }[type(group)]
    connections = Connections()
    one, again, other = (connections.connect(build(grown(**values, added=added))) for added in (1, 1, 2))
    assert one.protocol is again.protocol
    assert one.protocol is not other.protocol


def test_only_what_dss_refreshes_a_token_by_is_no_part_of_a_key() -> None:
    groups = (CredentialSettings, EndpointSettings, ProtocolSettings, *map(type, SIGN_INS))
    ignored = [field for group in groups for field in dataclasses.fields(group) if not field.compare]
    assert [field.name for field in ignored] == ["credentials"]


def test_accounts_of_one_name_are_told_apart() -> None:
    connections = Connections()
    one = connections.connect(settings(sign_in=SIGN_INS[0]))
    other = connections.connect(settings(sign_in=SIGN_INS[0], account=OTHER_VALUES["account"]))
    assert one.client.credential is not other.client.credential


def test_what_is_not_in_a_group_is_each_models_own() -> None:
    connections = Connections()
    one = connections.connect(settings())
    other = connections.connect(settings(max_batch_size=7, query_timeout=5.0, rate=Rate(9.0, 9.0)))
    assert one == other


def test_users_of_one_endpoint_share_its_limit_and_nothing_of_their_sign_in() -> None:
    connections = Connections()
    alice = connections.connect(settings(TokenSignIn("alice"), max_parallelism=2))
    bob = connections.connect(settings(TokenSignIn("bob"), max_parallelism=5))
    assert alice.client.state is bob.client.state
    assert alice.client.state.limiter.limit == 5
    assert alice.batcher is not bob.batcher
    assert alice.protocol is not bob.protocol
    assert alice.credential_id != bob.credential_id


def test_a_session_is_good_for_every_endpoint_and_a_key_pairs_token_for_one() -> None:
    connections = Connections()
    elsewhere = EndpointSettings(BaseUrl("https", "def-o-a.snowflakecomputing.app"))
    for sign_in, shared in ((SIGN_INS[0], True), (SIGN_INS[1], False)):
        here, there = (connections.connect(settings(sign_in, endpoint)) for endpoint in (ENDPOINT, elsewhere))
        credential = here.client.credential
        assert credential is there.client.credential
        tokens = [credential.tokens_for(endpoint.url.netloc) for endpoint in (ENDPOINT, elsewhere)]
        assert (tokens[0] is tokens[1]) == shared


# -- lives --------------------------------------------------------------------------------------------------


def test_a_session_in_use_outlives_any_number_of_others() -> None:
    connections = Connections(kept=2)
    used = connections.connect(settings(OAuthSignIn("alice")))
    tokens = used.client.credential.tokens_for(ENDPOINT.url.netloc)
    for number in range(20):
        connections.connect(settings(OAuthSignIn(f"user {number}")))
    again = connections.connect(settings(OAuthSignIn("alice")))
    assert again == used
    assert again.client.credential.tokens_for(ENDPOINT.url.netloc) is tokens


def test_a_session_is_kept_for_the_users_next_model() -> None:
    connections = Connections()
    credential_id = connections.connect(settings(OAuthSignIn("alice"))).credential_id
    gc.collect()
    assert connections.connect(settings(OAuthSignIn("alice"))).credential_id == credential_id


def test_what_nobody_uses_any_more_goes_with_its_connections() -> None:
    connections = Connections(kept=1)
    connection = connections.connect(settings())
    state = weakref.ref(connection.client.state)
    client = weakref.ref(connection.client)
    other = EndpointSettings(BaseUrl("https", "def-o-a.snowflakecomputing.app"))
    connections.connect(settings(TokenSignIn("other"), other))
    gc.collect()
    assert state() is not None
    del connection
    gc.collect()
    assert client() is None
    assert state() is None


def test_an_endpoint_in_use_keeps_its_one_limit() -> None:
    connections = Connections(kept=1)
    used = connections.connect(settings())
    for number in range(5):
        url = BaseUrl("https", f"e{number}-o-a.snowflakecomputing.app")
        connections.connect(settings(endpoint=EndpointSettings(url)))
    assert connections.connect(settings(TokenSignIn("bob"))).client.state is used.client.state


# -- OAuth access tokens, which DSS refreshes ---------------------------------------------------------------


class Account:
    """Grants a session for each access token."""

    def __init__(self) -> None:
        self.logins: list[str] = []

    def login(self, access_token: str, context: QueryContext) -> Session:
        self.logins.append(access_token)
        return Session(f"session-of-{access_token}", 3600)


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Account:
    account = Account()
    monkeypatch.setattr("spcs_llm.connections.Account.at", lambda url, transport: account)
    return account


def header(connection: Connection) -> str:
    tokens = connection.client.credential.tokens_for(ENDPOINT.url.netloc)
    return tokens.headers(QueryContext(10))["Authorization"]


def test_an_access_token_that_a_session_has_signed_in_with_continues_it(account: Account) -> None:
    connections = Connections()
    tokens = {"alice": "token-2"}
    first = connections.connect(settings(OAuthSignIn("token-1", "alice")), lambda handle: tokens[handle])
    assert "session-of-token-2" in header(first), "DSS had refreshed the token by then"
    later = connections.connect(settings(OAuthSignIn("token-2", "alice")), lambda handle: tokens[handle])
    assert later == first
    assert header(later) == header(first)
    assert account.logins == ["token-2"]


def test_an_access_token_that_no_session_has_seen_is_a_credential_of_its_own(account: Account) -> None:
    connections = Connections()
    same_for_all = {"opaque": True}
    alice = connections.connect(settings(OAuthSignIn("alice", same_for_all)), lambda handle: "alice")
    assert "session-of-alice" in header(alice)
    bob = connections.connect(settings(OAuthSignIn("bob", same_for_all)), lambda handle: "bob")
    assert "session-of-bob" in header(bob)
    assert bob.credential_id != alice.credential_id


def test_without_a_token_at_hand_it_is_read_before_anything_is_shared(account: Account) -> None:
    connections = Connections()
    owners = {1: "alice", 2: "bob", 3: "alice"}

    class Handle:
        """All look alike."""

        def __init__(self, number: int) -> None:
            self.number = number

        def __repr__(self) -> str:
            return "<handle>"

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Handle)

        def __hash__(self) -> int:
            return 1

    alice, bob, alice_again = (
        connections.connect(settings(OAuthSignIn("", Handle(number))), lambda handle: owners[handle.number])
        for number in owners
    )
    assert ["session-of-alice" in header(one) for one in (alice, bob, alice_again)] == [True, False, True]
    assert "session-of-bob" in header(bob)
    assert alice == alice_again


def test_a_credential_whose_token_cannot_be_read_yet_is_shared_with_none(account: Account) -> None:
    connections = Connections()
    answers: list[Any] = []

    def refresh(handle: Any) -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    answers[:] = [OSError("DSS restarts"), OSError("DSS restarts")]
    one, other = (connections.connect(settings(OAuthSignIn("", "handle")), refresh) for _ in range(2))
    assert one.client.credential is not other.client.credential
    answers[:] = ["alice", "bob"]
    assert "session-of-alice" in header(one)
    assert "session-of-bob" in header(other)


# -- secrets ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sign_in", SIGN_INS, ids=lambda sign_in: type(sign_in).__name__)
def test_no_secret_shows_in_a_repr_or_in_the_log(
    sign_in: SignIn, account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    endpoint = dataclasses.replace(ENDPOINT, service_api_key="canary-key")
    with caplog.at_level(logging.DEBUG):
        made = settings(sign_in, endpoint, ProtocolSettings(chat_template="canary-template"))
        connections = Connections()
        connection = connections.connect(made)
        client = connection.client
        shown = [made, made.credential, made.endpoint, made.protocol, connection, client, client.credential]
        if isinstance(sign_in, OAuthSignIn):
            header(connection)
    text = "".join(map(repr, [*shown, *vars(connections).values()])) + caplog.text + connection.credential_id
    assert "canary" not in text
    assert "PRIVATE KEY" not in text
