"""What one user's query, a server that answers it, or a setting does to others: nothing."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tests.hostile.known import Complaints, judge
from tests.hostile.places import Place, places_of_refusals, places_of_successes
from tests.hostile.server import Answer, Request, Server, reply
from tests.hostile.surfaces import (
    ENDPOINT_TOKENS,
    LOGIN,
    OAUTH,
    OPENAI_STREAM,
    PREDICT_CHAT,
    PREDICT_EMBEDDING,
    Surface,
    dumped,
    honest_answer,
    new_question,
)
from tests.hostile.test_echoes import FORMS, quoted_in
from tests.hostile.victim import Victim

pytestmark = pytest.mark.exhaustive

ALICE = "Jane Roe has condition ZETA, PIN4711"
QUOTED = ("as it is", "in capitals", "without blanks")
PLACES = (
    "error.message",
    "error.param",
    "detail[].loc",
    "text",
    "error.message in a success",
    "a row's error in a success",
)
_TRIES = 5


class Crowd:
    """A service that holds the first request until others wait, so that these share the next one."""

    def __init__(self, folder: Path, place: Place, form: str) -> None:
        self.begun, self.go = folder / "begun", folder / "go"
        self._told = f"cannot take '{FORMS[form](ALICE)}' ({ALICE[-7:]})"
        self._place = place
        self.shared = False
        self._requests = 0

    def answer(self, request: Request) -> Answer:
        if request.path != "/predict":
            return honest_answer(request)
        self._requests += 1
        if self._requests == 1:
            self.begun.touch()
            until = time.monotonic() + 10
            while not self.go.exists() and time.monotonic() < until:
                time.sleep(0.001)
        if b"Jane Roe" in request.body:
            self.shared = self.shared or b"BOB" in request.body
            return self._place.put(self._told)
        return PREDICT_CHAT.good(request)


@pytest.mark.parametrize("form", QUOTED)
def test_nobody_sees_the_text_of_another_who_shares_the_request(
    victim: Victim, tmp_path: Path, form: str
) -> None:
    """A key pair is one Snowflake user for all of DSS: rows of different users go out together."""
    complaints = Complaints()
    chosen = [*places_of_refusals((400, 503)), *places_of_successes(PREDICT_CHAT)]
    for number, place in enumerate(place for place in chosen if str(place) in PLACES):
        for attempt in range(_TRIES):
            folder = tmp_path / f"{number}-{attempt}"
            folder.mkdir()
            crowd = Crowd(folder, place, form)
            with Server(crowd.answer) as server:
                queries = [_of(user, text, server.url) for user, text in enumerate(("first", ALICE, "BOB"))]
                outcomes = victim.ask(*queries, together=True, begun=str(crowd.begun), go=str(crowd.go))
            if crowd.shared:
                break
        assert crowd.shared, "the arrangement: two users' rows in one request"
        complaints.add(f"shared request, {form}, {place}", *quoted_in(outcomes[2], ALICE, FORMS[form]))
        if "PIN4711" in "".join(outcomes[2].shown().values()):
            complaints.add(f"shared request, {form}, {place}", "another's short text")
    judge(complaints)


def _of(user: int, text: str, url: str) -> dict[str, Any]:
    query = {"messages": [{"role": "user", "content": f"{text} {new_question() if text == 'first' else ''}"}]}
    settings = {"maxBatchSize": 8, "unknownParameter": user, "queryTimeoutSeconds": 20}
    return ENDPOINT_TOKENS.ask(url, query=query, **settings)


# -- where credentials go -------------------------------------------------------------------------------------

GOOD_ACCOUNT = "https://org-acc.snowflakecomputing.com"
GOOD_ENDPOINT = "https://abc123-org-acc.snowflakecomputing.app"
FOREIGN = [
    "https://evil.example.com",
    "https://abc-org-acc.snowflakecomputing.app.evil.example.com",
    "https://snowflakecomputing.app",
    "https://evil-snowflakecomputing.app",
    "https://snowflakecomputing.com.evil.example.com",
    "https://10.0.0.5:8443",
    "https://169.254.169.254",
    "https://[fe80::1]",
    "https://xn--snowflkecomputing-ibb.app",
    "https://localhost.evil.example.com",
    "https://2130706433",
]
OTHER_ACCOUNTS = [
    "https://abc123-otherorg-otheracc.snowflakecomputing.app",
    "https://abc123-otherorg-otheracc.snowflake.app",
]


def test_credentials_go_to_snowflake_only(victim: Victim) -> None:
    complaints = {}
    for url in (*FOREIGN, *OTHER_ACCOUNTS):
        config = {"snowflakeAccountUrl": GOOD_ACCOUNT, "llmEndpointUrl": url}
        complaints[f"destination, endpoint {url}"] = _asked_outside(victim, PREDICT_CHAT, {**config, **OAUTH})
    for url in FOREIGN[:-1]:  # a name without a dot is an account's
        config = {"snowflakeAccountUrl": url, "llmEndpointUrl": GOOD_ENDPOINT}
        complaints[f"destination, account {url}"] = _asked_outside(victim, PREDICT_CHAT, {**config, **OAUTH})
    judge(complaints)


def _asked_outside(victim: Victim, surface: Surface, config: dict[str, Any]) -> str:
    query = surface.ask("", queryTimeoutSeconds=2, **config)
    (outcome,) = victim.ask(query)
    if outcome.place == "settings":
        return ""
    return f"is taken for an address of Snowflake: {outcome.died or outcome.text[:100]}, looked up: {outcome.looked_up}"


def test_hosts_of_snowflake_are_asked(victim: Victim) -> None:
    for number, domain in enumerate(("snowflakecomputing.app", "snowflake.app")):
        account = f"org-acc{number}"  # each its own: that one cannot be reached is remembered
        config = {
            "snowflakeAccountUrl": f"https://{account}.snowflakecomputing.com",
            "llmEndpointUrl": f"https://abc123-{account}.{domain}",
        }
        (outcome,) = victim.ask(PREDICT_CHAT.ask("", queryTimeoutSeconds=2, **config, **OAUTH))
        assert outcome.place == "network", outcome.text
        assert set(outcome.looked_up) == {f"{account}.snowflakecomputing.com"}
        (outcome,) = victim.ask(PREDICT_CHAT.ask("", queryTimeoutSeconds=2, **config))
        assert set(outcome.looked_up) == {f"abc123-{account}.{domain}"}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_loopback_address_is_never_asked_through_a_proxy(host: str) -> None:
    complaints = {}
    with Server(lambda request: reply(PREDICT_CHAT.honest(["q-00-q"]))) as proxy:
        names = ("HTTP_PROXY", "all_proxy")  # others are told by the same rule, and each takes a process
        for name in names:
            attacked = Victim(environment={name: proxy.url})
            try:
                (outcome,) = attacked.ask(PREDICT_CHAT.ask(f"http://{host}:9"))
            finally:
                attacked.stop()
            if proxy.requests or outcome.answer:
                complaints[f"proxy, {name} and {host}"] = f"the proxy is asked: {proxy.requests[-1].method}"
            else:
                complaints[f"proxy, {name} and {host}"] = ""
            proxy.requests.clear()
    judge(complaints)


# -- sign-ins that a server provokes --------------------------------------------------------------------------

_MOST_LOGINS = 11  # at once; then one in half a second, as lives of seconds need
_SECONDS_A_LOGIN = 0.5
_QUERIES = 40


def test_no_server_provokes_logins_without_end(victim: Victim) -> None:
    complaints = {}
    for name, service, life in (
        ("401 and 200 in turns", lambda at: at % 2, 3600),
        ("401 for ever", lambda at: 1, 3600),
        ("302 and 200 in turns", lambda at: 2 * (at % 2), 3600),
        ("tokens that end at once", lambda at: 0, 1e-9),
        ("tokens that end at once, and no master token", lambda at: 0, -1e-9),
    ):
        asked = [0]

        def answer(
            request: Request, service: Any = service, life: float = life, asked: list[int] = asked
        ) -> Answer:
            if request.path == "/predict":
                asked[0] += 1
                how = service(asked[0])
                refused = (
                    PREDICT_CHAT.good(request),
                    reply(b"", 401),
                    reply(b"", 302, location="https://a.b/"),
                )
                return refused[how]
            if request.path in ("/session/v1/login-request", "/session/token-request"):
                names = (
                    "validityInSeconds",
                    "validityInSecondsST",
                    "masterValidityInSeconds",
                    "validityInSecondsMT",
                )
                data = {
                    "token": f"t{asked[0]}",
                    "sessionToken": f"t{asked[0]}",
                    **dict.fromkeys(names, abs(life)),
                }
                return reply(
                    dumped({"success": True, "data": data | ({"masterToken": "m"} if life > 0 else {})})
                )
            return honest_answer(request)

        with Server(answer) as server:
            began = time.monotonic()
            victim.ask(LOGIN.ask(server.url, times=_QUERIES))
            most = _MOST_LOGINS + (time.monotonic() - began) / _SECONDS_A_LOGIN
            logins = sum(request.path.startswith("/session/") for request in server.requests)
        assert logins, "there is at least one"
        complaints[f"logins, {name}"] = f"{logins} for {_QUERIES} queries" if logins > most else ""
    judge(complaints)


@pytest.mark.parametrize("surface", [PREDICT_CHAT, OPENAI_STREAM, LOGIN, ENDPOINT_TOKENS], ids=str)
def test_nobody_is_asked_where_a_redirect_points(victim: Victim, surface: Surface) -> None:
    with Server(honest_answer) as other:
        for status in (300, 301, 302, 303, 305, 307, 308):
            for location in (f"{other.url}{surface.path}", f"//{other.url.partition('//')[2]}/"):
                sent = reply(b"", status, location=location, refresh=f"0; url={location}")
                with surface.serve(lambda request, sent=sent: sent) as server:  # type: ignore[misc]
                    outcome = victim.ask(*surface.queries(server.url))[-1]
                assert server.of(surface.path), "the redirect is sent"
                assert outcome.error is not None
        assert other.connections == 0


def test_equal_looking_credentials_are_not_one_user(victim: Victim) -> None:
    """Two users whose credential has no token yet, and looks alike: neither is given the other's session."""
    with Server(honest_answer) as server:
        outcomes = []
        for user in ("alice", "bob"):
            oauth = {
                "snowflake_oauth": f"canary-access-of-{user}",
                "__credentials": {"snowflake_oauth": {"opaque": 1}},
            }
            outcomes += victim.ask(LOGIN.ask(server.url, oauth=oauth))
        logins = [request.body for request in server.of("/session/v1/login-request")]
    assert [outcome.error for outcome in outcomes] == [None, None]
    assert [user in body for user, body in zip((b"-of-alice", b"-of-bob"), logins)] == [True, True]


def test_a_slow_answer_holds_up_nobody_with_another_endpoint(victim: Victim) -> None:
    question = new_question()
    with (
        Server(lambda request: _held(request)) as slow,
        PREDICT_EMBEDDING.serve(PREDICT_EMBEDDING.good) as good,
    ):
        groups = [
            [PREDICT_CHAT.ask(slow.url, queryTimeoutSeconds=1)],
            [PREDICT_EMBEDDING.ask(good.url, question)],
        ]
        (held,), (quick,) = victim.ask_side_by_side(groups)
    assert held.error is not None
    assert quick.answer is not None and quick.answer["embedding"] == PREDICT_EMBEDDING.honest_says(question)


def _held(request: Request) -> Answer:
    request.sock.recv(1)
    return None
