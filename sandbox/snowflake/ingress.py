"""The SPCS ingress of one endpoint: access control, then a reverse proxy that streams both ways.

Behaviour: Snowflake docs "service network communications" (headers, 90 s of idleness, methods), and for
refusals the sources named in `gateway.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any

import httpx

from sandbox.snowflake import gateway
from sandbox.snowflake.access import Denied, admit
from sandbox.snowflake.endpoint import Endpoint, Received
from sandbox.snowflake.reply import Reply, read_body
from sandbox.snowflake.wire import App, Receive, Scope, Send
from sandbox.snowflake.world import World

HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "trailers",
     "transfer-encoding", "upgrade"}
)  # fmt: skip
# Neither the caller's cookies nor its claims about who it is reach the container.
NOT_FORWARDED = HOP_BY_HOP | {"host", "cookie", "x-sf-spcs-authorization", "x-sf-spcs-authentication-method"}
STRIPPED = HOP_BY_HOP | {"server", "x-powered-by", "x-xss-protection", "public-key-pins"}
ADDED = [
    ("x-frame-options", "DENY"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cross-origin-embedder-policy", "credentialless"),
    ("x-content-type-options", "nosniff"),
    ("content-security-policy", "default-src 'self' 'unsafe-inline' blob: data:; object-src 'none'"),
    ("content-security-policy-report-only", "default-src 'self'; object-src 'none'"),
]  # fmt: skip
EXECUTABLE = frozenset({"application/x-msdownload", "application/x-dosexec", "application/x-executable",
                        "application/vnd.microsoft.portable-executable", "application/x-sh"})  # fmt: skip


def ingress_app(world: World, endpoint: Endpoint, client: httpx.AsyncClient, sign_in_url: str) -> App:
    async def ingress(scope: Scope, receive: Receive, send: Send) -> None:
        headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
        try:
            user = _checked(world, endpoint, scope, headers, sign_in_url)
        except Denied as denied:
            endpoint.counters.add("refused")
            await read_body(receive)
            await denied.reply.send(send)
            return
        with endpoint.counters.in_flight():
            await _Forwarding(endpoint, client, scope, headers, user).run(receive, send)

    return ingress


def _checked(
    world: World, endpoint: Endpoint, scope: Scope, headers: Mapping[str, str], sign_in_url: str
) -> str:
    if scope["method"] in ("TRACE", "CONNECT"):
        raise Denied(gateway.text(405, "Method Not Allowed"))
    user = admit(world, endpoint, headers, sign_in_url)
    if endpoint.body_limit is not None and int(headers.get("content-length") or 0) > endpoint.body_limit:
        raise Denied(gateway.too_large())
    state = endpoint.state_for_call(world.clock)
    if state != "running":
        raise Denied(_not_ready(endpoint, state))
    return user


def _not_ready(endpoint: Endpoint, state: str) -> Reply:
    if state == "connect_error":
        return gateway.connect_error()
    if state == "loading":
        return gateway.loading()
    return gateway.no_hosts(endpoint.name)


class _TooLargeError(Exception):
    pass


class _Forwarding:
    """One request on its way to the container and the answer on its way back."""

    def __init__(
        self,
        endpoint: Endpoint,
        client: httpx.AsyncClient,
        scope: Scope,
        headers: Mapping[str, str],
        user: str,
    ) -> None:
        self._endpoint = endpoint
        self._client = client
        self._scope = scope
        self._chunked = "chunked" in headers.get("transfer-encoding", "")
        self._headers = self._forwarded(headers, user)
        self._started = False
        self._idle_until = 0.0
        self._touch()

    def _forwarded(self, headers: Mapping[str, str], user: str) -> dict[str, str]:
        kept = {
            name: value
            for name, value in headers.items()
            if name not in NOT_FORWARDED and not name.startswith("sf-context-")
        }
        if kept.get("authorization", "").lower().startswith("snowflake "):
            del kept["authorization"]
        return {**kept, "sf-context-current-user": user}

    def _touch(self) -> None:
        self._idle_until = asyncio.get_running_loop().time() + self._endpoint.idle_seconds

    async def run(self, receive: Receive, send: Send) -> None:
        self._endpoint.received.append(
            Received(self._scope["method"], self._scope["path"], dict(self._headers))
        )
        self._endpoint.counters.add("forwarded")
        body_read = asyncio.Event()
        exchange = asyncio.ensure_future(self._exchange(self._body(receive, body_read), send))
        watch = asyncio.ensure_future(self._idle())
        leaving = asyncio.ensure_future(_disconnected(receive, body_read))
        try:
            await asyncio.wait({exchange, watch, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if exchange.done():
                await exchange
            elif leaving.done():
                self._endpoint.counters.add("abandoned")
            else:
                self._endpoint.counters.add("cut_idle")
        finally:
            for task in (exchange, watch, leaving):
                task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await asyncio.gather(exchange, watch, leaving, return_exceptions=True)
        if watch.done() and not watch.cancelled() and not exchange_finished(exchange):
            await self._cut(send)

    async def _body(self, receive: Receive, read: asyncio.Event) -> AsyncIterator[bytes]:
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ConnectionResetError("the caller left")
            self._touch()
            piece = message.get("body", b"")
            size += len(piece)
            if self._endpoint.body_limit is not None and size > self._endpoint.body_limit:
                raise _TooLargeError
            if not message.get("more_body"):
                read.set()
            if piece:
                yield piece
            if not message.get("more_body"):
                return

    async def _exchange(self, body: AsyncIterator[bytes], send: Send) -> None:
        query = self._scope["query_string"].decode("latin-1")
        url = (
            self._endpoint.upstream
            + self._scope["raw_path"].decode("latin-1")
            + (f"?{query}" if query else "")
        )
        # Built by hand: `client.stream` would add headers of its own.
        request = httpx.Request(self._scope["method"], url, headers=self._headers, content=body)
        if "content-length" not in self._headers and not self._chunked:
            del request.headers["transfer-encoding"]
        try:
            answer = await self._client.send(request, stream=True)
            try:
                await self._back(answer, send)
            finally:
                await answer.aclose()
        except _TooLargeError:
            await gateway.too_large().send(send)
        except httpx.TransportError:
            if self._started:
                await self._scope["wire"].close()
            else:
                await gateway.connect_error().send(send)

    async def _back(self, answer: httpx.Response, send: Send) -> None:
        self._touch()
        if answer.headers.get("content-type", "").split(";")[0].strip() in EXECUTABLE:
            await gateway.text(403, "Forbidden").send(send)
            return
        headers = [
            (name, value)
            for name, value in answer.headers.raw
            if (low := name.decode("latin-1").lower()) not in STRIPPED
            and not low.startswith("access-control-")
        ]
        headers += [(k.encode(), v.encode()) for k, v in [*gateway.cookie(), *ADDED]]
        self._started = True
        await send({"type": "http.response.start", "status": answer.status_code, "headers": headers})
        async for piece in answer.aiter_raw():
            self._touch()
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def _idle(self) -> None:
        loop = asyncio.get_running_loop()
        while (left := self._idle_until - loop.time()) > 0:
            await asyncio.sleep(left)

    async def _cut(self, send: Send) -> None:
        if self._started or self._endpoint.idle_answer == "close":
            await self._scope["wire"].close()
        else:
            await gateway.timed_out().send(send)


def exchange_finished(exchange: asyncio.Future[Any]) -> bool:
    return exchange.done() and not exchange.cancelled()


async def _disconnected(receive: Receive, body_read: asyncio.Event) -> None:
    await body_read.wait()
    while (await receive())["type"] != "http.disconnect":
        pass
