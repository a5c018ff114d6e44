"""Streams through the stand-in DSS: order, footers, failures old and new clients can see, abandonment."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from dataikuapi.dss.llm_tracing import SpanReader
from dataikuapi.dss.llm_utils import LLMException

from sandbox.dss import Dss
from tests.contract.plugins.writing import COMPLETE, client, model_of

CHAT = "custom:acme:chat"


@pytest.fixture(scope="module")
def dss() -> Iterator[Dss]:
    with Dss() as dss:
        dss.install_plugin(COMPLETE)
        dss.create_connection("acme", "echo", [{"id": "chat", "capability": "CHAT"}])
        yield dss


@pytest.fixture(scope="module")
def url(dss: Dss) -> Iterator[str]:
    with dss.serve() as url:
        yield url


@pytest.fixture
def llm(dss: Dss, url: str) -> Iterator[Any]:
    with client(url, dss.create_api_key()) as dss_client:
        yield dss_client.get_project("TEST").get_llm(CHAT)


@pytest.fixture
def model(dss: Dss) -> Iterator[Any]:
    """The plugin's instance, its stream held back after the first word."""
    instance = dss.mesh.kernel(model_of(dss, CHAT), "admin").instance
    # New ones: the stream of an earlier test may be closed only now.
    instance.go_on, instance.waiting, instance.closed = (threading.Event() for _ in range(3))
    yield instance
    instance.go_on.set()


def old_client(url: str, dss: Dss, text: str) -> requests.Response:
    """The request of a client before 14.5, which does not ask for error chunks."""
    body = {"llmId": CHAT, "query": {"messages": [{"role": "user", "content": text}]}, "settings": {}}
    return requests.post(
        f"{url}/dip/publicapi/projects/TEST/llms/streamed-completion",
        data=json.dumps(body),
        auth=(dss.create_api_key(), ""),
        stream=True,
        timeout=10,
    )


def test_the_first_chunk_arrives_before_the_second_is_produced(llm: Any, model: Any) -> None:
    stream = iter(llm.new_completion().with_message("one two").execute_streamed())
    assert next(stream).text == "one "
    model.go_on.set()
    assert next(stream).text == "two "


def test_the_footer_comes_last_with_usage_and_trace(llm: Any) -> None:
    *chunks, footer = llm.new_completion().with_message("one two").execute_streamed()
    assert [chunk.type for chunk in chunks] == ["content", "content"]
    assert footer.data["finishReason"] == "STOP"
    call = list(SpanReader(footer.trace).children)[1]
    assert call.name == "DKU_LLM_MESH_LLM_CALL_STREAMED"
    assert call.span_data["usageMetadata"] == {"promptTokens": 2, "estimatedCost": 0.25}
    assert footer.total_usage == {"promptTokens": 2, "estimatedCost": 0.25}


def test_the_client_consolidates_the_stream(llm: Any) -> None:
    stream = llm.new_completion().with_message("one two").execute_streamed(collect_response=True)
    for _ in stream:
        pass
    assert stream.response.text == "one two "


def test_an_abandoned_stream_closes_the_plugins_generator(llm: Any, model: Any) -> None:
    model.go_on.set()
    # The client keeps the response to itself; abandoning it is left to garbage collection otherwise.
    replies: list[requests.Response] = []
    llm.client._session.hooks["response"].append(lambda reply, **_: replies.append(reply))
    stream = iter(llm.new_completion().with_message("word " * 200_000).execute_streamed())
    assert next(stream).text == "word "
    assert not model.closed.is_set()
    replies[0].close()
    assert model.closed.wait(10)


def test_a_connection_cut_while_the_plugin_works_closes_its_generator(url: str, dss: Dss, model: Any) -> None:
    with old_client(url, dss, "one two") as reply:
        content = reply.iter_content(16)  # kept, because its end would close the connection
        assert next(content).startswith(b"event: completi")
        assert model.waiting.wait(10)
    assert not model.closed.is_set()
    model.go_on.set()
    assert model.closed.wait(10)


def test_a_failure_after_the_first_chunk_is_an_error_chunk(llm: Any) -> None:
    texts = []
    with pytest.raises(LLMException, match="the stream broke") as caught:
        for chunk in llm.new_completion().with_message("one two break four").execute_streamed():
            texts.append(chunk.text)
    assert texts == ["one ", "two "]
    assert caught.value.error_type == "ValueError"


def test_a_client_without_error_chunks_sees_a_cut_connection(url: str, dss: Dss) -> None:
    lines = []
    with (
        old_client(url, dss, "one break") as reply,
        pytest.raises(requests.exceptions.ChunkedEncodingError),
    ):
        for line in reply.iter_lines():
            lines.append(line)
    assert [line for line in lines if line.startswith(b"event:")] == [b"event: completion-chunk"]


def test_a_client_without_error_chunks_gets_a_failure_before_the_first_chunk_as_http(
    url: str, dss: Dss
) -> None:
    with old_client(url, dss, "break") as reply:
        assert reply.status_code == 500
        assert reply.json()["detailedMessage"] == "the stream broke"


def test_a_client_without_error_chunks_gets_the_same_stream(url: str, dss: Dss) -> None:
    lines = old_client(url, dss, "one two").content.decode().splitlines()
    assert [line for line in lines if line.startswith("event:")] == [
        "event: completion-chunk",
        "event: completion-chunk",
        "event: completion-end",
    ]


def test_leaving_serve_ends_open_streams(dss: Dss, model: Any) -> None:
    with dss.serve(grace=0.2) as url:
        reply = old_client(url, dss, "one two")
        content = reply.iter_content(16)  # kept, because its end would close the connection
        assert next(content).startswith(b"event: completi")
        assert model.waiting.wait(10)
    model.go_on.set()
    assert model.closed.wait(10)
    reply.close()
