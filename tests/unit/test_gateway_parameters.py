"""The names of a row's parameters, and what becomes of them."""

from __future__ import annotations

from typing import Any

import pytest

from batch_gateway.parameters import chat_settings, embedding_settings
from spcs_llm.errors import QueryError

SCHEMA = {"type": "object"}
OF_SCHEMA = {"responseFormat": {"type": "json", "schema": SCHEMA}}
LIMITED = {"maxOutputTokens": 5, "topP": 0.5, "stopSequences": ["a"]}


@pytest.mark.parametrize(
    ("parameters", "settings"),
    [
        (None, {}),
        ("", {}),
        (" \n", {}),
        ("null", {}),
        ({}, {}),
        ("{}", {}),
        ({"max_tokens": 5, "top_p": 0.5, "stop": ["a"]}, LIMITED),
        (LIMITED, LIMITED),
        ({"max_completion_tokens": 5, "seed": None}, {"maxOutputTokens": 5}),
        ('{"temperature": 0.1}', {"temperature": 0.1}),
        ({"jsonSchema": SCHEMA}, OF_SCHEMA),
        ({"response_format": {"type": "json", "schema": SCHEMA}}, OF_SCHEMA),
        ({"response_format": {"type": "json_object"}}, {"responseFormat": {"type": "json"}}),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA, "strict": True}}},
            {"responseFormat": {"type": "json", "schema": SCHEMA, "strict": True}},
        ),
    ],
    ids=lambda value: repr(value)[:50],
)  # fmt: skip
def test_parameters_become_settings_of_llm_mesh(parameters: Any, settings: dict[str, Any]) -> None:
    assert chat_settings(parameters) == settings


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"maxTokens": 5}, "'maxTokens', which is not known"),
        ({"logProbs": True}, "'logProbs'"),
        ({"max_tokens": 5, "maxOutputTokens": 6}, "maxOutputTokens twice"),
        ([], "not an object"),
        (5, "not an object"),
        ("temperature", "not an object"),
        ('["temperature"]', "not an object"),
    ],
    ids=repr,
)
def test_what_cannot_be_meant_is_refused(parameters: Any, words: str) -> None:
    with pytest.raises(QueryError, match=words):
        chat_settings(parameters)


def test_embeddings_take_what_concerns_them() -> None:
    assert embedding_settings({"textOverflowMode": "TRUNCATE"}) == {"textOverflowMode": "TRUNCATE"}
    with pytest.raises(QueryError, match="'temperature'"):
        embedding_settings({"temperature": 1})
