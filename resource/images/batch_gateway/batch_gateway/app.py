"""The gateway's HTTP: an ASGI application.

    POST /chat, /complete, /embed    a batch: 200 with its values, or 202 while it runs
    GET  the same                    the batch of that id again, as Snowflake asks after a 202
    GET  /health                     200: the gateway runs
    GET  /ready                      200: the model server is ready too; 503: it is not

Statuses that Snowflake tries again (404, 429, 500, 502, 503, 504) stand for what another attempt can cure; 400, 413
and 415 for what it cannot.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Callable

from batch_gateway.batches import Batch, Batches, Full, Received
from batch_gateway.compression import CODINGS, Broken, Unpacking
from batch_gateway.engine import Engine
from batch_gateway.logs import fields
from batch_gateway.rows import BadBatch
from batch_gateway.settings import GatewaySettings
from batch_gateway.tasks import Task
from spcs_llm.errors import ServiceBusy
from spcs_llm.server_text.log_lines import one_line_logger

logger = one_line_logger(__name__)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_BATCH_ID = "sf-external-function-query-batch-id"
_FORMAT = "sf-external-function-format"
_SWEEP_SECONDS = 5.0
_RETRY_AFTER = "2"
_SLOWEST_BODY = 30.0  # seconds: Snowflake does not wait for longer


@dataclass(frozen=True)
class Reply:
    """A response.

    Attributes:
        status: The HTTP status.
        body: JSON.
        headers: Headers besides those of the body.
    """

    status: int
    body: bytes = field(repr=False)
    headers: tuple[tuple[str, str], ...] = ()


class Refused(Exception):
    """A request that is answered by an error.

    Attributes:
        reply: The response.
    """

    def __init__(self, status: int, why: str, *headers: tuple[str, str]) -> None:
        super().__init__(why)
        self.reply = Reply(status, _json(error=why), headers)


class _ClientLeft(Exception):
    """Nobody is there to be answered."""


class Gateway:
    """The ASGI application.

    Args:
        settings: The gateway's.
    """

    def __init__(self, settings: GatewaySettings) -> None:
        self._limits = settings.limits
        self._engine = Engine(settings)
        self._batches = Batches(settings.limits, self._engine.run)
        self._look: asyncio.Future[bool] | None = None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        try:
            reply = await self._reply(scope, receive)
        except Refused as refused:
            logger.warning(
                "A request is refused: %s",
                refused,
                extra=fields(path=scope["path"], status=refused.reply.status),
            )
            reply = refused.reply
        except _ClientLeft:
            return
        except Exception:
            logger.exception("A request failed unexpectedly", extra=fields(path=scope["path"]))
            reply = Reply(500, _json(error="The batch gateway failed unexpectedly: see the container's log."))
        await _send(send, reply)

    async def _live(self, receive: Receive, send: Send) -> None:
        """The gateway's life, as ASGI's lifespan: it sweeps from the start to the end."""
        await receive()
        sweeper = asyncio.ensure_future(self._sweep())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        sweeper.cancel()
        self._engine.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(min(_SWEEP_SECONDS, self._limits.keep / 4))
            self._batches.sweep()

    async def _reply(self, scope: Message, receive: Receive) -> Reply:
        method, path = scope["method"], scope["path"]
        if path == "/health":
            return Reply(200, _json(status="ok"))
        if path == "/ready":
            ready = await self._is_ready()
            return Reply(
                200 if ready else 503, _json(status="ready" if ready else "the model server is not ready")
            )
        task = self._engine.tasks.get(path)
        if task is None:
            # Snowflake sends a function's batch again after a 404.
            status = 400 if method == "POST" else 404
            raise Refused(status, f"There is no such path: use {', '.join(self._engine.tasks)}.")
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
        }
        if method == "GET":
            return await self._asked_again(task, headers)
        if method != "POST":
            raise Refused(405, "Batches are sent by POST.", ("Allow", "POST, GET"))
        return await self._asked(task, headers, receive)

    async def _is_ready(self) -> bool:
        """Whether the model server is ready. All that ask at once share a look, which takes a thread."""
        if self._look is None or self._look.done():
            self._look = asyncio.ensure_future(asyncio.to_thread(self._engine.is_healthy))
        return await asyncio.shield(self._look)

    async def _asked(self, task: Task, headers: dict[str, str], receive: Receive) -> Reply:
        coding = headers.get("content-encoding", "").strip().lower()
        if headers.get(_FORMAT, "json") != "json" or coding not in ("", "identity", *CODINGS):
            raise Refused(415, f"Batches are sent as JSON, as it is or by {' or '.join(CODINGS)}.")
        batch_id = headers.get(_BATCH_ID)
        key = task.path, batch_id or f"none-{uuid.uuid4().hex}"
        incoming = _Incoming(receive)
        try:
            with self._batches.reading(key) as count:
                unpacking = Unpacking() if coding in CODINGS else None
                body = await _body(incoming, headers, self._limits.max_body, count, unpacking)
                received = await asyncio.to_thread(_read, body, task)
        except Full:
            await incoming.drain(self._limits.max_body)
            raise _busy() from None
        try:
            batch = self._batches.begin(key, received)
        except Full:
            raise _busy() from None
        del body, received  # a request may wait for long
        try:
            return await self._answer(batch, None if batch_id is None else self._limits.answer_within)
        finally:
            if batch_id is None:  # it cannot be asked for again
                self._batches.forget(batch)

    async def _asked_again(self, task: Task, headers: dict[str, str]) -> Reply:
        batch = self._batches.find((task.path, headers.get(_BATCH_ID, "")))
        if batch is None:
            raise Refused(
                404,
                "This instance has no batch of that id: it was restarted, kept the batch for too long, or another"
                " instance of the service has it.",
            )
        self._batches.resume(batch)
        return await self._answer(batch, self._limits.answer_within)

    async def _answer(self, batch: Batch, seconds: float | None) -> Reply:
        await self._batches.wait(batch, seconds)
        if batch.result is not None:
            batch.is_fetched = True
            return Reply(200, batch.result)
        if batch.is_running:
            return Reply(202, _json(status="running"))
        if batch.failure is None:  # its run failed by a fault of the gateway's
            self._batches.forget(batch)
            raise Refused(500, "The batch gateway failed unexpectedly: see the container's log.")
        status = 429 if isinstance(batch.failure, ServiceBusy) else 503
        raise Refused(status, str(batch.failure), ("Retry-After", _RETRY_AFTER))


def _read(body: bytes, task: Task) -> Received:
    try:
        return Received.read(body, len(task.arguments))
    except BadBatch as problem:
        raise Refused(400, str(problem)) from None


def _busy() -> Refused:
    return Refused(
        429,
        "The gateway has as many rows as it can hold: send the batch again.",
        ("Retry-After", _RETRY_AFTER),
    )


async def _body(
    incoming: _Incoming,
    headers: dict[str, str],
    most: int,
    count: Callable[[int], None],
    unpacking: Unpacking | None,
) -> bytes:
    declared = headers.get("content-length", "")
    if declared.isdigit():
        if int(declared) > most:
            await incoming.drain(most)
            raise _too_large(most)
        count(int(declared))
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in incoming.chunks():
            for piece in [chunk] if unpacking is None else unpacking.pieces(chunk):
                size += len(piece)
                if size > most:
                    await incoming.drain(most)
                    raise _too_large(most)
                if not declared or unpacking is not None:
                    count(len(piece))
                chunks.append(piece)
        if unpacking is not None:
            chunks.append(unpacking.rest())
    except Broken:
        await incoming.drain(most)
        raise Refused(400, "The body is not compressed as its Content-Encoding says, or is cut.") from None
    return b"".join(chunks)


def _too_large(most: int) -> Refused:
    return Refused(
        413,
        f"The batch is larger than {most >> 20} MB: lower MAX_BATCH_ROWS of the function, or raise MAX_BODY_MEGABYTES"
        " of the gateway.",
    )


def _too_slow() -> Refused:
    return Refused(
        503, f"The batch did not arrive within {_SLOWEST_BODY:g} s.", ("Retry-After", _RETRY_AFTER)
    )


class _Incoming:
    """A body on its way: one that is slow holds room that others need, and is given up after a while.

    Args:
        receive: Gives its parts.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._more = True
        self._until = time.monotonic() + _SLOWEST_BODY

    async def chunks(self) -> AsyncIterator[bytes]:
        """The parts that have not been read yet."""
        while self._more:
            try:
                message = await asyncio.wait_for(self._receive(), max(0.0, self._until - time.monotonic()))
            except asyncio.TimeoutError:  # not the builtin one before Python 3.11
                raise _too_slow() from None
            if message["type"] != "http.request":
                raise _ClientLeft
            self._more = message.get("more_body", False)
            yield message.get("body", b"")

    async def drain(self, most: int) -> None:
        """Reads on to the end: a client that is still sending would see a broken connection, and no reply."""
        size = 0
        with contextlib.suppress(_ClientLeft, Refused):
            async for chunk in self.chunks():
                size += len(chunk)
                if size > 4 * most:
                    return


async def _send(send: Send, reply: Reply) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(reply.body))]
    headers += [(name.encode(), value.encode()) for name, value in reply.headers]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})


def _json(**values: Any) -> bytes:
    return json.dumps(values).encode()
