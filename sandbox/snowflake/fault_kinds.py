"""What each fault does to the one request that meets it.

Three families: answers that a gateway or an account would give, real answers that are altered on their
way, and things done to the connection itself. Parameters are in the README of this folder.
"""

from __future__ import annotations

import asyncio
import json
import random
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from sandbox.snowflake import gateway
from sandbox.snowflake.gateway import gateway_json, sign_in_redirect, text
from sandbox.snowflake.refusals import Refusal
from sandbox.snowflake.reply import Reply, read_body
from sandbox.snowflake.wire import App, Receive, Scope, Send, Wire

HTML = "<!DOCTYPE html><html><body><h1>Sign in to Snowflake</h1></body></html>"


@dataclass(frozen=True)
class Site:
    """Where a fault strikes: the listener's name, the sign-in page, and a host that is not ours."""

    name: str
    sign_in_url: str
    elsewhere_url: str


@dataclass(frozen=True)
class Call:
    app: App
    scope: Scope
    receive: Receive
    send: Send
    wire: Wire
    params: dict[str, Any]
    site: Site

    def __getitem__(self, name: str) -> Any:
        return self.params[name]

    def get(self, name: str, default: Any = None) -> Any:
        return self.params.get(name, default)

    async def answer(self, reply: Reply) -> None:
        await read_body(self.receive)
        await reply.send(self.send)

    async def real(self) -> Reply:
        """The answer that the request would have got."""
        return await Reply.of(self.app, self.scope, self.receive)


Kind = Callable[[Call], Awaitable[None]]
KINDS: dict[str, Kind] = {}


def kind(function: Kind) -> Kind:
    KINDS[function.__name__] = function
    return function


# -- answers ---------------------------------------------------------------------------------------


@kind
async def respond(call: Call) -> None:
    """Any answer: `status`, `json` or `body`, `content_type`, `headers`."""
    body = json.dumps(call["json"]) if "json" in call.params else str(call.get("body", ""))
    default = "application/json" if "json" in call.params else "text/plain; charset=utf-8"
    headers = [("content-type", call.get("content_type", default)), *call.get("headers", {}).items()]
    await call.answer(Reply(int(call.get("status", 200)), headers, body.encode()))


@kind
async def refuse(call: Call) -> None:
    """The account's own refusal: `code`, `message`, in HTTP 200."""
    refusal = Refusal(str(call["code"]), call.get("message"))
    body = {"data": None, "code": refusal.code, "message": refusal.message, "success": False}
    await call.answer(Reply.json(body))


@kind
async def redirect(call: Call) -> None:
    """A redirect, `status` 302, `to` "signin", "elsewhere" or a URL."""
    known = {"signin": call.site.sign_in_url, "elsewhere": call.site.elsewhere_url}
    to = str(call.get("to", "signin"))
    await call.answer(sign_in_redirect(known.get(to, to), int(call.get("status", 302))))


@kind
async def html_200(call: Call) -> None:
    await call.answer(text(200, HTML, "text/html; charset=utf-8"))


@kind
async def empty_200(call: Call) -> None:
    await call.answer(Reply(200, [("content-type", "application/json")], b""))


@kind
async def gateway_error(call: Call) -> None:
    """Gateway JSON: `status` 401, `response_type` ERROR_INVALID_TOKEN, `detail`."""
    kind_of_error = str(call.get("response_type", "ERROR_INVALID_TOKEN"))
    detail = str(call.get("detail", "The token is invalid."))
    await call.answer(gateway_json(int(call.get("status", 401)), kind_of_error, detail))


@kind
async def network_policy(call: Call) -> None:
    await call.answer(gateway.network_policy(int(call.get("status", 403))))


@kind
async def hidden_404(call: Call) -> None:
    await call.answer(gateway.not_found())


@kind
async def host_recreated(call: Call) -> None:
    """A host that a dropped service left behind: 403 (or `status`) in plain text."""
    await call.answer(gateway.stale_host(call.site.name, int(call.get("status", 403))))


@kind
async def access_denied(call: Call) -> None:
    page = f"<html><body>Access denied. Insufficient privileges to use {call.site.name}</body></html>"
    await call.answer(text(403, page, "text/html; charset=utf-8"))


@kind
async def no_hosts(call: Call) -> None:
    await call.answer(gateway.no_hosts(call.site.name, int(call.get("status", 503))))


@kind
async def upstream_connect_error(call: Call) -> None:
    await call.answer(gateway.connect_error())


@kind
async def model_loading(call: Call) -> None:
    await call.answer(gateway.loading())


@kind
async def gateway_timeout(call: Call) -> None:
    await call.answer(gateway.timed_out())


@kind
async def too_large(call: Call) -> None:
    await call.answer(gateway.too_large())


