"""DSS's public API for models and knowledge banks, for the real `dataikuapi` client.

`front_macros` and `front_webapps` have the rest.

Source of paths and bodies: dataiku-api-client 12.5 to 15.2. The client sends JSON without a Content-Type.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from sandbox.dss import front_macros, front_webapps
from sandbox.dss.front_errors import Body, dss_error, json_body
from sandbox.dss.knowledge_bank import KnowledgeBank, SearchError
from sandbox.dss.mesh import Mesh, Model, QueryFailedError
from sandbox.dss.plugin import Capability
from sandbox.dss.release import Release

PREFIX = "/dip/publicapi"
PURPOSES: Mapping[str, frozenset[Capability]] = {
    "GENERIC_COMPLETION": frozenset(
        {Capability.CHAT, Capability.CHAT_MULTIMODAL, Capability.TEXT_COMPLETION}
    ),
    "IMAGE_INPUT": frozenset({Capability.CHAT_MULTIMODAL}),
    "TEXT_EMBEDDING_EXTRACTION": frozenset({Capability.EMBEDDING}),
    "IMAGE_EMBEDDING_EXTRACTION": frozenset(),
    "RERANKING": frozenset({Capability.RERANKING}),
    "IMAGE_GENERATION": frozenset(),
}
# Requests that may wait for models at the same time.
WORKERS = 256

Handler = Callable[[Request], Awaitable[Response]]


class Backend(front_macros.Backend, front_webapps.Backend, Protocol):
    """What stands behind the API: `dss.Dss`."""

    mesh: Mesh
    release: Release

    def user_of(self, key: str) -> str | None: ...

    def models(self) -> list[Model]: ...

    def model(self, llm_id: str) -> Model | None: ...

    def knowledge_bank(self, project_key: str, id: str) -> KnowledgeBank | None: ...

    def embed(self, llm_id: str, texts: Sequence[str], user: str) -> list[list[float]]: ...


@contextmanager
def front(dss: Backend) -> Iterator[Starlette]:
    """The ASGI application and the threads its requests wait in."""
    with ThreadPoolExecutor(WORKERS, thread_name_prefix="dss-front") as workers:
        api = _Api(dss, workers)
        yield Starlette(
            routes=[
                *(
                    Route(PREFIX + path, api.authenticated(handler), methods=[method])
                    for method, path, handler in api.routes()
                ),
                *api.webapps.for_browsers(),
            ],
            exception_handlers={HTTPException: dss_error, Exception: dss_error},
        )


class _Api:
    def __init__(self, dss: Backend, workers: ThreadPoolExecutor) -> None:
        self._dss = dss
        self._workers = workers
        self.webapps = front_webapps.WebappRoutes(dss)

    def routes(self) -> list[tuple[str, str, Handler]]:
        llms = "/projects/{project}/llms"
        bank = "/projects/{project}/knowledge-banks/{bank}"
        return [
            ("GET", "/auth/info", self._auth_info),
            ("GET", "/instance-info", self._instance_info),
            ("GET", llms, self._list),
            ("POST", f"{llms}/completions", self._completions),
            ("POST", f"{llms}/streamed-completion", self._streamed_completion),
            ("POST", f"{llms}/embeddings", self._embeddings),
            ("POST", f"{llms}/rerankings", self._rerankings),
            ("GET", bank, self._knowledge_bank),
            ("POST", f"{bank}/search", self._search),
            *front_macros.MacroRoutes(self._dss, self._wait).routes(),
            *self.webapps.for_kernels(),
        ]

    def authenticated(self, handler: Handler) -> Handler:
        async def handle(request: Request) -> Response:
            request.state.key = _presented_key(request)
            user = self._dss.user_of(request.state.key)
            if user is None:
                raise HTTPException(401, "Invalid API key")
            request.state.user = user
            return await handler(request)

        return handle

    async def _auth_info(self, request: Request) -> Response:
        user = request.state.user
        groups = [*self._dss.browsers.groups_of(user)]
        groups += ["administrators"] if self._dss.rights.is_admin(user) else []
        return JSONResponse(
            {"authIdentifier": user, "associatedDSSUser": user, "groups": groups, "via": ["API key"]}
        )

    async def _instance_info(self, request: Request) -> Response:
        return JSONResponse({"nodeType": "DESIGN", "dssVersion": f"{self._dss.release}.0"})

    async def _list(self, request: Request) -> Response:
        purpose = request.query_params.get("purpose", "GENERIC_COMPLETION")
        if purpose not in PURPOSES:
            raise HTTPException(400, f"Unknown purpose: {purpose}")
        return JSONResponse(
            [_listed(model) for model in self._dss.models() if model.capability in PURPOSES[purpose]]
        )

    async def _completions(self, request: Request) -> Response:
        return await self._queries(request, "GENERIC_COMPLETION", self._dss.mesh.complete)

    async def _embeddings(self, request: Request) -> Response:
        return await self._queries(request, "TEXT_EMBEDDING_EXTRACTION", self._dss.mesh.embed)

    async def _rerankings(self, request: Request) -> Response:
        return await self._queries(request, "RERANKING", self._dss.mesh.rerank)

    async def _queries(self, request: Request, purpose: str, run: Callable[..., list[Any]]) -> Response:
        body = await json_body(request, "queries", list)
        model = self._model(body, purpose)
        responses = await self._wait(run, model, request.state.user, body["queries"], body.get("settings"))
        return JSONResponse({"responses": responses})

    async def _streamed_completion(self, request: Request) -> Response:
        body = await json_body(request, "query", dict)
        model = self._model(body, "GENERIC_COMPLETION")
        events = self._dss.mesh.stream(model, request.state.user, body["query"], body.get("settings"))
        stream = EventStream(events, emit_error_chunk=bool(body.get("emitErrorChunk")))
        await stream.prepare()
        return stream

    async def _knowledge_bank(self, request: Request) -> Response:
        bank = self._bank(request)
        return JSONResponse(
            {"projectKey": bank.project_key, "id": bank.id, "name": bank.id, "embeddingLLMId": bank.llm_id}
        )

    async def _search(self, request: Request) -> Response:
        bank = self._bank(request)
        query, params = request.query_params.get("query"), request.query_params.get("params", "{}")
        if not query:
            raise HTTPException(400, "query is missing")
        try:
            vectors = await self._wait(self._dss.embed, bank.llm_id, [query], request.state.user)
            documents = bank.search(vectors[0], json.loads(params))
        except (RuntimeError, SearchError) as error:
            return JSONResponse({"error": {"message": str(error)}})
        return JSONResponse({"documents": documents})

    def _model(self, body: Body, purpose: str) -> Model:
        model = self._dss.model(body.get("llmId", ""))
        if model is None:
            raise HTTPException(404, f"LLM not found: {body.get('llmId')}")
        if model.capability not in PURPOSES[purpose]:
            raise HTTPException(400, f"{model.llm_id} is a model for: {model.capability.value}")
        return model

    def _bank(self, request: Request) -> Any:
        project, bank_id = request.path_params["project"], request.path_params["bank"]
        bank = self._dss.knowledge_bank(project, bank_id)
        if bank is None:
            raise HTTPException(404, f"Knowledge bank not found: {project}.{bank_id}")
        return bank

    async def _wait(self, call: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._workers, call, *args)


class EventStream(StreamingResponse):
    """Server-sent events, each sent as it comes. The plugin is asked for the next item when the last is
    on its way, always from the one thread of this stream.

    When the client goes away the plugin's generator is closed, as soon as it is not running.
    """

    def __init__(self, events: Iterator[tuple[str, Body]], *, emit_error_chunk: bool) -> None:
        self._events = events
        self._emit_error_chunk = emit_error_chunk
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="dss-stream")
        self._first: tuple[str, Body] | None = None
        super().__init__(self._body(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})

    async def prepare(self) -> None:
        """Clients before 14.5 know no error event: a stream that fails at once is an error of HTTP."""
        if self._emit_error_chunk:
            return
        try:
            self._first = await self._next()
        except BaseException as error:
            self._abandon()
            if isinstance(error, QueryFailedError):
                raise HTTPException(500, error.error["errorMessage"]) from error
            raise

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._abandon()

    async def _body(self) -> AsyncIterator[bytes]:
        try:
            event = self._first or await self._next()
            while event is not None:
                yield _sse(*event)
                event = await self._next()
        except QueryFailedError as failure:
            if not self._emit_error_chunk:
                raise  # the server cuts the connection, which such a client does notice
            yield _sse("error-chunk", failure.error)

    async def _next(self) -> tuple[str, Body] | None:
        return await asyncio.get_running_loop().run_in_executor(self._thread, next, self._events, None)

    def _abandon(self) -> None:
        self._thread.submit(self._events.close)  # type: ignore[attr-defined]
        self._thread.shutdown(wait=False)


def _sse(event: str, data: Body) -> bytes:
    return f"event: {event}\ndata: {json.dumps(data)}\n\n".encode()


def _listed(model: Model) -> Body:
    return {
        "id": model.llm_id,
        "type": "CUSTOM",
        "friendlyName": f"{model.connection} - {model.id}",
        "friendlyNameShort": model.id,
        "connection": model.connection,
        "model": model.id,
    }


def _presented_key(request: Request) -> str:
    """HTTP Basic with the key as user, X-DKU-APITicket, or a bearer token."""
    if ticket := request.headers.get("x-dku-apiticket"):
        return ticket
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value).decode().partition(":")[0]
        except ValueError:
            return ""
    return ""
