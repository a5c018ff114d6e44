"""What the arguments of a row mean: what a function is given instead of what it takes is one row's error."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from batch_gateway.engine import Engine
from batch_gateway.rows import Row
from batch_gateway.settings import read_settings
from batch_gateway.tasks import Answer


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """One whose model server is away."""
    made = Engine(read_settings({"LLM_ENDPOINT_URL": "http://127.0.0.1:9", "COLD_START_WAIT": "0"}))
    yield made
    made.close()


def ask(engine: Engine, path: str, argument: Any) -> tuple[str, Answer]:
    (answer,) = engine.tasks[path].ask([Row(0, (argument,))])
    return json.loads(answer.value)["error"], answer


@pytest.mark.parametrize("argument", [{"role": "user", "content": "x"}, [], 5, None, "5", "{}"])
def test_messages_that_are_no_array_are_told_what_to_give(engine: Engine, argument: Any) -> None:
    """Snowflake documentation, data formats of external functions: a VARIANT is whatever JSON it is."""
    error, answer = ask(engine, "/chat", argument)
    assert "ARRAY" in error
    assert not answer.is_outage


@pytest.mark.parametrize("argument", [{"a": 1}, ["x"], [{"text": "x"}]])
def test_a_prompt_of_a_variant_that_is_no_text_is_told(engine: Engine, argument: Any) -> None:
    error, answer = ask(engine, "/complete", argument)
    assert "prompt" in error
    assert "TO_VARCHAR" in error
    assert not answer.is_outage


@pytest.mark.parametrize("path", ["/complete", "/embed"])
def test_a_model_server_that_is_not_there_yet_is_told_in_words_for_a_container(
    engine: Engine, path: str
) -> None:
    """A model is loaded for minutes, in which nobody listens: nobody has to look for DSS, a firewall or a proxy."""
    error, answer = ask(engine, path, "hello")
    assert answer.is_outage
    assert "DSS" not in error and "firewall" not in error
    assert "starting" in error


def test_a_null_among_the_messages_is_told_by_its_row(engine: Engine) -> None:
    """One row in which a prompt of the system is NULL fails no other row."""
    for messages in ([None, {"role": "user", "content": "x"}], '[undefined,{"role":"user","content":"x"}]'):
        error, answer = ask(engine, "/chat", messages)
        assert "message" in error.lower()
        assert "JSON" not in error
        assert not answer.is_outage
