"""The SQL API, version 2: `/api/v2/statements`.

Requests, answers and statuses: Snowflake docs, "SQL API reference" and "handling responses"; snowflake-rest-api-specs,
`sqlapi.yaml`. Codes 390142, 390505, 333334 and 000709: the samples of those pages; 391902: reports of users. Which code
an unknown role has, what an unknown handle is answered with, and the codes 391903 to 391906 are assumptions.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox.snowflake.bearer import caller_of
from sandbox.snowflake.bindings import bound_values
from sandbox.snowflake.refusals import Refusal
from sandbox.snowflake.sql.cells import api_cell, row_type
from sandbox.snowflake.sql.errors import SqlError
from sandbox.snowflake.sql.executor import Execution, Executor
from sandbox.snowflake.sql.results import Result, with_rows
from sandbox.snowflake.world import Session, User, World

PATH = "/api/v2/statements"
Handler = Callable[[Request, User, "str | None"], Awaitable[Response]]
IN_PROGRESS = (
    "Asynchronous execution in progress. Use provided query id to perform query monitoring and management."
)
LONGEST_TIMEOUT = 604_800


class ApiError(Exception):
    """An answer other than 200 and 202."""

    def __init__(self, status: int, code: str, message: str, **more: object) -> None:
        super().__init__(f"{status}: {code} {message}")
        self.status = status
        self.body = {"code": code, "message": message, **more}


def sql_api_routes(world: World, executor: Executor) -> list[Route]:
    """Routes for submitting statements, asking for them, and cancelling them."""
    api = SqlApi(world, executor)
    return [
        _route(PATH, "POST", world, api.submit),
        _route(PATH + "/{handle}", "GET", world, api.status),
        _route(PATH + "/{handle}/cancel", "POST", world, api.cancel),
    ]


def _route(path: str, method: str, world: World, handler: Handler) -> Route:
    async def answered(request: Request) -> Response:
        try:
            if request.method != method:
                raise ApiError(405, "390405", f"Method {request.method} is not allowed.")
            _check_headers(request)
            try:
                user, role = caller_of(world, request)
            except Refusal as refusal:
                world.counters.add("bearer_refused")
                raise ApiError(401, refusal.code, refusal.message) from refusal
            return await handler(request, user, role)
        except ApiError as error:
            return _json(error.body, error.status)

    return Route(path, answered, methods=["GET", "POST", "PUT", "DELETE", "PATCH"])


def _check_headers(request: Request) -> None:
    accepted = request.headers.get("accept", "null")
    if not any(kind in accepted for kind in ("application/json", "application/*", "*/*")):
        raise ApiError(400, "391902", f"Unsupported Accept header {accepted} is specified.")
    if not request.headers.get("user-agent"):
        raise ApiError(400, "391903", "The User-Agent header is missing.")
    sent = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if request.method == "POST" and sent != "application/json":
        raise ApiError(415, "391904", f"Unsupported Content-Type header {sent} is specified.")


def _json(body: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(json.dumps(body), status, headers, "application/json")


class SqlApi:
    """The three calls. A statement has no session beyond itself."""

    def __init__(self, world: World, executor: Executor) -> None:
        self._world = world
        self._executor = executor

    async def submit(self, request: Request, user: User, role: str | None) -> Response:
        body = await _body(request)
        session = self._session(body, user, role)
        query = request.query_params
        repeats = query.get("requestId") if query.get("retry") == "true" else None
        if self._too_many():
            raise ApiError(429, "390505", "Too many requests.")
        execution = self._executor.submit(
            session,
            _text(body),
            bindings=bound_values(body.get("bindings")),
            count=_count(body),
            timeout=_timeout(body),
            request=repeats,
            sessionless=_count(body) == 1,
            remember=query.get("requestId"),
        )
        if query.get("async") != "true":
            await self._wait(execution)
        return self._answer(execution, nullable=query.get("nullable") != "false")

    async def status(self, request: Request, user: User, role: str | None) -> Response:
        execution = self._found(request, user)
        partition = request.query_params.get("partition", "0")
        if not partition.isdigit():
            raise ApiError(400, "391905", f"Invalid partition {partition}.")
        return self._answer(execution, partition=int(partition))

    async def cancel(self, request: Request, user: User, role: str | None) -> Response:
        execution = self._found(request, user)
        cancelled = await asyncio.get_running_loop().run_in_executor(None, self._executor.cancel, execution)
        head = _head(execution)
        if not cancelled:
            raise ApiError(422, "000709", f"Statement {execution.handle} not found", sqlState="02000", **head)
        return _json({"code": "000604", "sqlState": "57014", "message": "SQL execution canceled", **head})

    # -- parts of a request ----------------------------------------------------------------------------

    def _session(self, body: dict[str, Any], user: User, bound_role: str | None) -> Session:
        """The role is the token's if it is bound to one; names are case-sensitive."""
        role = body.get("role") or bound_role or user.default_role
        if bound_role is not None and role != bound_role:
            raise ApiError(
                401,
                "390317",
                f"The role requested in the connection, '{role}', is not listed in the access token.",
            )
        if role not in self._roles(user):
            text = f"Role '{role}' specified in the connect string does not exist or not authorized."
            raise ApiError(422, "390189", text, sqlState="08004")
        parameters = {str(name).upper(): value for name, value in (body.get("parameters") or {}).items()}
        return Session(
            0,
            user.name,
            role,
            "SQL API",
            parameters,
            warehouse=body.get("warehouse") or user.default_warehouse,
            database=body.get("database") or user.default_database,
            schema=body.get("schema") or user.default_schema,
        )

    def _roles(self, user: User) -> set[str]:
        with self._world.lock:
            return set().union(*(self._world.catalog.grants.inherited(role) for role in user.roles))

    def _too_many(self) -> bool:
        limit = self._world.statements_at_once
        return limit is not None and self._executor.running >= limit

    def _found(self, request: Request, user: User) -> Execution:
        handle = request.path_params["handle"]
        execution = self._executor.find(handle)
        if execution is None or execution.session.user != user.name:
            raise ApiError(
                404, "000709", f"Statement {handle} not found", sqlState="02000", statementHandle=handle
            )
        return execution

    async def _wait(self, execution: Execution) -> None:
        """Until it has ended, or until the account answers without waiting for it."""
        deadline = execution.created_on + self._world.durations.statement_wait
        while not execution.done.is_set() and self._world.clock() < deadline:
            await execution.ended(0.05)

    # -- answers ---------------------------------------------------------------------------------------

    def _answer(self, execution: Execution, *, partition: int = 0, nullable: bool = True) -> Response:
        head = _head(execution)
        if not execution.done.is_set():
            return _json({"code": "333334", "message": IN_PROGRESS, **head}, 202)
        if execution.error is not None:
            raise _failure(execution.error, head)
        result, cut = _within_limit(execution)
        ranges = _ranges(len(result.rows), self._world.partition_rows)
        if partition >= len(ranges):
            raise ApiError(400, "391906", f"Partition {partition} is not in the result.", **head)
        data = _data(result, *ranges[partition], nullable=nullable)
        links = {"Link": _links(execution.handle, partition, len(ranges))}
        if partition:
            packed = gzip.compress(json.dumps({"data": data}).encode())
            return Response(packed, 200, {**links, "Content-Encoding": "gzip"}, "application/json")
        meta = {
            "numRows": len(result.rows),
            "format": "jsonv2",
            "partitionInfo": [_partition_info(result, *bounds) for bounds in ranges],
            "rowType": [row_type(column) for column in result.columns],
        }
        body = {
            "resultSetMetaData": meta, "data": data, "code": "391908" if cut else "090001", "sqlState": "00000",
            "message": "Statement executed successfully.", **head,
        }  # fmt: skip
        if execution.parts:
            body["statementHandles"] = [part.handle for part in execution.parts]
        return _json(body, headers=links)


