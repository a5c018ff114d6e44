"""Our answers as LLM Mesh's responses, stream items and trace spans.

Shapes: dataiku-api-client 15.2.0, `dataikuapi/dss/llm.py`, `llm_utils` and `llm_tracing`. Keys without a value are
left out: a null text breaks LangChain's chunks, null counts its sums.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from typing import Any

from spcs_llm.domain import ChatAnswer, ChatDelta, ChatEnd, Embedding, Ranking, ToolCall, ToolCallDelta, Usage
from spcs_llm.errors import SpcsError
from spcs_llm.mesh.writable import TextJoiner, is_count, writable_log_probs
from spcs_llm.query_context import QueryContext, Step
from spcs_llm.tool_arguments import arguments_text
from spcs_llm.whole_characters import whole_characters

_FINISH_REASONS = frozenset(("STOP", "LENGTH", "TOOL_CALLS", "CONTENT_FILTER", "ERROR", "UNKNOWN"))
_MAX_LINE = 4_000  # characters of reasoning that wait for the end of their line
_MAX_TAIL = 100  # characters of text that wait because they may begin a stop sequence


def completion_response(answer: ChatAnswer, usage: Usage, cost: float) -> dict[str, Any]:
    """What `process` of a chat model returns.

    Args:
        answer: The model's answer.
        usage: Its token counts.
        cost: USD.

    Returns:
        LLM Mesh's dict.
    """
    response: dict[str, Any] = {"text": whole_characters(answer.text)}
    if answer.tool_calls:
        response["toolCalls"] = [_tool_call(call) for call in answer.tool_calls]
    if answer.log_probs:
        response["logProbs"] = writable_log_probs(answer.log_probs)
    if answer.reasoning:
        response["artifacts"] = [_reasoning(whole_characters(answer.reasoning), 0)]
    return {**response, **_outcome(answer.finish_reason, usage, cost)}


def stream_footer(end: ChatEnd, usage: Usage, cost: float) -> dict[str, Any]:
    """The last thing that `process_stream` yields.

    Args:
        end: How the answer ended.
        usage: Its token counts.
        cost: USD.

    Returns:
        LLM Mesh's dict.
    """
    return {"footer": _outcome(end.finish_reason, usage, cost)}


def embedding_response(row: Embedding, usage: Usage, cost: float) -> dict[str, Any]:
    """What `process` of an embedding model returns for one text.

    Args:
        row: The text's embedding.
        usage: Its token counts.
        cost: USD.

    Returns:
        LLM Mesh's dict.
    """
    return {"embedding": row.vector, **_counts(usage), "estimatedCost": cost}


def failed_row(error: SpcsError) -> dict[str, Any]:
    """A row of a batch of embeddings that has no vector."""
    return {"errorMessage": str(error)}


def ranking_response(ranking: Ranking, cost: float) -> dict[str, Any]:
    """What `process` of a reranking model returns.

    Args:
        ranking: The ranked documents.
        cost: USD.

    Returns:
        LLM Mesh's dict.
    """
    documents = [{"index": ranked.index, "relevanceScore": ranked.score} for ranked in ranking.documents]
    usage = {**_counts(ranking.usage), "estimatedCost": cost}
    return {"documents": documents, "estimatedCost": cost, "totalUsage": usage}


def trace_call(trace: Any, context: QueryContext) -> None:
    """Adds what was done for `context` to DSS's span: facts, no content.

    Usage stays out: DSS puts it on its own span, and a second place would count it twice.
    """
    if trace is None:
        return
    for step in context.steps:
        trace.append_trace(_span(step))
    trace.attributes["attempts"] = context.attempts
    trace.attributes["busySeconds"] = context.busy_seconds


def trace_ignored_settings(trace: Any, names: Sequence[str]) -> None:
    """Names the settings that had no effect in DSS's span."""
    if trace is not None:
        trace.attributes["ignoredSettings"] = list(names)


def trace_unranked_documents(trace: Any, indexes: Sequence[int]) -> None:
    """Names the documents that are last in a ranking because the service could not rank them."""
    if trace is not None and indexes:
        trace.attributes["unrankedDocuments"] = list(indexes)


def _outcome(finish_reason: str | None, usage: Usage, cost: float) -> dict[str, Any]:
    outcome: dict[str, Any] = {}
    if finish_reason is not None and finish_reason.upper() in _FINISH_REASONS:
        outcome["finishReason"] = finish_reason.upper()
    return {**outcome, **_counts(usage), "estimatedCost": cost}


def _counts(usage: Usage) -> dict[str, Any]:
    counts = {
        "promptTokens": usage.prompt_tokens,
        "completionTokens": usage.completion_tokens,
        "totalTokens": usage.total_tokens,
        "cacheReadInputTokens": usage.cached_tokens,
        "reasoningTokens": usage.reasoning_tokens,
    }
    known: dict[str, Any] = {key: value for key, value in counts.items() if is_count(value)}
    if known:
        known["tokenCountsAreEstimated"] = usage.estimated
    return known


