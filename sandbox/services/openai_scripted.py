"""OpenAI's API over the scripted model: every answer follows from the request, at a set speed.

Shapes: OpenAI API reference (chat completions, embeddings, models) and, for reranking, the Jina and Cohere
shape that vLLM and llama.cpp serve, and `/rerank` of Text Embeddings Inference.
"""

from __future__ import annotations

import asyncio
import base64
import json
import struct
import time
from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from sandbox.services.scripted import ScriptedModel, tokens_of

MODEL = "scripted"


def openai_app(
    model: ScriptedModel,
    *,
    api_key: str | None = None,
    stream: str = "yes",
    usage_chunk: bool = True,
    done_marker: bool = True,
    rerank: str = "jina",
) -> Starlette:
    """`stream`: "yes", "refused" (400) or "ignored" (plain JSON); `rerank`: "jina", "tei", "reversed" (the best comes
    last) or "none"."""

    async def chat(request: Request) -> Response:
        asked = await _asked(request, api_key)
        if isinstance(asked, Response):
            return asked
        if not isinstance(asked.get("messages"), list) or not asked["messages"]:
            return error(400, "'messages' is a required property", "invalid_request_error")
        if asked.get("model") not in (None, MODEL):
            return error(404, f"The model `{asked['model']}` does not exist.", "NotFoundError")
        if asked.get("stream") and stream == "refused":
            return error(400, "Unrecognized request argument supplied: stream", "invalid_request_error")
        if asked.get("stream") and stream == "yes":
            parts = _streamed(model, asked, usage_chunk, done_marker)
            return StreamingResponse(parts, media_type="text/event-stream")
        try:
            return JSONResponse(await model.chat(asked["messages"], asked))
        except (RuntimeError, ValueError) as failure:
            return error(500, str(failure), "server_error")

    async def embeddings(request: Request) -> Response:
        asked = await _asked(request, api_key)
        if isinstance(asked, Response):
            return asked
        given = asked.get("input")
        texts = [given] if isinstance(given, str) else given
        if not texts or not all(isinstance(text, str) for text in texts):
            return error(400, "'input' must be a string or an array of strings", "invalid_request_error")
        try:
            vectors = await model.embed(texts)
        except (RuntimeError, ValueError) as failure:
            return error(500, str(failure), "server_error")
        as_text = asked.get("encoding_format") == "base64"
        data = [
            {"object": "embedding", "index": i, "embedding": _base64(vector) if as_text else vector}
            for i, vector in enumerate(vectors)
        ]
        tokens = sum(len(text.split()) for text in texts)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return JSONResponse({"object": "list", "data": data, "model": MODEL, "usage": usage})

    async def reranked(request: Request) -> Response:
        asked = await _asked(request, api_key)
        if isinstance(asked, Response):
            return asked
        tei = request.url.path == "/rerank"
        texts = asked.get("texts" if tei else "documents") or []
        scores = await model.rank(str(asked.get("query")), [str(text) for text in texts])
        if rerank == "reversed":
            scores = [-score for score in scores]
        best = sorted(range(len(texts)), key=lambda i: -scores[i])[: asked.get("top_n") or None]
        if tei:
            return JSONResponse([{"index": i, "score": scores[i]} for i in best])
        results = [{"index": i, "document": {"text": texts[i]}, "relevance_score": scores[i]} for i in best]
        return JSONResponse({"id": "rerank-1", "model": MODEL, "results": results})

    async def models(request: Request) -> Response:
        asked = await _asked(request, api_key)
        if isinstance(asked, Response):
            return asked
        return JSONResponse(
            {"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": "sandbox"}]}
        )

    async def health(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    routes = [
        Route("/v1/chat/completions", chat, methods=["POST"]),
        Route("/v1/embeddings", embeddings, methods=["POST"]),
        Route("/v1/models", models, methods=["GET"]),
        Route("/health", health, methods=["GET"]),
    ]
    if rerank != "none":
        path = "/rerank" if rerank == "tei" else "/v1/rerank"
        routes.append(Route(path, reranked, methods=["POST"]))
    return Starlette(routes=routes)


def error(status: int, message: str, kind: str) -> Response:
    return JSONResponse({"error": {"message": message, "type": kind, "code": status}}, status_code=status)


async def _asked(request: Request, api_key: str | None) -> Any:
    if api_key is not None and request.headers.get("authorization") != f"Bearer {api_key}":
        return error(401, "Invalid API Key", "authentication_error")
    try:
        body = json.loads(await request.body() or b"{}")
    except ValueError:
        return error(400, "The body is not JSON.", "invalid_request_error")
    return body if isinstance(body, dict) else error(400, "The body is no object.", "invalid_request_error")


async def _streamed(
    model: ScriptedModel, asked: dict[str, Any], usage_chunk: bool, done_marker: bool
) -> AsyncIterator[str]:
    whole = await model.chat(asked["messages"], asked)
    base = {"id": whole["id"], "object": "chat.completion.chunk", "created": int(time.time()), "model": MODEL}
    for choice in whole["choices"]:
        async for delta in _deltas(model, choice["message"]):
            part = {"index": choice["index"], "delta": delta, "finish_reason": None}
            yield _event({**base, "choices": [part]})
        last = {"index": choice["index"], "delta": {}, "finish_reason": choice["finish_reason"]}
        yield _event({**base, "choices": [last]})
    if usage_chunk and (asked.get("stream_options") or {}).get("include_usage"):
        yield _event({**base, "choices": [], "usage": whole["usage"]})
    if done_marker:
        yield "data: [DONE]\n\n"


async def _deltas(model: ScriptedModel, message: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    yield {"role": "assistant", "content": ""}
    for index, call in enumerate(message.get("tool_calls") or []):
        function = call["function"]
        named = {"name": function["name"], "arguments": ""}
        yield {"tool_calls": [{"index": index, "id": call["id"], "type": "function", "function": named}]}
        for letter in function["arguments"]:
            yield {"tool_calls": [{"index": index, "function": {"arguments": letter}}]}
    for token in tokens_of(message.get("content") or ""):
        await asyncio.sleep(model.token_seconds)
        yield {"content": token}


def _event(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data)}\n\n"


def _base64(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