@kind
async def too_many_requests(call: Call) -> None:
    """429, with `retry_after` as the header's text when given."""
    reply = text(429, '{"error":"Too many requests"}', "application/json")
    if call.get("retry_after") is not None:
        reply.headers.append(("retry-after", str(call["retry_after"])))
    await call.answer(reply)


@kind
async def arrow_500(call: Call) -> None:
    await call.answer(gateway.arrow())


# -- real answers, altered -------------------------------------------------------------------------


@kind
async def rewrite_json(call: Call) -> None:
    """The real JSON with fields `set` or `drop`ped, named by dotted paths (`data.validityInSeconds`)."""
    reply = await call.real()
    body = json.loads(reply.body)
    for path, value in call.get("set", {}).items():
        parent, name = _parent(body, path)
        parent[name] = value
    for path in call.get("drop", []):
        parent, name = _parent(body, path)
        parent.pop(name, None)
    await reply.with_body(json.dumps(body).encode()).send(call.send)


def _parent(body: Any, path: str) -> tuple[Any, Any]:
    *way, name = (int(step) if step.isdigit() else step for step in path.split("."))
    for step in way:
        body = body[step]
    return body, name


@kind
async def rows(call: Call) -> None:
    """The rows of a `data` answer `how`: reversed, shuffled, missing, duplicated, extra or none."""
    reply = await call.real()
    body = json.loads(reply.body)
    body["data"] = ROWS[call["how"]](body.get("data") or [])
    await reply.with_body(json.dumps(body).encode()).send(call.send)


ROWS: dict[str, Callable[[list[Any]], list[Any]]] = {
    "reversed": lambda data: data[::-1],
    "shuffled": lambda data: random.Random(0).sample(data, len(data)),
    "missing": lambda data: data[:-1],
    "duplicated": lambda data: data + data[-1:],
    "extra": lambda data: [*data, [len(data), data[-1][1]]] if data else data,
    "none": lambda data: [],
}


