"""The fault table's rows that need the whole plugin: settings, logins, ingress and bodies, in the Snowflake sandbox.

Faults are armed once more than a retry would need, or once where one attempt is meant. Retries are as many as ever, but
soon.
"""

# ruff: noqa: E501 - a row is easier to compare with its neighbours than to read on its own
from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from sandbox.services.scripted import answer_to
from sandbox.snowflake import Snowflake
from spcs_llm.connections import Connections
from spcs_llm.errors import SpcsError
from spcs_llm.model import Model
from tests.waiting import FAR_TOO_LONG


@dataclass(frozen=True)
class Row:
    """arm: kinds of faults with their parameters. sees: the error's words, None for an answer. params: settings.

    asked: requests that the service got; logins: those that the account granted.
    """

    name: str
    arm: list[dict[str, Any]] = field(default_factory=list)
    sees: str | None = None
    place: str = "service"
    hint: str = ""
    params: dict[str, Any] = field(default_factory=dict)
    asked: int | None = None
    logins: int | None = None
    within: float = 2 * FAR_TOO_LONG


def at_login(kind: str, **params: Any) -> list[dict[str, Any]]:
    return [{"kind": kind, "where": "account", "on": "login", "times": None, **params}]


def code(number: str, **params: Any) -> list[dict[str, Any]]:
    return at_login("refuse", code=number, message=f"message of {number}", **params)


def once(kind: str, **params: Any) -> list[dict[str, Any]]:
    return [{"kind": kind, "where": "chat", "times": 1, **params}]


def always(kind: str, **params: Any) -> list[dict[str, Any]]:
    return [{"kind": kind, "where": "chat", "times": None, **params}]


