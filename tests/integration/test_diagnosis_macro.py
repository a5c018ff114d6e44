"""The macro *Diagnose an endpoint* in the sandbox's DSS: a process for each run, by the real client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from dataikuapi.utils import DataikuException

from sandbox.dss import SnowflakeConnection, SnowflakeLogin
from sandbox.instance import Instance

MACRO = "pyrunnable_snowpark-container-services-llm_spcs-llm-diagnose"


@pytest.fixture(scope="module")
def instance() -> Iterator[Instance]:
    with Instance() as made:
        made.dss.give_rights("ALICE", "DEMO", "READ_CONF")
        made.snowflake.create_service("chat", "scripted", "OPENAI", tokens=20, token_seconds=0.01)
        login = SnowflakeLogin("ALICE", access_token=made.snowflake.issue_oauth_token())
        made.dss.create_sql_connection(
            "account", SnowflakeConnection("account", made.snowflake.account_url, {"*": login})
        )
        yield made
        assert not made.dss.violations


def params(instance: Instance, **more: Any) -> dict[str, Any]:
    return {
        "oauth": {"mode": "PRESET", "name": "snowflake"},
        "snowflakeAccountUrl": instance.snowflake.account_url,
        "llmEndpointUrl": instance.snowflake.service("chat").url,
        "serviceProtocol": "AUTOMATIC",
        **more,
    }


def result(instance: Instance, **more: Any) -> dict[str, dict[str, str]]:
    macro = instance.project.get_macro(MACRO)
    table = macro.get_result(macro.run(params(instance, **more)), as_type="json")
    assert [column["name"] for column in table["columns"]] == ["step", "result", "seen", "hint", "seconds"]
    return {row[0]: dict(zip(("step", "result", "seen", "hint", "seconds"), row)) for row in table["records"]}


def test_a_model_that_works_has_nothing_that_failed(instance: Instance) -> None:
    for _ in range(3):  # pieces that came while this machine stood still seem to have been held back
        rows = result(instance)
        if "held" not in rows["Streaming"]["seen"]:
            break
    assert {row["result"] for row in rows.values()} <= {"ok", "warning", "skipped"}
    assert rows["Credential"]["seen"].endswith("(`__credentials` came with it).")
    assert "one by one" in rows["Streaming"]["seen"] or "too quick" in rows["Streaming"]["seen"]
    assert all(float(row["seconds"]) >= 0 for row in rows.values())
    record = json.loads(rows["Record"]["seen"])
    assert record["form"]["credentials_came"] is True
    assert record["service"]["spoken"] == "OPENAI"
    assert record["process"]["child_process"] in (True, False)


@pytest.mark.exhaustive
def test_progress_is_told_in_steps(instance: Instance) -> None:
    macro = instance.project.get_macro(MACRO)
    run_id = macro.run(params(instance))
    run = instance.dss.macro_run(run_id)
    assert run.target is not None
    assert run.progress == run.target[0]
    assert "prompt" not in run.log.lower()
    assert "Count from" not in run.log


@pytest.mark.exhaustive
def test_a_connection_that_does_not_exist_is_a_warning(instance: Instance) -> None:
    rows = result(instance, snowflakeConnection="nowhere")
    assert rows["Service state"]["result"] == "warning"
    assert rows["Query"]["result"] == "ok"


def test_a_scenario_is_told_by_a_failure(instance: Instance) -> None:
    macro = instance.project.get_macro(MACRO)
    with pytest.raises(DataikuException) as raised:
        macro.run(params(instance, llmEndpointUrl="http://127.0.0.1:9", failOnProblem=True))
    text = str(raised.value)
    assert "To correct first: TCP (endpoint): failed." in text
    assert "'LLM endpoint URL'" in text
    assert "Record:" in text


def test_a_service_in_trouble_is_named_by_the_connection(instance: Instance) -> None:
    service = instance.snowflake.service("chat").in_sql
    service.fall_into("out_of_memory")
    try:
        rows = result(instance, snowflakeConnection="account", logLines=5)
    finally:
        service.fall_into(None)
    assert rows["Gateway"]["result"] == "ok"
    assert rows["Service state"]["result"] == "warning"
    assert "OOMKilled" in rows["Service state"]["seen"]
    assert "Killed" in rows["Log"]["seen"]
    assert rows["Service"]["result"] == "failed"
    assert "Raise the memory" in rows["Service"]["hint"]
    assert rows["Query"]["seen"] == "Waits for the step 'Service', which has to work first."


def test_the_grants_that_are_missing_have_their_real_names(instance: Instance) -> None:
    endpoint = instance.snowflake.service("chat").endpoint
    endpoint.roles = frozenset({"OTHER"})
    try:
        rows = result(instance, snowflakeConnection="account")
    finally:
        endpoint.roles = None
    hint = rows["Gateway"]["hint"]
    assert rows["Gateway"]["result"] == "failed"
    assert "GRANT USAGE ON DATABASE DATAIKU_SPCS TO ROLE DATAIKU_SPCS_ROLE" in hint
    assert "GRANT USAGE ON SCHEMA DATAIKU_SPCS.PUBLIC TO ROLE DATAIKU_SPCS_ROLE" in hint
    assert "GRANT SERVICE ROLE DATAIKU_SPCS.PUBLIC.CHAT!ALL_ENDPOINTS_USAGE TO ROLE DATAIKU_SPCS_ROLE" in hint
    assert "<" not in hint
