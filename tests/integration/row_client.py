"""The row-indexed protocols over a real endpoint and real sockets, without the ingress."""

from __future__ import annotations

from typing import Any

from spcs_llm.batching import Batcher, BatchSpec
from spcs_llm.chat_templates.template import ChatTemplate
from spcs_llm.domain import ChatAnswer, Embedding
from spcs_llm.errors import SpcsError
from spcs_llm.http.endpoint import Endpoint
from spcs_llm.http.limits import Limiter
from spcs_llm.http.retry import RetryPolicy
from spcs_llm.http.transport import Transport
from spcs_llm.query_context import QueryContext
from spcs_llm.snowflake.ingress import error_from_response
from spcs_llm.urls import parse_base_url
from tests.integration.openai_client import FixedHeaders


def endpoint_for(url: str) -> Endpoint:
    return Endpoint(
        Transport(parse_base_url(url)),
        FixedHeaders({}),
        error_from_response,
        limiter=Limiter(4),
        retry=RetryPolicy(first_delay=0.01),
        idle_seconds=60,
    )


def template(mode: str) -> ChatTemplate:
    return ChatTemplate.for_mode(f"TEXT_GENERATION_{mode}")


def call() -> QueryContext:
    return QueryContext(60)


def text_of(row: Any) -> str:
    assert isinstance(row, ChatAnswer), repr(row)
    return row.text


def vector_in(row: Any) -> list[float]:
    assert isinstance(row, Embedding), repr(row)
    return row.vector


def in_batches(protocol: Any, texts: list[str]) -> list[Embedding | SpcsError]:
    """As the facade embeds: a request that is refused for one text is split."""
    job: BatchSpec[str, Embedding] = BatchSpec("texts", protocol.embed, 64, len)
    return Batcher(Limiter(1)).submit_all(texts, call(), job)