CHECK_ACCOUNT = "'Snowflake account URL'"
SIGN_IN = "Profile > Credentials"
FAULTS = [
    Row("nothing", asked=1, logins=1),
    # logins
    Row("login: the access token is invalid", code("390303"), "390303", "login", SIGN_IN, asked=0),
    Row("login: the access token is over", code("390318"), "390318", "login", SIGN_IN, asked=0),
    Row("login: wrong credentials", code("390100"), "390100", "login", asked=0),
    Row("login: MFA is wanted", code("390127"), "390127", "login", "interactively", asked=0),
    Row("login: the role is not in the token", code("390317"), "390317", "login", "ALLOWED_ROLES_LIST", asked=0),
    Row("login: an unknown code", code("399999"), "399999", "login", "LOGIN_HISTORY", asked=0),
    Row("login: a number for a code", code(390303), "390303", "login", asked=0),  # type: ignore[arg-type]
    Row("login: 403", at_login("respond", status=403, body="Forbidden"), "403", "login", CHECK_ACCOUNT, asked=0),
    Row("login: 404", at_login("respond", status=404, body=""), "404", "login", CHECK_ACCOUNT, asked=0),
    Row("login: 513", at_login("respond", status=513, body=""), "513", "login", CHECK_ACCOUNT, asked=0),
    Row("login: a web page", at_login("html_200"), "account", "login", CHECK_ACCOUNT, asked=0),
    Row("login: an empty success", at_login("empty_200"), "account", "login", CHECK_ACCOUNT, asked=0),
    Row("login: half of the JSON", at_login("truncated_json"), "account", "login", CHECK_ACCOUNT, asked=0),
    Row("login: no token in it", at_login("rewrite_json", drop=["data.token"]), "token", "login", asked=0),
    Row("login: no data in it", at_login("rewrite_json", drop=["data"]), "", "login", asked=0),
    Row("login: a redirect elsewhere", at_login("redirect", status=302, to="elsewhere"), "", "login", asked=0),
    Row("login: 429, then granted", at_login("too_many_requests", retry_after="0", times=1), asked=1),
    Row("login: 503, then granted", at_login("respond", status=503, body="", times=1), asked=1),
    Row("login: reset, then granted", at_login("reset", times=1), asked=1),
    Row("login: no lives told", at_login("rewrite_json", drop=["data.validityInSeconds", "data.masterValidityInSeconds"]), asked=1),
    Row("login: lives of zero", at_login("rewrite_json", set={"data.validityInSeconds": 0}), asked=1),
    Row("login: no master token", at_login("rewrite_json", drop=["data.masterToken"]), asked=1),
    Row("login: lives as text", at_login("rewrite_json", set={"data.validityInSeconds": "3600"}), asked=1),
    # the ingress
    Row("ingress: the token is refused once", once("redirect"), asked=1, logins=2),
    Row("ingress: refused as 401 once", once("gateway_error", status=401), asked=1, logins=2),
    Row("ingress: hidden behind a 404 once", once("hidden_404"), asked=1, logins=2),
    Row("ingress: the token is refused for good", always("redirect"), "sign-in", "ingress", "GRANT SERVICE ROLE", asked=0, logins=2),
    Row("ingress: 401 for good", always("gateway_error", status=401), "401", "ingress", "", asked=0, logins=2),
    Row("ingress: 404 for good", always("hidden_404"), "404", "ingress", "'LLM endpoint URL'", asked=0, logins=2),
    Row("ingress: a network policy", always("network_policy"), "network policy", "ingress", "network_policy", asked=0, logins=1),
    Row("ingress: the host of a service that is gone", always("host_recreated"), "cannot find a service", "ingress", "SHOW ENDPOINTS", asked=0, logins=1),
    Row("ingress: access denied", always("access_denied"), "denies", "ingress", "GRANT SERVICE ROLE", asked=0, logins=1),
    Row("ingress: a redirect to another host", always("redirect", to="elsewhere", status=307), "sign-in", "ingress", asked=0),
    Row("ingress: starting, then there", once("no_hosts"), asked=1, logins=1),
    Row("ingress: loading, then there", once("model_loading"), asked=1),
    Row("ingress: connect error, then there", once("upstream_connect_error"), asked=1),
    Row("ingress: starting for longer than is waited", always("no_hosts"), "not reachable", "ingress", "Cold start wait", params={"coldStartWaitSeconds": 1}, asked=0),
    Row("ingress: starting, and no wait is wanted", always("no_hosts"), "not reachable", "ingress", params={"coldStartWaitSeconds": 0}, asked=0),
    Row("ingress: the gateway fails", always("arrow_500"), "500", "ingress", "status.snowflake.com", asked=0),
    Row("ingress: the gateway fails once", once("arrow_500"), asked=1),
    Row("ingress: the query's time ends while it starts", always("no_hosts"), "not reachable", "ingress", "Cold start wait", params={"queryTimeoutSeconds": 2}, asked=0),
    # the service
    Row("service: 429, then an answer", once("too_many_requests", retry_after="0.1"), asked=1),
    Row("service: 503, then an answer", once("respond", status=503, body="busy"), asked=1),
    Row("service: reset, then an answer", once("reset"), asked=1),
    Row("service: the reply is lost, then an answer", once("lost_reply"), asked=2),
    Row("service: 413", always("too_large"), "too large", "service", "Max batch size", asked=0),
    Row("service: 400", always("respond", status=400, json={"error": "Prediction failed: boom\nTraceback\nValueError: bad input"}), "bad input", "service", asked=0),
    Row("service: 500", always("respond", status=500, body="oops"), "500", "service", "SYSTEM$GET_SERVICE_LOGS", asked=0),
    Row("service: a web page", always("html_200"), "web page", "service", "'LLM endpoint URL'", asked=0),
    Row("service: silent", always("hang", seconds=60), "", "network", params={"requestTimeoutSeconds": 1, "queryTimeoutSeconds": 30}),
    Row("service: a trickle beyond the query's time", always("trickle_body", seconds=0.3), "time", "", params={"queryTimeoutSeconds": 2}),
    # bodies
    Row("body: empty", always("empty_200"), "empty", "service"),
    Row("body: half of the JSON", always("truncated_json"), "JSON", "service"),
    Row("body: no UTF-8", always("non_utf8"), "UTF-8", "service"),
    Row("body: a byte order mark", always("bom"), None),
    Row("body: without an end", always("huge_body", bytes=400_000_000), "larger", "model", within=4 * FAR_TOO_LONG),
    Row("body: a bomb", always("gzip_bomb", bytes=400_000_000), "larger", "model", within=4 * FAR_TOO_LONG),
    Row("body: no row", always("rows", how="none"), "no row", "model"),
    # settings
    Row("settings: no preset", params={"oauth": None}, sees="'OAuth credentials' is empty", place="settings", asked=0, logins=0),
    Row("settings: an inline preset", params={"oauth": {"snowflake_oauth": {"usePkce": True}}}, sees="select a preset", place="settings", asked=0, logins=0),
    Row("settings: a notice in place of the URL", params={"llmEndpointUrl": "Endpoints provisioning in progress"}, sees="provisioned", place="settings", asked=0, logins=0),
    Row("settings: plain http", params={"llmEndpointUrl": "http://abc-o-a.snowflakecomputing.app"}, sees="https://", place="settings", asked=0, logins=0),
    Row("settings: the account's URL for the endpoint's", params={"llmEndpointUrl": "o-a.snowflakecomputing.com"}, sees="ingress_url", place="settings", asked=0, logins=0),
    Row("settings: a port that nobody listens at", params={"llmEndpointUrl": "http://127.0.0.1:9"}, sees="refuses", place="network", asked=0),
    Row("settings: a name that does not exist", params={"llmEndpointUrl": "https://no-such-host.invalid", "allowedHosts": "no-such-host.invalid"}, sees="cannot be resolved", place="network", hint="SHOW ENDPOINTS", asked=0, within=3 * FAR_TOO_LONG),
]  # fmt: skip


