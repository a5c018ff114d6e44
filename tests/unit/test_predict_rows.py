"""Which row of an answer is whose: an answer never goes to a neighbour."""

from __future__ import annotations

from typing import Any

import pytest

from spcs_llm.errors import ModelError, ServiceError, SpcsError
from spcs_llm.protocols.inference_server.rows import matched_rows, output_column
from tests.unit.protocol_rows import SECRET, assert_tells_nothing

ASKED = {"data": [[0, {"inputs": SECRET}], [1, {"inputs": "b"}], [2, {"inputs": "c"}]]}


def match(*rows: Any, count: int = 3) -> list[Any]:
    return matched_rows({"data": list(rows)}, count, ASKED)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_rows_are_matched_by_their_index_in_any_order(order: tuple[int, ...]) -> None:
    assert match(*([index, "abc"[index]] for index in order)) == ["a", "b", "c"]


@pytest.mark.parametrize("indexes", [("0", "1", "2"), (0.0, 1.0, 2.0)])
def test_an_index_may_come_as_text_or_as_a_float(indexes: tuple[Any, ...]) -> None:
    assert match(*([index, letter] for index, letter in reversed(list(zip(indexes, "abc"))))) == [
        "a",
        "b",
        "c",
    ]


@pytest.mark.parametrize("indexes", [(1, 2, 3), (10, 20, 30)])
def test_rows_that_are_all_there_and_numbered_from_elsewhere_are_taken_in_their_order(
    indexes: tuple[int, ...],
) -> None:
    assert match(*zip_rows(indexes, "abc")) == ["a", "b", "c"]


def zip_rows(indexes: Any, contents: Any) -> list[list[Any]]:
    return [list(pair) for pair in zip(indexes, contents)]


@pytest.mark.parametrize(
    "indexes",
    [
        pytest.param((0, 1), id="the last is missing, or another and the server numbers anew"),
        pytest.param((0, 2), id="one is missing"),
        pytest.param((0, 1, 2, 3), id="one too many, or two for one and numbered anew"),
        pytest.param((0, 0, 0), id="none is numbered"),
        pytest.param((None, None, None), id="numbers are null"),
        pytest.param((0, 1, 1), id="one is there twice, one is not"),
        pytest.param((3, 1, 2), id="numbered from elsewhere, in another order"),
        pytest.param((0, 1.5, 2), id="a number is no whole one"),
        pytest.param((), id="none"),
    ],
)
def test_rows_that_do_not_tell_whose_they_are_are_an_error_of_the_whole_request(
    indexes: tuple[Any, ...],
) -> None:
    """Not of one row: asked for again in smaller requests, each query gets its own answer."""
    with pytest.raises(ModelError, match=r"row"):
        match(*zip_rows(indexes, "abcd"))


def test_the_same_row_twice_is_one_row() -> None:
    assert match([0, "a"], [1, "b"], [2, "c"], [2, "c"]) == ["a", "b", "c"]


def test_two_answers_to_one_index_are_refused() -> None:
    with pytest.raises(ModelError):
        match([0, "a"], [1, "b"], [2, "c"], [2, "d"])


@pytest.mark.parametrize("index", [0, 7, None, "x"])
def test_the_only_row_belongs_to_the_only_query_whatever_its_index(index: Any) -> None:
    assert match([index, "a"], count=1) == ["a"]


def test_of_several_rows_for_one_query_its_own_index_is_taken() -> None:
    assert match([0, "a"], [1, "b"], count=1) == ["a"]
    with pytest.raises(ModelError):
        match([1, "a"], [2, "b"], count=1)


@pytest.mark.parametrize(
    "body", [None, [], "text", 3, {}, {"data": None}, {"data": {"0": "a"}}, {"rows": []}]
)
def test_json_without_rows_is_no_answer(body: Any) -> None:
    with pytest.raises(ModelError, match="no rows"):
        matched_rows(body, 1, ASKED)


@pytest.mark.parametrize("row", [{"outputs": "a"}, [], [0], "a", None])
def test_a_row_is_a_pair(row: Any) -> None:
    with pytest.raises(ModelError, match="not pairs"):
        matched_rows({"data": [row]}, 1, ASKED)


def test_an_error_within_a_success_is_told_without_the_users_text() -> None:
    with pytest.raises(ServiceError) as caught:
        matched_rows({"error": f"Prediction failed: CUDA out of memory at '{SECRET}'"}, 3, ASKED)
    assert "CUDA out of memory" in caught.value.message
    assert_tells_nothing(caught.value)


def test_an_error_of_one_row_is_that_rows_alone() -> None:
    first, second, third = match(
        [0, {"outputs": "a"}], [1, {"error": f"too long: {SECRET}"}], [2, {"outputs": "c"}]
    )
    assert (first, third) == ({"outputs": "a"}, {"outputs": "c"})
    assert isinstance(second, SpcsError)
    assert "too long" in second.message
    assert_tells_nothing(second)


def test_the_output_column_is_found_by_its_name_or_as_the_only_one() -> None:
    assert output_column({"outputs": 1, "other": 2}, "outputs") == 1
    assert output_column({"b": 2, "a": 1}, "a", "b") == 1
    assert output_column({"prediction": 1, "_ID": "k"}, "outputs") == 1
    assert output_column("bare", "outputs") == "bare"


@pytest.mark.parametrize("content", [{}, {"a": 1, "b": 2}, {"_ID": 3}])
def test_columns_that_do_not_tell_which_is_the_output_are_an_error(content: Any) -> None:
    with pytest.raises(ModelError, match="columns"):
        output_column(content, "outputs")
