"""Sessions over DSS and Snowpark give the same rows and errors as the SQL API."""

from __future__ import annotations

import math
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import pytest

from spcs_llm.control.executor_session import ExecutorSession
from spcs_llm.control.snowpark_session import SnowparkSession
from spcs_llm.control.sql_refusals import sql_error
from spcs_llm.control.statements import EXACT_NAMES
from spcs_llm.errors import SettingsError, SqlError
from spcs_llm.in_snowflake.refused_slices import Remedy, remedy
from spcs_llm.in_snowflake.session import JobSession

WHO = {
    "user": "JANE",
    "role": "ANALYST",
    "warehouse": None,
    "organization": "MYORG",
    "account": "PROD",
    "region": "AWS_EU_CENTRAL_1",
}


class Reader:
    def __init__(self, columns: list[str], rows: list[list[Any]]) -> None:
        self._columns, self._rows = columns, rows

    def get_schema(self) -> list[dict[str, str]]:
        if not self._columns:
            raise KeyError("schema")  # as DSS does for a statement that gives none
        return [{"name": name, "type": "string"} for name in self._columns]

    def iter_tuples(self) -> Any:
        yield from self._rows


class Executor:
    def __init__(self, columns: list[str], rows: list[list[Any]], error: Exception | None = None) -> None:
        self._reader, self._error = Reader(columns, rows), error
        self.ran: list[Any] = []

    def query_to_iter(self, query: str, pre_queries: Any = None, post_queries: Any = None) -> Any:
        self.ran.append((*(pre_queries or ()), query))
        if self._error is not None:
            raise self._error
        return self._reader


class Snowpark:
    def __init__(self, rows: list[dict[str, Any]], error: Exception | None = None) -> None:
        self._rows, self._error = rows, error
        self.ran: list[str] = []

    def sql(self, query: str) -> Any:
        self.ran.append(query)
        return self

    def collect(self) -> list[Any]:
        if self._error is not None:
            raise self._error
        return [type("Row", (dict,), {"as_dict": dict.copy})(row) for row in self._rows]


def test_the_connection_takes_the_role_before_each_statement_and_the_warehouse_where_it_is_needed() -> None:
    executor = Executor(['"name"', "N"], [["NA", 3]])
    session = ExecutorSession(executor, role="ops team", warehouse="XS")
    assert session.rows("SHOW SERVICES") == [{"name": "NA", "n": "3"}]
    session.rows("SELECT 1")
    assert executor.ran == [
        ('USE ROLE "ops team"', "SHOW SERVICES"),
        (
            'USE ROLE "ops team"',
            "USE WAREHOUSE XS",
            f"ALTER SESSION SET TIMEZONE = 'UTC', {EXACT_NAMES}",
            "SELECT 1",
        ),
    ]


def test_a_statement_without_a_result_gives_no_rows() -> None:
    assert ExecutorSession(Executor([], [])).rows("ALTER SERVICE A.B.C SUSPEND") == []


def test_cells_of_any_type_become_texts() -> None:
    when = datetime(2024, 11, 29, 20, 12, 47, tzinfo=timezone.utc)
    cells = {"A": True, "B": 3, "C": Decimal("0.570"), "D": None, "E": math.nan, "F": when, '"g"': "x"}
    expected = {
        "a": "true",
        "b": "3",
        "c": "0.570",
        "d": None,
        "e": None,
        "f": "2024-11-29T20:12:47+00:00",
        "g": "x",
    }
    assert SnowparkSession(Snowpark([cells])).rows("SELECT 1") == [expected]
    assert ExecutorSession(Executor(list(cells), [list(cells.values())])).rows("SELECT 1") == [expected]


def test_bindings_are_written_into_the_statement() -> None:
    snowpark, executor = Snowpark([]), Executor([], [])
    SnowparkSession(snowpark).rows("SELECT ?", bindings=["it's"])
    ExecutorSession(executor).rows("SELECT ?", bindings=["it's"])
    assert snowpark.ran == ["SELECT 'it''s'"]
    assert executor.ran[0][-1] == "SELECT 'it''s'"


@pytest.mark.parametrize(
    "session",
    [ExecutorSession(Executor(list(WHO), [list(WHO.values())])), SnowparkSession(Snowpark([WHO]))],
    ids=["executor", "snowpark"],
)
def test_a_session_says_whose_it_is(session: Any) -> None:
    assert str(session.whose()) == "user JANE, role ANALYST, warehouse none, account MYORG-PROD"


