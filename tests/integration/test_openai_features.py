"""All that LLM Mesh can ask over the OpenAI protocol, through DSS's own client and its LangChain adapters."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from sandbox.instance import Instance
from sandbox.services.scripted import answer_to, tokens_of
from spcs_llm.tool_arguments import INVALID_ARGUMENTS
from tests.integration.vllm_like import CUT, VllmLike, delta, said, usage
from tests.waiting import wait_for

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Adds two numbers",
        "parameters": {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}},
    },
}
CALLS_ADD = [
    delta(
        role="assistant", tool_calls=[{"index": 0, "id": "c1", "function": {"name": "add", "arguments": ""}}]
    ),
    delta(tool_calls=[{"index": 0, "function": {"arguments": '{"a": 1,'}}]),
    delta(tool_calls=[{"index": 0, "function": {"arguments": ' "b": 2}'}}]),
    delta("tool_calls"),
]

Connect = Callable[..., tuple[Any, VllmLike]]


@pytest.fixture
def connect(instance: Instance) -> Iterator[Connect]:
    """`connect(*answers, **params)`: a model over a scripted server."""
    servers: list[VllmLike] = []

    def make(
        *answers: Any, pause: float = 0.0, capability: str = "CHAT", **params: Any
    ) -> tuple[Any, VllmLike]:
        server = VllmLike(*answers, pause=pause)
        servers.append(server)
        service = instance.snowflake.create_service(f"vllm{len(servers)}", server.url, "OPENAI")
        name = f"model{len(servers)}"
        return instance.add_model(name, capability, service, serviceProtocol="OPENAI", **params), server

    yield make
    for server in servers:
        server.stop()


def asking(llm: Any, text: str = "Hello", **settings: Any) -> Any:
    completion = llm.new_completion().with_message(text)
    completion.settings.update(settings)
    return completion


def test_every_sampling_setting_reaches_the_server(connect: Connect) -> None:
    llm, server = connect(said("Hi"))
    asking(
        llm, maxOutputTokens=7, temperature=0, topP=0.5, topK=3, stopSequences=["END"], frequencyPenalty=0.1,
        presencePenalty=0.2, logitBias={"5": 1.0}, seed=11,
    ).execute()  # fmt: skip
    (asked,) = server.asked
    expected = {
        "temperature": 0, "top_p": 0.5, "top_k": 3, "stop": ["END"], "frequency_penalty": 0.1,
        "presence_penalty": 0.2, "logit_bias": {"5": 1.0}, "seed": 11, "model": "qwen",
    }  # fmt: skip
    assert {name: asked.get(name) for name in expected} == expected
    assert 7 in (asked.get("max_tokens"), asked.get("max_completion_tokens"))


def test_a_unary_chat_is_streamed_upstream(connect: Connect) -> None:
    llm, server = connect(said("Hi"))
    assert asking(llm).execute().text == "Hi"
    assert server.asked[0]["stream"] is True


def test_a_generation_longer_than_the_ingress_waits_is_answered(instance: Instance) -> None:
    slow: dict[str, Any] = {"idle_seconds": 0.8, "token_seconds": 0.5}
    service = instance.snowflake.create_service("slow", "scripted", "OPENAI", **slow)
    llm = instance.add_model("slow", "CHAT", service, serviceProtocol="OPENAI")
    assert len(tokens_of(answer_to("Hello"))) * 0.5 > 0.8
    assert asking(llm, "Hello").execute().text == answer_to("Hello")


def test_the_model_is_the_first_that_the_server_lists_or_the_forms(connect: Connect) -> None:
    first, server = connect(said("Hi"))
    asking(first).execute()
    named, other = connect(said("Hi"), modelName="llama")
    asking(named).execute()
    assert (server.asked[0]["model"], other.asked[0]["model"]) == ("qwen", "llama")


def test_an_unknown_model_is_told_with_those_there_are(connect: Connect) -> None:
    refusal = (
        404,
        {"error": {"message": "The model `gpt` does not exist.", "type": "NotFoundError", "code": 404}},
    )
    llm, _ = connect(refusal, modelName="gpt")
    error = asking(llm).execute()._raw["errorMessage"]
    assert "gpt" in error
    assert "qwen" in error
    assert "llama" in error


def test_a_tool_is_called(connect: Connect) -> None:
    llm, server = connect(CALLS_ADD)
    response = asking(llm, tools=[ADD], toolChoice={"type": "auto"}).execute()
    (call,) = response.tool_calls
    assert (call["id"], call["function"]["name"]) == ("c1", "add")
    assert json.loads(call["function"]["arguments"]) == {"a": 1, "b": 2}
    assert response._raw["finishReason"] == "TOOL_CALLS"
    assert server.asked[0]["tools"][0]["function"]["name"] == "add"


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ({"type": "auto"}, "auto"),
        ({"type": "none"}, "none"),
        ({"type": "required"}, "required"),
        ({"type": "tool_name", "name": "add"}, {"type": "function", "function": {"name": "add"}}),
    ],
)
def test_every_tool_choice_reaches_the_server(connect: Connect, choice: Any, sent: Any) -> None:
    llm, server = connect(said("Hi"))
    asking(llm, tools=[ADD], toolChoice=choice).execute()
    assert server.asked[0]["tool_choice"] == sent


def test_a_tool_call_is_streamed_with_its_name_first_and_its_arguments_whole(connect: Connect) -> None:
    llm, _ = connect(CALLS_ADD)
    items = [item.data for item in asking(llm, tools=[ADD]).execute_streamed()]
    calls = [call for item in items for call in item.get("toolCalls") or []]
    assert {call["index"] for call in calls} == {0}
    assert [call["function"].get("name") for call in calls] == ["add", None]
    assert [call["function"]["arguments"] for call in calls] == ["", '{"a": 1, "b": 2}']
    assert "toolCalls" not in items[-1]
    assert items[-1]["finishReason"] == "TOOL_CALLS"


def test_the_clients_own_aggregation_gives_whole_tool_calls(connect: Connect) -> None:
    llm, _ = connect(CALLS_ADD)
    chunks = asking(llm, tools=[ADD]).execute_streamed(collect_response=True)
    list(chunks)
    (call,) = chunks.response.tool_calls
    assert json.loads(call["function"]["arguments"]) == {"a": 1, "b": 2}


def test_tool_history_is_split_and_merged_as_servers_want_it(connect: Connect) -> None:
    llm, server = connect(said("3 and 7"))
    calls = [
        {"type": "function", "id": "c1", "function": {"name": "add", "arguments": '{"a": 1}'}},
        {"type": "function", "id": "c2", "function": {"name": "add", "arguments": ""}},
    ]
    completion = llm.new_completion().with_message("Add").with_message("I will", role="assistant")
    completion.with_tool_calls(calls)
    completion.cq["messages"].append(
        {"role": "tool", "toolOutputs": [{"callId": "c1", "output": "3"}, {"callId": "c2", "output": "7"}]}
    )
    assert completion.execute().text == "3 and 7"
    sent = server.asked[0]["messages"]
    assert [message["role"] for message in sent] == ["user", "assistant", "tool", "tool"]
    assert sent[1]["content"] == "I will"
    assert [call["function"]["arguments"] for call in sent[1]["tool_calls"]] == ['{"a": 1}', "{}"]
    assert [(message["tool_call_id"], message["content"]) for message in sent[2:]] == [
        ("c1", "3"),
        ("c2", "7"),
    ]


@pytest.mark.parametrize("streamed", [False, True])
def test_a_call_whose_arguments_are_no_json_is_handed_on_for_an_agent_to_recover(
    connect: Connect, streamed: bool
) -> None:
    """What an agent gets is a JSON object that the tool refuses, and not an error that ends its run."""
    broken = [
        delta(tool_calls=[{"index": 0, "id": "c1", "function": {"name": "add", "arguments": "{a: "}}]),
        delta("tool_calls"),
    ]
    llm, _ = connect(broken)
    if streamed:
        chunks = asking(llm, tools=[ADD]).execute_streamed(collect_response=True)
        list(chunks)
        response = chunks.response
    else:
        response = asking(llm, tools=[ADD]).execute()
    (call,) = response.tool_calls
    assert call["function"]["name"] == "add"
    assert json.loads(call["function"]["arguments"]) == {INVALID_ARGUMENTS: "{a: "}


def test_images_go_inline_with_their_type_and_by_uri(connect: Connect) -> None:
    llm, server = connect(said("A dot"), capability="CHAT_MULTIMODAL")
    completion = llm.new_completion()
    completion.new_multipart_message().with_text("What is it?").with_inline_image(PNG).with_image_url(
        "https://example.org/a.jpg"
    ).add()
    assert completion.execute().text == "A dot"
    text, inline, uri = server.asked[0]["messages"][0]["content"]
    assert text == {"type": "text", "text": "What is it?"}
    assert inline["image_url"]["url"].startswith("data:image/png;base64,")
    assert uri["image_url"]["url"] == "https://example.org/a.jpg"


def test_an_image_that_is_none_is_a_clear_error(connect: Connect) -> None:
    llm, _ = connect(said("never"), capability="CHAT_MULTIMODAL")
    completion = llm.new_completion()
    completion.new_multipart_message().with_text("What is it?").with_inline_image(b"no image at all").add()
    assert completion.execute()._raw["errorMessage"].startswith("[query]")


def test_json_formats_reach_the_server(connect: Connect) -> None:
    llm, server = connect(said("{}"))
    llm.new_completion().with_message("x").with_json_output().execute()
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    llm.new_completion().with_message("x").with_json_output(schema=schema, strict=True).execute()
    plain, held = (asked["response_format"] for asked in server.asked)
    assert plain == {"type": "json_object"}
    assert held["type"] == "json_schema"
    assert held["json_schema"]["strict"] is True
    assert held["json_schema"]["schema"]["properties"] == schema["properties"]


def test_a_schema_that_the_server_rejects_is_a_clear_error(connect: Connect) -> None:
    llm, _ = connect((400, {"error": {"message": "Invalid schema: 'a' is not of type 'object'"}}))
    completion = llm.new_completion().with_message("x").with_json_output(schema={"type": "object"})
    error = completion.execute()._raw["errorMessage"]
    assert error.startswith("[service]")
    assert "schema" in error


def test_log_probabilities_come_back(connect: Connect) -> None:
    tokens = [{"token": "Hi", "logprob": -0.1, "top_logprobs": [{"token": "Ho", "logprob": -2.0}]}]
    llm, server = connect([delta(content="Hi", logprobs={"content": tokens}), delta("stop")])
    response = asking(llm, logProbs=True, topLogProbs=1).execute()
    assert (server.asked[0]["logprobs"], server.asked[0]["top_logprobs"]) == (True, 1)
    assert response.log_probs[0]["token"] == "Hi"
    assert response.log_probs[0]["logprob"] == -0.1


def test_reasoning_is_an_artifact_and_no_part_of_the_answer(connect: Connect) -> None:
    thinking = [
        delta(reasoning_content="First this.\nThen "),
        delta(reasoning_content="that."),
        delta(content="42"),
        delta("stop"),
    ]
    llm, _ = connect(thinking)
    response = asking(llm).execute()
    assert response.text == "42"
    (artifact,) = response._raw["artifacts"]
    assert (artifact["type"], artifact["parts"][0]["type"]) == ("REASONING", "REASONING")
    assert artifact["parts"][0]["text"] == "First this.\nThen that."
    chunks = [item.data for item in asking(llm).execute_streamed()]
    parts = [
        part for chunk in chunks for artifact in chunk.get("artifacts") or [] for part in artifact["parts"]
    ]
    assert "".join(part["text"] for part in parts) == "First this.\nThen that."
    assert len({part["index"] for part in parts}) == len(parts)


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("told", "reason"),
    [("stop", "STOP"), ("length", "LENGTH"), ("content_filter", "CONTENT_FILTER"), ("eos_token", "STOP")],
)
def test_finish_reasons_are_llm_meshs(connect: Connect, told: str, reason: str) -> None:
    llm, _ = connect([delta(content="Hi"), delta(told)])
    assert asking(llm).execute()._raw["finishReason"] == reason


def test_usage_is_the_servers_own(connect: Connect) -> None:
    counts = usage(
        prompt_tokens=20,
        completion_tokens=9,
        total_tokens=29,
        prompt_tokens_details={"cached_tokens": 16},
        completion_tokens_details={"reasoning_tokens": 4},
    )
    llm, _ = connect([*said("Hi"), counts])
    raw = asking(llm).execute()._raw
    assert (raw["promptTokens"], raw["completionTokens"], raw["totalTokens"]) == (20, 9, 29)
    assert (raw["cacheReadInputTokens"], raw["reasoningTokens"]) == (16, 4)
    assert raw["tokenCountsAreEstimated"] is False


REFUSAL = (400, {"error": {"message": "Unsupported parameter: 'top_k' is not supported", "param": "top_k"}})


def test_a_refused_setting_is_explained(connect: Connect) -> None:
    llm, server = connect(REFUSAL, said("never"))
    error = asking(llm, topK=3).execute()._raw["errorMessage"]
    assert "topK" in error
    assert len(server.asked) == 1


def test_a_refused_setting_is_left_out_where_the_form_allows_it(connect: Connect) -> None:
    llm, server = connect(REFUSAL, said("Hi"), dropRefusedSettings=True)
    response = asking(llm, topK=3, temperature=0.5).execute()
    assert response.text == "Hi"
    assert "top_k" not in server.asked[1]
    assert server.asked[1]["temperature"] == 0.5
    assert "topK" in str(response.trace)


def test_the_containers_own_key_travels_beside_snowflakes_token(connect: Connect) -> None:
    llm, server = connect(said("Hi"), serviceApiKey="sk-container")
    assert asking(llm).execute().text == "Hi"
    assert server.headers[0]["authorization"] == "Bearer sk-container"
    assert not any("snowflake token" in value.lower() for value in server.headers[0].values())


def test_chunks_come_as_they_are_made_and_one_footer_ends_them(connect: Connect) -> None:
    first_came = threading.Event()
    numbers = [delta(content=f"{number} ") for number in range(5)]
    llm, _ = connect([numbers[0], first_came, *numbers[1:], delta("stop")])
    items = []
    for item in asking(llm).execute_streamed():
        first_came.set()
        items.append(item.data)
    assert [item.get("text") for item in items[:-1]] == ["0 ", "1 ", "2 ", "3 ", "4 "]
    assert [item.get("type") for item in items].count("footer") == 1
    assert items[-1]["estimatedCost"] > 0


def test_abandoning_a_stream_closes_the_connection(instance: Instance, connect: Connect) -> None:
    endless = [delta(content="word ")] * 2000
    llm, server = connect(endless, pause=0.01)
    model = instance.dss.model(llm.llm_id)
    assert model is not None
    query = {"messages": [{"role": "user", "content": "Hello"}]}
    stream = instance.dss.mesh.stream(model, "ALICE", query, {})
    next(stream)
    stream.close()
    wait_for(lambda: server.abandoned)


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    "events",
    [
        [delta(content="Hi"), {"error": {"message": "out of memory", "code": 500}}],
        [delta(content="Hi"), "{no json"],
        ["rubbish", "more rubbish"],
    ],
    ids=["error event", "broken event", "rubbish"],
)
def test_a_stream_that_goes_wrong_raises(connect: Connect, events: list[Any]) -> None:
    llm, _ = connect(events)
    with pytest.raises(Exception, match=r"\[(service|model|network)\]"):
        list(asking(llm).execute_streamed())


def test_a_stream_that_fails_before_its_first_piece_is_asked_for_again(connect: Connect) -> None:
    busy = [{"error": {"message": "slow down", "code": 429}}]
    llm, server = connect(busy, [delta(role="assistant"), CUT], [delta(content="Hi"), delta("stop")])
    *chunks, footer = asking(llm).execute_streamed()
    assert "".join(chunk.text for chunk in chunks) == "Hi"
    assert footer.data["finishReason"] == "STOP"
    assert len(server.asked) == 3


# -- LangChain --------------------------------------------------------------------------------------------


def test_langchain_binds_tools(connect: Connect) -> None:
    from langchain_core.tools import tool  # here, because it takes a second, in every worker

    @tool
    def add(a: int, b: int) -> int:
        """Adds two numbers"""
        return a + b

    llm, server = connect(CALLS_ADD)
    message = llm.as_langchain_chat_model().bind_tools([add]).invoke("Add 1 and 2")
    (call,) = message.tool_calls
    assert (call["name"], call["args"]) == ("add", {"a": 1, "b": 2})
    assert server.asked[0]["tools"][0]["function"]["name"] == "add"


def test_langchain_streams_tool_calls(connect: Connect) -> None:
    llm, _ = connect(CALLS_ADD)
    whole = None
    for chunk in llm.as_langchain_chat_model().bind_tools([ADD]).stream("Add 1 and 2"):
        whole = chunk if whole is None else whole + chunk
    assert whole is not None
    (call,) = whole.tool_calls
    assert call["args"] == {"a": 1, "b": 2}


class Place(BaseModel):
    """A place."""

    city: str


CALLS_PLACE = [
    delta(
        tool_calls=[
            {"index": 0, "id": "c1", "function": {"name": "Place", "arguments": '{"city": "Berlin"}'}}
        ]
    ),
    delta("tool_calls"),
]


def test_langchain_gives_structured_output(connect: Connect) -> None:
    llm, server = connect(CALLS_PLACE)
    assert llm.as_langchain_chat_model().with_structured_output(Place).invoke("Where?") == Place(
        city="Berlin"
    )
    assert server.asked[0]["tools"][0]["function"]["name"] == "Place"


def test_langchain_streams(connect: Connect) -> None:
    llm, _ = connect([delta(content="Hello "), delta(content="world"), delta("stop")])
    chunks = [chunk.content for chunk in llm.as_langchain_chat_model().stream("Hi")]
    assert [chunk for chunk in chunks if chunk] == ["Hello ", "world"]


@pytest.mark.parametrize(
    "deltas", [["Hello", "\n", "\n", "World.\n"], ["Hello\n\nWorld.\n"]], ids=["pieces", "whole"]
)
def test_langchain_streams_an_answer_that_ends_as_a_stop_sequence_begins(
    connect: Connect, deltas: list[str]
) -> None:
    """Its adapter gives out nothing of a chunk whose text ends so: at most the blank end may be missing."""
    pieces = [delta(content=text) for text in deltas]
    llm, _ = connect([delta(role="assistant", reasoning_content="hm\n"), *pieces, delta("stop")])
    for model in (llm.as_langchain_chat_model(), llm.as_langchain_llm()):
        said_ = "".join(getattr(chunk, "content", chunk) for chunk in model.stream("Hi", stop=["\n\nHuman:"]))
        assert said_.rstrip() == "Hello\n\nWorld."


def test_langchain_gets_a_call_behind_a_text_that_ends_as_a_stop_sequence_begins(connect: Connect) -> None:
    llm, _ = connect([delta(role="assistant", content="Let me see.\n"), *CALLS_ADD])
    whole: Any = None
    for chunk in llm.as_langchain_chat_model().bind_tools([ADD]).stream("Add", stop=["\nObservation:"]):
        whole = chunk if whole is None else whole + chunk
    assert [(call["name"], call["args"]) for call in whole.tool_calls] == [("add", {"a": 1, "b": 2})]
    assert whole.content.startswith("Let me see.")
