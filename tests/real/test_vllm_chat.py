"""vLLM on the CPU behind the ingress, over SmolLM2: chats, settings, JSON, tools, reasoning and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from dataikuapi.dss.llm import LLMException

from sandbox.instance import Instance
from tests.real.environments import saved_model
from tests.real.schemas import PLACE
from tests.real.vllm_server import LONGEST, vllm_python, vllm_server

pytestmark = [pytest.mark.real, pytest.mark.timeout(2400)]

PARIS = "What is the capital of France?"
WEATHER = "What is the weather in Paris?"
EXTRACT = "Extract the city as JSON: Alice lives in Berlin."
GET_WEATHER = {
    "name": "get_weather",
    "description": "The weather in a city",
    "parameters": {
        "type": "object",
        "properties": {
            "city": {"type": "string", "enum": ["Paris", "Rome"]},
            "unit": {"type": "string", "enum": ["celsius"]},
        },
        "required": ["city", "unit"],
        "additionalProperties": False,
    },
}
CALL = (
    '<tool_call>\n{{"name": "get_weather", "arguments": {{"city": "{}", "unit": "celsius"}}}}\n</tool_call>'
)
NAMED = {"type": "tool_name", "name": "get_weather"}
REQUIRED = {"type": "required"}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    python = vllm_python()
    model = saved_model(python, "smollm2", "save_smollm2.py")
    options = ("--max-model-len", str(LONGEST), "--enable-auto-tool-choice", "--tool-call-parser", "hermes")
    with vllm_server(python, model, "smollm2", *options) as address:
        yield address


@pytest.fixture(scope="module")
def llm(instance: Instance, url: str) -> Any:
    return chat_model(instance, "vllm", url)


@pytest.fixture(scope="module")
def thinking(instance: Instance) -> Iterator[Any]:
    """The same model behind a reasoning parser, which takes all before `</think>` for reasoning."""
    python = vllm_python()
    model = saved_model(python, "smollm2", "save_smollm2.py")
    options = ("--max-model-len", str(LONGEST), "--reasoning-parser", "qwen3")
    with vllm_server(python, model, "smollm2", *options) as address:
        yield chat_model(instance, "vllm-thinking", address)


def chat_model(instance: Instance, name: str, url: str) -> Any:
    service = instance.snowflake.create_service(name, url, "OPENAI")
    return instance.add_model(name, "CHAT", service, serviceProtocol="OPENAI", queryTimeoutSeconds=900)


def ask(llm: Any, text: str = PARIS, **settings: Any) -> Any:
    completion = llm.new_completion().with_message(text)
    completion.settings.update({"temperature": 0, "maxOutputTokens": 48, **settings})
    return completion


def streamed(completion: Any) -> tuple[str, dict[str, Any]]:
    *chunks, footer = completion.execute_streamed()
    return "".join(chunk.data.get("text", "") for chunk in chunks), footer.data


def error_of_stream(completion: Any) -> str:
    try:
        list(completion.execute_streamed())
    except LLMException as error:
        return str(error)
    return pytest.fail("The stream ended without an error.")


def ignored(response: Any) -> list[str]:
    """The settings that the plugin names in the query's trace as ignored."""
    found: list[str] = []

    def look(span: dict[str, Any]) -> None:
        found.extend(span["attributes"].get("ignoredSettings", ()))
        for child in span["children"]:
            look(child)

    look(response._raw["trace"])
    return found


def forced(url: str, choice: Any, strict: bool | None) -> Any:
    """The arguments of the call that the server itself makes, asked without the plugin."""
    function = GET_WEATHER if strict is None else {**GET_WEATHER, "strict": strict}
    body = {
        "messages": [{"role": "user", "content": WEATHER}],
        "tools": [{"type": "function", "function": function}],
        "tool_choice": choice,
        "temperature": 0,
        "max_tokens": 200,
    }
    response = requests.post(f"{url}/v1/chat/completions", json=body, timeout=300)
    (call,) = response.json()["choices"][0]["message"]["tool_calls"]
    return json.loads(call["function"]["arguments"])


