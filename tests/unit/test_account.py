"""What an account's login API is sent, and what becomes of its answers."""

from __future__ import annotations

import base64
import json
import math
from typing import Any
from urllib.parse import parse_qs

import pytest

from spcs_llm.control.sql_api_errors import SqlApiErrors
from spcs_llm.errors import (
    LoginError,
    ModelError,
    NetworkError,
    QueryTimeout,
    ServiceBusy,
    ServiceDown,
    SessionExpired,
    SpcsError,
    SqlError,
    TokenRefused,
)
from spcs_llm.http.request import HttpRequest
from spcs_llm.query_context import QueryContext
from spcs_llm.snowflake.account import Account, Session, error_from_response
from spcs_llm.snowflake.ingress import IngressErrors
from spcs_llm.snowflake.login_errors import SignInKind, login_error

ACCESS_TOKEN = "access-token-8c1f"
GRANTED = {
    "token": "ST-1",
    "validityInSeconds": 3600,
    "masterToken": "MT-1",
    "masterValidityInSeconds": 14400,
    "sessionId": 1,
}
RENEWED = {
    "sessionToken": "ST-2",
    "validityInSecondsST": 1800,
    "masterToken": "MT-2",
    "validityInSecondsMT": 7200,
}


class ScriptedEndpoint:
    """Answers with bytes, with what is encoded to JSON, or by raising; remembers what it was asked."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer
        self.asked: list[HttpRequest] = []

    def send_for_body(self, http_request: HttpRequest, call: QueryContext) -> bytes:
        self.asked.append(http_request)
        if isinstance(self._answer, SpcsError):
            raise self._answer
        return self._answer if isinstance(self._answer, bytes) else json.dumps(self._answer).encode()


def account(answer: Any) -> tuple[Account, ScriptedEndpoint]:
    endpoint = ScriptedEndpoint(answer)
    return Account(endpoint), endpoint  # type: ignore[arg-type]


def granting(data: dict[str, Any]) -> dict[str, Any]:
    return {"success": True, "code": None, "message": None, "data": data}


def refusing(code: Any, message: str = "No.") -> dict[str, Any]:
    return {"success": False, "code": code, "message": message, "data": None}


def login(answer: Any) -> Session:
    return account(answer)[0].login(ACCESS_TOKEN, QueryContext(10))


def endpoint_token(answer: Any, now: float = 0.0) -> Any:
    return account(answer)[0].endpoint_token("a.s.s", "chat.example", "CALLER", QueryContext(10), now)


# -- what is sent --------------------------------------------------------------------------------------


def test_a_login_sends_the_minimal_body_alone() -> None:
    signing_in, endpoint = account(granting(GRANTED))
    signing_in.login(ACCESS_TOKEN, QueryContext(10))
    (sent,) = endpoint.asked
    assert sent.path.startswith("/session/v1/login-request?request_id=")
    assert sent.payload == {"data": {"AUTHENTICATOR": "OAUTH", "TOKEN": ACCESS_TOKEN}}
    assert sent.step == "SNOWFLAKE_LOGIN"
    assert "Authorization" not in sent.headers


def test_a_renewal_is_authorised_by_the_master_token_and_names_the_old_session() -> None:
    signing_in, endpoint = account(granting(RENEWED))
    signing_in.renew("ST-1", "MT-1", QueryContext(10))
    (sent,) = endpoint.asked
    assert sent.path.startswith("/session/token-request?requestId=")
    assert sent.headers["Authorization"] == 'Snowflake Token="MT-1"'
    assert sent.payload == {"oldSessionToken": "ST-1", "requestType": "RENEW"}
    assert sent.step == "SNOWFLAKE_RENEW"


@pytest.mark.parametrize(
    ("role", "scope"),
    [
        ("CALLER", "session:role:CALLER chat.example"),
        ("MY_ROLE$1", "session:role:MY_ROLE$1 chat.example"),
        (None, "chat.example"),
        ("AUTH SNOWFLAKE", "session:role-encoded:AUTH%20SNOWFLAKE chat.example"),
        ('a "b" c', "session:role-encoded:a%20%22b%22%20c chat.example"),
        ("Rôle/é", "session:role-encoded:R%C3%B4le%2F%C3%A9 chat.example"),
    ],
)
def test_an_endpoint_token_is_asked_for_by_form_for_one_host_and_role(role: str | None, scope: str) -> None:
    signing_in, endpoint = account(b"token")
    signing_in.endpoint_token("a.s.s", "chat.example", role, QueryContext(10), 0.0)
    (sent,) = endpoint.asked
    assert sent.path == "/oauth/token"
    assert sent.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert {name: value[0] for name, value in parse_qs((sent.body or b"").decode()).items()} == {
        "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "scope": scope,
        "assertion": "a.s.s",
    }
    assert sent.step == "SNOWFLAKE_ENDPOINT_TOKEN"


# -- what is granted -----------------------------------------------------------------------------------


def test_lives_are_those_that_the_reply_tells() -> None:
    assert login(granting(GRANTED)) == Session("ST-1", 3600, "MT-1", 14400)


def test_a_renewal_has_field_names_of_its_own() -> None:
    renewed = account(granting(RENEWED))[0].renew("ST-1", "MT-1", QueryContext(10))
    assert renewed == Session("ST-2", 1800, "MT-2", 7200)


@pytest.mark.parametrize("told", ["7", 7.0, "7.0"])
def test_a_life_may_be_told_as_text(told: Any) -> None:
    assert login(granting({**GRANTED, "validityInSeconds": told})).seconds == 7


@pytest.mark.parametrize("told", [None, "", "soon", -1, 0, "NaN", "Infinity", 10**400, [], {}])
def test_a_life_that_makes_no_sense_is_a_short_one(told: Any) -> None:
    assert login(granting({**GRANTED, "validityInSeconds": told})).seconds == 300


def test_a_session_may_come_without_a_master_token_or_with_one_of_unknown_life() -> None:
    assert login(granting({"token": "ST-1", "validityInSeconds": 60})).master_token is None
    without_life = {name: GRANTED[name] for name in ("token", "validityInSeconds", "masterToken")}
    assert login(granting(without_life)).master_seconds == math.inf


@pytest.mark.parametrize(
    "reply",
    [b"plain.token", b" plain.token\n", b'"plain.token"', {"access_token": "plain.token"}, {"token": "plain.token"}],
)  # fmt: skip
def test_an_endpoint_token_comes_as_bare_text_or_as_json(reply: Any) -> None:
    assert endpoint_token(reply).token == "plain.token"


def jwt(claims: Any) -> bytes:
    return b".".join(
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=")
        for part in ({"alg": "HS256"}, claims, 1)
    )


@pytest.mark.parametrize(
    ("token", "seconds"),
    [
        (jwt({"exp": 1600}), 600),
        (jwt({"exp": 5_600, "iat": 5_000}), 600),  # whatever our own clock says
        (jwt({"exp": 900}), 300),  # it cannot have ended before it came: the clocks differ
        (jwt({"exp": "never"}), 300),
        (jwt({"exp": 10**400}), 300),
        (jwt({}), 300),
        (jwt([]), 300),
        (b"opaque", 300),
        (b"a.b.c", 300),
    ],
)
def test_an_endpoint_token_lives_as_long_as_it_says_itself_or_five_minutes(
    token: bytes, seconds: float
) -> None:
    assert endpoint_token(token, now=1000.0).seconds == seconds


def test_a_token_that_no_server_takes_in_a_header_is_refused() -> None:
    with pytest.raises(LoginError, match="without a token that can be sent"):
        endpoint_token(b"a" * 20_000)


# -- what is refused -----------------------------------------------------------------------------------

RELOGIN = ("390101", "390103", "390104", "390110", "390111", "390112", "390113", "390114", "390115", "390195",
           "390400")  # fmt: skip
FATAL = {
    "390100": "LOGIN_NAME",
    "390144": "Account identifier",
    "390303": "Profile > Credentials",
    "390318": "Profile > Credentials",
    "394300": "RSA_PUBLIC_KEY",
    "394301": "clock",
    "394302": "clock",
    "394303": "clock",
    "394304": "RSA_PUBLIC_KEY_FP",
    "394305": "RSA",
    "394306": "Private key",
    **dict.fromkeys(("390120", "390122", "390123", "390126", "390127", "390129", "390132"), "interactively"),
}


@pytest.mark.parametrize("code", RELOGIN)
def test_codes_of_a_session_that_is_over_are_told_apart(code: str) -> None:
    with pytest.raises(SessionExpired) as raised:
        login(refusing(code))
    assert raised.value.code == code


# PostHog/posthog#63157, buremba/universql#24
@pytest.mark.parametrize(
    ("message", "hint"),
    [
        ("User access disabled. Contact your local system administrator.", "SET DISABLED = FALSE"),
        ("Your user account has been temporarily locked due to too many failed attempts.", "MINS_TO_UNLOCK"),
        # xlang-ai/Spider2#143, okou-ai/vm0-skills pull 178: there is none to which an address could be added
        ("Network policy is required.", "ALTER USER <user> SET NETWORK_POLICY"),
        ("Your free trial has ended and all of your virtual warehouses have been suspended.", "billing"),
    ],
)
@pytest.mark.parametrize("sign_in", SignInKind)
def test_a_user_who_may_not_sign_in_is_told_whatever_the_code_and_way(
    message: str, hint: str, sign_in: SignInKind
) -> None:
    for code in ("390101", "390114", None):
        assert hint in login_error(code, message, sign_in=sign_in).hint
    refused = json.dumps({"code": "390101", "message": message}).encode()
    assert hint in SqlApiErrors(sign_in)(401, {}, refused).hint
    if sign_in is not SignInKind.NONE:
        assert hint in IngressErrors(sign_in)(401, {}, refused).hint


@pytest.mark.parametrize(
    ("sign_in", "hint"),
    [
        (SignInKind.OAUTH, "'Scope' of the preset"),
        (SignInKind.UNKNOWN, "'Scope' of the preset"),
        (SignInKind.KEY_PAIR, "'Role' of the preset"),
        (SignInKind.TOKEN, "programmatic access token is restricted"),
    ],
)
def test_a_role_that_is_not_in_the_token_is_told_by_the_way_of_signing_in(
    sign_in: SignInKind, hint: str
) -> None:
    """A key pair and a programmatic access token have neither a scope nor a security integration."""
    told = login_error("390317", "The role is not listed in the access token.", sign_in=sign_in).hint
    assert hint in told
    assert ("ALLOWED_ROLES_LIST" in told) == ("'Scope'" in told)


def test_an_assertion_that_has_expired_is_a_matter_of_the_clock() -> None:
    """rinsed-org/rb-snowflake-client#170: each assertion is signed when it is sent."""
    message = "Keypair access token expired. ...VUrmjSFgTw"
    refused = json.dumps({"code": "390198", "message": message}).encode()
    assert "clock" in SqlApiErrors(SignInKind.KEY_PAIR)(401, {}, refused).hint
    assert "clock" in login_error("390198", message, sign_in=SignInKind.KEY_PAIR).hint


