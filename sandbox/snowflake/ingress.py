"""The SPCS ingress of one endpoint: access control, then a reverse proxy that streams both ways.

Behaviour: Snowflake docs "service network communications" (headers, 90 s of idleness, methods), and for
refusals the sources named in `gateway.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

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
        with endpoint.counters.in_flight() as leave:
            began = world.clock()
            await _Forwarding(endpoint, client, scope, receive, send, leave).run(headers, user)
            endpoint.served(user, began, world.clock())

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


class _CallerLeftError(Exception):
    pass


class _Forwarding:
    """One request on its way to the container and the answer on its way back."""

    def __init__(
        self,
        endpoint: Endpoint,
        client: httpx.AsyncClient,
        scope: Scope,
        receive: Receive,
        send: Send,
        leave: Callable[[], None],
    ) -> None:
        self._endpoint = endpoint
        self._client = client
        self._scope = scope
        self._receive = receive
        self._send = send
        # Done with the last byte, and not after it: with that its caller may send the next request.
        self._leave = leave
        self._body_read = asyncio.Event()
        self._started = False
        self._last_byte = 0.0

    async def run(self, headers: Mapping[str, str], user: str) -> None:
        forwarded = _forwarded(headers, user)
        self._endpoint.received.append(Received(self._scope["method"], self._scope["path"], forwarded))
        self._endpoint.counters.add("forwarded")
        has_body = "content-length" in headers or "transfer-encoding" in headers
        exchange = asyncio.ensure_future(self._exchange(self._request(forwarded, has_body)))
        leaving = asyncio.ensure_future(self._caller_leaves())
        try:
            await self._until_done_or_idle(exchange, leaving)
            finished = exchange.done()
            if finished:
                exchange.result()
        finally:
            exchange.cancel()
            leaving.cancel()
            await asyncio.wait({exchange, leaving})
        if finished:
            return
        if leaving.cancelled():
            await self._cut()
        else:
            self._endpoint.counters.add("abandoned")

    async def _until_done_or_idle(self, *tasks: asyncio.Future[None]) -> None:
        clock = asyncio.get_running_loop().time
        self._last_byte = clock()
        while not any(task.done() for task in tasks):
            left = self._last_byte + self._endpoint.idle_seconds - clock()
            if left <= 0:
                return
            await asyncio.wait(tasks, timeout=left, return_when=asyncio.FIRST_COMPLETED)

    async def _cut(self) -> None:
        self._endpoint.counters.add("cut_idle")
        if self._started or self._endpoint.idle_answer == "close":
            await self._scope["wire"].close()
        else:
            await gateway.timed_out().send(self._send)

    async def _caller_leaves(self) -> None:
        await self._body_read.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass

    # -- there -------------------------------------------------------------------------------------

    def _request(self, headers: Mapping[str, str], has_body: bool) -> httpx.Request:
        # Built by hand: the client's own methods would add headers.
        query = self._scope["query_string"].decode("latin-1")
        url = (
            self._endpoint.upstream
            + self._scope["raw_path"].decode("latin-1")
            + (f"?{query}" if query else "")
        )
        request = httpx.Request(self._scope["method"], url, headers=headers, content=self._body())
        if not has_body:
            del request.headers["transfer-encoding"]
        return request

    async def _body(self) -> AsyncIterator[bytes]:
        size, more = 0, True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise _CallerLeftError
            self._touch()
            piece, more = message.get("body", b""), message.get("more_body", False)
            size += len(piece)
            if self._endpoint.body_limit is not None and size > self._endpoint.body_limit:
                if more:
                    await read_body(self._receive)
                raise _TooLargeError
            if not more:
                self._body_read.set()
            if piece:
                yield piece

    # -- and back ----------------------------------------------------------------------------------

    async def _exchange(self, request: httpx.Request) -> None:
        try:
            answer = await self._client.send(request, stream=True)
            try:
                await self._back(answer)
            finally:
                await answer.aclose()
        except _TooLargeError:
            await gateway.too_large().send(self._send)
        except _CallerLeftError:
            self._endpoint.counters.add("abandoned")
        except httpx.TransportError:
            if self._started:
                await self._scope["wire"].close()
            else:
                await gateway.connect_error().send(self._send)

    async def _back(self, answer: httpx.Response) -> None:
        self._touch()
        if answer.headers.get("content-type", "").split(";")[0].strip() in EXECUTABLE:
            await gateway.text(403, "Forbidden").send(self._send)
            return
        self._started = True
        head = {"type": "http.response.start", "status": answer.status_code, "headers": _returned(answer)}
        await self._send(head)
        left = int(answer.headers.get("content-length", -1))
        async for piece in answer.aiter_raw():
            self._touch()
            left -= len(piece)
            if left == 0:
                self._leave()
            if self._scope["wire"].lost:
                raise _CallerLeftError
            await self._send({"type": "http.response.body", "body": piece, "more_body": True})
        self._leave()
        await self._send({"type": "http.response.body", "body": b""})

    def _touch(self) -> None:
        self._last_byte = asyncio.get_running_loop().time()


def _forwarded(headers: Mapping[str, str], user: str) -> dict[str, str]:
    kept = {
        name: value
        for name, value in headers.items()
        if name not in NOT_FORWARDED and not name.startswith("sf-context-")
    }
    # Any other Authorization is the container's own business.
    if kept.get("authorization", "").lower().startswith("snowflake "):
        del kept["authorization"]
    return {**kept, "sf-context-current-user": user}


def _returned(answer: httpx.Response) -> list[tuple[bytes, bytes]]:
    kept = [
        (name, value)
        for name, value in answer.headers.raw
        if (low := name.decode("latin-1").lower()) not in STRIPPED and not low.startswith("access-control-")
    ]
    return kept + [(name.encode(), value.encode()) for name, value in [*gateway.cookie(), *ADDED]]
