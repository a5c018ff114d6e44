"""The ways to sign in: what each asks the account for, when, and what it makes of the answer."""

from __future__ import annotations

import math
import traceback
from dataclasses import dataclass, field
from typing import Any

import pytest

from spcs_llm.errors import LoginError, NetworkError, TokenRefused
from spcs_llm.http.token_source import NoToken
from spcs_llm.query_context import QueryContext
from spcs_llm.snowflake.account import EndpointToken, Session, authorization
from spcs_llm.snowflake.sign_in import FixedToken, KeyPairLogin, OAuthLogin, WithServiceKey
from spcs_llm.snowflake.token_cache import Token, TokenCache
from tests.clock import Clock

REFUSED = TokenRefused("No.")


@dataclass
class ScriptedAccount:
    """Grants the next session of each list; an exception is raised."""

    logins: list[Any] = field(default_factory=list)
    renewals: list[Any] = field(default_factory=list)
    asked: list[tuple[str, ...]] = field(default_factory=list)

    def login(self, access_token: str, call: QueryContext) -> Session:
        return self._next(self.logins, "login", access_token)

    def renew(self, token: str, master_token: str, call: QueryContext) -> Session:
        return self._next(self.renewals, "renew", token, master_token)

    def endpoint_token(
        self, assertion: str, host: str, role: str | None, call: QueryContext, now: float
    ) -> EndpointToken:
        self.asked.append(("endpoint_token", assertion, host, str(role)))
        return EndpointToken(f"token for {assertion}", 600)

    def _next(self, answers: list[Any], *asked: str) -> Session:
        self.asked.append(asked)
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, Session)
        return answer


def text_of(token: Token) -> str:
    return token.headers["Authorization"]


# -- OAuth ---------------------------------------------------------------------------------------------


@dataclass
class OAuth:
    account: ScriptedAccount
    clock: Clock

    def sign_in(self, read: Any = lambda: "access") -> OAuthLogin:
        return OAuthLogin(self.account, read, self.clock)  # type: ignore[arg-type]


@pytest.fixture
def oauth() -> OAuth:
    return OAuth(ScriptedAccount([Session("ST-1", 100, "MT-1", 400)]), Clock())


def test_a_session_travels_as_snowflakes_token_and_lives_as_told(oauth: OAuth) -> None:
    token = oauth.sign_in().log_in("access", QueryContext(10))
    assert token.headers == {"Authorization": 'Snowflake Token="ST-1"'}
    assert (token.refresh_at, token.expires_at) == (1050, 1100)
    assert oauth.account.asked == [("login", "access")]


def test_a_life_counts_from_when_it_was_asked_for(oauth: OAuth) -> None:
    granted = oauth.account.login

    def slow(access_token: str, call: QueryContext) -> Session:
        oauth.clock.now += 30
        return granted(access_token, call)

    oauth.account.login = slow  # type: ignore[method-assign]
    assert oauth.sign_in().log_in("access", QueryContext(10)).expires_at == 1100


def test_each_renewal_uses_the_latest_master_token(oauth: OAuth) -> None:
    oauth.account.renewals = [Session("ST-2", 100, "MT-2", 400), Session("ST-3", 100, "MT-3", 400)]
    sign_in = oauth.sign_in()
    token: Token | None = sign_in.log_in("access", QueryContext(10))
    for _ in range(2):
        assert token is not None
        token = sign_in.renew(token, QueryContext(10))
    assert oauth.account.asked[1:] == [("renew", "ST-1", "MT-1"), ("renew", "ST-2", "MT-2")]
    assert token is not None
    assert text_of(token) == 'Snowflake Token="ST-3"'


def test_a_master_token_that_stays_keeps_its_own_end(oauth: OAuth) -> None:
    oauth.account.renewals = [Session("ST-2", 100)]
    sign_in = oauth.sign_in()
    first = sign_in.log_in("access", QueryContext(10))
    oauth.clock.now += 390
    second = sign_in.renew(first, QueryContext(10))
    assert second is not None
    oauth.clock.now += 10
    assert sign_in.renew(second, QueryContext(10)) is None, "the master token ended 400 s after the login"
    assert len(oauth.account.asked) == 2


def test_a_master_token_of_unknown_life_is_tried(oauth: OAuth) -> None:
    oauth.account.logins = [Session("ST-1", 100, "MT-1", math.inf)]
    oauth.account.renewals = [Session("ST-2", 100)]
    sign_in = oauth.sign_in()
    token = sign_in.log_in("access", QueryContext(10))
    oauth.clock.now += 1e6
    assert sign_in.renew(token, QueryContext(10)) is not None


def test_a_session_without_a_master_token_is_not_renewed(oauth: OAuth) -> None:
    oauth.account.logins = [Session("ST-1", 100)]
    sign_in = oauth.sign_in()
    assert sign_in.renew(sign_in.log_in("access", QueryContext(10)), QueryContext(10)) is None


