"""Errors that servers of the OpenAI API tell inside of a success: in a body, or in the middle of a stream."""

from __future__ import annotations

from typing import Any

from spcs_llm.errors import (
    BUSY_STATUSES,
    DOWN_STATUSES,
    SILENT_STATUSES,
    BadRequest,
    ModelError,
    ModelLoading,
    RequestTooLarge,
    ServiceBusy,
    ServiceDown,
    ServiceError,
)
from spcs_llm.http.asked_wait import wait_for_limit
from spcs_llm.server_text.container_errors import ContainerError, read_error, read_error_in_success
from spcs_llm.server_text.redaction import without_private_text
from spcs_llm.server_text.refusal_hints import (
    CHECK_PROTOCOL,
    SEE_LOGS,
    hint_for,
    says_busy,
    says_loading,
    says_too_large,
    says_too_long,
    says_used_up,
)

_BY_STATUS: dict[int, type[ServiceError]] = {
    413: RequestTooLarge,
    **dict.fromkeys(BUSY_STATUSES, ServiceBusy),
    **dict.fromkeys((*DOWN_STATUSES, *SILENT_STATUSES), ServiceDown),
}
_REFUSALS = ("badrequest", "invalidrequest", "validation")  # the last is TGI's
_BUSY = ("ratelimit", "overloaded", "throttling", "resourceexhausted", "toomanyrequests")
# Ollama and llama.cpp, with success. Nothing can be compared with such a vector.
ZEROS_HINT = (
    "Check that the service's model makes embeddings, and try again: some servers return zeros under load."
)
_COLD_START = "Try again in a few minutes, or ask a DSS administrator to raise 'Cold start wait'."


def error_within(body: Any, private: Any, *, row: bool = False) -> ServiceError | None:
    """Reads the error that a body has instead of an answer.

    Args:
        body: The JSON of a success.
        private: The request, of which nothing may be quoted: see `without_private_text`.
        row: Whether `body` is one row of an answer, whose columns may have any name.

    Returns:
        The error; None if the body has none.
    """
    told = read_error_in_success(body, row=row)
    return None if told is None else _error(told, body, private)


def error_from_message(message: Any, private: Any, *, kind: Any = None, code: Any = None) -> ServiceError:
    """Makes the error behind a server's message.

    Args:
        message: What the server says, which should be a text.
        private: The request, of which nothing may be quoted: see `without_private_text`.
        kind: The type of the error in the server's words, such as `rate_limit_error`.
        code: An HTTP status, if it is a number.

    Returns:
        The error, which quotes the message without private text.
    """
    body = {"error": {"message": message, "type": kind, "code": code}}
    return _error(read_error(body) or ContainerError(""), body, private)


def _error(told: ContainerError, body: Any, private: Any) -> ServiceError:
    if told.status in (None, 502, 503) and says_loading(told.reason, told.status):
        error: ServiceError = ModelLoading("The service is not ready yet.", _COLD_START, status=told.status)
    else:
        kind = _class_of(told)
        hint = hint_for(told.reason) if told.reason else ""
        error = kind(
            "The service answers with an error.", "" if hint == SEE_LOGS else hint, status=told.status
        )
    if isinstance(error, ServiceBusy):
        error.retry_after = wait_for_limit({}, body, told.reason)
    error.quote(told.reason)
    error.mask_quotation(lambda reason: without_private_text(reason, private))
    return error


def _class_of(told: ContainerError) -> type[ServiceError]:
    status = told.status
    if says_used_up(told.reason):
        return ServiceError
    if status in (None, *BUSY_STATUSES) and says_too_large(told.reason):
        return RequestTooLarge
    if status in DOWN_STATUSES and says_too_long(told.reason):
        return BadRequest
    if status in (None, 500, 503) and says_busy(told.reason):
        return ServiceBusy
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    words = told.kind.lower().replace("_", "").replace(" ", "")
    if status is None and any(word in words for word in _BUSY):
        return ServiceBusy
    if (status is not None and status < 500) or any(word in words for word in _REFUSALS):
        return BadRequest
    return ServiceBusy if any(word in words for word in _BUSY) else ServiceError


def unexpected_reply(what: str) -> ModelError:
    """Makes the error of a success whose body is not what the API promises.

    Args:
        what: A sentence that says what is wrong with the body, and quotes nothing of it.

    Returns:
        The error, with a hint.
    """
    return ModelError(what, f"{CHECK_PROTOCOL[:-1]}, and read its logs: SYSTEM$GET_SERVICE_LOGS.")


def vectors_of_tokens() -> ModelError:
    """Makes the error of a model that does not pool its tokens' vectors: none of them is the text's."""
    return ModelError(
        "The service returned an embedding for each token instead of one for the text.",
        "Deploy a sentence embedding model, which pools them.",
    )
