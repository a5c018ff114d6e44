"""Reranking: Cohere's and Jina's shape, or that of Text Embeddings Inference."""

from __future__ import annotations

import math
from typing import Any

import pytest

from spcs_llm.batching.sizes import is_refusal
from spcs_llm.domain import RankedDocument, Ranking, Usage
from spcs_llm.errors import BadRequest, ModelError, NotFound, ServiceDown, ServiceError, SpcsError
from spcs_llm.protocols.openai.protocol import OpenAIProtocol
from spcs_llm.query_context import QueryContext
from tests.unit.scripted_endpoint import ScriptedEndpoint, refusal

RESULTS = [{"index": 0, "relevance_score": 0.25}, {"index": 1, "relevance_score": 0.75}]
BY_TEI = [{"index": 1, "score": 0.75}, {"index": 0, "score": 0.25}]
BEST_FIRST = (RankedDocument(1, 0.75), RankedDocument(0, 0.25))
NO_PATH = NotFound("The service has nothing there.", status=404)


def rerank(*script: Any) -> Ranking:
    return OpenAIProtocol(ScriptedEndpoint(*script)).rerank("q", ["a", "b"], QueryContext(10))


@pytest.mark.parametrize(
    "body",
    [
        {"results": RESULTS},
        {"results": BY_TEI},
        BY_TEI,
        {"results": [{**r, "document": {"text": "a"}} for r in RESULTS]},
    ],
    ids=["relevance_score", "score", "a bare list", "with documents"],
)
def test_documents_are_ranked_by_falling_score(body: Any) -> None:
    assert rerank(body) == Ranking(BEST_FIRST)


def test_usage_is_told_where_the_service_tells_it() -> None:
    assert rerank({"results": RESULTS, "usage": {"total_tokens": 7}}).usage == Usage(total_tokens=7)


@pytest.mark.parametrize(
    ("meta", "usage"),
    [
        (
            {"tokens": {"input_tokens": 55, "output_tokens": 0}, "billed_units": {"search_units": 1}},
            Usage(55, 0, 55),
        ),
        ({"tokens": None, "billed_units": {"search_units": 1, "total_tokens": 56}}, Usage(total_tokens=56)),
        ({"api_version": {"version": "2"}, "billed_units": {"search_units": 1}}, Usage()),
        ("none", Usage()),
    ],
    ids=["SiliconFlow", "LiteLLM", "Cohere", "not an object"],
)
def test_usage_may_be_told_as_cohere_has_it(meta: Any, usage: Usage) -> None:
    assert rerank({"results": RESULTS, "meta": meta}).usage == usage
    assert rerank({"results": RESULTS, "usage": {"total_tokens": 7}, "meta": meta}).usage == Usage(
        total_tokens=7
    )


def test_documents_of_one_score_keep_their_order() -> None:
    tied = [{"index": 0, "score": 1}, {"index": 1, "score": 1}]
    assert [d.index for d in rerank(tied).documents] == [0, 1]


def test_the_request_asks_for_all_documents() -> None:
    endpoint = ScriptedEndpoint({"results": RESULTS})
    OpenAIProtocol(endpoint).rerank("q", ["a", "b"], QueryContext(10))
    assert endpoint.asked[-1].path == "/v1/rerank"
    assert endpoint.payloads == [{"model": "m1", "query": "q", "documents": ["a", "b"], "top_n": 2}]


@pytest.mark.parametrize("error", [NO_PATH, ServiceError("no such method", status=405)], ids=str)
def test_a_server_without_that_path_is_asked_as_tei_from_then_on(error: ServiceError) -> None:
    endpoint = ScriptedEndpoint(error, BY_TEI)
    protocol = OpenAIProtocol(endpoint, model="m")
    for _ in range(2):
        assert protocol.rerank("q", ["a", "b"], QueryContext(10)).documents == BEST_FIRST
    assert endpoint.paths == ["/v1/rerank", "/rerank", "/rerank"]
    assert endpoint.payloads[1] == {"query": "q", "texts": ["a", "b"]}


def test_a_server_that_cannot_rerank_says_so_and_is_asked_every_way_again() -> None:
    endpoint = ScriptedEndpoint(NO_PATH)
    protocol = OpenAIProtocol(endpoint, model="m1")
    for _ in range(2):
        with pytest.raises(NotFound, match="nothing there"):
            protocol.rerank("q", ["a", "b"], QueryContext(10))
    assert endpoint.paths == ["/v1/rerank", "/rerank", "/v1/ranking", "/v1/models"] * 2


@pytest.mark.parametrize(
    ("kind", "status", "reason"),
    [
        (BadRequest, 400, "The model does not support Rerank (Score) API"),
        (ServiceError, 501, "This server does not support reranking. Start it with `--reranking`"),
        (ServiceError, 500, "the loaded moded cannot fullyfill `rerank`.options are {'embed'}"),
        (ServiceError, 424, "model is not a re-ranker model"),
        (BadRequest, None, "Unexpected endpoint or method. (POST /v1/rerank)"),
    ],
)
def test_a_server_that_is_for_something_else_is_asked_once_for_all_documents(
    kind: type[ServiceError], status: int | None, reason: str
) -> None:
    error = kind("The service refuses the request.", status=status)
    error.quote(reason)
    endpoint = ScriptedEndpoint(error)
    with pytest.raises(NotFound, match="does not take this kind of query") as raised:
        OpenAIProtocol(endpoint, model="m1").rerank("q", ["a", "b"], QueryContext(10))
    assert reason in str(raised.value)
    assert not is_refusal(raised.value), "no half of them is sent"
    assert len(endpoint.asked) == 1


