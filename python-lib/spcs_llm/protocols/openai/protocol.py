"""The OpenAI API as vLLM, TGI, Ollama, llama.cpp, NIM and Text Embeddings Inference serve it.

These servers differ in what they take. A request begins as OpenAI's own; what a server refuses is put another way,
and that is remembered for some minutes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from spcs_llm.domain import DEFAULT_EMBEDDING_SETTINGS, ChatAnswer, ChatRequest, EmbeddingSettings, Ranking
from spcs_llm.http.endpoint import Endpoint
from spcs_llm.protocol_choices import OPENAI, PROTOCOLS
from spcs_llm.protocols.base import Pieces, ServiceProtocol
from spcs_llm.protocols.openai.chat import Chats
from spcs_llm.protocols.openai.embeddings import Embedder, Row
from spcs_llm.protocols.openai.lessons import Lessons
from spcs_llm.protocols.openai.rerank import Reranker
from spcs_llm.protocols.openai.server import Server
from spcs_llm.query_context import QueryContext

if TYPE_CHECKING:
    from spcs_llm.protocols.probe import Probe
    from spcs_llm.settings import ProtocolSettings


class OpenAIProtocol(ServiceProtocol):
    """Chats, embeddings and reranking at one endpoint. Thread-safe.

    Args:
        endpoint: What requests are sent through.
        model: The served model's name, or None for the first that the server lists.
        drop_refused_settings: Whether sampling settings that the server refuses are left out; answers name them.
        lessons: What is known of the server already.
    """

    capabilities = PROTOCOLS[OPENAI].capabilities

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        model: str | None = None,
        drop_refused_settings: bool = False,
        lessons: Lessons | None = None,
    ) -> None:
        server = Server(endpoint, model, lessons)
        self._chats = Chats(server, drop_refused_settings=drop_refused_settings)
        self._embedder = Embedder(server)
        self._reranker = Reranker(server)

    @classmethod
    def of(cls, endpoint: Endpoint, settings: ProtocolSettings) -> OpenAIProtocol:
        return cls(endpoint, model=settings.model_name, drop_refused_settings=settings.drop_refused_settings)

    @classmethod
    def paths(cls, settings: ProtocolSettings) -> Mapping[str, Sequence[str]]:
        return {
            "chat": ("/v1/chat/completions",),
            "embed": ("/v1/embeddings",),
            "rerank": ("/v1/rerank", "/rerank"),
        }

    @classmethod
    def is_spoken(cls, probe: Probe, settings: ProtocolSettings) -> bool:
        """Nearly every server lists its models; it is the cheapest question. Text Embeddings Inference has no list."""
        served = probe.found_at("/v1/models")
        if not isinstance(served, dict) or not isinstance(served.get("data"), list):
            return False
        named = any(isinstance(entry, dict) and "id" in entry for entry in served["data"])
        return named or served.get("object") == "list"

    def chat(self, request: ChatRequest, context: QueryContext) -> ChatAnswer:
        return self._chats.answer(request, context)

    def stream(self, request: ChatRequest, context: QueryContext) -> Pieces:
        return self._chats.pieces(request, context)

    def embed(
        self,
        texts: Sequence[str],
        context: QueryContext,
        settings: EmbeddingSettings = DEFAULT_EMBEDDING_SETTINGS,
    ) -> list[Row]:
        return self._embedder.embed(texts, context, truncates=settings.truncate)

    def rerank(self, query: str, documents: Sequence[str], context: QueryContext) -> Ranking:
        return self._reranker.rank(query, documents, context)
