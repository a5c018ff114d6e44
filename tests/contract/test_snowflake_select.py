"""SELECT in the sandbox: what statements of a control plane need, with SQL's logic and Snowflake's names."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.snowflake import ROLE, Clock, Snowflake
from sandbox.snowflake.catalog import CPU_POOL, DATABASE, GPU_POOL, OWNER, WAREHOUSE
from sandbox.snowflake.sql.aggregates import AGGREGATES
from sandbox.snowflake.sql.errors import SqlError
from sandbox.snowflake.sql.functions import CONTEXT, LENIENT, STRICT, TIMED
from sandbox.snowflake.sql.statements import HANDLERS
from sandbox.snowflake.world import Session

HISTORY = "SNOWFLAKE.ACCOUNT_USAGE.SNOWPARK_CONTAINER_SERVICES_HISTORY"
NOON = dt.datetime(2027, 1, 15, 12, tzinfo=dt.timezone.utc)


@pytest.fixture(scope="module")
def sf() -> Iterator[Snowflake]:
    """An account with a month of usage, whose clock stands still."""
    snowflake = Snowflake(clock=Clock(lambda: NOON.timestamp()))
    snowflake.catalog.add_service("CHAT")
    snowflake.catalog.add_service("EMBED", pool=CPU_POOL)
    snowflake.seed_usage(days=30)
    yield snowflake
    snowflake.close()


def run(sf: Snowflake, statement: str, **parameters: object) -> list[dict[str, Any]]:
    session = Session(0, "ALICE", ROLE, parameters={"TIMEZONE": "UTC", **parameters}, warehouse=WAREHOUSE)
    return sf.executor.run(session, statement).table()


def value(sf: Snowflake, expression: str, **parameters: object) -> Any:
    (row,) = run(sf, f"SELECT {expression} AS V", **parameters)
    return row["V"]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("1 + 2 * 3", 7),
        ("(1 + 2) * 3", 9),
        ("7 / 2", Decimal("3.500000")),
        ("-2 - 1", -3),
        ("'a' || 1", "a1"),
        ("NULL = NULL", None),
        ("NOT NULL", None),
        ("NULL AND FALSE", False),
        ("NULL AND TRUE", None),
        ("NULL OR TRUE", True),
        ("1 IN (2, NULL)", None),
        ("1 NOT IN (2, 3)", True),
        ("NULL IS NULL", True),
        ("2 IS NOT NULL", True),
        ("2 BETWEEN 1 AND 3 AND TRUE", True),
        ("'abc' LIKE 'A%'", False),
        ("'abc' ILIKE 'A_C'", True),
        ("CASE WHEN NULL THEN 1 WHEN TRUE THEN 2 ELSE 3 END", 2),
        ("CASE 3 WHEN 1 THEN 'one' ELSE 'other' END", "other"),
        ("COALESCE(NULL, 4)", 4),
        ("IFF(2 > 1, 'yes', 'no')", "yes"),
        ("'2.5'::NUMBER(10, 1)", Decimal("2.5")),
        ("'2.5'::INT", 3),
        ("TRY_CAST('x' AS INT)", None),
        ("ROUND(2.345, 2)", Decimal("2.35")),
        ("PARSE_JSON('{\"a\": {\"b\": [1, 2]}}'):a.b[1]::INT", 2),
        ("DATEADD('day', -1, '2024-03-01'::DATE)", dt.date(2024, 2, 29)),
        ("DATEADD(MONTH, 1, '2024-01-31'::DATE)", dt.date(2024, 2, 29)),
        ("DATEDIFF('day', '2024-02-28'::DATE, '2024-03-01'::DATE)", 2),
        ("DATE_TRUNC('month', '2024-02-28'::DATE)", dt.date(2024, 2, 1)),
        ("CURRENT_DATE() - INTERVAL '7 days'", dt.date(2027, 1, 8)),
        ("'2024-02-28'::DATE < '2024-03-01'", True),
        ("TO_CHAR('2024-02-28'::DATE, 'YYYYMM')", "202402"),
        ("CURRENT_TIMESTAMP()", NOON),
    ],
)  # fmt: skip
def test_expressions_follow_sqls_logic(sf: Snowflake, expression: str, expected: Any) -> None:
    assert value(sf, expression) == expected


def test_a_day_is_a_day_of_the_sessions_zone(sf: Snowflake) -> None:
    early = "'2027-01-15 03:00:00Z'::TIMESTAMP_LTZ::DATE"
    assert value(sf, early) == dt.date(2027, 1, 15)
    assert value(sf, early, TIMEZONE="America/Los_Angeles") == dt.date(2027, 1, 14)
    in_utc = "CONVERT_TIMEZONE('UTC', '2027-01-15 03:00:00Z'::TIMESTAMP_LTZ)::DATE"
    assert value(sf, in_utc, TIMEZONE="America/Los_Angeles") == dt.date(2027, 1, 15)


def test_rows_are_filtered_grouped_and_ordered(sf: Snowflake) -> None:
    statement = f"""
        SELECT DATE_TRUNC('DAY', START_TIME)::DATE AS DAY, COMPUTE_POOL_NAME AS "pool", SUM(CREDITS_USED) AS CREDITS,
               COUNT(*) AS N -- one row a day and pool
        FROM {HISTORY}
        WHERE START_TIME >= DATEADD(DAY, -7, CURRENT_TIMESTAMP()) AND CREDITS_USED > 0
        GROUP BY 1, 2 HAVING COUNT(*) > 3 ORDER BY "pool" DESC, DAY LIMIT 3
    """
    rows = run(sf, statement)
    assert [row["pool"] for row in rows] == [GPU_POOL] * 3
    assert [row["DAY"] for row in rows] == sorted(row["DAY"] for row in rows)
    assert {(row["N"], row["CREDITS"]) for row in rows[1:]} == {(13, Decimal("7.41"))}


def test_nulls_sort_last_upwards_and_first_downwards(sf: Snowflake) -> None:
    table = "(SELECT 2 AS A UNION ALL SELECT NULL UNION ALL SELECT 1)"
    assert [row["A"] for row in run(sf, f"SELECT A FROM {table} ORDER BY A")] == [1, 2, None]
    assert [row["A"] for row in run(sf, f"SELECT A FROM {table} ORDER BY A DESC")] == [None, 2, 1]
    assert [row["A"] for row in run(sf, f"SELECT A FROM {table} ORDER BY 1 NULLS FIRST")] == [None, 1, 2]


def test_an_aggregate_of_nothing_is_one_row_and_of_no_groups_none(sf: Snowflake) -> None:
    assert run(sf, f"SELECT SUM(CREDITS_USED) AS S, COUNT(*) AS N FROM {HISTORY} WHERE FALSE") == [
        {"S": None, "N": 0}
    ]
    assert run(sf, f"SELECT COMPUTE_POOL_NAME, COUNT(*) FROM {HISTORY} WHERE FALSE GROUP BY 1") == []


def test_joins_with_and_distinct(sf: Snowflake) -> None:
    statement = f"""
        WITH POOLS AS (SELECT DISTINCT COMPUTE_POOL_NAME AS POOL FROM {HISTORY})
        SELECT P.POOL, S.SERVICE_NAME FROM POOLS P
        LEFT JOIN (SELECT 'CHAT' AS SERVICE_NAME, '{GPU_POOL}' AS POOL) S ON S.POOL = P.POOL
        ORDER BY P.POOL
    """
    assert run(sf, statement) == [
        {"POOL": CPU_POOL, "SERVICE_NAME": None},
        {"POOL": GPU_POOL, "SERVICE_NAME": "CHAT"},
    ]


def test_lower_case_columns_of_show_need_quotes(sf: Snowflake) -> None:
    piped = (
        'SHOW SERVICES IN ACCOUNT ->> SELECT "name", UPPER("status") AS S FROM $1 WHERE "name" LIKE \'C%\''
    )
    assert run(sf, piped) == [{"name": "CHAT", "S": "RUNNING"}]
    with pytest.raises(SqlError, match="invalid identifier 'name'"):
        run(sf, "SHOW SERVICES IN ACCOUNT ->> SELECT name FROM $1")


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("SELECT", "001003"),
        ("SELECT 1 FROM", "001003"),
        ("SELECT 1 +", "001003"),
        ("SELECT * FROM (SELECT 1", "001003"),
        (f"SELECT NOTHING FROM {HISTORY} WHERE FALSE", "000904"),
        (f"SELECT WIBBLE(1) FROM {HISTORY} WHERE FALSE", "002140"),
        ("SELECT * FROM SNOWFLAKE.ACCOUNT_USAGE.WIBBLE", "002003"),
        ("SELECT 'x'::INT", "100038"),
        ("SELECT 1 UNION ALL SELECT 1, 2", "001789"),
        ("SELECT * FROM TABLE(RESULT_SCAN('nothing'))", "000709"),
        ("SELECT * FROM TABLE(WIBBLE())", "002140"),
        ("SELECT PARSE_JSON('{')", "100069"),
        (f"SELECT {DATABASE}.PUBLIC.CHAT!PREDICT('x')", "002140"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_an_error_with_its_code(sf: Snowflake, statement: str, code: str) -> None:
    with pytest.raises(SqlError) as error:
        run(sf, statement)
    assert error.value.code == code


def test_what_services_logged_and_jobs_that_ran_are_tables(sf: Snowflake) -> None:
    logs = run(sf, f"SELECT LOG FROM TABLE({DATABASE}.PUBLIC.CHAT!SPCS_GET_LOGS())")
    assert logs[0]["LOG"] == "INFO: Started server process [1]"
    events = run(
        sf, f"SELECT EVENT_DETAILS:status::VARCHAR AS S FROM TABLE({DATABASE}.PUBLIC.CHAT!SPCS_GET_EVENTS())"
    )
    assert [row["S"] for row in events] == ["READY"]
    job = sf.catalog.add_service("NIGHTLY", pool=CPU_POOL, is_job=True)
    history = "SELECT NAME, STATUS FROM TABLE(SNOWFLAKE.SPCS.GET_JOB_HISTORY(RESULT_LIMIT => 10))"
    assert run(sf, history) == []  # of the current role only
    (row,) = sf.run_sql(history, role=OWNER)
    assert row["NAME"] == "NIGHTLY"
    sf.run_sql(f"CALL {DATABASE}.PUBLIC.NIGHTLY!SPCS_CANCEL_JOB()", role=OWNER)
    sf.catalog.drop_service(job)
    (row,) = sf.run_sql(history, role=OWNER)
    assert row["STATUS"] == "DELETED"


PIECES = [
    *HANDLERS,
    *(name for name in (*STRICT, *LENIENT, *TIMED, *CONTEXT, *AGGREGATES) if name.isidentifier()),
    "FROM", "WHERE", "GROUP BY", "ORDER BY", "LIMIT", "LIKE", "IN", "AS", "AND", "NOT", "UNION ALL", "CASE", "END",
    "(", ")", ",", "*", "=", "<", "+", "/", "::", "=>", "?", ".", ":", ";", "||", "[", "]", "->>", "$1", "!",
    "'x'", "''", "'day'", "0", "1", "2.5", "NULL", "CHAT", '"name"', "DATE", "VARCHAR", HISTORY, "CREDITS_USED",
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=12))
def test_no_statement_however_odd_makes_the_account_fail(sf: Snowflake, pieces: list[str]) -> None:
    for text in (" ".join(pieces), "SELECT " + " ".join(pieces)):
        try:
            run(sf, text)
        except SqlError as error:
            assert error.code != "000603", (text, error)
