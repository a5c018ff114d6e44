"""The answers of the SPCS ingress itself, as opposed to those of the service behind it.

Sources: Snowflake docs, "service network communications" and "real-time inference"; the error shapes
as third-party clients of the ingress read them (datamasque-python, relationalai).
"""

from __future__ import annotations

import secrets
import uuid

from sandbox.snowflake.reply import Reply


def cookie() -> list[tuple[str, str]]:
    """What marks every answer that came through the ingress; a client that keeps it keeps one."""
    value = f"sfc-ss-ingress-auth-v1-sandbox={secrets.token_hex(8)}"
    return [("server", "_"), ("set-cookie", f"{value}; Path=/; HttpOnly; Secure; SameSite=None")]


def gateway_json(status: int, response_type: str, detail: str) -> Reply:
    body = {"responseType": response_type, "requestId": str(uuid.uuid4()), "detail": detail}
    return Reply.json(body, status, cookie())


def text(status: int, body: str, content_type: str = "text/plain; charset=utf-8") -> Reply:
    return Reply(status, [("content-type", content_type), *cookie()], body.encode())


def sign_in_redirect(url: str, status: int = 302) -> Reply:
    return Reply(status, [("location", url), *cookie()], b"")


def not_found() -> Reply:
    """How model serving answers whatever it does not allow: like a wrong URL."""
    return Reply(404, cookie(), b"")


def stale_host(host: str, status: int = 403) -> Reply:
    return text(status, f"Could not find the service associated with endpoint {host}.")


def no_hosts(service: str, status: int = 503) -> Reply:
    """A service that is suspended, starting or crashed."""
    return gateway_json(status, "ERROR", f"Service {service.upper()} not reachable: no service hosts found.")


def connect_error() -> Reply:
    """The container runs, but nothing listens on its port."""
    body = "upstream connect error or disconnect/reset before headers. reset reason: connection failure"
    return text(503, body)


def loading() -> Reply:
    """Model serving while the weights load, although the service is RUNNING."""
    return text(502, "connection refused")


def arrow() -> Reply:
    """A session made by a connector: the ingress cannot read its ARROW results."""
    return gateway_json(500, "ERROR", "empty data")


def network_policy(status: int = 403) -> Reply:
    detail = "Incoming request is not allowed to access Snowflake: a network policy is required."
    return gateway_json(status, "ERROR_ACCESS_DENIED", detail)


def too_large() -> Reply:
    return text(413, "Payload Too Large")


def timed_out() -> Reply:
    return text(504, "upstream request timeout")