@pytest.mark.parametrize(
    ("text", "code", "shown"),
    [
        (
            "(1304): 01b2c3d4-0000-0000-0000-000000000000: 002003 (42S02): SQL compilation error:\n"
            "Service 'ML.PROD.A' does not exist or not authorized. Your primary role X must have a privilege.",
            "002003",
            "SQL compilation error: Service 'ML.PROD.A' does not exist or not authorized.",
        ),
        (
            "Query failed: SnowflakeSQLException: SQL access control error:\n"
            "Insufficient privileges to operate on service 'A'",
            "003001",
            "SQL access control error: Insufficient privileges to operate on service 'A' (code 003001)",
        ),
        (
            "net.snowflake.client.jdbc.SnowflakeSQLException: No active warehouse selected in the current session.",
            "000606",
            "No active warehouse selected",
        ),
        (
            "SQL compilation error: Connection SNOW does not exist or not authorized.",
            "002003",
            "SQL compilation error: Connection SNOW does not exist or not authorized",
        ),
        ("Cannot open a connection: timeout", None, "Cannot open a connection: timeout"),
        # A code before the words says more than the words do.
        (
            "NotebookSQLException: 390201: The requested warehouse does not exist or not authorized.",
            "390201",
            "The requested warehouse does not exist or not authorized (code 390201)",
        ),
        (
            "Cannot perform SHOW. This session does not have a current database. Call 'USE DATABASE'.",
            "090105",
            "Cannot perform SHOW.",
        ),
    ],
)
def test_the_code_is_found_in_what_dss_and_snowpark_pass_on(text: str, code: str | None, shown: str) -> None:
    for session in (
        ExecutorSession(Executor([], [], Exception(text))),
        SnowparkSession(Snowpark([], Exception(text))),
    ):
        with pytest.raises(SqlError) as refused:
            session.rows("SHOW ENDPOINTS IN SERVICE ML.PROD.A")
        assert refused.value.code == code
        assert refused.value.statement_kind == "SHOW ENDPOINTS"
        assert str(refused.value).startswith(f"[SQL] Snowflake refuses SHOW ENDPOINTS: {shown}")


@pytest.mark.parametrize(
    "text",
    [
        "Connection not found: SNOW",
        "Query failed: Connection 'SNOW' does not exist",
        "Unknown connection: SNOW",
        "User bob may not use the connection SNOW",
        "You are not allowed to freely use connection SNOW",
    ],
)
def test_a_connection_that_dss_refuses_is_no_refusal_of_snowflake(text: str) -> None:
    def executor() -> Any:
        return Executor([], [], Exception(text))

    for session, what, who in (
        (ExecutorSession(executor()), "'Snowflake connection'", "let your group use"),
        (ExecutorSession(executor(), connection="'C' X", whose="Z"), "'C' X", "to let Z use"),
        (JobSession(executor), "The connection of the datasets", "let your group use"),
    ):
        with pytest.raises(SettingsError) as refused:
            session.rows("SELECT 1")
        assert refused.value.message == f"{what} does not exist in DSS, or its use is not allowed."
        assert who in refused.value.hint
        assert remedy(refused.value) is Remedy.STOP


def test_a_role_or_warehouse_that_cannot_be_used_names_the_fields() -> None:
    error = Exception("SnowflakeSQLException: Object does not exist, or operation cannot be performed.")
    session = ExecutorSession(Executor([], [], error), role="R", warehouse="W")
    with pytest.raises(SqlError) as refused:
        session.whose()
    assert "'Role' or 'Warehouse'" in refused.value.hint


ADMINISTRATOR, WAREHOUSE = "Ask a Snowflake administrator", "'Warehouse'"
STANDSTILLS = {
    # xlang-ai/Spider2#207
    "Your account is suspended due to lack of payment method.": ("000666", ADMINISTRATOR),
    # appsmithorg/appsmith#39303, reapit/foundations#10050
    "Warehouse 'WH' cannot be resumed because resource monitor 'LIMIT' has exceeded its quota.": (
        "090073",
        WAREHOUSE,
    ),
    # Snowflake-Labs/sfguide-getting-started-from-zero-to-snowflake#3
    "Warehouse 'WH' is suspended. Use 'alter warehouse WH resume;' command if you need to use it again.": (
        None,
        WAREHOUSE,
    ),
}


