"""Real answers that are altered on their way, and bodies that no client should swallow."""

from __future__ import annotations

import asyncio
import functools
import json
import random
import zlib
from collections.abc import Callable
from typing import Any

from sandbox.snowflake.fault_kinds.call import Call, CutError, kind
from sandbox.snowflake.reply import Reply, read_body


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
    headers = [("content-type", "application/json"), ("content-encoding", "gzip")]
    await Reply(200, headers, _bomb(int(call.get("bytes", 200_000_000)))).send(call.send)


@functools.cache  # each takes seconds, in which the sandbox answers nobody
def _bomb(size: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    zeros = b"0" * 1_000_000
    packed = [packer.compress(zeros) for _ in range(size // len(zeros))]
    return b"".join([*packed, packer.flush()])


@kind
async def delay(call: Call) -> None:
    """The real answer after `seconds`."""
    await asyncio.sleep(float(call.get("seconds", 0.1)))
    await call.app(call.scope, call.receive, call.send)


@kind
async def buffered(call: Call) -> None:
    """The real answer all at once when it has ended, as a proxy that holds a stream back gives it."""
    await (await call.real()).send(call.send)


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
                raise CutError
            left -= 1
        await call.send(message)

    try:
        await call.app(call.scope, call.receive, send)
    except CutError:
        return


def _start(status: int, headers: list[tuple[str, str]]) -> dict[str, Any]:
    encoded = [(name.encode(), value.encode()) for name, value in headers]
    return {"type": "http.response.start", "status": status, "headers": encoded}


def _part(body: bytes, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": more}