def _tool_call(call: ToolCall) -> dict[str, Any]:
    return {
        "type": "function",
        "id": whole_characters(call.id),
        "function": {"name": whole_characters(call.name), "arguments": arguments_text(call.arguments)},
    }


def _reasoning(text: str, index: int) -> dict[str, Any]:
    part = {"type": "REASONING", "index": index, "text": text}
    return {"id": "reasoning", "type": "REASONING", "name": "Reasoning", "parts": [part]}


class ChunkWriter:
    """A streamed answer's deltas as LLM Mesh's chunks.

    Each chunk has a text, if an empty one: the loop in Dataiku's developer guide reads `chunk.data["text"]`.
    Reasoning goes out line by line, each line as its own part: of two parts with one index the later replaces
    the earlier when a client puts a stream together, so that pieces under one index would be lost.

    The end of a text that may begin a stop sequence waits for what follows. LangChain's adapter holds back a chunk that
    ends so, and drops it if the answer ends there (dataiku-api-client 15.2.0, `tools/langchain.py`). It must lose
    that end only, and neither the text before it nor a tool call behind it.

    Args:
        stop_sequences: Those of the query.
    """

    def __init__(self, stop_sequences: Sequence[str] = ()) -> None:
        self._stop_sequences = stop_sequences
        self._tail = ""
        self._line: list[str] = []
        self._line_length = 0
        self._lines = 0
        self._halves = TextJoiner()

    def chunks(self, delta: ChatDelta) -> Iterator[dict[str, Any]]:
        """What goes out for a delta. Half a character at its end waits for the other half."""
        if delta.reasoning:
            yield from self._reasoning_chunks(self._halves.joined("reasoning", delta.reasoning))
        chunk: dict[str, Any] = {"type": "content", "text": ""}
        if delta.text:
            chunk["text"] = self._without_tail(self._halves.joined("text", delta.text))
        if delta.tool_calls:
            yield from self._end_of_text()
            chunk["toolCalls"] = [self._tool_call(call) for call in delta.tool_calls]
        if delta.log_probs:
            chunk["logProbs"] = writable_log_probs(delta.log_probs)
        if chunk["text"] or len(chunk) > 2:
            yield from self._end_of_line()
            yield {"chunk": chunk}

    def end(self) -> Iterator[dict[str, Any]]:
        """What was held back for the end of its line or for half a character."""
        for slot, text in self._halves.rest():
            if slot == "reasoning":
                self._line.append(text)
            elif slot == "text":
                yield from self._end_of_line()
                self._tail += text
        yield from self._end_of_line()
        if self._tail:
            yield {"chunk": {"type": "content", "text": self._tail}}

    def _without_tail(self, text: str) -> str:
        if not self._stop_sequences:
            return text
        text = self._tail + text
        begun = max(map(functools.partial(_begun, text), self._stop_sequences))
        text, self._tail = text[: len(text) - begun], text[len(text) - begun :]
        return text

    def _end_of_text(self) -> Iterator[dict[str, Any]]:
        """What waits before a tool call; a blank end is left out, which the call could be lost with."""
        tail, self._tail = self._tail, ""
        if tail.strip():
            yield {"chunk": {"type": "content", "text": tail}}

    def _reasoning_chunks(self, text: str) -> Iterator[dict[str, Any]]:
        *lines, rest = text.split("\n")
        for line in lines:
            self._line.append(line + "\n")
            yield from self._end_of_line()
        if rest:
            self._line.append(rest)
            self._line_length += len(rest)
            if self._line_length > _MAX_LINE:
                yield from self._end_of_line()

    def _end_of_line(self) -> Iterator[dict[str, Any]]:
        if self._line:
            line = "".join(self._line)
            self._line, self._line_length = [], 0
            self._lines += 1
            artifacts = [_reasoning(line, self._lines - 1)]
            yield {"chunk": {"type": "content", "text": "", "artifacts": artifacts}}

    def _tool_call(self, call: ToolCallDelta) -> dict[str, Any]:
        function: dict[str, Any] = {"arguments": self._halves.joined(f"call {call.index}", call.arguments)}
        if call.name is not None:
            function["name"] = whole_characters(call.name)
        delta: dict[str, Any] = {"index": call.index, "type": "function", "function": function}
        if call.id is not None:
            delta["id"] = whole_characters(call.id)
        return delta


def _begun(text: str, stop_sequence: str) -> int:
    """How many characters at the end of a text may be the beginning of a stop sequence."""
    longest = min(len(text), len(stop_sequence), _MAX_TAIL)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop_sequence[:n])), 0)


def _span(step: Step) -> dict[str, Any]:
    return {
        "type": "span",
        "name": step.name,
        "children": [],
        "attributes": dict(step.attributes),
        "inputs": {},
        "outputs": {},
        "begin": _moment(step.began),
        "end": _moment(step.began + step.seconds),
        "duration": round(step.seconds * 1000),
    }


def _moment(seconds: float) -> str:
    # isoformat takes a fifth of strftime's time
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="microseconds")[:-6] + "Z"