def test_a_token_that_is_good_for_another_role_only_is_told_as_what_it_may_be() -> None:
    """snowflakedb/terraform-provider-snowflake#4647: Snowflake says that the token is invalid."""
    refused = json.dumps({"code": "394400", "message": "Programmatic access token is invalid."}).encode()
    hint = SqlApiErrors(SignInKind.TOKEN)(401, {}, refused).hint
    assert "'Role'" in hint
    assert "Profile > Credentials" in hint


@pytest.mark.parametrize("body", [b"", b"<html><h1>403 Forbidden</h1></html>"])
def test_an_address_of_no_account_may_be_why_the_sql_api_denies_access(body: bytes) -> None:
    """datafold/data-diff#141, and Snowflake documentation, "Change in HTTP error code for URL not found error"."""
    error = SqlApiErrors(SignInKind.TOKEN)(403, {}, body)
    assert "'Snowflake account URL'" in error.hint
    assert "network policy" in error.hint


@pytest.mark.parametrize(
    ("code", "message"),
    [
        # snowflakedb/snowflake-ml-python, `snowflake/cortex/json_mode_test_utils/schema_utils.py`
        ("390142", "Incoming request does not contain a valid payload."),
        ("391902", "Unsupported Accept header null is specified."),  # Snowflake documentation, "SQL API"
    ],
)
def test_a_request_that_snowflake_cannot_read_is_no_matter_of_the_token(code: str, message: str) -> None:
    error = SqlApiErrors(SignInKind.OAUTH)(400, {}, json.dumps({"code": code, "message": message}).encode())
    assert isinstance(error, SqlError)
    assert error.server_text == message.rstrip(".")
    expired = json.dumps({"code": "390318", "message": "OAuth access token expired."}).encode()
    assert isinstance(SqlApiErrors(SignInKind.OAUTH)(400, {}, expired), TokenRefused)


