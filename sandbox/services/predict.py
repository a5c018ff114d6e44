"""The `/predict` server of snowflake-ml-python 1.0 to 1.5.4, over any model that maps texts to texts.

Statuses and bodies as measured on the server of snowflake-ml-python 1.3.0
(`_deploy_client/image_builds/inference_server/main.py`): the index is renumbered, `_ID` is kept, values are
cast to strings, whatever a model raises is a 400 with its traceback.
"""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import Callable
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route


class TextModel(Protocol):
    """What answers: the values of the column `outputs` for those of the column `inputs`."""

    async def predict(self, inputs: list[str]) -> list[Any]: ...


ID = "_ID"


def predict_app(
    model: TextModel,
    *,
    column: str = "inputs",
    output: str = "outputs",
    concurrent_requests_max: int | None = None,
    ready: Callable[[], bool] = lambda: True,
) -> Starlette:
    """`concurrent_requests_max` is the server's _CONCURRENT_REQUESTS_MAX: one more is a 429."""
    running = 0

    async def predict(request: Request) -> Response:
        nonlocal running
        if concurrent_requests_max is not None and running >= concurrent_requests_max:
            return JSONResponse({"error": "Too many requests"}, status_code=429)
        running += 1
        try:
            return await _predict(model, await request.body(), column, output)
        finally:
            running -= 1

    async def health(request: Request) -> Response:
        if ready():
            return JSONResponse({"status": "ready"})
        return JSONResponse({"status": "not ready"}, status_code=503)

    routes = [
        Route("/predict", predict, methods=["POST"]),
        Route("/health", health, methods=["GET"]),
    ]
    return Starlette(routes=routes)


async def _predict(model: TextModel, raw: bytes, column: str, output: str) -> Response:
    try:
        request = json.loads(raw)
    except ValueError:
        return PlainTextResponse("Internal Server Error", status_code=500)
    try:
        rows, inputs = _inputs(request, column)
    except Exception as error:
        return _failed("Input data malformed", error)
    try:
        outputs = await model.predict(inputs)
    except asyncio.CancelledError:
        raise
    except Exception as error:
        return _failed("Prediction failed", error)
    kept = [{ID: row[ID]} if ID in row else {} for row in rows]
    data = [[i, {output: value, **kept[i]}] for i, value in enumerate(outputs)]
    return JSONResponse({"data": data})


def _failed(what: str, error: Exception) -> Response:
    body = {"error": f"{what}: {error}\n{traceback.format_exc()}"}
    return JSONResponse(body, status_code=400)


def _inputs(request: Any, column: str) -> tuple[list[dict[str, Any]], list[str]]:
    if "data" not in request:
        raise ValueError("missing data field in the request input")
    rows = [row[1] for row in request["data"]]
    if not any(isinstance(row, dict) and column in row for row in rows):
        # As pandas puts it; the quotes are those of the str() of a KeyError.
        raise KeyError(
            "Only a column name can be used for the key in a dtype mappings argument. "
            f"'{column}' not found in columns."
        )
    return rows, [str(row.get(column, "nan")) for row in rows]