# -- chats ------------------------------------------------------------------------------------------------


def test_a_chat_is_the_same_whole_and_streamed_and_is_counted(llm: Any) -> None:
    response = ask(llm).execute()
    text, footer = streamed(ask(llm))
    assert response.text == text == "The capital of France is Paris."
    for counts in (response._raw, footer):
        assert counts["finishReason"] == "STOP"
        assert (counts["promptTokens"], counts["completionTokens"], counts["totalTokens"]) == (37, 8, 45)
        assert counts["tokenCountsAreEstimated"] is False


def test_every_setting_is_taken(llm: Any) -> None:
    settings: dict[str, Any] = {
        "temperature": 0.5,
        "topP": 0.9,
        "topK": 20,
        "stopSequences": ["Paris"],
        "frequencyPenalty": 0.1,
        "presencePenalty": 0.1,
        "seed": 1,
    }
    one, other = (ask(llm, **settings).execute() for _ in range(2))
    assert one.text == other.text
    assert one.text.strip()
    assert "Paris" not in one.text
    assert not ignored(one)


def test_the_limit_of_tokens_is_obeyed(llm: Any) -> None:
    response = ask(llm, maxOutputTokens=3).execute()
    assert response.text == "The capital of"
    assert response._raw["finishReason"] == "LENGTH"
    assert response._raw["completionTokens"] == 3


def test_a_bias_keeps_a_token_out(llm: Any) -> None:
    plain = ask(llm, logProbs=True, topLogProbs=1).execute()
    assert plain.text.startswith("The")
    biased = ask(llm, logitBias={"504": -100}).execute()  # "The" in the model's vocabulary
    assert not biased.text.startswith("The")
    assert not ignored(biased)


def test_log_probabilities_are_those_of_the_text(llm: Any) -> None:
    response = ask(llm, logProbs=True, topLogProbs=2).execute()
    tokens = [item["token"] for item in response.log_probs]
    assert "".join(tokens).replace("<|im_end|>", "") == response.text
    assert all(item["logprob"] <= 0 and len(item["top_logprobs"]) == 2 for item in response.log_probs)


@pytest.mark.parametrize("way", ["whole", "streamed"])
def test_a_schema_holds_the_answer(llm: Any, way: str) -> None:
    completion = ask(llm, EXTRACT).with_json_output(schema=PLACE)
    text = completion.execute().text if way == "whole" else streamed(completion)[0]
    assert json.loads(text) == {"city": "Berlin"}


def test_a_history_with_a_tools_result_is_taken(llm: Any) -> None:
    function = {"name": "get_weather", "arguments": '{"city": "Paris", "unit": "celsius"}'}
    completion = llm.new_completion().with_message(WEATHER)
    completion.with_tool_calls([{"type": "function", "id": "call-1", "function": function}])
    completion.with_tool_output("18 degrees", tool_call_id="call-1")
    completion.settings.update({"temperature": 0, "maxOutputTokens": 16})
    assert completion.execute().success


# -- tools ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("choice", [NAMED, REQUIRED], ids=["named", "required"])
@pytest.mark.parametrize("way", ["whole", "streamed"])
def test_a_forced_tool_is_called_with_arguments_of_its_schema(llm: Any, choice: Any, way: str) -> None:
    tools = [{"type": "function", "function": GET_WEATHER}]
    completion = ask(llm, WEATHER, maxOutputTokens=200, tools=tools, toolChoice=choice)
    if way == "whole":
        response = completion.execute()
    else:
        chunks = completion.execute_streamed(collect_response=True)
        list(chunks)
        response = chunks.response
    (call,) = response.tool_calls
    assert call["function"]["name"] == "get_weather"
    assert json.loads(call["function"]["arguments"]) == {"city": "Paris", "unit": "celsius"}


