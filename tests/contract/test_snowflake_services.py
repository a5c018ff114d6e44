"""Services and compute pools in SQL: who sees and may do what, how long it takes, and what the ingress makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

import sandbox.snowflake
from sandbox.snowflake import ROLE, Clock, Snowflake
from sandbox.snowflake.catalog import CONDITIONS, CPU_POOL, DATABASE, GPU_POOL, OWNER, WAREHOUSE
from sandbox.snowflake.snowflake import PublicEndpoint
from sandbox.snowflake.sql.errors import SqlError
from sandbox.snowflake.sql.statement_faults import CHANGES
from sandbox.snowflake.sql.statements import HANDLERS
from sandbox.snowflake.world import Session

CHAT = f"{DATABASE}.PUBLIC.CHAT"


@pytest.fixture
def sf() -> Iterator[Snowflake]:
    # The clock stands still but for what a test advances it by.
    with Snowflake(clock=Clock(lambda: 1_800_000_000.0)) as snowflake:
        yield snowflake


@pytest.fixture
def chat(sf: Snowflake) -> PublicEndpoint:
    return sf.create_service("chat")


def run(sf: Snowflake, statement: str, role: str = ROLE, **more: Any) -> list[dict[str, Any]]:
    return sf.run_sql(statement, role=role, **more)


def one(sf: Snowflake, statement: str, role: str = ROLE) -> dict[str, Any]:
    (row,) = run(sf, statement, role)
    return row


def refused(sf: Snowflake, statement: str, role: str = ROLE, **more: Any) -> tuple[str, str]:
    with pytest.raises(SqlError) as error:
        run(sf, statement, role, **more)
    return error.value.code, error.value.state


def call(sf: Snowflake, chat: PublicEndpoint) -> int:
    headers = {"Authorization": f'Snowflake Token="{sf.create_pat()}"'}
    body = {"data": [[0, {"inputs": "hi"}]]}
    return requests.post(chat.url + "/predict", json=body, headers=headers, timeout=30).status_code


def status(sf: Snowflake) -> str:
    return str(one(sf, f"DESCRIBE SERVICE {CHAT}")["status"])


def container(sf: Snowflake) -> tuple[Any, Any]:
    row = run(sf, f"SHOW SERVICE CONTAINERS IN SERVICE {CHAT}")[0]
    return row["status"], row["message"]


# -- columns


def names(sf: Snowflake, statement: str) -> list[str]:
    result = sf.executor.run(session_of(sf), statement)
    return [column.name for column in result.columns]


def session_of(sf: Snowflake, **more: Any) -> Session:
    return Session(0, "ALICE", ROLE, warehouse=WAREHOUSE, database=DATABASE, **more)


SERVICES = """
    name status database_name schema_name owner compute_pool dns_name current_instances target_instances
    min_ready_instances min_instances max_instances auto_resume external_access_integrations created_on updated_on
    resumed_on suspended_on auto_suspend_secs comment owner_role_type query_warehouse is_job is_async_job spec_digest
    is_upgrading managing_object_domain managing_object_name
"""
POOLS = """
    name state min_nodes max_nodes instance_family num_services num_jobs auto_suspend_secs auto_resume active_nodes
    idle_nodes target_nodes created_on resumed_on updated_on owner comment is_exclusive application placement_group
    backup_instance_families
