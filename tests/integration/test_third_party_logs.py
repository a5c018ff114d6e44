"""What urllib3, requests and http.client write to the log, at any level, of a head that echoes what it was sent."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from spcs_llm.connections import Connections
from spcs_llm.errors import SpcsError
from spcs_llm.model import Model
from tests.integration.raw_server import RawServer, then_close

TOKEN, KEY, PROMPT = "token-canary-0123456789", "key-canary-0123456789", "prompt-canary of some length"
ECHO = f'Bearer {KEY} and Snowflake Token="{TOKEN}" and {PROMPT}'
HEADS = {
    "a line without colon": f"HTTP/1.1 200 OK\r\nno colon {ECHO}\r\nContent-Length: 2\r\n\r\n{{}}",
    "a reason": f"HTTP/1.1 200 {ECHO}\r\nContent-Length: 2\r\n\r\n{{}}",
    "a folded line": f"HTTP/1.1 200 OK\r\nX-A: {ECHO}\r\n {ECHO}\r\nContent-Length: 2\r\n\r\n{{}}",
    "a fold without a header": f"HTTP/1.1 200 OK\r\n X-A: {ECHO}\r\nContent-Length: 2\r\n\r\n{{}}",
    "a status": f"HTTP/1.1 {ECHO}\r\n\r\n",
    "no HTTP": f"{ECHO}\r\n\r\n",
    "a length": f"HTTP/1.1 200 OK\r\nContent-Length: {ECHO}\r\n\r\n{{}}",
    "lengths": f"HTTP/1.1 200 OK\r\nContent-Length: 5, {ECHO}\r\n\r\n{{}}",
    "two framings": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n"
    f"X: {ECHO}\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n",
    "a coding": f"HTTP/1.1 200 OK\r\nTransfer-Encoding: {ECHO}\r\n\r\n{{}}",
    "a chunk size": f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{ECHO}\r\n{{}}",
    "a trailer": f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n{ECHO}\r\n\r\n",
    "a body that is not packed": f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nX: {ECHO}\r\n"
    "Content-Length: 9\r\n\r\nnot gzip!",
    "a location": f"HTTP/1.1 307 Go\r\nLocation: https://x.example/{ECHO}\r\nContent-Length: 0\r\n\r\n",
    "a time to wait": f"HTTP/1.1 400 No\r\nRetry-After: {ECHO}\r\nContent-Length: 0\r\n\r\n",
    "a challenge": f"HTTP/1.1 401 No\r\nWWW-Authenticate: {ECHO}\r\nSet-Cookie: a={ECHO}\r\nContent-Length: 0\r\n\r\n",
    "a charset": f"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset={ECHO}\r\nContent-Length: 2\r\n\r\n{{}}",
    "early hints": f"HTTP/1.1 103 {ECHO}\r\nX: {ECHO}\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{{}}",
}  # fmt: skip


@pytest.mark.parametrize("head", HEADS)
def test_nothing_that_was_sent_is_in_a_log_line_or_an_error(
    head: str, caplog: pytest.LogCaptureFixture, short_back_offs: Callable[[], None]
) -> None:
    short_back_offs()
    with RawServer(*(then_close(HEADS[head].encode()) for _ in range(6))) as server:
        model = Model(
            {
                "authenticationMode": "PROGRAMMATIC_ACCESS_TOKEN",
                "programmaticAccessToken": {"token": TOKEN},
                "serviceApiKey": KEY,
                "llmEndpointUrl": server.url,
                "serviceProtocol": "OPENAI",
                "modelName": "m",
                "queryTimeoutSeconds": 3,
                "requestTimeoutSeconds": 1,
            },
            connections=Connections(),
        )
        with caplog.at_level(logging.DEBUG), pytest.raises(SpcsError) as failed:
            model.complete({"messages": [{"role": "user", "content": PROMPT}]}, {}, None)
    assert any(record.name.startswith("urllib3") for record in caplog.records), "its log is looked at"
    lines = [record.getMessage() + repr(record.args) + repr(record.exc_info) for record in caplog.records]
    for text in (*lines, str(failed.value), repr(failed.value), repr(vars(failed.value))):
        assert "canary" not in text
    assert failed.value.__context__ is None
    assert failed.value.__cause__ is None
