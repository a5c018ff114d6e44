"""What a plugin may give back. A violation is named, so that it cannot pass for a failing model.

Sources: dataiku-api-client 15.2.0 (`dataikuapi/dss/llm.py`, `dataikuapi/dss/llm_utils`), which breaks or
loses data on most of these, and DSS documentation, LLM Mesh.
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Mapping
from typing import Any

USAGE = (
    "promptTokens", "cacheReadInputTokens", "cacheWriteInputTokens", "completionTokens", "reasoningTokens",
    "totalTokens", "estimatedCost",
)  # fmt: skip
# What the consolidation of a stream takes from chunks alone.
CHUNK_ONLY = (
    "text", "toolCalls", "toolValidationRequests", "logProbs", "artifacts", "memoryFragment",
)  # fmt: skip


class ContractError(Exception):
    """The plugin broke the custom LLM contract. `rule` is a short name, stable for tests."""

    def __init__(self, rule: str, found: str) -> None:
        super().__init__(f"[{rule}] {found}")
        self.rule = rule


def require(holds: object, rule: str, found: str) -> None:
    if not holds:
        raise ContractError(rule, found)


def check_method_kind(name: str, method: Any) -> None:
    """`process_stream` that merely returns a generator is refused, as DSS refuses it."""
    kinds = {
        "aprocess": inspect.iscoroutinefunction,
        "process_stream": inspect.isgeneratorfunction,
        "aprocess_stream": inspect.isasyncgenfunction,
    }
    if name in kinds:
        require(kinds[name](method), "method-kind", f"{name} is not a {kinds[name].__name__[2:]}")
    else:
        odd = any(kind(method) for kind in kinds.values())
        require(not odd, "method-kind", f"{name} is not a plain function")


def check_max_parallelism(value: Any) -> int:
    good = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    require(good, "max-parallelism-is-a-positive-int", f"get_max_parallelism() gave {value!r}")
    return int(value)


def check_completion(response: Any) -> None:
    _check_object(response, "a completion response")
    _check_content(response)
    _check_usage(response)
    for call in response.get("toolCalls") or []:
        _check_whole_tool_call(call)
    answered = any(response.get(key) for key in ("toolCalls", "toolValidationRequests"))
    require("text" in response or answered, "answer-has-content", "neither text nor toolCalls")


class StreamCheck:
    """Checks items one by one; `end` what can only be seen at the end."""

    def __init__(self) -> None:
        self._footer_seen = False
        self._arguments: dict[int, str] = {}

    def item(self, item: Any) -> None:
        _check_object(item, "a stream item")
        kinds = item.keys() & {"chunk", "footer"}
        require(len(kinds) == 1, "item-is-chunk-or-footer", f"an item has the keys {sorted(item)}")
        if "footer" in item:
            require(not self._footer_seen, "one-footer", "a second footer")
            self._footer_seen = True
            self._footer(item["footer"])
        else:
            require(not self._footer_seen, "footer-is-last", "a chunk after the footer")
            self._chunk(item["chunk"])

    def end(self) -> None:
        for index, arguments in self._arguments.items():
            _check_arguments(arguments, f"tool call {index}")

    def _footer(self, footer: Any) -> None:
        require(isinstance(footer, dict), "footer-is-an-object", f"a footer is a {_kind(footer)}")
        lost = [key for key in CHUNK_ONLY if key in footer]
        require(not lost, "content-is-in-chunks", f"the footer has {', '.join(lost)}, which DSS drops")
        _check_usage(footer)

    def _chunk(self, chunk: Any) -> None:
        require(isinstance(chunk, dict), "chunk-is-an-object", f"a chunk is a {_kind(chunk)}")
        kind = chunk.get("type", "content")
        require(kind in ("content", "event"), "chunk-type", f"a chunk of type {kind!r}")
        if kind == "event":
            good = isinstance(chunk.get("eventKind"), str)
            require(good, "event-has-a-kind", "an event chunk without eventKind")
        _check_content(chunk)
        for call in chunk.get("toolCalls") or []:
            index = call.get("index")
            if index is None:
                _check_whole_tool_call(call)
            else:
                require(type(index) is int, "tool-call-index-is-an-int", f"index {index!r}")
                fragment = (call.get("function") or {}).get("arguments", "")
                _check_arguments_text(fragment)
                self._arguments[index] = self._arguments.get(index, "") + fragment


def check_embedding(response: Any) -> None:
    _check_object(response, "an embedding response")
    vector = response.get("embedding")
    require(isinstance(vector, list) and vector, "embedding-is-a-list", f"embedding is a {_kind(vector)}")
    good = all(type(x) in (int, float) and math.isfinite(x) for x in vector)
    require(good, "embedding-is-numbers", "embedding holds something that is no finite number")
    _check_usage(response)


def check_embedding_batch(response: Any, rows: int) -> list[Any]:
    _check_object(response, "an embedding response")
    answers = response.get("responses")
    require(isinstance(answers, list), "batch-has-responses", f"responses is a {_kind(answers)}")
    assert isinstance(answers, list)
    require(len(answers) == rows, "one-row-per-query", f"{len(answers)} rows for {rows} queries")
    return answers


def check_ranking(response: Any, documents: int) -> None:
    _check_object(response, "a reranking response")
    ranked = response.get("documents")
    require(isinstance(ranked, list), "ranking-has-documents", f"documents is a {_kind(ranked)}")
    assert isinstance(ranked, list)
    indexes = [document.get("index") for document in ranked]
    good = all(type(index) is int and 0 <= index < documents for index in indexes)
    require(good, "ranking-index", f"an index is not in 0..{documents - 1}: {indexes}")
    require(len(set(indexes)) == len(indexes), "ranking-index", f"an index is there twice: {indexes}")
    scores = [document.get("relevanceScore") for document in ranked]
    good = all(type(score) in (int, float) and math.isfinite(score) for score in scores)
    require(good, "ranking-score", "a relevanceScore is no finite number")
    require(scores == sorted(scores, reverse=True), "ranking-order", "documents are not sorted by score")
    _check_usage(response)


def check_trace(span: Mapping[str, Any]) -> None:
    """The plugin's spans, below the call span. DSS puts usage on the call span itself."""
    _check_json(span, "the trace")
    for child in span.get("children", []):
        counted = "usageMetadata" in child
        require(not counted, "usage-is-counted-once", f"span {child.get('name')!r} has usageMetadata")
        check_trace(child)


