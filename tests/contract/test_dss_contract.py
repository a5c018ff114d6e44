"""What a plugin may not do: each breach fails its query by name and is remembered."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest
from dataikuapi.dss.llm_utils import LLMException

from sandbox.dss import Dss
from sandbox.dss.mesh import QueryFailedError
from tests.contract.plugins.writing import client, write_plugin

QUERY = {"messages": [{"role": "user", "content": "hi"}]}
CALL = '{"type": "function", "id": "c", "function": {"name": "f", "arguments": %s}}'

# What `process` returns, and the rule it breaks.
ANSWERS = [
    ('"just text"', "answer-is-an-object"),
    ("None", "answer-is-an-object"),
    ('{"text": None}', "text-is-text"),
    ('{"text": b"bytes"}', "is-json"),
    ('{"text": "x", "additionalInformation": {1, 2}}', "is-json"),
    ('{"text": "x", "estimatedCost": float("nan")}', "is-json"),
    ('{"text": "x", "promptTokens": None}', "usage-is-a-number"),
    ('{"text": "x", "promptTokens": 1.5}', "usage-is-a-number"),
    ('{"text": "x", "completionTokens": -1}', "usage-is-a-number"),
    ('{"text": "x", "totalTokens": "3"}', "usage-is-a-number"),
    ('{"text": "x", "estimatedCost": None}', "usage-is-a-number"),
    ('{"text": "x", "totalUsage": {"totalTokens": None}}', "usage-is-a-number"),
    ('{"text": "x", "tokenCountsAreEstimated": None}', "usage-is-a-number"),
    ('{"text": "x", "finishReason": 3}', "finish-reason-is-text"),
    ('{"promptTokens": 3}', "answer-has-content"),
    ('{"toolCalls": {"name": "f"}}', "tool-calls-are-a-list"),
    ('{"toolCalls": [{"type": "function", "id": "c"}]}', "tool-call-has-a-function"),
    ('{"toolCalls": [{"id": "c", "function": {"arguments": "{}"}}]}', "tool-call-has-a-name"),
    ('{"toolCalls": [{"function": {"name": "f", "arguments": "{}"}}]}', "tool-call-has-an-id"),
    ('{"toolCalls": [' + CALL % '{"a": 1}' + "]}", "tool-arguments-are-json-text"),
    ('{"toolCalls": [' + CALL % '""' + "]}", "tool-arguments-are-json-text"),
    ('{"text": "x", "artifacts": ["reasoning"]}', "artifact-shape"),
]

# What `process_stream` yields, one after the other.
STREAMS = [
    (['"text"'], "answer-is-an-object"),
    (["None"], "answer-is-an-object"),
    (['{"text": "x"}'], "item-is-chunk-or-footer"),
    (['{"chunk": {"text": "x"}, "footer": {}}'], "item-is-chunk-or-footer"),
    (['{"chunk": "x"}'], "chunk-is-an-object"),
    (['{"chunk": {"text": None}}'], "text-is-text"),
    (['{"chunk": {"type": "token", "text": "x"}}'], "chunk-type"),
    (['{"chunk": {"type": "event"}}'], "event-has-a-kind"),
    (['{"footer": {}}', '{"footer": {}}'], "one-footer"),
    (['{"footer": {}}', '{"chunk": {"text": "late"}}'], "footer-is-last"),
    (['{"footer": {"toolCalls": []}}'], "content-is-in-chunks"),
    (['{"footer": {"text": "x"}}'], "content-is-in-chunks"),
    (['{"footer": {"promptTokens": None}}'], "usage-is-a-number"),
    (['{"chunk": {"toolCalls": [{"index": "0"}]}}'], "tool-call-index-is-an-int"),
    (
        ['{"chunk": {"toolCalls": [{"index": 0, "function": {"arguments": {}}}]}}'],
        "tool-arguments-are-json-text",
    ),
    (
        [
            '{"chunk": {"toolCalls": [{"index": 0, "function": {"name": "f", "arguments": "{"}}]}}',
            '{"footer": {}}',
        ],
        "tool-arguments-are-json-text",
    ),
    (['{"chunk": {"toolCalls": [' + CALL % '"{"' + "]}}"], "tool-arguments-are-json-text"),
]


def model_of(dss: Dss, folder: Path, base: str, body: str, capability: str = "CHAT") -> Any:
    """A model whose class is made of `base` and the methods in `body`."""
    header = f"from dataiku.llm.python import {base}\nclass Model({base}):\n"
    dss.install_plugin(write_plugin(folder, header + textwrap.indent(textwrap.dedent(body), "    ")))
    (llm_id,) = dss.create_connection("c", "small", [{"id": "m", "capability": capability}])
    return dss.model(llm_id)


@pytest.mark.parametrize(("answer", "rule"), ANSWERS)
def test_a_wrong_answer_fails_by_name(tmp_path: Path, answer: Any, rule: Any) -> None:
    with Dss() as dss:
        body = f"def process(self, query, settings, trace):\n    return {answer}"
        (row,) = dss.mesh.complete(model_of(dss, tmp_path, "BaseLLM", body), "admin", [QUERY], {})
        assert (row["ok"], row["errorCode"], row["errorType"]) == (False, rule, "ContractError")
        assert [violation.rule for violation in dss.violations] == [rule]


@pytest.mark.parametrize(("items", "rule"), STREAMS)
def test_a_wrong_stream_fails_by_name_streamed_and_consolidated(
    tmp_path: Path, items: Any, rule: Any
) -> None:
    with Dss() as dss:
        yields = "\n    ".join(f"yield {item}" for item in items)
        body = f"def process_stream(self, query, settings, trace):\n    {yields}"
        model = model_of(dss, tmp_path, "BaseLLM", body)
        with pytest.raises(QueryFailedError) as caught:
            list(dss.mesh.stream(model, "admin", QUERY, {}))
        assert caught.value.error["errorCode"] == rule
        (row,) = dss.mesh.complete(model, "admin", [QUERY], {})
        assert row["errorCode"] == rule


@pytest.mark.parametrize(
    ("body", "how"),
    [
        ("def process_stream(self, q, s, t):\n    return iter([])", "streamed"),
        ("async def process(self, q, s, t):\n    return {'text': 'x'}", "whole"),
        ("def aprocess(self, q, s, t):\n    return {'text': 'x'}", "whole"),
        ("async def aprocess_stream(self, q, s, t):\n    return []", "streamed"),
    ],
)
def test_a_method_of_the_wrong_kind_fails_by_name(tmp_path: Path, body: Any, how: str) -> None:
    with Dss() as dss:
        model = model_of(dss, tmp_path, "BaseLLM", body)
        if how == "whole":
            dss.mesh.complete(model, "admin", [QUERY], {})
        else:
            with pytest.raises(QueryFailedError):
                list(dss.mesh.stream(model, "admin", QUERY, {}))
        assert [violation.rule for violation in dss.violations] == ["method-kind"]


def test_a_model_without_any_method_fails_by_name(tmp_path: Path) -> None:
    with Dss() as dss:
        model = model_of(dss, tmp_path, "BaseLLM", "pass")
        (row,) = dss.mesh.complete(model, "admin", [QUERY], {})
        assert row["errorCode"] == "implements-a-method"


@pytest.mark.parametrize("value", ["0", "8.0", "None", "True"])
def test_max_parallelism_must_be_a_positive_int(tmp_path: Path, value: Any) -> None:
    with Dss() as dss:
        body = f"def get_max_parallelism(self):\n    return {value}"
        (row,) = dss.mesh.complete(model_of(dss, tmp_path, "BaseLLM", body), "admin", [QUERY], {})
        assert row["errorCode"] == "max-parallelism-is-a-positive-int"


@pytest.mark.parametrize(
    ("statement", "rule"),
    [
        ("trace.attributes['x'] = object()", "is-json"),
        ("trace.subspan('mine').span['usageMetadata'] = {'promptTokens': 1}", "usage-is-counted-once"),
    ],
)
def test_a_trace_the_explorer_could_not_read_fails_by_name(tmp_path: Path, statement: str, rule: Any) -> None:
    with Dss() as dss:
        body = f"def process(self, query, settings, trace):\n    {statement}\n    return {{'text': 'x'}}"
        (row,) = dss.mesh.complete(model_of(dss, tmp_path, "BaseLLM", body), "admin", [QUERY], {})
        assert row["errorCode"] == rule


@pytest.mark.parametrize(
    ("answer", "rule"),
    [
        ("[0.1]", "answer-is-an-object"),
        ('{"vector": [0.1]}', "embedding-is-a-list"),
        ('{"embedding": []}', "embedding-is-a-list"),
        ('{"embedding": (0.1, 0.2)}', "embedding-is-a-list"),
        ('{"embedding": ["0.1"]}', "embedding-is-numbers"),
        ('{"embedding": [None]}', "embedding-is-numbers"),
        ('{"embedding": [float("nan")]}', "is-json"),
        ('{"embedding": [0.1], "promptTokens": None}', "usage-is-a-number"),
    ],
)
def test_a_wrong_embedding_fails_by_name(tmp_path: Path, answer: Any, rule: Any) -> None:
    with Dss() as dss:
        body = f"def process(self, query, settings, trace):\n    return {answer}"
        model = model_of(dss, tmp_path, "BaseEmbeddingModel", body, "EMBEDDING")
        (row,) = dss.mesh.embed(model, "admin", [{"text": "a"}], {})
        assert (row["errorCode"], "embedding" in row) == (rule, False)


def test_a_batch_of_embeddings_must_have_a_row_for_each_query(tmp_path: Path) -> None:
    with Dss(embedding_rows=8) as dss:
        body = "def process(self, query, settings, trace):\n    return {'responses': [{'embedding': [1.0]}]}"
        model = model_of(dss, tmp_path, "BaseEmbeddingModel", body, "EMBEDDING")
        rows = dss.mesh.embed(model, "admin", [{"text": "a"}, {"text": "b"}], {})
        assert [row["errorCode"] for row in rows] == ["one-row-per-query"] * 2


@pytest.mark.parametrize(
    ("documents", "rule"),
    [
        ("None", "ranking-has-documents"),
        ('[{"index": 2, "relevanceScore": 1.0}]', "ranking-index"),
        ('[{"index": 0.0, "relevanceScore": 1.0}]', "ranking-index"),
        ('[{"index": 0, "relevanceScore": 1.0}, {"index": 0, "relevanceScore": 0.5}]', "ranking-index"),
        ('[{"index": 0, "relevanceScore": 0.1}, {"index": 1, "relevanceScore": 0.5}]', "ranking-order"),
        ('[{"index": 0, "relevanceScore": "1"}]', "ranking-score"),
    ],
)
def test_a_wrong_ranking_fails_by_name(tmp_path: Path, documents: Any, rule: Any) -> None:
    with Dss() as dss:
        body = f"def process(self, query, settings, trace):\n    return {{'documents': {documents}}}"
        model = model_of(dss, tmp_path, "BaseRerankingModel", body, "RERANKING")
        query = {"query": "q", "documents": [{"content": "a"}, {"content": "b"}]}
        (row,) = dss.mesh.rerank(model, "admin", [query], {})
        assert (row["ok"], row["errorCode"]) == (False, rule)


def test_a_breach_reaches_the_client_under_its_name(tmp_path: Path) -> None:
    with Dss() as dss:
        body = "def process(self, query, settings, trace):\n    return {'text': None}"
        model = model_of(dss, tmp_path, "BaseLLM", body)
        with dss.serve() as url, client(url, dss.create_api_key()) as dss_client:
            llm = dss_client.get_project("TEST").get_llm(model.llm_id)
            response = llm.new_completion().with_message("hi").execute()
            with pytest.raises(LLMException, match=r"\[text-is-text\]"):
                _ = response.text
