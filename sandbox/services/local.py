"""An ASGI application served on loopback from a thread of this process."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import uvicorn

# Longer than the ingress keeps an idle connection, so that it never meets a stale one.
KEEP_ALIVE_SECONDS = 120


def config_for(app: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )


def listening_socket(host: str = "127.0.0.1", port: int = 0) -> socket.socket:
    """A listening socket whose connections send at once.

    asyncio does that for sockets of its own making only; without it, an answer written in two parts
    waits 40 ms for a delayed acknowledgement.
    """
    sock = socket.create_server((host, port), backlog=512)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


class LocalService:
    def __init__(self, app: Any, name: str = "sandbox-service") -> None:
        # The backlog already accepts connections, so the service is ready when this returns.
        sock = listening_socket()
        self.url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        self._sock = sock
        self._server = uvicorn.Server(config_for(app))
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.run(self._server.serve(sockets=[self._sock]))

    def stop(self, grace: float = 0.0) -> None:
        """grace: how many seconds requests in flight have to end by themselves."""
        self._server.should_exit = True
        if grace:
            self._thread.join(grace)
        self._server.force_exit = True
        self._thread.join(5)
        self._sock.close()
