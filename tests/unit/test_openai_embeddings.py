"""Embeddings over `/v1/embeddings`: base64 or numbers, and each text's own fate."""

from __future__ import annotations

import base64
import math
import struct
from typing import Any

import pytest

from spcs_llm.batching.sizes import is_refusal
from spcs_llm.domain import Embedding, EmbeddingSettings
from spcs_llm.errors import (
    BadRequest,
    ModelError,
    NotFound,
    RequestTooLarge,
    ServiceDown,
    ServiceError,
    SpcsError,
)
from spcs_llm.protocols.openai.protocol import OpenAIProtocol
from spcs_llm.query_context import QueryContext
from tests.unit.scripted_endpoint import ScriptedEndpoint, refusal

ONE, TWO = [0.5, -0.5, 0.5, 0.5], [0.0, 0.0, 1.0, 0.0]


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
    "integers": rows(ONE, [0, 0, 1, 0]),
    "another order": {"data": [{"index": 1, "embedding": TWO}, {"index": 0, "embedding": ONE}]},
    "no indexes": {"data": [{"embedding": ONE}, {"embedding": TWO}]},
    "indexes of null": {"data": [{"index": None, "embedding": ONE}, {"index": None, "embedding": TWO}]},
    "indexes from one": {"data": [{"index": 1, "embedding": ONE}, {"index": 2, "embedding": TWO}]},
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


def test_a_total_of_tokens_is_the_prompts_where_that_is_not_counted() -> None:
    assert embed(rows(ONE, usage={"total_tokens": 9}), "a") == [Embedding(ONE, 9)]


def test_no_texts_make_no_request() -> None:
    endpoint = ScriptedEndpoint(rows())
    assert OpenAIProtocol(endpoint).embed([], QueryContext(10)) == []
    assert endpoint.asked == []


BAD_ROWS = {
    "zeros": (rows(ONE, [0.0, -0.0]), "zeros"),
    "zeros in base64": (rows(packed(ONE), packed([0.0, 0.0])), "zeros"),
    "null": (rows(ONE, None), "empty"),
    "empty": (rows(ONE, []), "empty"),
    "empty base64": (rows(packed(ONE), ""), "empty"),
    "NaN": (rows(ONE, [1.0, math.nan]), "NaN"),
    "infinite": (rows(ONE, [math.inf, -math.inf]), "NaN or infinite"),
    "NaN in base64": (rows(packed(ONE), packed([1.0, math.nan])), "NaN"),
    "null among numbers": (rows(ONE, [1.0, None]), "not a list of numbers"),
    "texts": (rows(ONE, ["1", "2"]), "not a list of numbers"),
    "nested": (rows(ONE, [TWO, TWO]), "for each token"),
    "more dimensions than any model has": (rows(ONE, [0.5] * 65_537), "more than 65,536 dimensions"),
    "the same as base64": (rows(packed(ONE), packed([0.5] * 65_540)), "more than 65,536 dimensions"),
    "a number": (rows(ONE, 3.5), "not a list of numbers"),
    "an object": (rows(ONE, {"dense": TWO}), "not a list of numbers"),
    "text that is no base64": (rows(packed(ONE), "my text"), "not a list of numbers"),
    "base64 of half a number": (rows(packed(ONE), packed(TWO)[:-4]), "not a list of numbers"),
    "no embedding": ({"data": [{"index": 0, "embedding": ONE}, {"index": 1}]}, "empty"),
}


@pytest.mark.parametrize(("body", "complaint"), BAD_ROWS.values(), ids=BAD_ROWS.keys())
def test_a_bad_row_is_an_error_for_its_text_alone(body: Any, complaint: str) -> None:
    good, bad = embed(body, "a", "b")
    assert good == Embedding(ONE)
    assert isinstance(bad, ModelError)
    assert complaint in str(bad)


@pytest.mark.parametrize(
    "indexes", [[0], [1], [0, 0], [1, 1], [0, 1, 1], [1, 0, 0], [2, 1], [0, 2], []], ids=str
)
def test_no_vector_is_given_to_a_text_by_doubtful_indexes(indexes: list[int]) -> None:
    body = {"data": [{"index": index, "embedding": ONE} for index in indexes]}
    with pytest.raises(ModelError, match=r"which text each is of|has no embedding"):
        embed(body, "a", "b")


