"""Working the sandbox over HTTP: arm faults, move the clock, read counters, run SQL. On every listener.

These calls are neither counted nor hit by faults. They issue tokens to whoever asks, so no web page in the browser of
whoever runs the sandbox may ask: neither across origins nor by a name that it lets point to loopback.
"""

from __future__ import annotations

import asyncio
import json
import re

from sandbox.snowflake.admin_actions import ACTIONS, Sandbox
from sandbox.snowflake.counters import Counters
from sandbox.snowflake.reply import Reply, read_body
from sandbox.snowflake.sql.errors import SqlError
from sandbox.snowflake.wire import App, Receive, Scope, Send

PREFIX = "/_sandbox/"
CREATING = frozenset({"POST faults", "POST statement-faults", "POST tokens", "POST usage"})
LOOPBACK = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d+)?", re.ASCII | re.IGNORECASE)


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
            call = f"{scope['method']} {scope['path'].removeprefix(PREFIX)}"
            # In a thread: a statement may take long, and this loop serves everybody.
            reply = await asyncio.to_thread(_act, sandbox, name, call, body)
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


def _act(sandbox: Sandbox, name: str, call: str, body: object) -> Reply:
    action = ACTIONS.get(call)
    if action is None:
        return Reply.json({"error": f"no {call} here"}, 404)
    said = action(sandbox, name, body)
    # Times and decimals of rows as text.
    return Reply.json(json.loads(json.dumps(said, default=str)), 201 if call in CREATING else 200)


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
