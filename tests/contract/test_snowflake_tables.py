"""The account's tables: what runs means what Snowflake means by it, and what is not known is refused."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

pytest.importorskip("duckdb")

from sandbox.services.local import LocalService
from sandbox.services.scripted import POISON, answer_to
from sandbox.snowflake import USER, Snowflake
from sandbox.snowflake.catalog import CALLER, DATABASE, SCHEMA, WAREHOUSE
from sandbox.snowflake.sql.errors import SqlError
from sandbox.snowflake.tables.dialect import duckdb_sql, parse
from sandbox.snowflake.world import Session

PLACE = f"{DATABASE}.{SCHEMA}"


@pytest.fixture(scope="module")
def sf() -> Iterator[Snowflake]:
    with Snowflake() as made:
        made.create_service("chat", protocol="MODEL_SERVING")
        made.tables.allow(DATABASE, SCHEMA)
        made.tables.batches.pace = 0.001
        made.tables.create(
            "T", {"ID": "NUMBER", "TEXT": "VARCHAR"}, [(1, "a"), (2, None)], database=DATABASE, schema=SCHEMA
        )
        yield made


def one(sf: Snowflake, expression: str) -> Any:
    (row,) = sf.run_sql(f"SELECT {expression} AS X FROM {PLACE}.T AS T WHERE T.ID = 1")
    return row["X"]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("HEX_DECODE_STRING('c39f00')", "ß\0"),
        ("SHA2('abc', 256)", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        ("TO_VARCHAR(MD5_NUMBER_LOWER64('abc'))", "15462616177412505458"),  # the lower half, as one number
        ('PARSE_JSON(\'{"a": {"b": [1, "x"]}}\'):a.b[1]::VARCHAR', "x"),
        ("PARSE_JSON('{\"a\": null}'):a::VARCHAR", None),
        ("TYPEOF(PARSE_JSON('{\"a\": null}'):a)", "NULL_VALUE"),
        ("TYPEOF(PARSE_JSON('{}'):a)", None),
        ("TYPEOF(PARSE_JSON('1.5'))", "DECIMAL"),
        ("TYPEOF(PARSE_JSON('-123456789012345678901234567890123456789'))", "INTEGER"),
        ("TRY_PARSE_JSON('{')", None),
        ("TRY_TO_NUMBER('12', 38, 0)", Decimal(12)),
        ("TRY_TO_NUMBER('2.5', 38, 0)", Decimal(3)),
        ("TRY_TO_NUMBER('some', 38, 0)", None),
        ("GET(PARSE_JSON('{\"a/b~c\": 1}'), 'a/b~c')::NUMBER", Decimal(1)),
        ("TO_JSON(OBJECT_CONSTRUCT('a', NULL, 'b', 1))", '{"b":1}'),
        ("TO_JSON(ARRAY_APPEND(ARRAY_CONSTRUCT(), 'x'))", '["x"]'),
        ("ARRAY_CONTAINS('b'::VARIANT, ARRAY_CONSTRUCT('a', 'b'))", True),
        ("TO_VARCHAR(2.0::FLOAT)", "2"),
        ("TO_VARCHAR(0.08072205302271099::FLOAT)", "0.08072205302"),  # snowflakedb/snowflake-jdbc#1109
        ("TO_VARCHAR(0.08072205302271099::FLOAT, 'TME')", "8.0722053022710988e-02"),
        (r"LTRIM(' \t\n a ', ' \t\n')", "a "),
        ("RTRIM('a` ', '` ')", "a"),
        ("SUBSTR('abc', POSITION('b', 'abc') + 1)", "c"),
        ("POSITION('x', 'abc')", 0),
        (r"REGEXP_LIKE('[1,2]', '\\[[0-9,]+\\]')", True),
        ("REGEXP_LIKE('12 ', '[0-9]+')", False),
        ("TO_VARCHAR(TRUE)", "true"),
    ],
)
def test_functions_mean_what_snowflake_means(sf: Snowflake, expression: str, expected: Any) -> None:
    assert one(sf, expression) == expected


@pytest.mark.parametrize(
    "statement",
    [
        f"SELECT SOUNDEX(T.TEXT) FROM {PLACE}.T AS T",
        f"SELECT T.TEXT FROM {PLACE}.T AS T SAMPLE (10)",
        f"SELECT TO_VARCHAR(T.ID, '999') FROM {PLACE}.T AS T",
        f"SELECT TO_NUMBER(T.TEXT) FROM {PLACE}.T AS T",
        f"SELECT TRIM(T.TEXT) FROM {PLACE}.T AS T",
        f"SELECT REGEXP_LIKE(T.TEXT, 'a', 'i') FROM {PLACE}.T AS T",
        f"SELECT SUBSTR(T.TEXT, 1, 2) FROM {PLACE}.T AS T",
        f"SELECT T.TEXT::GEOGRAPHY FROM {PLACE}.T AS T",
        f"CREATE TABLE {PLACE}.NEW (A NUMBER PRIMARY KEY)",
        f"CREATE VIEW {PLACE}.V AS SELECT 1 AS A",
        f"SELECT COUNT(*) FROM {PLACE}.T AS T WHERE {PLACE}.CHAT!__CALL__(T.TEXT) IS NULL",
    ],
)
def test_what_is_not_known_is_refused_and_never_guessed(sf: Snowflake, statement: str) -> None:
    with pytest.raises(SqlError):
        sf.run_sql(statement)


def session(sf: Snowflake, number: int, role: str = CALLER) -> Any:
    made = Session(number, USER, role, parameters={"AUTOCOMMIT": False}, warehouse=WAREHOUSE)
    return lambda statement: sf.executor.run(made, statement).table()


def test_changes_are_seen_by_others_after_a_commit_only(sf: Snowflake) -> None:
    one, other = session(sf, 101), session(sf, 102)
    one(f"CREATE OR REPLACE TABLE {PLACE}.C (A NUMBER)")
    one(f"INSERT INTO {PLACE}.C (A) SELECT 1")
    count = f"SELECT COUNT(*) AS N FROM {PLACE}.C AS C"
    assert (one(count), other(count)) == ([{"N": 1}], [{"N": 0}])
    one("ROLLBACK")
    assert one(count) == [{"N": 0}]
    one(f"INSERT INTO {PLACE}.C (A) SELECT 1")
    one("COMMIT")
    assert other(count) == [{"N": 1}]


def test_ddl_commits_what_is_open(sf: Snowflake) -> None:
    one, other = session(sf, 103), session(sf, 104)
    one(f"CREATE OR REPLACE TABLE {PLACE}.C (A NUMBER)")
    one(f"INSERT INTO {PLACE}.C (A) SELECT 1")
    one(f"CREATE TABLE IF NOT EXISTS {PLACE}.D (A NUMBER)")
    assert other(f"SELECT COUNT(*) AS N FROM {PLACE}.C AS C") == [{"N": 1}]


def test_two_sessions_that_change_one_row_wait_for_each_other(sf: Snowflake) -> None:
    sf.tables.create("N", {"A": "NUMBER"}, [(0,)], database=DATABASE, schema=SCHEMA)

    def count(number: int) -> None:
        run = session(sf, number)
        for _ in range(10):
            run(f"UPDATE {PLACE}.N SET A = A + 1")
            run("COMMIT")

    threads = [threading.Thread(target=count, args=(200 + i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sf.run_sql(f"SELECT N.A AS A FROM {PLACE}.N AS N") == [{"A": 40}]


def test_arrays_do_not_become_text_by_themselves(sf: Snowflake) -> None:
    with pytest.raises(SqlError, match="expecting VARCHAR"):
        sf.run_sql(f"INSERT INTO {PLACE}.T (TEXT) SELECT ARRAY_CONSTRUCT(1)")


def test_rights_on_tables_are_kept(sf: Snowflake) -> None:
    sf.tables.create("SECRET", {"A": "NUMBER"}, [(1,)], database=DATABASE, schema=SCHEMA, owner="SYSADMIN")
    run = session(sf, 105)
    for statement in (f"SELECT S.A FROM {PLACE}.SECRET AS S", f"DELETE FROM {PLACE}.SECRET"):
        with pytest.raises(SqlError) as refused:
            run(statement)
        assert refused.value.code == "002003"
    with pytest.raises(SqlError) as refused:
        sf.executor.run(Session(106, USER, CALLER), f"SELECT T.ID FROM {PLACE}.T AS T")
    assert refused.value.code == "000606"


# -- functions of services -------------------------------------------------------------------------


class FunctionService(LocalService):
    """A container that answers Snowflake's batches: what it got, by query-batch id, and 202 before its answers."""

    def __init__(self) -> None:
        self.batches: list[tuple[str, int]] = []
        self.pending: dict[str, bytes] = {}
        super().__init__(self._app, "function-service")

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = dict(scope["headers"])
        batch = headers[b"sf-external-function-query-batch-id"].decode()
        status, answer = 200, self.pending.pop(batch, b"")
        if scope["method"] == "POST":
            rows = json.loads(body)["data"]
            self.batches.append((batch, len(rows)))
            answer = json.dumps({"data": [[row[0], self.value(*row[1:])] for row in rows]}).encode()
            if scope["path"] == "/slow":
                self.pending[batch] = answer
                status, answer = 202, b""
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": answer})

    def value(self, text: str, *rest: Any) -> Any:
        if POISON in text:
            return {"answer": None, "error": "The prompt is refused."}
        return {"answer": answer_to(text), "error": None, "totalTokens": 3}


