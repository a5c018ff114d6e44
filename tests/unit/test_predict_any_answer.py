"""Whatever JSON a service answers with, what comes of it is an answer or an error of ours that quotes nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from spcs_llm.domain import ChatAnswer, Embedding, JsonFormat
from spcs_llm.errors import SpcsError
from spcs_llm.protocols.inference_server.model_serving import ModelServingProtocol
from spcs_llm.protocols.inference_server.predict import PredictProtocol
from tests.unit.protocol_rows import SECRET, assert_tells_nothing, call, template, user
from tests.unit.scripted_endpoint import ScriptedEndpoint

COLUMNS = ["data", "outputs", "output", "generated_text", "choices", "usage", "model", "error", "_ID"]
FIELDS = ["message", "content", "role", "text", "index", "finish_reason", "completion_tokens"]
KEYS = st.sampled_from([*COLUMNS, *FIELDS])
TEXTS = st.sampled_from(
    [
        "",
        "hi",
        "[]",
        "{",
        "[{'generated_text': ",
        "[nan]",
        "[1, 2]",
        "(1,",
        '"x"',
        "null",
        "0",
        "\u00b2",
        SECRET,
    ]
)
NUMBERS = st.one_of(st.integers(-3, 3), st.floats(), st.just(10**400))
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=12,
)
CHOICES = st.lists(st.fixed_dictionaries({"message": st.fixed_dictionaries({"content": VALUES})}), max_size=2)
COMPLETIONS = st.fixed_dictionaries(
    {"choices": CHOICES, "usage": st.dictionaries(st.just("completion_tokens"), SCALARS)}
)
INDEXES = st.one_of(st.integers(-1, 3), st.none(), TEXTS, st.floats())
CONTENTS = st.one_of(VALUES, COMPLETIONS)
ROWS = st.lists(st.one_of(VALUES, st.tuples(INDEXES, CONTENTS).map(list)), max_size=3)
WHOLE = st.tuples(CONTENTS, CONTENTS).map(lambda contents: [[0, contents[0]], [1, contents[1]]])
BODIES = st.one_of(VALUES, st.one_of(ROWS, WHOLE).map(lambda rows: {"data": rows}))
PROTOCOLS = (PredictProtocol, ModelServingProtocol)


def outcome(ask: Any) -> list[Any]:
    try:
        return list(ask())
    except SpcsError as error:
        return [error]


@pytest.mark.exhaustive
@pytest.mark.parametrize("protocol", PROTOCOLS)
@given(body=BODIES)
@settings(max_examples=300)
def test_of_any_json_comes_an_answer_or_an_error_of_ours(protocol: Any, body: Any) -> None:
    wanted = user(f"I tell you that {SECRET}", json_format=JsonFormat(if_supported=True))
    made = protocol(ScriptedEndpoint(body), template=template("CHATML"))
    for row in outcome(lambda: made.chat_rows([wanted, wanted], call())):
        assert isinstance(row, (ChatAnswer, SpcsError))
        assert_tells_nothing_of_it(row)
    for row in outcome(lambda: made.embed([SECRET, SECRET], call())):
        assert isinstance(row, (Embedding, SpcsError))
        assert_tells_nothing_of_it(row)


def assert_tells_nothing_of_it(row: Any) -> None:
    if isinstance(row, SpcsError):
        assert_tells_nothing(row)
    else:
        assert SECRET not in repr(row)


@pytest.mark.sample(2)
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("written", [json.dumps, str])
@given(text=st.text())
def test_a_text_comes_back_to_the_letter(protocol: Any, written: Any, text: str) -> None:
    """Apart from blanks at both ends, and from where the chat format ends an answer."""
    falcon = template("FALCON")
    assume(not any(stop in text for stop in falcon.stop_strings))
    output = written([{"generated_text": text}])
    made = protocol(ScriptedEndpoint({"data": [[0, {"outputs": output}]]}), template=falcon)
    (answer,) = made.chat_rows([user()], call())
    assert answer.text == text.strip()
