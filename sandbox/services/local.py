"""An ASGI application served on loopback from a thread of this process."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import socket
import threading
from typing import Any

import uvicorn
from starlette.requests import ClientDisconnect

# Longer than any client here keeps an idle connection, so that it never meets a stale one.
KEEP_ALIVE_SECONDS = 120


def config_for(app: Any) -> uvicorn.Config:
    return uvicorn.Config(
        heedless_of_leavers(app),
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )


def heedless_of_leavers(app: Any) -> Any:
    """A caller may leave in the middle of its request, and a service may stop in the middle of its answer.

    Neither is an error of the service's, and neither leaves a traceback.
    """

    async def heedless(scope: Any, receive: Any, send: Any) -> None:
        with contextlib.suppress(ClientDisconnect, asyncio.CancelledError):
            await app(scope, receive, send)

    return heedless


def listening_socket(host: str = "127.0.0.1", port: int = 0) -> socket.socket:
    """A listening socket whose connections send at once.

    asyncio does that only for sockets that it makes; without it, an answer written in two parts
    waits 40 ms for a delayed acknowledgement.
    """
    sock = socket.create_server((host, port), backlog=512)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


class _Server(uvicorn.Server):
    """uvicorn's server, except that it ends as soon as it is asked to.

    uvicorn 0.54 checks every 0.1 s whether it should stop, and then waits for another 0.1 s before it closes.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._end: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._cut: concurrent.futures.Future[None] = concurrent.futures.Future()

    def end(self) -> None:
        """Accept nothing more, and stop when all requests in flight are answered. From any thread."""
        self._end.cancel()

    def cut(self) -> None:
        """Stop now, whoever is still being answered. From any thread."""
        self._cut.cancel()
        self._end.cancel()

    async def main_loop(self) -> None:
        end = asyncio.wrap_future(self._end)
        while not end.done():
            await self.on_tick(0)  # renews the Date header
            await asyncio.wait({end}, timeout=1)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for sock in sockets or ():
            asyncio.get_running_loop().remove_reader(sock)
        # asyncio forgets a connection, open, that it is just accepting when its server is closed.
        for _ in range(3):
            await asyncio.sleep(0)
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        cut = asyncio.wrap_future(self._cut)
        while not cut.done() and (self.server_state.connections or self.server_state.tasks):
            await asyncio.wait({cut}, timeout=0.005)
        for connection in list(self.server_state.connections):
            connection.transport.abort()


class LocalService:
    def __init__(self, app: Any, name: str = "sandbox-service") -> None:
        # The backlog already accepts connections, so the service is ready when this returns.
        sock = listening_socket()
        self.url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        self._sock = sock
        self._server = _Server(config_for(app))
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.run(self._server.serve(sockets=[self._sock]))

    def stop(self, grace: float = 0.0) -> None:
        """Close the port; requests in flight have `grace` seconds to end by themselves."""
        self._server.end()
        if grace:
            self._thread.join(grace)
        self._server.cut()
        self._thread.join(5)
        self._sock.close()
