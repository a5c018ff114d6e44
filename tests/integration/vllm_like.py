"""A server of OpenAI's API that answers from a script and keeps what it was asked."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from sandbox.services.local import LocalService


def delta(finish_reason: str | None = None, *, logprobs: Any = None, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": finish_reason, "logprobs": logprobs}]}


def usage(**counts: Any) -> dict[str, Any]:
    return {"choices": [], "usage": counts}


def said(text: str) -> list[Any]:
    return [delta(role="assistant", content=text), delta("stop")]


CUT = "cut"


class VllmLike:
    """`answers`: for each request a list of events, or a status and a JSON body; the last one stays.

    A stream ends at CUT, without a word, and waits at a `threading.Event` until it is set.
    """

    def __init__(self, *answers: Any, pause: float = 0.0) -> None:
        self.answers = list(answers)
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.abandoned = False
        self.times_listed = 0
        self._pause = pause
        routes = [
            Route("/v1/chat/completions", self._chat, methods=["POST"]),
            Route("/v1/models", self._models, methods=["GET"]),
        ]
        self._service = LocalService(Starlette(routes=routes), "vllm-like")
        self.url = self._service.url

    def stop(self) -> None:
        self._service.stop()

    async def _models(self, request: Request) -> Response:
        self.times_listed += 1
        return JSONResponse({"object": "list", "data": [{"id": "qwen"}, {"id": "llama"}]})

    async def _chat(self, request: Request) -> Response:
        body = json.loads(await request.body())
        self.asked.append(body)
        self.headers.append(dict(request.headers))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, tuple):
            return JSONResponse(answer[1], status_code=answer[0])
        return StreamingResponse(self._events(answer), media_type="text/event-stream")

    async def _events(self, events: list[Any]) -> AsyncIterator[str]:
        ended = False
        try:
            for event in events:
                if event == CUT:
                    return
                if isinstance(event, threading.Event):
                    await asyncio.to_thread(event.wait, 30)
                    continue
                yield f"data: {event if isinstance(event, str) else json.dumps(event)}\n\n"
                await asyncio.sleep(self._pause)
            yield "data: [DONE]\n\n"
            ended = True
        finally:
            self.abandoned = not ended
