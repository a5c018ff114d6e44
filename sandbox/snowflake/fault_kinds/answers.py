"""Answers that a gateway, an account or another server would give instead of the real one."""

from __future__ import annotations

import json

from sandbox.snowflake import gateway
from sandbox.snowflake.fault_kinds.call import Call, kind
from sandbox.snowflake.refusals import Refusal
from sandbox.snowflake.reply import Reply

HTML = "<!DOCTYPE html><html><body><h1>Sign in to Snowflake</h1></body></html>"


@kind
async def respond(call: Call) -> None:
    """Any answer: `status`, `json` or `body`, `content_type`, `headers`."""
    body = json.dumps(call["json"]) if "json" in call.params else str(call.get("body", ""))
    default = "application/json" if "json" in call.params else "text/plain; charset=utf-8"
    headers = [("content-type", call.get("content_type", default)), *call.get("headers", {}).items()]
    await call.answer(Reply(int(call.get("status", 200)), headers, body.encode()))


@kind
async def refuse(call: Call) -> None:
    """The account's own refusal: `code`, `message`, in HTTP 200."""
    refusal = Refusal(str(call["code"]), call.get("message"))
    body = {"data": None, "code": refusal.code, "message": refusal.message, "success": False}
    await call.answer(Reply.json(body))


@kind
async def redirect(call: Call) -> None:
    """A redirect, `status` 302, `to` "signin", "elsewhere" or a URL."""
    known = {"signin": call.site.sign_in_url, "elsewhere": call.site.elsewhere_url}
    to = str(call.get("to", "signin"))
    await call.answer(gateway.sign_in_redirect(known.get(to, to), int(call.get("status", 302))))


@kind
async def html_200(call: Call) -> None:
    await call.answer(gateway.text(200, HTML, "text/html; charset=utf-8"))


@kind
async def empty_200(call: Call) -> None:
    await call.answer(Reply(200, [("content-type", "application/json")], b""))


@kind
async def gateway_error(call: Call) -> None:
    """Gateway JSON: `status` 401, `response_type` ERROR_INVALID_TOKEN, `detail`."""
    kind_of_error = str(call.get("response_type", "ERROR_INVALID_TOKEN"))
    detail = str(call.get("detail", "The token is invalid."))
    await call.answer(gateway.gateway_json(int(call.get("status", 401)), kind_of_error, detail))


@kind
async def network_policy(call: Call) -> None:
    await call.answer(gateway.network_policy(int(call.get("status", 403))))


@kind
async def hidden_404(call: Call) -> None:
    await call.answer(gateway.not_found())


@kind
async def host_recreated(call: Call) -> None:
    """A host that a dropped service left behind: 403 (or `status`) in plain text."""
    await call.answer(gateway.stale_host(call.site.name, int(call.get("status", 403))))


@kind
async def access_denied(call: Call) -> None:
    page = f"<html><body>Access denied. Insufficient privileges to use {call.site.name}</body></html>"
    await call.answer(gateway.text(403, page, "text/html; charset=utf-8"))


@kind
async def no_hosts(call: Call) -> None:
    await call.answer(gateway.no_hosts(call.site.name, int(call.get("status", 503))))


@kind
async def upstream_connect_error(call: Call) -> None:
    await call.answer(gateway.connect_error())


@kind
async def model_loading(call: Call) -> None:
    await call.answer(gateway.loading())


@kind
async def gateway_timeout(call: Call) -> None:
    await call.answer(gateway.timed_out())


@kind
async def too_large(call: Call) -> None:
    await call.answer(gateway.too_large())


@kind
async def too_many_requests(call: Call) -> None:
    """429, with `retry_after` as the header's text when given, and `json` as its body."""
    body = json.dumps(call.get("json", {"error": "Too many requests"}))
    reply = gateway.text(429, body, "application/json")
    if call.get("retry_after") is not None:
        reply.headers.append(("retry-after", str(call["retry_after"])))
    await call.answer(reply)


@kind
async def arrow_500(call: Call) -> None:
    await call.answer(gateway.arrow())
