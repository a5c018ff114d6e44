"""Embeddings over `/predict`: every way a vector is written, and what is none."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spcs_llm.domain import Embedding, EmbeddingSettings
from spcs_llm.errors import ModelError, SpcsError
from spcs_llm.protocols.inference_server.predict import PredictProtocol
from tests.unit.protocol_rows import SECRET, assert_tells_nothing, call, error_of, outputs, rows, template
from tests.unit.scripted_endpoint import ScriptedEndpoint, refusal

VECTOR = [0.25, -1.5, 3e-05]


def embed(answer: Any, *texts: str) -> list[Any]:
    protocol = PredictProtocol(ScriptedEndpoint(answer), template=template("OTHER"))
    return protocol.embed(texts or ("a text",), call())


def vector(row: Any) -> list[float]:
    assert isinstance(row, Embedding), repr(row)
    return row.vector


@pytest.mark.parametrize(
    "written",
    [
        pytest.param(str(VECTOR), id="Python, as the earlier notebook"),
        pytest.param(json.dumps(VECTOR), id="JSON in a text"),
        pytest.param(VECTOR, id="native"),
        pytest.param([VECTOR], id="nested once"),
        pytest.param(json.dumps([[VECTOR]]), id="nested twice in a text"),
        pytest.param(str(tuple(VECTOR)), id="a tuple"),
        pytest.param("\n " + str(VECTOR) + " ", id="with blanks around"),
    ],
)
def test_a_vector_is_read_however_it_is_written(written: Any) -> None:
    assert vector(embed(outputs(written))[0]) == VECTOR


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2).filter(any))
def test_what_python_writes_is_read_back_to_the_bit(numbers: list[float]) -> None:
    assert vector(embed(outputs(str(numbers)))[0]) == numbers


@pytest.mark.parametrize("written", ["[0.0, 0.0]", [0, 0], "(-0.0, 0.0)"], ids=str)
def test_zeros_are_not_an_embedding(written: Any) -> None:
    (row,) = embed(outputs(written))
    assert isinstance(row, ModelError)
    assert "zeros" in str(row)


def test_whole_numbers_become_floats() -> None:
    (row,) = embed(outputs([1, 0]))
    assert [type(number) for number in vector(row)] == [float, float]


@pytest.mark.parametrize("name", ["embedding", "output", "output_feature_0", "0"])
def test_another_output_column_is_found(name: str) -> None:
    assert vector(embed(rows({name: VECTOR}))[0]) == VECTOR
    assert vector(embed(rows({"id": "x", name: VECTOR, "n": 3}))[0]) == VECTOR


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("[0.1, nan, 0.2]", "NaN"),
        ("[0.1, NaN, 0.2]", "NaN"),
        ("[0.1, -inf]", "Infinity"),
        ("[0.1, -Infinity]", "Infinity"),
        ("[None, 0.1]", "null"),
        ("[nan, None]", "NaN"),
        ([0.1, None], "null"),
        ([0.1, True], "not a number"),
        ([0.1, "0.2"], "not a number"),
        ([0.1, {}], "not a number"),
        ([0.1, 10**400], "Infinity"),
    ],
)
def test_what_is_no_number_is_refused_by_name_for_its_row_alone(written: Any, name: str) -> None:
    good, bad = embed(outputs(VECTOR, written), "good", SECRET)
    assert vector(good) == VECTOR
    assert name in error_of(bad).message
    assert_tells_nothing(error_of(bad))


def test_the_number_that_json_cannot_hold_comes_as_one() -> None:
    assert "NaN" in error_of(embed(outputs([math.nan]))[0]).message


@pytest.mark.parametrize("written", ["[]", [], [[]], "[[]]"])
def test_an_empty_vector_is_refused(written: Any) -> None:
    assert "empty" in error_of(embed(outputs(written))[0]).message


@pytest.mark.parametrize(
    "written", ["hello", "", "{}", "0.5", 0.5, None, {"a": 1}, "[0.1, 0.2", "[__import__('os')]"]
)
def test_what_is_no_list_of_numbers_is_refused(written: Any) -> None:
    assert "not a list of numbers" in error_of(embed(outputs(written))[0]).message


def test_an_embedding_for_each_token_is_refused_with_a_mend() -> None:
    error = error_of(embed(outputs([[VECTOR, VECTOR]]))[0])
    assert "each token" in error.message
    assert "pools" in error.hint


def test_vectors_of_unequal_lengths_fail_every_row_and_are_not_asked_for_again() -> None:
    for row in embed(outputs([0.1, 0.2], [0.1, 0.2, 0.3]), "a", "b"):
        assert "different lengths ([2, 3])" in error_of(row).message


def test_texts_go_in_one_request_that_weighs_as_many() -> None:
    endpoint = ScriptedEndpoint(outputs(VECTOR, VECTOR))
    PredictProtocol(endpoint, template=template("OTHER")).embed(["a", "b"], call())
    (http_request,) = endpoint.asked
    assert (http_request.method, http_request.path, http_request.weight) == ("POST", "/predict", 2)
    assert http_request.payload == {"data": [[0, {"inputs": "a"}], [1, {"inputs": "b"}]]}


def test_the_input_column_can_be_set() -> None:
    endpoint = ScriptedEndpoint(outputs(VECTOR))
    PredictProtocol(endpoint, template=template("OTHER"), input_column="TEXT").embed(["a"], call())
    assert endpoint.payloads == [{"data": [[0, {"TEXT": "a"}]]}]


def test_no_text_asks_nothing() -> None:
    endpoint = ScriptedEndpoint(outputs())
    assert PredictProtocol(endpoint, template=template("OTHER")).embed([], call()) == []
    assert endpoint.asked == []


def test_a_refusal_is_raised_for_all_rows() -> None:
    with pytest.raises(SpcsError, match="exploded"):
        embed(refusal("model exploded"), "a", "b")


@pytest.mark.parametrize(
    "written",
    [
        "[" + "1+" * 200_000 + "1]",
        "[" + "a." * 200_000 + "a]",
        "a[" * 200_000,
        "[" * 400_000,
        "[" + "-" * 400_000 + "1]",
        "[" + "1" * 400_000 + "]",
        "[nan" + ",1" * 4_000_000 + "]",
        "[" + "[]," * 200_000 + "[]]",
    ],
    ids=lambda written: f"{written[:6]} {len(written)}",
)
def test_a_text_that_is_a_bomb_is_an_error_of_its_row(written: str) -> None:
    good, bad = embed(outputs(VECTOR, written), "good", "bad")
    assert vector(good) == VECTOR
    assert error_of(bad).place == "model"


@pytest.mark.parametrize("numbers", [[0.5] * 65_537, str([0.5] * 65_537)], ids=["native", "text"])
def test_an_embedding_of_more_numbers_than_any_model_has_is_refused(numbers: Any) -> None:
    assert "65,536" in error_of(embed(outputs(numbers))[0]).message


def test_numbers_of_numpy_are_read() -> None:
    assert vector(embed(outputs("[np.float32(0.25), np.float32(-1.5), np.float32(3e-05)]"))[0]) == VECTOR


@pytest.mark.parametrize(
    "answer",
    [
        [{"generated_text": SECRET}],
        json.dumps([{"generated_text": SECRET}]),
        str([{"generated_text": SECRET}]),
    ],
)
def test_a_chat_service_asked_for_an_embedding_is_told_as_one(answer: Any) -> None:
    error = error_of(embed(outputs(answer))[0])
    assert "text instead of an embedding" in error.message
    assert_tells_nothing(error)


def test_truncation_that_cannot_be_passed_on_is_named() -> None:
    protocol = PredictProtocol(ScriptedEndpoint(outputs(VECTOR)), template=template("OTHER"))
    (row,) = protocol.embed(["a"], call(), EmbeddingSettings(truncate=True))
    assert row.ignored_settings == ("textOverflowMode",)
    (row,) = protocol.embed(["a"], call())
    assert row.ignored_settings == ()
