"""The stand-in DSS runs SQL for macros and for the real client, each query in a session of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dataikuapi.utils import DataikuException

from sandbox.dss import Dss, SnowflakeConnection, SnowflakeLogin
from sandbox.dss.sql_session import Column, Rows, SqlError, _rows
from sandbox.snowflake import USER, Snowflake
from tests.contract.plugins.macros import JSON, macro_id, runnable, write_macros
from tests.contract.plugins.writing import client

QUERY = runnable(
    """
    def run(self, progress_callback):
        import dataiku, json
        reader = dataiku.SQLExecutor2(connection=self.config["connection"]).query_to_iter(
            self.config["query"], self.config.get("pre"), self.config.get("post"))
        rows = [[cell if cell is None or isinstance(cell, (str, int, float)) else repr(cell) for cell in row]
                for row in reader.iter_tuples()]
        return json.dumps({"rows": rows, "schema": reader.get_schema() if reader.has_results else None})
    """
)


class Database:
    """A database that remembers its sessions, and answers what it was told to."""

    usable_by: frozenset[str] | None = None

    def __init__(self, answer: Any = None) -> None:
        self.sessions: list[list[str]] = []
        self.users: list[str] = []
        self._answer = answer

    def open(self, user: str) -> Session:
        self.users.append(user)
        self.sessions.append([])
        return Session(self.sessions[-1], self._answer)


class Session:
    def __init__(self, statements: list[str], answer: Any) -> None:
        self._statements = statements
        self._answer = answer

    def run(self, statement: str) -> Rows | None:
        self._statements.append(statement)
        if statement.startswith("BROKEN"):
            raise SqlError("SQL compilation error")
        return self._answer if statement.startswith("SELECT") else None

    def close(self) -> None:
        self._statements.append("(closed)")


class Scene:
    def __init__(self, dss: Dss, url: str, undo: contextlib.ExitStack) -> None:
        self.dss = dss
        self._url = url
        self._undo = undo

    def client(self, user: str) -> Any:
        return self._undo.enter_context(client(self._url, self.dss.create_api_key(user)))

    def query(self, query: str, user: str = "alice", connection: str = "db", **more: Any) -> Any:
        macro = self.client(user).get_project("TEST").get_macro(macro_id("query"))
        run_id = macro.run({"connection": connection, "query": query, **more})
        return macro.get_result(run_id, as_type="json")


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Scene]:
    with contextlib.ExitStack() as undo:
        dss = undo.enter_context(Dss())
        dss.install_plugin(write_macros(tmp_path, {"query": (JSON, QUERY)}))
        yield Scene(dss, undo.enter_context(dss.serve()), undo)


KINDS = Rows(
    [
        Column("N", "bigint", "FIXED"),
        Column("D", "double", "REAL"),
        Column("B", "boolean", "BOOLEAN"),
        Column("T", "date", "TIMESTAMP_LTZ"),
        Column("S", "string", "TEXT"),
    ],
    [["7", "0.5", "true", "2026-11-26T06:00:00.250Z", 'tab\t, "quotes"\nand lines'], ["", "", "", "", ""]],
)


def test_values_cross_as_text_so_a_null_text_is_empty(at: Scene) -> None:
    at.dss.create_sql_connection("db", Database(KINDS))
    result = at.query("SELECT 1")
    moment = "datetime.datetime(2026, 11, 26, 6, 0, 0, 250000, tzinfo=datetime.timezone.utc)"
    assert result["rows"] == [
        [7, 0.5, True, moment, 'tab\t, "quotes"\nand lines'],
        [None, None, False, None, ""],
    ]
    assert result["schema"][0] == {"name": "N", "type": "bigint", "originalType": "FIXED"}


def test_the_real_client_reads_the_same_rows(at: Scene) -> None:
    at.dss.create_sql_connection("db", Database(KINDS))
    query = at.client("alice").sql_query("SELECT 1", connection="db")
    first, second = query.iter_rows()
    query.verify()
    assert (first[:3], first[4]) == ([7, 0.5, True], 'tab\t, "quotes"\nand lines')
    assert second == [None, None, False, None, ""]


def test_each_call_is_one_session_with_what_comes_before_and_after(at: Scene) -> None:
    database = Database(KINDS)
    at.dss.create_sql_connection("db", database)
    at.query("SELECT 1", pre=["USE WAREHOUSE W", "SET A"], post=["COMMIT"])
    at.query("ALTER SERVICE S SUSPEND", post=["COMMIT"])
    assert database.sessions == [
        ["USE WAREHOUSE W", "SET A", "SELECT 1", "COMMIT", "(closed)"],
        ["ALTER SERVICE S SUSPEND", "COMMIT", "(closed)"],
    ]
    assert database.users == ["alice", "alice"]


def test_a_statement_without_rows_has_no_schema(at: Scene) -> None:
    at.dss.create_sql_connection("db", Database(KINDS))
    assert at.query("ALTER SERVICE S SUSPEND") == {"rows": [], "schema": None}


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    "broken",
    [
        {"query": "BROKEN"},
        {"query": "SELECT 1", "pre": ["BROKEN"]},
        {"query": "SELECT 1", "post": ["BROKEN"]},
    ],
)
def test_an_error_is_raised_wherever_it_happens_and_the_session_ends(at: Scene, broken: Any) -> None:
    database = Database(KINDS)
    at.dss.create_sql_connection("db", database)
    with pytest.raises(DataikuException, match="SQL compilation error"):
        at.query(**broken)
    assert database.sessions[-1][-1] == "(closed)"


@pytest.mark.exhaustive
def test_a_connection_is_used_by_those_who_may(at: Scene) -> None:
    database = Database(KINDS)
    database.usable_by = frozenset(("alice",))
    at.dss.create_sql_connection("db", database)
    assert at.query("SELECT 1", "alice")["rows"]
    assert at.query("SELECT 1", "admin")["rows"]
    with pytest.raises(DataikuException, match="bob may not use the connection db"):
        at.query("SELECT 1", "bob")
    with pytest.raises(DataikuException, match="Connection not found: other"):
        at.query("SELECT 1", "alice", "other")
    names = {user: at.client(user).list_connections_names("Snowflake") for user in ("alice", "bob")}
    assert names == {"alice": ["db"], "bob": []}


def test_a_snowflake_connection_runs_on_the_account(at: Scene) -> None:
    with Snowflake() as snowflake:
        snowflake.create_service("chat", "scripted", "PREDICT")
        login = SnowflakeLogin(USER, access_token=snowflake.issue_oauth_token(USER))
        connection = SnowflakeConnection(
            "sf", snowflake.account_url, {"alice": login}, database="DATAIKU_SPCS", schema="PUBLIC"
        )
        at.dss.create_sql_connection("sf", connection)
        found = at.query("SHOW SERVICES", connection="sf")
        names = [column["name"] for column in found["schema"]]
        (row,) = (dict(zip(names, row)) for row in found["rows"])
        assert (row["name"], row["status"]) == ("CHAT", "RUNNING")
        assert at.query("ALTER SERVICE CHAT SUSPEND", connection="sf") == {"rows": [], "schema": None}
        assert snowflake.counters["account"]["logout"] == snowflake.counters["account"]["login"] == 2
        with pytest.raises(DataikuException, match="SnowflakeSQLException: SQL compilation error"):
            at.query("SELEC 1", connection="sf")
        with pytest.raises(DataikuException, match="bob has no credential for the connection sf"):
            at.query("SHOW SERVICES", "bob", "sf")


def test_every_type_of_the_wire_has_a_type_of_dss() -> None:
    kinds = {
        "fixed": ("7", "bigint", "7"),
        "real": ("0.5", "double", "0.5"),
        "boolean": ("1", "boolean", "true"),
        "date": ("19000", "dateonly", "2022-01-08"),
        "timestamp_ltz": ("1732911167.310", "date", "2024-11-29T20:12:47.310Z"),
        "timestamp_tz": ("1732911167.310 960", "date", "2024-11-29T20:12:47.310Z"),
        "timestamp_ntz": ("1732911167.310", "datetimenotz", "2024-11-29T20:12:47.310"),
        "array": ('["a"]', "string", '["a"]'),
        "text": ("x", "string", "x"),
    }
    rowtype = [{"name": name, "type": name, "scale": 0} for name in kinds]
    read = _rows(
        {"rowtype": rowtype, "rowset": [[cell for cell, _, _ in kinds.values()], [None] * len(kinds)]}
    )
    assert [column.type for column in read.columns] == [kind for _, kind, _ in kinds.values()]
    assert read.rows == [[text for _, _, text in kinds.values()], [""] * len(kinds)]
    (column,) = _rows({"rowtype": [{"name": "n", "type": "fixed", "scale": 2}], "rowset": []}).columns
    assert column.type == "double"
