"""HTTP listeners whose handlers can reach the TCP connection underneath.

An ASGI application cannot reset a connection, answer with rubbish or send half a header. So the
protocol class of uvicorn is extended by one thing: each request's scope carries its `Wire`, through
which a fault takes the connection over. There is no second hop and no second parser, and it works the
same under TLS.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from typing import Any, TypeVar

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from sandbox.services.local import heedless_of_leavers, listening_socket
from sandbox.snowflake.counters import Counters

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
T = TypeVar("T")

KEEP_ALIVE_SECONDS = 60


class Wire:
    """The TCP connection below one request. After any of its verbs, nothing is left for ASGI to send."""

    def __init__(self, protocol: _Protocol, nth_request: int) -> None:
        self._transport = protocol.transport
        self._lost = protocol.lost
        self.nth_request = nth_request

    @property
    def reused(self) -> bool:
        return self.nth_request > 1

    async def write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)
        await asyncio.sleep(0)

    @property
    def lost(self) -> bool:
        """Whether there is nobody to write to any more."""
        return self._transport.is_closing()

    async def gone(self) -> None:
        """Return when the connection is gone, whoever ended it."""
        await self._lost.wait()

    async def close(self) -> None:
        """End after what was written (FIN)."""
        self._transport.close()
        await self.gone()

    async def reset(self) -> None:
        """End at once (RST): the other side's next read fails with ECONNRESET."""
        _linger_zero(self._transport)
        self._transport.abort()
        await self.gone()


class _Protocol(H11Protocol):
    counters: Counters
    on_connect: Callable[[], bool]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lost = asyncio.Event()
        self._requests = 0
        self._inner = self.app
        self.app = self._with_wire

    async def _with_wire(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._requests += 1
        scope["wire"] = Wire(self, self._requests)
        # By a listener that closes: nobody is there any more.
        with contextlib.suppress(asyncio.CancelledError):
            await self._inner(scope, receive, send)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.counters.add("connections")
        if self.on_connect():
            _linger_zero(transport)
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.lost.set()


def _linger_zero(transport: asyncio.BaseTransport) -> None:
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Listener:
    """One served port on loopback."""

    def __init__(self, sock: socket.socket, server: asyncio.AbstractServer, state: ServerState) -> None:
        self.port: int = sock.getsockname()[1]
        self._server = server
        self._state = state

    async def close_idle(self) -> int:
        """Close every connection that has no request in flight, as a proxy does with stale ones.

        Returns how many are busy, and stay.
        """
        busy = 0
        for connection in list(self._state.connections):
            cycle = getattr(connection, "cycle", None)
            if cycle is None or cycle.response_complete:
                connection.transport.close()
            else:
                busy += 1
        return busy

    async def close(self) -> None:
        self._server.close()
        for connection in list(self._state.connections):
            connection.transport.abort()
        for task in list(self._state.tasks):
            task.cancel()
        if self._state.tasks:
            await asyncio.wait(self._state.tasks, timeout=2)


class Loop:
    """An event loop in a separate thread, in which the listeners live."""

    def __init__(self, name: str = "sandbox-snowflake") -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T], seconds: float = 15) -> T:
        """Run a coroutine there and wait for it here."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(seconds)
        except concurrent.futures.TimeoutError:
            future.cancel()
            raise

    def listen(
        self,
        make_app: Callable[[int], App],
        *,
        counters: Counters | None = None,
        on_connect: Callable[[], bool] = lambda: False,
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> Listener:
        """Serve `make_app(port)` on a free port; when this returns, connections are accepted."""
        sock = listening_socket(host, port)
        app = make_app(sock.getsockname()[1])
        return self.run(_listen(app, sock, counters or Counters(), on_connect, tls))

    def stop(self) -> None:
        if self._loop.is_closed():
            return
        self.run(_cancel_rest())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()


async def _listen(
    app: App,
    sock: socket.socket,
    counters: Counters,
    on_connect: Callable[[], bool],
    tls: ssl.SSLContext | None,
) -> Listener:
    config = uvicorn.Config(
        heedless_of_leavers(app),
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )
    config.load()
    state = ServerState()

    def protocol() -> _Protocol:
        made = _Protocol(config=config, server_state=state, app_state={})
        made.counters, made.on_connect = counters, on_connect
        return made

    loop = asyncio.get_running_loop()
    server = await loop.create_server(protocol, sock=sock, ssl=tls)
    return Listener(sock, server, state)


async def _cancel_rest() -> None:
    rest = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
    for task in rest:
        task.cancel()
    if rest:
        await asyncio.wait(rest, timeout=2)
