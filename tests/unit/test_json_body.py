"""The JSON of a response, within bounds."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

import pytest

from spcs_llm.errors import ModelError
from spcs_llm.http.json_body import parse_json

MEGABYTE = 1 << 20


@pytest.mark.parametrize(
    "body",
    [
        lambda: b"[" + b"[]," * 600_000 + b"[]]",
        lambda: b"[" + b"{}," * 600_000 + b"{}]",
        lambda: b"{" + b",".join(b'"%d":1' % number for number in range(600_000)) + b"}",
        lambda: b"[" + b"1," * 8_100_000 + b"1]",
    ],
    ids=["lists", "objects", "keys", "numbers"],
)
def test_a_body_of_too_many_parts_is_refused_before_it_takes_memory(body: Callable[[], bytes]) -> None:
    with pytest.raises(ModelError, match="more parts than an answer can have"):
        parse_json(body())


def test_large_embeddings_are_read() -> None:
    vectors = [[0.123456789] * 4096] * 64
    assert parse_json(json.dumps(vectors).encode()) == vectors


def test_a_long_text_of_code_is_read() -> None:
    text = "def f(x): return {x: [1, 2, 3]}\n" * 40_000
    assert len(text) > MEGABYTE
    assert parse_json(json.dumps({"text": text}).encode()) == {"text": text}


def test_a_number_of_too_many_digits_is_refused_on_every_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(sys, "get_int_max_str_digits", raising=False)
    with pytest.raises(ModelError, match="no valid JSON"):
        parse_json(b"[" + b"9" * 100_000 + b"]")
    assert parse_json(b"[" + b"1," * 5_000 + b"1]") == [1] * 5_001


def test_what_is_there_instead_is_said_without_quoting_it() -> None:
    for body, problem in [
        (b"", "an empty body"),
        (b"secret", "no valid JSON"),
        (b"\xff", "UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
    ]:
        with pytest.raises(ModelError, match=problem) as raised:
            parse_json(body)
        assert "secret" not in str(raised.value)
