"""The OpenAI protocol over a real endpoint, for the tests of this folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spcs_llm.cost import BusyMeter
from spcs_llm.domain import ChatRequest, Message, TextPart
from spcs_llm.errors import NotFound, SpcsError
from spcs_llm.http.endpoint import Endpoint
from spcs_llm.http.limits import Limiter
from spcs_llm.http.retry import RetryPolicy
from spcs_llm.http.transport import Transport
from spcs_llm.protocols.openai.protocol import OpenAIProtocol
from spcs_llm.query_context import QueryContext
from spcs_llm.snowflake.ingress import error_from_response
from spcs_llm.urls import parse_base_url


@dataclass
class FixedHeaders:
    fixed: Mapping[str, str]

    def headers(self, call: QueryContext) -> Mapping[str, str]:
        return self.fixed

    def at_hand(self) -> Mapping[str, str]:
        return self.fixed

    def refused(self, headers: Mapping[str, str], error: SpcsError) -> bool:
        assert isinstance(error, NotFound), "the test's token is good, but a 404 may hide that it is not"
        return False


@dataclass
class Client:
    """One protocol, with what it shares out and costs in reach."""

    protocol: OpenAIProtocol
    endpoint: Endpoint
    limiter: Limiter
    meter: BusyMeter


def client_for(
    url: str, headers: Mapping[str, str] | None = None, *, idle_seconds: float = 20, **options: Any
) -> Client:
    limiter, meter = Limiter(4), BusyMeter()
    endpoint = Endpoint(
        Transport(parse_base_url(url)),
        FixedHeaders(headers or {}),
        error_from_response,
        limiter=limiter,
        meter=meter,
        retry=RetryPolicy(first_delay=0.01),
        idle_seconds=idle_seconds,
    )
    return Client(OpenAIProtocol(endpoint, **options), endpoint, limiter, meter)


def asking(text: str, *more: Message, **request: Any) -> ChatRequest:
    return ChatRequest((Message("user", (TextPart(text),)), *more), **request)