@pytest.mark.parametrize("text", STANDSTILLS)
def test_what_keeps_an_account_from_working_is_told_with_who_can_change_it(text: str) -> None:
    code, hint = STANDSTILLS[text]
    for told in (text, f"net.snowflake.client.jdbc.SnowflakeSQLException: {text}"):
        with pytest.raises(SqlError) as refused:
            ExecutorSession(Executor([], [], Exception(told))).rows("SELECT 1")
        assert refused.value.message.startswith(f"Snowflake refuses SELECT: {text.rstrip('.')}")
        assert hint in refused.value.hint
        assert ADMINISTRATOR in refused.value.hint
        assert remedy(refused.value) is Remedy.STOP  # a job does not run such a statement again and again
    if code is not None:
        assert sql_error("SELECT 1", text, code).hint == refused.value.hint


NOT_SIGNED_IN = {
    # rudderlabs/rudder-server, warehouse/router: tests of the error handler
    "User temporarily locked. Contact your local system administrator.": ("390102", "MINS_TO_UNLOCK"),
    "IP 192.0.2.7 is not allowed to access Snowflake. Contact your local security administrator.": (
        "390420",
        "network policy",
    ),
    "Your user account has been disabled. Contact your local system administrator.": (
        None,
        "enable the user",
    ),
    "Authentication attempt rejected by the current authentication policy.": (
        "390202",
        "AUTHENTICATION_METHODS",
    ),
    # snowflakedb/snowflake-ingest-python#21
    "JWT token is invalid. [7fb87e37-2f26-4a10-9f9c-72276ea898bf]": ("390144", "Snowflake connection"),
    # dbt-labs/dbt-snowflake#373
    "Incorrect username or password was specified.": ("390100", "Snowflake connection"),
    # snowflakedb/terraform-provider-snowflake#4647
    "Programmatic access token is invalid.": ("394400", "Snowflake connection"),
    # xlang-ai/Spider2#143
    "Failed to authenticate: MFA authentication is required, but none of your current MFA methods are supported for"
    " programmatic authentication.": ("394507", "key pair"),
    # The same in newer accounts, where a password needs a second factor.
    "Failed to authenticate: MFA with TOTP is required. To authenticate, provide both your password and a current TOTP"
    " passcode.": ("394508", "key pair"),
    "Multi-factor authentication is required for this account. Log in to Snowsight to enroll.": (
        "390197",
        "key pair",
    ),
    # chio-labs/sqlbuild pull 402: sessions of a token that is restricted to a role
    "SQL access control error: USE ROLE not allowed.": (None, "Leave 'Role' empty"),
    # dbt-labs/docs.getdbt.com pull 6433
    "The role requested in the connection or the default role if none was requested in the connection ('ANALYST') is"
    " not listed in the Access Token or was filtered.": (None, "OAuth scope"),
    "Role 'ANALYST' specified in the connect string does not exist or not authorized. Contact your local system"
    " administrator, or attempt to login with another role.": ("390186", "role of the Snowflake connection"),
}


@pytest.mark.parametrize(
    "text",
    [
        # snowflakedb/snowflake-jdbc#1455 and #101: large results come from other hosts than the account's.
        "JDBC driver internal error: Timeout waiting for the download of #chunk0(Total chunks: 18) retry=0.",
        "JDBC driver internal error: JDBC driver encountered communication error. Message: Error encountered when"
        " downloading a result chunk: HTTP status=404.., queue size before clearing it out: 1.",
    ],
)
def test_a_large_result_that_does_not_arrive_is_told_with_the_hosts_to_let_through(text: str) -> None:
    with pytest.raises(SqlError) as refused:
        ExecutorSession(Executor([], [], Exception(text))).rows("SHOW SERVICES")
    assert "SYSTEM$ALLOWLIST()" in refused.value.hint


@pytest.mark.parametrize("text", NOT_SIGNED_IN)
def test_why_a_connection_of_dss_cannot_sign_in_is_told_with_what_to_change(text: str) -> None:
    code, hint = NOT_SIGNED_IN[text]
    for told in (text, f"net.snowflake.client.jdbc.SnowflakeSQLException: {text}"):
        with pytest.raises(SqlError) as refused:
            ExecutorSession(Executor([], [], Exception(told))).rows("SELECT 1")
        assert hint in refused.value.hint
        # buremba/universql#24: some wrong passwords in succession lock the user.
        assert remedy(refused.value) is Remedy.STOP
    assert hint in sql_error("SELECT 1", text, code).hint


@pytest.mark.parametrize(
    "text",
    [
        "390114 (08001): Authentication token has expired.  The user must authenticate again.",
        "Authentication token has expired.  The user must authenticate again.",
        "390111 (08001): Session no longer exists.  New login required to access the service.",
        "Session no longer exists.  New login required to access the service.",
    ],
)
def test_a_session_of_dss_that_has_ended_is_no_end_of_a_job(text: str) -> None:
    """snowflakedb/gosnowflake#160: after four hours without a statement. DSS's next call has another session."""
    with pytest.raises(SqlError) as refused:
        ExecutorSession(Executor([], [], Exception(text))).rows("SELECT 1")
    assert remedy(refused.value) is Remedy.REPEAT
    assert "Run it again" in refused.value.hint