def test_infinity_is_found_at_its_own_path_and_stays_so() -> None:
    no_path = NotFound("The service has nothing there.", status=404)
    endpoint = ScriptedEndpoint(no_path, no_path, rows(ONE))
    protocol = OpenAIProtocol(endpoint, model="m1")
    for _ in range(2):
        assert protocol.embed(["a"], QueryContext(10)) == [Embedding(ONE)]
    assert endpoint.paths == ["/v1/embeddings", "/embed", "/embeddings", "/embeddings"]
    assert endpoint.payloads[-1] == {"model": "m1", "input": ["a"]}


@pytest.mark.parametrize("index", [0, 1, 63, None])
def test_the_only_vector_is_that_of_the_only_text(index: int | None) -> None:
    assert embed({"data": [{"index": index, "embedding": ONE}]}, "a") == [Embedding(ONE)]


@pytest.mark.parametrize(
    "reason",
    [
        "The model does not support Embeddings API",
        "This server does not support embeddings. Start it with `--embeddings`",
        "Failed to load model. Error: Model is not embedding.",
        "This model does not appear to be an embedding model by default. Please add `--is-embedding`.",
        "the loaded moded cannot fullyfill `embed`. options are {'rerank'}.",
    ],
)
@pytest.mark.parametrize("status", [400, 404, 500, 501])
def test_a_server_without_embeddings_is_asked_once_for_all_texts(reason: str, status: int) -> None:
    kind = {400: BadRequest, 404: NotFound}.get(status, ServiceError)
    error = kind("The service fails.", status=status)
    error.quote(reason)
    endpoint = ScriptedEndpoint(error)
    with pytest.raises(NotFound, match="does not take this kind of query") as raised:
        OpenAIProtocol(endpoint, model="m").embed(["a", "b"], QueryContext(10))
    assert reason.rstrip(".") in str(raised.value)
    assert not is_refusal(raised.value), "no half of them is sent"
    assert len(endpoint.asked) == 1


def test_words_of_a_text_do_not_stand_for_the_server() -> None:
    error = BadRequest("The service refuses the request.", status=400)
    error.quote("The model does not support embeddings.", "The input is refused: ….")
    with pytest.raises(BadRequest):
        OpenAIProtocol(ScriptedEndpoint(error), model="m1").embed(["a", "b"], QueryContext(10))


@pytest.mark.parametrize(
    "reason",
    [
        'Model "e5" does not support matryoshka representation, changing output dimensions is not possible',
        "The model does not support embedding more than 512 tokens",
        "input cannot be an empty string",
    ],
)
def test_a_refusal_of_one_text_is_still_a_refusal(reason: str) -> None:
    with pytest.raises(BadRequest) as raised:
        OpenAIProtocol(ScriptedEndpoint(refusal(reason)), model="m1").embed(["a"], QueryContext(10))
    assert is_refusal(raised.value)


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
    ({"data": [{"index": "first", "embedding": ONE}]}, ModelError, "index is not a number"),
    ({"error": {"message": "too long", "code": 400}}, BadRequest, "too long"),
    ({"object": "error", "message": "too long", "code": 400}, BadRequest, "too long"),
]


@pytest.mark.parametrize(("body", "kind", "complaint"), BAD_BODIES)
def test_what_has_no_embeddings_is_a_clear_error(body: Any, kind: type[SpcsError], complaint: str) -> None:
    with pytest.raises(kind, match=complaint):
        embed(body, "a")


@pytest.mark.parametrize(
    "answer",
    [
        refusal("encoding_format: Input should be 'float'"),
        refusal("bad request"),
        ServiceError("The service fails: base64 is not implemented", status=500),
        ServiceDown("The service does not answer: failed to parse response: expected a sequence", status=503),
        {"object": "list", "data": []},
    ],
    ids=str,
)
def test_a_server_that_refuses_base64_gives_numbers_from_then_on(answer: Any) -> None:
    endpoint = ScriptedEndpoint(answer, rows(ONE))
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


