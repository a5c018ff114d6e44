"""The HTTP interface of a Snowflake account: logging in and out, and statements.

Field names, codes and shapes: snowflake-connector-python 4.8.1 and 5.2.0; for `/oauth/token` the
Snowflake documentation (SPCS tutorial 8) and posit-dev/snowflakeauth. A refusal is HTTP 200 with
`success: false` and a code that is a string.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from sandbox.snowflake.connector_queries import ConnectorQueries
from sandbox.snowflake.logins import authenticate
from sandbox.snowflake.oauth import client_of, endpoint_token, grant_tokens
from sandbox.snowflake.refusals import Refusal
from sandbox.snowflake.sql.executor import Executor
from sandbox.snowflake.sql.sessions import enter
from sandbox.snowflake.sql_api import PATH as SQL_API
from sandbox.snowflake.sql_api import sql_api_routes
from sandbox.snowflake.world import Session, Token, World

Handler = Callable[[Request], Awaitable[Response]]
SessionHandler = Callable[[Request, Session], Awaitable[Response]]

SIGN_IN_PAGE = """<!DOCTYPE html>
<html><head><title>Snowflake</title></head>
<body><h1>Sign in to Snowflake</h1>
<form method="post"><input name="user"><input type="password" name="password"></form></body></html>"""

SNOWFLAKE_TOKEN = re.compile(r'^Snowflake Token="(?P<token>[^"]*)"$')

OPERATIONS = {
    "/session/v1/login-request": "login",
    "/session/heartbeat": "heartbeat",
    "/session": "logout",
    "/oauth/token": "endpoint_token",
    "/oauth/token-request": "oauth_token",
    "/queries/v1/query-request": "query",
    "/queries/v1/abort-request": "abort",
    "/telemetry/send": "telemetry",
    "/spcs/sign-in": "sign_in_page",
}


def operation(path: str) -> str:
    """What a request asks of the account, in the words that faults and counters use."""
    if path.startswith(SQL_API):
        return "statement" if path == SQL_API else "cancel" if path.endswith("/cancel") else "result"
    if path.startswith("/queries/") and path not in OPERATIONS:
        return "abort" if path.endswith("/abort-request") else "query_result"
    if path.startswith("/monitoring/"):
        return "monitor"
    return "token" if path == "/session/token-request" else OPERATIONS.get(path, "other")


def account_app(world: World, executor: Executor) -> Starlette:
    return Starlette(
        routes=[
            *sql_api_routes(world, executor),
            _post("/session/v1/login-request", _login(world)),
            _post("/session/token-request", _token_request(world)),
            _post("/session/heartbeat", _heartbeat(world)),
            _post("/session", _logout(world)),
            _post("/oauth/token", _endpoint_token(world)),
            _post("/oauth/token-request", _oauth_token(world)),
            *_query_routes(world, executor),
            _post("/telemetry/send", _telemetry(world)),
            Route("/spcs/sign-in", _sign_in_page(world), methods=["GET", "POST"]),
        ]
    )


def _post(path: str, handler: Handler) -> Route:
    return _route(path, handler, "POST")


def _get(path: str, handler: Handler) -> Route:
    return _route(path, handler, "GET")


def _route(path: str, handler: Handler, method: str) -> Route:
    async def answered(request: Request) -> Response:
        try:
            return await handler(request)
        except Refusal as refusal:
            return _refused(refusal)
        except BadBodyError as bad:
            return PlainTextResponse(str(bad), status_code=400)

    return Route(path, answered, methods=[method])


class BadBodyError(Exception):
    pass


async def _json(request: Request) -> dict[str, Any]:
    raw = await request.body()
    if "gzip" in request.headers.get("content-encoding", ""):
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error) as error:
            raise BadBodyError("The body is not gzip.") from error
    try:
        body = json.loads(raw or b"{}")
    except ValueError as error:
        raise BadBodyError("The body is not JSON.") from error
    if not isinstance(body, dict):
        raise BadBodyError("The body is not a JSON object.")
    return body


def _ok(data: object) -> Response:
    return JSONResponse({"data": data, "code": None, "message": None, "success": True})


def _refused(refusal: Refusal, data: object = None) -> Response:
    body = {"data": data, "code": refusal.code, "message": refusal.message, "success": False, "headers": None}
    return JSONResponse(body)


def bearer(request: Request) -> str | None:
    """The token of `Authorization: Snowflake Token="..."`; None without one, "" with another scheme."""
    header = request.headers.get("authorization")
    if header is None:
        return None
    found = SNOWFLAKE_TOKEN.match(header)
    return found["token"] if found else ""


def _login(world: World) -> Handler:
    async def login(request: Request) -> Response:
        data = (await _json(request)).get("data")
        if not isinstance(data, dict):
            raise BadBodyError("The body has no object `data`.")
        try:
            user, role = authenticate(world, data, request.query_params)
        except Refusal as refusal:
            world.counters.add("login_refused")
            hint: dict[str, object] = {
                "nextAction": "RETRY_LOGIN",
                "authnMethod": data.get("AUTHENTICATOR"),
                "signInOptions": {},
            }
            return _refused(refusal, hint)
        parameters = data.get("SESSION_PARAMETERS") or {}
        session, token, master = world.open_session(
            user, role, str(data.get("CLIENT_APP_ID") or ""), {k.upper(): v for k, v in parameters.items()}
        )
        asked = request.query_params
        enter(world, session, asked.get("warehouse"), asked.get("databaseName"), asked.get("schemaName"))
        world.counters.add("login")
        return _ok(_login_data(world, session, token, master))

    return login


def _login_data(world: World, session: Session, token: Token, master: Token) -> dict[str, object]:
    return {
        "token": token.text,
        "validityInSeconds": _seconds(world.lifetimes.session),
        "masterToken": master.text,
        "masterValidityInSeconds": _seconds(world.lifetimes.master),
        "sessionId": session.id,
        "displayUserName": session.user,
        "serverVersion": "10.1.0",
        "firstLogin": False,
        "remMeToken": None,
        "remMeValidityInSeconds": 0,
        "healthCheckInterval": 45,
        "newClientForUpgrade": None,
        "idToken": None,
        "idTokenValidityInSeconds": 0,
        "mfaToken": None,
        "mfaTokenValidityInSeconds": 0,
        "responseData": None,
        "parameters": [
            {"name": "CLIENT_SESSION_KEEP_ALIVE", "value": False},
            {"name": "TIMEZONE", "value": "America/Los_Angeles"},
        ],
        "sessionInfo": {
            "databaseName": session.database,
            "schemaName": session.schema,
            "warehouseName": session.warehouse,
            "roleName": session.role,
        },
    }


def _seconds(life: float) -> int | float:
    return int(life) if life == int(life) else life


def _token_request(world: World) -> Handler:
    async def token_request(request: Request) -> Response:
        kind, data = "token", {}
        try:
            body = await _json(request)
            kind = {"RENEW": "renew", "ISSUE": "issue"}.get(str(body.get("requestType")), "token")
            if kind == "renew":
                session, token, master = world.renew(bearer(request), body.get("oldSessionToken"))
                data = {"masterToken": master.text, "validityInSecondsMT": _seconds(world.lifetimes.master)}
            elif kind == "issue":
                held = world.live_master(bearer(request)).session
                assert held is not None
                session, token = held, world.session_token(held)
            else:
                raise Refusal("390400", f"Unknown requestType {body.get('requestType')!r}.")
        except Refusal:
            world.counters.add(f"{kind}_refused")
            raise
        world.counters.add(kind)
        return _ok(
            {
                "sessionToken": token.text,
                "validityInSecondsST": _seconds(world.lifetimes.session),
                "sessionId": session.id,
                **data,
            }
        )

    return token_request


def _heartbeat(world: World) -> Handler:
    async def heartbeat(request: Request) -> Response:
        world.live_session(bearer(request))
        world.counters.add("heartbeat")
        return _ok(None)

    return heartbeat


def _logout(world: World) -> Handler:
    async def logout(request: Request) -> Response:
        if request.query_params.get("delete") != "true":
            return PlainTextResponse("Not Found", status_code=404)
        token = world.live_session(bearer(request))
        assert token.session is not None
        token.session.closed = True
        if world.tables is not None:
            world.tables.store.forget(token.session)
        world.counters.add("logout")
        return _ok(None)

    return logout


def _query_routes(world: World, executor: Executor) -> list[Route]:
    queries = ConnectorQueries(world, executor, _json)
    return [
        _post("/queries/v1/query-request", _in_session(world, queries.query)),
        _post("/queries/v1/abort-request", _in_session(world, queries.abort)),
        _post("/queries/{handle}/abort-request", _in_session(world, queries.abort)),
        _get("/queries/{handle}/result", _in_session(world, queries.result)),
        # Version 5 of the Python connector asks with two slashes.
        _get("/monitoring/queries/{handle:path}", _in_session(world, queries.monitor)),
    ]


def _in_session(world: World, handler: SessionHandler) -> Handler:
    async def within(request: Request) -> Response:
        session = world.live_session(bearer(request)).session
        assert session is not None
        return await handler(request, session)

    return within


def _telemetry(world: World) -> Handler:
    async def telemetry(request: Request) -> Response:
        await request.body()
        world.counters.add("telemetry")
        return _ok("Log Received")

    return telemetry


def _endpoint_token(world: World) -> Handler:
    async def exchange(request: Request) -> Response:
        try:
            token = endpoint_token(world, await request.body(), request.headers.get("content-type", ""))
        except Refusal as refusal:
            world.counters.add("endpoint_token_refused")
            error = {"data": None, "error": "invalid_grant", "success": False}
            return JSONResponse({**error, "code": refusal.code, "message": refusal.message}, status_code=400)
        world.counters.add("endpoint_token")
        # The reply is the bare token, not JSON.
        return PlainTextResponse(token.text)

    return exchange


def _oauth_token(world: World) -> Handler:
    async def token_request(request: Request) -> Response:
        client = client_of(world, request.headers.get("authorization", ""))
        if client is None:
            world.counters.add("oauth_token_refused")
            message = "This is an invalid client."
            return JSONResponse(
                {"data": None, "message": message, "code": None, "success": False, "error": "invalid_client"},
                status_code=401,
            )
        try:
            granted = grant_tokens(world, await request.body())
        except Refusal as refusal:
            world.counters.add("oauth_token_refused")
            return JSONResponse(
                {
                    "data": None,
                    "message": refusal.message,
                    "code": None,
                    "success": False,
                    "error": refusal.code,
                },
                status_code=400,
            )
        world.counters.add("oauth_token")
        return JSONResponse(granted)

    return token_request


def _sign_in_page(world: World) -> Handler:
    async def page(request: Request) -> Response:
        world.counters.add("sign_in_page")
        if "authorization" in request.headers or "x-sf-spcs-authorization" in request.headers:
            world.counters.add("sign_in_page_with_token")
        headers = {
            "Server": "_",
            "Set-Cookie": "sfc-ss-csrf-token-v1-sandbox=1; Path=/; Secure",
        }
        return HTMLResponse(SIGN_IN_PAGE, headers=headers)

    return page
