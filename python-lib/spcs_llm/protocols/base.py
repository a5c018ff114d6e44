"""The contract between a model and the protocol that its service speaks. This page is all of it.

A service protocol translates `domain`'s types into one service's JSON and back. It sends through its `Endpoint`, which
signs in, waits, retries and limits: a protocol does none of that, and knows nothing of DSS. One object serves many
threads and model instances, so whatever it learns about its service must be safe to share.

To add one: add a line to `protocol_choices.PROTOCOLS`, which declares the capabilities, and a choice to `llm.json`;
derive a class from `ServiceProtocol` in its own module, and write the methods that the capabilities stand for.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Union

from spcs_llm.domain import (
    DEFAULT_EMBEDDING_SETTINGS,
    ChatAnswer,
    ChatDelta,
    ChatEnd,
    ChatRequest,
    Embedding,
    EmbeddingSettings,
    Ranking,
    ToolCallDelta,
)
from spcs_llm.errors import SettingsError, SpcsError
from spcs_llm.protocol_choices import Capabilities, titles_with
from spcs_llm.protocols.unsupported import refuse_images, refuse_json, refuse_tools
from spcs_llm.query_context import QueryContext

if TYPE_CHECKING:
    from spcs_llm.http.endpoint import Endpoint
    from spcs_llm.protocols.probe import Probe
    from spcs_llm.settings import ProtocolSettings

ChatRow = Union[ChatAnswer, SpcsError]
EmbeddingRow = Union[Embedding, SpcsError]
Pieces = Generator[Union[ChatDelta, ChatEnd], None, None]


class ServiceProtocol:
    """One service's language. Thread-safe. What a protocol does not override refuses in a sentence.

    Every method but `of` may raise SpcsError: QueryError for what of a query it cannot carry, and whatever the endpoint
    or the service reports.

    Attributes:
        capabilities: What the protocol can carry: those of its line in `protocol_choices.PROTOCOLS`.
    """

    capabilities: ClassVar[Capabilities]

    @classmethod
    def of(cls, endpoint: Endpoint, settings: ProtocolSettings) -> ServiceProtocol:
        """Makes the protocol for a service.

        Args:
            endpoint: The service, through which requests are sent. Nothing is sent yet.
            settings: The model's settings. The protocol takes what concerns it and ignores the rest.

        Raises:
            SettingsError: If a setting cannot be used.
        """
        raise NotImplementedError

    @classmethod
    def paths(cls, settings: ProtocolSettings) -> Mapping[str, Sequence[str]]:
        """The paths at which a service takes each kind of query.

        By them *Automatic* finds out what a service speaks, and errors tell what a service is for.

        Args:
            settings: The model's settings, which may name paths.

        Returns:
            For each of `chat`, `embed` and `rerank` that the protocol has, its paths, which are asked by POST. Each
            begins with a slash.
        """
        return {}

    @classmethod
    def is_spoken(cls, probe: Probe, settings: ProtocolSettings) -> bool:
        """Whether a service shows at once that it speaks this protocol. It may ask for less than all of the paths."""
        return cls.has_a_path(probe, settings)

    @classmethod
    def has_a_path(cls, probe: Probe, settings: ProtocolSettings) -> bool:
        """Whether a service has any of the paths of this protocol."""
        return any(probe.takes(path) for paths in cls.paths(settings).values() for path in paths)

    @property
    def known(self) -> ServiceProtocol:
        """What is spoken to the service, as far as that is known without asking it."""
        return self

    def resolved(self, context: QueryContext) -> ServiceProtocol:
        """What is spoken to the service. Only *Automatic* has to ask it, once."""
        return self

    def explained(self, error: SpcsError, kind: str, chosen: str, context: QueryContext) -> SpcsError:
        """The error that says what one that says "no such path" comes from. Only *Automatic* looks for it."""
        return error

    def check(self, request: ChatRequest) -> None:
        """Refuses a chat that the protocol cannot carry, before it waits for its turn.

        Args:
            request: The chat.

        Raises:
            QueryError: If the chat has tools, images or a JSON format, and the capabilities have not.
        """
        can = self.capabilities
        if not can.tools:
            refuse_tools(request)
        if not can.images:
            refuse_images(request)
        if not can.json_output:
            refuse_json(request)

    def chat(self, request: ChatRequest, context: QueryContext) -> ChatAnswer:
        """Asks one chat.

        Args:
            request: The chat.
            context: The time that is left, and the record of what is done.

        Returns:
            The whole answer.

        Raises:
            SpcsError: If the chat has no answer.
        """
        (row,) = self.chat_rows([request], context)
        if isinstance(row, SpcsError):
            raise row
        return row

    def chat_rows(self, requests: Sequence[ChatRequest], context: QueryContext) -> Sequence[ChatRow]:
        """Asks several chats in one request to the service.

        The result has for each chat, in order, its answer or the error that is this chat's only.

        Args:
            requests: The chats. They differ in their messages only.
            context: The time that is left, and the record of what is done.

        Raises:
            SpcsError: If an error is one of all chats. Here SettingsError: this protocol has none.
        """
        raise self._has_no("chat", "chats")

    def stream(self, request: ChatRequest, context: QueryContext) -> Pieces:
        """Asks one chat, and hands on its answer in pieces.

        Closing the generator ends the request. After the first delta nothing is asked again.

        Args:
            request: The chat.
            context: The time that is left, and the record of what is done.

        Yields:
            Any number of deltas, then one end.

        Raises:
            SpcsError: If the chat has no answer, or its answer stops before its end.
        """
        yield from pieces_of(self.chat(request, context))

    def embed(
        self,
        texts: Sequence[str],
        context: QueryContext,
        settings: EmbeddingSettings = DEFAULT_EMBEDDING_SETTINGS,
    ) -> Sequence[EmbeddingRow]:
        """Embeds texts in one request.

        The result has for each text, in order, its vector or the error that is this text's only.

        Args:
            texts: The texts to embed.
            context: The time that is left, and the record of what is done.
            settings: The settings of the query. Those that cannot be passed on are named in each
                `Embedding.ignored_settings`.

        Raises:
            SpcsError: If an error is one of all texts. Here SettingsError: this protocol has no embeddings.
        """
        raise self._has_no("embeddings", "embeds")

    def rerank(self, query: str, documents: Sequence[str], context: QueryContext) -> Ranking:
        """Ranks all documents by falling score, in one request.

        Args:
            query: The text that the documents are to answer.
            documents: The texts to rank.
            context: The time that is left, and the record of what is done.

        Raises:
            SpcsError: If there is no ranking. Here SettingsError: this protocol has no reranking.
        """
        raise self._has_no("reranking", "reranks")

    def _has_no(self, what: str, capability: str) -> SettingsError:
        others = titles_with(capability)
        hint = f"Choose one that has, if the service speaks it: {', '.join(others)}." if others else ""
        return SettingsError(f"The model's 'Service protocol' has no {what}.", hint)


def pieces_of(answer: ChatAnswer) -> Pieces:
    """A whole answer as a stream: one delta and one end."""
    calls = tuple(
        ToolCallDelta(index, call.id, call.name, call.arguments)
        for index, call in enumerate(answer.tool_calls)
    )
    yield ChatDelta(answer.text, answer.reasoning or "", calls, answer.log_probs)
    yield ChatEnd(answer.finish_reason, answer.usage, answer.ignored_settings, answer.model)