async def _body(request: Request) -> dict[str, Any]:
    raw = await request.body()
    try:
        if "gzip" in request.headers.get("content-encoding", ""):
            raw = gzip.decompress(raw)
        body = json.loads(raw)
    except (ValueError, OSError, EOFError, zlib.error) as error:
        raise ApiError(400, "390142", "Incoming request does not contain a valid payload.") from error
    if not isinstance(body, dict):
        raise ApiError(400, "390142", "Incoming request does not contain a valid payload.")
    return body


def _text(body: dict[str, Any]) -> str:
    text = body.get("statement")
    if not isinstance(text, str):
        raise ApiError(400, "390142", "Incoming request does not contain a valid payload.")
    return text


def _count(body: dict[str, Any]) -> int:
    wanted = (body.get("parameters") or {}).get("multi_statement_count", 1)
    return _whole(wanted)


def _timeout(body: dict[str, Any]) -> float | None:
    seconds = body.get("timeout")
    return None if seconds is None else _whole(seconds) or LONGEST_TIMEOUT


def _whole(value: object) -> int:
    text = str(value)
    if not text.isdigit():
        raise ApiError(400, "390142", "Incoming request does not contain a valid payload.")
    return int(text)


def _head(execution: Execution) -> dict[str, Any]:
    status_url = f"{PATH}/{execution.handle}?requestId={quote(execution.request or execution.handle)}"
    return {
        "statementHandle": execution.handle,
        "statementStatusUrl": status_url,
        "createdOn": int(execution.created_on * 1000),
    }


def _failure(error: SqlError, head: dict[str, Any]) -> ApiError:
    status = 408 if error.code == "000630" else 422
    return ApiError(status, error.code, error.message, sqlState=error.state, **head)


def _within_limit(execution: Execution) -> tuple[Result, bool]:
    """The result, and whether the parameter rows_per_resultset cut it."""
    result = execution.result
    assert result is not None
    limit = _whole(execution.session.parameters.get("ROWS_PER_RESULTSET", 0))
    cut = 0 < limit < len(result.rows)
    return (with_rows(result, result.rows[:limit]) if cut else result), cut


def _ranges(count: int, size: int) -> list[tuple[int, int]]:
    return [(start, min(start + size, count)) for start in range(0, count, size)] or [(0, 0)]


def _data(result: Result, start: int, end: int, *, nullable: bool = True) -> list[list[str | None]]:
    missing = None if nullable else "null"
    return [
        [missing if cell is None else api_cell(cell, column) for cell, column in zip(row, result.columns)]
        for row in result.rows[start:end]
    ]


def _partition_info(result: Result, start: int, end: int) -> dict[str, int]:
    raw = json.dumps(_data(result, start, end)).encode()
    info = {"rowCount": end - start, "uncompressedSize": len(raw)}
    if start:
        info["compressedSize"] = len(gzip.compress(raw))
    return info


def _links(handle: str, partition: int, count: int) -> str:
    wanted = {"first": 0, "last": count - 1}
    if partition + 1 < count:
        wanted["next"] = partition + 1
    if partition:
        wanted["prev"] = partition - 1
    return ",".join(f'<{PATH}/{handle}?partition={number}>; rel="{name}"' for name, number in wanted.items())
