"""Real servers of OpenAI's API behind the ingress: the plugin and OpenAI's own client get the same answers."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from sandbox.instance import Instance
from sandbox.services.smollm2 import weights
from sandbox.snowflake import PublicEndpoint
from tests.real.environments import environment, saved_model
from tests.real.schemas import PLACE
from tests.real.server_process import free_port, server_process

pytestmark = [pytest.mark.real, pytest.mark.timeout(2400)]

HERE = Path(__file__).parent
HELPFUL = {"role": "system", "content": "You are a helpful assistant."}
PARIS = [{"role": "user", "content": "What is the capital of France?"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@pytest.fixture
def instance() -> Iterator[Instance]:
    with Instance() as made:
        yield made
        assert not made.dss.violations


@pytest.fixture(scope="module")
def openai_python() -> Path:
    return environment("llama-cpp")


@pytest.fixture(scope="module")
def llama_cpp_python(openai_python: Path) -> Iterator[str]:
    port = free_port()
    command: list[str | Path] = [
        openai_python, "-m", "llama_cpp.server", "--model", weights(), "--port", str(port), "--n_ctx", "2048",
        "--n_threads", "1", "--logits_all", "true", "--chat_format", "chatml",
    ]  # fmt: skip
    with server_process(command, port, "/v1/models") as url:
        for _ in range(2):  # it answers a prompt that is in its cache otherwise than a new one
            body = {"messages": PARIS, "temperature": 0, "max_tokens": 32}
            requests.post(f"{url}/v1/chat/completions", json=body, timeout=120).raise_for_status()
        yield url


@pytest.fixture(scope="module")
def transformers_serve() -> Iterator[tuple[str, str]]:
    """Its URL, and the name of the model: the folder it is in."""
    python = environment("transformers")
    folder = saved_model(python, "smollm2", "save_smollm2.py")
    port = free_port()
    command: list[str | Path] = [
        python.parent / "transformers",
        "serve",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    with server_process(command, port, "/health") as url:
        yield url, str(folder)


class Both:
    """One endpoint, asked through the plugin and through OpenAI's client."""

    def __init__(self, instance: Instance, url: str, python: Path, model: str | None = None) -> None:
        self._python = python
        self._model = model
        self._instance = instance
        self.endpoint: PublicEndpoint = instance.snowflake.create_service("server", url, "OPENAI")
        params = {"serviceProtocol": "OPENAI", "modelName": model, "queryTimeoutSeconds": 900}
        self.llm = instance.add_model("server", "CHAT", self.endpoint, **params)

    def plugin(self, messages: Any = PARIS, **settings: Any) -> Any:
        completion = self.llm.new_completion()
        for message in messages:
            completion.with_message(message["content"], role=message["role"])
        completion.settings.update({"temperature": 0, "maxOutputTokens": 32, **settings})
        return completion

    def openai(self, messages: Any = PARIS, **more: Any) -> Any:
        asked = {
            "model": self._model or "any",
            "messages": messages,
            "temperature": 0,
            "max_tokens": 32,
            **more,
        }
        command: list[str | Path] = [
            self._python,
            HERE / "ask_openai.py",
            self.endpoint.url,
            self._instance.snowflake.create_pat(),
        ]
        done = subprocess.run(
            command, input=json.dumps(asked), capture_output=True, text=True, timeout=900, check=True
        )
        return json.loads(done.stdout)


def streamed(completion: Any) -> str:
    return "".join(item.data.get("text", "") for item in completion.execute_streamed())


# -- llama-cpp-python -------------------------------------------------------------------------------------


def test_llama_cpp_python_gives_both_clients_one_answer(
    instance: Instance, llama_cpp_python: str, openai_python: Path
) -> None:
    both = Both(instance, llama_cpp_python, openai_python)
    response = both.plugin(seed=1).execute()
    assert "Paris" in response.text
    assert response.text == both.openai(seed=1)["text"] == streamed(both.plugin(seed=1))
    assert response._raw["finishReason"] == "STOP"


@pytest.mark.parametrize("way", ["whole", "streamed"])
def test_a_real_tool_call_comes_from_a_named_choice(
    instance: Instance, llama_cpp_python: str, openai_python: Path, way: str
) -> None:
    both = Both(instance, llama_cpp_python, openai_python)
    question = [{"role": "user", "content": "What is the weather in Paris?"}]
    settings = {"tools": [WEATHER], "toolChoice": {"type": "tool_name", "name": "get_weather"}}
    completion = both.plugin(question, **settings)
    if way == "whole":
        (call,) = completion.execute().tool_calls
    else:
        chunks = completion.execute_streamed(collect_response=True)
        list(chunks)
        (call,) = chunks.response.tool_calls
    assert call["function"]["name"] == "get_weather"
    assert isinstance(json.loads(call["function"]["arguments"])["city"], str)
    choice = {"type": "function", "function": {"name": "get_weather"}}
    (theirs,) = both.openai(question, tools=[WEATHER], tool_choice=choice)["tool_calls"]
    assert json.loads(theirs["arguments"]) == json.loads(call["function"]["arguments"])


def test_log_probabilities_come_from_llama_cpp_python(
    instance: Instance, llama_cpp_python: str, openai_python: Path
) -> None:
    both = Both(instance, llama_cpp_python, openai_python)
    response = both.plugin(logProbs=True, topLogProbs=2).execute()
    assert response.success, response._raw
    assert all(item["logprob"] <= 0 for item in response.log_probs)
    assert "".join(item["token"] for item in response.log_probs).strip() == response.text.strip()


def test_a_prompt_that_is_too_long_is_a_clear_error(
    instance: Instance, llama_cpp_python: str, openai_python: Path
) -> None:
    both = Both(instance, llama_cpp_python, openai_python)
    long = [{"role": "user", "content": "word " * 4000}]
    error = both.plugin(long).execute()._raw["errorMessage"]
    assert error.startswith("[service]")
    assert "context" in error.lower()
    assert "word word" not in error


# -- transformers serve -----------------------------------------------------------------------------------


def test_transformers_serve_gives_both_clients_one_answer(
    instance: Instance, transformers_serve: tuple[str, str], openai_python: Path
) -> None:
    url, model = transformers_serve
    both = Both(instance, url, openai_python, model)
    response = both.plugin().execute()
    assert "Paris" in response.text
    assert streamed(both.plugin()) == response.text


# -- llama.cpp's own server -------------------------------------------------------------------------------


def test_llama_cpp_gives_both_clients_one_answer(instance: Instance, openai_python: Path) -> None:
    service = instance.snowflake.create_service("upstream", "smollm2", "OPENAI")
    both = Both(instance, service.endpoint.upstream, openai_python)
    question = [HELPFUL, *PARIS]
    text = both.plugin(question).execute().text
    assert "Paris" in text
    assert text == both.openai(question)["text"] == streamed(both.plugin(question))


def test_llama_cpp_holds_both_clients_answers_to_a_schema(instance: Instance, openai_python: Path) -> None:
    service = instance.snowflake.create_service("upstream", "smollm2", "OPENAI")
    both = Both(instance, service.endpoint.upstream, openai_python)
    question = [{"role": "user", "content": "Extract the city as JSON: Alice lives in Berlin."}]
    text = both.plugin(question).with_json_output(schema=PLACE, strict=True).execute().text
    assert json.loads(text).keys() == {"city"}
    held = {"type": "json_schema", "json_schema": {"name": "answer", "schema": PLACE, "strict": True}}
    assert json.loads(both.openai(question, response_format=held)["text"]) == json.loads(text)
