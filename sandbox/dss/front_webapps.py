"""What browsers ask of DSS: the page of a webapp, and its backend behind a proxy; and what backends ask.

Paths: DSS documentation and the plugins of Dataiku that have a webapp: `/webapps/<project>/<id>` and
`/web-apps-backends/<project>/<id>/`. The page's own policy for contents is stricter than any DSS is known to have, so
that a page which needs something from elsewhere, or runs a script that is written into it, shows here.
"""

from __future__ import annotations

import html
import json
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import httpx
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from sandbox.dss.front_errors import json_object
from sandbox.dss.rights import NotAllowedError, Rights
from sandbox.dss.webapps import (
    COOKIE,
    Browsers,
    RunningWebapp,
    UnknownBrowserError,
    UnknownWebappError,
    Webapps,
)

Handler = Callable[[Request], Awaitable[Response]]

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'self'"
)
_HOP_BY_HOP = frozenset(
    ("connection", "keep-alive", "transfer-encoding", "upgrade", "host", "content-length", "te")
)
_METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD"]
_SHIM = """
// What DSS gives to the JavaScript of a webapp.
window.getWebAppBackendUrl = function (path) { return %(backend)s + path; };
window.dataiku = { getWebAppConfig: function () { return %(config)s; }, defaultProjectKey: %(project)s };
"""
_PAGE = """<!DOCTYPE html>
<html>
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>%(title)s</title>
<link rel="stylesheet" href="style.css">
</head>
<body>
%(body)s
<script src="dataiku.js"></script>
<script src="app.js"></script>
</body>
</html>
"""
_TYPES = {"style.css": "text/css", "app.js": "text/javascript"}


class Backend(Protocol):
    """What stands behind these routes: `dss.Dss`."""

    webapps: Webapps
    browsers: Browsers
    rights: Rights

    def create_api_key(self, user: str = ...) -> str: ...


class WebappRoutes:
    """`authenticated` wraps what only kernels may ask."""

    def __init__(self, dss: Backend) -> None:
        self._dss = dss
        self._client = httpx.AsyncClient(
            timeout=None,
            follow_redirects=False,
            trust_env=False,
            verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),  # a backend speaks HTTP: no authority is read
            limits=httpx.Limits(max_keepalive_connections=0),
        )

    def for_browsers(self) -> list[Route]:
        backend = "/web-apps-backends/{project}/{webapp}/{path:path}"
        return [
            Route("/sign-in/{session}", self._sign_in, methods=["GET"]),
            Route("/webapps/{project}/{webapp}/", self._page, methods=["GET"]),
            Route("/webapps/{project}/{webapp}/{file}", self._file, methods=["GET"]),
            Route(backend, self._proxy, methods=_METHODS),
        ]

    def for_kernels(self) -> list[tuple[str, str, Handler]]:
        return [
            ("POST", "/auth/info-from-browser-headers", self._whose_browser),
            ("POST", "/kernels/impersonate", self._impersonate),
        ]

    async def _sign_in(self, request: Request) -> Response:
        """Stands in for the form with the password: this address is only printed for whoever started the sandbox."""
        session = request.path_params["session"]
        if self._dss.browsers.user_of_session(session) is None:
            raise HTTPException(404, "There is no such session")
        response = RedirectResponse(_local(request.query_params.get("to", "/")), 303)
        response.set_cookie(COOKIE, session, httponly=True, samesite="lax")
        return response

    async def _page(self, request: Request) -> Response:
        running = self._seen(request)
        body = (running.webapp.folder / "body.html").read_text(encoding="utf-8")
        return HTMLResponse(_PAGE % {"title": html.escape(running.name), "body": body}, headers=_headers())

    async def _file(self, request: Request) -> Response:
        running, name = self._seen(request), request.path_params["file"]
        if name == "dataiku.js":
            backend = f"/web-apps-backends/{running.project_key}/{running.id}"
            config = json.loads(running.surroundings.more["DKU_CUSTOM_WEBAPP_CONFIG"])
            values = {"backend": backend, "config": config, "project": running.project_key}
            shim = _SHIM % {key: json.dumps(value) for key, value in values.items()}
            return Response(shim, media_type="text/javascript", headers=_headers())
        if name not in _TYPES:
            raise HTTPException(404, "Not found")
        text = (running.webapp.folder / name).read_text(encoding="utf-8")
        return Response(text, media_type=_TYPES[name], headers=_headers())

    async def _proxy(self, request: Request) -> Response:
        running = self._seen(request)
        if running.port is None:
            raise HTTPException(502, "The backend of the webapp does not run")
        headers = [(k, v) for k, v in request.headers.raw if k.decode("latin-1").lower() not in _HOP_BY_HOP]
        url = f"http://127.0.0.1:{running.port}/{request.path_params['path']}"
        try:
            answer = await self._client.request(
                request.method,
                url,
                params=request.query_params,
                headers=headers,
                content=await request.body(),
            )
        except httpx.HTTPError as error:
            raise HTTPException(502, f"The backend does not answer: {type(error).__name__}") from error
        response = Response(answer.content, answer.status_code)
        for name, value in answer.headers.multi_items():
            if name not in _HOP_BY_HOP and name not in ("server", "date", "content-encoding"):
                response.headers[name] = value
        return response

    async def _whose_browser(self, request: Request) -> Response:
        headers = await json_object(request)
        try:
            user = self._dss.browsers.user_of({str(k): str(v) for k, v in headers.items()})
        except UnknownBrowserError as error:
            raise HTTPException(401, str(error)) from error
        return JSONResponse(self._info(user))

    async def _impersonate(self, request: Request) -> Response:
        body: dict[str, Any] = await json_object(request)
        try:
            user = self._dss.browsers.user_of(body["headers"])
            ticket = request.headers.get("x-dku-apiticket", "")
            self._dss.webapps.may_act_as(ticket, self._dss.browsers.groups_of(user))
        except (UnknownBrowserError, NotAllowedError) as error:
            raise HTTPException(403, str(error)) from error
        return JSONResponse({"ticket": self._dss.create_api_key(user)})

    def _info(self, user: str) -> dict[str, Any]:
        return {
            "authIdentifier": user,
            "associatedDSSUser": user,
            "groups": sorted(self._dss.browsers.groups_of(user)),
            "userProfile": "DESIGNER",
            "authSource": "USER_FROM_UI",
            "via": [],
        }

    def _seen(self, request: Request) -> RunningWebapp:
        """A webapp that this browser may see: everybody a public one, others a user who may read the project."""
        path = request.path_params
        try:
            running = self._dss.webapps.webapp(path["project"], path["webapp"])
            if not running.public:
                user = self._dss.browsers.user_of(dict(request.headers))
                self._dss.rights.require(user, running.project_key, ["READ_CONF"])
        except UnknownWebappError as error:
            raise HTTPException(404, str(error)) from error
        except UnknownBrowserError as error:
            raise HTTPException(401, str(error)) from error
        except NotAllowedError as error:
            raise HTTPException(403, str(error)) from error
        return running


def _headers() -> dict[str, str]:
    return {"Content-Security-Policy": PAGE_POLICY, "Cache-Control": "no-store"}


def _local(path: str) -> str:
    return path if path.startswith("/") and not path.startswith("//") else "/"
