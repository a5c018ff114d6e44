"""Settings of a query that have no effect are named: in the trace of each, and once in the log, for what they are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Callable

import pytest

from sandbox.services.scripted_service import ScriptedService
from spcs_llm.model import Model
from tests.integration.test_model_without_sign_in import model_at
from tests.integration.vllm_like import VllmLike, said

CHAT = {"messages": [{"role": "user", "content": "x"}]}
RANKING = {"query": "q", "documents": [{"content": "d"}]}
ASKS: dict[str, Callable[[Model, Any, Any], Any]] = {
    "chat": lambda model, settings, trace: model.complete(CHAT, settings, trace),
    "stream": lambda model, settings, trace: list(model.stream(CHAT, settings, trace)),
    "embed": lambda model, settings, trace: model.embed({"text": "a"}, settings, trace),
    "embed several": lambda model, settings, trace: model.embed(
        {"queries": [{"text": "a"}]}, settings, trace
    ),
    "rerank": lambda model, settings, trace: model.rerank(RANKING, settings, trace),
}


class Trace:
    def __init__(self) -> None:
        self.attributes: dict[str, Any] = {}

    def append_trace(self, span: Any) -> None: ...


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    service = ScriptedService("OPENAI")
    yield service.url
    service.stop()


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [line for line in caplog.messages if "settings of queries" in line]


@pytest.mark.parametrize("kind", ASKS)
def test_what_the_plugin_does_not_know_is_named_for_every_kind_of_query(
    kind: str, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = model_at(url)
    for _ in range(2):
        trace = Trace()
        ASKS[kind](model, {"foo": 1, "empty": None, "context": {"a": 1}, "guardrails": {"b": 1}}, trace)
        assert trace.attributes["ignoredSettings"] == ["foo"]
    assert logged(caplog) == [
        "The plugin does not know these settings of queries, and does not send them: foo"
    ]
    nothings: list[Any] = [{}, None, [], {"textOverflowMode": "FAIL"} if kind.startswith("embed") else {}]
    for nothing in nothings:
        trace = Trace()
        ASKS[kind](model, nothing, trace)
        assert "ignoredSettings" not in trace.attributes


def test_a_row_of_a_table_is_told_of_in_the_log(url: str, caplog: pytest.LogCaptureFixture) -> None:
    model_at(url).embed_rows(["a"], {"foo": 1})
    assert len(logged(caplog)) == 1


def test_a_setting_that_was_sent_is_not_said_to_be_one_that_cannot_be(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = VllmLike(said("no numbers"))
    trace = Trace()
    try:
        model_at(server.url).complete(CHAT, {"logProbs": True, "foo": 1}, trace)
    finally:
        server.stop()
    assert server.asked[0]["logprobs"] is True
    assert trace.attributes["ignoredSettings"] == ["foo", "logProbs"]
    assert logged(caplog) == [
        "The service at 127.0.0.1 was not given these settings of queries, or did not obey them: logProbs",
        "The plugin does not know these settings of queries, and does not send them: foo",
    ]
