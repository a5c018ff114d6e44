"""Every place of an answer where a server can put a text of its choice, as data.

What it puts there may be what it was sent, a secret among it, or what a terminal, a log or a page would take for more
than text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.hostile.server import chunked, head, reply
from tests.hostile.surfaces import DONE, EVENTS, Surface, completion, delta, dumped, event

Put = Callable[[str], bytes]  # a text -> the bytes of an answer that holds it


@dataclass(frozen=True)
class Place:
    """raw: whether the text stands in the head, where it must be one line of Latin-1."""

    name: str
    put: Put
    raw: bool = False

    def __str__(self) -> str:
        """The same for every status: what is wrong at one is wrong at the others."""
        return re.sub(r" of \d{3}$", "", self.name)


def _json(build: Callable[[str], Any], status: int) -> Put:
    return lambda text: reply(dumped(build(text)), status)


_ERRORS: dict[str, Callable[[str], Any]] = {
    "error.message": lambda text: {"error": {"message": text, "type": "x", "code": 400}},
    "error.param": lambda text: {"error": {"message": "bad value", "param": text}},
    "error.type": lambda text: {"error": {"type": text}},
    "error.code": lambda text: {"error": {"code": text}},
    "error.error.message": lambda text: {"error": {"error": {"message": text}}},
    "error": lambda text: {"error": text},
    "detail": lambda text: {"detail": text},
    "detail[].loc": lambda text: {"detail": [{"loc": ["body", text], "msg": "bad"}]},
    "detail[].msg": lambda text: {"detail": [{"loc": ["body"], "msg": text}]},
    "detail[]": lambda text: {"detail": [text]},
    "message": lambda text: {"object": "error", "message": text},
    "a gateway's detail": lambda text: {"responseType": "ERROR", "requestId": "1-2", "detail": text},
    "a gateway's requestId": lambda text: {"responseType": "ERROR", "requestId": text, "detail": "x"},
    "requestId": lambda text: {"requestId": text, "error": "x"},
}
_STATUSES = (400, 401, 404, 500, 502, 503)


def places_of_refusals(statuses: tuple[int, ...] = _STATUSES) -> Iterator[Place]:
    for status in statuses:
        for name, build in _ERRORS.items():
            yield Place(f"{name} of {status}", _json(build, status))
        for name, text_in in (
            ("text", lambda text: text),
            ("traceback", lambda text: f"Traceback (most recent call last):\n  File x\nValueError: {text}"),
            ("page", lambda text: f"<html><body>{text}</body></html>"),
        ):
            yield Place(f"{name} of {status}", _text(text_in, status))


def _text(text_in: Callable[[str], str], status: int) -> Put:
    return lambda text: reply(
        text_in(text).encode("utf-8", "surrogatepass"), status, content_type="text/plain"
    )


def places_in_the_head() -> Iterator[Place]:
    yield Place("reason phrase", lambda text: head(400, text, content_length="0"), raw=True)
    yield Place("header's value", lambda text: reply(b"{}", 400, x_echo=text), raw=True)
    yield Place("header's name", lambda text: _with_line(f"X-{text.replace(' ', '-')}: 1"), raw=True)
    yield Place("header without a colon", lambda text: _with_line(text), raw=True)
    yield Place("header behind a blank", lambda text: _with_line(f" {text}"), raw=True)
    yield Place("status line", lambda text: f"HTTP/1.1 {text}\r\n\r\n".encode("latin-1", "replace"), raw=True)
    yield Place("no HTTP", lambda text: f"{text}\r\n\r\n".encode("latin-1", "replace"), raw=True)
    yield Place("Location", lambda text: reply(b"", 302, location=f"https://evil.example/{text}"), raw=True)
    yield Place("Retry-After", lambda text: reply(b"{}", 503, retry_after=text), raw=True)
    yield Place("Content-Type", lambda text: reply(b"{}", 400, content_type=text), raw=True)
    yield Place("Content-Type of a success", lambda text: reply(b"x", 200, content_type=text), raw=True)
    yield Place("Content-Encoding", lambda text: reply(b"x", 200, content_encoding=text), raw=True)
    yield Place(
        "Content-Encoding beside another",
        lambda text: reply(b"x", 200, content_encoding=f"br, {text}"),
        raw=True,
    )
    yield Place("Content-Length", lambda text: reply(b"x", 200, content_length=text), raw=True)
    yield Place("Transfer-Encoding", lambda text: _with_line(f"Transfer-Encoding: {text}"), raw=True)
    yield Place("chunk extension", lambda text: _chunk_line(f"2;{text}"), raw=True)
    yield Place("chunk size", lambda text: _chunk_line(text), raw=True)
    yield Place("trailer", lambda text: _chunk_line("2", f"X: {text}\r\n"), raw=True)


def _with_line(line: str) -> bytes:
    return b"HTTP/1.1 400 Bad\r\n" + line.encode("latin-1", "replace") + b"\r\nContent-Length: 2\r\n\r\n{}"


def _chunk_line(line: str, trailer: str = "") -> bytes:
    begin = head(400, transfer_encoding="chunked")
    return (
        begin
        + line.encode("latin-1", "replace")
        + b"\r\n{}\r\n0\r\n"
        + trailer.encode("latin-1", "replace")
        + b"\r\n"
    )


def places_of_successes(surface: Surface) -> Iterator[Place]:
    """Errors within a success, and whatever of one is no answer's text."""
    within = {
        "error.message": {"error": {"message": "TEXT", "type": "x"}},
        "error": {"error": "TEXT"},
        "error.type": {"error": {"message": "x", "type": "TEXT"}},
        "error.code": {"error": {"message": "x", "code": "TEXT"}},
        "message": {"object": "error", "message": "TEXT"},
        "FastChat's text": {"error_code": 50001, "text": "TEXT"},
        "a row's error": {"data": [[0, {"error": {"message": "TEXT"}}]]},
        "a row's column": {"data": [[0, {"TEXT": "x", "TEXT2": "y"}]]},
        "a row's index": {"data": [["TEXT", {"outputs": "a"}], ["TEXT", {"outputs": "b"}]]},
        "no answer": {"odd": "TEXT"},
        "broken JSON": '{"data": "TEXT',
    }
    for name, body in within.items():
        yield Place(f"{name} in a success", lambda text, body=body: surface.reply(_filled(body, text)))  # type: ignore[misc]
    if surface.streamed:
        yield from _places_of_streams()