@pytest.mark.parametrize("code", ["390111", "390112", "390113", "390114", "390115", "390400", "390104"])
def test_a_refused_renewal_calls_for_a_login(oauth: OAuth, code: str) -> None:
    oauth.account.renewals = [LoginError("over", code=code)]
    sign_in = oauth.sign_in()
    assert sign_in.renew(sign_in.log_in("access", QueryContext(10)), QueryContext(10)) is None


def test_an_outage_while_renewing_is_no_refusal(oauth: OAuth) -> None:
    oauth.account.renewals = [NetworkError("down")]
    sign_in = oauth.sign_in()
    with pytest.raises(NetworkError):
        sign_in.renew(sign_in.log_in("access", QueryContext(10)), QueryContext(10))


def test_the_access_token_is_read_anew_for_each_login(oauth: OAuth) -> None:
    texts = iter(["one", " two\n"])
    sign_in = oauth.sign_in(lambda: next(texts))
    assert [sign_in.credential(), sign_in.credential()] == ["one", "two"]


def raising() -> str:
    raise RuntimeError("refresh token rt-secret-51 is over")


@pytest.mark.parametrize("read", [raising, lambda: "", lambda: "  ", lambda: None, lambda: {"a": 1}])
def test_without_an_access_token_the_user_must_sign_in_to_dss_again(oauth: OAuth, read: Any) -> None:
    with pytest.raises(LoginError) as raised:
        TokenCache(oauth.sign_in(read), oauth.clock).headers(QueryContext(10))
    assert "Profile > Credentials" in raised.value.hint
    assert "secret" not in "".join(traceback.format_exception(raised.type, raised.value, raised.tb))
    assert oauth.account.asked == []


def test_no_repr_holds_a_token(oauth: OAuth) -> None:
    sign_in = oauth.sign_in()
    shown = repr(sign_in.log_in("access", QueryContext(10)))
    assert "ST-1" not in shown
    assert "MT-1" not in shown


# -- key pair ------------------------------------------------------------------------------------------


class NumberedAssertions:
    def __init__(self) -> None:
        self.made: list[float] = []

    def assertion(self, now: float) -> str:
        self.made.append(now)
        return f"assertion {len(self.made)}"


def test_each_endpoint_token_takes_an_assertion_signed_anew() -> None:
    account, clock, key_pair = ScriptedAccount(), Clock(), NumberedAssertions()
    sign_in: Any = KeyPairLogin(account, key_pair, "chat.example:8443", "CALLER", clock, lambda: 1.7e9)  # type: ignore[arg-type]
    tokens = TokenCache(sign_in, clock)
    assert tokens.headers(QueryContext(10)) == {"Authorization": 'Snowflake Token="token for assertion 1"'}
    clock.now += 541
    assert tokens.headers(QueryContext(10)) == {"Authorization": 'Snowflake Token="token for assertion 2"'}
    assert key_pair.made == [1.7e9, 1.7e9]
    assert account.asked == [
        ("endpoint_token", f"assertion {number}", "chat.example:8443", "CALLER") for number in (1, 2)
    ]


# -- programmatic access token -------------------------------------------------------------------------


def test_a_programmatic_access_token_has_no_other_to_try() -> None:
    tokens = FixedToken(authorization("pat"))
    headers = tokens.headers(QueryContext(10))
    assert headers == {"Authorization": 'Snowflake Token="pat"'}
    assert tokens.refused(headers, REFUSED) is False


# -- the container's own key ---------------------------------------------------------------------------


def test_the_containers_key_takes_the_usual_header_and_snowflakes_token_its_own() -> None:
    tokens = WithServiceKey(FixedToken(authorization("pat")), "sesame")
    assert tokens.headers(QueryContext(10)) == {
        "Authorization": "Bearer sesame",
        "X-SF-SPCS-Authorization": 'Snowflake Token="pat"',
    }


def test_a_refusal_reaches_the_token_that_was_refused_and_no_newer_one(oauth: OAuth) -> None:
    oauth.account.logins = [Session(f"ST-{number}", 100) for number in range(1, 9)]
    tokens = WithServiceKey(TokenCache(oauth.sign_in(), oauth.clock), "sesame")
    first = tokens.headers(QueryContext(10))
    again = tokens.headers(QueryContext(10))
    assert tokens.refused(first, REFUSED) is True
    second = tokens.headers(QueryContext(10))
    assert second["X-SF-SPCS-Authorization"] == 'Snowflake Token="ST-2"'
    assert tokens.refused(again, REFUSED) is True, "late, of the first token"
    assert tokens.headers(QueryContext(10)) == second


def test_a_fixed_token_beside_a_key_has_no_other_to_try() -> None:
    tokens = WithServiceKey(FixedToken(authorization("pat")), "sesame")
    assert tokens.refused(tokens.headers(QueryContext(10)), REFUSED) is False


def test_without_a_sign_in_only_the_containers_key_is_sent() -> None:
    tokens = WithServiceKey(NoToken(), "sesame")
    headers = tokens.headers(QueryContext(5))
    assert headers == tokens.at_hand() == {"Authorization": "Bearer sesame"}
    assert tokens.refused(headers, REFUSED) is False
