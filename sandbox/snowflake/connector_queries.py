"""The connectors' protocol for statements: `/queries/v1/query-request` and what belongs to it.

Fields, codes and paths: snowflake-connector-python 4.8.1 and 5.2.0, tried. Every cell is text, every key of a row
type is there, codes are strings: what one of the two forgives, the other takes for a row or an error that is not there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sandbox.snowflake.bindings import bound_values
from sandbox.snowflake.sql.cells import row_type, wire_cell
from sandbox.snowflake.sql.errors import SqlError
from sandbox.snowflake.sql.executor import Execution, Executor
from sandbox.snowflake.sql.results import MULTIPLE, Result
from sandbox.snowflake.world import Session, World

IN_PROGRESS, ASYNCHRONOUS = "333333", "333334"
ReadBody = Callable[[Request], Awaitable[dict[str, Any]]]


class ConnectorQueries:
    """Statements within sessions. read_body: of a request that may be compressed."""

    def __init__(self, world: World, executor: Executor, read_body: ReadBody) -> None:
        self._world = world
        self._executor = executor
        self._read_body = read_body

    async def query(self, request: Request, session: Session) -> Response:
        body = await self._read_body(request)
        self._world.counters.add("query")
        parameters = {str(k).upper(): v for k, v in (body.get("parameters") or {}).items()}
        seconds = parameters.get("STATEMENT_TIMEOUT_IN_SECONDS") or session.parameters.get(
            "STATEMENT_TIMEOUT_IN_SECONDS"
        )
        execution = self._executor.submit(
            session,
            str(body.get("sqlText") or ""),
            bindings=bound_values(body.get("bindings")),
            count=int(str(parameters.get("MULTI_STATEMENT_COUNT", 1))),
            timeout=float(str(seconds)) if seconds else None,
            request=request.query_params.get("requestId"),
            describe_only=bool(body.get("describeOnly")),
        )
        if body.get("asyncExec"):
            return _in_progress(execution, ASYNCHRONOUS)
        return await self._result(execution)

    async def result(self, request: Request, session: Session) -> Response:
        """The result, waited for as long as the first answer was."""
        execution = self._executor.find(request.path_params["handle"])
        if execution is None or execution.session.user != session.user:
            error = SqlError("000709", "02000", f"Statement {request.path_params['handle']} not found")
            return _failed(error, request.path_params["handle"])
        return await self._result(execution)

    async def monitor(self, request: Request, session: Session) -> Response:
        execution = self._executor.find(request.path_params["handle"].strip("/"))
        if execution is None or execution.session.user != session.user:
            return _ok({"queries": []})
        error = execution.error
        described = {
            "id": execution.handle,
            "status": execution.status,
            "errorCode": error.code if error else None,
            "errorMessage": error.message if error else None,
            "sqlText": execution.text,
        }
        return _ok({"queries": [described]})

    async def abort(self, request: Request, session: Session) -> Response:
        """Of a statement by its id in the path, or by the request that brought it."""
        handle = request.path_params.get("handle")
        loop = asyncio.get_running_loop()
        if handle is not None:
            execution = self._executor.find(handle)
            if execution is not None and execution.session.user == session.user:
                await loop.run_in_executor(None, self._executor.cancel, execution)
        else:
            body = await self._read_body(request)
            wanted = str(body.get("requestId"))
            await loop.run_in_executor(None, self._executor.cancel_request, session.user, wanted)
        return _ok(None)

    async def _result(self, execution: Execution) -> Response:
        deadline = self._world.clock() + self._world.durations.statement_wait
        while not execution.done.is_set():
            if self._world.clock() >= deadline:
                return _in_progress(execution, IN_PROGRESS)
            await execution.ended(0.05)
        if execution.error is not None:
            return _failed(execution.error, execution.handle)
        assert execution.result is not None
        return _ok(_data(execution, execution.result))


def _ok(data: object) -> Response:
    return JSONResponse({"data": data, "code": None, "message": None, "success": True})


def _in_progress(execution: Execution, code: str) -> Response:
    data = {"getResultUrl": f"/queries/{execution.handle}/result", "queryId": execution.handle}
    return JSONResponse(
        {"data": data, "code": code, "message": "Query execution in progress.", "success": True}
    )


def _failed(error: SqlError, handle: str) -> Response:
    data = {
        "internalError": False,
        "errorCode": error.code,
        "age": 0,
        "sqlState": error.state,
        "queryId": handle,
        "line": -1,
        "pos": -1,
        "type": "COMPILATION",
    }
    body = {"data": data, "code": error.code, "message": error.message, "success": False, "headers": None}
    return JSONResponse(body)


def _data(execution: Execution, result: Result) -> dict[str, object]:
    session = execution.session
    data: dict[str, object] = {
        "parameters": [
            {"name": "CLIENT_SESSION_KEEP_ALIVE", "value": False},
            {"name": "TIMEZONE", "value": str(session.parameters.get("TIMEZONE") or "America/Los_Angeles")},
        ],
        "rowtype": [row_type(column) for column in result.columns],
        "rowset": [
            [wire_cell(cell, column) for cell, column in zip(row, result.columns)] for row in result.rows
        ],
        "total": len(result.rows),
        "returned": len(result.rows),
        "queryId": execution.handle,
        "databaseProvider": None,
        "finalDatabaseName": session.database,
        "finalSchemaName": session.schema,
        "finalWarehouseName": session.warehouse,
        "finalRoleName": session.role,
        "numberOfBinds": 0,
        "arrayBindSupported": False,
        "statementTypeId": result.kind,
        "version": 1,
        "sendResultTime": 0,
        "queryResultFormat": "json",
    }
    if result.kind == MULTIPLE:
        data["resultIds"] = ",".join(part.handle for part in execution.parts)
        data["resultTypes"] = ",".join(
            str(part.result.kind) for part in execution.parts if part.result is not None
        )
    return data
