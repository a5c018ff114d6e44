"""Errors that servers of the OpenAI API tell inside of a success: in a body, or in the middle of a stream."""

from __future__ import annotations

from typing import Any

from spcs_llm.errors import BadRequest, ModelError, RequestTooLarge, ServiceBusy, ServiceDown, ServiceError
from spcs_llm.redaction import last_line, without_private_text

_MAX_TEXT = 300
_BY_STATUS: dict[int, type[ServiceError]] = {
    413: RequestTooLarge,
    429: ServiceBusy,
    502: ServiceDown,
    503: ServiceDown,
    504: ServiceDown,
}
_REFUSALS = ("badrequest", "invalidrequest", "validation")  # the last is TGI's


def error_within(body: Any, private: Any) -> ServiceError | None:
    """The error that `body` tells of, or None.

    Shapes: `error` as an object (OpenAI, llama.cpp) or a text (TGI); `object: error` (vLLM's earlier form);
    `error_code` with a `text` (FastChat). private: what must not be quoted, as `without_private_text` has it.
    """
    if not isinstance(body, dict):
        return None
    told = body.get("error")
    if not told and body.get("object") == "error":
        told = body
    if not told and body.get("error_code"):
        told = {"message": body.get("text"), "code": body["error_code"]}
    if not told:
        return None
    details = told if isinstance(told, dict) else {"message": told, "type": body.get("error_type")}
    code = details.get("code") or details.get("http_status_code")  # the latter is TGI's
    return error_from_message(details.get("message"), private, kind=details.get("type"), code=code)


def error_from_message(message: Any, private: Any, *, kind: Any = None, code: Any = None) -> ServiceError:
    """The error behind a server's `message`. kind: its type in words. code: an HTTP status, if a number."""
    if isinstance(code, str) and len(code) == 3 and code.isdecimal():
        code = int(code)  # LiteLLM writes it as a text
    status = code if isinstance(code, int) and 400 <= code < 600 else None
    shown = without_private_text(last_line(message if isinstance(message, str) else ""), private)
    quoted = shown[:_MAX_TEXT].rstrip(". ")
    what = f"The service answers with an error{f': {quoted}' if quoted else ''}."
    return _class_of(status, str(kind or code or ""))(what, status=status)


def _class_of(status: int | None, kind: str) -> type[ServiceError]:
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    words = kind.lower().replace("_", "").replace(" ", "")
    if (status is not None and status < 500) or any(word in words for word in _REFUSALS):
        return BadRequest
    return ServiceBusy if "ratelimit" in words or "overloaded" in words else ServiceError


def unexpected_reply(what: str) -> ModelError:
    """The error of a success whose body is not what the API promises. `what` quotes nothing of it."""
    return ModelError(
        what, "Check that 'Service protocol' suits the service, and read its logs: SYSTEM$GET_SERVICE_LOGS."
    )
