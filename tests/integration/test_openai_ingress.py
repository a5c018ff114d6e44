"""The OpenAI protocol through the ingress, whose rules and faults are those that bite."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sandbox.services import ScriptedService
from sandbox.services.scripted import answer_to, vector_of
from sandbox.snowflake import Snowflake
from spcs_llm.domain import ChatDelta, ChatEnd, Message, Sampling, TextPart, Tool, ToolChoice
from spcs_llm.errors import ModelError, NetworkError, SpcsError
from spcs_llm.query_context import QueryContext
from tests.integration.openai_client import Client, asking, client_for
from tests.waiting import FAR_TOO_LONG, wait_for

Start = Callable[..., Client]


@pytest.fixture
def sf() -> Iterator[Snowflake]:
    with Snowflake() as snowflake:
        yield snowflake


@pytest.fixture
def start(sf: Snowflake) -> Start:
    """Starts a scripted service "llm" behind the ingress; returns the client for it."""
    token = f'Snowflake Token="{sf.create_pat()}"'

    def start(
        *,
        idle_seconds: float = 20,
        ingress_idle_seconds: float = 90,
        model: str | None = None,
        **options: Any,
    ) -> Client:
        headers = {"Authorization": token}
        if "api_key" in options:
            headers = {"Authorization": f"Bearer {options['api_key']}", "X-SF-SPCS-Authorization": token}
        llm = sf.create_service("llm", "scripted", "OPENAI", idle_seconds=ingress_idle_seconds, **options)
        return client_for(llm.url, headers, idle_seconds=idle_seconds, model=model)

    return start


def chat(client: Client, text: str = "hi", seconds: float = 20, **request: Any) -> str:
    return client.protocol.chat(asking(text, **request), QueryContext(seconds)).text


def test_bytes_that_flow_keep_the_ingress_from_cutting(start: Start) -> None:
    client = start(tokens=8, token_seconds=0.2, ingress_idle_seconds=0.8)
    began = time.monotonic()
    assert chat(client) == answer_to("hi", 8)
    assert time.monotonic() - began > 0.8, "longer than the ingress bears silence"


@pytest.mark.parametrize("way", ["yes", "ignored", "refused"])
def test_whether_a_server_streams_does_not_matter(start: Start, way: str) -> None:
    client = start(stream=way, tokens=4)
    for text in ("one", "two"):
        assert chat(client, text) == answer_to(text, 4)
        *deltas, end = client.protocol.stream(asking(text), QueryContext(20))
        assert "".join(delta.text for delta in deltas) == answer_to(text, 4)
        assert end.usage.completion_tokens == 4


@pytest.mark.parametrize("options", [{"usage_chunk": False}, {"done_marker": False}])
def test_a_stream_without_usage_or_end_marker_is_an_answer(start: Start, options: dict[str, Any]) -> None:
    answer = start(**options).protocol.chat(asking("hi"), QueryContext(20))
    assert answer.text == answer_to("hi")
    assert (answer.usage.total_tokens is None) == ("usage_chunk" in options)


def test_the_first_delta_comes_long_before_the_last(sf: Snowflake, start: Start) -> None:
    """The first is there while the server still has more to say than the query has time; then it says it all."""
    client = start(tokens=2000, token_seconds=0.05)
    pieces = client.protocol.stream(asking("hi"), QueryContext(60))
    assert isinstance(next(pieces), ChatDelta)
    scripted = sf.service("llm").service
    assert isinstance(scripted, ScriptedService)
    scripted.model.token_seconds = 0.0
    *_, end = pieces
    assert isinstance(end, ChatEnd)


def test_tool_calls_come_streamed_and_whole(start: Start) -> None:
    client = start()
    request = {"tools": (Tool("look_up"),), "tool_choice": ToolChoice("tool", "look_up")}
    answer = client.protocol.chat(asking("hi", **request), QueryContext(20))
    assert [(c.name, c.arguments) for c in answer.tool_calls] == [("look_up", '{"text": "hi"}')]
    assert answer.finish_reason == "tool_calls"
    *deltas, _ = client.protocol.stream(asking("hi", **request), QueryContext(20))
    assert [piece.name for d in deltas for piece in d.tool_calls] == ["look_up", None]
    assert "".join(piece.arguments for d in deltas for piece in d.tool_calls) == '{"text": "hi"}'


def test_abandoning_a_stream_ends_the_request_at_the_ingress(sf: Snowflake, start: Start) -> None:
    client = start(tokens=200, token_seconds=0.05)
    pieces = client.protocol.stream(asking("hi"), QueryContext(20))
    next(pieces)
    llm = sf.service("llm")
    assert llm.counters["in_flight"] == 1
    pieces.close()
    wait_for(lambda: llm.counters["in_flight"] == 0)
    assert client.limiter.in_flight == 0


# -- faults --------------------------------------------------------------------------------------------

CHATS = "/v1/chat/completions"


def test_an_answer_cut_in_the_middle_is_asked_for_again(sf: Snowflake, start: Start) -> None:
    client = start(tokens=20)
    for kind in ("close_mid_body", "reset_mid_body"):
        sf.faults.arm(kind, "llm", on=CHATS, times=1)
        assert chat(client) == answer_to("hi", 20)


def test_a_stream_cut_in_the_middle_raises_after_what_came(sf: Snowflake, start: Start) -> None:
    client = start(tokens=20)
    for kind in ("close_mid_body", "reset_mid_body"):
        sf.faults.arm(kind, "llm", on=CHATS, times=1)
        got = []
        with pytest.raises(NetworkError):
            for piece in client.protocol.stream(asking("hi"), QueryContext(20)):
                got.append(piece)
        assert got
        assert not any(isinstance(piece, ChatEnd) for piece in got)
    assert client.limiter.in_flight == 0


def test_an_error_event_in_mid_stream_is_raised(sf: Snowflake, start: Start) -> None:
    client = start(tokens=20)
    chat(client)
    sf.faults.arm("stream_error", "llm", on=CHATS, times=1, after=5, message="CUDA error: device lost")
    got = []
    with pytest.raises(ModelError, match="CUDA error"):
        for piece in client.protocol.stream(asking("hi"), QueryContext(20)):
            got.append(piece)
    assert got
    assert not any(isinstance(piece, ChatEnd) for piece in got)


def test_a_stream_that_falls_silent_is_given_up(sf: Snowflake, start: Start) -> None:
    client = start(tokens=20, idle_seconds=0.3)
    sf.faults.arm("stall", "llm", on=CHATS, times=None)
    with pytest.raises(NetworkError, match="silent"):
        list(client.protocol.stream(asking("hi"), QueryContext(20)))


def test_a_stream_that_trickles_ends_with_the_querys_time(sf: Snowflake, start: Start) -> None:
    client = start(tokens=2000, token_seconds=0.05)
    began = time.monotonic()
    with pytest.raises(SpcsError, match=r"within the 0.5 s"):
        list(client.protocol.stream(asking("hi"), QueryContext(0.5)))
    assert time.monotonic() - began < FAR_TOO_LONG


@pytest.mark.parametrize("kind", ["truncated_json", "non_utf8", "html_200", "empty_200", "garbage"])
def test_what_is_no_answer_is_a_clear_error(sf: Snowflake, start: Start, kind: str) -> None:
    client = start(stream="ignored")
    sf.faults.arm(kind, "llm", on=CHATS, times=None)
    for ask in (client.protocol.chat, lambda *asked: list(client.protocol.stream(*asked))):
        with pytest.raises(SpcsError) as caught:
            ask(asking("a very private question"), QueryContext(5))
        assert "private" not in str(caught.value)


def test_a_server_error_names_what_the_server_said(start: Start) -> None:
    with pytest.raises(SpcsError, match="model exploded on purpose"):
        chat(start(stream="ignored"), "__boom__")


# -- the rest of the API -------------------------------------------------------------------------------


def test_the_containers_own_key_travels_beside_snowflakes_token(start: Start) -> None:
    assert chat(start(api_key="sesame")) == answer_to("hi")


def test_embeddings_in_order(start: Start) -> None:
    client = start(dimensions=5)
    texts = [f"text {i}" for i in range(70)]
    rows = client.protocol.embed(texts, QueryContext(20))
    assert [row.vector for row in rows] == [pytest.approx(vector_of(text, 5)) for text in texts]


@pytest.mark.parametrize("rerank", ["jina", "tei"])
def test_reranking_either_way(start: Start, rerank: str) -> None:
    documents = ["blue sky", "a green tree", "the green green grass of home"]
    ranking = start(rerank=rerank).protocol.rerank("green grass", documents, QueryContext(20))
    assert [document.index for document in ranking.documents] == [2, 1, 0]


def test_a_server_that_cannot_rerank_says_so(start: Start) -> None:
    with pytest.raises(SpcsError, match="404"):
        start(rerank="none").protocol.rerank("q", ["a"], QueryContext(20))


def test_an_unknown_model_is_told_with_the_one_there_is(start: Start) -> None:
    with pytest.raises(SpcsError, match=r"no model 'gpt-9'\. It serves: scripted"):
        chat(start(model="gpt-9"))


def test_the_token_limit_and_the_history_reach_the_model(start: Start) -> None:
    client = start(tokens=20)
    more = Message("user", (TextPart("and now?"),))
    answer = client.protocol.chat(
        asking("hi", more, sampling=Sampling(max_output_tokens=3)), QueryContext(20)
    )
    assert answer.finish_reason == "length"
    assert answer.usage.completion_tokens == 3
