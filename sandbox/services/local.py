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


class LocalService:
    def __init__(self, app: Any, name: str = "sandbox-service") -> None:
        # The backlog already accepts connections, so the service is ready when this returns.
        sock = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        self._sock = sock
        self._server = uvicorn.Server(config_for(app))
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.run(self._server.serve(sockets=[self._sock]))

    def stop(self) -> None:
        # Without waiting for requests in flight: whoever stops the sandbox has done with them.
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(5)
        self._sock.close()