def _filled(body: Any, text: str) -> bytes:
    raw = body.encode() if isinstance(body, str) else dumped(body)
    return raw.replace(b"TEXT", dumped(text)[1:-1])


def _places_of_streams() -> Iterator[Place]:
    begun = delta("a beginning")
    streams: dict[str, Callable[[str], bytes]] = {
        "an event named error": lambda text: event({"message": text}, "error"),
        "an event named error, a text": lambda text: event(text, "error"),
        "an event's name": lambda text: f"event: {text}\ndata: x\n\n".encode("utf-8", "surrogatepass"),
        "a field named error": lambda text: b"error: " + dumped({"message": text}) + b"\n\n",
        "an error in mid-stream": lambda text: begun + event({"error": {"message": text}}),
        "an error's type in mid-stream": lambda text: begun + event({"error": {"message": "x", "type": text}}),
        "no JSON": lambda text: event_of(text),
        "a comment": lambda text: b": " + text.encode("utf-8", "surrogatepass") + b"\n\n",
        "finish reason": lambda text: begun + delta("", text) + DONE,
        "finish reason, whole": lambda text: dumped(completion("a", finish_reason=text)),
        "a tool's name": lambda text: begun + delta(None, "tool_calls", tool_calls=[_call(text, "{}")]) + DONE,
        "a tool's name of a call that is cut": lambda text:
            begun + delta(None, "length", tool_calls=[_call(text, "{")]) + DONE,
        "a tool's arguments": lambda text: begun + delta(None, "tool_calls", tool_calls=[_call("f", text)]) + DONE,
        "model": lambda text: event({"model": text, "choices": [{"index": 0, "delta": {"content": "a"},
                                                              "finish_reason": "stop"}]}) + DONE,
    }  # fmt: skip
    for name, stream in streams.items():
        yield Place(f"{name} of a stream", _streamed(stream))


def _streamed(stream: Callable[[str], bytes]) -> Put:
    return lambda text: chunked(stream(text), content_type=EVENTS)


def event_of(text: str) -> bytes:
    return b"data: " + text.encode("utf-8", "surrogatepass") + b"\n\n"


def _call(name: str, arguments: str) -> dict[str, Any]:
    return {"index": 0, "id": "c1", "type": "function", "function": {"name": name, "arguments": arguments}}


def places_of_sign_ins() -> Iterator[Place]:
    for status in (200, 400, 401, 403):
        yield Place(f"message of {status}", _json(lambda text: _refused("390100", text), status))
        yield Place(f"code of {status}", _json(lambda text: _refused(text, "no"), status))
        yield Place(f"error of {status}", _json(lambda text: {"success": False, "error": text}, status))
        yield Place(f"error_description of {status}", _json(lambda text: _oauth(text), status))
        yield Place(f"text of {status}", _text(lambda text: text, status))
        yield Place(f"gateway's detail of {status}", _json(_ERRORS["a gateway's detail"], status))
    yield Place("text of 503", _text(lambda text: text, 503))
    yield Place("message of 503", _json(lambda text: _refused("390100", text), 503))
    yield from places_in_the_head()


def _refused(code: str, message: str) -> dict[str, Any]:
    return {"success": False, "code": code, "message": message, "data": None}


def _oauth(text: str) -> dict[str, Any]:
    return {"success": False, "error": "invalid_grant", "error_description": text}