def _check_object(value: Any, what: str) -> None:
    require(isinstance(value, dict), "answer-is-an-object", f"{what} is a {_kind(value)}")
    _check_json(value, what)


def _check_json(value: Any, what: str) -> None:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ContractError("is-json", f"{what}: {error}") from None


def _check_content(content: Mapping[str, Any]) -> None:
    if "text" in content:
        text = content["text"]
        require(isinstance(text, str), "text-is-text", f"text is a {_kind(text)}; leave the key out instead")
    calls = content.get("toolCalls")
    good = calls is None or (isinstance(calls, list) and all(isinstance(call, dict) for call in calls))
    require(good, "tool-calls-are-a-list", f"toolCalls is a {_kind(calls)}")
    for artifact in content.get("artifacts") or []:
        good = isinstance(artifact, dict) and isinstance(artifact.get("parts", []), list)
        require(good, "artifact-shape", "an artifact is no object with a list of parts")


def _check_whole_tool_call(call: Mapping[str, Any]) -> None:
    function = call.get("function")
    require(isinstance(function, dict), "tool-call-has-a-function", "a tool call without function")
    assert isinstance(function, dict)
    name = function.get("name")
    require(isinstance(name, str) and name, "tool-call-has-a-name", f"function.name is {name!r}")
    require(isinstance(call.get("id"), str), "tool-call-has-an-id", f"id is {call.get('id')!r}")
    _check_arguments_text(function.get("arguments"))
    _check_arguments(function["arguments"], str(name))


def _check_arguments_text(arguments: Any) -> None:
    found = f"arguments is a {_kind(arguments)}"
    require(isinstance(arguments, str), "tool-arguments-are-json-text", found)


def _check_arguments(arguments: str, which: str) -> None:
    try:
        json.loads(arguments)
    except ValueError:
        found = f"the arguments of {which} are not JSON"
        raise ContractError("tool-arguments-are-json-text", found) from None


def _check_usage(answer: Mapping[str, Any]) -> None:
    for holder in (answer, answer.get("totalUsage") or {}):
        for key in USAGE:
            if key not in holder:
                continue
            value = holder[key]
            whole = int if key != "estimatedCost" else (int, float)
            good = isinstance(value, whole) and not isinstance(value, bool) and value >= 0
            require(good, "usage-is-a-number", f"{key} is {value!r}; leave the key out when unknown")
    estimated = answer.get("tokenCountsAreEstimated", False)
    require(isinstance(estimated, bool), "usage-is-a-number", "tokenCountsAreEstimated is no boolean")
    reason = answer.get("finishReason", "STOP")
    require(isinstance(reason, str), "finish-reason-is-text", f"finishReason is a {_kind(reason)}")


def _kind(value: Any) -> str:
    return "null" if value is None else type(value).__name__
