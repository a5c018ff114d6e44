"""Each field of the form wrong in turn: the step that names it does so by its label."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from sandbox.snowflake import Snowflake
from spcs_llm.control.diagnosis.diagnosis import diagnose
from spcs_llm.control.diagnosis.finding import FAILED, OK, SKIPPED, WARNING
from spcs_llm.settings import LABELS
from tests.waiting import longer_each_time

KEY_PAIR = {"authenticationMode": "KEY_PAIR"}
TOKEN = {"authenticationMode": "PROGRAMMATIC_ACCESS_TOKEN"}
CUSTOM = {"modelHandlingMode": "TEXT_GENERATION_CUSTOM", "serviceProtocol": "PREDICT"}
# field, wrong value, other settings; where its label is not what is said, what is.
WRONG: list[tuple[str, Any, dict[str, Any], str]] = [
    ("authenticationMode", "SINGING", {}, ""),
    ("oauth", None, {}, ""),
    ("oauth", {}, {}, ""),
    ("oauth", "a name", {}, ""),
    ("oauth", {"mode": "INLINE"}, {}, ""),
    ("oauth", {"snowflake_oauth": None}, {}, "Profile > Credentials"),
    ("keyPair", None, KEY_PAIR, ""),
    ("keyPair", {"privateKey": "x"}, KEY_PAIR, "does not name a user"),
    ("keyPair", {"user": "U"}, KEY_PAIR, "does not contain a private key"),
    ("keyPair", {"user": "U", "privateKey": "not a key"}, KEY_PAIR, "'Private key' of the preset"),
    ("programmaticAccessToken", None, TOKEN, ""),
    ("programmaticAccessToken", {"token": ""}, TOKEN, ""),
    ("programmaticAccessToken", {"token": "two words"}, TOKEN, "is not a token"),
    ("snowflakeAccountUrl", None, {}, ""),
    ("snowflakeAccountUrl", "http://o-a.snowflakecomputing.com", {}, "https://"),
    ("snowflakeAccountUrl", "abc-o-a.snowflakecomputing.app", {}, "names a service endpoint"),
    ("snowflakeAccountUrl", "https://evil.example", {}, "not Snowflake's"),
    ("llmEndpointUrl", None, {}, ""),
    ("llmEndpointUrl", "Endpoints provisioning in progress... check back in a few minutes", {}, "provisioned"),
    ("llmEndpointUrl", "o-a.snowflakecomputing.com", {}, "names a Snowflake account"),
    ("llmEndpointUrl", "https://evil.example", {}, "not Snowflake's"),
    ("llmEndpointUrl", "${variable}", {}, "variable"),
    ("serviceProtocol", "GRPC", {}, ""),
    ("modelHandlingMode", "POETRY", {}, ""),
    ("chatTemplate", None, CUSTOM, ""),
    ("chatTemplate", "{% for", CUSTOM, ""),
    ("modelName", ["a"], {}, ""),
    ("methodName", {"a": 1}, {}, ""),
    ("inputColumn", True, {}, ""),
    ("serviceApiKey", ["plum"], {}, ""),
    ("allowedHosts", "not a host!", {}, ""),
    ("dropRefusedSettings", "perhaps", {}, ""),
    ("maxParallelism", 0, {}, ""),
    ("maxParallelism", "many", {}, ""),
    ("maxBatchSize", 0.5, {}, ""),
    ("requestTimeoutSeconds", 0, {}, ""),
    ("queryTimeoutSeconds", -1, {}, ""),
    ("coldStartWaitSeconds", "long", {}, ""),
    ("spcsCreditsPerHourCost", -1, {}, ""),
    ("snowflakeCreditCost", "dear", {}, ""),
    ("nodeCount", 0, {}, ""),
]  # fmt: skip


@pytest.fixture(scope="module")
def snowflake() -> Iterator[Snowflake]:
    with Snowflake() as made:
        made.create_service("chat", "scripted", "OPENAI")
        yield made


def config(snowflake: Snowflake, **more: Any) -> dict[str, Any]:
    return {
        "oauth": {"snowflake_oauth": snowflake.issue_oauth_token()},
        "programmaticAccessToken": {"token": snowflake.create_pat()},
        "snowflakeAccountUrl": snowflake.account_url,
        "llmEndpointUrl": snowflake.service("chat").url,
        "serviceProtocol": "AUTOMATIC",
        **more,
    }


@pytest.mark.parametrize(("field", "value", "more", "said"), WRONG)
def test_a_wrong_field_is_named_by_its_label(
    snowflake: Snowflake, field: str, value: Any, more: dict[str, Any], said: str
) -> None:
    found = diagnose(config(snowflake, **{**more, field: value})).findings
    assert found[0].result == FAILED, found[0]
    assert (said or f"'{LABELS[field]}'") in found[0].seen
    assert "plum" not in found[0].seen
    assert found[0].hint
    assert {each.result for each in found[1:]} == {SKIPPED}
    assert all("Waits for the step 'Settings'" in each.seen for each in found[1:])


def test_every_field_of_the_form_has_been_wrong() -> None:
    assert {field for field, *_ in WRONG} == LABELS.keys()


def test_all_wrong_fields_are_named_at_once(snowflake: Snowflake) -> None:
    found = diagnose(config(snowflake, maxParallelism=0, llmEndpointUrl=None, oauth=None)).findings[0]
    for label in ("Max parallelism", "LLM endpoint URL", "OAuth credentials"):
        assert f"'{label}'" in found.seen


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("values", "step", "label"),
    [
        ({"coldStartWaitSeconds": 900, "queryTimeoutSeconds": 600}, "Settings", "Query timeout"),
        ({"queryTimeoutSeconds": 60, "coldStartWaitSeconds": 0}, "Settings", "Request timeout"),
        ({"maxParallelism": "1"}, "", ""),
        ({"maxParallelism": 4.0, "spcsCreditsPerHourCost": "0.57", "nodeCount": ""}, "", ""),
    ],
)  # fmt: skip
def test_what_can_be_used_is_used_and_what_is_unwise_is_a_warning(
    snowflake: Snowflake, values: dict[str, Any], step: str, label: str
) -> None:
    diagnosis = diagnose(config(snowflake, **values))
    assert diagnosis.first_problem is None
    found = [each for each in diagnosis.findings if each.result == WARNING and each.step != "Parallelism"]
    assert [each.step for each in found] == ([step] if step else [])
    assert not step or f"'{label}'" in found[0].hint


def test_a_host_outside_snowflake_that_is_allowed_is_a_warning(snowflake: Snowflake) -> None:
    found = diagnose(
        config(snowflake, llmEndpointUrl="https://proxy.invalid", allowedHosts="proxy.invalid")
    ).findings
    (hosts,) = [each for each in found if each.step == "Host names"]
    assert hosts.result == WARNING
    assert "'Hosts outside Snowflake'" in hosts.hint


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    ("capability", "service", "seen"),
    [
        ("chat", {"protocol": "OPENAI"}, "A chat has"),
        ("embed", {"protocol": "OPENAI"}, "an embedding of 8 dimensions"),
        ("rerank", {"protocol": "OPENAI"}, "3 documents are ranked"),
        ("embed", {"protocol": "PREDICT", "kind": "embedding"}, "an embedding of 8 dimensions"),
        ("chat", {"protocol": "MODEL_SERVING"}, "A chat has"),
    ],
)
def test_the_query_is_of_the_capability_that_is_chosen(
    snowflake: Snowflake, capability: str, service: dict[str, Any], seen: str
) -> None:
    made = snowflake.create_service(f"{capability}-{len(snowflake.world.services)}", "scripted", **service)
    diagnosis = diagnose(config(snowflake, llmEndpointUrl=made.url), capability=capability)
    found = {each.step: each for each in diagnosis.findings}
    assert found["Query"].result == OK, found["Query"]
    assert seen in found["Query"].seen


def test_a_ranking_with_the_answer_behind_something_else_is_a_warning(snowflake: Snowflake) -> None:
    # vLLM with Qwen3-Reranker and without its template: HTTP 200 and scores that mean nothing (vllm-project/vllm#55501)
    made = snowflake.create_service("jumbled", "scripted", "OPENAI", rerank="reversed")
    found = {
        each.step: each
        for each in diagnose(config(snowflake, llmEndpointUrl=made.url), capability="rerank").findings
    }
    assert found["Query"].result == WARNING
    assert "before the answer" in found["Query"].seen
    assert "--chat-template" in found["Query"].hint


def test_a_capability_that_the_service_does_not_have_is_named(snowflake: Snowflake) -> None:
    made = snowflake.create_service("no-ranks", "scripted", "OPENAI", rerank="none")
    diagnosis = diagnose(config(snowflake, llmEndpointUrl=made.url), capability="rerank")
    assert diagnosis.first_problem is not None
    assert diagnosis.first_problem.step == "Query"
    assert "chat and embeddings, but no reranking" in diagnosis.first_problem.seen


def test_a_diagnosis_ends_in_its_time(snowflake: Snowflake) -> None:
    snowflake.faults.arm("hang", "chat", times=None)
    try:
        for seconds in longer_each_time(1.0):
            diagnosis = diagnose(config(snowflake), seconds=seconds)
            results = {each.step: each for each in diagnosis.findings}
            if results["Gateway"].result == FAILED:  # or the steps before it took all the time
                break
    finally:
        snowflake.faults.clear()
    assert results["Gateway"].result == FAILED
    assert results["Request without a token"].result == SKIPPED
    assert f"has taken the {seconds:g} s" in results["Request without a token"].seen
    assert len(diagnosis.findings) == diagnosis.count


def test_what_queries_cost_is_told_one_by_one_and_several_at_once(snowflake: Snowflake) -> None:
    made = snowflake.create_service("costly", "scripted", "OPENAI", replicas=8, request_seconds=0.3)
    rates = {"spcsCreditsPerHourCost": 2, "snowflakeCreditCost": 4, "nodeCount": 1, "maxParallelism": 8}
    costs: list[float] = []
    for _ in range(
        3
    ):  # what the machine does meanwhile makes the few queries at once dearer, or leaves them no time
        diagnosis = diagnose(config(snowflake, llmEndpointUrl=made.url, **rates))
        (cost,) = [each.seen for each in diagnosis.findings if each.step == "Cost"]
        costs = [float(number) for number in re.findall(r"USD ([\d.e-]*\d)", cost)]
        if len(costs) == 3 and costs[1] < costs[0] / 2:
            break
    alone, together, hour = costs
    assert hour == 8
    assert alone >= 1000 * 0.3 * 8 / 3600  # each query keeps the service busy for at least 0.3 seconds
    assert together < alone / 2


def test_a_service_that_is_slow_is_not_compared(snowflake: Snowflake) -> None:
    made = snowflake.create_service("slow", "scripted", "OPENAI", request_seconds=1.0)
    diagnosis = diagnose(config(snowflake, llmEndpointUrl=made.url), limit=5.0)
    found = {each.step: each for each in diagnosis.findings}
    assert found["Query"].result == OK
    assert found["Parallelism"].result == SKIPPED
    assert "too long" in found["Parallelism"].seen
