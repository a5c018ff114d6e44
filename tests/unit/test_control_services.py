"""SHOW's rows are read by column name, whatever columns come, go or move."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spcs_llm.control import services
from spcs_llm.control.identifiers import QualifiedName

from .scripted_session import ScriptedSession, rows

# A row of SHOW SERVICES with all 28 columns that are documented.
SERVICE: dict[str, Any] = {
    "name": "QWEN3_4B_SERVICE",
    "status": "RUNNING",
    "database_name": "ML",
    "schema_name": "PROD",
    "owner": "DEPLOYER",
    "compute_pool": "GPU",
    "dns_name": "qwen3-4b-service.k3m6.svc.spcs.internal",
    "current_instances": "1",
    "target_instances": "2",
    "min_ready_instances": "1",
    "min_instances": "1",
    "max_instances": "2",
    "auto_resume": "true",
    "external_access_integrations": None,
    "created_on": "2024-11-29T20:12:47.310Z",
    "updated_on": "2024-11-29T20:12:47.310Z",
    "resumed_on": None,
    "suspended_on": None,
    "auto_suspend_secs": "0",
    "comment": None,
    "owner_role_type": "ROLE",
    "query_warehouse": None,
    "is_job": "false",
    "is_async_job": "false",
    "spec_digest": "0" * 64,
    "is_upgrading": "false",
    "managing_object_domain": "Model",
    "managing_object_name": "QWEN3_4B",
}
POOL: dict[str, Any] = {
    "name": "GPU",
    "state": "ACTIVE",
    "min_nodes": "1",
    "max_nodes": "3",
    "instance_family": "GPU_NV_S",
    "num_services": "2",
    "num_jobs": "0",
    "auto_suspend_secs": "300",
    "auto_resume": "true",
    "active_nodes": "1",
    "idle_nodes": "1",
    "target_nodes": "2",
    "created_on": "2024-11-29T20:12:47.310Z",
    "resumed_on": "1970-01-01T00:00:00Z",
    "updated_on": "2024-11-29T20:12:47.310Z",
    "owner": "ACCOUNTADMIN",
    "comment": None,
    "is_exclusive": "false",
    "application": None,
    "placement_group": None,
    "backup_instance_families": "",
}
# What each column decides, to say what a row without it lacks.
READ = {
    "status": "status",
    "compute_pool": "pool",
    "is_job": "is_job",
    "current_instances": "current_instances",
    "target_instances": "target_instances",
    "min_ready_instances": "min_ready_instances",
    "min_instances": "min_instances",
    "max_instances": "max_instances",
    "auto_resume": "auto_resume",
    "auto_suspend_secs": "auto_suspend_seconds",
    "owner": "owner",
    "managing_object_domain": "managing_domain",
    "managing_object_name": "managing_name",
    "created_on": "created_on",
    "updated_on": "updated_on",
}


def the_service(row: Any) -> services.Service:
    (service,) = services.read_services([row])
    return service


def test_a_service_is_read_from_the_documented_row() -> None:
    service = the_service(SERVICE)
    assert service.name == QualifiedName("ML", "PROD", "QWEN3_4B_SERVICE")
    assert (service.status, service.pool, service.current_instances, service.target_instances) == (
        "RUNNING",
        "GPU",
        1,
        2,
    )
    assert (service.auto_resume, service.is_job, service.managing_domain) == (True, False, "MODEL")
    assert service.serves


@given(
    dropped=st.sets(st.sampled_from(sorted(READ))),
    added=st.dictionaries(st.text(min_size=1).map(lambda name: f"new_{name}"), st.text()),
    seed=st.integers(),
)
def test_columns_that_go_come_and_move_change_nothing_else(
    dropped: set[str], added: dict[str, str], seed: int
) -> None:
    items = [*((name, value) for name, value in SERVICE.items() if name not in dropped), *added.items()]
    random.Random(seed).shuffle(items)
    before, after = the_service(SERVICE), the_service(dict(items))
    for column, attribute in READ.items():
        if column not in dropped:
            assert getattr(after, attribute) == getattr(before, attribute), column
        else:
            assert getattr(after, attribute) in (None, "", "UNKNOWN"), column


@pytest.mark.parametrize("written", ["true", "TRUE", "1"])
def test_a_job_is_one_however_that_is_written(written: str) -> None:
    assert not the_service({**SERVICE, "is_job": written}).serves
    assert not the_service({**SERVICE, "is_async_job": written}).serves


def test_a_service_that_has_ended_is_still_one_where_snowflake_says_that_it_is_no_job() -> None:
    """A server that cannot start may end without an error, and its service has to be found to see that."""
    ended = {**SERVICE, "status": "DONE", "is_async_job": "false"}
    assert the_service({**ended, "is_job": "false"}).serves
    assert not the_service({**ended, "is_job": None}).serves


@pytest.mark.parametrize("name", ["MODEL_BUILD_1a2b", "MODEL_LOGGING_1a2b", "model_build_x"])
def test_services_that_build_models_do_not_serve(name: str) -> None:
    assert not the_service({**SERVICE, "name": name}).serves


def test_a_state_that_snowflake_adds_is_shown_as_it_is() -> None:
    assert the_service({**SERVICE, "status": "Hibernating"}).status == "HIBERNATING"


def test_a_row_without_a_full_name_is_left_out_unless_the_scope_says_the_rest() -> None:
    row = {"name": "A", "status": "RUNNING"}
    assert services.read_services([row]) == []
    assert services.read_services([row], "D", "S")[0].name == QualifiedName("D", "S", "A")


def test_a_suspended_services_row_of_nulls_is_no_instance_and_no_container() -> None:
    null = rows(
        "database_name schema_name service_name service_status instance_id instance_status container_name status",
        "ML|PROD|A|SUSPENDED|NULL|NULL|NULL|NULL",
    )
    assert services.read_instances(null) == []
    assert services.read_containers(null) == []


def test_a_containers_state_says_whether_waiting_helps() -> None:
    shown = rows(
        "instance_id container_name status message restart_count last_exit_code",
        "0|main|READY|Running|0|NULL",
        "0|proxy|PENDING|Readiness probe is failing at path: /health, port: 8000|0|NULL",
        "1|main|PENDING|Encountered fatal error, retrying|3|1",
        "1|proxy|FAILED|NULL|NULL|137",
    )
    ready, waiting, crashing, failed = services.read_containers(shown)
    assert [container.is_ready for container in (ready, waiting, crashing, failed)] == [
        True,
        False,
        False,
        False,
    ]
    assert [c.has_given_up for c in (ready, waiting, crashing, failed)] == [False, False, True, True]
    assert str(crashing) == "main is PENDING: Encountered fatal error, retrying (restarted 3 times)"
    assert str(replace(waiting, restarts=1)).endswith("port: 8000 (restarted once)")


def test_an_endpoint_without_a_host_yet_is_provisioning() -> None:
    shown = rows(
        "name port port_range protocol is_public ingress_url privatelink_ingress_url",
        "inference|5000|NULL|HTTP|true|d7qoajz-MYORG-prod.snowflakecomputing.app|NULL",
        "new|8000|NULL|HTTP|true|Endpoints provisioning in progress... check back in a few minutes|NULL",
        "inner|8001|NULL|HTTP|false|NULL|NULL",
        "private|8002|NULL|HTTPS|true|NULL|d7qoajz.spcs.pdxaac.privatelink.snowflake.app",
    )
    public, new, inner, private = services.read_endpoints(shown)
    assert public.host == "d7qoajz-myorg-prod.snowflakecomputing.app"
    assert [endpoint.is_provisioning for endpoint in (public, new, inner, private)] == [
        False,
        True,
        False,
        False,
    ]
    assert (inner.host, private.private_host) == (None, "d7qoajz.spcs.pdxaac.privatelink.snowflake.app")


def test_a_pool_is_read_with_and_without_its_reason() -> None:
    (pool,) = services.read_pools([POOL])
    assert (pool.state, pool.family, pool.nodes, pool.auto_suspend_seconds) == ("ACTIVE", "GPU_NV_S", 2, 300)
    (pool,) = services.read_pools([{**POOL, "error_code": "392507", "status_message": "CAPACITY_ERROR."}])
    assert (pool.error_code, pool.message) == ("392507", "CAPACITY_ERROR.")
    (pool,) = services.read_pools([{"name": "P"}])
    assert (pool.state, pool.nodes, pool.services) == ("UNKNOWN", 0, None)


def test_versions_name_their_services_and_not_those_that_built_them() -> None:
    model = QualifiedName("ML", "PROD", "QWEN3_4B")
    served = ["ML.PROD.QWEN3_4B_SERVICE", 'ML."my schema".S', "ML.PROD.MODEL_BUILD_1", "not a name"]
    row = {"name": "V1", "functions": '["__call__"]', "inference_services": json.dumps(served)}
    (version,) = services.read_versions(model, [row])
    assert version.functions == ("__call__",)
    assert version.services == (
        QualifiedName("ML", "PROD", "QWEN3_4B_SERVICE"),
        QualifiedName("ML", "my schema", "S"),
    )
    assert services.read_versions(model, [{"name": "V2", "inference_services": "{"}])[0].services == ()


def test_an_account_that_cannot_leave_jobs_out_lists_them_and_they_are_left_out_here() -> None:
    shown = [SERVICE, {**SERVICE, "name": "NIGHTLY", "is_job": "true"}]
    session = ScriptedSession({"SHOW SERVICES IN ACCOUNT": shown})
    listed, rows_ = services.listed_services(session)
    assert [service.name.name for service in listed] == ["QWEN3_4B_SERVICE"]
    assert rows_ == 2
    assert session.asked == ["SHOW SERVICES EXCLUDE JOBS IN ACCOUNT", "SHOW SERVICES IN ACCOUNT"]


def test_a_named_service_is_the_one_of_exactly_this_name() -> None:
    shown = [{**SERVICE, "name": "AXB"}, {**SERVICE, "name": "A_B"}]
    session = ScriptedSession({"SHOW SERVICES LIKE 'A_B' IN SCHEMA ML.PROD": shown})
    assert services.named_service(session, QualifiedName("ML", "PROD", "A_B")).name.name == "A_B"
    assert services.named_service(ScriptedSession({"SHOW": []}), QualifiedName("ML", "PROD", "A_B")) is None


@given(st.lists(st.dictionaries(st.sampled_from([*SERVICE, *POOL]), st.one_of(st.none(), st.text()))))
def test_no_row_makes_a_reader_fail(shown: list[dict[str, Any]]) -> None:
    services.read_services(shown)
    services.read_containers(shown)
    services.read_endpoints(shown)
    services.read_pools(shown)
    services.read_nodes(shown)
    services.read_versions(QualifiedName("D", "S", "M"), shown)
