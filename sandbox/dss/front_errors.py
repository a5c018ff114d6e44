"""Errors of the public API, and what a request brings with it."""

from __future__ import annotations

import json
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

_STATUS_ERRORS = {
    400: "IllegalArgumentException",
    401: "UnauthorizedException",
    403: "UnauthorizedException",
    404: "NotFoundException",
}

Body = dict[str, Any]


async def json_object(request: Request) -> Body:
    """The body, whatever its Content-Type: the client sends none."""
    try:
        body = json.loads(await request.body() or b"{}")
    except ValueError:
        raise HTTPException(400, "The request body is not JSON") from None
    if not isinstance(body, dict):
        raise HTTPException(400, "The request body is not a JSON object")
    return body


async def json_body(request: Request, key: str, kind: type) -> Body:
    """The same, with a value of this kind under `key`."""
    body = await json_object(request)
    if not isinstance(body.get(key), kind):
        raise HTTPException(400, f"{key} is missing from the request")
    return body


async def dss_error(request: Request, error: Exception) -> Response:
    """An error as the client reads it."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    message = error.detail if isinstance(error, HTTPException) else f"{type(error).__name__}: {error}"
    return JSONResponse(
        {
            "errorType": f"com.dataiku.dip.exceptions.{_STATUS_ERRORS.get(status, 'ServerException')}",
            "message": message,
            "detailedMessage": message,
        },
        status,
    )
