"""The macros' functions in this interpreter, over a real SQL API: what they log, tell and raise."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from spcs_llm.control import macros
from spcs_llm.control.open_session import Dss
from spcs_llm.errors import SettingsError, SpcsError

from .sql_api_server import Result, SqlApiServer, table

WHO = table("user role warehouse organization account region", "JANE|OPS|XS|MY_ORG|PROD|AWS_EU_CENTRAL_1")
SERVICES = table(
    "database_name schema_name name status compute_pool target_instances:fixed",
    "ML|PROD|CHAT|RUNNING|GPU|1",
    "ML|PROD|EMBED|SUSPENDED|GPU|1",
)
ANSWERS: dict[str, Any] = {
    "SELECT CURRENT_USER": WHO,
    "SHOW SERVICES": SERVICES,
    "SHOW COMPUTE POOLS": table(
        "name state instance_family active_nodes:fixed idle_nodes:fixed num_services:fixed auto_suspend_secs:fixed",
        "GPU|ACTIVE|GPU_NV_S|1|0|2|300",
    ),
    "SHOW NODES": table("instance_family", "GPU_NV_S"),
    "SHOW MODELS": table("name", *()),
    "SHOW ENDPOINTS": table("name is_public ingress_url", "api|true|abc-my-org-prod.snowflakecomputing.app"),
    "SHOW SERVICE CONTAINERS": table("instance_id container_name status", "0|main|READY"),
    "ALTER SERVICE": table("status", "Statement executed successfully."),
    'SELECT CAST(START_TIME AS DATE) AS "day"': table("day:date pool credits:fixed until:timestamp_ltz", *()),
    'SELECT SERVICE_NAME AS "service"': Result(
        error=("002003", "42S02", "View does not exist or not authorized.")
    ),
    'SELECT DATE AS "day"': table("day service_type currency rate", *()),
}


def no_connection(name: str) -> Any:
    raise AssertionError("no connection of DSS is asked for")


DSS = Dss(no_connection)


def form(server: SqlApiServer, **more: Any) -> dict[str, Any]:
    return {
        "authenticationMode": "PROGRAMMATIC_ACCESS_TOKEN",
        "programmaticAccessToken": {"token": "good-token"},
        "snowflakeAccountUrl": server.url,
        "role": '"ops team"',
        **more,
    }


@pytest.fixture
def server() -> Any:
    with SqlApiServer(dict(ANSWERS), kind="PROGRAMMATIC_ACCESS_TOKEN") as running:
        yield running


def test_discovery_reports_its_progress_and_the_rights_it_used(
    server: SqlApiServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    percents: list[float] = []
    found = macros.discover_services(form(server), DSS, percents.append)
    assert [row[0] for row in found.rows] == ["ML.PROD.CHAT", "ML.PROD.EMBED", ""]
    assert (percents[0] > 0, percents[-1]) == (True, 100)
    assert percents == sorted(percents)
    assert "Found 2 services with the rights of user JANE, role OPS" in caplog.text
    assert "good-token" not in caplog.text


def test_suspending_logs_each_service_before_it_fails(
    server: SqlApiServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    config = form(server, services="ML.PROD.*\nML.PROD.GONE", dryRun=False)
    with pytest.raises(SpcsError, match=r"1 of 3 could not be suspended\. ML\.PROD\.GONE") as failed:
        macros.suspend_services(config, DSS)
    assert str(failed.value).startswith("[macro] ")
    assert "ML.PROD.CHAT | GPU | RUNNING | SUSPENDING | changed" in caplog.text
    assert [s for s in server.executed if s.startswith("ALTER")] == ["ALTER SERVICE ML.PROD.CHAT SUSPEND"]


def test_resuming_is_a_dry_run_unless_told_otherwise(server: SqlApiServer) -> None:
    table_ = macros.resume_services(form(server, services="ML.PROD.EMBED"), DSS)
    assert table_.name == "What would be done; nothing has been changed"
    assert not [s for s in server.executed if s.startswith("ALTER")]


def test_the_cost_report_is_made_with_what_can_be_read(server: SqlApiServer) -> None:
    page = macros.cost_report(form(server, days=7), DSS, plugin_config={"usageLogFolder": "/nowhere"})
    assert "GRANT DATABASE ROLE SNOWFLAKE.USAGE_VIEWER TO ROLE OPS" in page
    assert "Folder of the usage log" in page
    assert "What runs now" in page


@pytest.mark.parametrize(
    "macro",
    [macros.discover_services, macros.suspend_services, macros.resume_services, macros.cost_report],
)
def test_a_form_without_a_sign_in_says_what_to_fill_in(macro: Any) -> None:
    with pytest.raises(SettingsError, match="'Snowflake connection' is empty"):
        macro({}, DSS)


def test_a_connection_to_an_account_with_nothing_in_it_is_no_failure() -> None:
    class Executor:
        """A connection of DSS to an account with nothing in it."""

        def query_to_iter(self, query: str, pre_queries: Any = None) -> Any:
            self.row = ["JANE", "OPS", "MY_ORG", "PROD"] if query.startswith("SELECT") else []
            return self

        def get_schema(self) -> Any:
            return [{"name": name} for name in ("user", "role", "organization", "account")]

        def iter_tuples(self) -> Any:
            return [self.row] if self.row else []

    found = macros.discover_services({"snowflakeConnection": "S"}, Dss(lambda name: Executor()))
    assert "account MY_ORG-PROD" in found.rows[0][-1]