@pytest.fixture(autouse=True)
def retried_soon(short_back_offs: Callable[[], None]) -> None:
    short_back_offs()


@pytest.fixture(scope="module")
def snowflake() -> Iterator[Snowflake]:
    with Snowflake() as made:
        made.create_service("chat")
        yield made


@pytest.mark.sample(9)
@pytest.mark.parametrize("row", FAULTS, ids=lambda row: row.name)
def test_each_fault_ends_as_the_table_says(snowflake: Snowflake, row: Row) -> None:
    service = snowflake._services["chat"]
    snowflake.faults.clear()
    before = {name: dict(counts) for name, counts in snowflake.counters.items()}
    answered = len(service.stats.batch_sizes)
    model = Model(
        {
            "oauth": {"snowflake_oauth": snowflake.issue_oauth_token()},
            "snowflakeAccountUrl": snowflake.account_url,
            "llmEndpointUrl": service.url,
            **row.params,
        },
        connections=Connections(),
    )
    for fault in row.arm:
        snowflake.faults.arm(**fault)
    began = time.monotonic()
    try:
        response = model.complete({"messages": [{"role": "user", "content": "prompt-canary"}]}, {}, None)
        error = None
    except SpcsError as raised:
        response, error = {}, raised
    finally:
        snowflake.faults.clear()
    seconds = time.monotonic() - began
    after = snowflake.counters
    if row.sees is None:
        assert error is None, str(error)
        assert response["text"] == answer_to("prompt-canary")
    else:
        assert error is not None, "an error was due"
        assert row.sees.lower() in str(error).lower()
        assert row.hint.lower() in error.hint.lower()
        assert not row.place or error.place == row.place
        assert "prompt-canary" not in str(error)
        assert "oauth-" not in str(error)
        assert len(str(error)) < 1000
    assert seconds < row.within
    if row.asked is not None:
        assert len(service.stats.batch_sizes) - answered == row.asked
    if row.logins is not None:
        assert after["account"].get("login", 0) - before["account"].get("login", 0) == row.logins
    assert after["elsewhere"] == before["elsewhere"]


def test_the_next_query_is_answered_after_every_kind_of_fault(snowflake: Snowflake) -> None:
    snowflake.faults.clear()
    service = snowflake._services["chat"]
    config = {
        "oauth": {"snowflake_oauth": snowflake.issue_oauth_token()},
        "snowflakeAccountUrl": snowflake.account_url,
        "llmEndpointUrl": service.url,
    }
    model = Model(config, connections=Connections())
    for row in FAULTS:
        if (
            not any(fault["where"] == "chat" and fault["times"] is None for fault in row.arm)
            or row.within > Row.within
        ):
            continue
        (fault,) = row.arm
        if fault["kind"] in ("no_hosts", "hang", "trickle_body"):
            continue
        snowflake.faults.arm(**fault)
        with pytest.raises(SpcsError) if row.sees is not None else contextlib.nullcontext():
            model.complete({"messages": [{"role": "user", "content": "x"}]}, {}, None)
        snowflake.faults.clear()
        response = model.complete({"messages": [{"role": "user", "content": row.name}]}, {}, None)
        assert response["text"] == answer_to(row.name)