@kind
async def truncated_json(call: Call) -> None:
    """Half of the real body, correctly framed."""
    reply = await call.real()
    await reply.with_body(reply.body[: max(1, len(reply.body) // 2)]).send(call.send)


@kind
async def non_utf8(call: Call) -> None:
    reply = await call.real()
    await reply.with_body(b'{"data": "\xff\xfe\xc3\x28"}').send(call.send)


@kind
async def bom(call: Call) -> None:
    reply = await call.real()
    await reply.with_body(b"\xef\xbb\xbf" + reply.body).send(call.send)


@kind
async def huge_body(call: Call) -> None:
    """JSON of `bytes` (200 MB) that never ends in anything useful."""
    await read_body(call.receive)
    left = int(call.get("bytes", 200_000_000))
    await call.send(_start(200, [("content-type", "application/json")]))
    await call.send(_part(b'{"data": "'))
    piece = b"x" * 65_536
    while left > 0 and not call.wire.lost:
        await call.send(_part(piece[:left]))
        left -= len(piece)
        await asyncio.sleep(0)
    await call.send(_part(b'"}', more=False))


@kind
async def gzip_bomb(call: Call) -> None:
    """A small gzip body that unfolds to `bytes` (200 MB)."""
    await read_body(call.receive)
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    zeros = b"0" * 1_000_000
    packed = [packer.compress(zeros) for _ in range(int(call.get("bytes", 200_000_000)) // len(zeros))]
    body = b"".join([*packed, packer.flush()])
    headers = [("content-type", "application/json"), ("content-encoding", "gzip")]
    await Reply(200, headers, body).send(call.send)


@kind
async def delay(call: Call) -> None:
    """The real answer after `seconds`."""
    await asyncio.sleep(float(call.get("seconds", 0.1)))
    await call.app(call.scope, call.receive, call.send)


# -- the connection itself -------------------------------------------------------------------------


@kind
async def refuse_connection(call: Call) -> None:
    """Reset as soon as the connection is accepted; done before there is a request (see `Faults.take`)."""
    raise AssertionError("handled when the connection is made")


@kind
async def reset(call: Call) -> None:
    """Read the request, then RST before any byte; the service never sees it."""
    await read_body(call.receive)
    await call.wire.reset()


@kind
async def close(call: Call) -> None:
    """Read the request, then FIN before any byte."""
    await read_body(call.receive)
    await call.wire.close()


@kind
async def lost_reply(call: Call) -> None:
    """The service does the work, and the connection is reset instead of the answer."""
    await call.real()
    await call.wire.reset()


@kind
async def hang(call: Call) -> None:
    """No byte for `seconds` (for ever), then FIN."""
    await read_body(call.receive)
    seconds = call.get("seconds")
    try:
        await asyncio.wait_for(call.wire.gone(), None if seconds is None else float(seconds))
    except asyncio.TimeoutError:
        await call.wire.close()


@kind
async def garbage(call: Call) -> None:
    """`bytes` (text, sent as Latin-1) where a status line should be."""
    await read_body(call.receive)
    await call.wire.write(str(call.get("bytes", "\x16\x03\x01 not HTTP at all\r\n\r\n")).encode("latin-1"))
    await call.wire.close()


@kind
async def wrong_content_length(call: Call) -> None:
    """The real body with a Content-Length that is off by `delta` (+10); then FIN."""
    reply = await call.real()
    await call.wire.write(reply.raw(content_length=len(reply.body) + int(call.get("delta", 10))))
    await call.wire.close()


@kind
async def bad_chunk(call: Call) -> None:
    """A chunked answer whose second chunk has no valid size."""
    reply = await call.real()
    half = reply.body[: max(1, len(reply.body) // 2)]
    await call.wire.write(reply.head([("transfer-encoding", "chunked")]))
    await call.wire.write(b"%x\r\n%b\r\nzz\r\n" % (len(half), half))
    await call.wire.close()


@kind
async def trickle_headers(call: Call) -> None:
    """The head of the answer, a byte every `seconds` (0.05), `bytes` of them at most (all)."""
    reply = await call.real()
    await _trickle(call, reply.raw(), 1)


@kind
async def trickle_body(call: Call) -> None:
    """The body of the real answer, `chunk` (1) bytes every `seconds` (0.05)."""
    reply = await call.real()
    await call.wire.write(reply.head([("content-length", str(len(reply.body)))]))
    await _trickle(call, reply.body, int(call.get("chunk", 1)))


async def _trickle(call: Call, data: bytes, size: int) -> None:
    pause = float(call.get("seconds", 0.05))
    for start in range(0, min(len(data), int(call.get("bytes", len(data)))), size):
        if call.wire.lost:
            return
        await call.wire.write(data[start : start + size])
        await asyncio.sleep(pause)
    await call.wire.close()


@kind
async def close_mid_body(call: Call) -> None:
    """FIN after `after` bytes (half) of the body; streams run live until then."""
    await _cut(call, call.wire.close)


@kind
async def reset_mid_body(call: Call) -> None:
    """RST after `after` bytes (half) of the body; streams run live until then."""
    await _cut(call, call.wire.reset)


@kind
async def stall(call: Call) -> None:
    """Silence of `seconds` (for ever) after `after` bytes (half) of the body; then the rest."""

    async def pause() -> None:
        seconds = call.get("seconds")
        if seconds is None:
            await call.wire.gone()
        else:
            await asyncio.sleep(float(seconds))

    await _cut(call, pause, go_on=True)


async def _cut(call: Call, act: Callable[[], Awaitable[None]], *, go_on: bool = False) -> None:
    if "after" in call.params:
        await _cut_stream(call, int(call["after"]), act, go_on)
        return
    reply = await call.real()
    half = len(reply.body) // 2
    await call.wire.write(reply.head([("content-length", str(len(reply.body)))]) + reply.body[:half])
    await act()
    if go_on:
        await call.wire.write(reply.body[half:])
        await call.wire.close()


async def _cut_stream(call: Call, after: int, act: Callable[[], Awaitable[None]], go_on: bool) -> None:
    left: int | None = after

    async def send(message: Any) -> None:
        nonlocal left
        body = message.get("body", b"")
        if message["type"] != "http.response.body" or left is None or len(body) < left:
            left = None if left is None else left - len(body)
            await call.send(message)
            return
        await call.send({"type": "http.response.body", "body": body[:left], "more_body": True})
        rest, left = body[left:], None
        await act()
        if not go_on:
            raise _CutError
        await call.send({**message, "body": rest})

    try:
        await call.app(call.scope, call.receive, send)
    except _CutError:
        return


class _CutError(Exception):
    """The connection is gone; the application behind need not go on."""


@kind
async def stream_error(call: Call) -> None:
    """An `error` event in the middle of a stream, after `after` (1) parts; then the stream ends."""
    left = int(call.get("after", 1))
    event = {"error": {"message": call.get("message", "CUDA error: out of memory"), "type": "server_error"}}

    async def send(message: Any) -> None:
        nonlocal left
        if message["type"] == "http.response.body" and message.get("body"):
            if left <= 0:
                data = f"data: {json.dumps(event)}\n\n".encode()
                await call.send({"type": "http.response.body", "body": data, "more_body": False})
                raise _CutError
            left -= 1
        await call.send(message)

    try:
        await call.app(call.scope, call.receive, send)
    except _CutError:
        return


def _start(status: int, headers: list[tuple[str, str]]) -> dict[str, Any]:
    encoded = [(name.encode(), value.encode()) for name, value in headers]
    return {"type": "http.response.start", "status": status, "headers": encoded}


def _part(body: bytes, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": more}