@pytest.mark.parametrize("code", FATAL)
@pytest.mark.parametrize("kind", [str, int])
def test_every_other_refusal_names_its_code_its_reason_and_a_mend(code: str, kind: type) -> None:
    with pytest.raises(LoginError, match="The reason") as raised:
        login(refusing(kind(code), "The reason.\n  [0b6f]"))
    assert not isinstance(raised.value, SessionExpired)
    assert raised.value.code == code
    assert f"The reason. [0b6f] (code {code})." in raised.value.message
    assert FATAL[code] in raised.value.hint


def test_the_answers_own_code_counts_and_not_one_that_its_text_speaks_of() -> None:
    with pytest.raises(LoginError) as raised:
        login(refusing("390318", "The token has expired. For JWTs see 394300."))
    assert raised.value.code == "390318"
    assert FATAL["390318"] in raised.value.hint
    with pytest.raises(LoginError) as raised:
        login(refusing(None, "JWT token is invalid: 394300."))
    assert raised.value.code == "394300"


def test_an_unknown_code_still_gets_a_mend() -> None:
    with pytest.raises(LoginError, match="399999") as raised:
        login(refusing("399999", ""))
    assert "LOGIN_HISTORY" in raised.value.hint


def test_a_network_policy_is_recognised_by_its_words() -> None:
    with pytest.raises(LoginError) as raised:
        login(
            refusing("390422", "Incoming request with IP/Token 1.2.3.4 is not allowed to access Snowflake.")
        )
    assert "network policy" in raised.value.hint


