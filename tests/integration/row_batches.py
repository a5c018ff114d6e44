"""Batches of rows as Snowflake's service functions send them, and a model server that does as it is told."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any, Union

import requests
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from sandbox.services import LocalService

# Snowflake documentation, "Service functions".
RETRIED = (404, 429, 500, 502, 503, 504)
Said = Union[str, int, dict[str, Any]]  # an answer's text, or a status, or a whole completion


def headers(batch_id: str | None) -> dict[str, str]:
    """Those of Snowflake's documentation, "Service functions"."""
    told = {
        "Content-Type": "application/json",
        "sf-external-function-format": "json",
        "sf-external-function-format-version": "1.0",
        "sf-external-function-current-query-id": "01b2c3d4-0000-0000-0000-000000000001",
        "sf-external-function-name": "COMPLETE",
    }
    return told if batch_id is None else {**told, "sf-external-function-query-batch-id": batch_id}


def post(url: str, path: str, rows: list[list[Any]], batch_id: str | None = "batch-1") -> requests.Response:
    body = json.dumps({"data": rows}).encode()
    return requests.post(url + path, data=body, headers=headers(batch_id), timeout=100)


def poll(url: str, path: str, batch_id: str) -> requests.Response:
    return requests.get(url + path, headers=headers(batch_id), timeout=100)


def values(response: requests.Response) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.text
    return [value for _, value in response.json()["data"]]


def as_snowflake(
    url: str, path: str, rows: list[list[Any]], batch_id: str, between: Callable[[], None] = lambda: None
) -> list[dict[str, Any]]:
    """Sends a batch until it is answered: asks by GET after a 202, and again after a status that is tried again.

    `between` is called before each retry. Unlike Snowflake, it retries for as long as it takes, and at once.
    """
    response = post(url, path, rows, batch_id)
    for _ in range(500):
        if response.status_code == 202:
            response = poll(url, path, batch_id)
        elif response.status_code in RETRIED:
            between()
            response = post(url, path, rows, batch_id)
        else:
            break
    return values(response)


class ObedientServer(LocalService):
    """OpenAI's chats, each answered by `say(user's text)`; `healthy` is what `/health` says.

    Vectors are the length of the text and 0.5. A request with the text "break" breaks its connection; "busy" makes it
    a 429.

    `asked` has the bodies of all chats so far, and `keys` their `Authorization`.
    """

    def __init__(self, say: Callable[[str], Said] = lambda text: f"said {text}") -> None:
        self.say = say
        self.healthy = True
        self.asked: list[dict[str, Any]] = []
        self.embedded: list[list[str]] = []
        self.keys: set[str | None] = set()
        self.gate = threading.Event()
        self.gate.set()
        routes = [
            Route("/v1/chat/completions", self._chat, methods=["POST"]),
            Route("/v1/embeddings", self._embeddings, methods=["POST"]),
            Route("/v1/models", self._models, methods=["GET"]),
            Route("/health", self._health, methods=["GET"]),
        ]
        super().__init__(Starlette(routes=routes), "obedient-server")

    def texts(self) -> list[str]:
        return [body["messages"][-1]["content"] for body in self.asked]

    async def _chat(self, request: Request) -> Response:
        body = json.loads(await request.body())
        self.asked.append(body)
        self.keys.add(request.headers.get("authorization"))
        while not self.gate.is_set():
            await asyncio.sleep(0.005)
        said = self.say(body["messages"][-1]["content"])
        if isinstance(said, int):
            return JSONResponse({"error": {"message": "told to fail"}}, status_code=said)
        if isinstance(said, dict):
            return _json(said)
        message = {"role": "assistant", "content": said}
        usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
        choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
        return _json({"object": "chat.completion", "model": "m", "choices": choices, "usage": usage})

    async def _embeddings(self, request: Request) -> Response:
        texts = json.loads(await request.body())["input"]
        self.embedded.append(texts)
        if "busy" in texts:
            return JSONResponse({"error": {"message": "told to fail"}}, status_code=429)
        if "break" in texts:
            return StreamingResponse(_broken(), headers={"content-length": "100"})
        data = [{"index": i, "embedding": [float(len(text)), 0.5]} for i, text in enumerate(texts)]
        return _json({"object": "list", "data": data, "model": "m"})

    async def _models(self, request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [{"id": "m", "object": "model"}]})

    async def _health(self, request: Request) -> Response:
        return JSONResponse({}, status_code=200 if self.healthy else 503)


async def _broken() -> AsyncIterator[bytes]:
    """Ends before its length: the server closes the connection."""
    yield b"{"
    raise ClientDisconnect  # which the server takes for a caller that left


def _json(body: dict[str, Any]) -> Response:
    """In ASCII: so that half a character can be sent."""
    return Response(json.dumps(body), media_type="application/json")
