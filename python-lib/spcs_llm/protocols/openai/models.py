"""The models that a server of the OpenAI API serves: `/v1/models`."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable, Final, Literal

from spcs_llm.errors import NotFound, ServiceError, SpcsError
from spcs_llm.http.endpoint import Endpoint
from spcs_llm.http.request import HttpRequest
from spcs_llm.protocols.reply_errors import unexpected_reply
from spcs_llm.query_context import QueryContext
from spcs_llm.server_text.redaction import without_private_text
from spcs_llm.sharing.discovery import Discovery

Kind = Literal["chat", "embed", "rerank"]

# Where lists say what a model is for: `model_type` of Xinference, `capabilities` of Infinity, `labels` of Lemonade,
# `categories` of GPUStack, and `type` of Together's API. Other servers do not say.
_FIELDS: Final = ("model_type", "capabilities", "labels", "categories", "type", "task")
_NESTED: Final = ("custom_metadata", "metadata")  # llama-stack's by its API of models, and by its own
_OTHER: Final = "other"
_KINDS: Final[dict[str, str]] = {
    **dict.fromkeys(("llm", "vlm", "chat", "completion", "chat-completion", "completion-chat"), "chat"),
    **dict.fromkeys(("text-generation", "text2text-generation", "image-text-to-text"), "chat"),
    **dict.fromkeys(("embed", "embedding", "embeddings", "text-embedding", "text-embeddings"), "embed"),
    **dict.fromkeys(("feature-extraction", "sentence-similarity"), "embed"),
    **dict.fromkeys(("rerank", "reranker", "reranking", "text-ranking"), "rerank"),
    **dict.fromkeys(("image", "image-generation", "text-to-image", "moderation"), _OTHER),
    **dict.fromkeys(("transcription", "speech-to-text", "automatic-speech-recognition"), _OTHER),
    **dict.fromkeys(("tts", "text-to-speech"), _OTHER),
}
_MAX_NAMES = 10
_MAX_NAME = 100
_MAX_LIST = 4 << 20  # bytes; the longest lists known, of gateways with thousands of models, have a tenth


@dataclass(frozen=True)
class _Served:
    """A model in a server's list.

    Attributes:
        name: The model's name.
        kinds: The kinds of queries that the model takes, of which one stands for all that the plugin does not ask for,
            such as images; empty if the server does not say.
    """

    name: str
    kinds: frozenset[str]


class ServedModels:
    """Which model to ask for: the configured one, or the first that the server lists for a kind of query.

    Thread-safe. The list is asked for once by all who need it, and again some minutes later: by then another model may
    be served.

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
        self._list: Discovery[tuple[_Served, ...]] = Discovery(
            "the list of the service's models", clock=clock
        )

    def name(self, context: QueryContext, kind: Kind) -> str | None:
        """Finds the name of the model to ask for.

        Args:
            context: The query that needs it.
            kind: The query's kind.

        Returns:
            The model's name; None for a server that has no list, or an empty name in it, and so one model.

        Raises:
            SpcsError: If the list cannot be read.
        """
        if self._configured is not None:
            return self._configured
        return _first(self._list.value(context, self._served), kind)

    def other_than(self, name: str | None, context: QueryContext, kind: Kind) -> str | None:
        """Looks whether the server lists another model by now, after it did not know the one that it listed before.

        Args:
            name: The model that was asked for.
            context: The query that asked for it.
            kind: The query's kind.

        Returns:
            The name of the other; None if there is none, or the settings name the model.
        """
        if self._configured is not None:
            return None
        try:
            listed = self.name(context, kind)
        except SpcsError:
            return None
        return None if listed == name else listed

    def forget(self) -> None:
        """Forgets what was discovered: the service may run another model by now."""
        self._list.forget()

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
        if not served or any(_is_meant(self._configured, name) for name in served):
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

    def _served(self, context: QueryContext) -> tuple[_Served, ...]:
        try:
            entries = self._entries(context)
        except ServiceError as error:
            if isinstance(error, NotFound) or error.status in (400, 405, 422, 501):
                return ()
            raise
        served = _served_in(entries)
        models = tuple(model for model in served if "*" not in model.name)
        if models:
            return models
        if served:
            raise NotFound(
                "The service lists patterns of models' names and no model.",
                "Enter the one to use as 'Model name'.",
            )
        if any(isinstance(entry, dict) and entry.get("id") == "" for entry in entries):
            return ()  # the one model of some versions of llama.cpp's server
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
        return tuple(served.name for served in _served_in(self._entries(context)))

    def _entries(self, context: QueryContext) -> list[Any]:
        body: Any = self._endpoint.send(HttpRequest("/v1/models", method="GET", max_body=_MAX_LIST), context)
        is_list = isinstance(body, dict) and "data" in body
        entries = (body["data"] or []) if is_list else None  # Ollama without a model gives null
        if not isinstance(entries, list):
            raise unexpected_reply("The service's answer is JSON, but not a list of models.")
        return entries


def _is_meant(model: str, listed: str) -> bool:
    """Whether a model is a listed one, or one of those that a listed pattern stands for, as gateways have it."""
    beginning, star, end = listed.partition("*")
    if not star:
        return model == listed
    return len(model) >= len(beginning + end) and model.startswith(beginning) and model.endswith(end)


def _served_in(entries: list[Any]) -> tuple[_Served, ...]:
    named = ((entry.get("id"), entry) for entry in entries if isinstance(entry, dict))
    return tuple(_Served(name, _kinds_of(entry)) for name, entry in named if isinstance(name, str) and name)


def _kinds_of(entry: Mapping[str, Any]) -> frozenset[str]:
    """What a model is for, as far as its entry says by words that are known."""
    told = [entry, *(entry[name] for name in _NESTED if isinstance(entry.get(name), Mapping))]
    words = itertools.chain.from_iterable(_words_in(part.get(name)) for part in told for name in _FIELDS)
    plain = (word.lower().replace("_", "-") for word in words)
    return frozenset(_KINDS[word] for word in plain if word in _KINDS)


def _words_in(told: Any) -> list[str]:
    """The words of a text, of a list, or of an object that has true beside them (Mistral's and Azure's APIs)."""
    if isinstance(told, Mapping):
        told = [word for word, is_so in told.items() if is_so is True]
    words = told if isinstance(told, list) else [told]
    return [word for word in words if isinstance(word, str)]


def _first(served: Sequence[_Served], kind: Kind) -> str | None:
    """The first model for this kind of query, as far as the server says; or else the first that may be."""
    meant = [model for model in served if kind in model.kinds] or [
        model for model in served if not model.kinds
    ]
    return next((model.name for model in meant or served), None)
