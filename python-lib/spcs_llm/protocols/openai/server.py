"""One server of the OpenAI API, as far as it is known: what chats, embeddings and rankings share."""

from __future__ import annotations

from typing import Any, Callable, Final, TypeVar

from spcs_llm.errors import NotFound, ServiceError, SpcsError
from spcs_llm.http.endpoint import Endpoint
from spcs_llm.protocols.openai.lessons import Lessons
from spcs_llm.protocols.openai.models import Kind, ServedModels
from spcs_llm.protocols.openai.refusal_words import is_of_other_kind, reason_of
from spcs_llm.query_context import QueryContext
from spcs_llm.server_text.refusal_hints import is_about_length, says_no_model

_FOR_UNKNOWN_MODELS: Final = (400, 403, 422, 500)  # besides 404
T = TypeVar("T")


class Server:
    """One server, and what is known of it. Thread-safe.

    Args:
        endpoint: What requests are sent through.
        model: The served model's name, or None for the first that the server lists.
        lessons: What the server was seen to take and to refuse; None: nothing yet.

    Attributes:
        endpoint: What requests are sent through.
        models: Knows which model to ask for.
        lessons: What the server was seen to take and to refuse.
        has_answered: Whether it has answered a request: then it speaks the protocol.
    """

    def __init__(self, endpoint: Endpoint, model: str | None, lessons: Lessons | None = None) -> None:
        self.endpoint = endpoint
        self.models = ServedModels(endpoint, model)
        self.lessons = lessons if lessons is not None else Lessons()
        self.has_answered = False

    def ask(self, context: QueryContext, kind: Kind, ask: Callable[[str | None], T]) -> T:
        """Asks for the model, and once more if a server that was started again lists another one by now.

        Args:
            context: The query.
            kind: Its kind.
            ask: Asks for a model, given its name. What it raises was `checked`.

        Returns:
            What `ask` returns.

        Raises:
            SpcsError: What `ask` raises.
        """
        model = self.models.name(context, kind)
        try:
            return ask(model)
        except ServiceError as error:
            gone = _gone(error, model) if self.has_answered else None
            if gone is None:
                raise
            self.models.forget()
            other = self.models.other_than(model, context, kind)
            if other is None:
                raise gone from None
        return ask(other)

    def checked(self, error: SpcsError, private: Any, context: QueryContext) -> SpcsError:
        """Looks whether an error comes from a model that the server does not have, where that may be.

        Args:
            error: The server's refusal or failure.
            private: The request, of which nothing may be quoted: see `without_private_text`.
            context: The query that failed.

        Returns:
            NotFound, naming the models that are served, or saying that the server does not take this kind of query;
            or the error itself if neither is the reason.
        """
        if is_of_other_kind(error):
            return _of_other_kind(error)
        if isinstance(error, NotFound):
            self.models.forget()
        elif self.has_answered or not _may_be_about_model(error):
            return error
        return self.models.checked_for_model(error, private, context)


def _may_be_about_model(error: SpcsError) -> bool:
    """Whether the service itself, and not what is before it, refuses something for a reason that may be the model."""
    is_of_service = isinstance(error, ServiceError) and error.status in _FOR_UNKNOWN_MODELS
    return is_of_service and not is_about_length(reason_of(error))


def _gone(error: ServiceError, model: str | None) -> NotFound | None:
    """The error for a model that the server no longer knows, whatever its status; None for other errors."""
    if isinstance(error, NotFound):
        return error
    text = reason_of(error)
    if (
        error.status not in _FOR_UNKNOWN_MODELS
        or model is None
        or model not in text
        or not says_no_model(text)
    ):
        return None
    return _as_not_found(error, "The service no longer has the model")


def _of_other_kind(error: SpcsError) -> NotFound:
    """The refusal as one of all rows: no smaller request is worth a try."""
    return _as_not_found(error, "The service does not take this kind of query")


def _as_not_found(error: SpcsError, what: str) -> NotFound:
    status = "" if error.status is None else f" (HTTP {error.status})"
    told = NotFound(
        f"{what}{status}.",
        error.hint,
        status=error.status,
        request_id=error.request_id,
    )
    told.quote(error.server_text, error.quotation)
    return told
