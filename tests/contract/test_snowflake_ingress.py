"""The sandbox's ingress: who gets in, what those get who do not, and what passes through unchanged."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from sandbox.services.local import LocalService
from sandbox.snowflake import ROLE, Snowflake
from sandbox.snowflake.snowflake import PublicEndpoint
from tests.waiting import longer_each_time, wait_for

BODY = {"data": [[0, {"inputs": "hi"}]]}
CHATS = "/v1/chat/completions"


@pytest.fixture
def sf() -> Iterator[Snowflake]:
    with Snowflake() as snowflake:
        yield snowflake


def session_token(sf: Snowflake, **data: Any) -> str:
    body = {"data": {"AUTHENTICATOR": "OAUTH", "TOKEN": sf.issue_oauth_token(), **data}}
    reply = requests.post(sf.account_url + "/session/v1/login-request", json=body, timeout=30)
    return reply.json()["data"]["token"]


def credential(token: str | None, header: str = "Authorization") -> dict[str, str]:
    return {header: f'Snowflake Token="{token}"'}


def call(
    chat: PublicEndpoint,
    headers: dict[str, str] | None = None,
    body: Any = BODY,
    path: str = "/predict",
    **kwargs: Any,
) -> requests.Response:
    settings = {"timeout": 30, "allow_redirects": False, **kwargs}
    return requests.post(chat.url + path, json=body, headers=headers or {}, **settings)


def key_pair_token(sf: Snowflake, host: str, role: str = ROLE) -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    layout = serialization.PublicFormat.SubjectPublicKeyInfo
    fingerprint = sf.register_public_key(
        "ALICE", key.public_key().public_bytes(serialization.Encoding.PEM, layout)
    )
    name, now = f"{sf.world.account}.ALICE", sf.clock()
    claims = {"iss": f"{name}.{fingerprint}", "sub": name, "iat": now, "exp": now + 60}
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "scope": f"session:role:{role} {host}",
        "assertion": jwt.encode(claims, key, algorithm="RS256"),
    }
    return requests.post(sf.account_url + "/oauth/token", data=form, timeout=30).text


async def show(scope: Any, receive: Any, send: Any) -> None:
    """A container that shows what reached it, with headers that the ingress must take away."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    seen = {
        "method": scope["method"],
        "path": scope["raw_path"].decode() + "?" + scope["query_string"].decode(),
        "headers": {k.decode(): v.decode() for k, v in scope["headers"]},
        "body": body.decode(),
    }
    answer = [(b"content-type", b"application/json")]
    answer += [(b"server", b"gunicorn"), (b"x-powered-by", b"PHP"), (b"access-control-allow-origin", b"*")]
    await send({"type": "http.response.start", "status": 418, "headers": answer})
    await send({"type": "http.response.body", "body": json.dumps(seen).encode()})


# -- credentials


@pytest.mark.parametrize("header", ["Authorization", "X-SF-SPCS-Authorization"])
def test_a_session_token_gets_in_by_either_header(sf: Snowflake, header: str) -> None:
    chat = sf.create_service("chat")
    assert call(chat, credential(session_token(sf), header)).status_code == 200


@pytest.mark.parametrize("value", ["{}", "Bearer {}", "Snowflake Token={}", "Snowflake Token=''{}''"])
def test_only_the_documented_form_of_the_header_is_a_credential(sf: Snowflake, value: Any) -> None:
    chat = sf.create_service("chat")
    assert call(chat, {"Authorization": value.format(session_token(sf))}).status_code == 302


def test_a_pat_gets_in_until_it_is_revoked(sf: Snowflake) -> None:
    chat = sf.create_service("chat")
    pat = sf.create_pat()
    assert call(chat, credential(pat)).status_code == 200
    sf.world.revoke(pat)
    refused = call(chat, credential(pat))
    assert refused.status_code == 401
    assert refused.json()["responseType"] == "ERROR_INVALID_TOKEN"
    assert refused.json()["requestId"]


def test_a_pat_outside_the_network_policy_is_told_so(sf: Snowflake) -> None:
    refused = call(sf.create_service("chat"), credential(sf.create_pat(network_allowed=False)))
    assert refused.status_code == 403
    assert "network policy" in refused.json()["detail"]


def test_an_oauth_token_gets_in_only_with_the_method_header(sf: Snowflake) -> None:
    chat = sf.create_service("chat")
    header = credential(sf.issue_oauth_token())
    assert call(chat, header).status_code == 302
    assert call(chat, {**header, "X-SF-SPCS-Authentication-Method": "OAUTH"}).status_code == 200