@pytest.mark.parametrize("written", [f"<{len(ONE)}d", f"<{len(ONE)}e", f">{len(ONE)}f"])
def test_a_server_whose_base64_is_no_float32_gives_numbers_from_then_on(written: str) -> None:
    other = base64.b64encode(struct.pack(written, *ONE)).decode()
    endpoint = ScriptedEndpoint(rows(other), rows(ONE))
    protocol = OpenAIProtocol(endpoint)
    for _ in range(2):
        assert [outcome(row) for row in protocol.embed(["a"], QueryContext(10))] == [ONE]
    assert ["encoding_format" in p for p in endpoint.payloads] == [True, False, False]


def test_base64_of_vectors_of_any_length_is_compared_with_numbers_once() -> None:
    endpoint = ScriptedEndpoint(rows(packed([3.0, 4.0])), rows([3.01, 3.99]), rows(packed([3.0, 4.0])))
    protocol = OpenAIProtocol(endpoint)
    found = [outcome(protocol.embed(["a"], QueryContext(10))[0]) for _ in range(2)]
    assert found == [[3.01, 3.99], [3.0, 4.0]]
    assert ["encoding_format" in p for p in endpoint.payloads] == [True, False, True]


def test_base64_is_believed_where_the_server_has_no_numbers() -> None:
    endpoint = ScriptedEndpoint(
        rows(packed([3.0, 4.0])), refusal("encoding_format must be base64"), rows(packed([3.0, 4.0]))
    )
    protocol = OpenAIProtocol(endpoint)
    for _ in range(2):
        assert [outcome(row) for row in protocol.embed(["a"], QueryContext(10))] == [[3.0, 4.0]]
    assert ["encoding_format" in p for p in endpoint.payloads] == [True, False, True]


def test_a_text_without_a_vector_says_nothing_of_base64() -> None:
    body = rows(packed([math.nan, 1.0]))
    endpoint = ScriptedEndpoint(body, rows([None, 1.0]), rows(packed(ONE)))
    protocol = OpenAIProtocol(endpoint)
    found = [outcome(protocol.embed([text], QueryContext(10))[0]) for text in ("bad", "good")]
    assert "not a list of numbers" in found[0]
    assert found[1] == ONE
    assert ["encoding_format" in p for p in endpoint.payloads] == [True, False, True]


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


# -- forms of servers ----------------------------------------------------------------------------------


def forms(*script: Any, truncate: bool = False, times: int = 2) -> tuple[list[Any], list[Any], list[str]]:
    """What two queries for one embedding come to, and what was sent for them."""
    endpoint = ScriptedEndpoint(*script)
    protocol = OpenAIProtocol(endpoint, model="e5")
    settings = EmbeddingSettings(truncate=truncate)
    found = [outcome(protocol.embed(["a"], QueryContext(10), settings)[0]) for _ in range(times)]
    return found, endpoint.payloads, endpoint.paths


def test_an_input_type_is_sent_once_it_is_asked_for() -> None:
    error = refusal("'input_type' parameter is required for asymmetric models")
    found, sent, _ = forms(error, rows(packed(ONE)))
    assert found == [ONE, ONE]
    assert [p.get("input_type") for p in sent] == [None, "passage", "passage"]


TOO_LONG = refusal("This model's maximum context length is 512 tokens. However, you requested 5000 tokens.")


def test_texts_are_cut_by_the_server_once_one_is_too_long_and_only_where_that_was_asked() -> None:
    found, sent, _ = forms(TOO_LONG, rows(packed(ONE)), truncate=True)
    assert found == [ONE, ONE]
    assert [p.get("truncate_prompt_tokens") for p in sent] == [None, -1, -1]
    with pytest.raises(BadRequest, match=r"512 tokens.*shorter texts") as caught:
        forms(TOO_LONG, rows(packed(ONE)))
    assert "textOverflowMode" not in str(caught.value)


def test_texts_are_cut_in_the_words_of_the_server() -> None:
    no_such_field = refusal("truncate_prompt_tokens: Extra inputs are not permitted")
    found, sent, _ = forms(TOO_LONG, no_such_field, rows(packed(ONE)), truncate=True)
    assert found == [ONE, ONE]
    assert [p.get("truncate") for p in sent] == [None, None, "END", "END"]