def test_a_pool_of_nodes_that_are_too_small_is_told_with_what_to_choose() -> None:
    """Snowflake-Labs/sfquickstarts#2109."""
    text = (
        "Invalid spec: invalid value 1.5 for 'total containers.requests.cpu'. Requirement exceeds compute pool"
        " instance capacity 1."
    )
    error = sql_error("EXECUTE INFERENCE JOB SERVICE x", text, "395018", "22023")
    assert "Requirement exceeds compute pool instance capacity 1" in error.message
    assert "compute pool" in error.hint


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        (
            "Compute pool SYSTEM_COMPUTE_POOL_CPU can only support services of type [NOTEBOOK, MODEL_SERVING,"
            " STREAMLIT, ML_JOB]",
            "Enter a compute pool",
        ),
        (
            "Failed to retrieve image /db/repository/llm:latest from the image repository : SPCS only supports image"
            " for amd64 architecture. Please rebuild your image with '--platform linux/amd64' option",
            "linux/amd64",
        ),
        # apache/arrow-adbc, csharp/test/Drivers/Snowflake
        ("390201 (08004): The requested database does not exist or not authorized.", "correct the database"),
        ("390201 (08004): The requested warehouse does not exist or not authorized.", "'Warehouse'"),
    ],
)
def test_what_the_account_does_not_have_is_told_with_what_to_change(text: str, hint: str) -> None:
    for told in (text, f"net.snowflake.client.jdbc.SnowflakeSQLException: {text}"):
        with pytest.raises(SqlError) as refused:
            ExecutorSession(Executor([], [], Exception(told))).rows("SHOW SERVICES")
        assert hint in refused.value.hint


def test_a_kind_of_account_without_container_services_is_told() -> None:
    """Snowflake-Labs/sfquickstarts#2237."""
    error = sql_error(
        "SHOW COMPUTE POOLS", "Compute pool is not available for trial accounts.", "391826", "0A000"
    )
    assert "trial" in error.message
    assert "trial account" in error.hint


@pytest.mark.parametrize("aliases", [str.lower, str.upper])
def test_an_account_that_ignores_the_case_of_quoted_names_says_whose_session_it_is(aliases: Any) -> None:
    """airbytehq/airbyte#67714: with QUOTED_IDENTIFIERS_IGNORE_CASE, the alias "user" comes as USER."""
    names = [aliases(name) for name in ("user", "role", "warehouse", "organization", "account", "region")]
    executor = Executor(names, [["JANE", "ANALYST", "", "MYORG", "PROD", "AWS"]])
    assert (
        str(ExecutorSession(executor).whose())
        == "user JANE, role ANALYST, warehouse none, account MYORG-PROD"
    )


def test_a_listing_that_has_too_many_rows_is_told_with_what_to_enter() -> None:
    """snowflakedb/snowflake-jdbc#1021, snowflakedb/snowflake-sqlalchemy#744: SHOW may fail where it has no LIMIT."""
    text = (
        "The result set size exceeded the max number of rows(10000) supported for SHOW statements. Use LIMIT option to"
        " limit result set to a smaller number."
    )
    with pytest.raises(SqlError) as refused:
        ExecutorSession(Executor([], [], Exception(text))).rows("SHOW MODELS IN ACCOUNT")
    assert refused.value.message.startswith("Snowflake refuses SHOW MODELS: The result set size exceeded")
    assert "Enter a database or a schema" in refused.value.hint


def test_names_in_quotes_mean_what_they_say_whatever_the_account_has_set() -> None:
    """PostHog/posthog#41770, transferwise/pipelinewise-target-snowflake#94: with QUOTED_IDENTIFIERS_IGNORE_CASE,
    "text" is TEXT, and a column or a schema of that name is not found."""
    setting = "QUOTED_IDENTIFIERS_IGNORE_CASE = FALSE"
    executor = Executor(["a"], [["1"]])
    ExecutorSession(executor).rows('SHOW SERVICES IN SCHEMA ML."prod"')
    job = JobSession(lambda: executor)
    job.rows('SELECT I."text" FROM T AS I')
    for *before, _ in executor.ran:
        assert any(setting in statement for statement in before)
    # the tables of outputs are DSS's: their columns are called what DSS's own session called them
    assert not any(setting in statement for statement in job.before_writing)
