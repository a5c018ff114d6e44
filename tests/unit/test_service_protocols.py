"""The contract of `protocols/base.py`, held by every registered protocol and by a toy that this module registers."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spcs_llm.connections import Connections
from spcs_llm.domain import (
    ChatAnswer,
    ChatDelta,
    ChatEnd,
    ChatRequest,
    ImagePart,
    JsonFormat,
    Message,
    TextPart,
    Tool,
    ToolCall,
    ToolResult,
)
from spcs_llm.errors import QueryError, SettingsError, SpcsError
from spcs_llm.model import Model
from spcs_llm.protocol_choices import AUTOMATIC, PROTOCOLS, Capabilities
from spcs_llm.protocols.base import ServiceProtocol, pieces_of
from spcs_llm.protocols.registry import protocol_class, protocol_for
from spcs_llm.query_context import QueryContext
from spcs_llm.settings import ProtocolSettings, read_settings
from tests.unit.toy_protocol import TOY
from tests.unit.toy_service import ToyService

ROOT = Path(__file__).parents[2]
NAMES = [*PROTOCOLS, "TOY"]
KINDS = {"chats": "chat", "embeds": "embed", "reranks": "rerank"}
HELLO = ChatRequest((Message("user", (TextPart("hello"),)),))


@pytest.fixture(autouse=True)
def _toy_is_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROTOCOLS, "TOY", TOY)


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class NothingIsSent:
    """An endpoint that no contract test may reach."""

    def __getattr__(self, used: str) -> Any:
        raise AssertionError(f"the protocol uses the endpoint ({used}) before it refuses")


def protocol(name: str) -> ServiceProtocol:
    return protocol_for(ProtocolSettings(name), NothingIsSent())  # type: ignore[arg-type]


def context() -> QueryContext:
    return QueryContext(10)


# -- what a protocol is -------------------------------------------------------------------------------------


def test_a_protocol_is_loaded_from_its_line_and_made_from_settings(name: str) -> None:
    made = protocol(name)
    assert type(made) is protocol_class(name)
    assert isinstance(made, ServiceProtocol)
    assert made.capabilities is PROTOCOLS[name].capabilities
    assert made.capabilities.parallelism >= 1
    assert PROTOCOLS[name].title


def test_no_protocol_is_imported_before_it_is_used() -> None:
    script = "import sys; sys.path.insert(0, 'python-lib'); import spcs_llm.model; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "spcs_llm.protocols.registry" in done.stdout.split()
    places = {protocol.place.partition(":")[0] for protocol in PROTOCOLS.values()}
    assert not places & set(done.stdout.split())


def test_capabilities_are_those_of_the_methods_that_are_written(name: str) -> None:
    made = type(protocol(name))

    def is_written(method: str) -> bool:
        return getattr(made, method) is not getattr(ServiceProtocol, method)

    can = made.capabilities
    assert is_written("of")
    if is_written("resolved"):
        return  # it finds out what is spoken, and may turn out to be any of the others
    assert set(made.paths(ProtocolSettings(name))) == {
        method for capability, method in KINDS.items() if getattr(can, capability)
    }
    assert (is_written("chat") or is_written("chat_rows")) == can.chats
    assert is_written("chat_rows") == can.batches_chat
    assert is_written("stream") == can.streams
    assert is_written("embed") == can.embeds
    assert is_written("rerank") == can.reranks


def test_methods_take_what_the_contract_says(name: str) -> None:
    made = type(protocol(name))
    for method in (
        "of",
        "paths",
        "is_spoken",
        "has_a_path",
        "resolved",
        "explained",
        "check",
        "chat",
        "chat_rows",
        "stream",
        "embed",
        "rerank",
    ):
        expected = list(inspect.signature(getattr(ServiceProtocol, method)).parameters)
        assert list(inspect.signature(getattr(made, method)).parameters) == expected, method


# -- what a protocol refuses --------------------------------------------------------------------------------

REQUESTS: dict[str, list[ChatRequest]] = {
    "tools": [
        ChatRequest(HELLO.messages, tools=(Tool("now"),)),
        ChatRequest((*HELLO.messages, Message("assistant", tool_calls=(ToolCall("1", "now", "{}"),)))),
        ChatRequest((*HELLO.messages, Message("tool", tool_results=(ToolResult("1", "noon"),)))),
    ],
    "images": [ChatRequest((Message("user", (ImagePart("aGk="),)),))],
    "json_output": [ChatRequest(HELLO.messages, json_format=JsonFormat())],
}


@pytest.mark.parametrize("capability", REQUESTS)
def test_what_a_protocol_cannot_carry_is_refused_before_anything_is_sent(name: str, capability: str) -> None:
    made = protocol(name)
    for request in REQUESTS[capability]:
        if getattr(made.capabilities, capability):
            made.check(request)
        else:
            with pytest.raises(QueryError) as raised:
                made.check(request)
            assert _titles_with(capability) & _titles_in(raised.value.hint)


def test_a_plain_chat_is_refused_by_none(name: str) -> None:
    protocol(name).check(HELLO)


@pytest.mark.parametrize(("capability", "method"), KINDS.items())
def test_a_kind_that_a_protocol_has_not_is_refused_in_a_sentence(
    name: str, capability: str, method: str
) -> None:
    made = protocol(name)
    if getattr(made.capabilities, capability):
        return
    asks: dict[str, Callable[[], Any]] = {
        "chat": lambda: made.chat(HELLO, context()),
        "embed": lambda: made.embed(["a"], context()),
        "rerank": lambda: made.rerank("a", ["b"], context()),
    }
    with pytest.raises(SettingsError, match="'Service protocol' has no ") as raised:
        asks[method]()
    assert _titles_with(capability) == _titles_in(raised.value.hint)


class Silent(ServiceProtocol):
    """Declares nothing and writes nothing."""

    capabilities = Capabilities(chats=False, embeds=False)


def test_what_is_not_written_refuses() -> None:
    for ask in (
        lambda: Silent().chat(HELLO, context()),
        lambda: list(Silent().stream(HELLO, context())),
        lambda: Silent().chat_rows([HELLO], context()),
        lambda: Silent().embed(["a"], context()),
        lambda: Silent().rerank("a", ["b"], context()),
    ):
        with pytest.raises(SettingsError, match="'Service protocol' has no "):
            ask()


def _titles_with(capability: str) -> set[str]:
    return {
        each.title
        for name, each in PROTOCOLS.items()
        if name != AUTOMATIC and getattr(protocol_class(name).capabilities, capability)
    }


def _titles_in(hint: str) -> set[str]:
    return {each.title for each in PROTOCOLS.values() if each.title in hint}


# -- defaults -----------------------------------------------------------------------------------------------


class Answers(ServiceProtocol):
    capabilities = Capabilities(batches_chat=True)

    def __init__(self, row: ChatAnswer | SpcsError) -> None:
        self.row = row

    def chat_rows(self, requests: Any, context: QueryContext) -> list[ChatAnswer | SpcsError]:
        return [self.row] * len(requests)


def test_a_chat_is_a_batch_of_one() -> None:
    answer = ChatAnswer("hi")
    assert Answers(answer).chat(HELLO, context()) is answer
    with pytest.raises(QueryError, match="too odd"):
        Answers(QueryError("too odd")).chat(HELLO, context())


def test_a_stream_is_the_whole_answer_in_one_delta() -> None:
    answer = ChatAnswer("hi", "stop", tool_calls=(ToolCall("1", "now", "{}"),), reasoning="hm", model="m")
    delta, end = Answers(answer).stream(HELLO, context())
    assert isinstance(delta, ChatDelta)
    assert (delta.text, delta.reasoning, delta.tool_calls[0].name) == ("hi", "hm", "now")
    assert end == ChatEnd("stop", answer.usage, (), "m")
    assert [delta, end] == list(pieces_of(answer))


# -- one file, one line, one choice -------------------------------------------------------------------------


def test_a_registered_protocol_is_all_that_a_model_needs() -> None:
    with ToyService() as service:
        model = Model(service.config(), connections=Connections())
        question = {"messages": [{"role": "user", "content": "hello"}]}
        assert model.complete(question, {}, None)["text"] == "HELLO"
        chunks = list(model.stream(question, {}, None))
        assert [each["chunk"]["text"] for each in chunks if "chunk" in each] == ["HELLO"]
        assert model.embed({"text": "abc."}, {}, None)["embedding"] == [4.0]
        with pytest.raises(SettingsError, match="has no reranking"):
            model.rerank({"query": "a", "documents": [{"content": "b"}]}, {}, None)
        image = {"role": "user", "parts": [{"type": "IMAGE_INLINE", "inlineImage": "aGk="}]}
        with pytest.raises(QueryError, match="image"):
            model.complete({"messages": [image]}, {}, None)


def test_the_settings_know_a_registered_protocol() -> None:
    with ToyService() as service:
        config = service.config()
    assert read_settings(config).protocol == ProtocolSettings("TOY")
    with pytest.raises(SettingsError, match=r"must be one of AUTOMATIC, PREDICT, .*, TOY"):
        read_settings({**config, "serviceProtocol": "TOYS"})
