"""The spans the LLM Mesh puts around a call. Source: DSS documentation, agents, tracing; names of 14.7."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataikuapi.dss.llm_tracing import SpanBuilder

from sandbox.dss.checks import USAGE
from sandbox.dss.release import Release

COMPLETION_QUERY = "DKU_LLM_MESH_COMPLETION_QUERY"
EMBEDDING_QUERY = "DKU_LLM_MESH_EMBEDDING_QUERY"
RERANKING_QUERY = "DKU_LLM_MESH_RERANKING_QUERY"
QUERY_ENFORCEMENT = "DKU_LLM_MESH_QUERY_ENFORCEMENT"
RESPONSE_ENFORCEMENT = "DKU_LLM_MESH_RESPONSE_ENFORCEMENT"
LLM_CALL = "DKU_LLM_MESH_LLM_CALL"
LLM_CALL_STREAMED = "DKU_LLM_MESH_LLM_CALL_STREAMED"
FIRST_CHUNK = "DKU_LLM_MESH_LLM_CALL_STREAMED_FIRST_CHUNK"
STREAM_COMPLETE = "DKU_LLM_MESH_LLM_CALL_STREAMED_STREAM_COMPLETE"


class _WithoutEvents(SpanBuilder):
    """The builder before dataiku-api-client 14.5."""

    create_event = None

    @property
    def event(self) -> Any:
        raise AttributeError("'SpanBuilder' object has no attribute 'event'")

    def subspan(self, name: str) -> SpanBuilder:
        child = _WithoutEvents(name)
        self.span["children"].append(child.span)
        return child


def new_trace(name: str, release: Release) -> SpanBuilder:
    return SpanBuilder(name) if release.has_trace_events else _WithoutEvents(name)


def instant(parent: SpanBuilder, name: str) -> None:
    with parent.subspan(name):
        pass


def put_usage(call: SpanBuilder, answer: Mapping[str, Any]) -> None:
    """Tokens and cost, once, on the call span."""
    usage = usage_of(answer)
    if usage:
        call.span["usageMetadata"] = usage


def usage_of(answer: Mapping[str, Any]) -> dict[str, Any]:
    return {key: answer[key] for key in (*USAGE, "tokenCountsAreEstimated") if key in answer}
