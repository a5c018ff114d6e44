"""Working the sandbox over HTTP: arm faults, move the clock, read counters. On every listener.

These calls are neither counted nor hit by faults. They issue tokens to whoever asks, so no web page in the browser of
whoever runs the sandbox may ask: neither across origins nor by a name that it lets point to loopback.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from typing import Any, Protocol

from sandbox.services.scripted import Stats
from sandbox.snowflake.clock import Clock
from sandbox.snowflake.counters import Counters
from sandbox.snowflake.faults import Faults
from sandbox.snowflake.reply import Reply, read_body
from sandbox.snowflake.sql.errors import SqlError
from sandbox.snowflake.sql.executor import Executor
from sandbox.snowflake.sql.statement_faults import StatementFaults
from sandbox.snowflake.wire import App, Receive, Scope, Send

PREFIX = "/_sandbox/"
LOOPBACK = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d+)?", re.ASCII | re.IGNORECASE)
ARMABLE = ("where", "on", "times", "skip", "chance", "reused")


class Measured(Protocol):
    """A service that counts its batches."""

    @property
    def stats(self) -> Stats: ...


class Sandbox(Protocol):
    """What these calls work: `snowflake.Snowflake`."""

    faults: Faults

    @property
    def clock(self) -> Clock: ...

    @property
    def counters(self) -> dict[str, dict[str, int]]: ...

    @property
    def issue_oauth_token(self) -> Callable[..., str]: ...

    @property
    def create_pat(self) -> Callable[..., str]: ...

    @property
    def statement_faults(self) -> StatementFaults: ...

    @property
    def executor(self) -> Executor: ...

    def service(self, name: str) -> Measured: ...

    def run_sql(self, statement: str, *, role: str = ...) -> list[dict[str, object]]: ...

    def change_service(self, name: str, **changes: Any) -> dict[str, object]: ...

    def change_pool(self, name: str, **changes: Any) -> dict[str, object]: ...

    def seed_usage(self, days: int = ...) -> int: ...


def with_admin(app: App, sandbox: Sandbox, name: str) -> App:
    async def administered(scope: Scope, receive: Receive, send: Send) -> None:
        if not scope["path"].startswith(PREFIX):
            await app(scope, receive, send)
            return
        raw = await read_body(receive)
        refused = _refused(scope, raw)
        if refused is not None:
            await refused.send(send)
            return
        try:
            body = json.loads(raw or b"{}")
            # In a thread: a statement may take long, and this loop serves everybody.
            what = scope["path"].removeprefix(PREFIX)
            reply = await asyncio.to_thread(_act, sandbox, name, scope["method"], what, body)
        except SqlError as error:
            reply = Reply.json({"error": error.message, "code": error.code}, 400)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            reply = Reply.json({"error": f"{type(error).__name__}: {error}"}, 400)
        await reply.send(send)

    return administered


def _refused(scope: Scope, body: bytes) -> Reply | None:
    """The refusal of what a browser could have been made to send, or None."""
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    host = headers.get("host", "")
    if not LOOPBACK.fullmatch(host):
        return Reply.json({"error": f"Host is {host!r}: only loopback is served"}, 403)
    if "origin" in headers:
        return Reply.json({"error": "web pages are not served"}, 403)
    if body and headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        return Reply.json({"error": "a body must be declared as application/json"}, 415)
    return None


def _act(sandbox: Sandbox, name: str, method: str, what: str, body: Any) -> Reply:
    if (method, what) == ("POST", "faults"):
        for fault in body if isinstance(body, list) else [body]:
            _arm(sandbox, name, fault)
        return Reply.json({"faults": sandbox.faults.listed()}, 201)
    if (method, what) == ("GET", "faults"):
        return Reply.json({"faults": sandbox.faults.listed()})
    if (method, what) == ("DELETE", "faults"):
        sandbox.faults.clear()
        return Reply.json({"faults": []})
    if (method, what) == ("POST", "clock"):
        sandbox.clock.advance(float(body["advance"]))
        return Reply.json({"now": sandbox.clock()})
    if (method, what) == ("GET", "clock"):
        return Reply.json({"now": sandbox.clock()})
    if (method, what) == ("GET", "counters"):
        return Reply.json(sandbox.counters)
    if (method, what) == ("POST", "tokens"):
        issue = {"oauth": sandbox.issue_oauth_token, "pat": sandbox.create_pat}[body.pop("kind")]
        return Reply.json({"token": issue(**body)}, 201)
    if what in ("sql", "statements", "statement-faults", "services", "pools", "usage"):
        return _act_on_sql(sandbox, method, what, body)
    if (method, what) == ("GET", "batches"):
        return Reply.json({"batch_sizes": sandbox.service(name).stats.batch_sizes})
    return Reply.json({"error": f"no {method} {what} here"}, 404)


def _act_on_sql(sandbox: Sandbox, method: str, what: str, body: Any) -> Reply:
    if (method, what) == ("POST", "sql"):
        return Reply.json({"rows": _plain(sandbox.run_sql(**body))})
    if (method, what) == ("GET", "statements"):
        return Reply.json({"statements": sandbox.executor.statements})
    if (method, what) == ("POST", "statement-faults"):
        for fault in body if isinstance(body, list) else [body]:
            sandbox.statement_faults.arm(**fault)
        return Reply.json({"faults": sandbox.statement_faults.listed()}, 201)
    if (method, what) == ("GET", "statement-faults"):
        return Reply.json({"faults": sandbox.statement_faults.listed()})
    if (method, what) == ("DELETE", "statement-faults"):
        sandbox.statement_faults.clear()
        return Reply.json({"faults": []})
    if (method, what) == ("POST", "services"):
        return Reply.json(_plain(sandbox.change_service(**body)))
    if (method, what) == ("POST", "pools"):
        return Reply.json(_plain(sandbox.change_pool(**body)))
    if (method, what) == ("POST", "usage"):
        return Reply.json({"hours": sandbox.seed_usage(**body)}, 201)
    return Reply.json({"error": f"no {method} {what} here"}, 404)


def _plain(value: Any) -> Any:
    """Rows with times and decimals as text."""
    return json.loads(json.dumps(value, default=str))


def _arm(sandbox: Sandbox, name: str, fault: dict[str, Any]) -> None:
    """`where` is this listener unless said; everything that is not about when to strike is a parameter."""
    when = {key: fault[key] for key in ARMABLE if key in fault}
    params = {k: v for k, v in fault.items() if k not in ARMABLE and k not in ("kind", "params")}
    params.update(fault.get("params", {}))
    when.setdefault("where", name)
    sandbox.faults.arm(fault["kind"], **when, **params)


def elsewhere_app(counters: Counters) -> App:
    """A host that nobody should be led to: it answers like a service and counts who came."""

    async def elsewhere(scope: Scope, receive: Receive, send: Send) -> None:
        names = {name.decode("latin-1").lower() for name, _ in scope["headers"]}
        counters.add("requests")
        if names & {"authorization", "x-sf-spcs-authorization"}:
            counters.add("requests_with_token")
        await read_body(receive)
        await Reply.json({"data": [[0, {"outputs": "from elsewhere"}]]}).send(send)

    return elsewhere
