"""Snowflake's rows: whatever comes is read or refused in a sentence, and what is written can be read."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytest.importorskip("hypothesis", reason="a development package")

from hypothesis import given
from hypothesis import strategies as st

from batch_gateway.rows import BadBatch, Row, read_rows, write_rows
from batch_gateway.tasks import _encoded

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.exhaustive
@given(st.lists(st.tuples(JSON, JSON), max_size=6))
def test_rows_are_read_as_they_were_sent(arguments: list[tuple[Any, Any]]) -> None:
    body = json.dumps({"data": [[i, *each] for i, each in enumerate(arguments)]}).encode()
    assert read_rows(body, 2) == [Row(i, each) for i, each in enumerate(arguments)]


@pytest.mark.exhaustive
@given(
    st.binary()
    | JSON.map(lambda value: json.dumps(value).encode())
    | JSON.map(lambda value: json.dumps({"data": value}).encode())
)
def test_anything_else_is_refused_in_a_sentence_that_quotes_nothing(body: bytes) -> None:
    try:
        rows = read_rows(body, 2)
    except BadBatch as problem:
        assert str(problem).endswith((".", "}."))
    else:
        assert all(isinstance(row.number, int) for row in rows)


@pytest.mark.parametrize(
    ("written", "argument"),
    [
        ("[1,undefined]", [1, None]),
        ("[\n  undefined,\n  undefined\n]", [None, None]),
        ('["undefined", undefined, "[undefined,"]', ["undefined", None, "[undefined,"]),
        (r'["a\"undefined\"", undefined, "\\", undefined]', ['a"undefined"', None, "\\", None]),
        ('[{"content": "undefined"}, undefined]', [{"content": "undefined"}, None]),
    ],
)
def test_null_in_an_array_is_null_however_snowflake_writes_it(written: str, argument: Any) -> None:
    """snowflakedb/snowflake-connector-python#1388: ARRAY_CONSTRUCT(1, NULL) is written as [1, undefined]."""
    (row,) = read_rows(f'{{"data": [[0, {written}]]}}'.encode(), 2)
    assert row == Row(0, (argument,))


@pytest.mark.parametrize(
    "body", [b'{"data": [[0, undefinedly]]}', b'{"data": [[0, undefined]}', b"undefined"]
)
def test_what_is_no_json_with_it_either_is_refused(body: bytes) -> None:
    with pytest.raises(BadBatch):
        read_rows(body, 2)


@pytest.mark.exhaustive
@given(st.lists(st.dictionaries(st.text(), JSON, max_size=3), max_size=5))
def test_what_is_written_is_json_in_utf_8_with_the_same_numbers(values: list[dict[str, Any]]) -> None:
    rows = [Row(10 - place, ("x",)) for place in range(len(values))]
    body = write_rows(rows, [_encoded(value) for value in values])
    data = json.loads(body.decode("utf-8"))["data"]
    assert [number for number, _ in data] == [row.number for row in rows]
    assert [value for _, value in data] == [json.loads(_encoded(value)) for value in values]


@given(st.text(st.characters(categories=["Cs"]), min_size=1, max_size=4))
def test_halves_of_characters_are_replaced(text: str) -> None:
    assert json.loads(_encoded({"answer": text}).decode("utf-8"))


def test_no_repr_has_a_cell() -> None:
    assert "secret" not in repr(Row(0, ("secret",)))
