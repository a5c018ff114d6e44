"""The models that a server of the OpenAI API serves: `/v1/models`."""

from __future__ import annotations

import time
from typing import Any, Callable

from spcs_llm.errors import NotFound, ServiceError, SpcsError
from spcs_llm.http.endpoint import Endpoint
from spcs_llm.http.request import HttpRequest
from spcs_llm.protocols.reply_errors import unexpected_reply
from spcs_llm.query_context import QueryContext
from spcs_llm.server_text.redaction import without_private_text
from spcs_llm.sharing.discovery import Discovery

_MAX_NAMES = 10
_MAX_NAME = 100
_MAX_LIST = 4 << 20  # bytes; the longest lists known, of gateways with thousands of models, have a tenth


class ServedModels:
    """Which model to ask for: the configured one, or the first of the server's list. Thread-safe.

    The list is asked for once by all who need it, and again some minutes later: by then another model may be served.

    Args:
        endpoint: What requests are sent through.
        configured: The model's name in the settings; None or empty for the first that the server lists.
        clock: Seconds that never go back.
    """

    def __init__(
        self, endpoint: Endpoint, configured: str | None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._endpoint = endpoint
        self._configured = configured or None
        self._first: Discovery[str | None] = Discovery("the list of the service's models", clock=clock)

    def name(self, context: QueryContext) -> str | None:
        """Finds the name of the model to ask for.

        Args:
            context: The query that needs it.

        Returns:
            The model's name; None for a server that has no list, or an empty name in it, and so one model.

        Raises:
            SpcsError: If the list cannot be read.
        """
        if self._configured is not None:
            return self._configured
        return self._first.value(context, self._first_listed)

    def other_than(self, name: str | None, context: QueryContext) -> str | None:
        """Looks whether the server lists another model by now, after it did not know the one that it listed before.

        Args:
            name: The model that was asked for.
            context: The query that asked for it.

        Returns:
            The name of the other; None if there is none, or the settings name the model.
        """
        if self._configured is not None:
            return None
        try:
            listed = self.name(context)
        except SpcsError:
            return None
        return None if listed == name else listed

    def forget(self) -> None:
        """Forgets what was discovered: the service may run another model by now."""
        self._first.forget()

    def checked_for_model(self, error: SpcsError, private: Any, context: QueryContext) -> SpcsError:
        """Looks whether a server refuses a query because it does not serve the configured model.

        Args:
            error: The server's refusal.
            private: The request, which a server may list as names: see `without_private_text`.
            context: The query that was refused.

        Returns:
            NotFound, naming the models that are served; or the error itself if that is not the reason.
        """
        if self._configured is None:
            return error
        try:
            served = self.listed(context)
        except SpcsError:
            return error
        if not served or self._configured in served:
            return error
        names = without_private_text(", ".join(name[:_MAX_NAME] for name in served[:_MAX_NAMES]), private)
        more = f" and {len(served) - _MAX_NAMES} more" if len(served) > _MAX_NAMES else ""
        what = f"The service has no model {self._configured[:_MAX_NAME]!r}."
        told = NotFound(
            f"{what} It serves: {names}{more}.",
            "Correct 'Model name', or leave it empty for the first of these.",
            status=error.status,
            request_id=error.request_id,
        )
        told.note_unquoted(what)
        return told

    def _first_listed(self, context: QueryContext) -> str | None:
        try:
            entries = self._entries(context)
        except ServiceError as error:
            if isinstance(error, NotFound) or error.status in (400, 405, 422, 501):
                return None
            raise
        names = _names(entries)
        if names:
            return names[0]
        if any(isinstance(entry, dict) and entry.get("id") == "" for entry in entries):
            return None  # the one model of some versions of llama.cpp's server
        raise unexpected_reply("The service does not list a model.")

    def listed(self, context: QueryContext) -> tuple[str, ...]:
        """Asks for the names of the models that the server lists.

        Args:
            context: The query that needs them.

        Returns:
            The names, in the server's order and words.

        Raises:
            SpcsError: If the list cannot be read.
        """
        return _names(self._entries(context))

    def _entries(self, context: QueryContext) -> list[Any]:
        body: Any = self._endpoint.send(HttpRequest("/v1/models", method="GET", max_body=_MAX_LIST), context)
        is_list = isinstance(body, dict) and "data" in body
        entries = (body["data"] or []) if is_list else None  # Ollama without a model gives null
        if not isinstance(entries, list):
            raise unexpected_reply("The service's answer is JSON, but not a list of models.")
        return entries


def _names(entries: list[Any]) -> tuple[str, ...]:
    names = (entry.get("id") for entry in entries if isinstance(entry, dict))
    return tuple(name for name in names if isinstance(name, str) and name)