def test_a_server_that_is_down_is_not_taken_for_tei() -> None:
    endpoint = ScriptedEndpoint(ServiceDown("down", status=503))
    with pytest.raises(ServiceDown):
        OpenAIProtocol(endpoint, model="m1").rerank("q", ["a"], QueryContext(10))
    assert endpoint.paths == ["/v1/rerank"]


def test_no_documents_make_no_request() -> None:
    endpoint = ScriptedEndpoint({})
    assert OpenAIProtocol(endpoint).rerank("q", [], QueryContext(10)) == Ranking(())
    assert endpoint.asked == []


def results(*entries: Any) -> dict[str, Any]:
    return {"results": [{"index": i, "score": s} for i, s in entries]}


BAD = [
    ({}, ModelError, "not a ranking"),
    ("x", ModelError, "not a ranking"),
    ({"results": [3]}, ModelError, "unknown structure"),
    (results((0, 1.0)), ModelError, "1 of 2"),
    (results((0, 1.0), (0, 0.5)), ModelError, "twice"),
    (results((0, 1.0), (2, 0.5)), ModelError, "not given"),
    (results((0, 1.0), (-1, 0.5)), ModelError, "not given"),
    (results((0, 1.0), (True, 0.5)), ModelError, "by an index"),
    (results((0, 1.0), (None, 0.5)), ModelError, "by an index"),
    (results((0, 1.0), (0.5, 0.5)), ModelError, "by an index"),
    (results((0, 1.0), (1, None)), ModelError, "not a number"),
    (results((0, 1.0), (1, "0.5")), ModelError, "not a number"),
    (results((0, 1.0), (1, math.nan)), ModelError, "not a number"),
    (results((0, 1.0), (1, 10**400)), ModelError, "not a number"),
    ({"error": {"message": "not a reranker", "code": 400}}, BadRequest, "not a reranker"),
]


@pytest.mark.parametrize(("body", "kind", "complaint"), BAD)
def test_what_is_no_ranking_is_a_clear_error(body: Any, kind: type[SpcsError], complaint: str) -> None:
    with pytest.raises(kind, match=complaint):
        rerank(body)


@pytest.mark.parametrize("place", ["query", "documents"])
def test_an_error_quotes_neither_query_nor_documents(place: str) -> None:
    secret = "my dog is called Bartholomew"
    endpoint = ScriptedEndpoint({"error": {"message": f"cannot tokenize: {secret}", "code": 500}})
    asked = (secret, ["a"]) if place == "query" else ("q", [secret])
    with pytest.raises(ServiceError, match="cannot tokenize") as caught:
        OpenAIProtocol(endpoint).rerank(*asked, QueryContext(10))
    assert "Bartholomew" not in str(caught.value)


# -- forms of servers ----------------------------------------------------------------------------------

BEST_FIRST_RESULTS = [{"index": 1, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.1}]
FORMS: dict[str, tuple[list[Any], list[str]]] = {
    "texts are demanded at the usual path": (
        [refusal("missing field `texts` at line 1 column 70"), BY_TEI],
        ["/v1/rerank", "/v1/rerank", "/v1/rerank"],
    ),
    "NIM's path and passages": (
        [NO_PATH, NO_PATH, {"rankings": [{"index": 1, "logit": 3.5}, {"index": 0, "logit": -2.0}]}],
        ["/v1/rerank", "/rerank", "/v1/ranking", "/v1/ranking"],
    ),
    "TEI's path and documents, of Infinity": (
        [NO_PATH, refusal("body.documents: Field required"), {"results": BEST_FIRST_RESULTS}],
        ["/v1/rerank", "/rerank", "/rerank", "/rerank"],
    ),
    "results under another name": ([{"object": "list", "data": BEST_FIRST_RESULTS}], ["/v1/rerank"] * 2),
    "no number of results": (
        [refusal("body.top_n: Extra inputs are not permitted"), {"results": BEST_FIRST_RESULTS}],
        ["/v1/rerank"] * 3,
    ),
    "too long, until it is cut": (
        [refusal("maximum context length is 512 tokens"), {"results": BEST_FIRST_RESULTS}],
        ["/v1/rerank"] * 3,
    ),
}


@pytest.mark.parametrize(("script", "paths"), FORMS.values(), ids=FORMS.keys())
def test_a_form_that_a_server_takes_is_found_and_remembered(script: list[Any], paths: list[str]) -> None:
    endpoint = ScriptedEndpoint(*script)
    protocol = OpenAIProtocol(endpoint, model="m1")
    for _ in range(2):
        ranking = protocol.rerank("q", ["a", "b"], QueryContext(10))
        assert [document.index for document in ranking.documents] == [1, 0]
    assert endpoint.paths == paths


def test_what_answers_at_nims_path_and_is_no_nim_teaches_nothing() -> None:
    endpoint = ScriptedEndpoint(NO_PATH, NO_PATH, {"results": BEST_FIRST_RESULTS})
    protocol = OpenAIProtocol(endpoint, model="m1")
    with pytest.raises(NotFound, match="nothing there"):
        protocol.rerank("q", ["a", "b"], QueryContext(10))
    protocol.rerank("q", ["a", "b"], QueryContext(10))
    assert endpoint.paths[-1] == "/v1/rerank"


def test_a_document_that_is_too_long_in_every_form_is_told() -> None:
    endpoint = ScriptedEndpoint(refusal("maximum context length is 512 tokens"))
    with pytest.raises(BadRequest, match=r"512 tokens.*shorter documents"):
        OpenAIProtocol(endpoint, model="m1").rerank("q", ["a", "b"], QueryContext(10))
    assert [p.get("truncate_prompt_tokens") for p in endpoint.payloads] == [None, -1]