@pytest.mark.parametrize(
    "error", [TOO_LONG, RequestTooLarge("inputs must have less than 512 tokens", status=413)]
)
def test_a_server_that_cuts_nothing_is_told_as_one(error: SpcsError) -> None:
    with pytest.raises(type(error), match=r"512 tokens.*'textOverflowMode'"):
        forms(error, truncate=True)


def test_a_server_that_takes_one_text_gets_one_at_a_time() -> None:
    endpoint = ScriptedEndpoint(refusal("body.input: Input should be a valid string"), rows(packed(ONE)))
    protocol = OpenAIProtocol(endpoint, model="e5")
    assert [outcome(row) for row in protocol.embed(["a", "b"], QueryContext(10))] == [ONE, ONE]
    assert [p["input"] for p in endpoint.payloads] == [["a", "b"], "a", "b"]


def test_a_server_without_that_path_is_asked_as_tei_from_then_on() -> None:
    found, sent, paths = forms(NotFound("nothing there", status=404), [ONE])
    assert found == [ONE, ONE]
    assert paths == ["/v1/embeddings", "/embed", "/embed"]
    assert sent[1] == {"inputs": ["a"]}


def test_base64_that_fails_without_a_reason_is_not_asked_for_again() -> None:
    error = ServiceError("The service fails (HTTP 500): Internal Server Error.", status=500)
    found, sent, _ = forms(error, rows(ONE))
    assert found == [ONE, ONE]
    assert ["encoding_format" in p for p in sent] == [True, False, False]


def test_a_failure_after_base64_came_is_no_refusal_of_it() -> None:
    endpoint = ScriptedEndpoint(rows(packed(ONE)), ServiceError("The service fails.", status=500))
    protocol = OpenAIProtocol(endpoint, model="e5")
    protocol.embed(["a"], QueryContext(10))
    with pytest.raises(ServiceError, match="fails"):
        protocol.embed(["a"], QueryContext(10))
    assert len(endpoint.payloads) == 2


def test_a_service_that_is_down_is_no_refusal_of_base64() -> None:
    endpoint = ScriptedEndpoint(ServiceDown("The service does not answer.", status=503))
    with pytest.raises(ServiceDown):
        OpenAIProtocol(endpoint, model="e5").embed(["a"], QueryContext(10))
    assert len(endpoint.payloads) == 1


def test_an_answer_without_vectors_in_any_form_is_an_error() -> None:
    endpoint = ScriptedEndpoint({"data": []})
    with pytest.raises(ModelError, match="no embedding"):
        OpenAIProtocol(endpoint, model="e5").embed(["a"], QueryContext(10))
    assert ["encoding_format" in p for p in endpoint.payloads] == [True, False]


def test_a_vector_in_a_list_is_that_vector() -> None:
    assert [outcome(row) for row in embed(rows([ONE]), "a")] == [ONE]


@pytest.mark.parametrize("count", [1, 2])
def test_more_rows_than_texts_may_be_of_pieces_of_a_text(count: int) -> None:
    with pytest.raises(ModelError, match=f"{count + 1} embeddings for {count},"):
        embed(rows(*[ONE] * (count + 1)), *"ab"[:count])


def test_one_vector_for_different_texts_is_believed_where_each_of_them_has_it() -> None:
    endpoint = ScriptedEndpoint(rows(ONE, ONE, ONE), rows(ONE))
    protocol = OpenAIProtocol(endpoint, model="e5")
    assert [outcome(row) for row in protocol.embed(["a", "b", "c"], QueryContext(10))] == [ONE] * 3
    assert [p["input"] for p in endpoint.payloads] == [["a", "b", "c"], "a", "c"]


def test_one_vector_for_equal_texts_is_no_reason_for_doubt() -> None:
    endpoint = ScriptedEndpoint(rows(ONE, ONE))
    assert [outcome(row) for row in OpenAIProtocol(endpoint).embed(["a", "a"], QueryContext(10))] == [ONE] * 2
    assert len(endpoint.payloads) == 1