@pytest.mark.parametrize(
    "body",
    [
        {"success": False, "code": "394304", "message": "No match."},
        {"error": "invalid_grant", "error_description": "394304: no match"},
        {"code": 394304},
    ],
)
@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_refusal_of_an_assertion_is_told_by_status_too(status: int, body: Any) -> None:
    error = error_from_response(status, {}, json.dumps(body).encode())
    assert isinstance(error, LoginError)
    assert (error.code, error.status) == ("394304", status)
    assert "RSA_PUBLIC_KEY_FP" in error.hint


def test_a_refusal_of_an_endpoint_token_within_a_success_is_one() -> None:
    with pytest.raises(LoginError, match="Not yours"):
        endpoint_token({"success": False, "code": "390186", "message": "Not yours."})


# -- what is no account --------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 403, 404, 405, 410, 513])
@pytest.mark.parametrize("body", [b"", b"<html>private</html>", b"[]", b'{"a": 1}'])
def test_what_is_no_account_points_at_the_url(status: int, body: bytes) -> None:
    error = error_from_response(status, {"Location": "https://elsewhere.example"}, body)
    assert isinstance(error, LoginError)
    assert "'Snowflake account URL'" in error.hint
    assert f"HTTP {status}" in error.message
    assert "private" not in str(error)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"OK",
        b"[]",
        b"{}",
        b"\xff\xfe",
        ModelError("A web page came instead of a model's answer."),
        granting({}),
        granting({**GRANTED, "token": None}),
        granting({**GRANTED, "token": 5}),
        granting({**GRANTED, "token": ""}),
        granting({**GRANTED, "token": 'a"b'}),
        granting({**GRANTED, "token": "a\r\nb"}),
        granting({**GRANTED, "token": "tökén"}),
    ],
    ids=repr,
)
def test_a_success_that_is_none_points_at_the_url(answer: Any) -> None:
    with pytest.raises(LoginError) as raised:
        login(answer)
    assert "'Snowflake account URL'" in raised.value.hint