@pytest.fixture(scope="module")
def container(sf: Snowflake) -> Iterator[FunctionService]:
    made = FunctionService()
    sf.create_service("box", made.url, "OPENAI")
    yield made
    made.stop()


@pytest.mark.parametrize("path", ["/quick", "/slow"])
def test_a_function_sends_its_batches_to_the_container(
    sf: Snowflake, container: FunctionService, path: str
) -> None:
    run = session(sf, 107)
    run(
        f"CREATE OR REPLACE FUNCTION {PLACE}.ASK(PROMPT VARCHAR) RETURNS VARIANT SERVICE = {PLACE}.BOX ENDPOINT = api "
        f"MAX_BATCH_ROWS = 10 AS '{path}'"
    )
    (shown,) = run(f"SHOW USER FUNCTIONS LIKE 'ASK' IN SCHEMA {PLACE}")
    assert shown["arguments"] == "ASK(VARCHAR) RETURN VARIANT"
    sf.tables.create("M", {"A": "VARCHAR"}, [(f"t{i}",) for i in range(25)], database=DATABASE, schema=SCHEMA)
    container.batches.clear()
    rows = run(f"SELECT M.A AS A, {PLACE}.ASK(M.A):answer::VARCHAR AS B FROM {PLACE}.M AS M")
    assert {row["A"]: row["B"] for row in rows} == {f"t{i}": answer_to(f"t{i}") for i in range(25)}
    assert sorted(size for _, size in container.batches) == [5, 10, 10]


