"""Things done to the TCP connection itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from sandbox.snowflake.fault_kinds.call import Call, CutError, kind
from sandbox.snowflake.reply import read_body


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
            raise CutError
        await call.send({**message, "body": rest})

    try:
        await call.app(call.scope, call.receive, send)
    except CutError:
        return
