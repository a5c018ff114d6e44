"""What real connectors get from the sandbox's account: types, sessions, long statements, errors.

The connector is the one of the environment; version 4 and version 5 read different things out of a reply.
"""

from __future__ import annotations

import datetime as dt
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest

from sandbox.snowflake import Snowflake
from sandbox.snowflake.catalog import DATABASE, WAREHOUSE
from tests.waiting import wait_for

connector = pytest.importorskip("snowflake.connector")

pytestmark = [
    # Version 5 announces its own future in warnings.
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    # Both leave sockets of their pool to the collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
MAJOR = int(connector.__version__.split(".")[0])


@pytest.fixture
def sf() -> Iterator[Snowflake]:
    with Snowflake() as snowflake:
        yield snowflake


@pytest.fixture
def connection(sf: Snowflake) -> Iterator[Any]:
    with connect(sf) as connection:
        yield connection


def connect(sf: Snowflake, **changes: Any) -> Any:
    settings = {
        "account": "MYORG-MYACCT",
        "host": "127.0.0.1",
        "port": int(sf.account_url.rsplit(":", 1)[1]),
        "protocol": "http",
        "user": "ALICE",
        "authenticator": "oauth",
        "token": sf.issue_oauth_token(),
        "warehouse": WAREHOUSE.lower(),
        "database": DATABASE.lower(),
        **changes,
    }
    return connector.connect(**settings)


def rows(connection: Any, statement: str, *args: Any) -> list[dict[str, Any]]:
    cursor = connection.cursor()
    found = cursor.execute(statement, *args).fetchall()
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row)) for row in found]


def failure(connection: Any, statement: str) -> tuple[int, str]:
    with pytest.raises(connector.errors.ProgrammingError) as refused:
        connection.cursor().execute(statement)
    assert refused.value.sfqid
    return refused.value.errno, refused.value.sqlstate


def test_every_type_arrives_as_its_python_value(connection: Any) -> None:
    statement = (
        "SELECT TRUE AS YES, FALSE AS NO, 1.50 AS D, 2 AS N, 0.5::FLOAT AS R, 'x' AS S, NULL AS NOTHING,"
        " '2024-11-29'::DATE AS DAY, '2024-11-29 20:12:47.31Z'::TIMESTAMP_LTZ AS LTZ,"
        " '2024-11-29 20:12:47.31'::TIMESTAMP_NTZ AS NTZ, PARSE_JSON('{\"a\": [1]}') AS J,"
        " CONVERT_TIMEZONE('Asia/Tokyo', '2024-11-29 20:12:47.31Z'::TIMESTAMP_LTZ) AS TZ,"
        " ARRAY_CONSTRUCT(1, 'x') AS LIST, OBJECT_CONSTRUCT('k', 2) AS O"
    )
    (row,) = rows(connection, statement)
    zoned = row.pop("TZ")
    assert zoned == dt.datetime(2024, 11, 29, 20, 12, 47, 310_000, dt.timezone.utc)
    assert zoned.utcoffset() == dt.timedelta(hours=9)
    assert [json.loads(row.pop(name)) for name in ("LIST", "O")] == [[1, "x"], {"k": 2}]
    assert row.pop("LTZ") == dt.datetime(2024, 11, 29, 20, 12, 47, 310_000, dt.timezone.utc)
    assert row == {
        "YES": True, "NO": False, "D": Decimal("1.50"), "N": 2, "R": 0.5, "S": "x", "NOTHING": None,
        "DAY": dt.date(2024, 11, 29), "NTZ": dt.datetime(2024, 11, 29, 20, 12, 47, 310_000), "J": '{"a": [1]}',
    }  # fmt: skip


def test_counters_are_numbers_flags_are_text_and_times_are_times(sf: Snowflake, connection: Any) -> None:
    sf.create_service("chat")
    (service,) = rows(connection, "SHOW SERVICES IN ACCOUNT")
    assert (service["current_instances"], service["auto_resume"], service["suspended_on"]) == (
        1,
        "true",
        None,
    )
    assert abs(service["created_on"].timestamp() - sf.clock()) < 60