def test_a_repeated_batch_has_the_same_id(sf: Snowflake, container: FunctionService) -> None:
    run = session(sf, 108)
    run(
        f"CREATE OR REPLACE FUNCTION {PLACE}.ASK(PROMPT VARCHAR) RETURNS VARIANT SERVICE = {PLACE}.BOX ENDPOINT = api "
        "AS '/quick'"
    )
    container.batches.clear()
    sf.tables.batches.arm("duplicate")
    run(f"SELECT {PLACE}.ASK(T.TEXT) AS A FROM {PLACE}.T AS T WHERE T.ID = 1")
    assert len(container.batches) == 2
    assert len(set(container.batches)) == 1


@pytest.mark.parametrize("failing", ["ABORT", "RETURN_NULL"])
def test_a_batch_that_fails_aborts_or_gives_null(
    sf: Snowflake, container: FunctionService, failing: str
) -> None:
    run = session(sf, 109)
    run(
        f"CREATE OR REPLACE FUNCTION {PLACE}.ASK(PROMPT VARCHAR) RETURNS VARIANT SERVICE = {PLACE}.BOX ENDPOINT = api "
        f"ON_BATCH_FAILURE = {failing} AS '/quick'"
    )
    sf.tables.batches.arm("status", times=4, status=500, body="out of memory")
    select = f"SELECT {PLACE}.ASK(T.TEXT) AS A FROM {PLACE}.T AS T WHERE T.ID = 1"
    if failing == "RETURN_NULL":
        assert run(select) == [{"A": None}]
    else:
        with pytest.raises(SqlError, match="remote service error: 500 'out of memory'"):
            run(select)


def test_a_call_is_run_anew_after_a_conflict(
    sf: Snowflake, container: FunctionService, monkeypatch: pytest.MonkeyPatch
) -> None:
    from duckdb import TransactionException

    run, check = session(sf, 110), sf.tables._check_types
    run(
        f"CREATE OR REPLACE FUNCTION {PLACE}.ASK(PROMPT VARCHAR) RETURNS VARIANT SERVICE = {PLACE}.BOX ENDPOINT = api "
        "AS '/quick'"
    )
    run(f"CREATE OR REPLACE TABLE {PLACE}.ANSWERS (ID NUMBER, ANSWER VARCHAR)")
    conflicts = iter([TransactionException("Conflict on update!")])

    def meets_another(*arguments: Any) -> None:
        check(*arguments)
        for conflict in conflicts:
            raise conflict

    monkeypatch.setattr(sf.tables, "_check_types", meets_another)
    run(
        f"INSERT INTO {PLACE}.ANSWERS (ID, ANSWER) SELECT T.ID, {PLACE}.ASK(T.TEXT):answer::VARCHAR "
        f"FROM {PLACE}.T AS T WHERE T.ID = 1"
    )
    assert run(f"SELECT A.ANSWER AS X FROM {PLACE}.ANSWERS AS A") == [{"X": answer_to("a")}]
    assert next(conflicts, None) is None


def test_each_translation_is_one_statement_of_duckdb() -> None:
    assert (
        duckdb_sql(parse("SELECT T.A AS X FROM D.S.T AS T"))
        == 'SELECT "T"."A" AS "X" FROM "D"."S"."T" AS "T"'
    )
