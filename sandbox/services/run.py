"""Which server speaks which protocol over which model."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from typing import Any

import uvicorn

from sandbox.services.local import config_for
from sandbox.services.predict import predict_app

Announce = Callable[[str], None]


def serve(model: str, protocol: str, options: dict[str, Any], announce: Announce) -> None:
    """Load the model, serve it on a free port of loopback, announce the URL, and go on until killed."""
    if protocol == "PREDICT":
        serve_app(predict_app(_text_model(model, options)), announce)
        return
    raise ValueError(f"{model} is not served as {protocol}")


def _text_model(model: str, options: dict[str, Any]) -> Any:
    if model == "smollm2":
        from sandbox.services.smollm2 import GeneratedText

        return GeneratedText(**options)
    from sandbox.services.e5 import EmbeddedText

    return EmbeddedText(**options)


def serve_app(app: Any, announce: Announce) -> None:
    sock = socket.create_server(("127.0.0.1", 0), backlog=512)
    announce(f"http://127.0.0.1:{sock.getsockname()[1]}")
    asyncio.run(uvicorn.Server(config_for(app)).serve(sockets=[sock]))
    os._exit(0)
