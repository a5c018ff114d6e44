"""What an answer of a service's ingress means that is no success: Snowflake's gateway, or the container behind it.

Shapes: Snowflake documentation, "Service network communications" and "Model serving: REST"; datamasque-python
`client/spcs.py`; relationalai 1.37, `direct_access_client.py`. The gateway's errors are JSON with `responseType` and
`detail`; all else with a body of its own is the container's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
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
from spcs_llm.retry import parse_retry_after

_LONGEST_TEXT = 500
_GRANTS = (
    "Grant the role USAGE on the service's database and schema, and its service role:"
    " GRANT SERVICE ROLE <service>!ALL_ENDPOINTS_USAGE TO ROLE <role>."
)
_STARTING = ("no service hosts", "upstream connect error", "connection refused", "not reachable")
_STARTING_MEND = (
    "It is suspended, starting or failing: SHOW SERVICE CONTAINERS IN SERVICE tells; 'Cold start wait' is how long to"
    " keep asking."
)


def explain(status: int, headers: Mapping[str, str], body: bytes) -> SpcsError:
    """The error behind a response. Nothing of a web page is quoted; of an error text, the last line."""
    text = _text(headers, body)
    told = _json(body)
    gateway = _gateway_detail(told)
    error = _error(status, text, told, gateway)
    error.status = status
    error.retry_after = parse_retry_after(headers.get("Retry-After"))
    if isinstance(told, dict) and gateway is not None:
        error.request_id = str(told.get("requestId") or "")[:64] or None
    return error


def _error(status: int, text: str, told: Any, gateway: str | None) -> SpcsError:
    if 300 <= status < 400:
        return TokenRefused(
            f"Snowflake's gateway asks for a sign-in (HTTP {status}): it does not accept the token for this endpoint.",
            f"{_GRANTS} With a programmatic access token, check that it is not expired or revoked.",
        )
    own = _own_message(told) if gateway is None else None
    whole = (gateway if gateway is not None else text).lower()
    if "could not find the service associated" in whole:
        return AccessDenied(
            "Snowflake's gateway could not find the service of this endpoint for the role.",
            f"If the service was created again, its URL is new: SHOW ENDPOINTS IN SERVICE. Otherwise: {_GRANTS}",
        )
    if "network policy" in whole:
        return AccessDenied(
            f"Snowflake's network policy refuses this address (HTTP {status}).",
            "Add the address that DSS calls from to the network policy of the user or the security integration.",
        )
    if "access denied" in whole or "insufficient privileges" in whole:
        return AccessDenied(f"Snowflake's gateway denies the role access (HTTP {status}).", _GRANTS)
    if status in (502, 503, 504) and own is None and any(words in whole for words in _STARTING):
        return ServiceStarting(f"The service is not reachable yet (HTTP {status}).", _STARTING_MEND)
    if gateway is not None and any(words in whole for words in _STARTING):
        return ServiceStarting(f"The service is not reachable yet (HTTP {status}).", _STARTING_MEND)
    return _by_status(status, own or _last_line(text), gateway, container=own is not None)


def _by_status(status: int, message: str, gateway: str | None, *, container: bool) -> SpcsError:
    said = f": {message}" if message and gateway is None else ""
    if status in (401, 403):
        if container:
            return ServiceError(
                f"The service itself refuses the request (HTTP {status}){said}.",
                "If the container wants a key of its own, fill in 'Service API key'.",
            )
        return TokenRefused(f"Snowflake's gateway refuses the token (HTTP {status}).", _GRANTS)
    if status == 404:
        if container:
            return NotFound(f"The service has no such path or model (HTTP 404){said}.", _CHECK_PROTOCOL)
        return _HiddenRefusal(
            "Nothing answers there (HTTP 404): the URL or the path is wrong, or the role has no access, which Snowflake"
            " hides behind a 404.",
            f"Check 'LLM endpoint URL' and 'Service protocol'. {_GRANTS}",
        )
    if status == 413:
        return RequestTooLarge(
            "The request is too large (HTTP 413).", "Lower 'Max batch size', or send shorter texts."
        )
    if status == 429:
        return ServiceBusy(f"The service has too many requests (HTTP 429){said}.", "Lower 'Max parallelism'.")
    if status in (502, 503, 504):
        mend = "If it comes back: SYSTEM$GET_SERVICE_LOGS."
        if status == 504:
            mend = "Snowflake's ingress ends requests that are silent for 90 s: ask for fewer tokens. " + mend
        return ServiceDown(f"The service does not answer (HTTP {status}){said}.", mend)
    if status >= 500:
        if gateway is not None:
            return IngressError(
                f"Snowflake's gateway fails (HTTP {status}).",
                "A session made by the Python connector is one cause: sign in by OAuth, key pair or programmatic access"
                " token. If it comes back, ask Snowflake's support.",
            )
        return ServiceError(
            f"The service fails (HTTP {status}){said}.", "Its logs tell: SYSTEM$GET_SERVICE_LOGS."
        )
    if status in (400, 422):
        return BadRequest(f"The service refuses the request (HTTP {status}){said}.", _CHECK_PROTOCOL)
    return ServiceError(f"The service refuses the request (HTTP {status}){said}.", _CHECK_PROTOCOL)


_CHECK_PROTOCOL = "Check that 'Service protocol' suits the service."


class _HiddenRefusal(TokenRefused, NotFound):
    """A 404 that may be either: worth a fresh token once, and then the protocol may try another path."""


def _text(headers: Mapping[str, str], body: bytes) -> str:
    text = body.decode("utf-8", "replace")
    if "html" in headers.get("Content-Type", "").lower() or text.lstrip()[:1] == "<":
        page = text.lower()
        return "access denied" if "access denied" in page or "insufficient privileges" in page else ""
    return text


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _gateway_detail(told: Any) -> str | None:
    if isinstance(told, dict) and str(told.get("responseType", "")).startswith("ERROR"):
        return str(told.get("detail") or "")
    return None


def _own_message(told: Any) -> str | None:
    """The message of a container's error in JSON, None when it is no such error.

    `{"error": text or object}`, `{"object": "error", "message"}`, `{"detail": text or list}`, `{"message"}`.
    """
    if not isinstance(told, dict):
        return None
    error = told.get("error")
    if isinstance(error, dict):
        named = f"{error['param']}: " if isinstance(error.get("param"), str) else ""
        return _last_line(f"{named}{error.get('message') or error.get('type') or ''}") or "no reason given"
    for value in (error, told.get("detail"), told.get("message")):
        if isinstance(value, str) and value.strip():
            return _last_line(value)
        if isinstance(value, list) and value:
            return "; ".join(map(_validation_problem, value))[:_LONGEST_TEXT]
    return None


def _validation_problem(item: Any) -> str:
    """FastAPI's: where and what, without the input that it quotes."""
    if not isinstance(item, dict):
        return _last_line(str(item))
    place = ".".join(str(part) for part in item.get("loc") or ())
    return f"{place}: {_last_line(str(item.get('msg') or ''))}"


def _last_line(text: str) -> str:
    """Of a traceback only the last line tells what is wrong; the others are the service's code."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:_LONGEST_TEXT].rstrip(". ") if lines else ""