def test_a_key_pair_token_opens_the_endpoint_it_was_made_for_and_no_other(sf: Snowflake) -> None:
    chat, other = sf.create_service("chat"), sf.create_service("other")
    header = credential(key_pair_token(sf, chat.endpoint.host))
    assert call(chat, header).status_code == 200
    assert call(other, header).status_code == 403
    sf.clock.advance(601)
    assert call(chat, header).status_code == 302


def test_an_endpoint_can_take_some_kinds_of_token_only(sf: Snowflake) -> None:
    chat = sf.create_service("chat", accepts={"pat"})
    assert call(chat, credential(session_token(sf))).status_code == 302
    assert call(chat, credential(sf.create_pat())).status_code == 200


def test_a_role_without_the_service_role_does_not_find_the_service(sf: Snowflake) -> None:
    sf.world.add_user("BOB", "ANALYST")
    chat = sf.create_service("chat")
    refused = call(chat, credential(sf.create_pat("BOB")))
    assert refused.status_code == 403
    assert "Could not find the service associated with endpoint" in refused.text
    hidden = sf.create_service("hidden", protocol="MODEL_SERVING")
    assert call(hidden, credential(sf.create_pat("BOB")), path="/__call__").status_code == 404


def test_a_dead_session_is_like_none(sf: Snowflake) -> None:
    chat = sf.create_service("chat")
    expired = session_token(sf)
    sf.clock.advance(3601)
    assert call(chat, credential(expired)).status_code == 302
    ended = session_token(sf)
    requests.post(sf.account_url + "/session?delete=true", headers=credential(ended), timeout=30)
    assert call(chat, credential(ended)).status_code == 302


def test_a_connectors_session_is_an_http_500(sf: Snowflake) -> None:
    chat = sf.create_service("chat")
    assert call(chat, credential(session_token(sf, CLIENT_APP_ID="PythonConnector"))).status_code == 500
    json_results = {"PYTHON_CONNECTOR_QUERY_RESULT_FORMAT": "json"}
    token = session_token(sf, CLIENT_APP_ID="PythonConnector", SESSION_PARAMETERS=json_results)
    assert call(chat, credential(token)).status_code == 200


# -- what a caller without credentials gets


def test_the_sign_in_redirect_ends_on_a_page_that_is_html_with_200(sf: Snowflake) -> None:
    chat = sf.create_service("chat")
    refused = call(chat)
    assert refused.status_code == 302
    assert refused.headers["Server"] == "_"
    assert "sfc-ss-" in refused.headers["Set-Cookie"]
    page = call(chat, allow_redirects=True)
    assert page.status_code == 200
    assert page.headers["Content-Type"].startswith("text/html")
    assert sf.counters["account"]["sign_in_page"] == 1


@pytest.mark.parametrize("status", ["401", "403"])
def test_refusals_can_be_gateway_json(sf: Snowflake, status: str) -> None:
    refused = call(sf.create_service("chat", unauthenticated=status))
    assert refused.status_code == int(status)
    assert refused.json().keys() == {"responseType", "requestId", "detail"}


def test_refusals_can_hide_as_not_found(sf: Snowflake) -> None:
    chat = sf.create_service("chat", unauthenticated="404")
    assert call(chat).status_code == 404
    assert call(chat, credential(sf.create_pat(network_allowed=False))).status_code == 404
    assert chat.counters["refused"] == 2


# -- what passes


def test_the_container_gets_the_request_without_what_is_the_ingress_s_business(sf: Snowflake) -> None:
    with_service = LocalService(show)
    chat = sf.create_service("chat", service=with_service)
    sent = {
        **credential(session_token(sf), "X-SF-SPCS-Authorization"),
        "Authorization": "Bearer app-key",
        "X-SF-SPCS-Authentication-Method": "OAUTH",
        "Sf-Context-Current-User": "MALLORY",
        "Sf-Context-Current-User-Token": "stolen",
        "Cookie": "a=b",
    }
    reply = call(chat, sent, path="/a%20b?q=1&q=2")
    seen = reply.json()
    assert reply.status_code == 418
    assert seen["path"] == "/a%20b?q=1&q=2"
    assert json.loads(seen["body"]) == BODY
    assert seen["headers"]["authorization"] == "Bearer app-key"
    assert seen["headers"]["sf-context-current-user"] == "ALICE"
    gone = {
        "x-sf-spcs-authorization",
        "x-sf-spcs-authentication-method",
        "cookie",
        "sf-context-current-user-token",
    }
    assert not gone & seen["headers"].keys()
    assert seen["headers"].keys() == chat.received[-1].headers.keys() | {"host"}


def test_a_snowflake_token_never_reaches_the_container(sf: Snowflake) -> None:
    chat = sf.create_service("chat", service=LocalService(show))
    seen = call(chat, credential(session_token(sf))).json()
    assert "authorization" not in seen["headers"]


