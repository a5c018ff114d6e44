"""Embeddings of services of the Model Registry: methods, columns, and what a vector comes in."""

from __future__ import annotations

import re
from typing import Any

import pytest

from spcs_llm.domain import Embedding
from spcs_llm.errors import BadRequest, NotFound, ServiceError, SpcsError
from spcs_llm.protocols.inference_server.model_serving import ModelServingProtocol
from tests.unit.protocol_rows import SECRET, assert_tells_nothing, call, error_of, rows, template
from tests.unit.scripted_endpoint import ScriptedEndpoint, refusal

VECTOR = [0.25, -1.5]
OUTPUT = rows({"output": VECTOR})


def protocol(*script: Any, **options: Any) -> tuple[ModelServingProtocol, ScriptedEndpoint]:
    endpoint = ScriptedEndpoint(*script)
    return ModelServingProtocol(endpoint, template=template("OTHER"), **options), endpoint


def embed(*script: Any, **options: Any) -> tuple[list[Any], ScriptedEndpoint]:
    asked, endpoint = protocol(*script, **options)
    return asked.embed(["a text"], call()), endpoint


def vector(row: Any) -> list[float]:
    assert isinstance(row, Embedding), repr(row)
    return row.vector


def named(column: str) -> dict[str, Any]:
    return {"dataframe_split": {"index": [0], "columns": [column], "data": [["a text"]]}}


def test_texts_are_rows_of_one_request_to_the_method_encode() -> None:
    asked, endpoint = protocol(rows({"output": VECTOR}, {"output": [1.0, 2.0]}))
    assert [vector(row) for row in asked.embed(["a", "b"], call())] == [VECTOR, [1.0, 2.0]]
    (http_request,) = endpoint.asked
    assert (http_request.path, http_request.weight) == ("/encode", 2)
    assert http_request.payload == {
        "dataframe_split": {"index": [0, 1], "columns": ["sentence"], "data": [["a"], ["b"]]}
    }


@pytest.mark.parametrize("name", ["output", "output_feature_0", "outputs", "vector"])
def test_the_only_column_that_is_a_list_is_the_vector(name: str) -> None:
    (row,), _ = embed(rows({"model": "m", name: VECTOR, "tokens": 3}))
    assert vector(row) == VECTOR


@pytest.mark.parametrize("dimensions", [2, 11, 384])
def test_a_vector_whose_numbers_have_a_column_each_is_put_together_by_their_numbers(dimensions: int) -> None:
    wanted = [float(at + 1) for at in range(dimensions)]
    columns = {f"output_feature_{at}": number for at, number in enumerate(wanted)}
    (row,), _ = embed(rows({"_ID": 0, **{name: columns[name] for name in sorted(columns)}}))
    assert vector(row) == wanted


@pytest.mark.parametrize(
    "columns",
    [
        {"output_feature_0": 1.0},
        {"output_feature_0": 1.0, "output_feature_2": 1.0},
        {"output_feature_1": 1.0, "output_feature_2": 1.0},
        {"output_feature_0": 1.0, "score_1": 1.0},
        {"output_feature_0": 1.0, "output_feature_1": "label"},
        {"output_feature_0": 1.0, "output_feature_01": 1.0},
    ],
)
def test_other_columns_of_numbers_are_no_vector(columns: dict[str, Any]) -> None:
    (row,), _ = embed(rows(columns))
    assert re.search("not a list of numbers|2 columns", error_of(row).message)


def test_a_column_that_is_not_a_number_fails_its_row() -> None:
    (row,), _ = embed(rows({"output_feature_0": 1.0, "output_feature_1": None}))
    assert "contains null" in error_of(row).message


def test_a_method_and_a_column_can_be_set() -> None:
    _, endpoint = embed(OUTPUT, method="encode_query", input_column="text")
    assert endpoint.paths == ["/encode-query"]
    assert endpoint.payloads == [named("text")]


def test_a_method_that_is_not_found_with_dashes_is_tried_with_underscores() -> None:
    _, endpoint = embed(NotFound("?", status=404), OUTPUT, method="encode_query")
    assert endpoint.paths == ["/encode-query", "/encode_query"]


def test_a_column_that_the_service_names_is_learnt_once() -> None:
    asked, endpoint = protocol(refusal("column 'text' is missing"), OUTPUT)
    for _ in range(2):
        assert vector(asked.embed(["a text"], call())[0]) == VECTOR
    assert endpoint.payloads == [named("sentence"), named("text"), named("text")]


def test_a_service_that_names_no_column_is_given_the_value_by_its_place() -> None:
    asked, endpoint = protocol(refusal("malformed"), OUTPUT)
    for _ in range(2):
        assert vector(asked.embed(["a text"], call())[0]) == VECTOR
    assert endpoint.payloads[1:] == [{"data": [[0, "a text"]]}] * 2


def test_a_column_that_was_set_is_not_guessed_at() -> None:
    asked, endpoint = protocol(refusal("column 'text' is missing"), input_column="sentence")
    with pytest.raises(BadRequest) as caught:
        asked.embed(["a text"], call())
    assert "'Input column'" in caught.value.hint
    assert len(endpoint.payloads) == 1


def test_a_signature_that_fits_nothing_is_told_after_three_tries() -> None:
    asked, endpoint = protocol(refusal("column 'image' is missing"))
    with pytest.raises(BadRequest):
        asked.embed([SECRET], call())
    assert len(endpoint.payloads) == 3


def test_once_a_column_was_taken_a_refusal_is_final() -> None:
    asked, endpoint = protocol(OUTPUT, refusal("column 'text' is missing"))
    asked.embed(["a"], call())
    with pytest.raises(BadRequest):
        asked.embed(["b"], call())
    assert len(endpoint.payloads) == 2


def test_a_failure_is_raised_at_once() -> None:
    asked, endpoint = protocol(ServiceError("out of memory", status=500))
    with pytest.raises(SpcsError, match="memory"):
        asked.embed(["a"], call())
    assert len(endpoint.payloads) == 1


def test_a_vector_that_is_none_is_an_error_of_its_row() -> None:
    asked, _ = protocol(rows({"output": VECTOR}, {"output": [None, 0.1]}, {"output": None}))
    good, bad, empty = asked.embed(["a", SECRET, "c"], call())
    assert vector(good) == VECTOR
    assert "null" in error_of(bad).message
    assert "not a list of numbers" in error_of(empty).message
    assert_tells_nothing(error_of(bad))


def test_no_text_asks_nothing() -> None:
    asked, endpoint = protocol(OUTPUT)
    assert asked.embed([], call()) == []
    assert endpoint.asked == []
