"""Answers of an ingress that are no success: whose they are, what they mean, and what is told of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from spcs_llm.errors import (
    AccessDenied,
    BadRequest,
    Blocked,
    GatewayDown,
    IngressError,
    ModelLoading,
    NotFound,
    RequestTooLarge,
    ServiceBusy,
    ServiceDown,
    ServiceError,
    ServiceStarting,
    SpcsError,
    TokenRefused,
)
from spcs_llm.server_text.redaction import SENT_SECRETS
from spcs_llm.snowflake.ingress import IngressErrors, error_from_response
from spcs_llm.snowflake.login_errors import SignInKind

HTML = {"Content-Type": "text/html; charset=utf-8"}
REQUEST_ID = "0b6f3c1e-58ce-4b8e-a3b1-0d3c5f1f2a11"


def gateway(detail: str, response_type: str = "ERROR") -> dict[str, str]:
    return {"responseType": response_type, "requestId": REQUEST_ID, "detail": detail}


def told(status: int, body: Any = b"", headers: dict[str, str] | None = None) -> SpcsError:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    error = error_from_response(status, headers or {}, raw)
    assert error.status == status
    return error


# -- the gateway ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_means_that_the_token_is_not_accepted(status: int) -> None:
    error = told(status, b"", {"Location": "https://elsewhere.example/sign-in"})
    assert type(error) is TokenRefused
    assert "elsewhere" not in str(error)


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(
    "body", [b"", b"Forbidden", b"<html>Sign in</html>", gateway("Token is invalid.", "ERROR_INVALID_TOKEN")]
)
def test_the_gateway_refuses_a_token(status: int, body: Any) -> None:
    assert type(told(status, body)) is TokenRefused


def test_the_gateways_reason_and_request_id_are_told() -> None:
    error = told(401, gateway("Programmatic access token has expired.", "ERROR_INVALID_TOKEN"))
    assert error.message.endswith("(HTTP 401): Programmatic access token has expired.")
    assert error.request_id == REQUEST_ID
    assert REQUEST_ID in str(error)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (503, gateway("Service CHAT not reachable: no service hosts found.")),
        (404, gateway("Service CHAT not reachable: no service hosts found.")),
        (500, gateway("Service CHAT not reachable: no service hosts found.")),
        (503, b"upstream connect error or disconnect/reset before headers. reset reason: connection failure"),
        (502, b"connection refused"),
        (503, b"no service hosts found"),
    ],
)
def test_a_service_that_is_suspended_or_starting_is_worth_waiting_for(status: int, body: Any) -> None:
    error = told(status, body, {"Retry-After": "5"})
    assert type(error) is ServiceStarting
    assert "SHOW SERVICE CONTAINERS" in error.hint
    assert error.retry_after == 5.0


@pytest.mark.parametrize("status", [400, 422, 500])
@pytest.mark.parametrize(
    "body",
    [
        b"ConnectionError: connection refused",
        b"upstream connect error or disconnect/reset before headers",
        b"no service hosts found",
    ],
)
def test_a_container_that_speaks_of_connections_is_not_waited_for(status: int, body: bytes) -> None:
    """Its own failure in the words of a gateway: waiting for a cold start would hold the query for minutes."""
    assert type(told(status, body)) is (BadRequest if status < 500 else ServiceError)


DENIALS = {
    "network policy": (403, gateway("Incoming request: the network policy refuses it.", "ERROR_ACCESS_DENIED"), {}),
    "no-policy": (403, gateway("Incoming request: a network policy is required.", "ERROR_ACCESS_DENIED"), {}),
    "network policy, other status": (401, gateway("Network policy refuses 1.2.3.4."), {}),
    "another host": (403, b"Could not find the service associated with endpoint abc-org-acct.", {}),
    "another host, 404": (404, b"Could not find the service associated with endpoint abc-org-acct.", {}),
    "another host, in JSON": (403, gateway("Could not find the service associated with endpoint abc."), {}),
    "network policy that blocks": (403, b"<html>Blocked by the network policy of the account.</html>", HTML),
    "no privilege": (403, b"<html>Access denied. Insufficient privileges to use abc.example</html>", HTML),
    "no privilege, 404": (404, b"<html>Access denied</html>", HTML),
}  # fmt: skip
MENDS = {
    "network": "add the address",
    "no-policy": "SET NETWORK_POLICY",
    "another": "SHOW ENDPOINTS IN SERVICE",
    "no": "GRANT SERVICE ROLE",
}


@pytest.mark.parametrize("case", DENIALS)
def test_a_good_token_without_access_is_told_with_what_to_grant(case: str) -> None:
    status, body, headers = DENIALS[case]
    error = told(status, body, headers)
    assert isinstance(error, AccessDenied)
    assert isinstance(error, TokenRefused) == (status == 401), (
        "a 401 is worth another token, whatever it names"
    )
    assert MENDS[case.split(maxsplit=1)[0]] in error.hint


@pytest.mark.parametrize("detail", ["Internal server error", "empty data", ""])
def test_a_failure_of_the_gateway_may_pass_and_nobody_is_asked_to_sign_in_otherwise(detail: str) -> None:
    error = told(500, gateway(detail))
    assert type(error) is GatewayDown
    assert error.request_id == REQUEST_ID
    assert "sign in" not in error.hint


@pytest.mark.parametrize("body", [b'{"error": "oops"}', b"oops", b'{"detail": "Internal server error"}'])
def test_a_failure_of_the_container_is_not_the_gateways(body: bytes) -> None:
    assert type(told(500, body)) is ServiceError


@pytest.mark.parametrize(
    ("status", "body"),
    [(404, b""), (403, gateway("Could not find the service associated with endpoint abc."))],
)
def test_an_endpoint_that_is_not_there_for_the_role_may_be_a_gateways(status: int, body: Any) -> None:
    assert "GRANT USAGE ON GATEWAY <gateway> TO ROLE <role>" in told(status, body).hint


@pytest.mark.parametrize("status", [401, 403])
def test_an_address_that_is_not_let_in_is_told_as_that(status: int) -> None:
    sentence = "Incoming request with IP/Token 192.0.2.7 is not allowed to access Snowflake."
    error = told(status, gateway(sentence))
    assert isinstance(error, AccessDenied)
    assert "network policy" in error.hint
    assert "It may be the token" not in error.hint
    assert not isinstance(told(status, {"error": sentence}), AccessDenied), "a container's own words"


@pytest.mark.parametrize(
    ("sentence", "hint"),
    [
        ("User access disabled. Contact your local system administrator.", "SET DISABLED = FALSE"),
        ("Your free trial has ended and all of your virtual warehouses have been suspended.", "billing"),
        ("Your user account has been temporarily locked.", "MINS_TO_UNLOCK"),
        (
            "Authentication attempt rejected by the current authentication policy.",
            "KEYPAIR to AUTHENTICATION_METHODS",
        ),
    ],
)
def test_what_the_gateway_says_of_the_user_is_told_with_who_can_change_it(sentence: str, hint: str) -> None:
    body = json.dumps(gateway(sentence)).encode()
    assert hint in IngressErrors(SignInKind.KEY_PAIR)(403, {}, body).hint


# -- 404: of whom? -------------------------------------------------------------------------------------


BLOCKED = b"<!doctype html><title>Access Denied</title>This site was blocked by your organization's proxy."


@pytest.mark.parametrize(
    ("status", "body"), [(403, BLOCKED), (451, BLOCKED), (407, b""), (511, b"<html>Log in</html>")]
)
def test_what_a_proxy_or_firewall_answers_is_not_blamed_on_a_role_or_token(status: int, body: bytes) -> None:
    error = told(status, body, HTML)
    assert type(error) is (Blocked if status in (403, 451) else AccessDenied)
    assert f"proxy or firewall denies the request (HTTP {status})" in error.message
    assert "GRANT" not in error.hint


@pytest.mark.parametrize("body", [b"", b"Not Found", b"<html>404</html>", b"[]", gateway("Not found.")])
def test_a_404_without_an_owner_names_both_causes_and_is_worth_another_token(body: Any) -> None:
    error = told(404, body)
    assert isinstance(error, TokenRefused), "a new token is tried"
    assert isinstance(error, NotFound), "and then another path may be"
    assert "URL" in error.message
    assert "access" in error.message
    assert "GRANT SERVICE ROLE" in error.hint


@pytest.mark.parametrize(
    "body",
    [
        {"detail": "Not Found"},
        {"object": "error", "message": "The model `x` does not exist.", "code": 404},
        {"error": {"message": "The model `x` does not exist.", "code": "model_not_found"}},
        {"error": "model 'x' not found"},
    ],
)
def test_a_404_of_the_container_is_only_that(body: Any) -> None:
    error = told(404, body)
    assert type(error) is NotFound
    assert not isinstance(error, TokenRefused)


# -- the container -------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "Invalid API Key", "type": "authentication_error", "code": 401}},
        {"detail": "Invalid API key"},
        {"error": "Unauthorized"},
        {"object": "error", "message": "Unauthorized"},
        {"detail": {"error": "Unauthorized"}},
    ],
)
def test_a_refusal_of_the_container_is_about_its_own_key(status: int, body: Any) -> None:
    error = told(status, body)
    assert isinstance(error, ServiceError)
    assert error.place == "service"
    assert isinstance(error, TokenRefused) == (status == 401), "the form may be the gateway's, too"
    assert "'Service API key'" in error.hint


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, BadRequest),
        (422, BadRequest),
        (405, ServiceError),
        (409, ServiceError),
        (413, RequestTooLarge),
        (418, ServiceError),
        (429, ServiceBusy),
        (500, ServiceError),
        (501, ServiceError),
        (502, ServiceDown),
        (503, ServiceDown),
        (504, ServiceDown),
        (599, ServiceError),
        (408, ServiceDown),
        (431, IngressError),
        (520, ServiceDown),
        (523, ServiceDown),
        (524, ServiceDown),
        (529, ServiceBusy),
    ],
)
@pytest.mark.parametrize(
    "body", [b"", b"Some text", {"error": "Some text"}, b"<html>a page</html>", b"\xff\xfe"]
)
def test_each_status_has_a_kind_whatever_the_body(status: int, kind: type, body: Any) -> None:
    error = told(status, body)
    assert type(error) is kind
    assert f"HTTP {status}" in error.message
    assert error.hint
    assert "a page" not in str(error)


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "Loading model", "type": "unavailable_error", "code": 503}},
        {"error": "Model x is currently loading", "estimated_time": 20.0},
        {"detail": "The service is still starting up"},
        b"Model is not ready yet",
    ],
)
def test_a_container_that_loads_its_model_is_worth_waiting_for(body: Any) -> None:
    error = told(503, body)
    assert type(error) is ModelLoading
    assert error.place == "service"
    assert "'Cold start wait'" in error.hint


@pytest.mark.parametrize(
    "text", ["Failed loading model: no such file", "error loading the weights", "Overloaded"]
)
def test_a_container_that_cannot_load_its_model_is_down(text: str) -> None:
    assert type(told(503, {"error": text})) is ServiceDown


@pytest.mark.parametrize(
    ("header", "seconds"), [("3", 3.0), ("0.5", 0.5), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0), ("soon", None)]
)
@pytest.mark.parametrize("status", [429, 503])
def test_the_time_to_wait_is_taken_from_either_form_of_the_header(
    status: int, header: str, seconds: float | None
) -> None:
    assert told(status, b"", {"Retry-After": header}).retry_after == seconds


TRACEBACK = (
    "Prediction failed: no\nTraceback (most recent call last):\n"
    '  File "/app/x.py", line 3\nValueError: too long'
)
MESSAGES = [
    ({"error": "too long"}, "too long"),
    ({"error": TRACEBACK}, "ValueError: too long"),
    ({"error": {"message": "too long", "type": "invalid_request_error", "param": None}}, "too long"),
    ({"error": {"message": "not supported", "param": "max_tokens"}}, "max_tokens: not supported"),
    ({"error": {"message": "not supported", "param": "None"}}, "not supported"),
    ({"error": {"message": "'max_tokens' is too large", "param": "max_tokens"}}, "'max_tokens' is too large"),
    ({"error": {"type": "invalid_request_error"}}, "invalid_request_error"),
    ({"object": "error", "message": "too long", "code": 400}, "too long"),
    ({"object": "error", "message": "bad value", "param": "top_k"}, "top_k: bad value"),
    ({"detail": "too long"}, "too long"),
    (
        {"detail": [{"loc": ["body", "top_k"], "msg": "Extra inputs are not permitted", "input": "private"},
                    {"loc": ["body", "n"], "msg": "Input should be 1"}]},
        "body.top_k: Extra inputs are not permitted; body.n: Input should be 1",
    ),
    ({"detail": {"error": "too long"}}, "too long"),
    ({"detail": {"error": {"message": "too long"}}}, "too long"),
    ({"detail": {"message": "too long", "code": 7}}, "too long"),
    ({"message": "too long"}, "too long"),
    (b"too long", "too long"),
    (TRACEBACK.encode(), "ValueError: too long"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "said"), MESSAGES, ids=lambda value: str(value)[:40])
def test_the_message_is_found_in_each_shape_and_tracebacks_are_cut(body: Any, said: str) -> None:
    error = told(400, body)
    assert error.message == f"The service refuses the request (HTTP 400): {said}."
    assert "/app" not in str(error)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"error": {}},
        {"error": None, "detail": None},
        {"error": []},
        {"error": 5},
        {"detail": [5, None, {"loc": None}]},
        [1],
        5,
        b"[" * 100_000,
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_body_of_any_shape_gives_a_clear_error(body: Any) -> None:
    for status in (400, 401, 404, 500, 503):
        assert told(status, body).message.startswith(("The service", "Nothing", "Snowflake's gateway"))


@pytest.mark.parametrize("status", [500, 503])
@pytest.mark.parametrize(
    "words",
    [
        "server busy, please try again.  maximum pending requests exceeded",
        "unexpected server status: llm busy - no slots available",
        "The request queue is full.",
        "Model is overloaded",
        "Service Busy",
    ],
)
def test_a_server_that_says_that_it_is_busy_is_asked_again(status: int, words: str) -> None:
    error = told(status, {"error": words})
    assert isinstance(error, ServiceBusy)
    assert "Max parallelism" in error.hint


def test_a_budget_that_is_used_up_is_worth_no_other_try() -> None:
    error = told(429, {"error": {"message": "Budget has been exceeded! Current cost: 76.16", "code": "429"}})
    assert not isinstance(error, ServiceBusy)
    assert "raise the budget" in error.hint


def test_the_title_of_a_page_says_that_a_model_is_not_ready() -> None:
    page = b"<html><title>503: Model with name field is not ready.</title><body></body></html>"
    assert isinstance(told(503, page, {"Content-Type": "text/html"}), ServiceStarting)


def test_messages_are_cut_at_500_characters() -> None:
    for body in ({"error": "x" * 5000}, b"y" * 5000, gateway("z" * 5000)):
        for status in (400, 401, 500):
            assert len(told(status, body).message) < 600


# -- Snowflake's own codes, redirects, and hints that fit -------------------------------------------------------


@pytest.mark.parametrize("code", ["390432", 390432])
def test_snowflakes_codes_are_snowflakes_whatever_form_they_come_in(code: Any) -> None:
    error = told(401, {"code": code, "message": "Network policy is required.", "success": False})
    assert isinstance(error, AccessDenied)
    assert isinstance(error, TokenRefused)
    assert error.code == "390432"
    assert "SET NETWORK_POLICY" in error.hint
    assert "'Service API key'" not in str(error)


def test_an_expired_token_is_told_by_its_code() -> None:
    error = told(401, {"code": "390318", "message": "OAuth access token expired."})
    assert type(error) is TokenRefused
    assert "Sign in again" in error.hint


def test_a_sentence_that_names_the_policy_and_the_token_is_worth_another_token() -> None:
    detail = "The token is expired or revoked, or a network policy does not allow the address."
    for status in (401, 403):
        error = told(status, gateway(detail, "ERROR_INVALID_TOKEN"))
        assert isinstance(error, TokenRefused)
        assert isinstance(error, AccessDenied)
        assert "network policy" in error.message


@pytest.mark.parametrize(
    "location",
    ["/v1/chat/completions/", "http://localhost:8000/predict/", "https://abc.example/api/v1/embeddings"],
)
@pytest.mark.parametrize("status", [301, 307, 308])
def test_a_redirect_within_the_container_is_about_the_path(status: int, location: str) -> None:
    error = told(status, b"", {"Location": location})
    assert isinstance(error, NotFound)
    assert not isinstance(error, TokenRefused)
    assert "redirect" in error.message
    assert location not in str(error)


@pytest.mark.parametrize(
    "location",
    [
        "/oauth/authorize",
        "https://myorg-myacct.snowflakecomputing.com/v1/x",
        "https://a/login",
        "https://idp.example.com/app/abc?SAMLRequest=x",
        "",
    ],
)
def test_any_other_redirect_asks_for_a_sign_in(location: str) -> None:
    assert type(told(307, b"", {"Location": location})) is TokenRefused


@pytest.mark.parametrize(
    "location", ["//evil/v1/", "http://10.0.0.1/blocked.html", "https://filter.example/b?c=1"]
)
def test_a_redirect_to_a_page_of_somebody_else_costs_no_token(location: str) -> None:
    error = told(302, b"", {"Location": location})
    assert type(error) is AccessDenied
    assert location not in str(error)


@pytest.mark.parametrize("body", [b"", b"Unauthorized"])
@pytest.mark.parametrize("service_key", [True, False])
def test_a_refusal_without_an_owner_names_both_suspects(body: bytes, service_key: bool) -> None:
    error = IngressErrors(SignInKind.OAUTH, service_key=service_key)(401, {}, body)
    assert isinstance(error, TokenRefused)
    for suspect in ("token", "container", "'Service API key'", "GRANT SERVICE ROLE"):
        assert suspect in str(error)
    first, second = ("'Service API key'", "GRANT") if service_key else ("GRANT", "'Service API key'")
    assert error.hint.index(first) < error.hint.index(second), "the likelier one first"


@pytest.mark.parametrize("status", [302, 401])
def test_hints_about_the_token_fit_the_way_of_signing_in(status: int) -> None:
    kinds = [kind for kind in SignInKind if kind is not SignInKind.NONE]
    hints = {kind: IngressErrors(kind)(status, {}, gateway_body()).hint for kind in kinds}
    assert hints[SignInKind.TOKEN].startswith("Check that the programmatic access token")
    assert "'Scope'" in hints[SignInKind.OAUTH]
    assert "'Role'" in hints[SignInKind.KEY_PAIR]
    assert "programmatic" not in hints[SignInKind.OAUTH] + hints[SignInKind.KEY_PAIR]
    assert all("GRANT SERVICE ROLE" in hint for hint in hints.values())


@pytest.mark.parametrize("status", [302, 307, 401, 403, 404, 413, 429, 500, 502, 503])
@pytest.mark.parametrize(
    "body",
    [b"", b"no service hosts", b"access denied", b"Network policy is required", b"<html>sign in</html>"],
)
def test_without_a_sign_in_no_error_blames_snowflakes_gateway_or_a_token(status: int, body: bytes) -> None:
    error = IngressErrors(SignInKind.NONE)(status, {"Location": "https://app.snowflake.com/login"}, body)
    for word in ("Snowflake", "token", "GRANT", "administrator", "role"):
        assert word not in str(error).replace("SYSTEM$GET_SERVICE_LOGS", "")


def gateway_body() -> bytes:
    return json.dumps(gateway("Token is invalid.", "ERROR_INVALID_TOKEN")).encode()


HINTS = {
    "This model's maximum context length is 4096 tokens": "shorter prompt",
    "`inputs` tokens + `max_new_tokens` must be <= 4096": "shorter prompt",
    "max_tokens=5000 cannot be greater than max_model_len=2048.": "shorter prompt",
    '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser': "start the server with",
    "registry/llama3:8b does not support tools": "a model that supports tools",
    "At most 0 image(s) may be provided": "a model that reads images",
    "At most 1 image(s) may be provided in one prompt.": "fewer images",
    "The maximum number of images is 12, but 13 were given": "fewer images",
    "HarmonyError('Unknown role: assistantassistant')": "ask again",
    "System role not supported": "chat template takes other roles",
    "Conversation roles must alternate user/assistant": "chat template takes other roles",
    "Tool call id was x but must be a-z, A-Z, 0-9, with a length of 9.": "tool call ids",
    "'input_type' parameter is required for asymmetric models": "queries and passages",
    "Incorrect API key provided": "'Service API key'",
    "unknown parameter: top_q": "what the service names",
    "something quite different": "logs",
}


@pytest.mark.parametrize("reason", HINTS)
def test_a_hint_suits_the_reason_and_blames_the_protocol_only_without_one(reason: str) -> None:
    hint = told(400, {"error": {"message": reason}}).hint
    assert HINTS[reason] in hint
    assert "Service protocol" not in hint
    assert "'Service protocol'" in told(400, b"").hint
    assert (
        "'Service protocol'"
        in told(422, {"detail": [{"loc": ["body", "data"], "msg": "Field required"}]}).hint
    )


@pytest.mark.parametrize("value", ["a b", "x\nInjected", "x" * 65, 5, None, ["a"]])
def test_an_id_of_another_form_is_not_shown(value: Any) -> None:
    assert told(401, {**gateway("no"), "requestId": value}).request_id is None


def test_an_id_that_is_a_credential_is_not_shown() -> None:
    SENT_SECRETS.add("pat-canary-of-a-test-0816")
    error = told(401, {**gateway("no"), "requestId": "pat-canary-of-a-test-0816"})
    assert error.request_id is None


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'event: error\ndata: {"error": {"message": "too many"}}\n\n', "too many"),
        (b'data: {"error":\ndata:  {"message": "too many"}}', "too many"),
        (b": open\n\ndata: too many\n\ndata: [DONE]\n\n", "too many"),
        (b'data: {"error": {"message": "too', ""),
        (b"data: [DONE]\n\n", ""),
        (b"data:", ""),
        (b"event: error\n\n", ""),
        (b"data: " + b"[" * 100_000, ""),
    ],
)
def test_a_refusal_may_be_a_stream_of_one_event(body: bytes, said: str) -> None:
    error = told(429, body, {"Content-Type": "text/event-stream"})
    assert isinstance(error, ServiceBusy)
    assert said in str(error)
    if said:
        assert "data:" not in str(error)