def test_the_answer_carries_the_ingress_s_headers_and_not_the_container_s(sf: Snowflake) -> None:
    chat = sf.create_service("chat", service=LocalService(show))
    headers = call(chat, credential(session_token(sf))).headers
    assert headers["Server"] == "_"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cross-Origin-Embedder-Policy"] == "credentialless"
    assert "Content-Security-Policy" in headers
    assert not {"X-Powered-By", "Access-Control-Allow-Origin"} & headers.keys()


def test_get_and_head_pass_without_a_body_and_trace_does_not_pass(sf: Snowflake) -> None:
    chat = sf.create_service("chat", service=LocalService(show))
    header = credential(session_token(sf))
    seen = requests.get(chat.url + "/x", headers=header, timeout=30).json()
    assert "transfer-encoding" not in seen["headers"]
    assert requests.head(chat.url + "/x", headers=header, timeout=30).status_code == 418
    assert requests.request("TRACE", chat.url + "/x", headers=header, timeout=30).status_code == 405


def test_an_executable_is_not_handed_out(sf: Snowflake) -> None:
    async def program(scope: Any, receive: Any, send: Any) -> Any:
        headers = [(b"content-type", b"application/x-msdownload")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"MZ"})

    chat = sf.create_service("chat", service=LocalService(program))
    assert call(chat, credential(session_token(sf))).status_code == 403


def test_a_stream_passes_part_by_part(sf: Snowflake) -> None:
    go_on = threading.Event()

    async def in_two_parts(scope: Any, receive: Any, send: Any) -> Any:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        await asyncio.to_thread(go_on.wait, 30)
        await send({"type": "http.response.body", "body": b"two"})

    chat = sf.create_service("chat", service=LocalService(in_two_parts))
    with call(chat, credential(session_token(sf)), stream=True) as reply:
        parts = reply.iter_content(None)
        assert next(parts) == b"one"  # or it would wait for what is not there yet
        go_on.set()
        assert list(parts) == [b"two"]


def test_an_upload_in_chunks_passes(sf: Snowflake) -> None:
    chat = sf.create_service("chat", service=LocalService(show))
    parts = [b'{"data": ', b"[]}"]
    reply = requests.post(chat.url, data=iter(parts), headers=credential(session_token(sf)), timeout=30)
    assert reply.json()["body"] == '{"data": []}'


def test_a_caller_that_leaves_a_stream_frees_the_service(sf: Snowflake) -> None:
    chat = sf.create_service("chat", protocol="OPENAI", tokens=1000, token_seconds=0.05)
    asked = {"messages": [{"role": "user", "content": "hi"}], "stream": True}
    with call(chat, credential(session_token(sf)), asked, "/v1/chat/completions", stream=True) as reply:
        content = reply.iter_content(None)  # kept, because its end would close the connection
        next(content)
        assert chat.counters["in_flight"] == 1
    wait_for(lambda: chat.counters["in_flight"] == 0)
    assert chat.counters["abandoned"] == 1


# -- limits


def test_model_serving_takes_no_more_than_a_megabyte(sf: Snowflake) -> None:
    chat = sf.create_service("chat", protocol="MODEL_SERVING")
    header = credential(session_token(sf))
    big = {"dataframe_records": [{"messages": [{"role": "user", "content": "x" * 1_000_001}]}]}
    assert call(chat, header, big, "/__call__").status_code == 413
    chunks = iter([b"x" * 600_000, b"x" * 600_000])
    assert requests.post(chat.url + "/__call__", data=chunks, headers=header, timeout=30).status_code == 413
    plain = sf.create_service("plain")
    assert call(plain, header, {"data": [[0, {"inputs": "x" * 1_000_001}]]}).status_code == 200


def test_silence_longer_than_the_idle_limit_is_a_504(sf: Snowflake) -> None:
    chat = sf.create_service("chat", idle_seconds=0.2, request_seconds=300)
    assert call(chat, credential(session_token(sf))).status_code == 504
    assert chat.counters["cut_idle"] == 1


def test_silence_can_end_the_connection_instead(sf: Snowflake) -> None:
    chat = sf.create_service("chat", idle_seconds=0.2, idle_answer="close", request_seconds=30)
    with pytest.raises(requests.ConnectionError):
        call(chat, credential(session_token(sf)))


