"""Answers that nobody thought of: drawn by Hypothesis, through real sockets and the whole plugin.

Each ends in an answer that DSS can take or in an error of the plugin's own, and the process lives. A short run that can
be repeated is part of the tests; `make soak` draws at random for `FUZZ_EXAMPLES` (20000) of each kind.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("hypothesis")  # not in the environment for the model registry

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.hostile import surfaces
from tests.hostile.framing import FAULTS
from tests.hostile.known import judge
from tests.hostile.server import Request, chunk, head
from tests.hostile.surfaces import (
    ENDPOINT_TOKENS,
    LOGIN,
    OPENAI_CHAT,
    OPENAI_EMBEDDING,
    OPENAI_MODELS,
    OPENAI_RERANK,
    OPENAI_STREAM,
    PREDICT_CHAT,
    PREDICT_EMBEDDING,
    SERVING_CHAT,
    Surface,
    completion,
    dumped,
)
from tests.hostile.test_bodies import breaches
from tests.hostile.victim import Victim

pytestmark = pytest.mark.exhaustive

EXAMPLES = 15
_KEYS = st.sampled_from(
    [
        "choices",
        "delta",
        "message",
        "content",
        "role",
        "finish_reason",
        "tool_calls",
        "function",
        "name",
        "arguments",
        "id",
        "index",
        "logprobs",
        "usage",
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
        "data",
        "outputs",
        "output",
        "embedding",
        "generated_text",
        "results",
        "score",
        "relevance_score",
        "error",
        "code",
        "type",
        "param",
        "detail",
        "loc",
        "msg",
        "success",
        "token",
        "masterToken",
        "validityInSeconds",
        "requestId",
    ]
)
_LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from(
        [0, -1, 1, 2**53, 2**63, 10**400, 1e308, 1e-308, float("nan"), float("inf"), "", "stop", "a", "[1]"]
    ),
    st.floats(),
    st.text(max_size=20),
)
VALUES = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(_KEYS, inner, max_size=4),
        st.dictionaries(st.text(max_size=5), inner, max_size=2),
    ),
    max_leaves=12,
)
ANSWERS = {
    PREDICT_CHAT: {"data": [[0, {"outputs": "a"}]]},
    PREDICT_EMBEDDING: {"data": [[0, {"outputs": [1.0, 2.0]}]]},
    SERVING_CHAT: {"data": [[0, completion("a")]]},
    OPENAI_CHAT: completion("a", logprobs={"content": [{"token": "a", "logprob": -1.0, "top_logprobs": []}]}),
    OPENAI_STREAM: {
        "model": "m",
        "choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": "stop"}],
    },
    OPENAI_EMBEDDING: {"data": [{"index": 0, "embedding": [1.0]}], "usage": {"prompt_tokens": 1}},
    OPENAI_RERANK: {"results": [{"index": 0, "relevance_score": 1.0}, {"index": 1, "relevance_score": 0.5}]},
    OPENAI_MODELS: {"data": [{"id": "m"}]},
    LOGIN: {
        "success": True,
        "code": None,
        "data": {"token": "t", "masterToken": "m", "validityInSeconds": 9},
    },
    ENDPOINT_TOKENS: {"access_token": "a", "token": "b", "expires_in": 9},
}


def places_in(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found += places_in(item, (*path, key))
    return found


def with_value(answer: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    if isinstance(answer, dict):
        return {
            key: with_value(item, path[1:], value) if key == path[0] else item for key, item in answer.items()
        }
    return [with_value(item, path[1:], value) if at == path[0] else item for at, item in enumerate(answer)]


class Target:
    """A server whose next answer is set for each example."""

    def __init__(self, victim: Victim, surface: Surface) -> None:
        self._victim, self._surface = victim, surface

    def put(self, answer: bytes, *, closes: bool = False) -> None:
        """Asks, is given the answer, and checks what comes of it."""

        def send(request: Request) -> bytes | None:
            if not closes:
                return answer
            request.sock.sendall(answer)
            return None

        with self._surface.serve(send) as server:
            limits = {"requestTimeoutSeconds": 5, "queryTimeoutSeconds": 20}
            (outcome,) = self._victim.ask(self._surface.ask(server.url, **limits), timeout=40)
        assert outcome.died is None, outcome.died
        if outcome.error is not None:
            assert outcome.place not in (None, "plugin"), outcome.text
            assert len(outcome.text) < 2_000
        else:
            assert not list(breaches(self._surface, outcome.answer))


def fuzzed(strategy: st.SearchStrategy[Any]) -> Callable[[Any], Any]:
    """Two tests of one: a short run, the same every time, and a long one for `make soak`."""

    def decorate(check: Callable[..., None]) -> Any:
        def run(examples: int, repeatable: bool, *fixed: Any) -> None:
            health = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]

            @settings(
                max_examples=examples,
                deadline=None,
                derandomize=repeatable,
                database=None,
                suppress_health_check=health,
            )
            @given(strategy)
            def examined(drawn: Any) -> None:
                check(*fixed, drawn)

            examined()

        return run

    return decorate


DEPTHS = pytest.mark.parametrize(
    ("examples", "repeatable"),
    [
        (EXAMPLES, True),
        pytest.param(
            int(os.environ.get("FUZZ_EXAMPLES", "20000")),
            False,
            marks=[pytest.mark.soak, pytest.mark.timeout(3600)],
        ),
    ],
    ids=["short", "long"],
)


@fuzzed(st.data())
def _json(target: Target, surface: Surface, data: st.DataObject) -> None:
    answer = ANSWERS[surface]
    for _ in range(data.draw(st.integers(1, 2))):
        answer = with_value(answer, data.draw(st.sampled_from(places_in(answer))), data.draw(VALUES))
    if surface is OPENAI_STREAM:
        target.put(surface.reply(surfaces.event(answer) + surfaces.DONE))
    else:
        target.put(surface.reply(dumped(answer), content_type="application/json"))


@DEPTHS
@pytest.mark.parametrize("surface", ANSWERS, ids=str)
def test_any_json(victim: Victim, surface: Surface, examples: int, repeatable: bool) -> None:
    found = ""
    try:
        _json(examples, repeatable, Target(victim, surface), surface)
    except AssertionError as error:
        if not repeatable:
            raise
        found = str(error)
    if repeatable:
        judge({f"values, {surface}, any JSON": found})


_PIECES = st.one_of(
    st.sampled_from(
        [
            b"data: ",
            b"data:",
            b"event: error\n",
            b"event: message\n",
            b"\n",
            b"\n\n",
            b"\r",
            b"\r\n",
            b": ping\n",
            b"id: 1\n",
            b"retry: 1\n",
            b"[DONE]",
            b"\xef\xbb\xbf",
            b"\0",
            b"error: {}\n",
            surfaces.delta("a"),
            surfaces.delta("", "stop"),
            surfaces.event({"error": {"message": "x"}}),
            surfaces.event({"usage": {"prompt_tokens": 1}}),
            b'{"choices": []}',
        ]
    ),
    st.binary(max_size=12),
    VALUES.map(dumped),
)


@fuzzed(st.tuples(st.lists(_PIECES, max_size=12), st.booleans()))
def _stream(target: Target, drawn: tuple[list[bytes], bool]) -> None:
    pieces, whole = drawn
    pieces = [b"".join(pieces)] if whole else pieces
    begin = head(content_type=surfaces.EVENTS, transfer_encoding="chunked")
    target.put(begin + b"".join(chunk(piece) for piece in pieces if piece) + b"0\r\n\r\n")


@DEPTHS
@pytest.mark.parametrize("surface", [OPENAI_STREAM, OPENAI_CHAT], ids=str)
def test_any_event_stream(victim: Victim, surface: Surface, examples: int, repeatable: bool) -> None:
    _stream(examples, repeatable, Target(victim, surface))


_LINES = st.one_of(
    st.sampled_from(
        [
            b"Content-Length: 2",
            b"Content-Length: 5",
            b"Content-Length: -1",
            b"Transfer-Encoding: chunked",
            b"Connection: close",
            b"Content-Type: text/event-stream",
            b"Content-Type: text/html",
            b"Content-Encoding: gzip",
            b"Retry-After: 0",
            b"Location: https://evil.example",
            b"no colon",
            b" folded",
            b":",
            b"X:",
            b"\0: \0",
            b"Set-Cookie: a=b",
        ]
    ),
    st.binary(max_size=20).map(lambda line: line.replace(b"\n", b"")),
)
_STATUS = st.one_of(
    st.integers(0, 999).map(lambda status: b"HTTP/1.1 %03d X" % status),
    st.sampled_from(
        [
            b"HTTP/1.0 200 OK",
            b"HTTP/1.1 200",
            b"HTTP/2 200 OK",
            b"",
            b"HTTP/1.1  200 OK",
            b"HTTP/1.1 200 \xff",
        ]
    ),
    st.binary(max_size=20).map(lambda line: line.replace(b"\n", b"")),
)


@fuzzed(
    st.tuples(
        _STATUS, st.lists(_LINES, max_size=6), st.sampled_from([b"\r\n", b"\n"]), st.binary(max_size=40)
    )
)
def _head(target: Target, drawn: tuple[bytes, list[bytes], bytes, bytes]) -> None:
    status, lines, end, body = drawn
    target.put(end.join([status, *lines]) + end + end + body, closes=True)


@DEPTHS
@pytest.mark.parametrize("surface", [PREDICT_CHAT, OPENAI_STREAM, LOGIN], ids=str)
def test_any_head(victim: Victim, surface: Surface, examples: int, repeatable: bool) -> None:
    _head(examples, repeatable, Target(victim, surface))


@fuzzed(st.tuples(st.sampled_from(FAULTS), st.integers(0, 400), st.binary(min_size=1, max_size=3)))
def _spoilt(target: Target, drawn: tuple[Any, int, bytes]) -> None:
    """A good answer or a wrong one, with a few bytes of it replaced."""
    fault, at, noise = drawn
    pieces = [surfaces.delta("a"), surfaces.delta("", "stop"), surfaces.DONE]
    whole = fault.make(pieces, surfaces.EVENTS)
    at %= len(whole)
    target.put(whole[:at] + noise + whole[at + len(noise) :], closes=True)


@DEPTHS
def test_any_bytes_of_an_answer(victim: Victim, examples: int, repeatable: bool) -> None:
    _spoilt(examples, repeatable, Target(victim, OPENAI_STREAM))


def test_a_breach_would_be_seen() -> None:
    assert list(breaches(OPENAI_CHAT, {"text": "a", "promptTokens": 2**60}))
