"""A service protocol as a newcomer would write it: what the contract asks for, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from spcs_llm.domain import DEFAULT_EMBEDDING_SETTINGS, ChatAnswer, ChatRequest, Embedding, EmbeddingSettings
from spcs_llm.http.endpoint import Endpoint
from spcs_llm.http.request import HttpRequest
from spcs_llm.protocol_choices import Capabilities, ProtocolChoice
from spcs_llm.protocols.base import ChatRow, EmbeddingRow, ServiceProtocol
from spcs_llm.query_context import QueryContext
from spcs_llm.settings import ProtocolSettings

TOY = ProtocolChoice("Toy: a list of texts", f"{__name__}:ToyProtocol", Capabilities(batches_chat=True))


class ToyProtocol(ServiceProtocol):
    """`POST /toy` with a list of texts, and a list of texts back."""

    capabilities = TOY.capabilities

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    @classmethod
    def of(cls, endpoint: Endpoint, settings: ProtocolSettings) -> ToyProtocol:
        return cls(endpoint)

    @classmethod
    def paths(cls, settings: ProtocolSettings) -> Mapping[str, Sequence[str]]:
        return {"chat": ("/toy",), "embed": ("/toy",)}

    def chat_rows(self, requests: Sequence[ChatRequest], context: QueryContext) -> list[ChatRow]:
        texts = [request.messages[-1].text for request in requests]
        answers = self._endpoint.send(HttpRequest("/toy", texts, weight=len(texts)), context)
        return [ChatAnswer(answer, "stop") for answer in answers]

    def embed(
        self,
        texts: Sequence[str],
        context: QueryContext,
        settings: EmbeddingSettings = DEFAULT_EMBEDDING_SETTINGS,
    ) -> list[EmbeddingRow]:
        vectors = self._endpoint.send(HttpRequest("/toy", list(texts), weight=len(texts)), context)
        return [Embedding(vector) for vector in vectors]