def test_the_row_count_and_the_description_are_there(connection: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("SHOW WAREHOUSES")
    assert cursor.rowcount == 1
    described = cursor.describe("SHOW WAREHOUSES")
    assert [column[0] for column in described][:3] == ["name", "state", "type"]


def test_a_session_remembers_what_use_says_and_the_connector_knows_it(sf: Snowflake, connection: Any) -> None:
    sf.world.catalog.add_database("OTHER", schemas=("PUBLIC", "INNER"))
    assert (connection.role, connection.warehouse, connection.database) == (
        "DATAIKU_SPCS_ROLE",
        WAREHOUSE,
        DATABASE,
    )
    connection.cursor().execute("USE SCHEMA other.inner")
    assert (connection.database, connection.schema) == ("OTHER", "INNER")
    connection.cursor().execute("USE ROLE public")
    assert rows(connection, "SELECT CURRENT_ROLE() AS R") == [{"R": "PUBLIC"}]
    assert connection.role == "PUBLIC"
    assert failure(connection, "USE ROLE accountadmin") == (3013, "42501")
    assert failure(connection, "USE WAREHOUSE nothing") == (2043, "02000")


def test_a_login_with_a_warehouse_that_the_role_cannot_use_has_none(sf: Snowflake) -> None:
    with connect(sf, warehouse="ELSEWHERE") as connection:
        assert failure(connection, "SELECT * FROM SNOWFLAKE.ACCOUNT_USAGE.SERVICES") == (606, "57P03")
        assert rows(connection, "SELECT CURRENT_WAREHOUSE() AS W") == [{"W": None}]


def test_binds_of_the_client_and_of_the_server(sf: Snowflake, connection: Any) -> None:
    assert rows(connection, "SELECT %s AS A, %s AS B", ("o'x\\", 7)) == [{"A": "o'x\\", "B": 7}]
    with connect(sf, paramstyle="qmark") as by_server:
        assert rows(by_server, "SELECT ? AS A, ? AS B", ("o'x\\", 7)) == [{"A": "o'x\\", "B": 7}]


def test_results_of_earlier_statements_are_scanned_within_a_session(connection: Any) -> None:
    connection.cursor().execute("SHOW WAREHOUSES")
    scan = 'SELECT "name" FROM TABLE(RESULT_SCAN(LAST_QUERY_ID()))'
    assert rows(connection, scan) == [{"name": WAREHOUSE}]
    connection.cursor().execute("SHOW WAREHOUSES")
    assert failure(connection, "SELECT name FROM TABLE(RESULT_SCAN(LAST_QUERY_ID()))") == (904, "42000")


# -- errors


def test_errors_have_number_state_and_query_id(sf: Snowflake, connection: Any) -> None:
    assert failure(connection, "SHOW WIBBLES") == (1003, "42000")
    assert failure(connection, "SHOW ENDPOINTS IN SERVICE NOWHERE") == (2003, "02000")
    assert failure(connection, "SHOW SERVICES IN DATABASE NOWHERE") == (2043, "02000")
    assert failure(connection, "SELECT * FROM NOWHERE") == (2003, "42S02")
    assert failure(connection, "SELECT WIBBLE") == (904, "42000")
    assert failure(connection, "SELECT WIBBLE()") == (2140, "42601")
    assert failure(connection, "SELECT 1 / 0") == (100051, "22012")
    with connect(sf, database=None) as nowhere:
        assert failure(nowhere, "SHOW ENDPOINTS IN SERVICE X") == (90105, "22000")


def test_a_session_that_ended_ends_the_connection(sf: Snowflake, connection: Any) -> None:
    sf.faults.arm("refuse", "account", on="query", code="390111", times=None)
    with pytest.raises(connector.errors.Error, match="390111"):
        connection.cursor().execute("SELECT 1")
    sf.faults.clear()


def test_a_session_that_expires_between_statements_is_renewed(sf: Snowflake, connection: Any) -> None:
    connection.cursor().execute("USE SCHEMA public")
    sf.world.expire_all("session")
    assert rows(connection, "SELECT CURRENT_SCHEMA() AS S") == [{"S": "PUBLIC"}]
    assert sf.counters["account"]["renew"] == 1


def test_a_reply_that_is_lost_is_asked_for_again_and_the_statement_runs_once(
    sf: Snowflake, connection: Any
) -> None:
    sf.faults.arm("lost_reply", "account", on="query")
    assert len(rows(connection, "SHOW WAREHOUSES")) == 1
    assert sf.executor.statements.count("SHOW WAREHOUSES") == 1
    assert sf.counters["account"]["statement_repeated"] == 1


# -- long, several and cancelled statements


def test_a_long_statement_is_polled_for(sf: Snowflake, connection: Any) -> None:
    sf.world.durations.statement_wait = 0.05
    sf.statement_faults.arm("slow", "SHOW", seconds=600)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(rows, connection, "SHOW WAREHOUSES")
        wait_for(lambda: sf.counters["account"]["requests"] > 5)
        assert not asked.done()
        sf.clock.advance(600)
        assert len(asked.result(60)) == 1


def test_an_asynchronous_statement_is_watched_and_read(sf: Snowflake, connection: Any) -> None:
    cursor = connection.cursor()
    handle = cursor.execute_async("CALL SYSTEM$WAIT(600)")["queryId"]
    assert connection.get_query_status(handle).name == "RUNNING"
    sf.clock.advance(600)
    wait_for(lambda: connection.get_query_status(handle).name == "SUCCESS")
    cursor.get_results_from_sfqid(handle)
    assert cursor.fetchall() == [("waited 600 seconds",)]


def test_a_running_statement_is_aborted(sf: Snowflake, connection: Any) -> None:
    cursor = connection.cursor()
    handle = cursor.execute_async("CALL SYSTEM$WAIT(600)")["queryId"]
    assert cursor.abort_query(handle)
    wait_for(lambda: connection.get_query_status(handle).name != "RUNNING")


def test_a_statement_ends_at_the_sessions_timeout(sf: Snowflake, connection: Any) -> None:
    connection.cursor().execute("ALTER SESSION SET STATEMENT_TIMEOUT_IN_SECONDS = 30")
    met: list[tuple[int, str]] = []
    thread = threading.Thread(target=lambda: met.append(failure(connection, "CALL SYSTEM$WAIT(600)")))
    thread.start()
    wait_for(lambda: sf.executor.running == 1)
    sf.clock.advance(31)
    thread.join(20)
    assert met == [(630, "57014")]


def test_several_statements_have_a_result_each(connection: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("SELECT 1; SHOW WAREHOUSES; SELECT 'x'", num_statements=3)
    firsts = [cursor.fetchone()[0]]
    while cursor.nextset():
        firsts.append(cursor.fetchone()[0])
    assert firsts == [1, WAREHOUSE, "x"]
    assert failure(connection, "SELECT 1; SELECT 2") == (8, "0A000")