@pytest.mark.parametrize("answer", [b"", b"two words", b"{}", b"[1]", b'""', b'{"token": 5}', b"\xff"])
def test_an_endpoint_token_that_is_none_points_at_the_url(answer: bytes) -> None:
    with pytest.raises(LoginError) as raised:
        endpoint_token(answer)
    assert "'Snowflake account URL'" in raised.value.hint


# -- what may pass -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind"),
    [(429, ServiceBusy), (500, ServiceDown), (502, ServiceDown), (503, ServiceDown), (504, ServiceDown)],
)
def test_outages_of_the_login_may_pass_and_say_when(status: int, kind: type) -> None:
    error = error_from_response(status, {"Retry-After": "7"}, b"<html>")
    assert type(error) is kind
    assert (error.place, error.retry_after) == ("login", 7.0)


def test_the_end_of_the_querys_time_is_told_as_the_logins() -> None:
    with pytest.raises(QueryTimeout, match="signing in to Snowflake") as raised:
        login(QueryTimeout("within the endpoint"))
    assert raised.value.place == "login"
    assert "'Snowflake account URL'" in raised.value.hint


def test_silence_of_the_login_is_not_blamed_on_the_model() -> None:
    with pytest.raises(NetworkError) as raised:
        login(NetworkError("silent", "Ask for fewer tokens.", silent=True))
    assert "'Snowflake account URL'" in raised.value.hint


# -- what is never told --------------------------------------------------------------------------------


def test_no_error_or_repr_holds_a_token() -> None:
    echo = refusing("390303", f"Invalid token {ACCESS_TOKEN}: [{ACCESS_TOKEN}]")
    with pytest.raises(LoginError) as raised:
        login(echo)
    assert ACCESS_TOKEN not in repr(raised.value)
    with pytest.raises(LoginError) as raised:
        account(refusing("390114", "master-token-77 of session-token-1"))[0].renew(
            "session-token-1", "master-token-77", QueryContext(10)
        )
    assert "master-token" not in repr(raised.value)
    assert "ST-1" not in repr(login(granting(GRANTED)))
    assert "plain" not in repr(endpoint_token(b"plain.token"))


# -- odd answers ---------------------------------------------------------------------------------------------

NO_SERVICE = "Could not find the service associated with endpoint abc-org-acct."


@pytest.mark.parametrize(
    "answer",
    [NO_SERVICE.encode(), {"success": False, "code": "390400", "message": NO_SERVICE, "data": None}],
    ids=["text", "JSON"],
)
def test_an_endpoint_that_the_account_does_not_know_is_told_with_its_field(answer: Any) -> None:
    signing_in, _ = account(answer)
    with pytest.raises(LoginError) as refused:
        signing_in.endpoint_token("a.s.s", "abc.example", None, QueryContext(10), 0.0)
    assert "knows no service at the endpoint" in refused.value.message
    assert "'LLM endpoint URL'" in refused.value.hint


