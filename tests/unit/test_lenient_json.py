"""Values that are written almost as JSON: read where they are clear, refused where they are not, at a bounded price."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spcs_llm.lenient_json import read_leniently
from spcs_llm.tool_arguments import arguments_object, arguments_text

TEXTS = st.text(st.characters(codec="utf-8"))
SCALARS = st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False) | TEXTS
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_what_python_writes_is_read_back(value: Any) -> None:
    assert read_leniently(repr(value))[0] == value


@given(VALUES, st.booleans())
def test_what_json_writes_is_read_back(value: Any, ascii_only: bool) -> None:
    assert read_leniently(json.dumps(value, ensure_ascii=ascii_only, indent=1))[0] == value


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("[1, 2,]", [1, 2]),
        ("{'a': (1,), }", {"a": [1]}),
        ("[-inf, Infinity, -2.5e-3, +1]", [-math.inf, math.inf, -0.0025, 1]),
        (r"'it\'s \x41\u00e9\101'", "it's AéA"),
        (r'"\ud83d\ude00 \ud83d"', "\U0001f600 �"),
        ('"a\nb"', "a\nb"),
    ],
)
def test_looser_forms_are_read(written: str, value: Any) -> None:
    assert read_leniently(written)[0] == value


@pytest.mark.parametrize(
    "written",
    ["", "[", "{", "[1", "[1 2]", "[,]", "{,}", "{1: 2}", "{'a'}", "{'a': }", "'a", "a.a", "[1+1]", "__import__",
     "[nope]", "1.2.3", "]", "[)", "f('x')", "9" * 1000],
)  # fmt: skip
def test_what_is_no_value_is_refused(written: str) -> None:
    with pytest.raises(ValueError):
        read_leniently(written)


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    "bomb",
    [
        "[" * 200_000, "[" * 200_000 + "]" * 200_000, "{'a':" * 100_000, "[" + "1," * 1_000_000 + "1]",
        "[" + "1+" * 200_000, "[" + "a." * 200_000 + "a]", "'" + "\\" * 400_000, "[" + "nan," * 400_000,
    ],
    ids=lambda bomb: bomb[:6],
)  # fmt: skip
def test_bombs_are_refused(bomb: str) -> None:
    with pytest.raises(ValueError):
        read_leniently(bomb)


@given(st.text(alphabet="[]{}(),:'\"\\ \n\tnaNulTrueF0123456789.eE+-", max_size=60))
def test_any_text_is_a_value_or_refused(text: str) -> None:
    try:
        _, end = read_leniently(text)
    except ValueError:
        return
    assert 0 < end <= len(text)


@pytest.mark.parametrize("nothing", [None, "", "  ", "null", "[]", [], '""', "None"])
def test_no_arguments_are_an_empty_object(nothing: Any) -> None:
    assert arguments_text(nothing) == "{}"


@pytest.mark.parametrize(
    ("written", "arguments"),
    [
        ('{"path": "a",}', {"path": "a"}),
        ("{'path': 'a', 'mode': None}", {"path": "a", "mode": None}),
        ('```json\n{"path": "a"}\n```', {"path": "a"}),
        ('{"path": "a"}}', {"path": "a"}),
        ('{"path": "a"} This writes the file.', {"path": "a"}),
        ('{"sql": "SELECT *\n\tFROM t"}', {"sql": "SELECT *\n\tFROM t"}),
        ('"{\\"text\\": \\"x\\"}"', {"text": "x"}),
        ('{"a": NaN, "b": [1e999]}', {"a": None, "b": [None]}),
        ('{"a": "\\ud83d"}', {"a": "�"}),
        ('{"a": "\ud83d\ude00"}', {"a": "\U0001f600"}),
    ],
)
def test_arguments_that_are_not_quite_json_are_read(written: str, arguments: Any) -> None:
    text = arguments_text(written)
    assert json.loads(text) == arguments
    assert text.encode()


@pytest.mark.parametrize(
    "written",
    [
        '[{"path": "a"}]',
        '{"a": 1}{"b": ',
        '{"a": "get("b")"}',
        "12",
        "true",
        '{"a": "b',
        "rm -rf",
        "{" * 9999,
    ],
)
def test_arguments_that_would_have_to_be_guessed_are_handed_on_as_they_are(written: str) -> None:
    assert arguments_object(written) is None
    assert json.loads(arguments_text(written)) == {"invalid_arguments": written}


@given(st.dictionaries(TEXTS, VALUES, max_size=4))
def test_a_json_object_stays_as_it_is_written(value: dict[str, Any]) -> None:
    for written in (json.dumps(value, ensure_ascii=False), json.dumps(value, ensure_ascii=False, indent=2)):
        finite = "Infinity" not in written
        assert not finite or arguments_text(written) == written
        assert isinstance(json.loads(arguments_text(written)), dict)


@given(st.text())
def test_whatever_comes_what_goes_out_is_a_json_object(text: str) -> None:
    handed_on = arguments_text(text)
    assert isinstance(json.loads(handed_on), dict)
    assert handed_on.encode()
