"""Embeddings over `/v1/embeddings`: base64 or numbers, and each text's own fate."""

from __future__ import annotations

import base64
import math
import struct
from typing import Any

import pytest

from spcs_llm.domain import Embedding
from spcs_llm.errors import BadRequest, ModelError, NotFound, ServiceError, SpcsError
from spcs_llm.protocols.openai.protocol import OpenAIProtocol
from spcs_llm.query_context import QueryContext
from tests.unit.scripted_endpoint import ScriptedEndpoint, refusal

ONE, TWO = [0.5, -1.25], [2.0, 3.0]


def packed(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def rows(*embeddings: Any, **more: Any) -> dict[str, Any]:
    return {"data": [{"index": i, "embedding": e} for i, e in enumerate(embeddings)], **more}


def embed(body: Any, *texts: str) -> list[Any]:
    return OpenAIProtocol(ScriptedEndpoint(body)).embed(texts, QueryContext(10))


def outcome(row: Any) -> Any:
    return row.vector if isinstance(row, Embedding) else str(row)


GOOD = {
    "base64": rows(packed(ONE), packed(TWO)),
    "numbers": rows(ONE, TWO),
    "integers": rows(ONE, [2, 3]),
    "another order": {"data": [{"index": 1, "embedding": TWO}, {"index": 0, "embedding": ONE}]},
    "no indexes": {"data": [{"embedding": ONE}, {"embedding": TWO}]},
    "a row too many": rows(ONE, TWO, ONE),
    "unknown fields": rows(ONE, TWO, model="m1", usage={"prompt_tokens": 5}),
}


@pytest.mark.parametrize("body", GOOD.values(), ids=GOOD.keys())
def test_vectors_come_back_in_the_order_of_the_texts(body: Any) -> None:
    found = embed(body, "a", "b")
    assert [row.vector for row in found] == [ONE, TWO]
    assert all(type(x) is float for row in found for x in row.vector)
    assert [row.prompt_tokens for row in found] == [None, None]


def test_all_texts_go_in_one_request_that_counts_for_all_of_them() -> None:
    endpoint = ScriptedEndpoint(rows(ONE, TWO))
    OpenAIProtocol(endpoint, model="e5").embed(["a", "b"], QueryContext(10))
    [http_request] = endpoint.asked
    assert (http_request.path, http_request.weight) == ("/v1/embeddings", 2)
    assert http_request.payload == {"model": "e5", "input": ["a", "b"], "encoding_format": "base64"}


def test_the_tokens_of_a_single_text_are_its_own() -> None:
    assert embed(rows(ONE, usage={"prompt_tokens": 5, "total_tokens": 5}), "a") == [Embedding(ONE, 5)]


def test_no_texts_make_no_request() -> None:
    endpoint = ScriptedEndpoint(rows())
    assert OpenAIProtocol(endpoint).embed([], QueryContext(10)) == []
    assert endpoint.asked == []


BAD_ROWS = {
    "missing": ({"data": [{"index": 0, "embedding": ONE}]}, "no embedding"),
    "twice": ({"data": [*rows(ONE, TWO)["data"], {"index": 1, "embedding": TWO}]}, "two embeddings"),
    "null": (rows(ONE, None), "empty"),
    "empty": (rows(ONE, []), "empty"),
    "empty base64": (rows(packed(ONE), ""), "empty"),
    "NaN": (rows(ONE, [1.0, math.nan]), "NaN"),
    "infinite": (rows(ONE, [math.inf, -math.inf]), "NaN or infinite"),
    "NaN in base64": (rows(packed(ONE), packed([1.0, math.nan])), "NaN"),
    "null among numbers": (rows(ONE, [1.0, None]), "no list of numbers"),
    "texts": (rows(ONE, ["1", "2"]), "no list of numbers"),
    "nested": (rows(ONE, [TWO, TWO]), "no list of numbers"),
    "more dimensions than any model has": (rows(ONE, [0.5] * 65_537), "more than 65,536 dimensions"),
    "the same as base64": (rows(packed(ONE), packed([0.5] * 65_540)), "more than 65,536 dimensions"),
    "a number": (rows(ONE, 3.5), "no list of numbers"),
    "an object": (rows(ONE, {"dense": TWO}), "no list of numbers"),
    "text that is no base64": (rows(packed(ONE), "my text"), "no list of numbers"),
    "base64 of half a number": (rows(packed(ONE), packed(TWO)[:-4]), "no list of numbers"),
    "no embedding": ({"data": [{"index": 0, "embedding": ONE}, {"index": 1}]}, "empty"),
}


@pytest.mark.parametrize(("body", "complaint"), BAD_ROWS.values(), ids=BAD_ROWS.keys())
def test_a_bad_row_is_an_error_for_its_text_alone(body: Any, complaint: str) -> None:
    good, bad = embed(body, "a", "b")
    assert good == Embedding(ONE)
    assert isinstance(bad, ModelError)
    assert complaint in str(bad)


def test_vectors_of_different_lengths_are_all_refused() -> None:
    found = embed(rows(ONE, [1.0, 2.0, 3.0]), "a", "b")
    assert [type(row) for row in found] == [ModelError, ModelError]
    assert "different lengths" in str(found[0])
    assert found[0] is not found[1], "an exception belongs to one row"


BAD_BODIES = [
    ({}, ModelError, "no embeddings"),
    ([], ModelError, "no embeddings"),
    ({"data": None}, ModelError, "no embeddings"),
    ({"data": [3]}, ModelError, "no embeddings"),
    ({"data": [{"index": "0", "embedding": ONE}]}, ModelError, "index is no number"),
    ({"error": {"message": "too long", "code": 400}}, BadRequest, "too long"),
    ({"object": "error", "message": "too long", "code": 400}, BadRequest, "too long"),
]


@pytest.mark.parametrize(("body", "kind", "complaint"), BAD_BODIES)
def test_what_has_no_embeddings_is_a_clear_error(body: Any, kind: type[SpcsError], complaint: str) -> None:
    with pytest.raises(kind, match=complaint):
        embed(body, "a")


@pytest.mark.parametrize(
    "error",
    [
        refusal("encoding_format: Input should be 'float'"),
        refusal("bad request"),
        ServiceError("The service fails: base64 is not implemented", status=500),
    ],
    ids=str,
)
def test_a_server_that_refuses_base64_gives_numbers_from_then_on(error: ServiceError) -> None:
    endpoint = ScriptedEndpoint(error, rows(ONE))
    protocol = OpenAIProtocol(endpoint)
    for _ in range(2):
        assert [outcome(row) for row in protocol.embed(["a"], QueryContext(10))] == [ONE]
    assert ["encoding_format" in p for p in endpoint.payloads] == [True, False, False]


def test_a_server_that_ignores_base64_is_not_asked_for_it_again() -> None:
    endpoint = ScriptedEndpoint(rows(ONE))
    protocol = OpenAIProtocol(endpoint)
    protocol.embed(["a"], QueryContext(10))
    protocol.embed(["a"], QueryContext(10))
    assert ["encoding_format" in p for p in endpoint.payloads] == [True, False]


def test_a_refusal_of_the_texts_does_not_count_against_base64() -> None:
    endpoint = ScriptedEndpoint(refusal("odd words"), refusal("odd words"), rows(packed(ONE)))
    protocol = OpenAIProtocol(endpoint)
    with pytest.raises(BadRequest, match="odd words"):
        protocol.embed(["a"], QueryContext(10))
    protocol.embed(["a"], QueryContext(10))
    with_base64 = ["encoding_format" in p for p in endpoint.payloads]
    assert with_base64 == [True, False, True]


def test_an_unknown_embedding_model_is_explained_with_those_there_are() -> None:
    endpoint = ScriptedEndpoint(NotFound("no such model", status=404), models=("e5",))
    with pytest.raises(NotFound, match=r"no model 'mine'\. It serves: e5"):
        OpenAIProtocol(endpoint, model="mine").embed(["a"], QueryContext(10))