def test_a_stream_lives_longer_than_the_idle_limit_while_bytes_flow_and_is_cut_when_not(
    sf: Snowflake,
) -> None:
    header = credential(session_token(sf))
    asked = {"messages": [{"role": "user", "content": "hi"}], "stream": True}

    def ends_of(name: str, **options: Any) -> tuple[bool, bool]:
        """Whether its stream came to its end, and whether it was cut after it had begun."""
        with call(
            sf.create_service(name, protocol="OPENAI", **options), header, asked, CHATS, stream=True
        ) as reply:
            try:
                return "[DONE]" in reply.text, False
            except requests.exceptions.ChunkedEncodingError:
                return False, reply.status_code == 200

    for seconds in longer_each_time(1.0):  # a machine that stands still for so long is silent
        flowing = ends_of(f"flowing{seconds:g}", idle_seconds=seconds, tokens=12, token_seconds=seconds / 10)
        silent = ends_of(f"silent{seconds:g}", idle_seconds=seconds / 2, tokens=2, token_seconds=300)
        if (flowing, silent) == ((True, False), (False, True)):
            break
    assert flowing == (True, False)
    assert silent == (False, True)


# -- the life of the service


def test_a_suspended_service_is_resumed_by_the_first_call_and_ready_after_n_refusals(sf: Snowflake) -> None:
    chat = sf.create_service("chat")
    header = credential(session_token(sf))
    chat.set_state("suspended", refusals=2)
    assert chat.endpoint.resumes == 0
    for _ in range(2):
        refused = call(chat, header)
        assert refused.status_code == 503
        assert refused.json()["responseType"] == "ERROR"
        assert "no service hosts found" in refused.json()["detail"]
    assert call(chat, header).status_code == 200
    assert chat.endpoint.resumes == 1


def test_a_suspended_service_is_ready_after_a_time(sf: Snowflake) -> None:
    chat = sf.create_service("chat")
    header = credential(session_token(sf))
    chat.set_state("suspended", seconds=120)
    sf.clock.advance(500)
    assert call(chat, header).status_code == 503
    sf.clock.advance(119)
    assert call(chat, header).status_code == 503
    sf.clock.advance(2)
    assert call(chat, header).status_code == 200


@pytest.mark.parametrize(
    ("state", "status", "says"),
    [
        ("no_hosts", 503, "no service hosts found"),
        ("connect_error", 503, "upstream connect error"),
        ("loading", 502, "connection refused"),
    ],
)
def test_a_service_that_is_not_there_says_so_until_it_is(
    sf: Snowflake, state: Any, status: int, says: str
) -> None:
    chat = sf.create_service("chat")
    header = credential(session_token(sf))
    chat.set_state(state)
    for _ in range(3):
        refused = call(chat, header)
        assert (refused.status_code, says in refused.text) == (status, True)
    chat.set_state("running")
    assert call(chat, header).status_code == 200


def test_strangers_do_not_wake_a_suspended_service(sf: Snowflake) -> None:
    chat = sf.create_service("chat")
    chat.set_state("suspended", refusals=1)
    assert call(chat).status_code == 302
    assert chat.endpoint.resumes == 0


def test_a_service_whose_port_is_closed_is_an_upstream_connect_error(sf: Snowflake) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        chat = sf.create_service("chat", service=f"http://127.0.0.1:{sock.getsockname()[1]}")
        refused = call(chat, credential(session_token(sf)))
    assert refused.status_code == 503
    assert "upstream connect error" in refused.text


# -- counting


@pytest.mark.exhaustive
@pytest.mark.parametrize("stream", [False, True])
def test_who_asks_one_after_the_other_is_never_counted_twice(sf: Snowflake, stream: bool) -> None:
    chat = sf.create_service("chat", protocol="OPENAI")
    asked = {"messages": [{"role": "user", "content": "hi"}], "stream": stream}
    header = credential(session_token(sf))
    with requests.Session() as client:
        for _ in range(150):
            client.post(chat.url + "/v1/chat/completions", json=asked, headers=header, timeout=30)
    assert chat.counters["max_in_flight"] == 1


def test_counters_know_requests_connections_and_the_most_at_once(sf: Snowflake) -> None:
    header = credential(session_token(sf))
    for seconds in longer_each_time(0.2):
        chat = sf.create_service(f"chat{seconds:g}", request_seconds=seconds, replicas=4)
        threads = [threading.Thread(target=call, args=(chat, header)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        with requests.Session() as client:
            for _ in range(3):
                client.post(chat.url + "/predict", json=BODY, headers=header, timeout=30)
        counts = sf.counters[f"chat{seconds:g}"]
        if counts["max_in_flight"] == 4:  # or one had its answer before another asked
            break
    assert counts["requests"] == counts["forwarded"] == 7
    assert counts["connections"] == 5
    assert counts["max_in_flight"] == 4
    wait_for(lambda: chat.counters["in_flight"] == 0)
