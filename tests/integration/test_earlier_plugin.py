"""Where the earlier, Java plugin fell short: each of its faults, and what happens now."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from sandbox.instance import Instance
from sandbox.services.scripted import answer_to, vector_of

# What the form of today fills in for new models is not in connections that the earlier plugin saved.
SAVED_BEFORE: dict[str, Any] = {"serviceProtocol": None}


def ask(llm: Any, text: str, **settings: Any) -> Any:
    completion = llm.new_completion().with_message(text)
    completion.settings.update(settings)
    return completion.execute()


def chat(instance: Instance, *, service: dict[str, Any] | None = None, **params: Any) -> Any:
    endpoint = instance.snowflake.create_service("chat", **(service or {}))
    return instance.add_model("chat", "CHAT", endpoint, **{**SAVED_BEFORE, **params})


def test_a_failed_login_says_why(instance: Instance) -> None:
    llm = chat(instance)
    instance.snowflake.faults.arm(
        "refuse", "account", code="390303", message="Invalid OAuth access token.", times=None
    )
    error = ask(llm, "Hello")._raw["errorMessage"]
    assert error.startswith("[login]")
    assert "390303" in error
    assert "Profile > Credentials" in error


def test_a_job_outlives_its_session_its_master_token_and_its_access_token(instance: Instance) -> None:
    llm = chat(instance)
    for hours in (0, 1.1, 3, 5, 30):
        instance.snowflake.clock.advance(hours * 3600)
        assert ask(llm, f"after {hours} hours").text == answer_to(f"after {hours} hours")


A_DOLLAR_A_SECOND = {"spcsCreditsPerHourCost": 3600, "snowflakeCreditCost": 1}


def test_the_cost_of_a_query_does_not_grow_with_those_before_it(instance: Instance) -> None:
    llm = chat(instance, service={"request_seconds": 0.02}, **A_DOLLAR_A_SECOND)
    for _ in range(10):
        began = time.perf_counter()
        cost = ask(llm, "Hello")._raw["estimatedCost"]
        assert 0.02 <= cost <= time.perf_counter() - began


def test_parallel_queries_share_the_price_of_the_time(instance: Instance) -> None:
    service = {"request_seconds": 0.2, "replicas": 8}
    llm = chat(instance, service=service, maxParallelism=8, **A_DOLLAR_A_SECOND)
    began = time.perf_counter()
    with ThreadPoolExecutor(8) as pool:
        costs = list(pool.map(lambda _: float(ask(llm, "Hello")._raw["estimatedCost"]), range(8)))
    # Each billed for its own time, the eight would cost 8 times 0.2 s; together they cannot cost more than the clock.
    assert 0.2 <= sum(costs) <= time.perf_counter() - began


@pytest.mark.parametrize("nothing", [None, ""])
def test_optional_fields_may_be_empty(instance: Instance, nothing: Any) -> None:
    empty = dict.fromkeys(
        ("maxParallelism", "spcsCreditsPerHourCost", "snowflakeCreditCost", "modelHandlingMode"), nothing
    )
    assert ask(chat(instance, **empty), "Hello").text == answer_to("Hello")


def test_texts_share_requests_and_requests_run_in_parallel(instance: Instance) -> None:
    service = instance.snowflake.create_service("embed", kind="embedding", request_seconds=0.02)
    llm = instance.add_model("embed", "EMBEDDING", service, **SAVED_BEFORE, maxParallelism=2)
    query = llm.new_embeddings()
    for number in range(200):
        query.add_text(f"text {number}")
    vectors = query.execute().get_embeddings()
    assert vectors == [pytest.approx(vector_of(f"text {number}")) for number in range(200)]
    assert len(service.stats.batch_sizes) < 50
    assert service.stats.max_in_flight == 2


@pytest.mark.exhaustive
def test_settings_reach_a_service_that_can_take_them(instance: Instance) -> None:
    service = {"service": "smollm2", "protocol": "OPENAI"}
    llm = chat(instance, service=service, serviceProtocol="OPENAI")
    response = ask(llm, "Count to 20.", maxOutputTokens=2, temperature=0)
    assert response._raw["finishReason"] == "LENGTH"
    assert response._raw["completionTokens"] == 2


@pytest.mark.parametrize("on", ["login", "/predict"])
def test_a_redirect_takes_no_token_to_another_host(instance: Instance, on: str) -> None:
    llm = chat(instance)
    where = "account" if on == "login" else "chat"
    instance.snowflake.faults.arm("redirect", where, on=on, to="elsewhere", status=307, times=None)
    error = ask(llm, "Hello")._raw["errorMessage"]
    assert error.startswith(("[login]", "[ingress]"))
    assert instance.snowflake.counters["elsewhere"] == {}


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("fault", "place"),
    [
        ({"kind": "html_200"}, "[service]"),
        ({"kind": "empty_200"}, "[service]"),
        ({"kind": "truncated_json"}, "[service]"),
        ({"kind": "non_utf8"}, "[service]"),
        ({"kind": "respond", "status": 200, "json": {"data": []}}, "[model]"),
        ({"kind": "respond", "status": 200, "json": {"data": [[0]]}}, "[model]"),
        ({"kind": "respond", "status": 200, "json": {"data": [[0, {"outputs": "[]"}]]}}, "[model]"),
        ({"kind": "respond", "status": 200, "json": {"data": [[0, {"outputs": "not JSON {"}]]}}, ""),
        (
            {"kind": "respond", "status": 200, "json": {"data": [[0, {"outputs": [{"text": "x"}]}]]}},
            "[model]",
        ),
        ({"kind": "respond", "status": 200, "json": []}, "[model]"),
        ({"kind": "respond", "status": 200, "json": None}, "[model]"),
        ({"kind": "rows", "how": "missing"}, "[model]"),
    ],
    ids=str,
)
def test_an_answer_of_the_wrong_shape_is_a_clear_error_and_others_go_on(
    instance: Instance, fault: dict[str, Any], place: str
) -> None:
    llm = chat(instance)
    instance.snowflake.faults.arm(fault.pop("kind"), "chat", **fault)
    error = ask(llm, "Hello")._raw.get("errorMessage", "")
    assert error.startswith(place)
    assert not any(word in error for word in ("KeyError", "IndexError", "TypeError", "NoneType", "Traceback"))
    assert ask(llm, "Hello").text == answer_to("Hello")


def test_an_embedding_model_needs_no_handling_mode(instance: Instance) -> None:
    service = instance.snowflake.create_service("embed", kind="embedding")
    llm = instance.add_model(
        "embed", "EMBEDDING", service, **SAVED_BEFORE, modelHandlingMode="TEXT_GENERATION_LLAMA_2"
    )
    (vector,) = llm.new_embeddings().add_text("one").execute().get_embeddings()
    assert vector == pytest.approx(vector_of("one"))


def test_roles_stay_readable_for_a_model_of_unknown_format(instance: Instance) -> None:
    service = instance.snowflake.create_service("chat")
    llm = instance.add_model("chat", "CHAT", service, **SAVED_BEFORE)
    completion = llm.new_completion().with_message("Be brief.", role="system").with_message("Why?")
    prompt_of_roles = "System: Be brief.\n\nUser: Why?\n\nAssistant:"
    assert completion.execute().text == answer_to(prompt_of_roles)
    assert ask(llm, " as it is\n").text == answer_to(" as it is\n")


PROMPTS = {
    "TEXT_GENERATION_LLAMA_2": "<s>[INST] <<SYS>>\nBe terse.\n<</SYS>>\n\nWhy? [/INST]",
    "TEXT_GENERATION_MISTRAL": "<s>[INST] Be terse.\n\nWhy? [/INST]",
    "TEXT_GENERATION_ZEPHYR": "<|system|>\nBe terse.</s>\n<|user|>\nWhy?</s>\n<|assistant|>\n",
    "TEXT_GENERATION_FALCON": "Be terse.\n\nUser: Why?\n\nAssistant:",
    "TEXT_GENERATION_PHI_2": "Instruct: Be terse.\n\nWhy?\nOutput:",
}


@pytest.mark.sample(3)
@pytest.mark.parametrize("mode", PROMPTS)
def test_each_of_its_chat_models_is_asked_in_its_own_format(instance: Instance, mode: str) -> None:
    """Logged as its notebook did, so that the answer begins with the prompt."""
    service = instance.snowflake.create_service("chat", echo=True)
    llm = instance.add_model("chat", "CHAT", service, **SAVED_BEFORE, modelHandlingMode=mode)
    response = llm.new_completion().with_message("Be terse.", role="system").with_message("Why?").execute()
    assert list(service.stats.inputs) == [PROMPTS[mode]]
    assert response.text == answer_to(PROMPTS[mode])
