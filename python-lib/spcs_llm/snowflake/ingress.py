"""What an answer of a service's ingress means that is no success: Snowflake's gateway, or the container behind it.

Shapes: Snowflake documentation, "Service network communications" and "Model serving: REST"; datamasque-python
`client/spcs.py`; relationalai 1.37, `direct_access_client.py`. The gateway's errors are JSON with `responseType` and
`detail`, a few fixed sentences, or nothing at all; JSON of any other shape is the container's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spcs_llm.errors import (
    AccessDenied,
    BadRequest,
    IngressError,
    NotFound,
    RequestTooLarge,
    ServiceBusy,
    ServiceDown,
    ServiceError,
    ServiceStarting,
    SpcsError,
    TokenRefused,
)
from spcs_llm.http.retry import parse_retry_after
from spcs_llm.redaction import last_line

_MAX_TEXT = 500
_GRANT = (
    "Grant the role USAGE on the service's database and schema, and its service role:"
    " GRANT SERVICE ROLE <service>!ALL_ENDPOINTS_USAGE TO ROLE <role>."
)
_CHECK_TOKEN = (
    "If it is a programmatic access token, check that it has not expired and has a role that may call."
)
_CHECK_HOST = "If the service was dropped and created again, its URL is new: SHOW ENDPOINTS IN SERVICE."
_CHECK_PROTOCOL = "Check that 'Service protocol' suits the service."
_SEE_LOGS = "Its logs tell more: SYSTEM$GET_SERVICE_LOGS."
_STARTING = ("no service hosts", "upstream connect error", "connection refused", "not reachable")


class _HiddenRefusal(TokenRefused, NotFound):
    """A 404 of which nobody can say whose it is: worth a new token once, and then it is a path that is not there."""


@dataclass(frozen=True)
class _ErrorReply:
    """What a response says. gateway: that it is Snowflake's own. container: that it is certainly not.

    text: in one line, safe to quote; page: all of it, in lower case, to look for known phrases.
    """

    status: int
    text: str
    page: str
    gateway: bool = False
    container: bool = False

    @property
    def quoted(self) -> str:
        text = self.text.rstrip(". ")
        return f" (HTTP {self.status}){f': {text}' if text else ''}."

    def says(self, *phrases: str) -> bool:
        return any(phrase in self.page for phrase in phrases)


def error_from_response(status: int, headers: Mapping[str, str], body: bytes) -> SpcsError:
    """The error behind a response. Nothing of a web page is quoted; of an error text, the last line."""
    reply = _json(body)
    error = _error(_read_reply(status, headers, body, reply))
    error.status = status
    error.retry_after = parse_retry_after(headers.get("Retry-After"))
    if isinstance(reply, dict) and isinstance(reply.get("requestId"), str):
        error.request_id = reply["requestId"][:64]
    return error


def _read_reply(status: int, headers: Mapping[str, str], body: bytes, reply: Any) -> _ErrorReply:
    text = body.decode("utf-8", "replace")
    if isinstance(reply, dict) and "responseType" in reply:
        detail = str(reply.get("detail") or "")
        return _ErrorReply(status, last_line(detail)[:_MAX_TEXT], detail.lower(), gateway=True)
    message = _message(reply)
    if message is not None:
        return _ErrorReply(status, message[:_MAX_TEXT], "", container=True)
    if "html" in headers.get("Content-Type", "").lower() or text.lstrip()[:1] == "<":
        return _ErrorReply(status, "", text.lower())
    return _ErrorReply(status, last_line(text)[:_MAX_TEXT], text.lower())


def _error(told: _ErrorReply) -> SpcsError:
    status = told.status
    if 300 <= status < 400:
        return TokenRefused(
            f"Snowflake's gateway asks for a sign-in (HTTP {status}): it does not accept the token for this endpoint.",
            f"{_GRANT} {_CHECK_TOKEN}",
        )
    if told.says(*_STARTING) and (told.gateway or status in (502, 503, 504)):
        return ServiceStarting(
            f"The service is not reachable yet{told.quoted}",
            "It is suspended, starting or failing: see SHOW SERVICE CONTAINERS IN SERVICE. 'Cold start wait' is how"
            " long a query keeps asking.",
        )
    denied = _denied(told)
    if denied is not None:
        return denied
    if status in (401, 403):
        return _refused(told)
    if status == 404:
        return _not_found(told)
    return _failed(told)


def _denied(told: _ErrorReply) -> AccessDenied | None:
    """The token is good; the role, the network or the host is not."""
    if told.says("could not find the service associated"):
        return AccessDenied(
            f"Snowflake's gateway finds no service at this endpoint that the role may call (HTTP {told.status}).",
            f"{_CHECK_HOST} Otherwise: {_GRANT}",
        )
    if told.says("network policy"):
        return AccessDenied(
            f"A network policy of Snowflake refuses the request{told.quoted}",
            "The network policy of the user (or of the security integration) must list the address from which this DSS"
            " server calls; a programmatic access token needs such a policy.",
        )
    if told.says("access denied", "insufficient privileges"):
        return AccessDenied(f"Snowflake's gateway denies the role access (HTTP {told.status}).", _GRANT)
    return None


def _refused(told: _ErrorReply) -> SpcsError:
    if told.container:
        return ServiceError(
            f"The service itself refuses the request{told.quoted}",
            "If the container wants a key of its own, set 'Service API key' to it.",
        )
    return TokenRefused(f"Snowflake's gateway refuses the token{told.quoted}", f"{_GRANT} {_CHECK_TOKEN}")


def _not_found(told: _ErrorReply) -> SpcsError:
    if told.container:
        return NotFound(f"The service has no such path or model{told.quoted}", _CHECK_PROTOCOL)
    return _HiddenRefusal(
        "Nothing answers there (HTTP 404): either the URL, path or method is wrong, or the role has no access, which"
        " Snowflake hides behind a 404.",
        f"Check 'LLM endpoint URL' and 'Service protocol'. {_GRANT} {_CHECK_HOST}",
    )


def _failed(told: _ErrorReply) -> SpcsError:
    status = told.status
    if status == 413:
        return RequestTooLarge(
            f"The request is too large{told.quoted}",
            "Lower 'Max batch size', or send shorter texts: model serving takes 1 MB.",
        )
    if status == 429:
        return ServiceBusy(f"The service has too many requests{told.quoted}", "Lower 'Max parallelism'.")
    if status == 504:
        return ServiceDown(
            f"The service was silent for too long{told.quoted}",
            "Snowflake's ingress ends a request after 90 s of silence: ask for fewer tokens, or lower"
            " 'Max batch size'.",
        )
    if status in (502, 503):
        return ServiceDown(f"The service does not answer{told.quoted}", _SEE_LOGS)
    if status >= 500 and told.gateway:
        return IngressError(
            f"Snowflake's gateway fails{told.quoted}",
            "It does so for sessions that a Snowflake connector made: sign in by OAuth, key pair or programmatic access"
            " token. If it comes back, ask Snowflake's support.",
        )
    if status >= 500 or status == 424:  # TGI's, where the model fails
        return ServiceError(f"The service fails{told.quoted}", _SEE_LOGS)
    if status in (400, 422):
        return BadRequest(f"The service refuses the request{told.quoted}", _CHECK_PROTOCOL)
    return ServiceError(f"The service refuses the request{told.quoted}", _CHECK_PROTOCOL)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _message(reply: Any) -> str | None:
    """The message of a container's error in JSON; None when it is no such error.

    `{"error": text or object}` (OpenAI; snowflake-ml-python's server), `{"object": "error", "message"}` (vLLM),
    `{"detail": text, list or object}` (FastAPI), `{"message"}`.
    """
    if not isinstance(reply, dict):
        return None
    for told in (reply.get("error"), reply.get("detail")):
        if isinstance(told, dict):
            return _named(told) or "no reason given"
        if isinstance(told, str) and told.strip():
            return last_line(told)
        if isinstance(told, list) and told:
            return "; ".join(map(_validation_problem, told))
    return _named(reply) if isinstance(reply.get("message"), str) else None


def _named(error: Mapping[str, Any]) -> str:
    """A message with the parameter that it is about, where that is told apart from it."""
    within = error.get("error")
    if isinstance(within, dict):
        error = within
    told = error.get("message") or error.get("error") or error.get("type") or error.get("code") or ""
    message = last_line(str(told))
    param = error.get("param")
    # LiteLLM has "None" as a text.
    if not isinstance(param, str) or param in ("", "None") or param in message:
        return message
    return f"{param}: {message}"


def _validation_problem(item: Any) -> str:
    """FastAPI's: where and what, without the input that it quotes."""
    if not isinstance(item, dict):
        return last_line(str(item))
    place = ".".join(str(part) for part in item.get("loc") or ())
    return f"{place}: {last_line(str(item.get('msg') or ''))}"