@pytest.mark.parametrize("status", [400, 403, 404])
@pytest.mark.parametrize("body", [NO_SERVICE.encode(), json.dumps({"message": NO_SERVICE}).encode()])
def test_so_is_one_that_is_told_with_a_status(status: int, body: bytes) -> None:
    error = error_from_response(status, {}, body)
    assert isinstance(error, LoginError)
    assert "'LLM endpoint URL'" in error.hint
    assert "no Snowflake account" not in str(error)


def test_claims_that_are_nested_without_end_say_nothing_of_a_life() -> None:
    claims = base64.urlsafe_b64encode(b"[" * 9000).decode().rstrip("=")
    signing_in, _ = account(f"h.{claims}.s".encode())
    granted = signing_in.endpoint_token("a.s.s", "abc.example", None, QueryContext(10), 0.0)
    assert granted.seconds == 300


@pytest.mark.parametrize("success", [True, "true", "True"])
def test_a_success_may_come_as_text(success: Any) -> None:
    signing_in, _ = account({"success": success, "data": GRANTED})
    assert signing_in.login(ACCESS_TOKEN, QueryContext(10)).token == "ST-1"


@pytest.mark.parametrize("success", ["false", "", None, 0, "yes"])
def test_anything_else_is_none(success: Any) -> None:
    signing_in, _ = account({"success": success, "data": GRANTED})
    with pytest.raises(LoginError):
        signing_in.login(ACCESS_TOKEN, QueryContext(10))


def test_an_answer_may_have_a_megabyte() -> None:
    signing_in, endpoint = account({"success": True, "data": GRANTED})
    signing_in.login(ACCESS_TOKEN, QueryContext(10))
    assert endpoint.asked[0].max_body == 1 << 20


@pytest.mark.parametrize("code", ["390186", "390189"])
@pytest.mark.parametrize(
    ("sign_in", "hint"),
    [(SignInKind.OAUTH, "'Scope'"), (SignInKind.KEY_PAIR, "'Role'"), (SignInKind.TOKEN, "restricted")],
)
def test_hints_about_roles_fit_the_way_of_signing_in(code: str, sign_in: SignInKind, hint: str) -> None:
    error = login_error(code, "no such role", sign_in=sign_in)
    assert hint in error.hint
    assert ("'Role'" in error.hint) == (sign_in is SignInKind.KEY_PAIR)


# Snowflake documentation, "Cortex Agents in Microsoft Teams: troubleshooting" and "Power BI SSO: error messages"
@pytest.mark.parametrize(
    ("code", "message", "hint"),
    [
        (
            "390304",
            "Incorrect username or password was specified.",
            "EXTERNAL_OAUTH_TOKEN_USER_MAPPING_CLAIM",
        ),
        ("390303", "Invalid OAuth access token. [1234]", "EXTERNAL_OAUTH_ISSUER"),
        (
            "390317",
            "The role is not listed in the Access Token or was filtered.",
            "EXTERNAL_OAUTH_ANY_ROLE_MODE",
        ),
        ("390186", "Role 'R' is not granted to this user.", "BLOCKED_ROLES_LIST"),
        (None, "OAuth Authz Server Integration is not enabled.", "SET ENABLED = TRUE"),
        (
            None,
            "No default role has been assigned to the user, contact an administrator.",
            "SET DEFAULT_ROLE",
        ),
        (None, "User's configured default role 'R' is not granted to this user.", "GRANT ROLE"),
    ],
)
def test_refusals_of_an_oauth_token_name_the_property_to_look_at(
    code: str | None, message: str, hint: str
) -> None:
    assert hint in login_error(code, message, sign_in=SignInKind.OAUTH).hint


def test_a_login_tells_the_role_of_its_session() -> None:
    told = {**GRANTED, "sessionInfo": {"roleName": "CALLER"}}
    assert login(granting(told)).role == "CALLER"
    assert login(granting(GRANTED)).role is None