@pytest.mark.parametrize("named", [True, False], ids=["named", "required"])
def test_the_server_holds_a_forced_tool_to_its_schema_only_if_it_is_strict(
    llm: Any, url: str, named: bool
) -> None:
    """Why the plugin says `strict` for tools that must be called."""
    choice: Any = {"type": "function", "function": {"name": "get_weather"}} if named else "required"
    assert forced(url, choice, strict=True) == {"city": "Paris", "unit": "celsius"}
    assert forced(url, choice, strict=None) == forced(url, choice, strict=False) == "Paris"


def test_a_model_calls_a_tool_of_its_own_accord(llm: Any) -> None:
    completion = llm.new_completion()
    for city in ("Rome", "Oslo"):
        completion.with_message(f"Weather in {city}?").with_message(CALL.format(city), role="assistant")
    completion.with_message("Weather in Paris?")
    tools = [{"type": "function", "function": GET_WEATHER}]
    completion.settings.update(
        {"temperature": 0, "maxOutputTokens": 64, "tools": tools, "toolChoice": {"type": "auto"}}
    )
    response = completion.execute()
    (call,) = response.tool_calls
    assert json.loads(call["function"]["arguments"]) == {"city": "Paris", "unit": "celsius"}
    assert response._raw["finishReason"] == "TOOL_CALLS"


def test_a_model_may_leave_a_tool_alone(llm: Any) -> None:
    tools = [{"type": "function", "function": GET_WEATHER}]
    response = ask(llm, tools=tools, toolChoice={"type": "auto"}).execute()
    assert response.text == "The capital of France is Paris."
    assert not response.tool_calls


# -- reasoning --------------------------------------------------------------------------------------------


def test_reasoning_of_the_servers_parser_is_an_artifact_and_is_counted(thinking: Any) -> None:
    raw = ask(thinking).execute()._raw
    (artifact,) = raw["artifacts"]
    assert artifact["type"] == "REASONING"
    assert artifact["parts"][0]["text"] == "The capital of France is Paris."
    assert (raw["text"], raw["reasoningTokens"], raw["completionTokens"]) == ("", 7, 8)


def test_reasoning_is_streamed(thinking: Any) -> None:
    *chunks, footer = ask(thinking).execute_streamed()
    parts = [part for chunk in chunks for item in chunk.data.get("artifacts", ()) for part in item["parts"]]
    assert "".join(part["text"] for part in parts) == "The capital of France is Paris."
    assert footer.data["reasoningTokens"] == 7


def test_reasoning_without_an_end_is_not_json(thinking: Any) -> None:
    """The schema holds only what follows the reasoning, which this model never ends."""
    error = ask(thinking, EXTRACT).with_json_output(schema=PLACE).execute()._raw["errorMessage"]
    assert error.startswith("[model]")
    assert "reasoning parser" in error


# -- what it refuses ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "limit", "told"),
    [("word " * 4000, 48, "maximum context length is 2048"), (PARIS, 5000, "max_model_len=2048")],
    ids=["prompt", "limit"],
)
@pytest.mark.parametrize("way", ["whole", "streamed"])
def test_what_is_too_long_is_told_with_the_models_length(
    llm: Any, text: str, limit: int, told: str, way: str
) -> None:
    completion = ask(llm, text, maxOutputTokens=limit)
    if way == "whole":
        error = completion.execute()._raw["errorMessage"]
    else:
        error = error_of_stream(completion)
    assert told in error
    assert "Send a shorter prompt, ask for fewer tokens" in error
    assert "word word" not in error


def test_a_model_that_is_not_served_is_named_with_those_that_are(instance: Instance, url: str) -> None:
    service = instance.snowflake.create_service("vllm-unknown", url, "OPENAI")
    params = {"serviceProtocol": "OPENAI", "modelName": "unknown"}
    unknown = instance.add_model("vllm-unknown", "CHAT", service, **params)
    error = ask(unknown).execute()._raw["errorMessage"]
    assert "'unknown'" in error
    assert "smollm2" in error
