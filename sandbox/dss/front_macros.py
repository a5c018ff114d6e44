"""The public API's routes for macros, for SQL, and for what only kernels ask.

Source of paths and bodies: dataiku-api-client 13.0 to 15.2, `macro.py`, `sqlquery.py`, `dssclient.py`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from sandbox.dss.config import ConfigError
from sandbox.dss.credentials import CredentialStore, MissingCredentialError
from sandbox.dss.front_errors import json_body, json_object
from sandbox.dss.macros import MacroFailedError, Macros, UnknownRunError
from sandbox.dss.recipes import FragmentRefusedError, Recipes, UnknownDatasetError
from sandbox.dss.rights import NotAllowedError, Rights
from sandbox.dss.sql_queries import SqlQueries, UnknownQueryError
from sandbox.dss.sql_session import SqlError

Handler = Callable[[Request], Awaitable[Response]]
Wait = Callable[..., Awaitable[Any]]

_STATUS: dict[type[Exception], int] = {
    UnknownRunError: 404,
    UnknownQueryError: 404,
    UnknownDatasetError: 404,
    FragmentRefusedError: 400,
    NotAllowedError: 403,
    ConfigError: 400,
    MissingCredentialError: 400,
    MacroFailedError: 500,
    SqlError: 500,
}


class Backend(Protocol):
    """What stands behind these routes: `dss.Dss`."""

    macros: Macros
    sql: SqlQueries
    recipes: Recipes
    rights: Rights
    credentials: CredentialStore


@contextmanager
def as_http_errors() -> Iterator[None]:
    try:
        yield
    except tuple(_STATUS) as error:
        raise HTTPException(_STATUS[type(error)], str(error)) from error


class MacroRoutes:
    """`wait` runs a call in a thread."""

    def __init__(self, dss: Backend, wait: Wait) -> None:
        self._dss = dss
        self._wait = wait

    def routes(self) -> list[tuple[str, str, Handler]]:
        macros = "/projects/{project}/runnables"
        macro = f"{macros}/{{macro}}"
        return [
            ("GET", f"{macros}/", self._list),
            ("GET", macro, self._definition),
            ("POST", macro, self._run),
            ("GET", f"{macro}/state/{{run}}", self._state),
            ("GET", f"{macro}/result/{{run}}", self._result),
            ("POST", f"{macro}/abort/{{run}}", self._abort),
            ("GET", "/connections/get-names", self._connection_names),
            ("POST", "/sql/queries/", self._start_query),
            ("GET", "/sql/queries/{query}/stream", self._stream_query),
            ("GET", "/sql/queries/{query}/finish-streaming", self._finish_query),
            ("POST", "/kernels/oauth-credentials", self._oauth_credentials),
            ("POST", "/kernels/dataset", self._dataset),
            ("POST", "/kernels/recipe-fragment", self._fragment),
        ]

    async def _list(self, request: Request) -> Response:
        return JSONResponse(self._dss.macros.definitions(request.state.user))

    async def _definition(self, request: Request) -> Response:
        with as_http_errors():
            name = request.path_params["macro"]
            return JSONResponse(self._dss.macros.definition(name, request.state.user))

    async def _run(self, request: Request) -> Response:
        """The client writes `wait` as Python does: `True`. A macro that fails then fails this call."""
        body = await json_object(request)
        path = request.path_params
        with as_http_errors():
            run = await self._wait(
                self._dss.macros.start,
                path["macro"],
                path["project"],
                request.state.user,
                body.get("params") or {},
                body.get("adminParams") or {},
            )
            if request.query_params.get("wait", "true").lower() == "true":
                await self._wait(run.done.wait)
                if run.failure is not None:
                    raise MacroFailedError(run.failure)
        return JSONResponse({"runId": run.id})

    async def _state(self, request: Request) -> Response:
        """What DSS says besides `running` is not published, so a caller gets nothing else here."""
        with as_http_errors():
            run = self._dss.macros.run(request.path_params["run"])
        return JSONResponse({"running": not run.done.is_set()})

    async def _result(self, request: Request) -> Response:
        with as_http_errors():
            result = self._dss.macros.result(request.path_params["run"])
        return Response(result.body, media_type=result.content_type)

    async def _abort(self, request: Request) -> Response:
        with as_http_errors():
            await self._wait(self._dss.macros.abort, request.path_params["run"])
        return Response(status_code=204)

    async def _connection_names(self, request: Request) -> Response:
        user = request.state.user
        kind = request.query_params.get("type", "Snowflake")
        names = self._dss.sql.names(user, is_admin=self._dss.rights.is_admin(user))
        return JSONResponse(names if kind in ("Snowflake", "all") else [])

    async def _start_query(self, request: Request) -> Response:
        order = await json_body(request, "query", str)
        user = request.state.user
        is_admin = self._dss.rights.is_admin(user)
        with as_http_errors():
            started = await self._wait(
                lambda: self._dss.sql.start(order, user, is_admin=is_admin),
            )
        return JSONResponse(started)

    async def _stream_query(self, request: Request) -> Response:
        if request.query_params.get("format") != "tsv-excel-noheader":
            raise HTTPException(400, "only the format tsv-excel-noheader is stood in for")
        with as_http_errors():
            rows = self._dss.sql.stream(request.path_params["query"])
            return StreamingResponse(rows, media_type="text/tab-separated-values")

    async def _finish_query(self, request: Request) -> Response:
        with as_http_errors():
            await self._wait(self._dss.sql.finish, request.path_params["query"])
        return Response(status_code=204)

    async def _oauth_credentials(self, request: Request) -> Response:
        """Not of the public API: DSS's kernels have their own. This one is for `dataiku.core.plugin`."""
        body = await json_body(request, "handle", str)
        with as_http_errors():
            return JSONResponse(await self._wait(self._dss.credentials.fetch, body["handle"]))

    async def _dataset(self, request: Request) -> Response:
        """Not of the public API either: for `dataiku.Dataset`."""
        body = await json_body(request, "dataset", str)
        with as_http_errors():
            dataset = self._dss.recipes.dataset(body["dataset"])
        return JSONResponse(dataset.location() if body.get("what") == "location" else dataset.config())

    async def _fragment(self, request: Request) -> Response:
        """Not of the public API either: for `SQLExecutor2.exec_recipe_fragment`."""
        order = await json_body(request, "query", str)
        user = request.state.user
        is_admin = self._dss.rights.is_admin(user)
        with as_http_errors():
            await self._wait(
                lambda: self._dss.recipes.execute_fragment(request.state.key, order, user, is_admin=is_admin)
            )
        return JSONResponse({})