"""
COLUMNS = {
    "SHOW SERVICES": SERVICES,
    "SHOW SERVICES EXCLUDE JOBS": SERVICES.replace(" is_job is_async_job", ""),
    "SHOW JOB SERVICES": SERVICES.replace(" is_job", ""),
    "DESC SERVICE CHAT": SERVICES.replace("dns_name", "spec dns_name"),
    "SHOW COMPUTE POOLS": POOLS,
    f"DESCRIBE COMPUTE POOL {GPU_POOL}": POOLS.replace(
        "application", "application error_code status_message"
    ),
    "SHOW SERVICE CONTAINERS IN SERVICE CHAT": """
        database_name schema_name service_name service_status instance_id instance_status container_name status message
        image_name image_digest restart_count start_time last_exit_code last_restart_time
    """,
    "SHOW SERVICE INSTANCES IN SERVICE CHAT": """
        database_name schema_name service_name service_status instance_id status spec_digest creation_time start_time
        ip_address
    """,
    "SHOW ENDPOINTS IN SERVICE CHAT": "name port port_range protocol is_public ingress_url",
    "SHOW ROLES IN SERVICE CHAT": "created_on name comment",
    f"SHOW NODES IN COMPUTE POOL {GPU_POOL}": """
        node_id instance_family created_on placement_group vcpu memory_gib storage_gib gpu gpu_count gpu_memory_gib
    """,
    "SHOW COMPUTE POOL INSTANCE FAMILIES": """
        name description vcpu memory_gib storage_gib gpu gpu_count gpu_memory_gib current_node_usage message
    """,
    "SHOW MODELS": """
        created_on name model_type database_name schema_name owner comment versions default_version_name aliases
    """,
    "SHOW GATEWAYS": "created_on name database_name schema_name owner owner_role_type gateway_type comment",
    "SHOW GRANTS ON SERVICE CHAT": """
        created_on privilege granted_on name granted_to grantee_name grant_option granted_by_role_type granted_by
    """,
}


@pytest.mark.parametrize("statement", COLUMNS)
def test_columns_are_those_of_the_documentation_in_its_order(
    sf: Snowflake, chat: PublicEndpoint, statement: str
) -> None:
    assert names(sf, statement) == COLUMNS[statement].split()


# -- what SHOW finds


def test_filters_narrow_what_is_shown(sf: Snowflake) -> None:
    for name in ("A_1", "A_2", "AB1", "B_1"):
        sf.catalog.add_service(name, pool=CPU_POOL)
    sf.catalog.add_service("A_1", database="OTHER", schema="S", pool=CPU_POOL)

    def shown(clauses: str) -> list[Any]:
        return [row["name"] for row in run(sf, f"SHOW SERVICES {clauses}")]

    assert shown("IN ACCOUNT") == ["AB1", "A_1", "A_2", "B_1", "A_1"]
    assert shown("") == ["AB1", "A_1", "A_2", "B_1"]  # one of each name
    assert shown(r"LIKE 'a\\_%' IN DATABASE dataiku_spcs") == ["A_1", "A_2"]
    assert shown("LIKE 'a_1' IN SCHEMA dataiku_spcs.public") == ["AB1", "A_1"]
    assert shown("IN SCHEMA OTHER.S") == ["A_1"]
    assert shown(f"IN COMPUTE POOL {GPU_POOL}") == []
    assert shown("IN DATABASE DATAIKU_SPCS STARTS WITH 'a'") == []
    assert shown("IN DATABASE DATAIKU_SPCS STARTS WITH 'A_' LIMIT 1") == ["A_1"]
    assert shown("IN DATABASE DATAIKU_SPCS LIMIT 2 FROM 'A_1'") == ["A_2", "B_1"]
    assert shown("IN ACCOUNT OF TYPE MODEL_SERVING") == []
    assert refused(sf, "SHOW SERVICES IN ACCOUNT LIMIT 0") == ("001015", "42000")


def test_at_most_ten_thousand_rows_are_shown(sf: Snowflake) -> None:
    for number in range(10_001):
        sf.catalog.add_warehouse(f"W{number:05}", usage=())
    assert len(run(sf, "SHOW WAREHOUSES", "ACCOUNTADMIN")) == 10_000


def test_jobs_are_told_from_services(sf: Snowflake, chat: PublicEndpoint) -> None:
    sf.catalog.add_service("NIGHTLY", is_job=True, status="DONE", running=False)
    assert [row["name"] for row in run(sf, "SHOW JOB SERVICES IN ACCOUNT")] == ["NIGHTLY"]
    assert [row["name"] for row in run(sf, "SHOW SERVICES EXCLUDE JOBS IN ACCOUNT")] == ["CHAT"]
    assert refused(sf, f"ALTER SERVICE {DATABASE}.PUBLIC.NIGHTLY SUSPEND")[0] == "001044"


def test_a_model_leads_to_its_service_and_back(sf: Snowflake) -> None:
    sf.create_service("bot", protocol="MODEL_SERVING")
    (model,) = run(sf, "SHOW MODELS IN ACCOUNT")
    version = one(sf, f"SHOW VERSIONS IN MODEL {DATABASE}.PUBLIC.{model['name']}")
    assert version["inference_services"] == f'["{DATABASE}.PUBLIC.BOT"]'
    assert version["functions"] == '["__CALL__"]'
    service = one(sf, "SHOW SERVICES IN ACCOUNT")
    assert service["managing_object_name"] == f"{DATABASE}.PUBLIC.{model['name']}"
    assert one(sf, f"SHOW FUNCTIONS IN SERVICE {DATABASE}.PUBLIC.BOT")["name"] == "__CALL__"
    containers = run(sf, f"SHOW SERVICE CONTAINERS IN SERVICE {DATABASE}.PUBLIC.BOT")
    assert [row["container_name"] for row in containers] == ["model-inference", "proxy", "snowflake-ingress"]


def test_unknown_statements_never_make_up_a_row(sf: Snowflake) -> None:
    for statement in (
        "SHOW SERVICE", "SHOW SERVICES IN", "SHOW SERVICES WIBBLE", "CREATE PIPE T", "EXECUTE JOB SERVICE",
        "SHOW SERVICES; DROP", "SELECT * FROM", "DESCRIBE", "ALTER SERVICE X", "ALTER SERVICE X EXPLODE",
        "SHOW IMAGES IN IMAGE REPOSITORY X", "SELECT 1 FROM TABLE(", "SHOW COMPUTE POOLS IN ACCOUNT",
    ):  # fmt: skip
        assert refused(sf, statement)[0] in ("001003", "000008"), statement


# -- privileges


def test_what_a_role_has_no_privilege_on_is_not_there(sf: Snowflake, chat: PublicEndpoint) -> None:
    sf.world.add_user("BOB", "STRANGER")
    assert run(sf, "SHOW SERVICES IN ACCOUNT", "STRANGER") == []
    assert run(sf, "SHOW COMPUTE POOLS", "STRANGER") == []
    assert run(sf, "SHOW WAREHOUSES", "STRANGER") == []
    assert refused(sf, f"DESCRIBE SERVICE {CHAT}", "STRANGER") == ("002003", "02000")
    assert refused(sf, f"ALTER SERVICE {CHAT} SUSPEND", "STRANGER") == ("002003", "02000")
    assert refused(sf, f"DESCRIBE COMPUTE POOL {GPU_POOL}", "STRANGER") == ("002003", "02000")
    assert refused(sf, f"SHOW SERVICES IN DATABASE {DATABASE}", "STRANGER") == ("002043", "02000")
    with pytest.raises(SqlError, match="Your primary role STRANGER or one of your secondary roles must have"):
        run(sf, f"DESCRIBE SERVICE {CHAT}", "STRANGER")
    sf.catalog.hints_at_privileges = False
    with pytest.raises(SqlError, match=r"does not exist or not authorized\.$"):
        run(sf, f"DESCRIBE SERVICE {CHAT}", "STRANGER")


def test_each_statement_needs_its_privilege_on_what_is_seen(sf: Snowflake, chat: PublicEndpoint) -> None:
    needs = {
        f"SHOW ENDPOINTS IN SERVICE {CHAT}": "USAGE",
        f"SHOW ROLES IN SERVICE {CHAT}": "USAGE",
        f"SHOW SERVICE CONTAINERS IN SERVICE {CHAT}": "MONITOR",
        f"SHOW SERVICE INSTANCES IN SERVICE {CHAT}": "MONITOR",
        f"SELECT SYSTEM$GET_SERVICE_LOGS('{CHAT}', 0, 'main')": "MONITOR",
        f"ALTER SERVICE {CHAT} SUSPEND": "OPERATE",
        f"ALTER SERVICE {CHAT} RESUME": "OPERATE",
        f"SHOW NODES IN COMPUTE POOL {GPU_POOL}": "USAGE",
        f"DESCRIBE COMPUTE POOL {GPU_POOL}": "MONITOR",
        f"ALTER COMPUTE POOL {GPU_POOL} RESUME": "OPERATE",
        f"ALTER COMPUTE POOL {GPU_POOL} SET AUTO_SUSPEND_SECS = 60": "MODIFY",
    }
    sf.world.add_user("BOB", "HELPER")
    run(sf, f"GRANT USAGE ON DATABASE {DATABASE} TO ROLE HELPER", OWNER)
    run(sf, f"GRANT USAGE ON SCHEMA {DATABASE}.PUBLIC TO ROLE HELPER", OWNER)
    for statement, privilege in needs.items():
        on = f"SERVICE {CHAT}" if CHAT in statement else f"COMPUTE POOL {GPU_POOL}"
        other = "MONITOR" if privilege != "MONITOR" else "USAGE"
        run(sf, f"GRANT {other} ON {on} TO ROLE HELPER", OWNER)
        assert refused(sf, statement, "HELPER") == ("003001", "42501"), statement
        run(sf, f"GRANT {privilege} ON {on} TO ROLE HELPER", OWNER)
        run(sf, statement, "HELPER")
        for granted in (privilege, other):
            run(sf, f"REVOKE {granted} ON {on} FROM ROLE HELPER", OWNER)


def test_only_the_owner_sets_properties_and_reads_the_specification(
    sf: Snowflake, chat: PublicEndpoint
) -> None:
    scale = f"ALTER SERVICE {CHAT} SET MIN_INSTANCES = 2 MAX_INSTANCES = 2"
    assert refused(sf, scale) == ("003001", "42501")
    run(sf, scale, OWNER)
    assert one(sf, f"DESCRIBE SERVICE {CHAT}")["min_instances"] == 2
    assert one(sf, f"DESCRIBE SERVICE {CHAT}")["spec"] is None
    assert "@sha256:" in str(one(sf, f"DESCRIBE SERVICE {CHAT}", OWNER)["spec"])
    assert refused(sf, f"DROP SERVICE {CHAT}") == ("003001", "42501")


def test_granting_is_for_owners_and_for_who_manages_grants(sf: Snowflake, chat: PublicEndpoint) -> None:
    sf.world.add_user("BOB", "HELPER")
    statement = f"GRANT OPERATE ON SERVICE {CHAT} TO ROLE HELPER"
    assert refused(sf, statement) == ("003001", "42501")
    assert refused(sf, f"GRANT OPERATE ON SERVICE {CHAT} TO ROLE NOBODY", OWNER)[0] == "002003"
    assert refused(sf, f"GRANT WIBBLE ON SERVICE {CHAT} TO ROLE HELPER", OWNER)[0] == "001044"
    run(sf, statement, "SECURITYADMIN")
    granted = [(row["privilege"], row["grantee_name"]) for row in run(sf, f"SHOW GRANTS ON SERVICE {CHAT}")]
    assert ("OPERATE", "HELPER") in granted
    held = [row["name"] for row in run(sf, "SHOW GRANTS TO ROLE HELPER")]
    assert held == [CHAT]


def test_a_service_role_opens_the_endpoints(sf: Snowflake) -> None:
    chat = sf.create_service("chat", roles=("SOMEBODY",))
    assert call(sf, chat) == 403
    run(sf, f"GRANT SERVICE ROLE {CHAT}!ALL_ENDPOINTS_USAGE TO ROLE {ROLE}", OWNER)
    assert call(sf, chat) == 200
    holders = run(sf, f"SHOW GRANTS OF SERVICE ROLE {CHAT}!ALL_ENDPOINTS_USAGE")
    assert [row["grantee_name"] for row in holders] == [ROLE, "SOMEBODY"]


# -- states that take time


def test_a_service_is_suspended_and_resumed_in_its_time_and_the_ingress_follows(
    sf: Snowflake, chat: PublicEndpoint
) -> None:
    assert (status(sf), container(sf), call(sf, chat)) == ("RUNNING", ("READY", "Running"), 200)
    run(sf, f"ALTER SERVICE {CHAT} SUSPEND")
    assert (status(sf), container(sf)[0]) == ("SUSPENDING", "TERMINATING")
    assert call(sf, chat) == 503
    sf.clock.advance(sf.world.durations.suspending)
    assert status(sf) == "SUSPENDED"
    assert container(sf) == (None, None)
    run(sf, f"ALTER SERVICE {CHAT} RESUME")
    assert (status(sf), container(sf)) == ("PENDING", ("PENDING", "Waiting to start"))
    assert call(sf, chat) == 503
    sf.clock.advance(sf.world.durations.container_start)
    assert status(sf) == "RUNNING"
    assert container(sf) == ("PENDING", "Readiness probe is failing at path: /health, port: 8000")
    assert call(sf, chat) == 503
    sf.clock.advance(sf.world.durations.model_loading)
    assert (status(sf), container(sf), call(sf, chat)) == ("RUNNING", ("READY", "Running"), 200)


def test_a_call_resumes_a_suspended_service_only_where_auto_resume_is_true(
    sf: Snowflake, chat: PublicEndpoint
) -> None:
    run(sf, f"ALTER SERVICE {CHAT} SUSPEND")
    sf.clock.advance(60)
    run(sf, f"ALTER SERVICE {CHAT} SET AUTO_RESUME = FALSE", OWNER)
    assert (call(sf, chat), status(sf)) == (503, "SUSPENDED")
    run(sf, f"ALTER SERVICE {CHAT} SET AUTO_RESUME = TRUE", OWNER)
    assert (call(sf, chat), status(sf), chat.endpoint.resumes) == (503, "PENDING", 1)
    sf.clock.advance(60)
    assert (call(sf, chat), status(sf)) == (200, "RUNNING")


def test_a_registry_service_without_a_minimum_is_suspended_after_half_an_hour_without_calls(
    sf: Snowflake,
) -> None:
    bot = sf.create_service("bot", protocol="MODEL_SERVING", placed={"min_instances": 0})

    def state() -> object:
        return one(sf, f"DESCRIBE SERVICE {DATABASE}.PUBLIC.BOT")["status"]

    sf.clock.advance(1000)
    call(sf, bot)
    assert bot.counters["forwarded"] == 1
    sf.clock.advance(1000)
    assert state() == "RUNNING"
    sf.clock.advance(1000)
    assert state() == "SUSPENDED"
    assert (call(sf, bot), state()) == (503, "PENDING")


def test_two_who_suspend_at_once_and_one_who_resumes_meanwhile(sf: Snowflake, chat: PublicEndpoint) -> None:
    run(sf, f"ALTER SERVICE {CHAT} SUSPEND")
    run(sf, f"ALTER SERVICE {CHAT} SUSPEND")
    run(sf, f"ALTER SERVICE {CHAT} RESUME")
    assert status(sf) == "PENDING"
    sf.clock.advance(600)
    assert status(sf) == "RUNNING"


def test_a_state_that_a_test_set_is_what_sql_shows(sf: Snowflake, chat: PublicEndpoint) -> None:
    chat.set_state("suspended", seconds=30)
    assert status(sf) == "SUSPENDED"
    assert call(sf, chat) == 503
    assert status(sf) == "PENDING"
    sf.clock.advance(31)
    assert (status(sf), call(sf, chat)) == ("RUNNING", 200)
    chat.set_state("suspended")
    run(sf, f"ALTER SERVICE {CHAT} RESUME")
    sf.clock.advance(60)
    assert (status(sf), call(sf, chat)) == ("RUNNING", 200)


def test_a_new_endpoint_is_provisioned_before_it_has_a_host(sf: Snowflake) -> None:
    chat = sf.create_service("chat", provisioning=True)
    shown = f"SHOW ENDPOINTS IN SERVICE {CHAT}"
    assert (
        one(sf, shown)["ingress_url"] == "Endpoints provisioning in progress... check back in a few minutes"
    )
    sf.clock.advance(sf.world.durations.endpoint_provisioning)
    assert one(sf, shown)["ingress_url"] == chat.endpoint.host


def test_a_pool_is_suspended_with_its_services_and_comes_back_with_a_node(
    sf: Snowflake, chat: PublicEndpoint
) -> None:
    def pool() -> tuple[Any, ...]:
        row = one(sf, f"DESCRIBE COMPUTE POOL {GPU_POOL}")
        return row["state"], row["active_nodes"], row["idle_nodes"], row["target_nodes"]

    nodes = f"SHOW NODES IN COMPUTE POOL {GPU_POOL}"
    assert pool() == ("ACTIVE", 1, 0, 1)
    run(sf, f"ALTER COMPUTE POOL {GPU_POOL} SUSPEND")
    assert (pool()[0], status(sf)) == ("STOPPING", "SUSPENDING")
    sf.clock.advance(60)
    assert (pool(), status(sf), run(sf, nodes)) == (("SUSPENDED", 0, 0, 0), "SUSPENDED", [])
    run(sf, f"ALTER SERVICE {CHAT} RESUME")
    assert (pool(), container(sf)[1]) == (("STARTING", 0, 0, 1), "Compute pool node(s) are being provisioned")
    sf.clock.advance(sf.world.durations.node_start)
    assert pool() == ("ACTIVE", 1, 0, 1)
    sf.clock.advance(60)
    assert (len(run(sf, nodes)), call(sf, chat)) == (1, 200)


def test_a_quiet_pool_suspends_itself(sf: Snowflake) -> None:
    pool = f"DESCRIBE COMPUTE POOL {CPU_POOL}"
    assert one(sf, pool)["state"] == "IDLE"
    sf.clock.advance(3599)
    assert one(sf, pool)["state"] == "IDLE"
    sf.clock.advance(10)
    assert one(sf, pool)["state"] == "SUSPENDED"


def test_more_instances_need_more_nodes(sf: Snowflake, chat: PublicEndpoint) -> None:
    run(sf, f"ALTER COMPUTE POOL {GPU_POOL} SET MAX_NODES = 2", OWNER)
    run(sf, f"ALTER SERVICE {CHAT} SET MIN_INSTANCES = 3 MAX_INSTANCES = 3", OWNER)
    assert one(sf, f"DESCRIBE COMPUTE POOL {GPU_POOL}")["state"] == "RESIZING"
    sf.clock.advance(60)
    pool = one(sf, f"DESCRIBE COMPUTE POOL {GPU_POOL}")
    assert (pool["state"], pool["active_nodes"], pool["error_code"]) == ("ACTIVE", 2, "392508")
    states = [row["message"] for row in run(sf, f"SHOW SERVICE CONTAINERS IN SERVICE {CHAT}")]
    assert states == ["Running", "Running", "Unschedulable due to insufficient resources"]


def test_a_pool_without_capacity_never_starts_until_there_is_some(
    sf: Snowflake, chat: PublicEndpoint
) -> None:
    sf.catalog.run_out_of_capacity(sf.catalog.pools[GPU_POOL])
    sf.clock.advance(180)
    pool = one(sf, f"DESCRIBE COMPUTE POOL {GPU_POOL}")
    assert (pool["state"], pool["error_code"]) == ("STARTING", "392507")
    assert "for the last 3 minutes. We have observed CAPACITY_ERROR." in str(pool["status_message"])
    assert (status(sf), call(sf, chat)) == ("PENDING", 503)
    sf.catalog.pools[GPU_POOL].trouble = ""
    sf.clock.advance(60)
    assert one(sf, f"DESCRIBE COMPUTE POOL {GPU_POOL}")["error_code"] == ""
    assert (status(sf), call(sf, chat)) == ("RUNNING", 200)


def test_the_instance_family_changes_only_while_suspended(sf: Snowflake) -> None:
    change = f"ALTER COMPUTE POOL {CPU_POOL} SET INSTANCE_FAMILY = CPU_X64_S"
    assert refused(sf, change, OWNER)[0] == "392503"
    run(sf, f"ALTER COMPUTE POOL {CPU_POOL} SUSPEND")
    sf.clock.advance(60)
    run(sf, change, OWNER)
    assert one(sf, f"DESCRIBE COMPUTE POOL {CPU_POOL}")["instance_family"] == "CPU_X64_S"


# -- what can be wrong with a container


@pytest.mark.parametrize("name", CONDITIONS)
def test_each_trouble_is_shown_and_the_ingress_refuses(
    sf: Snowflake, chat: PublicEndpoint, name: str
) -> None:
    chat.fall_into(name)
    row = one(sf, f"SHOW SERVICE CONTAINERS IN SERVICE {CHAT}")
    condition = CONDITIONS[name]
    assert (row["status"], row["message"]) == (condition.status, condition.message)
    assert (row["restart_count"], row["last_exit_code"]) == (
        condition.restart_count,
        condition.last_exit_code,
    )
    assert status(sf) == condition.service_status
    assert call(sf, chat) == 503
    log = str(run(sf, f"SELECT SYSTEM$GET_SERVICE_LOGS('{CHAT}', 0, 'main', 5) AS LOG")[0]["LOG"])
    assert all(line in log for line in condition.log)
    chat.fall_into(None)
    assert (status(sf), container(sf)[0], call(sf, chat)) == ("RUNNING", "READY", 200)


def test_the_readme_names_every_trouble_and_every_kind_of_statement_fault() -> None:
    readme = (Path(sandbox.snowflake.__file__).parent / "README.md").read_text()
    assert [name for name in (*CONDITIONS, *CHANGES, "error", "slow") if f"`{name}`" not in readme] == []
    assert [words for words in HANDLERS if words.split()[-1] not in readme] == []


def test_the_log_before_a_restart_is_kept(sf: Snowflake, chat: PublicEndpoint) -> None:
    before = f"SELECT SYSTEM$GET_SERVICE_LOGS('{CHAT}', 0, 'main', 10, TRUE)"
    assert refused(sf, before)[0] == "001044"
    chat.fall_into("out_of_memory")
    assert "Killed" in str(one(sf, before))


def test_logs_are_of_instances_and_containers_that_are_there(sf: Snowflake, chat: PublicEndpoint) -> None:
    assert call(sf, chat) == 200
    (row,) = run(sf, f"CALL SYSTEM$GET_SERVICE_LOGS('{CHAT}', '0', 'main', 1)")
    # As Snowflake's command-line client asks.
    assert run(sf, f"CALL SYSTEM$GET_SERVICE_LOGS('{CHAT}', '0', 'main', 1, False, '', False)") == [row]
    assert (
        refused(sf, f"CALL SYSTEM$GET_SERVICE_LOGS('{CHAT}', 0, 'main', 1, False, '', True)")[0] == "001044"
    )
    assert list(row.values()) == ['INFO: "POST /predict HTTP/1.1"']
    assert refused(sf, f"CALL SYSTEM$GET_SERVICE_LOGS('{CHAT}', 1, 'main')")[0] == "001044"
    assert refused(sf, f"CALL SYSTEM$GET_SERVICE_LOGS('{CHAT}', 0, 'other')")[0] == "001044"


def test_waiting_for_services_ends_when_they_are_ready_or_the_time_is_over(
    sf: Snowflake, chat: PublicEndpoint
) -> None:
    assert one(sf, f"SELECT SYSTEM$WAIT_FOR_SERVICES(0, '{CHAT}') AS R") == {"R": "OK"}
    chat.fall_into("readiness_failing")
    assert refused(sf, f"SELECT SYSTEM$WAIT_FOR_SERVICES(0, '{CHAT}')")[0] == "395019"
    chat.fall_into("out_of_memory")
    assert refused(sf, f"SELECT SYSTEM$WAIT_FOR_SERVICES(600, '{CHAT}')")[0] == "395018"


# -- the record behind the usage views


HISTORY = "SNOWFLAKE.ACCOUNT_USAGE.SNOWPARK_CONTAINER_SERVICES_HISTORY"


def test_the_usage_views_show_hours_of_nodes_when_they_are_old_enough(
    sf: Snowflake, chat: PublicEndpoint
) -> None:
    total = f"SELECT SUM(CREDITS_USED) AS C FROM {HISTORY} WHERE COMPUTE_POOL_NAME = '{GPU_POOL}'"
    assert one(sf, total)["C"] is None
    sf.clock.advance(10 * 3600)
    run(sf, f"ALTER SERVICE {CHAT} SUSPEND")
    run(sf, f"ALTER COMPUTE POOL {GPU_POOL} SUSPEND")
    sf.clock.advance(24 * 3600)
    ran = 10 * 3600 + sf.world.durations.suspending + sf.world.durations.pool_stopping
    assert float(one(sf, total)["C"]) == pytest.approx(ran / 3600 * 0.57, abs=1e-3)
    daily = "SELECT SUM(CREDITS_USED) AS C FROM SNOWFLAKE.ACCOUNT_USAGE.METERING_DAILY_HISTORY"
    every = f"SELECT SUM(CREDITS_USED) AS C FROM {HISTORY}"
    assert one(sf, daily) == one(sf, every)


def test_calls_of_a_registry_model_are_in_its_usage(sf: Snowflake) -> None:
    sf.create_service("bot", protocol="MODEL_SERVING")
    sf.catalog.usage.seed(7, sf.catalog.pools[GPU_POOL], services=list(sf.catalog.services.values()))
    statement = (
        "SELECT SERVICE_NAME, MODEL_NAME, MODEL_VERSION_NAME, USER_NAME, SUM(CREDITS) AS C"
        " FROM SNOWFLAKE.ACCOUNT_USAGE.MODEL_SERVING_USAGE_HISTORY GROUP BY ALL"
    )
    row = one(sf, statement)
    assert (row["SERVICE_NAME"], row["MODEL_NAME"], row["MODEL_VERSION_NAME"]) == ("BOT", "BOT_MODEL", "V1")
    pool = one(sf, f"SELECT SUM(CREDITS_USED) AS C FROM {HISTORY} WHERE COMPUTE_POOL_NAME = '{GPU_POOL}'")
    assert float(row["C"]) == pytest.approx(float(pool["C"]) / 2)


@pytest.mark.parametrize(
    ("view", "database_role"),
    [
        (HISTORY, "USAGE_VIEWER"),
        ("SNOWFLAKE.ACCOUNT_USAGE.MODEL_SERVING_USAGE_HISTORY", "USAGE_VIEWER"),
        ("SNOWFLAKE.ACCOUNT_USAGE.METERING_DAILY_HISTORY", "USAGE_VIEWER"),
        ("SNOWFLAKE.ACCOUNT_USAGE.SERVICES", "OBJECT_VIEWER"),
        ("SNOWFLAKE.ACCOUNT_USAGE.COMPUTE_POOLS", "OBJECT_VIEWER"),
        ("SNOWFLAKE.ORGANIZATION_USAGE.RATE_SHEET_DAILY", "ORGANIZATION_BILLING_VIEWER"),
        ("SNOWFLAKE.ORGANIZATION_USAGE.USAGE_IN_CURRENCY_DAILY", "ORGANIZATION_BILLING_VIEWER"),
        ("SNOWFLAKE.ORGANIZATION_USAGE.METERING_DAILY_HISTORY", "ORGANIZATION_USAGE_VIEWER"),
    ],
)
def test_a_view_is_not_there_without_its_database_role_and_a_warehouse(
    sf: Snowflake, view: str, database_role: str
) -> None:
    select = f"SELECT COUNT(*) AS N FROM {view}"
    run(sf, select)
    run(sf, f"REVOKE DATABASE ROLE SNOWFLAKE.{database_role} FROM ROLE {ROLE}", "ACCOUNTADMIN")
    assert refused(sf, select) == ("002003", "42S02")
    assert refused(sf, select, warehouse=None) == ("000606", "57P03")
    assert refused(sf, f"GRANT DATABASE ROLE SNOWFLAKE.{database_role} TO ROLE {ROLE}") == ("003001", "42501")
    run(sf, f"GRANT DATABASE ROLE SNOWFLAKE.{database_role} TO ROLE {ROLE}", "ACCOUNTADMIN")
    run(sf, select)


def test_an_account_without_contract_prices_has_no_rows_of_them(sf: Snowflake) -> None:
    rates = "SELECT EFFECTIVE_RATE FROM SNOWFLAKE.ORGANIZATION_USAGE.RATE_SHEET_DAILY"
    assert {row["EFFECTIVE_RATE"] for row in run(sf, rates)} == {sf.catalog.usage.price_per_credit}
    sf.catalog.usage.has_contract_prices = False
    assert run(sf, rates) == []


# -- from outside


def test_an_administrator_works_the_account_over_http(sf: Snowflake, chat: PublicEndpoint) -> None:
    def post(what: str, **body: Any) -> Any:
        return requests.post(f"{sf.account_url}/_sandbox/{what}", json=body, timeout=30).json()

    (row,) = post("sql", statement=f"DESCRIBE SERVICE {CHAT}")["rows"]
    assert row["status"] == "RUNNING"
    assert post("sql", statement="SHOW WIBBLES")["code"] == "001003"
    assert post("services", name="chat", condition="out_of_memory")["status"] == "FAILED"
    assert post("services", name="chat", condition=None, state="suspended")["status"] == "SUSPENDED"
    assert post("services", name="chat", state="running")["status"] == "RUNNING"
    assert post("pools", name=GPU_POOL, capacity=False)["error_code"] == "392507"
    assert post("pools", name=GPU_POOL, capacity=True, max_nodes=7)["max_nodes"] == 7
    post("statement-faults", kind="error", match="SHOW SERVICES", code="000603")
    assert post("sql", statement="SHOW SERVICES")["code"] == "000603"
    assert requests.delete(f"{sf.account_url}/_sandbox/statement-faults", timeout=30).json() == {"faults": []}
    assert post("usage", days=7)["hours"] > 20
    told = requests.get(f"{sf.account_url}/_sandbox/statements", timeout=30).json()["statements"]
    assert "SHOW WIBBLES" in told
