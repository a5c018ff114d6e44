"""LiteLLM's proxy between the ingress and a real model: its answers, and what it says when something is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from sandbox.instance import Instance
from sandbox.snowflake import PublicEndpoint
from tests.real.environments import environment
from tests.real.schemas import PLACE
from tests.real.server_process import free_port, server_process

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

HELPFUL = "You are a helpful assistant."
PARIS = "What is the capital of France?"
# An upstream that refuses connections fails for as long as one asks: the plugin gives up early here.
IMPATIENT = {"queryTimeoutSeconds": 60, "coldStartWaitSeconds": 1}


@pytest.fixture(scope="module")
def instance() -> Iterator[Instance]:
    replies: list[requests.Response] = []
    with Instance() as made:
        # DSS's client leaves the connection of a stream that fails to the garbage collector.
        made.client._session.hooks["response"].append(lambda reply, **_: replies.append(reply))
        yield made
        for reply in replies:
            reply.close()
        assert not made.dss.violations


@pytest.fixture(scope="module")
def model(instance: Instance) -> PublicEndpoint:
    return instance.snowflake.create_service("upstream", "smollm2", "OPENAI")


@pytest.fixture(scope="module")
def proxy(
    instance: Instance, model: PublicEndpoint, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PublicEndpoint]:
    """Two models behind one proxy: the real one, and one whose server is not there."""
    upstreams = {"smollm2": model.endpoint.upstream, "gone": f"http://127.0.0.1:{free_port()}"}
    listed = [
        {
            "model_name": name,
            "litellm_params": {"model": f"openai/{name}", "api_base": f"{url}/v1", "api_key": "x"},
        }
        for name, url in upstreams.items()
    ]
    config = tmp_path_factory.mktemp("litellm") / "config.yaml"
    config.write_text(json.dumps({"model_list": listed, "litellm_settings": {"num_retries": 0}}))
    port = free_port()
    command: list[str | Path] = [
        environment("litellm").parent / "litellm", "--config", config, "--host", "127.0.0.1", "--port", str(port),
    ]  # fmt: skip
    # Without a key of its own, as behind the ingress; and with its own list of prices, not one from the network.
    settings: dict[str, Any] = {
        "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
    with server_process(command, port, "/health/liveliness", **settings) as url:
        yield instance.snowflake.create_service("litellm", url, "OPENAI")


def asked(instance: Instance, service: PublicEndpoint, model: str | None, text: str = PARIS) -> Any:
    name = f"{service.url[-6:-1]}-{model}"
    params = {"serviceProtocol": "OPENAI", "modelName": model, **IMPATIENT}
    llm = instance.add_model(name, "CHAT", service, **params)
    completion = llm.new_completion().with_message(HELPFUL, role="system").with_message(text)
    completion.settings.update(temperature=0, maxOutputTokens=32)
    return completion


def streamed(completion: Any) -> str:
    return "".join(item.data.get("text", "") for item in completion.execute_streamed())


def test_the_answer_is_the_models_whole_and_streamed(
    instance: Instance, model: PublicEndpoint, proxy: PublicEndpoint
) -> None:
    answer = asked(instance, proxy, "smollm2").execute()
    assert "Paris" in answer.text
    assert answer.text == asked(instance, model, None).execute().text
    assert answer.text == streamed(asked(instance, proxy, "smollm2"))
    assert answer.total_usage["promptTokens"] > 0
    assert answer.total_usage["tokenCountsAreEstimated"] is False


def test_the_first_model_of_the_list_is_asked_when_none_is_named(
    instance: Instance, proxy: PublicEndpoint
) -> None:
    assert "Paris" in asked(instance, proxy, None).execute().text


def test_a_schema_passes_the_proxy(instance: Instance, proxy: PublicEndpoint) -> None:
    completion = asked(instance, proxy, "smollm2", "Extract the city as JSON: Alice lives in Berlin.")
    assert json.loads(completion.with_json_output(schema=PLACE, strict=True).execute().text).keys() == {
        "city"
    }


@pytest.mark.parametrize("way", ["whole", "streamed"])
@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("unknown", PARIS, "[service] The service has no model 'unknown'. It serves: smollm2, gone."),
        ("gone", PARIS, "[service] The service fails (HTTP 500): Connection error."),
        ("smollm2", "word " * 9000, "exceeds the available context size (4096 tokens)"),
    ],
)
def test_an_error_gives_its_cause_not_the_proxys_last_line(
    instance: Instance, proxy: PublicEndpoint, name: str, text: str, told: str, way: str
) -> None:
    completion = asked(instance, proxy, name, text)
    if way == "whole":
        message = completion.execute()._raw["errorMessage"]
    else:
        with pytest.raises(Exception) as failed:
            streamed(completion)
        message = str(failed.value)
    assert told in message
    assert "word word" not in message
    assert "litellm" not in message.lower()
