"""Users' texts are kept out of what servers quote."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spcs_llm.redaction import without_private_text

PROMPT = "My name is Ada Lovelace, born 10 Dec 1815"


def chat(text: object, **parameters: object) -> dict[str, object]:
    return {"model": "llama-3.1-8b", "messages": [{"role": "user", "content": text}], **parameters}


def test_a_quoted_text_is_masked() -> None:
    assert without_private_text(f"Cannot parse '{PROMPT}' here", chat(PROMPT)) == "Cannot parse '…' here"


def test_a_part_of_a_text_is_masked() -> None:
    assert without_private_text("at: Ada Lovelace!", chat(PROMPT)) == "at:…!"


def test_several_stretches_are_masked_each() -> None:
    message = "first: Ada Lovelace; then: 10 Dec 1815."
    assert without_private_text(message, chat(PROMPT)) == "first:…; then:…."


def test_names_of_parameters_and_models_may_be_quoted() -> None:
    message = "model llama-3.1-8b: unknown role assistant in messages, use json_schema"
    payload = chat("hi there, you", response_format={"type": "json_schema"})
    assert without_private_text(message, payload) == message


def test_names_of_columns_may_be_quoted() -> None:
    payload = {"dataframe_split": {"columns": ["user_question"], "data": [[PROMPT]]}}
    assert without_private_text(f"no user_question in {PROMPT}", payload) == "no user_question in …"


@pytest.mark.parametrize(
    "payload",
    [
        chat([{"type": "text", "text": PROMPT}]),
        chat("", tools=[{"type": "function", "function": {"name": "f", "description": PROMPT}}]),
        {"data": [[0, {"inputs": PROMPT}]]},
        {"dataframe_split": {"index": [0], "columns": ["input"], "data": [[PROMPT]]}},
        {"model": "e5", "input": [PROMPT]},
        {"model": "e5", "input": PROMPT},
        {"model": "r", "query": PROMPT, "documents": ["a"]},
        {"model": "r", "query": "a", "documents": (PROMPT,)},
    ],
    ids=lambda payload: json.dumps(payload)[:40],
)
def test_texts_are_found_wherever_protocols_put_them(payload: object) -> None:
    assert "Lovelace" not in without_private_text(f"bad: {PROMPT}", payload)


@pytest.mark.parametrize(
    "text",
    [
        "sécurité à Zürich\tmaintenant",
        "身份证号码是一二三四五六七八",
        'he said "no" loudly',
        'it\'s "no" again',  # in Python, only with a backslash
        "a\xa0b\u200bc\x9fd\u2028e\u2029f\u200bg\xa0h",  # and these, which repr alone escapes
    ],
)
@pytest.mark.parametrize(
    "quote",
    [str, json.dumps, lambda text: json.dumps(json.dumps(text)[1:-1]), repr],
    ids=["plain", "JSON", "JSON in JSON", "Python"],
)
def test_texts_quoted_with_escapes_are_masked(text: str, quote: object) -> None:
    assert callable(quote)
    assert without_private_text(f"<{quote(text)}>", chat(text)).strip("<>…'\"") == ""


@pytest.mark.parametrize("payload", [None, [], "text", {}, chat("short"), {"messages": None}])
def test_without_a_text_of_some_length_the_message_stays(payload: object) -> None:
    assert without_private_text("It failed: short", payload) == "It failed: short"


@given(st.text(min_size=8, max_size=60), st.text(max_size=20), st.text(max_size=20))
def test_no_eight_characters_of_a_text_survive(text: str, before: str, after: str) -> None:
    shown = without_private_text(before + text + after, chat(text))
    assert not any(text[at : at + 8] in shown for at in range(len(text) - 7) if "…" not in text[at : at + 8])


def test_an_image_of_megabytes_does_not_hold_up_the_error() -> None:
    image = "data:image/png;base64," + "iVBORw0KGgo" * 2_000_000
    payload = chat([{"type": "image_url", "image_url": {"url": image}}])
    began = time.process_time()
    shown = without_private_text(f"cannot decode {image[:80]} {'of the request ' * 20}", payload)
    assert time.process_time() - began < 0.5
    assert "iVBORw0K" not in shown
