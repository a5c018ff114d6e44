"""What is wrong with a service in Snowflake, as the sandbox's account has it: its condition, its pool, its grants.

The state is looked up by the SQL API with the caller's own sign-in, over real sockets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sandbox.snowflake import Snowflake
from sandbox.snowflake.catalog.conditions import CONDITIONS
from sandbox.snowflake.sql.statement_faults import CHANGES
from spcs_llm.control.diagnosis.diagnosis import Diagnosis, diagnose
from spcs_llm.control.diagnosis.finding import FAILED, OK, SKIPPED, WARNING, Finding
from spcs_llm.control.diagnosis.record import record
from spcs_llm.control.macro_form import SignInSettings
from spcs_llm.control.open_session import Dss, open_session
from spcs_llm.control.session import SqlSession
from spcs_llm.settings import read_settings

HINTS = {
    "unschedulable": "MAX_NODES",
    "readiness_failing": "readinessProbe",
    "image_not_found": "image repository",
    "invalid_image_name": "image's path",
    "fatal_start": "SYSTEM$GET_SERVICE_LOGS",
    "fatal_running": "built for this GPU",
    "fatal_retrying": "SYSTEM$GET_SERVICE_LOGS",
    "out_of_memory": "memory",
    "application_error": "Use an image that contains it",
    "refused_input": "SYSTEM$GET_SERVICE_LOGS",
    "internal_error": "contact Snowflake Support",
}


@pytest.fixture
def snowflake(short_back_offs: Callable[[], None]) -> Iterator[Snowflake]:
    short_back_offs()
    with Snowflake() as made:
        made.create_service("chat", "scripted", "OPENAI")
        yield made


def config(snowflake: Snowflake) -> dict[str, Any]:
    return {
        "oauth": {"snowflake_oauth": snowflake.issue_oauth_token()},
        "snowflakeAccountUrl": snowflake.account_url,
        "llmEndpointUrl": snowflake.service("chat").url,
        "serviceProtocol": "AUTOMATIC",
    }


def diagnosed(snowflake: Snowflake, seconds: float = 20.0, **options: Any) -> Diagnosis:
    values = config(snowflake)

    def open_sql() -> SqlSession:
        own = SignInSettings(None, read_settings(values).credential, None, None)
        return open_session(own, Dss(lambda connection: pytest.fail("there is no DSS")), seconds)

    return diagnose(values, open_sql=open_sql, **{"sql_is_the_callers": True, **options})


def by_step(diagnosis: Diagnosis) -> dict[str, Finding]:
    return {found.step: found for found in diagnosis.findings}


@pytest.mark.parametrize("condition", CONDITIONS)
def test_each_condition_of_a_service_is_named_with_its_hint(snowflake: Snowflake, condition: str) -> None:
    snowflake.service("chat").in_sql.fall_into(condition)
    found = by_step(diagnosed(snowflake))
    table = "\n".join(f"{f.step:18} {f.result:8} {f.seen} || {f.hint}" for f in found.values())
    assert [f.step for f in found.values() if f.result == FAILED] == ["Service"], table
    assert found["Service state"].result == WARNING
    assert CONDITIONS[condition].message in found["Service state"].seen, table
    assert HINTS[condition] in found["Service"].hint, table


def test_the_table_has_every_condition() -> None:
    assert HINTS.keys() == CONDITIONS.keys()


def test_a_service_that_runs_is_ok_with_its_pool(snowflake: Snowflake) -> None:
    diagnosis = diagnosed(snowflake)
    found = by_step(diagnosis)["Service state"]
    assert found.result == OK, found
    assert "DATAIKU_SPCS.PUBLIC.CHAT is RUNNING" in found.seen
    assert "is ACTIVE" in found.seen
    columns = record(diagnosis.subject, diagnosis.findings)["columns"]
    assert {kind: told["others"] for kind, told in columns.items()} == dict.fromkeys(columns, 0)
    assert {"SHOW SERVICES", "SHOW ENDPOINTS", "SHOW SERVICE CONTAINERS", "DESCRIBE COMPUTE POOL"} <= {
        kind.replace(" IN SERVICE", "").replace(" EXCLUDE", "") for kind in columns
    }


def test_a_service_that_does_not_resume_by_itself_is_resumed_by_its_statement(snowflake: Snowflake) -> None:
    service = snowflake.service("chat").in_sql
    service.auto_resume = False
    service.suspend(snowflake.clock())
    snowflake.clock.advance(120)
    found = by_step(diagnosed(snowflake))
    assert found["Service"].result == FAILED
    assert "is SUSPENDED" in found["Service state"].seen
    assert "ALTER SERVICE DATAIKU_SPCS.PUBLIC.CHAT RESUME" in found["Service"].hint
    assert "Wait: a request resumes it" not in found["Service"].hint


def test_a_service_that_the_diagnosis_wakes_is_waited_for(snowflake: Snowflake) -> None:
    snowflake.service("chat").in_sql.suspend(snowflake.clock())
    snowflake.clock.advance(120)
    found = by_step(diagnosed(snowflake))
    assert found["Service"].result == FAILED
    assert "Wait" in found["Service"].hint


def test_a_pool_without_capacity_is_named(snowflake: Snowflake) -> None:
    snowflake.statement_faults.arm(
        "set_cells",
        "describe compute pool",
        times=None,
        columns={"error_code": "392507", "status_message": "CAPACITY_ERROR", "state": "STARTING"},
    )
    snowflake.service("chat").in_sql.fall_into("unschedulable")
    found = by_step(diagnosed(snowflake))
    assert "392507" in found["Service state"].seen
    assert "BACKUP_INSTANCE_FAMILIES" in found["Service"].hint


def test_what_the_caller_may_not_see_is_no_problem(snowflake: Snowflake) -> None:
    service = snowflake.service("chat").in_sql
    snowflake.world.catalog.grants.revoke_all(service.securable, "DATAIKU_SPCS_ROLE")
    found = by_step(diagnosed(snowflake))
    assert found["Service state"].result == SKIPPED
    assert "does not have to" in found["Service state"].seen
    assert "MONITOR" in found["Service state"].hint
    assert found["Query"].result == OK


def test_without_monitor_the_grant_has_its_real_names(snowflake: Snowflake) -> None:
    service = snowflake.service("chat").in_sql
    snowflake.world.catalog.grants.revoke_all(service.securable, "DATAIKU_SPCS_ROLE")
    snowflake.world.catalog.grants.grant("USAGE", service.securable, "DATAIKU_SPCS_ROLE")
    found = by_step(diagnosed(snowflake))["Service state"]
    assert "GRANT MONITOR ON SERVICE DATAIKU_SPCS.PUBLIC.CHAT TO ROLE DATAIKU_SPCS_ROLE" in found.hint


FAULTS: dict[str, dict[str, Any]] = {
    "error": {"code": "000604", "state": "57014", "message": "SQL execution canceled"},
    "slow": {"seconds": 3600},
    "add_columns": {"columns": {"zebra": "zebra"}},
    "drop_columns": {"columns": ["status", "compute_pool", "message", "is_public", "created_on"]},
    "reverse_columns": {},
    "rename_columns": {"columns": {"name": "title", "status": "condition"}},
    "null_columns": {"columns": ["status", "compute_pool", "restart_count", "message", "ingress_url"]},
    "set_cells": {"columns": {"status": "A NEW STATE", "restart_count": "many"}},
    "drop_rows": {"keep": 0},
}


@pytest.mark.sample(2)
@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize(
    "statement", ["show services", "show endpoints", "containers", "describe compute", "select"]
)
def test_whatever_sql_does_the_model_is_still_diagnosed(
    snowflake: Snowflake, kind: str, statement: str
) -> None:
    snowflake.statement_faults.arm(kind, statement, times=None, **FAULTS[kind])
    diagnosis = diagnosed(snowflake, seconds=0.5, log_lines=3)
    found = by_step(diagnosis)
    table = "\n".join(f"{f.step:18} {f.result:8} {f.seen} || {f.hint}" for f in found.values())
    assert [f.step for f in found.values() if f.result == FAILED] == [], table
    assert found["Query"].result == OK, table
    assert "zebra" not in str(record(diagnosis.subject, diagnosis.findings))


def test_every_fault_of_statements_is_met() -> None:
    assert FAULTS.keys() == {"error", "slow", *CHANGES}


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("fault", "params"),
    [
        ("respond", {"status": 401, "json": {"code": "390303", "message": "Invalid OAuth access token."}}),
        ("respond", {"status": 429, "json": {"code": "390505"}}),
        ("respond", {"status": 500, "body": "oops"}),
        ("reset", {}),
        ("html_200", {}),
        ("truncated_json", {}),
        ("hang", {}),
    ],
)
def test_a_sql_api_that_fails_is_told_and_holds_up_nothing(
    snowflake: Snowflake, fault: str, params: dict[str, Any]
) -> None:
    snowflake.faults.arm(fault, "account", on="statement", times=None, **params)
    found = by_step(diagnosed(snowflake, seconds=0.5, sql_is_the_callers=False))
    assert found["Service state"].result == WARNING
    assert found["Service state"].hint
    assert found["Query"].result == OK


def test_logs_are_shown_on_request(snowflake: Snowflake) -> None:
    snowflake.service("chat").in_sql.fall_into("application_error")
    found = by_step(diagnosed(snowflake, log_lines=5))["Log"]
    assert found.result == OK
    assert "No module named 'vllm'" in found.seen
